//! What is known of a copy that is made while the sums of its basis are. Knows nothing of files.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::transfer::digest::{DIGEST_BLOCK, Leaf};

/// LIMIT: copies of whole files that are made before it is known what differs; each takes the
/// room of its file.
const MOST_COPIES: usize = 2;

/// One of the few copies that may be there at a time. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// Takes one of those in `taken`; `None` where there are as many as may be.
    pub(super) fn take(taken: &Arc<AtomicUsize>) -> Option<Slot> {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(taken));
        (before < MOST_COPIES).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A copy.
#[derive(Debug)]
pub(super) struct AtOnce {
    /// Blocks of the digest that were written to since.
    pub(super) patched: BTreeSet<u64>,
    /// The leaves of its digest, once it is whole.
    pub(super) leaves: Option<Vec<Leaf>>,
    #[expect(dead_code, reason = "held, not looked at")]
    slot: Slot,
}

impl AtOnce {
    pub(super) fn new(slot: Slot) -> AtOnce {
        AtOnce {
            patched: BTreeSet::new(),
            leaves: None,
            slot,
        }
    }

    pub(super) fn note_patched(&mut self, offset: u64, length: u64) {
        let block = DIGEST_BLOCK as u64;
        self.patched
            .extend(offset / block..(offset + length).div_ceil(block));
    }

    /// Tells whether a run that is cut should go on from it: it is whole, and more than the file
    /// that is there.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.leaves.is_some() && !self.patched.is_empty()
    }
}
