//! After a crash: a switch or rollback that was under way is completed where every name has
//! changed sides, and taken back where not. Can itself be cut anywhere and begun again.

use serde::{Deserialize, Serialize};

use super::journal::{self, Phase};
use super::motion::Motion;
use super::volume::Volume;
use super::{Gate, SwitchError};
use crate::fs::Dir;
use crate::fs::reserve::with_reserve;
use crate::fs::staged::SIDES;
use crate::relpath::RelPath;

/// What a repair found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repaired {
    /// Nothing was under way.
    Nothing,
    /// A switch or rollback was completed.
    Completed,
    /// Some names had changed sides, and have changed back.
    TakenBack,
}

/// Repairs what was cut; on a full disk with the room that was set aside.
pub fn repair(live: &Dir, gate: &Gate) -> Result<Repaired, SwitchError> {
    with_reserve(live, SwitchError::is_no_space, || mend(live, gate))
}

fn mend(live: &Dir, gate: &Gate) -> Result<Repaired, SwitchError> {
    let Some(journal) = journal::read(live)? else {
        return Ok(Repaired::Nothing);
    };
    match journal.phase {
        Phase::Switching | Phase::RollingBack => {}
        Phase::Switched | Phase::Discarding => return Ok(Repaired::Nothing),
    }
    let paths = journal.parts.iter().map(|part| part.volume.clone());
    let paths: Vec<RelPath> = paths.collect();
    let open = |path| Volume::open(live, path, &SIDES);
    let volumes: Result<Vec<Volume>, SwitchError> = paths.iter().map(open).collect();
    let mut motion = Motion::new(live, volumes?, journal, gate);
    if motion.is_all_done()? {
        motion.finish()?;
        return Ok(Repaired::Completed);
    }
    motion.take_back()?;
    Ok(Repaired::TakenBack)
}
