//! What the receiver says. Knows nothing of what the sender does with it.

use serde::{Deserialize, Serialize};

use super::super::frame::FrameError;
use super::{Digest, MAX_LISTING_ENTRIES, WantId, within};
use crate::facts::Facts;
use crate::monitor::PassStats;
use crate::problem::Problem;
use crate::relpath::RelPath;

/// What the target has of a wanted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// Nothing of use.
    None,
    /// A file of the same size with this content digest.
    Digest(Digest),
    /// Block sums follow. WIRE[sums]
    Sums {
        /// Bytes a block.
        block_length: u32,
        /// Bytes of the basis.
        size: u64,
    },
    /// Signatures follow. WIRE[windows]
    Windows {
        /// Bytes of the basis.
        size: u64,
    },
}

/// One wanted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The entry of the listing.
    pub index: u32,
    /// What is there already.
    pub basis: Basis,
}

/// Why the target gives up, as far as that changes what the source does. WIRE[failed]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// A file system of the target is full.
    NoSpace,
    /// Another run has the target directory; that may be one that is about to end.
    Locked,
    /// Anything else.
    Other,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Whether a check refused it; else it failed.
    pub is_refused: bool,
    /// What failed, with its cause.
    pub text: String,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// From the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Up {
    /// Still there. WIRE[heartbeat]
    Heartbeat,
    /// Who speaks. WIRE[hello]
    Hello {
        /// Version of the build.
        build: String,
        /// BLAKE3 hash of the agent's own file.
        binary: Digest,
    },
    /// The key is in, or gone. WIRE[key-done]
    KeyDone(Result<(), String>),
    /// The target directory is open. WIRE[ready]
    Ready,
    /// The answer to one listing. WIRE[wants]
    Wants {
        /// Which listing.
        seq: u64,
        /// What is needed of it.
        wants: Vec<Want>,
    },
    /// Block sums in the body. WIRE[sums]
    Sums {
        /// Which file.
        want: WantId,
        /// Number of the first block.
        first: u64,
    },
    /// A signature in the body. WIRE[windows]
    Window {
        /// Which file.
        want: WantId,
        /// Which window.
        index: u64,
    },
    /// A listing is done. WIRE[settled]
    Settled {
        /// Which.
        seq: u64,
    },
    /// Something went wrong and the pass goes on. WIRE[problem]
    Problem(Problem),
    /// Something changed. WIRE[item]
    Item {
        /// Eleven columns.
        change: String,
        /// Path below the root.
        path: Vec<u8>,
    },
    /// The pass is through. WIRE[pass-done]
    PassDone(PassStats),
    /// The stage is gone. WIRE[finished]
    Finished,
    /// The target gives up. WIRE[failed]
    Failed {
        /// What failed, with its cause.
        text: String,
        /// What the source can do about it.
        class: FailureClass,
    },
    /// The files are made; what was done is in the body. WIRE[fix-up]
    FixedUp,
    /// What came of an order is in the body; or why nothing did. WIRE[order]
    Ordered(Result<(), Refusal>),
    /// What is kept. WIRE[kept]
    Kept {
        /// Device numbers, bytes and inodes of what the rules keep.
        kept: Vec<(String, u64, u64)>,
        /// Volumes, bytes and inodes of what an earlier run left and nothing else holds.
        left: Vec<(RelPath, u64, u64)>,
        /// Directories in which everything stays the target's and is linked into the stage.
        linked: Vec<RelPath>,
    },
    /// What the target machine is, or why its root cannot be looked at. WIRE[facts]
    Facts(Result<Box<Facts>, String>),
}

impl Up {
    /// Compares counts with their limits.
    pub fn check(&self) -> Result<(), FrameError> {
        match self {
            Up::Wants { wants, .. } => within(wants.len(), MAX_LISTING_ENTRIES),
            Up::Heartbeat
            | Up::Hello { .. }
            | Up::KeyDone(_)
            | Up::Ready
            | Up::Sums { .. }
            | Up::Window { .. }
            | Up::Settled { .. }
            | Up::Problem(_)
            | Up::Item { .. }
            | Up::PassDone(_)
            | Up::Finished
            | Up::Failed { .. }
            | Up::FixedUp
            | Up::Ordered(_)
            | Up::Kept { .. }
            | Up::Facts(_) => Ok(()),
        }
    }
}
