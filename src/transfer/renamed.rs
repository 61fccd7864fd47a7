//! Directories that the source has renamed since the target got them: what would go as an extra
//! takes the place of the empty directory that was made under the new name, and everything in it
//! is compared where it is now, by its contents, instead of being sent. Only where this pass removes
//! extras without limit anyway, and where nobody wants each change told. Knows nothing of why a
//! directory is an extra.
//!
//! Nobody but the owner of all that surrounds them may have had a hand in it: a directory that a
//! user has made up takes no place of another's.

use std::collections::{HashMap, HashSet};

use super::place::Place;
use super::settle::OpenListing;
use super::stages::Stages;
use super::stopwatch::{Activity, doing};
use super::target::{TargetPass, lock};
use super::wire::message::Listing;
use crate::entry::{Entry, Kind, Timestamp};
use crate::fs::metadata::change_mtime;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FileId, Result, Status};
use crate::relpath::RelPath;

/// LIMIT: extra directories that are remembered, some 200 bytes each.
const MAX_ORPHANS: usize = 20_000;
/// Extra directories with one time stamp that are looked into.
const MAX_TRIES: usize = 8;
/// Entries that are looked up in one.
const SAMPLE: usize = 16;

/// Extra directories by their time stamp: it stays when a directory is renamed, and changes with
/// what is in it.
#[derive(Debug, Default)]
pub struct Orphans {
    by_mtime: HashMap<Timestamp, Vec<RelPath>>,
    count: usize,
    /// The new names of those that were moved.
    moved: HashSet<RelPath>,
    /// Their former names, and the inodes of the empty directories that were left there.
    left: HashMap<RelPath, u64>,
}

impl Orphans {
    fn add(&mut self, mtime: Timestamp, path: RelPath) {
        if self.count < MAX_ORPHANS {
            self.count += 1;
            self.by_mtime.entry(mtime).or_default().push(path);
        }
    }

    fn like(&self, mtime: Timestamp) -> Vec<RelPath> {
        let paths = self.by_mtime.get(&mtime);
        paths.map_or(Vec::new(), |paths| {
            paths.iter().take(MAX_TRIES).cloned().collect()
        })
    }

    fn take(&mut self, mtime: Timestamp, (path, left): (&RelPath, u64), moved: RelPath) {
        if let Some(paths) = self.by_mtime.get_mut(&mtime) {
            paths.retain(|other| other != path);
        }
        self.left.insert(path.clone(), left);
        self.moved.insert(moved);
    }

    fn has_moved(&self, path: &RelPath) -> bool {
        let mut above = (!self.moved.is_empty()).then(|| path.clone());
        while let Some(path) = above {
            if self.moved.contains(&path) {
                return true;
            }
            above = path.split().map(|(parent, _)| parent);
        }
        false
    }
}

