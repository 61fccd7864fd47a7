//! The names in a directory, also of one that others change meanwhile. Knows nothing of what
//! they are.

use std::mem::MaybeUninit;
use std::time::SystemTime;

use rustix::fs::RawDir;

use super::{Dir, Doing, Result, Status, gate};

/// LIMIT: readings of a directory that never holds still. A name would have to be replaced in each
/// of them, each time in the wrong moment, to be missed.
const MOST_READINGS: u32 = 4;

impl Dir {
    /// Reads all names but `.` and `..`, in no order, as the kernel stores them.
    pub fn names(&self) -> Result<Vec<Box<[u8]>>> {
        self.read_names().map(|(names, _)| names)
    }

    /// Reads the names of a directory that others change meanwhile, in order; `before` is how it
    /// looked. What takes more than one call to read can miss a name that is there all the time, if
    /// that is replaced in between: it may lie behind the end that btrfs has noted, or where was read
    /// already. So it is read again until it has held still; all that was read of one that never does.
    pub fn names_of_living(&self, mut before: Status) -> Result<Vec<Box<[u8]>>> {
        let mut names = Vec::new();
        for _ in 0..MOST_READINGS {
            let (read, at_once) = self.read_names()?;
            let has_held_still = at_once || {
                let after = self.status()?;
                let is_same = after.ctime() == before.ctime();
                before = after;
                is_same && before.is_at_rest(SystemTime::now())
            };
            if has_held_still {
                names = read;
                break;
            }
            names.extend(read);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Returns the names, and whether one call has brought them all.
    fn read_names(&self) -> Result<(Vec<Box<[u8]>>, bool)> {
        // A handle of its own: the position of a directory stream belongs to the open file.
        let stream = self.open_leaf(b".")?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
        let mut entries = RawDir::new(&stream, &mut buffer);
        let mut names = Vec::new();
        let mut calls = 0;
        loop {
            if entries.is_buffer_empty() {
                gate::pass("getdents64").doing("read directory")?;
                calls += 1;
            }
            let Some(entry) = entries.next() else {
                // The last one has said that there are no more.
                return Ok((names, calls <= 2));
            };
            let entry = entry.doing("read directory")?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.into());
            }
        }
    }
}
