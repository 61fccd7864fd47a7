//! The estimate: how much there is, counted in parallel while the connection is set up, and how
//! much room it takes on each file system of the target. It looks at names, sizes and blocks
//! only. Knows nothing of what will be sent.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::Scope;

use crate::exclude::{Rules, Verdict};
use crate::fs::{Dir, FileId, Status};
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
    /// Where on the target further file systems begin; what lies there is counted apart.
    pub mount_points: &'a [RelPath],
    /// Where entries and bytes are counted.
    pub counters: &'a Counters,
    /// Ends the scan early.
    pub stop: &'a AtomicBool,
}

/// How much there is, in one portion for each file system of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The first portion is that of the root; the others are in the order of the mount points.
    pub portions: Vec<Portion>,
}

/// What lands on one file system of the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// Where that file system is mounted, below the root of the copy.
    pub mount_point: RelPath,
    /// Names, directories included.
    pub entries: u64,
    /// What they need in inodes: names of one file are one.
    pub inodes: u64,
    /// Length of the regular files in bytes, each name counted.
    pub apparent_bytes: u64,
    /// Bytes that files and directories occupy on the source, each inode counted once.
    pub allocated_bytes: u64,
    /// The most that one file occupies.
    pub largest_bytes: u64,
}

impl Scan<'_> {
    /// Counts everything, then marks the counts as totals. Returns nothing if it was stopped.
    pub fn run(&self) -> Option<Extent> {
        let roots = std::iter::once(RelPath::root()).chain(self.mount_points.iter().cloned());
        let work = Work {
            scan: self,
            portion_at: self.mount_points.iter().zip(1..).collect(),
            portions: roots.map(Tally::new).collect(),
            linked: Mutex::default(),
        };
        rayon::scope(|scope| work.directory(scope, RelPath::root(), 0));
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        self.counters.scan_complete.store(true, Ordering::Relaxed);
        let portions = work.portions.into_iter().map(Tally::finish).collect();
        Some(Extent { portions })
    }
}

/// A scan that runs.
struct Work<'a> {
    scan: &'a Scan<'a>,
    portion_at: HashMap<&'a RelPath, usize>,
    portions: Vec<Tally>,
    /// Inodes with several names of which one was seen, and how many are to come. An inode is
    /// forgotten with its last name, so only groups that are half known are in it.
    linked: Mutex<HashMap<FileId, u64>>,
}

impl Work<'_> {
    /// Trouble is left for the pass to report: the estimate only counts less then.
    fn directory<'s>(&'s self, scope: &Scope<'s>, path: RelPath, portion: usize) {
        let Ok(dir) = self.scan.root.open_beneath(&path) else {
            return;
        };
        let Ok(status) = dir.status() else { return };
        let is_known = self.scan.devices.contains(&status.id().device);
        if !is_known || self.scan.stop.load(Ordering::Relaxed) {
            return;
        }
        let mut counts = Counts::default();
        counts.add_inode(&status);
        let mut rules = self.scan.rules.below(&path);
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
                let portion = self.portion_at.get(&child).copied().unwrap_or(portion);
                scope.spawn(move |scope| self.directory(scope, child, portion));
                continue;
            }
            counts.add_name(&status);
            if self.is_first_name(&status) {
                counts.add_inode(&status);
            }
        }
        // Directories are the names of their parents, but counted with what lies in them.
        counts.entries += 1;
        Counters::add(&self.scan.counters.scanned_entries, counts.entries);
        Counters::add(&self.scan.counters.scanned_bytes, counts.apparent_bytes);
        if let Some(tally) = self.portions.get(portion) {
            tally.add(&counts);
        }
    }

    fn is_first_name(&self, status: &Status) -> bool {
        if status.link_count() <= 1 {
            return true;
        }
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        match linked.get_mut(&status.id()) {
            None => {
                linked.insert(status.id(), status.link_count() - 1);
                true
            }
            Some(to_come) => {
                *to_come = to_come.saturating_sub(1);
                if *to_come == 0 {
                    linked.remove(&status.id());
                }
                false
            }
        }
    }
}

/// What one directory holds.
#[derive(Debug, Default)]
struct Counts {
    entries: u64,
    inodes: u64,
    apparent_bytes: u64,
    allocated_bytes: u64,
    largest_bytes: u64,
}

impl Counts {
    fn add_name(&mut self, status: &Status) {
        self.entries += 1;
        let bytes = if status.is_file() { status.size() } else { 0 };
        self.apparent_bytes = self.apparent_bytes.saturating_add(bytes);
    }

    fn add_inode(&mut self, status: &Status) {
        let bytes = status.allocated_bytes();
        self.inodes += 1;
        self.allocated_bytes = self.allocated_bytes.saturating_add(bytes);
        self.largest_bytes = self.largest_bytes.max(bytes);
    }
}

/// The counts of one portion, added to by all threads.
#[derive(Debug)]
struct Tally {
    mount_point: RelPath,
    entries: AtomicU64,
    inodes: AtomicU64,
    apparent_bytes: AtomicU64,
    allocated_bytes: AtomicU64,
    largest_bytes: AtomicU64,
}

impl Tally {
    fn new(mount_point: RelPath) -> Tally {
        Tally {
            mount_point,
            entries: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
            apparent_bytes: AtomicU64::new(0),
            allocated_bytes: AtomicU64::new(0),
            largest_bytes: AtomicU64::new(0),
        }
    }

    fn add(&self, counts: &Counts) {
        Counters::add(&self.entries, counts.entries);
        Counters::add(&self.inodes, counts.inodes);
        Counters::add(&self.apparent_bytes, counts.apparent_bytes);
        Counters::add(&self.allocated_bytes, counts.allocated_bytes);
        self.largest_bytes
            .fetch_max(counts.largest_bytes, Ordering::Relaxed);
    }

    fn finish(self) -> Portion {
        Portion {
            mount_point: self.mount_point,
            entries: self.entries.into_inner(),
            inodes: self.inodes.into_inner(),
            apparent_bytes: self.apparent_bytes.into_inner(),
            allocated_bytes: self.allocated_bytes.into_inner(),
            largest_bytes: self.largest_bytes.into_inner(),
        }
    }
}

#[cfg(test)]
mod tests;
