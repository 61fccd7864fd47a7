//! What the threads of a pass spend their time on. Each says what it turns to; where nobody takes
//! the time, that costs nothing. Knows nothing of what is done.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::monitor::Spent;

thread_local! {
    static TIMING: RefCell<Option<Timing>> = const { RefCell::new(None) };
}

/// What a thread can be doing. The words are those of [`Spent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Reading names and attributes.
    Walk,
    /// Comparing them.
    Compare,
    /// Reading contents.
    Read,
    /// Hashing them.
    Hash,
    /// Compressing what goes on the link.
    Pack,
    /// Changing the target.
    Write,
    /// Waiting for the link.
    Link,
    /// Waiting for anything else.
    Idle,
}

const ACTIVITIES: usize = Activity::Idle as usize + 1;

/// One thread at work: what it is doing, since when, and what it has done so far.
struct Timing {
    activity: Activity,
    since: Instant,
    spent: [Duration; ACTIVITIES],
}

impl Timing {
    fn begin(activity: Activity) -> Timing {
        Timing {
            activity,
            since: Instant::now(),
            spent: [Duration::ZERO; ACTIVITIES],
        }
    }

    /// Turns to something else; returns what it was doing.
    fn turn_to(&mut self, activity: Activity) -> Activity {
        let now = Instant::now();
        let before = std::mem::replace(&mut self.activity, activity);
        if let Some(spent) = self.spent.get_mut(before as usize) {
            *spent += now.duration_since(self.since);
        }
        self.since = now;
        before
    }
}

/// The time that the threads of one side have spent in a pass, in nanoseconds.
#[derive(Debug, Default)]
pub struct Stopwatch([AtomicU64; ACTIVITIES]);

impl Stopwatch {
    /// Takes the time of this thread while it works, which it begins with `activity`.
    pub fn time<R>(&self, activity: Activity, work: impl FnOnce() -> R) -> R {
        let around = TIMING.replace(Some(Timing::begin(activity)));
        let result = work();
        if let Some(mut timing) = TIMING.replace(around) {
            timing.turn_to(activity);
            for (sum, spent) in self.0.iter().zip(timing.spent) {
                let nanoseconds = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
                sum.fetch_add(nanoseconds, Ordering::Relaxed);
            }
        }
        result
    }

    /// Returns what was spent by threads that are through.
    pub fn spent(&self) -> Spent {
        let spent = |activity: Activity| {
            let sum = self.0.get(activity as usize);
            sum.map_or(0, |sum| sum.load(Ordering::Relaxed) / 1_000_000)
        };
        Spent {
            walk_ms: spent(Activity::Walk),
            compare_ms: spent(Activity::Compare),
            read_ms: spent(Activity::Read),
            hash_ms: spent(Activity::Hash),
            pack_ms: spent(Activity::Pack),
            write_ms: spent(Activity::Write),
            link_ms: spent(Activity::Link),
            idle_ms: spent(Activity::Idle),
        }
    }
}

/// Does some work as `activity`, and turns back to what this thread was doing before.
pub fn doing<R>(activity: Activity, work: impl FnOnce() -> R) -> R {
    let turn_to = |activity| {
        TIMING.with_borrow_mut(|timing| timing.as_mut().map(|timing| timing.turn_to(activity)))
    };
    let before = turn_to(activity);
    let result = work();
    before.map(turn_to);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Duration = Duration::from_millis(20);

    #[test]
    fn time_goes_to_what_is_being_done_and_to_nothing_else() {
        let stopwatch = Stopwatch::default();
        let rest = || std::thread::sleep(SOME);
        let result = stopwatch.time(Activity::Read, || {
            rest();
            doing(Activity::Hash, || {
                rest();
                doing(Activity::Link, rest);
                rest();
            });
            "done"
        });
        assert_eq!(result, "done");
        doing(Activity::Walk, rest);
        let spent = stopwatch.spent();
        assert!(spent.read_ms >= 20 && spent.hash_ms >= 40 && spent.link_ms >= 20);
        let others = [
            spent.walk_ms,
            spent.compare_ms,
            spent.write_ms,
            spent.idle_ms,
        ];
        assert_eq!(others, [0; 4], "{spent:?}");
    }

    #[test]
    fn threads_are_summed_up() {
        let stopwatch = Stopwatch::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| stopwatch.time(Activity::Idle, || std::thread::sleep(SOME)));
            }
        });
        assert!(stopwatch.spent().idle_ms >= 60);
    }
}