impl TargetPass<'_> {
    /// Tells whether renamed directories are followed. Each change that is told is one that a dry
    /// run would have told, and that one moves nothing.
    pub(super) fn follows_renames(&self) -> bool {
        let policy = &self.tree.policy;
        let is_unlimited = policy.delete_limit == Some(u64::MAX);
        self.extras.is_some() && is_unlimited && !policy.items && !policy.dry_run
    }

    /// Tells whether what is in a directory came there by its new name: only its contents say
    /// that it is what the source has.
    pub(super) fn has_moved(&self, path: &RelPath) -> bool {
        lock(&self.orphans).has_moved(path)
    }

    /// Tells whether what is at `path` is what took the place of a directory that was moved.
    pub(super) fn has_left(&self, path: &RelPath, inode: u64) -> bool {
        lock(&self.orphans).left.get(path) == Some(&inode)
    }

    /// Takes a directory in that only the target has.
    pub(super) fn note_orphan(&self, path: RelPath, mtime: Timestamp) {
        lock(&self.orphans).add(mtime, path);
    }

    /// Gives a directory that was made in this pass what the target has under its former name.
    /// What cannot be moved is sent.
    pub(super) fn follow_rename(&self, open: &OpenListing) {
        let listing = &open.listing;
        let mtime = listing.metadata.mtime;
        let candidates = lock(&self.orphans).like(mtime);
        for path in candidates {
            if let Ok(Some(left)) = self.try_former(&path, listing) {
                let moved = listing.path.clone();
                lock(&self.orphans).take(mtime, (&path, left), moved);
                break;
            }
        }
    }

    fn try_former(&self, path: &RelPath, listing: &Listing) -> Result<Option<u64>> {
        match self.former(path, listing)? {
            Some(former) => doing(Activity::Write, || {
                self.swap((path, former), (&listing.path, listing.metadata.uid))
            }),
            None => Ok(None),
        }
    }

    /// Looks into a directory: returns which it is, where it holds what the source lists in
    /// another, and nothing that stays, here or there.
    fn former(&self, path: &RelPath, listing: &Listing) -> Result<Option<FileId>> {
        let Some(dir) = self.open(path)?.filter(|dir| looks_like(dir, listing)) else {
            return Ok(None);
        };
        let (status, wanted) = (dir.status()?, &listing.metadata);
        let is_owned =
            (status.uid(), status.gid(), status.mode()) == (wanted.uid, wanted.gid, wanted.mode);
        let stays = |path| self.count_below(Place { dir: &dir, path }).is_err();
        let is_former = is_owned && !stays(path) && !stays(&listing.path);
        Ok(is_former.then_some(status.id()))
    }

    /// Exchanges two directories; those around them keep their time stamps. Returns the inode of what
    /// the former name has now; `None` where the file system does not do that, or where others than
    /// their owner and root could have.
    fn swap(
        &self,
        (one, former): (&RelPath, FileId),
        (other, owner): (&RelPath, u32),
    ) -> Result<Option<u64>> {
        let (Some((one_parent, one)), Some((other_parent, other))) = (one.split(), other.split())
        else {
            return Ok(None);
        };
        let (Some(one_dir), Some(other_dir)) = (self.open(&one_parent)?, self.open(&other_parent)?)
        else {
            return Ok(None);
        };
        let _quiet = self.tree.stages.as_ref().map(Stages::keep_still);
        let before = (one_dir.status()?, other_dir.status()?);
        let found = one_dir.status_of(&one)?;
        let left = other_dir.status_of(&other)?.id().inode;
        if !is_closed(&before.0, owner)
            || !is_closed(&before.1, owner)
            || found.id() != former
            // The top of what is mounted there stays.
            || one_dir.open_dir_here(&one, &found)?.is_none()
            || !one_dir.swap(&one, &other_dir, &other)?
        {
            return Ok(None);
        }
        change_mtime(Object::open(&one_dir), before.0.mtime())?;
        change_mtime(Object::open(&other_dir), before.1.mtime())?;
        Ok(Some(left))
    }
}

/// Tells whether nobody but `owner` and root can put something into a directory.
fn is_closed(status: &Status, owner: u32) -> bool {
    status.mode() & 0o022 == 0 && [0, owner].contains(&status.uid())
}

/// Tells whether half of what is listed is there with the same size and time.
fn looks_like(dir: &Dir, listing: &Listing) -> bool {
    let sample = listing.entries.len().min(SAMPLE);
    let is_there = |entry: &&Entry| {
        let Ok(status) = dir.status_of(&entry.name) else {
            return false;
        };
        let is_as_old = status.mtime() == entry.metadata.mtime;
        match &entry.kind {
            Kind::Directory => status.is_directory(),
            Kind::File { size } => status.is_file() && status.size() == *size && is_as_old,
            _ => is_as_old,
        }
    };
    let found = listing.entries.iter().take(sample).filter(is_there).count();
    found > 0 && found * 2 >= sample
}
