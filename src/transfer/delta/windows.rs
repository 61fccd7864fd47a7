//! Shifted contents: fast_rsync over one window at a time, so that memory stays bounded for a
//! file of any size. Gives up where old and new do not look alike, because searching costs ten
//! times what sending does. Knows nothing of blocks at the same place.

use std::os::fd::OwnedFd;

use crossbeam_channel::Receiver;
use fast_rsync::{Signature, SignatureOptions, diff};

use super::{BasisPart, next_part};
use crate::fs::extents;
use crate::transfer::stopwatch::{Activity, doing};
use crate::transfer::upload::{LargeFile, Progress, SendError};
use crate::transfer::wire::message::Down;

/// Bytes of the new file that are matched at once (docs/protocol.md, [windows]).
pub const WINDOW_LEN: u64 = 8 << 20;
/// How much further the stretch of the basis reaches on both sides.
const SLACK_LEN: u64 = 4 << 20;
/// LIMIT: a delta that does not fit in a frame saves too little, in bytes.
const LONGEST_DELTA: usize = 3 << 20;
/// How many windows may match badly in a row before the rest is sent whole.
const MAX_MISSES: u32 = 2;
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
    let options = SignatureOptions {
        block_size: block_length(basis_size),
        crypto_hash_size: HASH_LEN,
    };
    Signature::calculate(stretch, options).into_serialized()
}

fn block_length(basis_size: u64) -> u32 {
    let root = u32::try_from(basis_size.isqrt()).unwrap_or(u32::MAX);
    root.min(128 * 1024)
        .next_power_of_two()
        .clamp(2048, 128 * 1024)
}

/// Refuses what fast_rsync would trust: a block length of zero makes its search run for ever,
/// and many long blocks that match by their weak hash alone make it slow.
fn open_signature(bytes: Vec<u8>, basis: Stretch, basis_size: u64) -> Result<Signature, SendError> {
    let block_length = block_length(basis_size);
    let fields = [block_length.to_be_bytes(), HASH_LEN.to_be_bytes()].concat();
    // Magic and the two fields, then a weak and a strong hash for each block.
    let blocks = basis.length.div_ceil(u64::from(block_length));
    let longest = 12 + blocks * u64::from(4 + HASH_LEN);
    if bytes.get(4..12) != Some(&fields[..]) || bytes.len() as u64 > longest {
        return Err(SendError::Basis("a signature of other blocks"));
    }
    Signature::deserialize(bytes).map_err(|_| SendError::Basis("a signature that cannot be read"))
}

/// Sends a file window by window as deltas against the basis, or whole where that saves nothing.
pub fn send(
    large: LargeFile<'_>,
    (file, size): (&OwnedFd, u64),
    basis_size: u64,
    parts: Receiver<BasisPart>,
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
        let mut part = next_part(&parts, large.settings.window)?;
        if part.number != index {
            return Err(SendError::Basis("signatures out of order"));
        }
        let basis = stretch(index, basis_size);
        let signature = open_signature(std::mem::take(&mut part.body), basis, basis_size)?;
        let mut contents = vec![0u8; (end - start) as usize];
        let count = extents::read_at(file, &mut contents, start)?;
        contents.truncate(count);
        let matched = send_window(large, &contents, start, basis, &signature)?;
        misses = if matched { 0 } else { misses + 1 };
        progress.hasher.add(start, &contents);
        progress.read_to = start + count as u64;
        if progress.read_to < end {
            return Ok(());
        }
    }
    // What still comes of the basis is let go by, instead of waiting until the rest was sent.
    drop(parts);
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
    let found = doing(Activity::Hash, || {
        diff(&signature.index(), contents, &mut delta)
    });
    if found.is_err() || delta.len() > useful.min(LONGEST_DELTA) {
        large.send_bytes(offset, contents)?;
        return Ok(found.is_ok() && delta.len() <= useful);
    }
    let message = Down::Delta {
        want: large.want,
        offset,
        length: contents.len() as u64,
        basis_offset: basis.offset,
        basis_length: basis.length,
    };
    let mut frame = large.builder(&message, delta.len())?;
    frame.body().extend_from_slice(&delta);
    large.send_frame(frame, delta.len())?;
    Ok(true)
}
