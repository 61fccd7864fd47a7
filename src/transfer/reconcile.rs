//! One listing against the target: what is equal is counted, what takes no contents is made, the
//! rest is asked for. Knows nothing of how contents arrive.

use std::sync::Arc;

use super::TransferError;
use super::ask::Asks;
use super::compare::{Action, BasisUse, Existing, Origin, Sharing, attributes_differ, decide};
use super::itemize::Way;
use super::links::Role;
use super::place::{Place, note_directory, refusal};
use super::settle::OpenListing;
use super::stopwatch::{Activity, doing};
use super::target::{TargetPass, count, lock};
use crate::entry::{Entry, Kind};
use crate::fs::{Dir, FileId, FsError, Result};
use crate::monitor::Counters;

/// One entry with all that is known of it.
pub(super) struct Item<'a> {
    pub(super) open: &'a Arc<OpenListing>,
    pub(super) index: u32,
    pub(super) entry: &'a Entry,
    pub(super) existing: Option<Existing>,
    pub(super) dir: Option<&'a Dir>,
    /// The same directory of the live tree, where the target is a stage.
    pub(super) live: Option<&'a Dir>,
    /// Whether the directory had another name on the target until this pass.
    pub(super) has_moved: bool,
}

impl<'a> Item<'a> {
    /// Returns the directory it is in; `None` where a dry run would have made it.
    pub(super) fn place(&self) -> Option<Place<'a>> {
        Some(Place {
            dir: self.dir?,
            path: &self.open.directory.path,
        })
    }

    /// Returns the directory in which the target's own was found.
    pub(super) fn found_in(&self) -> Option<&'a Dir> {
        match self.existing.as_ref()?.origin {
            Origin::Own => self.dir,
            Origin::Live => self.live,
        }
    }

    /// Reports a change of it where that was asked for.
    pub(super) fn tell(&self, pass: &TargetPass<'_>, way: Way) {
        pass.item(way, self.open, self.entry, self.existing.as_ref());
    }

    fn is_live(&self) -> bool {
        let existing = self.existing.as_ref();
        existing.is_some_and(|existing| existing.origin == Origin::Live)
    }
}

/// Compares a listing and does or asks for what is needed.
pub fn reconcile(
    pass: &TargetPass<'_>,
    open: &Arc<OpenListing>,
) -> std::result::Result<(), TransferError> {
    doing(Activity::Idle, || pass.tracker.wait_for_parent(open));
    let mut asks = Asks::default();
    let comparing = pass.tracker.comparing(open.listing.seq);
    let compared = pass.compare_listing(open, &mut asks);
    drop(comparing);
    if let Err(error) = compared {
        open.directory.note_failed();
        pass.failed(&open.directory.path, &error);
    }
    let sent = pass.ask(open.listing.seq, asks);
    pass.settle_one(open);
    sent
}

