//! The wish to stop: raised once, by a signal, and looked at by everything that takes time.
//!
//! Knows nothing of signals; `main` raises it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::exit::ExitCode;

/// Who wished the run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptCause {
    /// The person pressed Ctrl-C.
    CtrlC,
    /// The system or another program asked (SIGTERM, SIGHUP).
    Terminated,
}

impl InterruptCause {
    /// Returns how a run ends that was stopped for this cause.
    pub fn exit(self) -> ExitCode {
        match self {
            InterruptCause::CtrlC => ExitCode::CtrlC,
            InterruptCause::Terminated => ExitCode::Interrupted,
        }
    }
}

/// The run was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Interrupted(pub InterruptCause);

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    cause: AtomicU8,
    callbacks: Mutex<Callbacks>,
}

#[derive(Default)]
struct Callbacks {
    /// The number of the newest.
    newest: u64,
    /// For when the flag is raised.
    raised: Vec<(u64, Callback)>,
    /// For when the process ends on the spot.
    ending: Vec<(u64, Callback)>,
}

/// A flag that many hold; cheap to clone and to look at. Once raised it stays so.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

impl Callbacks {
    fn next_number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }
}

/// Keeps a callback subscribed; dropping it takes the callback back.
#[must_use]
pub struct Subscription {
    interrupt: Interrupt,
    number: u64,
}

impl Interrupt {
    /// Raises the flag and calls the subscribers. Only the first call counts.
    pub fn raise(&self, cause: InterruptCause) {
        let value = match cause {
            InterruptCause::CtrlC => 1,
            InterruptCause::Terminated => 2,
        };
        let first = self
            .0
            .cause
            .compare_exchange(0, value, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            let callbacks = std::mem::take(&mut self.callbacks().raised);
            for (_, callback) in callbacks {
                callback();
            }
        }
    }

    /// Returns why to stop, or `None` to go on.
    pub fn cause(&self) -> Option<InterruptCause> {
        match self.0.cause.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(InterruptCause::CtrlC),
            _ => Some(InterruptCause::Terminated),
        }
    }

    /// Tells whether to stop.
    pub fn is_raised(&self) -> bool {
        self.cause().is_some()
    }

    /// Ends what is being done with `?` when it is to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.cause().map_or(Ok(()), |cause| Err(Interrupted(cause)))
    }

    /// Calls `callback` when the flag is raised (at once if it is), from the thread that
    /// raises it: to shut a socket, to wake a waiter. It must not block.
    pub fn subscribe(&self, callback: impl FnOnce() + Send + 'static) -> Subscription {
        let mut callbacks = self.callbacks();
        let number = callbacks.next_number();
        // RACE: the flag is looked at under the lock that `raise` takes after setting it, so
        // a callback is called by one of the two and never forgotten.
        if self.is_raised() {
            drop(callbacks);
            callback();
        } else {
            callbacks.raised.push((number, Box::new(callback)));
        }
        self.subscription(number)
    }

    /// Calls `callback` where the process ends on the spot, without the ends of what its threads
    /// hold: for what must not stay as it is.
    pub fn at_the_end(&self, callback: impl FnOnce() + Send + 'static) -> Subscription {
        let mut callbacks = self.callbacks();
        let number = callbacks.next_number();
        callbacks.ending.push((number, Box::new(callback)));
        self.subscription(number)
    }

    fn subscription(&self, number: u64) -> Subscription {
        Subscription {
            interrupt: self.clone(),
            number,
        }
    }

    /// Calls those who have something to do before the process ends on the spot.
    pub fn end(&self) {
        let callbacks = std::mem::take(&mut self.callbacks().ending);
        for (_, callback) in callbacks {
            callback();
        }
    }

    fn callbacks(&self) -> std::sync::MutexGuard<'_, Callbacks> {
        self.0
            .callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let number = self.number;
        let mut callbacks = self.interrupt.callbacks();
        callbacks.raised.retain(|(other, _)| *other != number);
        callbacks.ending.retain(|(other, _)| *other != number);
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Interrupt({:?})", self.cause())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Interrupt, InterruptCause, Interrupted};

    /// Returns a callback that adds `amount` to `calls`.
    fn counting(calls: &Arc<AtomicU32>, amount: u32) -> impl FnOnce() + Send + 'static {
        let calls = Arc::clone(calls);
        move || {
            calls.fetch_add(amount, Ordering::SeqCst);
        }
    }

    #[test]
    fn calls_each_subscriber_once() {
        let calls = Arc::new(AtomicU32::new(0));
        let count = |amount| counting(&calls, amount);
        let interrupt = Interrupt::default();
        let _early = interrupt.subscribe(count(1));
        drop(interrupt.subscribe(count(10)));
        interrupt.raise(InterruptCause::CtrlC);
        interrupt.raise(InterruptCause::Terminated);
        let _late = interrupt.subscribe(count(100));
        assert_eq!(calls.load(Ordering::SeqCst), 101);
        assert_eq!(interrupt.check(), Err(Interrupted(InterruptCause::CtrlC)));
    }

    #[test]
    fn the_end_calls_only_those_who_wait_for_it() {
        let calls = Arc::new(AtomicU32::new(0));
        let count = |amount| counting(&calls, amount);
        let interrupt = Interrupt::default();
        let _held = interrupt.at_the_end(count(1));
        drop(interrupt.at_the_end(count(10)));
        interrupt.raise(InterruptCause::CtrlC);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        interrupt.end();
        interrupt.end();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}
