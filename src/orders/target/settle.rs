//! What was cut is repaired, and the one-shot goes where nobody needs it. Knows nothing of what is
//! done afterwards.

use std::path::Path;

use super::{failed, refused, relative};
use crate::boot::{self, boot_id, disarm, disarm_live, side_tree};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::reserve::{remove_reserve, with_reserve};
use crate::fs::staged::{NEW_NAME, PREVIOUS_NAME, read_note, write_note};
use crate::fs::{Dir, FsError};
use crate::orders::clone_note;
use crate::relpath::RelPath;
use crate::switch::{Gate, Memo, Repaired, State, repair, status};

/// The note of a rollback under a running clone: the boot in which it happened.
const ROLLED_BACK_NAME: &[u8] = b"rolled-back";

/// Notes that the clone is running and will not be live any more. ORDER: before the rollback; it
/// counts only when that is done.
pub(super) fn note_rollback(live: &Dir) -> Result<(), Failure> {
    let write = || write_note(live, ROLLED_BACK_NAME, boot_id().as_bytes());
    with_reserve(live, FsError::is_no_space, write).map_err(|error| failed(&error))
}

/// Tells whether programs of this boot were started from what is not live any more: it is what
/// was switched away, or a clone that was rolled back.
pub(super) fn waits_for_reboot(live: &Dir, state: &State) -> Result<bool, Failure> {
    if let State::Switched { memo, .. } = state {
        return Ok(memo.boot_id == boot_id());
    }
    let note = read_note(live, ROLLED_BACK_NAME).map_err(|error| failed(&error))?;
    Ok(note.is_some_and(|note| note == boot_id().as_bytes()))
}

/// Returns the failure of an order that would take away what programs run from.
pub(super) fn still_running() -> Failure {
    let what = "target: its programs still run from what is not live any more";
    Failure::new(ExitCode::Refused, what).hint("reboot it first")
}

/// Takes the run's key out of what is live, where a journal names one. ORDER: before anything
/// that would take it out later goes.
pub(super) fn remove_run_key(root: &Path, memo: Option<&Memo>) -> Result<(), Failure> {
    match memo.and_then(|memo| memo.login.as_ref()) {
        Some(login) => boot::remove_key(root, login).map_err(|error| failed(&error)),
        None => Ok(()),
    }
}

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
/// live one only between the switch and its confirmation, and whatever is cut keeps both. Where no
/// way back is needed, the room that was set aside for it goes as well.
pub(super) fn settle_units(live: &Dir, volumes: &[RelPath]) -> Result<(), Failure> {
    let state = status(live).map_err(|error| refused(&error))?;
    let take = || match state {
        State::Interrupted { .. } => Ok(()),
        State::Switched { .. } => disarm_side(live, volumes, PREVIOUS_NAME),
        State::Nothing | State::Staging | State::Staged | State::Discarding => {
            disarm_live(live)?;
            disarm_side(live, volumes, NEW_NAME)?;
            // It is only room.
            drop(remove_reserve(live));
            Ok(())
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