impl TargetPass<'_> {
    fn compare_listing(&self, open: &Arc<OpenListing>, asks: &mut Asks) -> Result<()> {
        let listing = &open.listing;
        let is_first = listing.after.is_none();
        let is_fresh = is_first && self.tracker.take_fresh(&listing.path);
        // Another part of a long one may be at work in it already.
        if is_fresh && listing.last && self.follows_renames() {
            self.follow_rename(open);
        }
        let dir = self.open(&listing.path)?;
        if is_first {
            count(&self.counts.listed);
            // One that was made in this pass gets its attributes at the end.
            if let (Some(dir), false) = (&dir, is_fresh) {
                note_directory(self, dir, &open.directory)?;
            }
        }
        let live = self.live_dir(&listing.path)?;
        let has_moved = self.has_moved(&listing.path);
        let names = open.directory.names(dir.as_ref())?;
        for (index, entry) in (0u32..).zip(&listing.entries) {
            if entry.kind != Kind::Directory {
                count(&self.counts.listed);
            }
            Counters::add(&self.counts.listed_bytes, entry.kind.size());
            let is_there = names
                .binary_search_by(|name| (**name).cmp(entry.name.as_bytes()))
                .is_ok();
            let own = dir.as_ref().filter(|_| is_there);
            let existing = self.find(own, live.as_ref(), &entry.name);
            let done = existing.and_then(|existing| {
                let item = Item {
                    open,
                    index,
                    entry,
                    existing,
                    dir: dir.as_ref(),
                    live: live.as_ref(),
                    has_moved,
                };
                self.compare_entry(item, asks)
            });
            if let Err(error) = done {
                self.entry_failed(open, index, &error);
            }
        }
        match &dir {
            Some(dir) if !listing.opaque && !listing.partial => {
                self.gather_extras(open, dir, names)
            }
            _ => Ok(()),
        }
    }

    pub(super) fn entry_failed(&self, open: &OpenListing, index: u32, error: &FsError) {
        if let Some(entry) = open.entry(index) {
            self.failed(&open.path_of(entry), error);
        }
        self.leader_failed(open, index);
    }

    /// Takes one entry: links go by their group, everything else by comparison.
    pub(super) fn compare_entry(&self, item: Item<'_>, asks: &mut Asks) -> Result<()> {
        self.refuse_protected(&item)?;
        if item.entry.link.is_some() {
            item.open.directory.note_volume(item.dir)?;
        }
        if let Some(group) = item.open.group(item.entry) {
            let role = lock(&self.links).join(group, item.open, item.index);
            match role {
                Role::Leader => {}
                Role::Waits => return Ok(()),
                Role::Follows(leader) => return self.follow(item, group, &leader, asks),
            }
        }
        self.settle_entry(item, asks)
    }

    /// Refuses to replace what a rule protects on the target because of what it is there: `b/` is
    /// a directory of the target's where the source has a file that no rule names. In a stage the
    /// target's own takes its place back when it is carried.
    fn refuse_protected(&self, item: &Item<'_>) -> Result<()> {
        let Some(existing) = item.existing.as_ref().filter(|_| self.tree.live.is_none()) else {
            return Ok(());
        };
        let is_directory = existing.kind == Kind::Directory;
        if is_directory == (item.entry.kind == Kind::Directory) {
            return Ok(());
        }
        let path = item.open.path_of(item.entry);
        let decision = self.tree.rules.decide(&path, is_directory);
        match decision.verdict.protects() {
            true => Err(refusal("replace a protected entry of another type")),
            false => Ok(()),
        }
    }

    /// Does what the comparison says.
    pub(super) fn settle_entry(&self, item: Item<'_>, asks: &mut Asks) -> Result<()> {
        let action = decide(
            item.entry,
            item.existing.as_ref(),
            self.pass,
            self.sharing(&item),
        );
        if item.is_live() {
            return doing(Activity::Write, || self.take_over(&item, action, asks));
        }
        let is_file = matches!(item.entry.kind, Kind::File { .. });
        match action {
            Action::Equal | Action::Attributes if is_file && item.has_moved => {
                self.want(&item, BasisUse::Compare, asks)?;
            }
            Action::Equal if self.is_unproven(item.existing.as_ref()) => {
                self.want(&item, BasisUse::Compare, asks)?;
            }
            Action::Equal => {
                if item.entry.kind != Kind::Directory {
                    count(&self.counts.equal);
                }
                self.entry_stays(&item, None);
            }
            Action::Attributes => {
                let compared = item.existing.as_ref().map(|existing| existing.id);
                let id = match (item.place(), compared) {
                    (Some(place), Some(compared)) if !self.is_dry_run() => {
                        doing(Activity::Write, || {
                            self.set_attributes(place, item.entry, compared)
                        })?
                    }
                    _ => None,
                };
                count(&self.counts.attributes);
                item.tell(self, Way::Attributes);
                self.entry_stays(&item, id);
            }
            Action::Make => {
                let id = match item.place() {
                    Some(place) if !self.is_dry_run() => {
                        let make = || self.make_special(place, item.entry);
                        Some(doing(Activity::Write, make)?)
                    }
                    _ => None,
                };
                count(&self.counts.made);
                item.tell(self, Way::Made);
                self.leader_landed(item.open, item.entry, id);
            }
            Action::MakeDirectory => {
                if let (false, Some(place)) = (self.is_dry_run(), item.place()) {
                    let is_other = item.existing.is_some();
                    doing(Activity::Write, || {
                        self.make_directory(place, &item.entry.name, is_other)
                    })?;
                }
                count(&self.counts.made);
                item.tell(self, Way::Made);
                self.tracker.note_fresh(item.open.path_of(item.entry));
            }
            Action::Body(basis_use) => self.want(&item, basis_use, asks)?,
        }
        Ok(())
    }

    /// Tells whether the existing inode may be kept: a name that is single on the source must be
    /// single on the target, and an inode belongs to one group.
    fn sharing(&self, item: &Item<'_>) -> Sharing {
        match (&item.existing, item.entry.link) {
            // What is only taken from the live tree gets an inode of its own, or is shared with it.
            _ if item.is_live() => Sharing::Own,
            (Some(existing), None)
                if existing.link_count > 1 && existing.kind != Kind::Directory =>
            {
                match self.is_shared_with_live(item, existing) {
                    true => Sharing::Own,
                    false => Sharing::Foreign,
                }
            }
            (Some(existing), Some(link)) if !lock(&self.links).claim(existing.id, link) => {
                Sharing::Foreign
            }
            _ => Sharing::Own,
        }
    }

    /// Notes that what is there is the entry; `fresh` where it is another inode now.
    fn entry_stays(&self, item: &Item<'_>, fresh: Option<FileId>) {
        let id = fresh.or(item.existing.as_ref().map(|existing| existing.id));
        self.leader_landed(item.open, item.entry, id);
    }

    /// The target has the contents already: only attributes may have to change, and not those of
    /// another file that has taken the name since they were compared.
    pub fn contents_are_same(&self, open: &OpenListing, index: u32) -> Result<()> {
        let Some(entry) = open.entry(index) else {
            return Ok(());
        };
        let compared = open.compared(index);
        if let Some(found) = compared.filter(|found| found.attributes_equal) {
            count(&self.counts.equal);
            self.leader_landed(open, entry, Some(found.id));
            return Ok(());
        }
        let Some(dir) = self.open(&open.directory.path)? else {
            return Ok(());
        };
        let Some(existing) = self.find_again(open, entry)? else {
            return Err(FsError::missing("stat"));
        };
        if !self.is_dry_run() && compared.map(|found| found.id) != Some(existing.id) {
            return Err(FsError::stale("keep what was compared"));
        }
        let is_equal = !attributes_differ(entry, &existing.metadata);
        if existing.origin == Origin::Live {
            return self.adopt(open, entry, (is_equal, existing.id));
        }
        let mut id = Some(existing.id);
        if !is_equal {
            if !self.is_dry_run() {
                let path = &open.directory.path;
                id = self
                    .set_attributes(Place { dir: &dir, path }, entry, existing.id)?
                    .or(id);
            }
            count(&self.counts.attributes);
            self.item(Way::Attributes, open, entry, Some(&existing));
        } else {
            count(&self.counts.equal);
        }
        self.leader_landed(open, entry, id);
        Ok(())
    }
}
