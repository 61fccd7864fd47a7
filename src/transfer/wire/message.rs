//! Every message of the protocol: number (its place in the enum), fields, meaning. The one table
//! that docs/protocol.md describes. Decoded values are valid by construction or counted against
//! limits by `check`. Knows nothing of passes' logic.

use serde::{Deserialize, Serialize};

use super::frame::FrameError;

mod down;
mod up;

pub use down::{BundleFile, DigestSecret, Down, KeyRequest, Listing, Outcome, Policy};
pub use up::{Basis, FailureClass, Refusal, Up, Want};

/// LIMIT: entries of one listing (docs/protocol.md).
pub const MAX_LISTING_ENTRIES: usize = 1024;
/// LIMIT: files of one bundle (docs/protocol.md).
pub const MAX_BUNDLE_FILES: usize = 4096;
/// LIMIT: bytes that one delta may read or yield (docs/protocol.md).
pub const MAX_DELTA_LEN: u64 = 32 << 20;
/// LIMIT: the longest file that Linux knows, in bytes.
const MAX_FILE_LEN: u64 = i64::MAX as u64;
/// Bytes of one block sum.
pub const SUM_LEN: usize = 8;

/// Which wanted file: the listing and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WantId {
    /// The listing.
    pub seq: u64,
    /// Its entry, from 0.
    pub index: u32,
}

/// A content digest, or the BLAKE3 hash of a program.
pub type Digest = [u8; 32];

/// What tells one stretch of bytes from every other, for those who know the [`DigestSecret`].
/// WIRE[tag]
pub type Tag = [u8; 16];

/// Refuses a stretch that no file can have, so that adding offsets never overflows.
fn in_a_file(offset: u64, length: u64) -> Result<(), FrameError> {
    match offset.checked_add(length) {
        Some(end) if end <= MAX_FILE_LEN => Ok(()),
        _ => Err(FrameError::Malformed(
            "a stretch beyond the end of any file",
        )),
    }
}

fn within(length: usize, limit: usize) -> Result<(), FrameError> {
    if length > limit {
        Err(FrameError::TooLong { length, limit })
    } else {
        Ok(())
    }
}
