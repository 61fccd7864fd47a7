//! How far a pass is: rates that are smoothed, a fraction that never falls, a time to go that
//! is only told when it means something.
//!
//! Time is an argument. Knows nothing of screens.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::monitor::{Counters, Pass};

/// After this long half of a rate is made of newer observations: about what a person sees.
const RATE_HALF_LIFE: f64 = 3.0;
/// The same for the speed that the time to go is reckoned from: slow, or it jumps.
const ETA_HALF_LIFE: f64 = 20.0;
/// How long a pass must have run before a time to go is told.
const ETA_HIDDEN: Duration = Duration::from_secs(5);

/// How far a run is at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The pass that is running.
    pub pass: Option<Pass>,
    /// How long it has been.
    pub elapsed: Duration,
    /// Entries that the scan has seen.
    pub scanned_entries: u64,
    /// Bytes that the scan has seen.
    pub scanned_bytes: u64,
    /// Whether the scan has ended, so that these are totals.
    pub has_total: bool,
    /// Entries that are done in this pass.
    pub settled_entries: u64,
    /// Their bytes.
    pub settled_bytes: u64,
    /// Bytes of contents sent in this pass.
    pub body_bytes: u64,
    /// Bytes sent on the link in this pass.
    pub wire_bytes: u64,
    /// Contents sent lately, in bytes a second.
    pub bytes_per_second: f64,
    /// The share that is done, 0 to 1; `None` without a true total.
    pub fraction: Option<f64>,
    /// How long it will still take.
    pub remaining: Option<Duration>,
    /// Problems so far in the whole run.
    pub problem_count: u64,
    /// The path that was touched last.
    pub current_path: Vec<u8>,
    /// What the run waits for.
    pub waiting: Option<Waiting>,
}

/// What a run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What for: "the clone to come back".
    pub what: String,
    /// How long it has waited.
    pub elapsed: Duration,
    /// How long it waits at most.
    pub limit: Duration,
}

/// Turns counters into progress, observation by observation.
#[derive(Debug)]
pub struct Gauge {
    pass: Option<Pass>,
    started: Instant,
    seen: Instant,
    settled_entries: u64,
    body_bytes: u64,
    body_rate: Smoothed,
    fraction: Option<f64>,
    fraction_rate: Smoothed,
}

impl Gauge {
    /// Makes a gauge for what begins at `now`: a pass, or what comes before the first.
    pub fn new(pass: Option<Pass>, now: Instant) -> Gauge {
        Gauge {
            pass,
            started: now,
            seen: now,
            settled_entries: 0,
            body_bytes: 0,
            body_rate: Smoothed::new(RATE_HALF_LIFE),
            fraction: None,
            fraction_rate: Smoothed::new(ETA_HALF_LIFE),
        }
    }

    /// Looks at the counters.
    pub fn observe(&mut self, counters: &Counters, now: Instant) -> Progress {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut progress = Progress {
            pass: self.pass,
            elapsed: now.saturating_duration_since(self.started),
            has_total: counters.scan_complete.load(Ordering::Acquire),
            scanned_entries: read(&counters.scanned_entries),
            scanned_bytes: read(&counters.scanned_bytes),
            settled_entries: read(&counters.settled_entries),
            settled_bytes: read(&counters.settled_bytes),
            body_bytes: read(&counters.body_bytes),
            wire_bytes: read(&counters.wire_bytes),
            ..Progress::default()
        };
        if let Ok(path) = counters.current_path.lock() {
            progress.current_path.clone_from(&path);
        }
        if progress.settled_entries < self.settled_entries {
            // The pass set its counters to zero after it was announced.
            *self = Gauge::new(self.pass, now);
        }
        self.update_rates(&progress, now);
        progress.bytes_per_second = self.body_rate.value();
        progress.fraction = self.fraction;
        progress.remaining = self.remaining(progress.elapsed);
        progress
    }

    fn update_rates(&mut self, progress: &Progress, now: Instant) {
        let seconds = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = now;
        let sent = progress.body_bytes.saturating_sub(self.body_bytes);
        self.body_rate.observe(sent as f64, seconds);
        self.body_bytes = progress.body_bytes;
        self.settled_entries = progress.settled_entries;
        let Some(fraction) = share(progress) else {
            return;
        };
        let before = self.fraction;
        let fraction = fraction.max(before.unwrap_or(0.0));
        if let Some(before) = before {
            self.fraction_rate.observe(fraction - before, seconds);
        }
        self.fraction = Some(fraction);
    }

