//! Deltas: what of a large file the target has already.
//!
//! `aligned` compares block sums at the same place, which is what databases and disk images
//! need; `windows` finds shifted contents with fast_rsync, window by window so that memory stays
//! bounded. Knows nothing of the walk.

pub mod aligned;
pub mod windows;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::stopwatch::{Activity, doing};
use super::upload::SendError;
use super::window::Window;
use super::wire::link::LinkLost;

/// LIMIT: bytes of sums and signatures that wait on the source; those of a shifted file of
/// 1 TiB, all at once, are 200 MiB.
const MAX_WAITING_LEN: usize = 256 << 20;
/// What a part costs besides its bytes.
const PART_COST: usize = 128;

/// A part of what the target tells about its basis.
#[derive(Debug)]
pub struct BasisPart {
    /// Number of the first block, or of the window.
    pub number: u64,
    /// Sums, or a signature.
    pub body: Vec<u8>,
    cost: usize,
    /// Bytes of all parts that wait.
    waiting: Arc<AtomicUsize>,
}

impl BasisPart {
    /// Takes a part in; `None` when too much waits already.
    pub fn new(number: u64, body: &[u8], waiting: &Arc<AtomicUsize>) -> Option<BasisPart> {
        let cost = body.len() + PART_COST;
        let before = waiting.fetch_add(cost, Ordering::Relaxed);
        let part = BasisPart {
            number,
            body: body.to_vec(),
            cost,
            waiting: Arc::clone(waiting),
        };
        (before < MAX_WAITING_LEN).then_some(part)
    }
}

impl Drop for BasisPart {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

/// Waits for the next part.
fn next_part(parts: &Receiver<BasisPart>, window: &Window) -> Result<BasisPart, SendError> {
    while !window.is_stopped() {
        let part = doing(Activity::Idle, || {
            parts.recv_timeout(Duration::from_millis(200))
        });
        match part {
            Ok(part) => return Ok(part),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(SendError::Lost(LinkLost))
}
