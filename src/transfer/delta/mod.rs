//! Deltas: what of a large file the target has already.
//!
//! `aligned` compares block sums at the same place, which is what databases and disk images
//! need; `windows` finds shifted contents with fast_rsync, window by window so that memory stays
//! bounded. Knows nothing of the walk.

pub mod aligned;
pub mod windows;

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::upload::SendError;
use super::window::Window;
use super::wire::link::LinkLost;

/// A part of what the target tells about its basis.
#[derive(Debug)]
pub struct BasisPart {
    /// Number of the first block, or of the window.
    pub number: u64,
    /// Sums, or a signature.
    pub body: Vec<u8>,
}

/// Waits for the next part.
fn next_part(parts: &Receiver<BasisPart>, window: &Window) -> Result<BasisPart, SendError> {
    while !window.is_stopped() {
        match parts.recv_timeout(Duration::from_millis(200)) {
            Ok(part) => return Ok(part),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(SendError::Lost(LinkLost))
}
