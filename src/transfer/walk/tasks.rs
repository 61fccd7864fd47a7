//! The directories that wait to be walked, for several threads. Knows nothing of what they hold.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::relpath::RelPath;
use crate::transfer::stopwatch::{Activity, doing};

/// A directory that is to be walked.
#[derive(Debug)]
pub(super) struct Task {
    /// Where it is.
    pub(super) path: RelPath,
    /// The number of the directory that it is in.
    pub(super) parent: u64,
    /// The file system of that.
    pub(super) parent_device: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Tasks {
    stack: Mutex<Stack>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Stack {
    tasks: Vec<Task>,
    busy: usize,
    cancelled: bool,
}

/// One directory in the hands of a thread. Where that ends early, by an error or a panic, the
/// others do not wait for what it would have found: the walk is over.
pub(super) struct Turn<'t> {
    tasks: &'t Tasks,
    is_done: bool,
}

impl Turn<'_> {
    /// The directory was walked.
    pub(super) fn end(mut self) {
        self.is_done = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut stack = self.tasks.locked();
        stack.busy -= 1;
        stack.cancelled |= !self.is_done;
        self.tasks.wake.notify_all();
    }
}

impl Tasks {
    /// Begins with one.
    pub(super) fn new(first: Task) -> Tasks {
        let stack = Stack {
            tasks: vec![first],
            ..Stack::default()
        };
        Tasks {
            stack: Mutex::new(stack),
            wake: Condvar::new(),
        }
    }

    /// Returns the next one, after a while perhaps; nothing when all are walked, or the walk has
    /// ended early.
    pub(super) fn take(&self) -> Option<(Task, Turn<'_>)> {
        let mut stack = self.locked();
        loop {
            if stack.cancelled {
                return None;
            }
            if let Some(task) = stack.tasks.pop() {
                stack.busy += 1;
                let turn = Turn {
                    tasks: self,
                    is_done: false,
                };
                return Some((task, turn));
            }
            if stack.busy == 0 {
                return None;
            }
            stack = doing(Activity::Idle, || self.wake.wait(stack))
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds what was found in one.
    pub(super) fn push(&self, found: Vec<Task>) {
        // Last in, first out: the walk goes deep before it goes wide and little waits.
        self.locked().tasks.extend(found.into_iter().rev());
        self.wake.notify_all();
    }

    fn locked(&self) -> MutexGuard<'_, Stack> {
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Task, Tasks};
    use crate::relpath::RelPath;

    fn task() -> Task {
        Task {
            path: RelPath::root(),
            parent: 0,
            parent_device: 0,
        }
    }

    #[test]
    fn what_one_thread_finds_is_walked_by_the_others() {
        let tasks = Tasks::new(task());
        let (_, turn) = tasks.take().unwrap();
        tasks.push(vec![task(), task()]);
        turn.end();
        for _ in 0..2 {
            tasks.take().unwrap().1.end();
        }
        assert!(tasks.take().is_none());
    }

    #[test]
    fn a_thread_that_panics_lets_the_others_go() {
        let tasks = Tasks::new(task());
        std::thread::scope(|scope| {
            let (_, turn) = tasks.take().unwrap();
            let waits = scope.spawn(|| tasks.take().is_none());
            let panics = scope.spawn(move || {
                let _turn = turn;
                panic!("as a test wants it");
            });
            assert!(panics.join().is_err());
            assert!(waits.join().unwrap());
        });
    }
}
