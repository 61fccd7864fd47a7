//! Files without a name: what is made so vanishes with its handle, whatever happens, until it gets
//! one at one moment. Knows nothing of what is in them.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::gate::call;
use super::stand::OPEN_FILES;
use super::{Dir, Doing, Result};
use crate::relpath::Name;

impl Dir {
    /// Creates a file without a name in this file system, for reading and writing, with at most
    /// the permissions of `mode`. It vanishes unless it gets a name. `None` where the file system
    /// cannot.
    pub fn create_unnamed(&self, mode: u16) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(u32::from(mode)) & (Mode::RWXU | Mode::RWXG | Mode::RWXO);
        match call!(fs::openat(self, ".", flags, mode)) {
            // What an old kernel or a file system without it says.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(None),
            file => file.doing("create").map(Some),
        }
    }

    /// Gives a file without a name one in this directory, where nothing may be (`EEXIST`).
    pub fn name_file(&self, file: impl AsFd, name: &Name) -> Result<()> {
        let name = name.as_bytes();
        match call!(fs::linkat(&file, "", self, name, AtFlags::EMPTY_PATH)) {
            // What one who may not read everything is told, also where the directory is gone.
            Err(Errno::NOENT) => {
                let path = format!("{OPEN_FILES}/{}", file.as_fd().as_raw_fd());
                let follow = AtFlags::SYMLINK_FOLLOW;
                call!(fs::linkat(CWD, path, self, name, follow))
            }
            result => result,
        }
        .doing("link")
    }
}
