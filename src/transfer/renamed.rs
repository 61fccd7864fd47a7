//! Directories that the source has renamed since the target got them: what would go as an extra
//! takes the place of the empty directory that was made under the new name, and everything in it
//! is compared where it is now instead of being sent. Only where extras are removed anyway, and
//! where nobody wants each change told. Knows nothing of why a directory is an extra.

use std::collections::HashMap;

use super::place::Place;
use super::settle::OpenListing;
use super::stages::Stages;
use super::target::{TargetPass, lock};
use super::wire::message::Listing;
use crate::entry::{Entry, Kind, Timestamp};
use crate::fs::metadata::change_mtime;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, Result};
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

    fn remove(&mut self, mtime: Timestamp, path: &RelPath) {
        if let Some(paths) = self.by_mtime.get_mut(&mtime) {
            paths.retain(|other| other != path);
        }
    }
}

impl TargetPass<'_> {
    /// Tells whether renamed directories are followed. Each change that is told is one that a dry
    /// run would have told, and that one moves nothing.
    pub(super) fn follows_renames(&self) -> bool {
        let policy = &self.tree.policy;
        policy.delete_limit.is_some() && !policy.items && !policy.dry_run
    }

    /// Takes a directory in that only the target has.
    pub(super) fn note_orphan(&self, path: RelPath, mtime: Timestamp) {
        lock(&self.orphans).add(mtime, path);
    }

    /// Gives a directory that was made in this pass what the target has under its former name.
    pub(super) fn follow_rename(&self, open: &OpenListing) -> Result<()> {
        let listing = &open.listing;
        let mtime = listing.metadata.mtime;
        let candidates = lock(&self.orphans).like(mtime);
        for path in candidates {
            if self.is_former(&path, listing)? && self.swap(&path, &listing.path)? {
                lock(&self.orphans).remove(mtime, &path);
                break;
            }
        }
        Ok(())
    }

    /// Tells whether a directory holds what the source lists in another, and nothing that stays.
    fn is_former(&self, path: &RelPath, listing: &Listing) -> Result<bool> {
        let dir = match self.open(path) {
            Err(error) if error.is_missing() => return Ok(false),
            dir => dir?,
        };
        let Some(dir) = dir.filter(|dir| looks_like(dir, listing)) else {
            return Ok(false);
        };
        Ok(self.count_below(Place { dir: &dir, path }).is_ok())
    }

    /// Exchanges two directories; those around them keep their time stamps. `false` where the
    /// file system does not do that.
    fn swap(&self, one: &RelPath, other: &RelPath) -> Result<bool> {
        let (Some((one_parent, one)), Some((other_parent, other))) = (one.split(), other.split())
        else {
            return Ok(false);
        };
        let (Some(one_dir), Some(other_dir)) = (self.open(&one_parent)?, self.open(&other_parent)?)
        else {
            return Ok(false);
        };
        let _quiet = self.tree.stages.as_ref().map(Stages::keep_still);
        let before = (one_dir.status()?.mtime(), other_dir.status()?.mtime());
        if !one_dir.swap(&one, &other_dir, &other)? {
            return Ok(false);
        }
        change_mtime(Object::open(&one_dir), before.0)?;
        change_mtime(Object::open(&other_dir), before.1)?;
        Ok(true)
    }
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
