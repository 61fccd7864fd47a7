//! Block sums at the same place on both sides: finds what changed in place, resumes a file that
//! was cut, and tells equal files apart from changed ones. Knows nothing of shifted contents.

use std::ops::Range;
use std::os::fd::OwnedFd;

use crossbeam_channel::Receiver;

use super::{BasisPart, next_part};
use crate::fs::extents::is_zero;
use crate::transfer::SEGMENT_LEN;
use crate::transfer::digest::{ContentHasher, DIGEST_BLOCK, Sum, quick_sum_of};
use crate::transfer::spans::{Span, SpanReader};
use crate::transfer::stopwatch::{Activity, doing};
use crate::transfer::upload::{LargeFile, Progress, SendError};
use crate::transfer::wire::message::{Down, SUM_LEN};

/// LIMIT: shortest block, one page; shorter ones cost more sums than they save contents.
pub const MIN_BLOCK_LEN: u64 = 4096;
/// LIMIT: longest block, in bytes.
pub const MAX_BLOCK_LEN: u64 = 4 << 20;
/// LIMIT: blocks of one message of sums (docs/protocol.md, [sums]).
pub const MAX_PART_BLOCKS: u64 = 8192;
/// LIMIT: blocks of one file, 4 MiB of sums: larger files get longer blocks.
const MAX_BLOCKS: u64 = 512 * 1024;

/// How the basis is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Bytes of a block.
    pub block_length: u64,
    /// Bytes of the basis.
    pub size: u64,
}

impl Grid {
    /// Cuts a basis of `size` bytes into blocks of `shortest` bytes, or longer ones where that
    /// would be too many.
    pub fn new(size: u64, shortest: u64) -> Grid {
        let needed = size.div_ceil(MAX_BLOCKS).next_power_of_two();
        Grid {
            block_length: needed.clamp(shortest, MAX_BLOCK_LEN),
            size,
        }
    }

    /// Tells whether its blocks are those of the content digest: they are hashed once for both.
    pub fn hashes_once(self) -> bool {
        self.block_length == DIGEST_BLOCK as u64
    }

    fn check(self) -> Result<(), SendError> {
        let fits = (MIN_BLOCK_LEN..=MAX_BLOCK_LEN).contains(&self.block_length);
        if fits && self.block_length.is_power_of_two() {
            Ok(())
        } else {
            Err(SendError::Basis("a block length out of bounds"))
        }
    }
}

/// Sends what differs from the sums of the basis, then what lies beyond its end.
pub fn send(
    large: LargeFile<'_>,
    (file, size): (&OwnedFd, u64),
    grid: Grid,
    parts: &Receiver<BasisPart>,
    progress: &mut Progress,
) -> Result<(), SendError> {
    grid.check()?;
    let common = size.min(grid.size);
    let mut reader = SpanReader::new(file, size, grid.block_length);
    let mut comparison = Comparison {
        large,
        grid,
        progress,
        zeros: None,
    };
    while reader.position() < common.min(reader.size()) {
        let part = next_part(parts, large.settings.window)?;
        if part.number != reader.position() / grid.block_length || part.body.is_empty() {
            return Err(SendError::Basis("sums out of order"));
        }
        comparison.compare_part(&mut reader, &part.body, common)?;
    }
    comparison.flush_zeros()?;
    progress.differs |= reader.size() != grid.size;
    progress.read_to = reader.position();
    if reader.position() < reader.size() && !large.settings.dry_run {
        large.send_range(file, reader.position()..size, progress)?;
    }
    Ok(())
}

struct Comparison<'a, 'p> {
    large: LargeFile<'a>,
    grid: Grid,
    progress: &'p mut Progress,
    /// A stretch of zeros that the target does not have.
    zeros: Option<Range<u64>>,
}

