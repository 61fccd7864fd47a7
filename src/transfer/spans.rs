//! A file as stretches of data and holes, block by block: what block sums are made of on both
//! sides without reading holes. Knows nothing of who compares.

use std::os::fd::{AsFd, BorrowedFd};

use super::stopwatch::{Activity, doing};
use crate::fs::{FsError, extents};

/// Bytes that are read at once; a multiple of every block length up to it.
const READ_LEN: u64 = 1 << 20;

/// A stretch of a file.
#[derive(Debug)]
pub enum Span<'a> {
    /// Reads as zeros, so many bytes.
    Hole(u64),
    /// Data; shorter than asked only at the end of the file.
    Data(&'a [u8]),
}

/// Goes through a file from front to back.
#[derive(Debug)]
pub struct SpanReader<'f> {
    file: BorrowedFd<'f>,
    size: u64,
    block_length: u64,
    /// The stretch of data at or after the position, as the file system told.
    data: (u64, u64),
    position: u64,
    buffer: Vec<u8>,
}

impl<'f> SpanReader<'f> {
    /// Starts at the front of a file of `size` bytes.
    pub fn new(file: &'f impl AsFd, size: u64, block_length: u64) -> SpanReader<'f> {
        SpanReader {
            file: file.as_fd(),
            size,
            block_length,
            data: (0, 0),
            position: 0,
            buffer: Vec::new(),
        }
    }

    /// Returns the size of the file, less than was said when it turned out to be shorter.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns where the next stretch begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the next stretch, at most up to `limit` and beginning at a block; `None` at the
    /// end of the file.
    pub fn next(&mut self, limit: u64) -> Result<Option<Span<'_>>, FsError> {
        let limit = limit.min(self.size);
        if self.position >= limit {
            return Ok(None);
        }
        if self.data.1 <= self.position {
            let found = extents::next_data(self.file, self.position, self.size)?;
            self.data = found.unwrap_or((self.size, self.size));
        }
        let hole_end = (self.data.0 / self.block_length * self.block_length).min(limit);
        let hole_end = if self.data.0 >= self.size {
            limit
        } else {
            hole_end
        };
        if hole_end > self.position {
            let length = hole_end - self.position;
            self.position = hole_end;
            return Ok(Some(Span::Hole(length)));
        }
        let step = READ_LEN.max(self.block_length) / self.block_length * self.block_length;
        // A block that begins with data and ends in a hole is read whole.
        let data_end = self
            .data
            .1
            .div_ceil(self.block_length)
            .saturating_mul(self.block_length);
        let end = limit.min(self.position + step).min(data_end);
        self.buffer.resize((end - self.position) as usize, 0);
        let (buffer, position) = (&mut self.buffer, self.position);
        let count = doing(Activity::Read, || {
            extents::read_at(self.file, buffer, position)
        })?;
        self.buffer.truncate(count);
        if (count as u64) < end - self.position {
            // LIVE: it was cut short meanwhile.
            self.size = self.position + count as u64;
        }
        self.position += count as u64;
        Ok((count > 0).then_some(Span::Data(&self.buffer)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Span, SpanReader};
    use std::os::unix::fs::FileExt;

    #[test]
    fn spans_add_up_to_the_file() {
        let file = tempfile::tempfile().unwrap();
        let size = (5 << 20) + 1234;
        file.set_len(size).unwrap();
        for (at, length) in [(10_000, 5000), (2 << 20, 1 << 20), (size - 100, 100)] {
            file.write_all_at(&vec![7; length], at).unwrap();
        }
        for block in [4096u64, 65536, 2 << 20] {
            let mut reader = SpanReader::new(&file, size, block);
            let mut rebuilt = Vec::new();
            while let Some(span) = reader.next(u64::MAX).unwrap() {
                match span {
                    Span::Hole(length) => rebuilt.resize(rebuilt.len() + length as usize, 0),
                    Span::Data(bytes) => rebuilt.extend_from_slice(bytes),
                }
            }
            let mut wanted = vec![0; size as usize];
            file.read_exact_at(&mut wanted, 0).unwrap();
            assert!(rebuilt == wanted, "block {block}");
        }
    }
}
