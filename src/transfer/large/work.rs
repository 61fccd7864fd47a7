//! What a large file is filled in: a new file that takes the name at the end, or the one that has
//! it. Knows nothing of what fills it.

use std::os::fd::OwnedFd;

use crate::fs::stage::NewFile;
use crate::fs::{Result, extents};

/// Where contents go. Dropping it removes what has no name yet.
#[derive(Debug)]
pub(super) enum Work {
    /// A new file in the stage.
    New(NewFile),
    /// The file that is there, patched where it lies.
    There(There),
}

/// A file that is patched where it lies.
#[derive(Debug)]
pub(super) struct There {
    file: OwnedFd,
    /// Bytes.
    size: u64,
    is_torn: bool,
}

impl There {
    /// Takes the file, of `size` bytes.
    pub(super) fn new(file: OwnedFd, size: u64) -> There {
        There {
            file,
            size,
            is_torn: false,
        }
    }

    /// Returns the handle.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Makes it a byte longer: neither the old file nor the new one, it cannot be taken for either
    /// by a run after a cut. Its time stamp can be that of the source's by chance.
    pub(super) fn tear(&mut self) -> Result<()> {
        if !self.is_torn {
            extents::set_size(&self.file, self.size + 1)?;
            self.is_torn = true;
        }
        Ok(())
    }
}

impl Work {
    /// Returns the handle by which it is filled.
    pub(super) fn file(&self) -> &OwnedFd {
        match self {
            Work::New(new) => new.file(),
            Work::There(there) => there.file(),
        }
    }

    /// Returns the handle, before anything is written by it.
    pub(super) fn for_writing(&mut self) -> Result<&OwnedFd> {
        if let Work::There(there) = self {
            there.tear()?;
        }
        Ok(self.file())
    }

    /// Gives it its length: from now on it is whole, if it is right.
    pub(super) fn set_size(&mut self, size: u64) -> Result<()> {
        if let Work::There(there) = self {
            there.is_torn = false;
        }
        extents::set_size(self.file(), size)
    }

    /// Tells whether what has the name is neither the old file nor the new one.
    pub(super) fn is_torn(&self) -> bool {
        matches!(self, Work::There(there) if there.is_torn)
    }

    /// Lets go of it; a new file is not continued later.
    pub(super) fn discard(self) {
        if let Work::New(new) = self {
            new.discard();
        }
    }
}
