//! What `instancesync explain --json` answers. Knows nothing of how a path was judged.

use serde::Serialize;

use super::body::PathBody;
use crate::exclude::Verdict;
use crate::exclude::explain::{Decider, Explanation};

/// One path, below the source directory.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    path: PathBody,
    is_directory: bool,
    verdict: Verdict,
    /// The directory that decided, where it was not the path itself.
    parent: Option<PathBody>,
    decider: Option<&'a Decider>,
    is_elsewhere: bool,
}

impl<'a> Body<'a> {
    fn new(explanation: &'a Explanation) -> Body<'a> {
        let parent = explanation.parent.as_ref();
        Body {
            path: PathBody::new(explanation.path.as_bytes()),
            is_directory: explanation.is_directory,
            verdict: explanation.verdict,
            parent: parent.map(|path| PathBody::new(path.as_bytes())),
            decider: explanation.decider.as_ref(),
            is_elsewhere: explanation.is_elsewhere,
        }
    }
}

/// Returns explanations as a value for programs.
pub fn explanations(explanations: &[Explanation]) -> impl Serialize {
    let bodies = explanations.iter().map(Body::new);
    bodies.collect::<Vec<Body<'_>>>()
}
