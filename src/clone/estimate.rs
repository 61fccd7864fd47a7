//! How much there is to copy, counted beside the connecting and the plan. Knows nothing of rates.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::monitor::{Event, Monitor};
use crate::source::Source;
use crate::transfer::scan::Scan;
use crate::{exclude::Rules, monitor::Counters};

/// How long a run waits for its estimate before it begins without.
const WAIT: Duration = Duration::from_secs(1);

/// The scan that runs beside the connecting.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    stop: AtomicBool,
}

impl Estimate {
    /// Counts until all is counted or it is stopped.
    pub(super) fn make(&self, source: &Source, rules: &Rules, monitor: &dyn Monitor) {
        let scan = Scan {
            root: &source.root,
            rules,
            devices: source.devices(),
            mount_points: &[],
            counters: monitor.counters(),
            stop: &self.stop,
        };
        // The counters have what matters here.
        drop(scan.run());
    }

    /// Ends the counting.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Tells what was counted, if it is known within a moment: a small tree is known before the
    /// first byte leaves.
    pub(super) fn tell(&self, monitor: &dyn Monitor, link_bytes_per_second: Option<u64>) {
        let counters = monitor.counters();
        let until = Instant::now() + WAIT;
        while !is_made(counters) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        if is_made(counters) {
            monitor.event(Event::Estimate {
                entries: counters.scanned_entries.load(Ordering::Relaxed),
                bytes: counters.scanned_bytes.load(Ordering::Relaxed),
                link_bytes_per_second,
            });
        }
    }
}

fn is_made(counters: &Counters) -> bool {
    counters.scan_complete.load(Ordering::Relaxed)
}
