//! The switch: a whole staged tree takes the place of the live one, and can be put back.
//!
//! Each top-level name of each volume is exchanged with its new self in the stage, all of them
//! within milliseconds. A journal written before says what was where, by inode, so that whatever
//! cuts the switch can be completed or taken back. Knows nothing of how a stage is filled, and
//! nothing of boots.

mod choose;
mod discard;
mod error;
mod gate;
mod journal;
mod motion;
mod repair;
mod volume;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::exclude::Rules;
use crate::fs::Dir;
use crate::fs::reserve::with_reserve;
use crate::fs::staged::{NEW_NAME, PREVIOUS_NAME};
use crate::relpath::RelPath;
use choose::{choose, choose_back};
pub use discard::{Freed, Left, discard};
pub use error::SwitchError;
pub use gate::Gate;
pub use journal::{
    Entrance, JOURNAL_NAME, Memo, Probation, RunLogin, State, Witness, memo, status,
};
use journal::{Journal, Part, Phase};
use motion::Motion;
pub use repair::{Repaired, repair};
use volume::Volume;

/// What a switch covers.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The mount points below the root that have stages of their own.
    pub volumes: &'a [RelPath],
    /// What was copied and what stayed the target's.
    pub rules: &'a Rules,
    /// Directories of the source that were not looked into.
    pub apart: &'a [RelPath],
    /// What the fix-ups decided about. At the top of a volume it moves, whatever rules say.
    pub edited: &'a [RelPath],
}

/// A switch that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// From the first exchange to the last, in microseconds: the time in which the target was
    /// neither the one nor the other.
    pub elapsed_us: u64,
    /// How many names were exchanged, moved in or moved out.
    pub names: u64,
}

/// Lets the stage take the place of what is live. Fails before the first exchange where
/// anything is not as needed; what fails later is taken back.
pub fn switch(
    live: &Dir,
    scope: &Scope<'_>,
    memo: Memo,
    gate: &Gate,
) -> Result<Switched, SwitchError> {
    match journal::read(live)?.map(|journal| journal.phase) {
        None => {}
        Some(Phase::Switched) => return Err(SwitchError::AlreadySwitched),
        Some(Phase::Discarding) => return Err(SwitchError::Discarding),
        Some(Phase::Switching | Phase::RollingBack) => return Err(SwitchError::UnderWay),
    }
    let volumes = Volume::open_all(live, scope.volumes, NEW_NAME)?;
    let mut parts = Vec::with_capacity(volumes.len());
    for volume in &volumes {
        volume.refuse_beside(PREVIOUS_NAME)?;
        parts.push(volume.part(|seen, path| choose(seen, path, scope))?);
    }
    let journal = Journal::new(Phase::Switching, parts, memo, now_s());
    Motion::new(live, volumes, journal, gate).go()
}

/// Puts back what the last switch replaced; what is live now becomes the stage again. On a full disk
/// with the room that was set aside.
pub fn rollback(live: &Dir, gate: &Gate) -> Result<Switched, SwitchError> {
    with_reserve(live, SwitchError::is_no_space, || put_back(live, gate))
}

fn put_back(live: &Dir, gate: &Gate) -> Result<Switched, SwitchError> {
    let Some(journal) = journal::read(live)? else {
        return Err(SwitchError::NotSwitched);
    };
    match journal.phase {
        Phase::Switched => {}
        Phase::Discarding => return Err(SwitchError::Discarding),
        Phase::Switching | Phase::RollingBack => return Err(SwitchError::UnderWay),
    }
    let volumes = Volume::open_all(live, &journal.volumes(), PREVIOUS_NAME)?;
    let mut parts: Vec<Part> = Vec::with_capacity(volumes.len());
    for volume in &volumes {
        volume.refuse_beside(NEW_NAME)?;
        let alone = journal.alone_in(volume.path());
        let mut part = volume.part(|seen, path| choose_back(seen, path, alone))?;
        // A rollback that is taken back leaves a switch, which needs to know them again.
        part.alone = alone.to_vec();
        parts.push(part);
    }
    let journal = Journal {
        phase: Phase::RollingBack,
        parts,
        ..journal
    };
    Motion::new(live, volumes, journal, gate).go()
}

/// Returns the time by the machine's clock, in seconds since 1970.
fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
