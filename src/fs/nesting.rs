//! How deep directories are opened in each other by what goes down a tree step by step. Knows nothing
//! of who does so.

use rustix::io::Errno;

use super::{FsError, Result};

/// LIMIT: directories of which each was opened in the one before. Whoever goes down a tree that way
/// has all of them open, and a part of the stack for each; somebody with an account may go as deep
/// as they like. Trees that people make have some 50 levels.
const MAX: u16 = 500;

/// How many directories a handle was reached through, since one that was opened by its path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nesting(u16);

impl Nesting {
    /// Returns that of a directory in this one.
    pub(super) fn deeper(self) -> Result<Nesting> {
        if self.0 < MAX {
            return Ok(Nesting(self.0 + 1));
        }
        Err(FsError {
            operation: "go down more than 500 directories".to_owned(),
            errno: Errno::NAMETOOLONG,
        })
    }
}
