//! What was cut is repaired, and the one-shot goes where nobody needs it. Knows nothing of what is
//! done afterwards.

use super::{failed, refused, relative};
use crate::boot::{disarm, live_tree, side_tree};
use crate::failure::Failure;
use crate::fs::staged::{NEW_NAME, PREVIOUS_NAME};
use crate::fs::{Dir, FsError};
use crate::orders::clone_note;
use crate::relpath::RelPath;
use crate::switch::{Gate, Repaired, State, repair, status};

/// Repairs what was cut, and takes out a one-shot that nobody needs.
pub(super) fn settle(live: &Dir) -> Result<Repaired, Failure> {
    let repaired = repair(live, &Gate::open()).map_err(|error| refused(&error))?;
    if repaired != Repaired::Nothing {
        live.sync_file_system().map_err(|error| failed(&error))?;
    }
    let volumes = match status(live).map_err(|error| refused(&error))? {
        State::Switched { volumes, .. } => relative(&volumes),
        // One that makes no sense tells nothing; who needs it will say so.
        _ => clone_note::read(live)
            .ok()
            .flatten()
            .map_or(Vec::new(), |covered| covered.volumes),
    };
    settle_units(live, &volumes)?;
    Ok(repaired)
}

/// Takes the one-shot out of every tree that does not need it: what was replaced never does, the
/// live one only between the switch and its confirmation, and whatever is cut keeps both.
pub(super) fn settle_units(live: &Dir, volumes: &[RelPath]) -> Result<(), Failure> {
    let state = status(live).map_err(|error| refused(&error))?;
    let take = || match state {
        State::Interrupted { .. } => Ok(()),
        State::Switched { .. } => disarm_side(live, volumes, PREVIOUS_NAME),
        State::Nothing | State::Staging | State::Staged | State::Discarding => {
            disarm(&live_tree(live)?)?;
            disarm_side(live, volumes, NEW_NAME)
        }
    };
    take().map_err(|error| failed(&error))
}

fn disarm_side(live: &Dir, volumes: &[RelPath], side: &[u8]) -> Result<(), FsError> {
    match side_tree(live, volumes, side) {
        Err(error) if error.is_missing() => Ok(()),
        tree => disarm(&tree?),
    }
}
