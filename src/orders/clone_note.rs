//! What a switch has to know of the clone that was staged, and the last thing done before it: what
//! the target keeps comes into the stage as it is now. Knows nothing of how names change places.

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fixup::{CloneNote, carry as carry_kept};
use crate::fs::{Dir, Staged};

/// Reads the note; `None` where the stage is not ready.
pub(super) fn read(live: &Dir) -> Result<Option<CloneNote>, Failure> {
    CloneNote::read(live)
        .map_err(|error| Failure::new(ExitCode::Failed, "target: the stage").because(&error))
}

/// Brings what the target keeps into the stage as it is now. What cannot be brought would be
/// missing from the clone.
pub(super) fn carry(live: &Dir, note: &CloneNote) -> Result<(), Failure> {
    let failed = |what: String| {
        Failure::new(ExitCode::Failed, what)
            .hint("nothing was switched; see to it on the target and run the same command again")
    };
    let staged = Staged::open(live, &note.volumes)
        .map_err(|error| failed("target: the stage".to_owned()).because(&error))?;
    let (_, problems) = carry_kept(&staged, &note.refresh());
    match problems.first() {
        None => Ok(()),
        Some(first) => Err(failed(format!(
            "target: {} kept paths cannot be taken into the clone, the first is /{}: {}: {}",
            problems.len(),
            String::from_utf8_lossy(&first.path),
            first.operation,
            first.cause
        ))),
    }
}
