//! Where a switch can be cut or made to fail by a test, before each of its operations. Knows
//! nothing of what they are.

use std::cell::Cell;

use rustix::io::Errno;

use super::SwitchError;
use crate::fs::FsError;
use crate::relpath::RelPath;

/// Lets operations pass: all of them, unless a test says otherwise.
#[derive(Debug)]
pub struct Gate {
    passed: Cell<u64>,
    closed: Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    Never,
    From(u64),
    At(u64),
}

impl Gate {
    /// Lets everything pass.
    pub fn open() -> Gate {
        Gate::new(Closed::Never)
    }

    /// Lets `count` operations pass; then it is as if the machine had lost its power.
    pub fn cut_after(count: u64) -> Gate {
        Gate::new(Closed::From(count))
    }

    /// Lets `count` operations pass, lets one fail, and all others pass again.
    pub fn fail_after(count: u64) -> Gate {
        Gate::new(Closed::At(count))
    }

    fn new(closed: Closed) -> Gate {
        Gate {
            passed: Cell::new(0),
            closed,
        }
    }

    /// Asks before an operation.
    pub(super) fn pass(&self) -> Result<(), SwitchError> {
        let passed = self.passed.get();
        self.passed.set(passed.saturating_add(1));
        match self.closed {
            Closed::From(count) if passed >= count => Err(SwitchError::Cut),
            Closed::At(count) if passed == count => {
                let cause = FsError {
                    operation: "exchange".to_owned(),
                    errno: Errno::IO,
                };
                Err(SwitchError::at(&RelPath::root())(cause))
            }
            Closed::Never | Closed::From(_) | Closed::At(_) => Ok(()),
        }
    }
}
