//! The window: which listings were sent and are not settled yet. It bounds how far the walk runs
//! ahead, and with that every queue that wants, sums and contents go through. Knows nothing of
//! what is done about a listing.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::snapshot::Print;
use super::stopwatch::{Activity, doing};
use super::walk::Found;
use super::wire::message::Listing;
use crate::entry::{Entry, Kind};
use crate::fs::{FileId, Status};
use crate::relpath::{Name, RelPath};

/// LIMIT: what unsettled listings may weigh in memory, in bytes.
pub const WINDOW_LEN: usize = 32 << 20;
/// Bits of a mode that give who runs a file the rights of its owner or group.
const SET_ID: u16 = 0o6000;
/// How often a waiting walk looks whether the pass was stopped.
const LOOK: Duration = Duration::from_millis(200);

/// What the sender remembers of a listing until it is settled.
#[derive(Debug)]
pub struct SentListing {
    /// Its number.
    pub seq: u64,
    /// The directory.
    pub path: RelPath,
    /// Which directory it was.
    pub id: FileId,
    /// Name of each entry and what it was; `None` for what is no regular file.
    pub entries: Vec<(Name, Option<Listed>)>,
    /// Entries of child directories do not count: they settle with their own listing.
    pub entry_count: u64,
    /// Bytes of its regular files.
    pub bytes: u64,
    /// What the target has when it has settled without a problem.
    pub prints: Vec<Print>,
    weight: usize,
}

/// What a regular file was when it was listed: what the target is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// Its length in bytes.
    pub size: u64,
    owner: (u32, u32),
    mode: u16,
    /// Which file; `None` where another one of the same owner and mode may take its place.
    id: Option<FileId>,
}

impl Listed {
    /// Takes what is needed of an entry; `None` for what is no regular file.
    fn of(entry: &Entry, id: FileId) -> Option<Listed> {
        let Kind::File { size } = entry.kind else {
            return None;
        };
        let metadata = &entry.metadata;
        let has_more_rights = metadata.mode & SET_ID != 0 || !metadata.xattrs.is_empty();
        Some(Listed {
            size,
            owner: (metadata.uid, metadata.gid),
            mode: metadata.mode,
            id: has_more_rights.then_some(id),
        })
    }

    /// Tells whether a file may go out under the attributes that were listed. Who may rename files
    /// of others in a directory would else give contents that he may not read a mode that lets him,
    /// or contents of his own an owner, a set-id bit or a capability that he has not.
    pub fn covers(&self, status: &Status) -> bool {
        self.owner == (status.uid(), status.gid())
            && self.mode == status.mode()
            && self.id.is_none_or(|id| id == status.id())
    }
}

impl SentListing {
    /// Takes what is needed of what was found; returns the listing to send with it.
    pub fn new(found: Found) -> (SentListing, Listing) {
        let Found {
            listing,
            directory: id,
            ids,
            prints,
        } = found;
        let listed = listing.entries.iter().zip(ids);
        let entries: Vec<(Name, Option<Listed>)> = listed
            .map(|(entry, id)| (entry.name.clone(), Listed::of(entry, id)))
            .collect();
        let directories = listing
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::Directory)
            .count();
        let sent = SentListing {
            seq: listing.seq,
            path: listing.path.clone(),
            id,
            entry_count: (entries.len() - directories) as u64 + u64::from(listing.after.is_none()),
            bytes: entries
                .iter()
                .filter_map(|(_, file)| Some(file.as_ref()?.size))
                .fold(0, u64::saturating_add),
            entries,
            prints,
            weight: weight_of(&listing),
        };
        (sent, listing)
    }

    /// Returns the name of a wanted regular file and what it was when it was listed.
    pub fn file(&self, index: u32) -> Option<(&Name, &Listed)> {
        let (name, file) = self.entries.get(index as usize)?;
        Some((name, file.as_ref()?))
    }
}

/// Returns what an unsettled listing weighs where most of it is remembered, on the target; both
/// sides count the same.
pub fn weight_of(listing: &Listing) -> usize {
    let entry_weight = |entry: &Entry| {
        let text = match &entry.kind {
            Kind::Symlink { text } => text.len(),
            _ => 0,
        };
        entry.name.as_bytes().len() + text + entry.metadata.xattr_bytes() + 150
    };
    let entries = listing.entries.iter().map(entry_weight);
    listing.path.as_bytes().len() + 200 + entries.sum::<usize>()
}

/// All unsettled listings of a pass.
#[derive(Debug, Default)]
pub struct Window {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sent: HashMap<u64, Arc<SentListing>>,
    weight: usize,
    is_stopped: bool,
}

impl Window {
    /// Takes a listing in, waiting for room; false when the pass was stopped.
    pub fn admit(&self, listing: SentListing) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.weight > WINDOW_LEN && !state.is_stopped {
            let waited = doing(Activity::Idle, || self.room.wait_timeout(state, LOOK));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.is_stopped {
            return false;
        }
        state.weight += listing.weight;
        state.sent.insert(listing.seq, Arc::new(listing));
        true
    }

    /// Returns an unsettled listing.
    pub fn get(&self, seq: u64) -> Option<Arc<SentListing>> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sent
            .get(&seq)
            .cloned()
    }

    /// Forgets a listing that is settled and returns it.
    pub fn settle(&self, seq: u64) -> Option<Arc<SentListing>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let listing = state.sent.remove(&seq)?;
        state.weight -= listing.weight;
        self.room.notify_all();
        Some(listing)
    }

    /// Tells whether everything that was sent is settled.
    pub fn is_empty(&self) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sent
            .is_empty()
    }

    /// Lets everybody who waits go.
    pub fn stop(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_stopped = true;
        self.room.notify_all();
    }

    /// Tells whether the pass was stopped.
    pub fn is_stopped(&self) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_stopped
    }
}
