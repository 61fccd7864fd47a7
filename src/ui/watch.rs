//! The monitor that the engine reports to, and the thread that looks at its counters.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::progress::{Gauge, Progress, Waiting};
use super::{Outcome, Sink};
use crate::monitor::{Counters, Event, Monitor};
use crate::plan::{Plan, Reader};

/// How often the counters are looked at.
const TICK: Duration = Duration::from_millis(250);

/// Hands events to the sinks and turns counters into progress.
pub struct Watch {
    counters: Counters,
    state: Mutex<State>,
    sinks: Vec<Box<dyn Sink>>,
}

struct State {
    gauge: Gauge,
    problem_count: u64,
    /// What the run waits for, since when, and how long at most.
    waiting: Option<(String, Instant, Duration)>,
}

impl Watch {
    /// Makes a watch with its sinks.
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Watch {
        Watch {
            counters: Counters::default(),
            state: Mutex::new(State {
                gauge: Gauge::new(None, Instant::now()),
                problem_count: 0,
                waiting: None,
            }),
            sinks,
        }
    }

    fn tick(&self, now: Instant) {
        let progress = self.observe(now);
        for sink in &self.sinks {
            sink.tick(&progress);
        }
    }

    fn observe(&self, now: Instant) -> Progress {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = state.gauge.observe(&self.counters, now);
        progress.problem_count = state.problem_count;
        let waiting = state.waiting.as_ref();
        progress.waiting = waiting.map(|(what, since, limit)| Waiting {
            what: what.clone(),
            elapsed: now.saturating_duration_since(*since),
            limit: *limit,
        });
        progress
    }

    fn note(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::PassStarted(pass) => state.gauge = Gauge::new(Some(*pass), Instant::now()),
            Event::PassEnded(..) => state.gauge = Gauge::new(None, Instant::now()),
            Event::Problem(_) => state.problem_count += 1,
            Event::Waiting { what, limit } => {
                state.waiting = Some((what.clone(), Instant::now(), *limit));
            }
            Event::StageStarted(_) | Event::Verified { .. } => state.waiting = None,
            Event::Estimate { .. }
            | Event::Item { .. }
            | Event::FixUp { .. }
            | Event::Checked { .. }
            | Event::Switched { .. }
            | Event::Notice(_)
            | Event::Reconnecting { .. } => {}
        }
    }

    /// Tells every sink how the run ended.
    pub fn finish(&self, outcome: &Outcome) {
        for sink in &self.sinks {
            sink.finish(outcome);
        }
    }
}

impl Monitor for Watch {
    fn event(&self, event: Event) {
        self.note(&event);
        for sink in &self.sinks {
            sink.event(&event);
        }
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Reader for Watch {
    fn read(&self, plan: &Plan, whole: bool) {
        for sink in &self.sinks {
            sink.plan(plan, whole);
        }
    }
}

/// The thread that shows progress until it is stopped.
pub struct Ticker {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts it. Where no thread can be had there is no progress to see, and no harm.
    pub fn start(watch: Arc<Watch>) -> Ticker {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("ticker".into())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    watch.tick(Instant::now());
                }
            });
        Ticker {
            stop,
            thread: thread.ok(),
        }
    }

    /// Stops it and waits for its last drawing.
    pub fn stop(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            // A panic of the ticker has been printed; the run's outcome is what counts now.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Watch;
    use crate::monitor::{Event, Monitor, Stage};

    #[test]
    fn a_wait_lasts_until_the_next_stage_or_look() {
        let watch = Watch::new(Vec::new());
        let now = Instant::now();
        let waiting = || watch.observe(now + Duration::from_secs(30)).waiting;
        let looked = Event::Verified {
            what: "host name".into(),
            is_good: true,
            text: String::new(),
        };
        for end in [Event::StageStarted(Stage::Verify), looked] {
            assert_eq!(waiting(), None);
            watch.event(Event::Waiting {
                what: "the clone to come back".into(),
                limit: Duration::from_secs(600),
            });
            watch.event(Event::Notice("told meanwhile".into()));
            let wait = waiting().unwrap();
            assert_eq!(wait.limit, Duration::from_secs(600));
            assert!(wait.elapsed > Duration::from_secs(20), "{wait:?}");
            watch.event(end);
        }
        assert_eq!(waiting(), None);
    }
}