impl Comparison<'_, '_> {
    fn compare_part(
        &mut self,
        reader: &mut SpanReader<'_>,
        sums: &[u8],
        common: u64,
    ) -> Result<(), SendError> {
        let (sums, []) = sums.as_chunks::<SUM_LEN>() else {
            return Err(SendError::Basis("a sum that is cut"));
        };
        let begin = reader.position();
        // A last short block of the basis is compared with all that the source has there.
        let last_end = common
            .div_ceil(self.grid.block_length)
            .saturating_mul(self.grid.block_length);
        let covered = self.grid.block_length.saturating_mul(sums.len() as u64);
        let limit = begin.saturating_add(covered).min(last_end);
        loop {
            let offset = reader.position();
            let first = ((offset - begin) / self.grid.block_length) as usize;
            let Some(span) = reader.next(limit)? else {
                return Ok(());
            };
            let sums = sums.get(first..).unwrap_or_default();
            match span {
                Span::Hole(length) => self.compare_hole(offset, length, sums)?,
                Span::Data(bytes) => self.compare_data(offset, bytes, sums)?,
            }
        }
    }

    fn compare_hole(&mut self, offset: u64, length: u64, sums: &[Sum]) -> Result<(), SendError> {
        let blocks = length.div_ceil(self.grid.block_length) as usize;
        for (number, sum) in sums.iter().take(blocks).enumerate() {
            if *sum != [0; SUM_LEN] {
                let start = offset + number as u64 * self.grid.block_length;
                self.add_zeros(start..(start + self.grid.block_length).min(offset + length))?;
            }
        }
        Ok(())
    }

    fn compare_data(&mut self, offset: u64, bytes: &[u8], sums: &[Sum]) -> Result<(), SendError> {
        let mut found = Vec::new();
        let hasher = &mut self.progress.hasher;
        doing(Activity::Hash, || {
            sum_up(self.grid, offset, bytes, hasher, &mut found);
        });
        let mut different = 0..0;
        for (number, block) in bytes.chunks(self.grid.block_length as usize).enumerate() {
            let start = number * self.grid.block_length as usize;
            let end = start + block.len();
            if sums.get(number) == found.get(number) {
                continue;
            }
            if is_zero(block) {
                self.add_zeros(offset + start as u64..offset + end as u64)?;
                continue;
            }
            if start != different.end || end - different.start > SEGMENT_LEN {
                self.send_bytes(offset, bytes, different)?;
                different = start..end;
            }
            different.end = end;
        }
        self.send_bytes(offset, bytes, different)
    }

    fn send_bytes(
        &mut self,
        offset: u64,
        bytes: &[u8],
        range: Range<usize>,
    ) -> Result<(), SendError> {
        if range.is_empty() {
            return Ok(());
        }
        self.progress.differs = true;
        if self.large.settings.dry_run {
            return Ok(());
        }
        let start = offset + range.start as u64;
        let bytes = bytes.get(range).unwrap_or_default();
        self.large.send_bytes(start, bytes)
    }

    fn add_zeros(&mut self, range: Range<u64>) -> Result<(), SendError> {
        match &mut self.zeros {
            Some(zeros) if zeros.end == range.start => zeros.end = range.end,
            _ => {
                self.flush_zeros()?;
                self.zeros = Some(range);
            }
        }
        Ok(())
    }

    /// WIRE[zero]
    fn flush_zeros(&mut self) -> Result<(), SendError> {
        let Some(range) = self.zeros.take() else {
            return Ok(());
        };
        self.progress.differs = true;
        if self.large.settings.dry_run {
            return Ok(());
        }
        let (offset, length) = (range.start, range.end - range.start);
        let message = Down::Zero {
            want: self.large.want,
            offset,
            length,
        };
        let frame = self.large.builder(&message, 0)?;
        self.large.send_frame(frame, 0)
    }
}

/// Makes the sums of a stretch of data and adds it to the content digest.
pub fn sum_up(
    grid: Grid,
    offset: u64,
    bytes: &[u8],
    hasher: &mut ContentHasher,
    sums: &mut Vec<Sum>,
) {
    let blocks = bytes.chunks(grid.block_length as usize);
    if grid.hashes_once() {
        let first = offset / grid.block_length;
        sums.extend(
            (first..)
                .zip(blocks)
                .map(|(number, block)| hasher.add_block(number, block)),
        );
    } else {
        hasher.add(offset, bytes);
        sums.extend(blocks.map(quick_sum_of));
    }
}
