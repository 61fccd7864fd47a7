//! Shifted contents: fast_rsync over one window at a time, so that memory stays bounded for a
//! file of any size. Gives up where old and new do not look alike, because searching costs ten
//! times what sending does. Knows nothing of blocks at the same place.

use std::os::fd::OwnedFd;

use crossbeam_channel::Receiver;
use fast_rsync::{Signature, SignatureOptions, diff};

use super::{BasisPart, next_part};
use crate::fs::extents;
use crate::transfer::SEGMENT_LEN;
use crate::transfer::upload::{LargeFile, Progress, SendError};
use crate::transfer::wire::frame::FrameBuilder;
use crate::transfer::wire::link::LinkLost;
use crate::transfer::wire::message::Down;

/// Bytes of the new file that are matched at once (docs/protocol.md, [windows]).
pub const WINDOW_LEN: u64 = 8 << 20;
/// How much further the stretch of the basis reaches on both sides.
const SLACK_LEN: u64 = 4 << 20;
/// LIMIT: a delta that does not fit in a frame saves too little, in bytes.
const LONGEST_DELTA: usize = 3 << 20;
/// How many windows may match badly in a row before the rest is sent whole.
const MAX_MISSES: u32 = 2;
/// LIMIT: shortest and longest block of a signature, in bytes.
const BLOCK_LENS: std::ops::RangeInclusive<u32> = 512..=256 * 1024;
/// Bytes of the strong hash of a block; the digest of the whole file is what is trusted.
const HASH_LEN: u32 = 8;

/// A stretch of the basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// Returns how many windows a basis of `size` bytes has.
pub fn window_count(size: u64) -> u64 {
    size.div_ceil(WINDOW_LEN)
}

/// Returns the stretch of the basis around window `index`.
pub fn stretch(index: u64, basis_size: u64) -> Stretch {
    let start = index
        .saturating_mul(WINDOW_LEN)
        .saturating_sub(SLACK_LEN)
        .min(basis_size);
    let end = index
        .saturating_add(1)
        .saturating_mul(WINDOW_LEN)
        .saturating_add(SLACK_LEN);
    Stretch {
        offset: start,
        length: end.min(basis_size) - start,
    }
}

/// Makes the signature of a stretch; blocks grow with the square root of the file, so that the
/// signatures of 100 GiB stay near 20 MiB.
pub fn sign(stretch: &[u8], basis_size: u64) -> Vec<u8> {
    let root = u32::try_from(basis_size.isqrt())
        .unwrap_or(u32::MAX)
        .min(128 * 1024);
    let block_size = root.next_power_of_two().clamp(2048, 128 * 1024);
    let options = SignatureOptions {
        block_size,
        crypto_hash_size: HASH_LEN,
    };
    Signature::calculate(stretch, options).into_serialized()
}

/// Refuses what fast_rsync would trust: a block length of zero makes its search run for ever.
fn open_signature(bytes: Vec<u8>) -> Result<Signature, SendError> {
    let field = bytes
        .get(4..8)
        .and_then(|field| <[u8; 4]>::try_from(field).ok());
    let block_length = field.map(u32::from_be_bytes).unwrap_or_default();
    if !BLOCK_LENS.contains(&block_length) {
        return Err(SendError::Basis(
            "a signature with a block length out of bounds",
        ));
    }
    Signature::deserialize(bytes).map_err(|_| SendError::Basis("a signature that cannot be read"))
}

/// Sends a file window by window as deltas against the basis, or whole where that saves nothing.
pub fn send(
    large: LargeFile<'_>,
    (file, size): (&OwnedFd, u64),
    basis_size: u64,
    parts: &Receiver<BasisPart>,
    progress: &mut Progress,
) -> Result<(), SendError> {
    progress.differs = true;
    if large.settings.dry_run {
        progress.read_to = size;
        return Ok(());
    }
    let mut misses = 0;
    for index in 0..window_count(basis_size).min(window_count(size)) {
        if misses >= MAX_MISSES {
            break;
        }
        let start = index * WINDOW_LEN;
        let end = (start + WINDOW_LEN).min(size);
        let part = next_part(parts, large.settings.window)?;
        if part.number != index {
            return Err(SendError::Basis("signatures out of order"));
        }
        let signature = open_signature(part.body)?;
        let mut contents = vec![0u8; (end - start) as usize];
        let count = extents::read_at(file, &mut contents, start)?;
        contents.truncate(count);
        let matched = send_window(
            large,
            &contents,
            start,
            stretch(index, basis_size),
            &signature,
        )?;
        misses = if matched { 0 } else { misses + 1 };
        progress.hasher.add(start, &contents);
        progress.read_to = start + count as u64;
        if progress.read_to < end {
            return Ok(());
        }
    }
    if progress.read_to < size {
        large.send_range(file, progress.read_to..size, progress)
    } else {
        Ok(())
    }
}

/// Returns whether the basis was of use. WIRE[delta]
fn send_window(
    large: LargeFile<'_>,
    contents: &[u8],
    offset: u64,
    basis: Stretch,
    signature: &Signature,
) -> Result<bool, SendError> {
    let mut delta = Vec::new();
    let useful = contents.len() / 10 * 9;
    let found = diff(&signature.index(), contents, &mut delta);
    if found.is_err() || delta.len() > useful.min(LONGEST_DELTA) {
        for (number, part) in contents.chunks(SEGMENT_LEN).enumerate() {
            large.send_bytes(offset + (number * SEGMENT_LEN) as u64, part)?;
        }
        return Ok(found.is_ok() && delta.len() <= useful);
    }
    let message = Down::Delta {
        want: large.want,
        offset,
        length: contents.len() as u64,
        basis_offset: basis.offset,
        basis_length: basis.length,
    };
    let mut frame =
        FrameBuilder::new(&message, delta.len()).map_err(|_| SendError::Lost(LinkLost))?;
    frame.body().extend_from_slice(&delta);
    large.send_frame(frame, delta.len())?;
    Ok(true)
}
