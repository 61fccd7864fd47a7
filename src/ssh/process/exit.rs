//! How a process on the target ended.
//!
//! Knows nothing of how that is learned.

use std::io;

use super::super::error::{CommandRefused, LinkLost};

/// What ended the streams of a process.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// It came to an end of its own.
    Exited,
    /// With the link.
    Lost(LinkLost),
    /// It never began.
    Refused,
    /// This side gave it up.
    Aborted,
}

impl Ending {
    /// Returns what reads and writes fail with, where it was no end of its own or of ours.
    pub fn error(&self) -> Option<io::Error> {
        match self {
            Ending::Lost(loss) => Some(loss.clone().into_io()),
            Ending::Refused => Some(CommandRefused.into_io()),
            Ending::Exited | Ending::Aborted => None,
        }
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit status; `None` when a signal ended it, or when the target did not say.
    pub status: Option<u32>,
    /// The name of the signal that ended it, without `SIG`.
    pub signal: Option<String>,
}

impl Exit {
    /// Whether the status is 0.
    pub fn is_success(&self) -> bool {
        self.status == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status, &self.signal) {
            (_, Some(signal)) => write!(out, "signal {signal}"),
            (Some(status), None) => write!(out, "exit status {status}"),
            (None, None) => out.write_str("no exit status"),
        }
    }
}
