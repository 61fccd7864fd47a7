//! Fills in the facts of a machine: one small file for each subject, each of which reads a few
//! files through a root and never fails. Where the root is the running system, three programs
//! are asked as well.
//!
//! Changes nothing. Knows nothing of what the facts are good for.

mod assignments;
mod look;
mod os_release;
mod release_files;

use look::Look;

use crate::facts::{Distribution, Facts};
use crate::fs::Root;

/// Gathers what is known about the system below `root`; what is not is told in `unknown`.
pub fn gather(root: &Root) -> Facts {
    let look = Look::new(root);
    let distribution = distribution(&look);
    Facts {
        is_live: look.is_live(),
        distribution,
        unknown: look.into_unknown(),
        ..Facts::default()
    }
}

/// Asks os-release, then the older files.
fn distribution(look: &Look) -> Distribution {
    let modern = os_release::PATHS
        .into_iter()
        .find_map(|path| os_release::parse(&look.text(path)?, path));
    let older = || {
        release_files::FILES.iter().find_map(|file| {
            let found = (file.parse)(&look.text(file.path)?)?;
            Some(release_files::distribution(found, file.path))
        })
    };
    modern.or_else(older).unwrap_or_else(|| {
        look.note("no release file names the distribution".to_owned());
        Distribution::default()
    })
}
