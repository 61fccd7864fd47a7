//! Frees what is not live: what a switch replaced, or a stage. Never leaves a volume. Knows
//! nothing of whether anybody still needs it.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::absolute;
use super::journal::{self, JOURNAL_NAME, Journal, LEFT_PREFIX, Memo, Phase};
use super::{Gate, SwitchError};
use crate::fs::metadata::change_mtime;
use crate::fs::stage::STAGE_NAME;
use crate::fs::staged::{SIDES, open_private, private_dir, volume_top};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, usable_name};
use crate::relpath::{Name, RelPath};

/// LIMIT: how many of the names that stay are told.
const MAX_LEFT: usize = 100;

/// What was freed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Bytes on disk. What has further names does not count.
    pub bytes: u64,
    /// Files, directories and other entries.
    pub entries: u64,
    /// How many could not be removed; the next discard tries again.
    pub left_count: u64,
    /// The first 100 of them.
    pub left: Vec<Left>,
}

/// One entry that could not be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Where it lies, from the root.
    pub path: String,
    /// Why it stays.
    pub cause: String,
}

/// Removes everything in the private directories of the first volume, of those of the journal and
/// of `volumes`; one that is not there is fine, and so is what cannot be removed: it is told.
pub fn discard(live: &Dir, volumes: &[RelPath], gate: &Gate) -> Result<Freed, SwitchError> {
    let root = RelPath::root();
    let mut freed = Freed::default();
    match private_dir(live, &root) {
        // What could not be removed may be left on the others.
        Err(error) if error.is_missing() => free_volumes(live, volumes, &mut freed, gate)?,
        result => {
            result.map_err(SwitchError::at(&root))?;
            let mut all = begin(live, gate)?;
            all.extend(volumes.iter().filter(|path| !path.is_root()).cloned());
            all.sort();
            all.dedup();
            free_volumes(live, &all, &mut freed, gate)?;
            free_volumes(live, &[root], &mut freed, gate)?;
        }
    }
    Ok(freed)
}

/// Gives up the way back, if there is one, and returns the volumes that have to do with it.
fn begin(live: &Dir, gate: &Gate) -> Result<Vec<RelPath>, SwitchError> {
    let mut journal = match journal::read(live)? {
        Some(journal) => match journal.phase {
            Phase::Switching | Phase::RollingBack => return Err(SwitchError::UnderWay),
            Phase::Switched | Phase::Discarding => journal,
        },
        None => Journal::new(Phase::Discarding, Vec::new(), Memo::default(), 0),
    };
    // ORDER: from the first removal on there is no way back, so nobody may try it.
    journal.phase = Phase::Discarding;
    gate.pass()?;
    journal::write(live, &journal)?;
    let synced = live.sync_file_system();
    synced.map_err(SwitchError::at(&RelPath::root()))?;
    Ok(journal.volumes())
}

/// Frees volumes, those inside of others first.
fn free_volumes(
    live: &Dir,
    volumes: &[RelPath],
    freed: &mut Freed,
    gate: &Gate,
) -> Result<(), SwitchError> {
    for path in volumes.iter().rev() {
        free_volume(live, path, freed, gate).map_err(|error| match error {
            Freeing::Call(cause) => SwitchError::at(path)(cause),
            Freeing::Gate(error) => error,
        })?;
    }
    Ok(())
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
    let own = usable_name(STAGE_NAME)?;
    let top = match volume_top(live, path) {
        Err(error) if error.is_missing() => return Ok(()),
        result => result?,
    };
    let private = match open_private(&top) {
        Err(error) if error.is_missing() => return Ok(()),
        result => result?,
    };
    let before = top.status()?;
    for side in SIDES {
        gate.pass().map_err(Freeing::Gate)?;
        put_aside(&private, &usable_name(side)?)?;
    }
    let left_before = freed.left_count;
    for name in private.names()? {
        if name.as_ref() != JOURNAL_NAME {
            gate.pass().map_err(Freeing::Gate)?;
            let name = usable_name(&name)?;
            remove(&private, &name, &path.join(&own).join(&name), freed);
        }
    }
    // ORDER: the journal goes last, when all else is on disk; it says that there is no way back.
    gate.pass().map_err(Freeing::Gate)?;
    private.sync_file_system()?;
    match private.remove_file(&usable_name(JOURNAL_NAME)?) {
        Err(error) if error.is_missing() => {}
        result => {
            result?;
            freed.entries += 1;
        }
    }
    if freed.left_count == left_before {
        gate.pass().map_err(Freeing::Gate)?;
        top.remove_dir(&own)?;
        freed.entries += 1;
        change_mtime(Object::open(&top), before.mtime())?;
    }
    Ok(())
}

/// Gives a tree, if it is there, a name that is in no later run's way.
fn put_aside(private: &Dir, side: &Name) -> Result<(), FsError> {
    for number in 0u64.. {
        let free = usable_name(format!("{LEFT_PREFIX}{number}").as_bytes())?;
        match private.move_to_free(side, private, &free) {
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) if error.errno == Errno::EXIST => {}
            result => return result,
        }
    }
    Ok(())
}

/// Removes an entry with everything below it, and counts.
fn remove(dir: &Dir, name: &Name, path: &RelPath, freed: &mut Freed) {
    match try_remove(dir, name, path, freed) {
        Err(error) if !error.is_missing() => {
            freed.left_count += 1;
            if freed.left.len() < MAX_LEFT {
                freed.left.push(Left {
                    path: absolute(path),
                    cause: format!("{error}: {}", error.cause()),
                });
            }
        }
        _ => {}
    }
}

fn try_remove(dir: &Dir, name: &Name, path: &RelPath, freed: &mut Freed) -> Result<(), FsError> {
    let status = dir.status_of(name)?;
    if status.is_directory() {
        let Some(below) = dir.open_dir_of_mount(name, &status)? else {
            return Err(FsError {
                operation: "delete a mount point".to_owned(),
                errno: Errno::BUSY,
            });
        };
        let left_before = freed.left_count;
        for child in below.names()? {
            let child = usable_name(&child)?;
            remove(&below, &child, &path.join(&child), freed);
        }
        if freed.left_count > left_before {
            return Ok(());
        }
    }
    dir.remove_fixed(name, &status)?;
    freed.entries += 1;
    if status.is_directory() || status.link_count() == 1 {
        freed.bytes = freed.bytes.saturating_add(status.allocated_bytes());
    }
    Ok(())
}
