//! The estimate: how much there is, counted in parallel while the connection is set up. It looks
//! at names and sizes only. Knows nothing of what will be sent.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::Scope;

use crate::exclude::{Rules, Verdict};
use crate::fs::Dir;
use crate::monitor::Counters;
use crate::relpath::{Name, RelPath};

/// What is counted, and where the counts go.
#[derive(Debug)]
pub struct Scan<'a> {
    /// The tree.
    pub root: &'a Dir,
    /// What is left out.
    pub rules: &'a Rules,
    /// The devices that belong to it.
    pub devices: HashSet<u64>,
    /// Where entries and bytes are counted.
    pub counters: &'a Counters,
    /// Ends the scan early.
    pub stop: &'a AtomicBool,
}

impl Scan<'_> {
    /// Counts everything, then marks the counts as totals unless it was stopped.
    pub fn run(&self) {
        rayon::scope(|scope| self.directory(scope, RelPath::root()));
        if !self.stop.load(Ordering::Relaxed) {
            self.counters.scan_complete.store(true, Ordering::Relaxed);
        }
    }

    /// Trouble is left for the pass to report: the estimate only counts less then.
    fn directory<'s>(&'s self, scope: &Scope<'s>, path: RelPath) {
        let Ok(dir) = self.root.open_beneath(&path) else {
            return;
        };
        let known = dir
            .status()
            .is_ok_and(|status| self.devices.contains(&status.id().device));
        if !known || self.stop.load(Ordering::Relaxed) {
            return;
        }
        let mut rules = self.rules.below(&path);
        let (mut entries, mut bytes) = (1, 0);
        for name in dir.names().unwrap_or_default() {
            let Ok(name) = Name::new(&name) else { continue };
            let Ok(status) = dir.status_of(&name) else {
                continue;
            };
            if rules.decide(&name, status.is_directory()).verdict != Verdict::Copy {
                continue;
            }
            if status.is_directory() {
                let child = path.join(&name);
                scope.spawn(move |scope| self.directory(scope, child));
                continue;
            }
            entries += 1;
            bytes += if status.is_file() { status.size() } else { 0 };
        }
        Counters::add(&self.counters.scanned_entries, entries);
        Counters::add(&self.counters.scanned_bytes, bytes);
    }
}
