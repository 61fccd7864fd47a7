//! Exit codes: the one word a script hears. The table of the README, as a type.

/// How a run ended, as the number its process exits with.
///
/// 23, 24 and 25 keep the meaning they have for rsync, so that wrappers carry over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitCode {
    /// Everything arrived.
    Complete = 0,
    /// The run failed for a reason that has no number of its own.
    Failed = 1,
    /// The command line or a file it names makes no sense.
    Usage = 2,
    /// A preflight or safety check refused before anything changed.
    Refused = 3,
    /// SSH, the agent or the link between them failed.
    Link = 4,
    /// A file system of the target is full.
    NoSpace = 5,
    /// What is on the target is not what was read on the source.
    Mismatch = 10,
    /// Stopped in the middle; the same command continues.
    Interrupted = 20,
    /// Some items did not arrive; they are listed.
    SomeFailed = 23,
    /// Only items that vanished or never held still are missing.
    Churned = 24,
    /// More would be deleted than `--max-delete` allows.
    DeleteLimit = 25,
    /// Stopped by Ctrl-C.
    CtrlC = 130,
}

impl ExitCode {
    /// Returns the number for the process.
    pub fn code(self) -> u8 {
        self as u8
    }
}
