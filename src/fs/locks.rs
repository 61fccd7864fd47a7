//! Locks, held while what is locked is open: ours on a target directory, and those of other
//! programs on files. Knows nothing of who they keep out.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::gate::call;
use super::{Dir, Doing, Result};
use crate::relpath::Name;

/// How often it is tried to take a lock that somebody else holds.
const PAUSE: Duration = Duration::from_millis(50);

/// The two kinds of locks, which do not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// `fcntl`: of this process. It goes as soon as the process closes any handle of the file.
    Process,
    /// `flock`: of this handle.
    Handle,
}

impl Dir {
    /// Locks this directory against a second run, for as long as the handle is open.
    pub fn lock(&self) -> Result<()> {
        call!(fs::flock(self, FlockOperation::NonBlockingLockExclusive))
            .doing("lock the target directory against a second run")
    }

    /// Does the same, and waits up to `limit` for another run that holds the lock.
    ///
    /// RACE: a program that is being started has the handle of its parent, until it runs; and who
    /// lost its link may be about to end.
    pub fn lock_within(&self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        loop {
            match self.lock() {
                Err(error) if error.is_locked() && Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

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
