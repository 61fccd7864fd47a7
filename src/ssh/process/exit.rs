//! How a process on the target ended.
//!
//! Knows nothing of how that is learned.

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
