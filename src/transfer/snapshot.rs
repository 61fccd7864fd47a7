//! What the target has of the source as it looks: a print of each entry that has settled, so that a
//! later pass of the same transfer names only what has changed since. Knows nothing of how an entry
//! is found or sent.
//!
//! A print stands for path, inode and the time of the inode's last change, which no program can
//! set. It takes 16 bytes. What is changed on the target meanwhile is not seen by a pass that
//! trusts prints; the checksum pass, which does not, sees it.

use std::collections::{HashSet, hash_map::RandomState};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use super::live::is_shared_directory;
use crate::fs::Status;
use crate::relpath::RelPath;

/// Where a pass takes what it knows for what the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nowhere: everything is listed.
    Nowhere,
    /// But where files of a stage are files of the live tree too: programs there may have
    /// written into them.
    NotInShared,
    /// Everywhere.
    Everywhere,
}

impl Trust {
    /// Tells whether it covers the directory at `path`.
    pub fn covers(self, path: &RelPath) -> bool {
        match self {
            Trust::Nowhere => false,
            Trust::NotInShared => !is_shared_directory(path),
            Trust::Everywhere => true,
        }
    }
}

/// How one entry looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Print([u64; 2]);

/// What settled in the passes so far.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    known: HashSet<Print>,
    keys: [RandomState; 2],
}

impl Snapshot {
    /// Returns the print of `name` in the directory at `path`, or of the directory itself under
    /// the empty name; `None` for what is to be looked at by the target in each pass: what moved a
    /// moment before `now`, and what has several names, which only the whole group tells apart.
    pub fn print_of(
        &self,
        path: &RelPath,
        (name, status): (&[u8], &Status),
        now: SystemTime,
    ) -> Option<Print> {
        let is_group = status.link_count() > 1 && !status.is_directory();
        let is_at_rest = status.is_at_rest(now);
        if is_group || !is_at_rest {
            return None;
        }
        let half = |key: &RandomState| {
            let mut hasher = key.build_hasher();
            (path.as_bytes(), name).hash(&mut hasher);
            (status.id(), status.ctime(), status.size()).hash(&mut hasher);
            hasher.finish()
        };
        Some(Print([half(&self.keys[0]), half(&self.keys[1])]))
    }

    /// Tells whether the target has what the print stands for.
    pub fn knows(&self, print: Option<Print>) -> bool {
        print.is_some_and(|print| self.known.contains(&print))
    }

    /// Takes in what a pass has found on the target, and forgets everything else: a state that was
    /// there before may come back with all its times.
    pub fn learn(self: &mut Arc<Self>, found: [Vec<Print>; 2]) {
        let known = &mut Arc::make_mut(self).known;
        known.clear();
        known.extend(found.into_iter().flatten());
    }
}
