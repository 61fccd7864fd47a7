//! Locks of other programs on files: taken, and held while the file is open. Knows nothing of who
//! they keep out.

use std::os::fd::OwnedFd;

use rustix::fs::FlockOperation;

use super::gate::call;
use super::{Dir, Doing, Result};
use crate::relpath::Name;

/// The two kinds of locks, which do not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// `fcntl`: of this process. It goes as soon as the process closes any handle of the file.
    Process,
    /// `flock`: of this handle.
    Handle,
}

impl Dir {
    /// Takes the lock of a file without waiting; whoever else holds it is an error that
    /// `is_locked`. Held until the handle is dropped.
    pub fn lock_file(&self, name: &Name, kind: LockKind) -> Result<OwnedFd> {
        let file = self.reopen_file(name)?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        match kind {
            LockKind::Process => call!(fs::fcntl_lock(&file, operation)),
            LockKind::Handle => call!(fs::flock(&file, operation)),
        }
        .doing("lock")?;
        Ok(file)
    }
}
