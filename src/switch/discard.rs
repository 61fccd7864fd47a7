//! Frees what is not live: what a switch replaced, or a stage. Never leaves a volume. Knows
//! nothing of whether anybody still needs it.

use serde::{Deserialize, Serialize};

use super::journal::{self, JOURNAL_NAME, Journal, Memo, Phase};
use super::{Gate, SwitchError};
use crate::fs::metadata::change_mtime;
use crate::fs::stage::STAGE_NAME;
use crate::fs::staged::{private_dir, volume_top};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, usable_name};
use crate::relpath::{Name, RelPath};

/// What was freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Bytes on disk. What has further names does not count.
    pub bytes: u64,
    /// Files, directories and other entries.
    pub entries: u64,
}

/// Removes everything in the private directories of the first volume, of those of the journal and
/// of `volumes`; one that is not there is fine.
pub fn discard(live: &Dir, volumes: &[RelPath], gate: &Gate) -> Result<Freed, SwitchError> {
    let root = RelPath::root();
    let at_root = SwitchError::at(&root);
    match private_dir(live, &root) {
        Err(error) if error.is_missing() => return Ok(Freed::default()),
        result => result.map_err(&at_root)?,
    };
    let mut journal = match journal::read(live)? {
        Some(journal) => match journal.phase {
            Phase::Switching | Phase::RollingBack => return Err(SwitchError::UnderWay),
            Phase::Switched | Phase::Discarding => journal,
        },
        None => Journal::new(Phase::Discarding, Vec::new(), Memo::default(), 0),
    };
    let mut all = journal.volumes();
    all.extend(volumes.iter().filter(|path| !path.is_root()).cloned());
    all.sort();
    all.dedup();
    // ORDER: from the first removal on there is no way back, so nobody may try it.
    journal.phase = Phase::Discarding;
    gate.pass()?;
    journal::write(live, &journal)?;
    live.sync_file_system().map_err(at_root)?;
    let mut freed = Freed::default();
    for path in all.iter().rev().chain([&root]) {
        free_volume(live, path, &mut freed, gate).map_err(|error| match error {
            Freeing::Call(cause) => SwitchError::at(path)(cause),
            Freeing::Gate(error) => error,
        })?;
    }
    Ok(freed)
}

enum Freeing {
    Call(FsError),
    Gate(SwitchError),
}

impl From<FsError> for Freeing {
    fn from(cause: FsError) -> Freeing {
        Freeing::Call(cause)
    }
}

fn free_volume(live: &Dir, path: &RelPath, freed: &mut Freed, gate: &Gate) -> Result<(), Freeing> {
    let top = match volume_top(live, path) {
        Err(error) if error.is_missing() => return Ok(()),
        result => result?,
    };
    let private = match top.open_dir(&usable_name(STAGE_NAME)?) {
        Err(error) if error.is_missing() => return Ok(()),
        result => result?,
    };
    let before = top.status()?;
    // ORDER: the journal goes last; it says that there is no way back.
    let names = private.names()?;
    let (last, first): (Vec<_>, Vec<_>) =
        names.iter().partition(|name| name.as_ref() == JOURNAL_NAME);
    for name in first.into_iter().chain(last) {
        gate.pass().map_err(Freeing::Gate)?;
        remove(&private, &usable_name(name)?, freed)?;
    }
    gate.pass().map_err(Freeing::Gate)?;
    top.remove_dir(&usable_name(STAGE_NAME)?)?;
    freed.entries += 1;
    change_mtime(Object::open(&top), before.mtime())?;
    Ok(())
}

/// Removes an entry with everything below it, and counts.
fn remove(dir: &Dir, name: &Name, freed: &mut Freed) -> Result<(), FsError> {
    let status = dir.status_of(name)?;
    if status.is_directory() {
        let Some(below) = dir.open_dir_here(name, &status)? else {
            return Err(FsError {
                operation: format!(
                    "delete the mount point {}",
                    String::from_utf8_lossy(name.as_bytes())
                ),
                errno: rustix::io::Errno::BUSY,
            });
        };
        for child in below.names()? {
            remove(&below, &usable_name(&child)?, freed)?;
        }
        dir.remove_dir(name)?;
    } else {
        dir.remove_file(name)?;
    }
    freed.entries += 1;
    if status.is_directory() || status.link_count() == 1 {
        freed.bytes += status.allocated_bytes();
    }
    Ok(())
}
