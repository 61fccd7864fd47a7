//! A file in memory that another program writes into: what it said is there when it has ended,
//! whoever else has the file open still. Knows nothing of programs.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};

use super::gate::call;
use super::{Doing, Result};

/// LIMIT: bytes that are read of one; a program that says more says it to nobody.
const MAX_LEN: u64 = 1 << 20;

/// A file in memory. It takes no more from anybody once it was read.
#[derive(Debug)]
pub struct MemoryFile(OwnedFd);

impl MemoryFile {
    /// Makes an empty one. Linux has them since 3.17.
    pub fn new() -> Result<MemoryFile> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = call!(fs::memfd_create("instancesync", flags));
        file.doing("create").map(MemoryFile)
    }

    /// Returns another handle of it, to be written to.
    pub fn handle(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Returns what was written, up to 1 MiB. Who writes to it later is refused (`EPERM`), and is
    /// not killed as by a pipe without a reader.
    pub fn read(self) -> io::Result<Vec<u8>> {
        call!(fs::fcntl_add_seals(&self.0, SealFlags::GROW))?;
        let mut file = File::from(self.0);
        file.rewind()?;
        let mut bytes = Vec::new();
        file.take(MAX_LEN).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, Write};

    use super::MemoryFile;

    #[test]
    fn what_was_written_is_read_and_nothing_more_is_taken() {
        let memory = MemoryFile::new().unwrap();
        let mut writer = File::from(memory.handle().unwrap());
        writer.write_all(b"said\n").unwrap();
        assert_eq!(memory.read().unwrap(), b"said\n");
        let late = writer.write_all(b"more").unwrap_err();
        assert_eq!(late.kind(), ErrorKind::PermissionDenied);
    }
}
