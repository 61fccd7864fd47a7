//! Where the record of a run is kept on the source. Knows nothing of what is in it.

use std::path::{Path, PathBuf};

use super::{Environment, places};
use crate::failure::Failure;

/// The directories of the records on the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPlaces {
    /// For logs: `/var/log/instancesync`.
    pub logs: PathBuf,
    /// For what a run knows and what came of it: `/var/lib/instancesync`.
    pub state: PathBuf,
    /// For the locks of runs: `/run/instancesync`.
    pub locks: PathBuf,
}

impl RecordPlaces {
    /// Returns the usual places, or those below the directory that the environment names.
    pub(super) fn resolve(environment: &Environment) -> Result<RecordPlaces, Failure> {
        match &environment.state_directory {
            Some(directory) => Ok(RecordPlaces::below(&places::absolute(
                directory,
                environment,
            )?)),
            None => Ok(RecordPlaces {
                logs: "/var/log/instancesync".into(),
                state: "/var/lib/instancesync".into(),
                locks: "/run/instancesync".into(),
            }),
        }
    }

    /// Returns places that are all below one directory.
    pub fn below(directory: &Path) -> RecordPlaces {
        RecordPlaces {
            logs: directory.join("log"),
            state: directory.join("state"),
            locks: directory.join("locks"),
        }
    }
}
