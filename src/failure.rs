//! The error of the edge: what ended the run, why, and what the person can do about it.
//!
//! Lower layers have their own error enums; each becomes a `Failure` where its stage is
//! called. Knows nothing of terminals: `ui` makes the text safe and prints it.

use std::error::Error;

use crate::exit::ExitCode;
use crate::interrupt::InterruptCause;

/// Ends the run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Failure {
    /// The code that the process ends with.
    pub exit: ExitCode,
    /// What failed: a lower-case fragment that names the object and, where it matters, the side.
    pub what: String,
    /// Why, from the outermost cause to the innermost.
    pub chain: Vec<String>,
    /// Things to do about it, each a sentence without a full stop.
    pub hints: Vec<String>,
}

impl Failure {
    /// Makes a failure without a cause.
    pub fn new(exit: ExitCode, what: impl Into<String>) -> Failure {
        Failure {
            exit,
            what: what.into(),
            chain: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Makes a failure of an error that says itself what failed.
    pub fn of(exit: ExitCode, error: &(dyn Error + 'static)) -> Failure {
        let mut failure = Failure::new(exit, without_number(error.to_string()));
        if let Some(cause) = error.source() {
            failure = failure.because(cause);
        }
        failure
    }

    /// Makes a failure of the command line or a file that it names.
    pub fn usage(what: impl Into<String>) -> Failure {
        Failure::new(ExitCode::Usage, what)
    }

    /// Makes the failure of a run that was asked to stop.
    pub fn interrupted(cause: InterruptCause) -> Failure {
        let what = match cause {
            InterruptCause::CtrlC => "stopped by Ctrl-C",
            InterruptCause::Terminated => "stopped by a signal",
        };
        Failure::new(cause.exit(), what)
    }

    /// Adds an error and its sources to the chain, leaving out a text that repeats the one
    /// before it.
    pub fn because(mut self, error: &(dyn Error + 'static)) -> Failure {
        let mut next = Some(error);
        while let Some(cause) = next {
            let text = without_number(cause.to_string());
            if self.chain.last().unwrap_or(&self.what) != &text {
                self.chain.push(text);
            }
            next = cause.source();
        }
        self
    }

    /// Adds one thing to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// Adds what an error proposes, if it does.
    pub fn maybe_hint(self, hint: Option<String>) -> Failure {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

impl std::fmt::Display for Failure {
    /// Writes what failed and the chain, joined by ": ", without the hints.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.what)?;
        self.chain
            .iter()
            .try_for_each(|cause| write!(out, ": {cause}"))
    }
}

/// Cuts the number that the standard library adds to the system's words.
fn without_number(mut text: String) -> String {
    if text.ends_with(')')
        && let Some(start) = text.rfind(" (os error ")
    {
        text.truncate(start);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use crate::exit::ExitCode;

    #[derive(Debug, thiserror::Error)]
    #[error("open known_hosts")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn joins_the_chain_and_says_nothing_twice() {
        let cause = std::io::Error::other(std::io::Error::other("disk on fire"));
        let failure = Failure::new(ExitCode::Link, "target a: no login").because(&Outer(cause));
        assert_eq!(
            failure.to_string(),
            "target a: no login: open known_hosts: disk on fire"
        );
        let failure = Failure::of(ExitCode::Failed, &Outer(std::io::Error::other("x")));
        assert_eq!(failure.to_string(), "open known_hosts: x");
        let failure = Failure::usage("a").because(&std::io::Error::from_raw_os_error(2));
        assert_eq!(failure.to_string(), "a: No such file or directory");
    }
}
