//! Problems: what did not arrive although the run went on. Counted, listed, never swallowed.

use serde::{Deserialize, Serialize};

/// The machine on which something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The machine that is read.
    Source,
    /// The machine that is written.
    Target,
}

impl std::fmt::Display for Side {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Side::Source => "source",
            Side::Target => "target",
        })
    }
}

/// What class of trouble it was; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProblemKind {
    /// Gone between listing and reading: normal on a live source.
    Vanished,
    /// Changed each time it was read: what landed may mix two moments.
    Changed,
    /// Could not be read, written or given an attribute.
    Failed,
    /// No room left on a file system of the target.
    NoSpace,
    /// What landed is not what was read.
    Mismatch,
    /// Kept although `--delete` would have removed it, because the limit was hit.
    DeleteLimit,
}

impl ProblemKind {
    /// Tells whether it comes of a source in motion, so that a later pass makes up for it.
    pub fn is_motion(self) -> bool {
        matches!(self, ProblemKind::Vanished | ProblemKind::Changed)
    }

    /// Returns the word of it, for programs.
    pub fn word(self) -> &'static str {
        match self {
            ProblemKind::Vanished => "vanished",
            ProblemKind::Changed => "changed",
            ProblemKind::Failed => "failed",
            ProblemKind::NoSpace => "no_space",
            ProblemKind::Mismatch => "mismatch",
            ProblemKind::DeleteLimit => "delete_limit",
        }
    }
}

/// One item that did not fully make it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where it happened.
    pub side: Side,
    /// The class of trouble.
    pub kind: ProblemKind,
    /// The path below the root of the copy, as raw bytes.
    pub path: Vec<u8>,
    /// What was being done: "open", "set xattr security.capability".
    pub operation: String,
    /// Why it failed: "Permission denied".
    pub cause: String,
}
