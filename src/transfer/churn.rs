//! What a live source does to a reader: names vanish, files change while they are read. Named
//! and classed in one place. Knows nothing of passes.

use crate::fs::FsError;
use crate::problem::{Problem, ProblemKind, Side};
use crate::relpath::RelPath;

/// Makes a problem of a failed call.
pub fn problem_of(side: Side, kind: ProblemKind, path: Vec<u8>, error: &FsError) -> Problem {
    Problem {
        side,
        kind,
        path,
        operation: error.operation.clone(),
        cause: error.cause(),
    }
}

/// LIVE: a name that is gone, or is something else by now, was removed or replaced after it was
/// listed; anything else is a failure.
pub fn source_kind(error: &FsError) -> ProblemKind {
    if error.is_gone() {
        ProblemKind::Vanished
    } else {
        ProblemKind::Failed
    }
}

/// Makes a problem of a failed call on the source.
pub fn source_problem(path: &RelPath, error: &FsError) -> Problem {
    problem_of(
        Side::Source,
        source_kind(error),
        path.as_bytes().to_vec(),
        error,
    )
}

/// Makes a problem of a failed call on the target.
pub fn target_problem(path: &RelPath, error: &FsError) -> Problem {
    // A full block of xattrs says the same as a full disk, but is one object's own trouble.
    let kind = if error.is_no_space() && !error.operation.contains("xattr") {
        ProblemKind::NoSpace
    } else {
        ProblemKind::Failed
    };
    problem_of(Side::Target, kind, path.as_bytes().to_vec(), error)
}
