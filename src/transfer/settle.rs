//! Who is done with what: a listing settles when all its entries have landed or failed, a
//! directory when all its listings have. Only then does it get its own attributes, because
//! everything that is made in it moves its time stamp. Knows nothing of how things land.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::links::GroupId;
use super::window::{WINDOW_LEN, weight_of};
use super::wire::message::Listing;
use crate::entry::{Entry, Metadata};
use crate::fs::{Dir, FileId, Result, Status, Volume};
use crate::relpath::RelPath;

/// LIMIT: what a sender may leave unsettled; its own window lets several walkers in at once.
const MAX_WEIGHT: usize = 2 * WINDOW_LEN;

/// A directory that is being worked on.
#[derive(Debug)]
pub struct Directory {
    /// Where it is.
    pub path: RelPath,
    /// The attributes it gets at the end.
    pub metadata: Metadata,
    /// Whether the source did not look into it.
    pub is_opaque: bool,
    /// What the target has in it, sorted.
    names: OnceLock<Vec<Box<[u8]>>>,
    /// How it looked when its attributes were found equal.
    equal: OnceLock<Status>,
    /// Where it is, once a hard link was met in it.
    volume: OnceLock<Option<Volume>>,
    /// Whether it was reported that the directory as a whole failed.
    has_failed: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    open_listings: u64,
    last_seen: bool,
}

impl Directory {
    /// Returns the names that the target had in it when it was first asked, sorted.
    pub fn names(&self, dir: Option<&Dir>) -> Result<&[Box<[u8]>]> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let mut names = dir.map_or(Ok(Vec::new()), Dir::names)?;
        names.sort_unstable();
        Ok(self.names.get_or_init(|| names))
    }

    /// Notes that it was reported as a whole.
    pub fn note_failed(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Tells whether it was reported as a whole.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Notes that the target's has the attributes of the source's.
    pub fn note_equal(&self, status: &Status) {
        self.equal.get_or_init(|| *status);
    }

    /// Tells whether it was found equal and nothing has touched it since, so that its attributes
    /// need not be read again. A time stamp alone may not have moved: the kernel's clock ticks in
    /// milliseconds; but what is made in a directory moves `mtime` away from that of the source.
    pub fn is_still_equal(&self, status: &Status) -> bool {
        let untouched = |equal: &Status| !equal.has_churned(status);
        self.equal.get().is_some_and(untouched) && status.mtime() == self.metadata.mtime
    }

    /// Notes where the target has it, for [`OpenListing::group`].
    pub fn note_volume(&self, dir: Option<&Dir>) -> Result<()> {
        if self.volume.get().is_none() {
            let volume = dir.map(Dir::volume).transpose()?;
            self.volume.get_or_init(|| volume);
        }
        Ok(())
    }
}

/// A listing that is being worked on.
#[derive(Debug)]
pub struct OpenListing {
    /// What it says.
    pub listing: Listing,
    /// Whose it is.
    pub directory: Arc<Directory>,
    waits_for: Option<u64>,
    pending: AtomicU64,
    wanted: Mutex<HashSet<u32>>,
    compared: Mutex<HashMap<u32, Compared>>,
}

/// A file of the target whose contents the source is asked to compare with.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Which.
    pub id: FileId,
    /// Whether all of it but the contents is the source's, and is where it belongs.
    pub attributes_equal: bool,
}

impl OpenListing {
    /// Returns an entry.
    pub fn entry(&self, index: u32) -> Option<&Entry> {
        self.listing.entries.get(index as usize)
    }

    /// Returns the path of an entry.
    pub fn path_of(&self, entry: &Entry) -> RelPath {
        self.directory.path.join(&entry.name)
    }

    /// Returns which hard-link group an entry belongs to.
    pub fn group(&self, entry: &Entry) -> Option<GroupId> {
        let volume = self.directory.volume.get().copied().flatten();
        entry.link.map(|link| GroupId { link, volume })
    }

