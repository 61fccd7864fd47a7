//! Where a file has data, and reading and writing it by position.
//!
//! Files of a live machine are read with `pread`, never mapped: a mapping of a file that is cut
//! short kills the process. Knows nothing of directories.

use std::os::fd::AsFd;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::gate::call;
use super::{Doing, FsError, Result};

/// Returns the next stretch of data at or after `offset`, as start and end; `None` when only a
/// hole follows. File systems without hole reporting answer that all is data.
pub fn next_data(fd: impl AsFd, offset: u64, size: u64) -> Result<Option<(u64, u64)>> {
    if offset >= size {
        return Ok(None);
    }
    let start = match call!(fs::seek(&fd, SeekFrom::Data(offset))) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((offset, size))),
        Err(errno) => return Err(errno).doing("find data"),
    };
    let end = match call!(fs::seek(&fd, SeekFrom::Hole(start))) {
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
        match call!(io::pread(
            &fd,
            &mut buffer[filled..],
            offset + filled as u64
        )) {
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
        match call!(io::pwrite(&fd, bytes, offset)) {
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

/// What a place holds before bytes are written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A hole: pages of zeros need not be written.
    Hole,
    /// Anything: pages of zeros give their blocks back.
    Data,
}

/// LIMIT: the page size of the machines we know; a hole is never smaller.
pub const PAGE_LEN: usize = 4096;

/// Writes bytes without their whole pages of zeros, as `rsync -S` does. Returns where the last
/// that was written ends: the length of the file is the caller's to set when that is short of it.
pub fn write_sparse(fd: impl AsFd, bytes: &[u8], offset: u64, ground: Ground) -> Result<u64> {
    let to_page = (PAGE_LEN as u64 - offset % PAGE_LEN as u64) % PAGE_LEN as u64;
    let (head, pages) = bytes.split_at(bytes.len().min(to_page as usize));
    write_at(&fd, head, offset)?;
    let mut end = offset + head.len() as u64;
    let (mut rest, mut offset) = (pages, offset + head.len() as u64);
    while !rest.is_empty() {
        let hole = run_length(rest, true);
        let data = run_length(rest.get(hole..).unwrap_or_default(), false);
        if hole > 0 && ground == Ground::Data {
            clear_range(&fd, offset, hole as u64)?;
        }
        write_at(
            &fd,
            rest.get(hole..hole + data).unwrap_or_default(),
            offset + hole as u64,
        )?;
        offset += (hole + data) as u64;
        if data > 0 {
            end = offset;
        }
        rest = rest.get(hole + data..).unwrap_or_default();
    }
    Ok(end)
}

/// Returns how many bytes in front are whole pages of zeros, or are not.
fn run_length(bytes: &[u8], zeros: bool) -> usize {
    let is_hole = |page: &&[u8]| page.len() == PAGE_LEN && is_zero(page);
    let pages = bytes
        .chunks(PAGE_LEN)
        .take_while(|page| is_hole(page) == zeros);
    pages.map(<[u8]>::len).sum()
}

/// Tells whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks
        .iter()
        .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// Makes a stretch read as zeros, giving its blocks back where the file system can.
pub fn clear_range(fd: impl AsFd, offset: u64, length: u64) -> Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match call!(fs::fallocate(&fd, flags, offset, length)) {
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
    call!(fs::ftruncate(fd, size)).doing("set size")
}

/// Has the empty file `to` share the contents of `from`; `false` where the file system cannot.
pub fn share_contents(from: impl AsFd, to: impl AsFd) -> bool {
    call!(fs::ioctl_ficlone(&to, &from)).is_ok()
}

/// Copies the first `size` bytes of `from` into the empty file `to` on the same machine, holes
/// kept: shared blocks where the file system can, else copied in the kernel.
pub fn copy_contents(from: impl AsFd, to: impl AsFd, size: u64) -> Result<()> {
    if share_contents(&from, &to) {
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
        match call!(fs::copy_file_range(
            &from,
            Some(&mut read),
            &to,
            Some(&mut written),
            length
        )) {
            // Some file systems say that of more than the end.
            Ok(0) => return copy_by_buffer(&from, &to, read, end),
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
            return Err(FsError::stale("copy basis"));
        }
        write_at(&to, &buffer[..count], offset)?;
        offset += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::{Ground, is_zero, write_sparse};

    #[test]
    fn finds_a_byte_that_is_not_zero_anywhere() {
        for at in [0, 63, 64, 199] {
            let mut bytes = vec![0u8; 200];
            assert!(is_zero(&bytes));
            bytes[at] = 1;
            assert!(!is_zero(&bytes));
        }
    }

    #[test]
    fn pages_of_zeros_read_as_zeros_and_take_no_room() {
        let mut bytes = vec![0u8; 100_000];
        bytes[5] = 1;
        bytes[50_000] = 2;
        for (ground, offset) in [
            (Ground::Hole, 0),
            (Ground::Hole, 777),
            (Ground::Data, 4096),
            (Ground::Data, 5),
        ] {
            let file = tempfile::tempfile().unwrap();
            if ground == Ground::Data {
                file.write_all_at(&[9; 120_000], 0).unwrap();
            }
            write_sparse(&file, &bytes, offset, ground).unwrap();
            file.set_len(offset + 100_000).unwrap();
            let mut landed = vec![7u8; 100_000];
            file.read_exact_at(&mut landed, offset).unwrap();
            assert!(landed == bytes, "{ground:?} {offset}");
            assert!(
                file.metadata().unwrap().blocks() <= 8 * 6,
                "{ground:?} {offset}"
            );
        }
    }
}
