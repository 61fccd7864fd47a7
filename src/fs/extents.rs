//! Where a file has data, and reading and writing it by position.
//!
//! Files of a live machine are read with `pread`, never mapped: a mapping of a file that is cut
//! short kills the process. Knows nothing of directories.

use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::{Doing, Result};

/// Returns the next stretch of data at or after `offset`, as start and end; `None` when only a
/// hole follows. File systems without hole reporting answer that all is data.
pub fn next_data(fd: impl AsFd, offset: u64, size: u64) -> Result<Option<(u64, u64)>> {
    if offset >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(&fd, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((offset, size))),
        Err(errno) => return Err(errno).doing("find data"),
    };
    let end = match rustix::fs::seek(&fd, SeekFrom::Hole(start)) {
        Ok(end) => end,
        Err(Errno::NXIO | Errno::INVAL | Errno::NOTSUP) => size,
        Err(errno) => return Err(errno).doing("find hole"),
    };
    Ok((start < size).then_some((start, end.min(size))))
}

/// Fills `buffer` from `offset`; returns how much there was (less only at the end of the file).
pub fn read_at(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).doing("read"),
        }
    }
    Ok(filled)
}

/// Writes all of `bytes` at `offset`.
pub fn write_at(fd: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(&fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO).doing("write"),
            Ok(count) => {
                bytes = &bytes[count..];
                offset += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).doing("write"),
        }
    }
    Ok(())
}

/// Makes a stretch read as zeros, giving its blocks back where the file system can.
pub fn clear_range(fd: impl AsFd, offset: u64, length: u64) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(&fd, flags, offset, length) {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
            let zeros = vec![0u8; length.min(1 << 20) as usize];
            let mut done = 0;
            while done < length {
                let part = (length - done).min(zeros.len() as u64);
                write_at(&fd, &zeros[..part as usize], offset + done)?;
                done += part;
            }
            Ok(())
        }
        result => result.doing("punch hole"),
    }
}

/// Sets the length of a file.
pub fn set_size(fd: impl AsFd, size: u64) -> Result<()> {
    rustix::fs::ftruncate(fd, size).doing("set size")
}

/// Copies the first `size` bytes of `from` into the empty file `to` on the same machine, holes
/// kept: shared blocks where the file system can, else copied in the kernel.
pub fn copy_contents(from: impl AsFd, to: impl AsFd, size: u64) -> Result<()> {
    if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        return set_size(&to, size);
    }
    let mut offset = 0;
    while let Some((start, end)) = next_data(&from, offset, size)? {
        copy_range(&from, &to, start, end)?;
        offset = end;
    }
    set_size(&to, size)
}

fn copy_range(from: impl AsFd, to: impl AsFd, start: u64, end: u64) -> Result<()> {
    let (mut read, mut written) = (start, start);
    while read < end {
        let length = (end - read).min(1 << 30) as usize;
        match rustix::fs::copy_file_range(&from, Some(&mut read), &to, Some(&mut written), length) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => {
                return copy_by_buffer(&from, &to, read, end);
            }
            Err(errno) => return Err(errno).doing("copy basis"),
        }
    }
    Ok(())
}

fn copy_by_buffer(from: impl AsFd, to: impl AsFd, mut offset: u64, end: u64) -> Result<()> {
    let mut buffer = vec![0u8; 1 << 20];
    while offset < end {
        let length = (end - offset).min(buffer.len() as u64) as usize;
        let count = read_at(&from, &mut buffer[..length], offset)?;
        if count == 0 {
            break;
        }
        write_at(&to, &buffer[..count], offset)?;
        offset += count as u64;
    }
    Ok(())
}
