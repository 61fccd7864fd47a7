//! What a switch has to know of the clone that was staged, and the last thing done before it: what
//! the target keeps comes into the stage as it is now. Knows nothing of how names change places.

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fixup::{CloneNote, carry as carry_kept};
use crate::fs::staged::staged_for;
use crate::fs::{Dir, FsError, Staged};
use crate::switch::RunLogin;

/// Reads the note; `None` where the stage is not ready.
pub(super) fn read(live: &Dir) -> Result<Option<CloneNote>, Failure> {
    CloneNote::read(live).map_err(|error| unread(&error))
}

fn unread(error: &FsError) -> Failure {
    Failure::new(ExitCode::Failed, "target: its stage cannot be read").because(error)
}

/// Reads the note for a switch by the run with `login`. What another pair has staged meanwhile is
/// none of that run's.
pub(super) fn ready(live: &Dir, login: Option<&RunLogin>) -> Result<Option<CloneNote>, Failure> {
    let pair = staged_for(live).map_err(|error| unread(&error))?;
    match (pair, login) {
        (Some(pair), Some(login)) if pair != login.pair => {
            let what = "target: what is staged there is of another source";
            Err(Failure::new(ExitCode::Refused, what).hint("run the same command again"))
        }
        _ => read(live),
    }
}

/// Brings what the target keeps into the stage as it is now. What cannot be brought would be
/// missing from the clone.
pub(super) fn carry(live: &Dir, note: &CloneNote) -> Result<(), Failure> {
    let failed = |what: String| {
        Failure::new(ExitCode::Failed, what).hint(
            "nothing was switched; correct the cause on the target and run the same command again",
        )
    };
    let staged = Staged::open(live, &note.volumes)
        .map_err(|error| failed("target: its stage cannot be read".to_owned()).because(&error))?;
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

#[cfg(test)]
mod tests {
    use super::ready;
    use crate::exclude::Rules;
    use crate::fixup::CloneNote;
    use crate::fs::{Dir, Staged};
    use crate::switch::RunLogin;

    #[test]
    fn what_another_pair_has_staged_is_not_ready() {
        let place = tempfile::tempdir().unwrap();
        let live = Dir::open_root(place.path()).unwrap();
        let staged = Staged::make(&live, &[]).unwrap();
        staged.claim("ours").unwrap();
        let login = |pair: &str| RunLogin {
            pair: pair.to_owned(),
            home: "/root".into(),
            uid: 0,
            limit_s: 1,
        };
        let is_ready = |pair: &str| {
            let note = ready(&live, Some(&login(pair)));
            note.map(|note| note.is_some()).unwrap_or(false)
        };
        assert!(!is_ready("ours"), "there is no note");
        CloneNote::new(Rules::none()).write(&live).unwrap();
        assert!(is_ready("ours"));
        assert!(!is_ready("another"));
        staged.claim("ours").unwrap();
        assert!(!is_ready("ours"), "it is being staged again");
    }
}
