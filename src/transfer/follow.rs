//! The names of a hard-link group on the target: who becomes a link to the leader, and what
//! happens to those that wait when the leader lands or fails. Knows nothing of contents.

use std::sync::Arc;

use rustix::io::Errno;

use super::ask::Asks;
use super::itemize::Way;
use super::links::{GroupId, Leader, Role, Waiting};
use super::place::Place;
use super::reconcile::Item;
use super::settle::OpenListing;
use super::stopwatch::{Activity, doing};
use super::target::{TargetPass, count, lock};
use crate::entry::Entry;
use crate::fs::{FileId, FsError, Result};
use crate::relpath::Name;

impl TargetPass<'_> {
    /// Makes `item` another name of its leader.
    pub(super) fn follow(
        &self,
        item: Item<'_>,
        group: GroupId,
        leader: &Leader,
        asks: &mut Asks,
    ) -> Result<()> {
        let there = item.existing.as_ref().map(|existing| existing.id);
        if leader.id.is_some() && there == leader.id {
            count(&self.counts.equal);
            return Ok(());
        }
        if let (false, Some(place)) = (self.is_dry_run(), item.place()) {
            match doing(Activity::Write, || {
                self.link(place, &item.entry.name, leader)
            }) {
                Ok(()) => {}
                Err(error) if cannot_take_more_names(&error) => {
                    // It arrives, but as a file of its own.
                    self.failed(&item.open.path_of(item.entry), &error);
                    let role = lock(&self.links).succeed(group, leader, item.open, item.index);
                    return match role {
                        Role::Leader => self.settle_entry(item, asks),
                        Role::Waits => Ok(()),
                        Role::Follows(leader) => self.follow(item, group, &leader, asks),
                    };
                }
                Err(error) => return Err(error),
            }
        }
        count(&self.counts.linked);
        item.tell(self, Way::Linked);
        Ok(())
    }

    fn link(&self, place: Place<'_>, name: &Name, leader: &Leader) -> Result<()> {
        let missing = || FsError::missing("link");
        let (parent, leader_name) = leader.path.split().ok_or_else(missing)?;
        let leader_dir = self.open(&parent)?.ok_or_else(missing)?;
        let temp = self.stage(place)?.reserve()?;
        leader_dir.link(&leader_name, temp.dir(), temp.name())?;
        // Another file may have taken the leader's name; nobody can swap what lies in the stage.
        let linked = temp.dir().status_of(temp.name())?.id();
        if leader.id.is_some_and(|id| id != linked) {
            return Err(FsError::stale("link to what has landed"));
        }
        self.publish(temp, place, name)
    }

    /// Notes that a name is there, as the inode `id` where it is one of several names, and lets those
    /// that waited for it follow.
    pub fn leader_landed(&self, open: &OpenListing, entry: &Entry, id: Option<FileId>) {
        let Some(group) = open.group(entry) else {
            return;
        };
        let path = open.path_of(entry);
        let waiting = {
            let mut links = lock(&self.links);
            if let Some(id) = id {
                links.claim(id, group.link);
            }
            links.landed(group, Leader { path, id })
        };
        self.resume(waiting);
    }

    /// Lets another name of the group lead if this one was to.
    pub fn leader_failed(&self, open: &OpenListing, index: u32) {
        let Some(group) = open.entry(index).and_then(|entry| open.group(entry)) else {
            return;
        };
        let waiting = lock(&self.links).failed(group, open, index);
        self.resume(waiting);
    }

    fn resume(&self, waiting: Vec<Waiting>) {
        for (open, index) in waiting {
            let mut asks = Asks::default();
            if let Some(entry) = open.entry(index)
                && let Err(error) = self.compare_again(&open, index, entry, &mut asks)
            {
                self.entry_failed(&open, index, &error);
            }
            if !asks.wants.is_empty() {
                // A lost link is noticed by whoever reads it.
                drop(self.ask(open.listing.seq, asks));
            }
            self.settle_one(&open);
        }
    }

    fn compare_again(
        &self,
        open: &Arc<OpenListing>,
        index: u32,
        entry: &Entry,
        asks: &mut Asks,
    ) -> Result<()> {
        let path = &open.directory.path;
        let (dir, live) = (self.open(path)?, self.live_dir(path)?);
        let existing = self.find(dir.as_ref(), live.as_ref(), &entry.name)?;
        self.compare_entry(
            Item {
                open,
                index,
                entry,
                existing,
                dir: dir.as_ref(),
                live: live.as_ref(),
                has_moved: self.has_moved(&open.directory.path),
            },
            asks,
        )
    }
}

/// EMLINK: the file system's limit of names; EXDEV: something within a volume that no link crosses,
/// such as a project of XFS; the others: a file system without links, vfat or one of FUSE.
fn cannot_take_more_names(error: &FsError) -> bool {
    let limits = [Errno::MLINK, Errno::XDEV];
    let no_links = [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP];
    limits.contains(&error.errno) || no_links.contains(&error.errno)
}
