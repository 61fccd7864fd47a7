//! Which paths are copied, skipped or kept: rules, their patterns and what decided.
//!
//! The source prunes its walk by these rules and the target protects from deletion by them, so
//! a set of rules crosses the wire as its text and is compiled again there. What a pattern
//! means is in `docs/patterns.md`. Knows nothing of files: it is told names and never looks.

mod class;
mod error;
mod file;
mod pattern;
mod rules;

use serde::{Deserialize, Serialize};

pub use error::{PatternError, PatternFault};
pub use file::parse_file;
pub use pattern::{MAX_ALTERNATIVES, MAX_PATTERN_LEN};
pub use rules::{Decision, MAX_GLOB_BYTES, MAX_GLOBS, MAX_ORIGIN_LEN, MAX_RULES, Rules, Scope};

/// What happens to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is copied; what only the target has is deleted if the run deletes.
    Copy,
    /// It is not copied, and what the target has there is neither changed nor deleted.
    Skip,
    /// The target's own stays as it is, also against deletion.
    Keep,
}

impl Verdict {
    /// Tells whether the target's entry must survive although the source sends nothing for it.
    pub fn protects(self) -> bool {
        match self {
            Verdict::Copy => false,
            Verdict::Skip | Verdict::Keep => true,
        }
    }
}

/// One pattern and what it decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What happens to a path that matches.
    pub verdict: Verdict,
    /// The pattern as it was written.
    pub pattern: String,
    /// Who said so, for messages: `--exclude`, `/etc/x.rules:12`.
    pub origin: String,
}

impl Rule {
    /// Returns a rule; whether its pattern makes sense is found out by [`Rules::new`].
    pub fn new(verdict: Verdict, pattern: impl Into<String>, origin: impl Into<String>) -> Rule {
        Rule {
            verdict,
            pattern: pattern.into(),
            origin: origin.into(),
        }
    }
}
