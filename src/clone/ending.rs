//! What the error of a transfer means for its run: whether a new link helps, how the program
//! ends, and what the person can do. Knows nothing of links.

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::transfer::TransferError;
use crate::transfer::wire::message::FailureClass;

/// What to do about a run that was interrupted.
const AGAIN: &str = "run the same command again: it continues";

/// What stopped a step.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The error of a transfer.
    Transfer(TransferError),
    /// Anything else; with the exit code of a link, another one may help.
    Failed(Failure),
}

impl From<TransferError> for Trouble {
    fn from(error: TransferError) -> Trouble {
        Trouble::Transfer(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Failed(failure)
    }
}

impl Trouble {
    /// Tells whether the run can go on over a new link.
    pub(super) fn is_lost(&self, reopenings: u32) -> bool {
        match self {
            Trouble::Transfer(error) => is_lost(error, reopenings),
            Trouble::Failed(failure) => failure.exit == ExitCode::Link,
        }
    }

    /// Tells whether another agent holds the target.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self, Trouble::Transfer(error) if error.class() == FailureClass::Locked)
    }

    /// Tells whether there is no link any more over which the agent could be told of it.
    pub(super) fn is_without_link(&self) -> bool {
        match self {
            Trouble::Transfer(error) => matches!(error, TransferError::Link(_)),
            Trouble::Failed(failure) => failure.exit == ExitCode::Link,
        }
    }

    /// Makes the failure of a run of it.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Trouble::Transfer(error) => failure_of(&error),
            Trouble::Failed(failure) => failure,
        }
    }
}

/// Makes the failure of a run that gets no new link of what was noticed last.
pub(super) fn interrupted(mut last: Failure) -> Failure {
    last.exit = ExitCode::Interrupted;
    match last.hints.iter().any(|hint| hint == AGAIN) {
        true => last,
        false => last.hint(AGAIN),
    }
}

/// Tells whether the transfer can go on over a new link. Right after a link was opened again the
/// agent of the one before may still hold the target for a moment.
fn is_lost(error: &TransferError, reopenings: u32) -> bool {
    match error {
        TransferError::Link(_) => true,
        TransferError::Peer { class, .. } => reopenings > 0 && *class == FailureClass::Locked,
        TransferError::Protocol(_)
        | TransferError::Unsendable(_)
        | TransferError::Stopped
        | TransferError::Root(..) => false,
    }
}

/// Makes the failure of a run of it.
pub(super) fn failure_of(error: &TransferError) -> Failure {
    let no_space = "make room on the target, then run the same command again: it continues";
    let fault = "this is a fault of instancesync: please report it";
    let (exit, hint) = match error {
        TransferError::Link(_) => (ExitCode::Interrupted, Some(AGAIN)),
        TransferError::Protocol(_) => (ExitCode::Link, Some(fault)),
        TransferError::Unsendable(_) => (ExitCode::Failed, Some(fault)),
        TransferError::Stopped => (ExitCode::Interrupted, None),
        TransferError::Peer { class, .. } if *class == FailureClass::NoSpace => {
            (ExitCode::NoSpace, Some(no_space))
        }
        TransferError::Peer { .. } | TransferError::Root(..) => (ExitCode::Failed, None),
    };
    Failure::of(exit, error).maybe_hint(hint.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, Trouble, interrupted, is_lost};
    use crate::exit::ExitCode;
    use crate::failure::Failure;
    use crate::transfer::TransferError;
    use crate::transfer::wire::message::FailureClass;

    #[test]
    fn a_locked_target_is_waited_for_after_a_cut_only() {
        let peer = |class| TransferError::Peer {
            text: "whatever it says".to_owned(),
            class,
        };
        let tries = [
            (TransferError::Link(None), 0, true),
            (peer(FailureClass::Locked), 0, false),
            (peer(FailureClass::Locked), 1, true),
            (peer(FailureClass::NoSpace), 1, false),
            (peer(FailureClass::Other), 1, false),
            (TransferError::Stopped, 1, false),
        ];
        for (error, reopenings, lost) in tries {
            assert_eq!(is_lost(&error, reopenings), lost, "{error:?}");
        }
    }

    #[test]
    fn a_link_that_is_gone_for_good_is_an_interruption_whoever_noticed_it() {
        let order = Failure::new(ExitCode::Link, "the link was lost");
        for trouble in [
            Trouble::Failed(order),
            Trouble::Transfer(TransferError::Link(None)),
        ] {
            assert!(trouble.is_lost(0));
            let failure = interrupted(trouble.into_failure());
            assert_eq!(failure.exit, ExitCode::Interrupted);
            assert_eq!(failure.hints, [AGAIN]);
        }
    }
}
