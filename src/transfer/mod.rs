//! The engine: one tree from a sender to a receiver in passes.
//!
//! Sender: `walk` lists directories, of which `snapshot` knows some, `window` bounds them, `body`, `upload` and `delta` answer
//! wants. Receiver: `reconcile` and `compare` decide, `land` and `large` write, `settle`, `links`
//! and `prune` finish. Both: `wire`, `digest`, `spans`, `churn`. Sees streams of bytes, a root
//! and rules; knows nothing of SSH, command lines or screens.

pub mod ask;
pub mod basis;
pub mod body;
pub mod churn;
pub mod compare;
pub mod conclude;
pub mod delta;
pub mod digest;
mod extras;
pub mod follow;
pub mod itemize;
pub mod land;
pub mod large;
pub mod links;
pub mod live;
mod movable;
pub mod place;
pub mod prune;
pub mod receiver;
pub mod reconcile;
mod renamed;
pub mod router;
pub mod scan;
pub mod sender;
pub mod settle;
pub mod snapshot;
pub mod spans;
pub mod stages;
mod stopwatch;
pub mod target;
pub mod upload;
pub mod walk;
pub mod window;
pub mod wire;

use wire::frame::FrameError;
use wire::link::{FrameSender, LinkLost};
use wire::message::FailureClass;

use crate::fs::FsError;

/// Contents up to this many bytes travel many to a frame, longer ones in segments of their own.
pub const SMALL_FILE_LEN: u64 = 128 * 1024;
/// Bytes of one segment of a large file.
pub const SEGMENT_LEN: usize = 256 * 1024;

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The link is gone; the same transfer can go on over another.
    #[error("the link to the target was lost")]
    Link(#[source] Option<FrameError>),
    /// The peer said something that makes no sense.
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    /// The peer gave up.
    #[error("{text}")]
    Peer {
        /// What it said.
        text: String,
        /// What can be done about it.
        class: FailureClass,
    },
    /// A message of ours does not fit in a frame; another link would not help.
    #[error("a message cannot be sent: {0}")]
    Unsendable(String),
    /// The person stopped the run.
    #[error("stopped")]
    Stopped,
    /// The root could not be opened.
    #[error("{0}")]
    Root(String, #[source] FsError),
}

impl TransferError {
    /// Tells a link that was lost from a message that `out` could not put on it.
    pub fn explained(self, out: &FrameSender) -> TransferError {
        match (self, out.fault()) {
            (TransferError::Link(None), Some(fault)) => TransferError::Unsendable(fault.to_owned()),
            (error, _) => error,
        }
    }

    /// Returns what the peer is told about the kind of failure.
    pub fn class(&self) -> FailureClass {
        match self {
            TransferError::Peer { class, .. } => *class,
            TransferError::Root(_, error) if error.is_locked() => FailureClass::Locked,
            TransferError::Root(_, error) if error.is_no_space() => FailureClass::NoSpace,
            _ => FailureClass::Other,
        }
    }
}

impl From<LinkLost> for TransferError {
    fn from(_: LinkLost) -> TransferError {
        TransferError::Link(None)
    }
}

impl From<FrameError> for TransferError {
    fn from(error: FrameError) -> TransferError {
        match error {
            FrameError::Io(_) | FrameError::Closed => TransferError::Link(Some(error)),
            FrameError::TooLong { .. } => TransferError::Protocol("a length over its limit"),
            FrameError::Malformed(what) => TransferError::Protocol(what),
        }
    }
}