    fn remaining(&self, elapsed: Duration) -> Option<Duration> {
        let speed = self.fraction_rate.value();
        let fraction = self.fraction?;
        if elapsed < ETA_HIDDEN || speed <= 0.0 {
            return None;
        }
        Duration::try_from_secs_f64((1.0 - fraction) / speed).ok()
    }
}

/// Returns the share that is done: entries and bytes weigh the same, as a pass over many
/// small files is bound by the one and a pass over few large ones by the other. Never all
/// of it before the pass has ended, as a live source may have grown since the scan.
fn share(progress: &Progress) -> Option<f64> {
    if !progress.has_total || progress.pass.is_none() {
        return None;
    }
    let ratio = |done: u64, total: u64| (done as f64 / total.max(1) as f64).min(1.0);
    let entries = ratio(progress.settled_entries, progress.scanned_entries);
    let all = if progress.scanned_bytes == 0 {
        entries
    } else {
        entries.midpoint(ratio(progress.settled_bytes, progress.scanned_bytes))
    };
    Some(all.min(0.999))
}

/// An exponentially weighted mean of a speed, without the pull towards zero at the start.
#[derive(Clone, Copy, Debug)]
struct Smoothed {
    half_life: f64,
    value: f64,
    weight: f64,
}

impl Smoothed {
    fn new(half_life: f64) -> Smoothed {
        Smoothed {
            half_life,
            value: 0.0,
            weight: 0.0,
        }
    }

    fn observe(&mut self, amount: f64, seconds: f64) {
        if seconds > 0.0 {
            let kept = 0.5_f64.powf(seconds / self.half_life);
            self.value = self.value * kept + amount / seconds * (1.0 - kept);
            self.weight = self.weight * kept + (1.0 - kept);
        }
    }

    fn value(&self) -> f64 {
        if self.weight > 0.0 {
            self.value / self.weight
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use super::{Gauge, Progress};
    use crate::monitor::{Counters, Pass};

    struct Run {
        counters: Counters,
        gauge: Gauge,
        now: Instant,
    }

    impl Run {
        fn new() -> Run {
            let now = Instant::now();
            Run {
                counters: Counters::default(),
                gauge: Gauge::new(Some(Pass::Timestamp), now),
                now,
            }
        }

        fn scan(&self, entries: u64, bytes: u64) {
            let counters = &self.counters;
            counters.scanned_entries.store(entries, Ordering::Relaxed);
            counters.scanned_bytes.store(bytes, Ordering::Relaxed);
            counters.scan_complete.store(true, Ordering::Release);
        }

        fn after(&mut self, seconds: u64, entries: u64, bytes: u64) -> Progress {
            let counters = &self.counters;
            counters.settled_entries.store(entries, Ordering::Relaxed);
            counters.settled_bytes.store(bytes, Ordering::Relaxed);
            counters.body_bytes.store(bytes, Ordering::Relaxed);
            self.now += Duration::from_secs(seconds);
            self.gauge.observe(&self.counters, self.now)
        }
    }

    #[test]
    fn no_percentage_without_a_total() {
        let mut run = Run::new();
        assert_eq!(run.after(1, 10, 10).fraction, None);
        run.scan(100, 1000);
        assert_eq!(run.after(1, 20, 200).fraction, Some(0.2));
    }

    #[test]
    fn the_fraction_never_falls_nor_ends_early() {
        let mut run = Run::new();
        run.scan(100, 1000);
        assert_eq!(run.after(1, 50, 500).fraction, Some(0.5));
        run.scan(1000, 10_000);
        assert_eq!(run.after(1, 51, 510).fraction, Some(0.5));
        assert_eq!(run.after(1, 5000, 99_000).fraction, Some(0.999));
    }

    #[test]
    fn rates_and_times_settle_on_the_truth() {
        let mut run = Run::new();
        run.scan(1000, 100_000);
        assert_eq!(run.after(1, 0, 0).remaining, None);
        let mut progress = Progress::default();
        for step in 1..=50 {
            progress = run.after(1, step * 10, step * 1000);
            assert_eq!(
                progress.remaining.is_some(),
                progress.elapsed.as_secs() >= 5
            );
        }
        assert!((progress.bytes_per_second - 1000.0).abs() < 1.0);
        let remaining = progress.remaining.unwrap().as_secs_f64();
        assert!((remaining - 50.0).abs() < 1.5, "{remaining}");
    }

    #[test]
    fn starts_again_when_the_counters_do() {
        let mut run = Run::new();
        run.scan(100, 0);
        assert_eq!(run.after(1, 100, 0).fraction, Some(0.999));
        assert_eq!(run.after(1, 10, 0).fraction, Some(0.1));
    }
}