    /// Notes that something of it will land later.
    pub fn defer(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that an entry's contents are asked for.
    pub fn want(&self, index: u32) {
        lock(&self.wanted).insert(index);
    }

    /// Notes which file of the target the source is asked to compare with.
    pub fn note_compared(&self, index: u32, file: Compared) {
        lock(&self.compared).insert(index, file);
    }

    /// Returns which file of the target was compared.
    pub fn compared(&self, index: u32) -> Option<Compared> {
        lock(&self.compared).get(&index).copied()
    }

    /// Takes the answer to a want; false for what nobody asked for.
    pub fn answer(&self, index: u32) -> bool {
        lock(&self.wanted).remove(&index)
    }

    /// Tells whether an entry's contents were asked for and have not come yet.
    pub fn is_wanted(&self, index: u32) -> bool {
        lock(&self.wanted).contains(&index)
    }
}

/// What came to an end.
#[derive(Debug)]
pub enum Settled {
    /// More of the listing is to land.
    Nothing,
    /// The listing.
    Listing,
    /// The listing, and with it the directory.
    Directory,
}

/// All directories and listings of a pass.
#[derive(Debug, Default)]
pub struct Tracker {
    directories: Mutex<HashMap<u64, Arc<Directory>>>,
    listings: Mutex<HashMap<u64, Arc<OpenListing>>>,
    /// Of all unsettled listings.
    weight: AtomicUsize,
    comparing: Mutex<HashSet<u64>>,
    compared: Condvar,
    fresh: Mutex<HashSet<RelPath>>,
}

/// A listing that a worker compares.
#[derive(Debug)]
pub struct Comparing<'a> {
    tracker: &'a Tracker,
    seq: u64,
}

impl Drop for Comparing<'_> {
    fn drop(&mut self) {
        lock(&self.tracker.comparing).remove(&self.seq);
        self.tracker.compared.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tracker {
    /// Takes a listing in, in the order of the link; `None` when its number is in use, or when
    /// the sender does not wait for listings to settle.
    pub fn open(&self, listing: Listing) -> Option<Arc<OpenListing>> {
        let weight = weight_of(&listing);
        if self.weight.fetch_add(weight, Ordering::Relaxed) > MAX_WEIGHT {
            return None;
        }
        let directory = self.directory_of(&listing);
        {
            let mut progress = lock(&directory.progress);
            progress.open_listings += 1;
            progress.last_seen |= listing.last;
        }
        if listing.last {
            lock(&self.directories).remove(&listing.directory);
        }
        let seq = listing.seq;
        let waits_for = {
            let mut comparing = lock(&self.comparing);
            comparing.insert(seq);
            Some(listing.parent).filter(|parent| *parent != seq && comparing.contains(parent))
        };
        let open = Arc::new(OpenListing {
            listing,
            directory,
            waits_for,
            pending: AtomicU64::new(1),
            wanted: Mutex::default(),
            compared: Mutex::default(),
        });
        match lock(&self.listings).insert(seq, Arc::clone(&open)) {
            None => Some(open),
            Some(_) => None,
        }
    }

    fn directory_of(&self, listing: &Listing) -> Arc<Directory> {
        let mut directories = lock(&self.directories);
        let directory = directories.entry(listing.directory).or_insert_with(|| {
            Arc::new(Directory {
                path: listing.path.clone(),
                metadata: listing.metadata.clone(),
                is_opaque: listing.opaque,
                names: OnceLock::new(),
                equal: OnceLock::new(),
                volume: OnceLock::new(),
                has_failed: AtomicBool::new(false),
                progress: Mutex::default(),
            })
        });
        Arc::clone(directory)
    }

    /// Returns an unsettled listing.
    pub fn get(&self, seq: u64) -> Option<Arc<OpenListing>> {
        lock(&self.listings).get(&seq).cloned()
    }

    /// Waits until the listing that named a directory was compared, so that the directory is
    /// there. Only a listing that was taken from the link earlier is waited for: some other
    /// worker has it, whatever a peer says.
    pub fn wait_for_parent(&self, open: &OpenListing) {
        let Some(parent) = open.waits_for else { return };
        let mut comparing = lock(&self.comparing);
        while comparing.contains(&parent) {
            comparing = self
                .compared
                .wait(comparing)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns what notes, when it is dropped, that a listing was compared, whatever came of it:
    /// a worker that panics leaves none waiting.
    pub fn comparing(&self, seq: u64) -> Comparing<'_> {
        Comparing { tracker: self, seq }
    }

    /// Notes that one thing of a listing is done.
    pub fn settle_one(&self, open: &OpenListing) -> Settled {
        if open.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Settled::Nothing;
        }
        lock(&self.listings).remove(&open.listing.seq);
        let weight = weight_of(&open.listing);
        self.weight.fetch_sub(weight, Ordering::Relaxed);
        let mut progress = lock(&open.directory.progress);
        progress.open_listings -= 1;
        if progress.last_seen && progress.open_listings == 0 {
            Settled::Directory
        } else {
            Settled::Listing
        }
    }

    /// Notes that a directory was made in this pass.
    pub fn note_fresh(&self, path: RelPath) {
        lock(&self.fresh).insert(path);
    }

    /// Tells, once, whether a directory was made in this pass.
    pub fn take_fresh(&self, path: &RelPath) -> bool {
        lock(&self.fresh).remove(path)
    }
}
