//! What a switch has to know of the clone that was staged, and the last thing done before it.
//!
//! This file is the seam between the switch and the fix-ups. Knows nothing of either.

use serde::{Deserialize, Serialize};

use crate::exclude::Rules;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::staged::read_note;
use crate::fs::{Dir, usable_name};
use crate::relpath::RelPath;

/// The note that the fix-ups leave in the private directory.
pub(super) const CLONE_NAME: &[u8] = b"clone";

/// What of the note a switch needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Covered {
    pub(super) volumes: Vec<RelPath>,
    pub(super) rules: Rules,
    pub(super) apart: Vec<RelPath>,
}

/// Reads the note; `None` where the stage is not ready.
pub(super) fn read(live: &Dir) -> Result<Option<Covered>, Failure> {
    let read = || read_note(live, &usable_name(CLONE_NAME)?);
    let Some(note) = read().map_err(|error| failed().because(&error))? else {
        return Ok(None);
    };
    postcard::from_bytes(&note)
        .map(Some)
        .map_err(|error| failed().because(&error))
}

/// Brings what the target keeps into the stage as it is now.
pub(super) fn carry(_live: &Dir, _covered: &Covered) -> Result<(), Failure> {
    Ok(())
}

fn failed() -> Failure {
    Failure::new(ExitCode::Failed, "target: /.instancesync/clone")
}
