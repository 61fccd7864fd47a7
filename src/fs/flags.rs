//! The flags with which a file system refuses changes of an inode: immutable, and append only.
//! Knows nothing of why something goes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::IFlags;
use rustix::io::Errno;

use super::gate::call;
use super::{Dir, Doing, Result, Status};
use crate::relpath::Name;

/// What keeps a name where it is.
const FIXED: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

impl Dir {
    /// Tells whether a name here is immutable or can only grow: it cannot be removed, renamed or
    /// exchanged. Only files and directories have such flags.
    pub fn is_fixed(&self, name: &Name, status: &Status) -> Result<bool> {
        match self.open_flagged(name, status)? {
            Some(file) => Ok(flags_of(&file)?.intersects(FIXED)),
            None => Ok(false),
        }
    }

    /// Removes a file or an empty directory, also where it or this directory is immutable or can
    /// only grow. A file with further names keeps its flags there.
    ///
    /// RACE: it is without them for the moment of the call.
    pub fn remove_fixed(&self, name: &Name, status: &Status) -> Result<()> {
        let remove = || match status.is_directory() {
            true => self.remove_dir(name),
            false => self.remove_file(name),
        };
        match remove() {
            Err(error) if error.errno == Errno::PERM => {}
            result => return result,
        }
        let around = flags_of(self)?;
        set_flags(self, around, around.difference(FIXED))?;
        let Some(file) = self.open_flagged(name, status)? else {
            return remove();
        };
        let before = flags_of(&file)?;
        set_flags(&file, before, before.difference(FIXED))?;
        let removed = remove();
        if removed.is_err() || (status.link_count() > 1 && !status.is_directory()) {
            set_flags(&file, before.difference(FIXED), before)?;
        }
        removed
    }

    /// Opens what can have flags; opening a device would wake it.
    fn open_flagged(&self, name: &Name, status: &Status) -> Result<Option<OwnedFd>> {
        match status.is_file() || status.is_directory() {
            true => self.open_file(name).map(Some),
            false => Ok(None),
        }
    }
}

/// Returns the flags of an open file or directory; none where the file system has none.
fn flags_of(file: impl AsFd) -> Result<IFlags> {
    match call!(fs::ioctl_getflags(file)) {
        Err(Errno::NOTTY | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => Ok(IFlags::empty()),
        flags => flags.doing("read flags"),
    }
}

fn set_flags(file: impl AsFd, before: IFlags, wanted: IFlags) -> Result<()> {
    match before == wanted {
        true => Ok(()),
        false => call!(fs::ioctl_setflags(file, wanted)).doing("set flags"),
    }
}
