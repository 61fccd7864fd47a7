//! What a staged clone has to remember between its fix-ups and its switch, as a note beside the
//! stage. Knows nothing of who reads it.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::carry::{Carry, Occasion};
use super::{OwnerMap, Task};
use crate::entry::Timestamp;
use crate::exclude::Rules;
use crate::fs::staged::{CLONE_NAME, read_note, write_note};
use crate::fs::{Dir, FsError, Result};
use crate::relpath::RelPath;

/// Of the note's form; another program's note is refused.
const VERSION: u32 = 2;

/// The note `clone`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CloneNote {
    version: u32,
    /// Mount points with stages of their own.
    pub volumes: Vec<RelPath>,
    /// The rules of the run.
    pub rules: Rules,
    /// Paths of the source that were not looked into: other file systems are mounted there.
    pub apart: Vec<RelPath>,
    /// Which numbers of owners the target's own files get.
    pub owners: OwnerMap,
    /// What the fix-ups decided about; sorted. Nothing of it is taken from the target again.
    pub edited: Vec<RelPath>,
    /// When the target was last asked what it keeps.
    pub carried_at: Timestamp,
}

impl CloneNote {
    /// Returns the note of a clone by `rules` on one volume, whose fix-ups decided about nothing.
    pub fn new(rules: Rules) -> CloneNote {
        CloneNote {
            version: VERSION,
            rules,
            ..CloneNote::default()
        }
    }

    /// Returns the note for `task`, whose fix-ups came to `owners` and decided about `edited`.
    pub(super) fn of(
        task: &Task,
        volumes: &[RelPath],
        (owners, edited): (OwnerMap, Vec<RelPath>),
        carried_at: Timestamp,
    ) -> CloneNote {
        CloneNote {
            volumes: volumes.to_vec(),
            apart: task.apart.clone(),
            owners,
            edited,
            carried_at,
            ..CloneNote::new(task.rules.clone())
        }
    }

    /// Reads the note beside the stage of `live`; `None` where there is none.
    pub fn read(live: &Dir) -> Result<Option<CloneNote>> {
        let Some(bytes) = read_note(live, CLONE_NAME)? else {
            return Ok(None);
        };
        match postcard::from_bytes::<CloneNote>(&bytes) {
            Ok(note) if note.version == VERSION => Ok(Some(note)),
            Ok(_) | Err(_) => Err(unusable("read the note of the clone", Errno::BADMSG)),
        }
    }

    /// Writes it there.
    pub fn write(&self, live: &Dir) -> Result<()> {
        let bytes = postcard::to_stdvec(self)
            .map_err(|_| unusable("write the note of the clone", Errno::INVAL))?;
        write_note(live, CLONE_NAME, &bytes)
    }

    /// Returns what to carry right before the switch.
    pub fn refresh(&self) -> Carry<'_> {
        Carry {
            rules: &self.rules,
            apart: &self.apart,
            owners: &self.owners,
            edited: &self.edited,
            occasion: Occasion::BeforeSwitch,
        }
    }
}

fn unusable(operation: &str, errno: Errno) -> FsError {
    FsError {
        operation: operation.to_owned(),
        errno,
    }
}
