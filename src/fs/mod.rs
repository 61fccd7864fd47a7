//! The only code that makes file-system calls of the engine.
//!
//! Everything below a root is reached by one handle per directory and a leaf name: no call here
//! follows a link that somebody may have swapped in. Every call goes through `gate::call!`, so that
//! tests can let it fail. Knows nothing of passes, wire or rules.

pub mod dir;
pub mod extents;
mod fence;
pub mod flags;
pub mod gate;
pub mod locks;
pub mod memory;
pub mod metadata;
mod names;
mod nesting;
pub mod owned;
pub mod reserve;
pub mod room;
pub mod root;
pub mod stage;
pub mod staged;
mod stand;
pub mod status;
pub mod tree;
mod unnamed;
pub mod xattrs;

pub use dir::Dir;
pub use fence::fence_in;
pub use root::{Root, Space};
pub use staged::Staged;
pub use stand::stand_alone;
pub use status::{FileId, Status, Volume, birth_of, status_of_fd};
pub use tree::Tree;

use std::os::fd::AsFd;

use rustix::io::Errno;

use self::gate::call;
use crate::relpath::Name;

/// A file-system call that failed; who catches it knows the side and the path.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct FsError {
    /// What was being done: "open", "set xattr user.x".
    pub operation: String,
    /// What the kernel said.
    #[source]
    pub errno: Errno,
}

/// Checks a name that the kernel returned: some file systems have names that no path can hold.
pub fn usable_name(bytes: &[u8]) -> Result<Name> {
    Name::new(bytes).map_err(|_| FsError::unusable_name())
}

/// The result of a file-system call.
pub type Result<T> = std::result::Result<T, FsError>;

impl FsError {
    /// Returns the error for something that is not there (any more).
    pub fn missing(operation: &str) -> FsError {
        FsError {
            operation: operation.to_owned(),
            errno: Errno::NOENT,
        }
    }

    /// Takes over what the standard library says of a call.
    pub fn from_io(operation: &str, error: &std::io::Error) -> FsError {
        FsError {
            operation: operation.to_owned(),
            errno: Errno::from_io_error(error).unwrap_or(Errno::IO),
        }
    }

    /// Returns the error for something that is another than the one that was looked at.
    pub fn stale(operation: &str) -> FsError {
        FsError {
            operation: operation.to_owned(),
            errno: Errno::STALE,
        }
    }

    /// Returns the error for what somebody else holds.
    pub fn locked(operation: &str) -> FsError {
        FsError {
            operation: operation.to_owned(),
            errno: Errno::WOULDBLOCK,
        }
    }

    /// Returns the error for a name that no path can hold.
    pub fn unusable_name() -> FsError {
        FsError {
            operation: "use the name".to_owned(),
            errno: Errno::ILSEQ,
        }
    }

    /// Tells whether the name is not there (any more).
    pub fn is_missing(&self) -> bool {
        self.errno == Errno::NOENT
    }

    /// Tells whether something else than a directory stands where one was expected.
    pub fn is_not_directory(&self) -> bool {
        matches!(self.errno, Errno::NOTDIR | Errno::LOOP)
    }

    /// Tells whether nothing can be there: neither the name nor, perhaps, the directory around it.
    pub fn is_gone(&self) -> bool {
        self.is_missing() || self.is_not_directory()
    }

    /// Tells whether the file system is full or over quota.
    pub fn is_no_space(&self) -> bool {
        matches!(self.errno, Errno::NOSPC | Errno::DQUOT)
    }

    /// Tells whether somebody else holds the lock that was tried.
    pub fn is_locked(&self) -> bool {
        self.errno == Errno::WOULDBLOCK
    }

    /// Returns the kernel's words for the cause.
    pub fn cause(&self) -> String {
        let text = std::io::Error::from(self.errno).to_string();
        match text.split_once(" (os error") {
            Some((words, _)) => words.to_owned(),
            None => text,
        }
    }
}

/// Writes what all file systems hold in memory to their disks.
pub fn sync_all() {
    rustix::fs::sync();
}

/// Writes what the file system holds of one file in memory to its disk.
pub fn sync_file(file: impl AsFd) -> Result<()> {
    call!(fs::fsync(file)).doing("sync")
}

/// Names the operation of a failed call.
pub(crate) trait Doing<T> {
    /// Attaches what was being done.
    fn doing(self, operation: &str) -> Result<T>;
}

impl<T> Doing<T> for rustix::io::Result<T> {
    fn doing(self, operation: &str) -> Result<T> {
        self.map_err(|errno| FsError {
            operation: operation.to_owned(),
            errno,
        })
    }
}
