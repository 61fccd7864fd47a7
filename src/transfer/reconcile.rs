//! One listing against the target: what is equal is counted, what takes no contents is made, the
//! rest is asked for. Knows nothing of how contents arrive.

use std::sync::Arc;

use super::basis::BasisJob;
use super::compare::{Action, BasisUse, Existing, Sharing, attributes_differ, decide};
use super::delta::aligned::Grid;
use super::digest::digest_of;
use super::itemize::Way;
use super::large::{BasisPlan, LargeLanding, partial_key};
use super::links::{Leader, Role, Waiting};
use super::place::{Place, note_directory};
use super::settle::OpenListing;
use super::target::{TargetPass, count, lock};
use super::wire::message::{Basis, Up, Want, WantId};
use super::{SMALL_FILE_LEN, TransferError};
use crate::entry::{Entry, Kind, LinkId};
use crate::fs::stage::STAGE_NAME;
use crate::fs::{Dir, FsError, Result, extents};
use crate::monitor::{Counters, Pass};
use crate::relpath::Name;

/// Bytes of a block when the file is known to have changed: as fine as a database's pages.
const CHANGED_BLOCK_LEN: u64 = 4096;
/// Bytes of a block when the file is most likely equal: coarse and quick.
const EQUAL_BLOCK_LEN: u64 = 64 * 1024;

/// What a listing asks for, gathered so that one message carries it.
#[derive(Debug, Default)]
struct Asks {
    wants: Vec<Want>,
    bases: Vec<BasisJob>,
}

/// One entry with all that is known of it.
struct Item<'a> {
    open: &'a Arc<OpenListing>,
    index: u32,
    entry: &'a Entry,
    existing: Option<Existing>,
    dir: Option<&'a Dir>,
}

impl<'a> Item<'a> {
    fn place(&self) -> Option<Place<'a>> {
        Some(Place {
            dir: self.dir?,
            path: &self.open.directory.path,
        })
    }
}

/// Compares a listing and does or asks for what is needed.
pub fn reconcile(
    pass: &TargetPass<'_>,
    open: &Arc<OpenListing>,
) -> std::result::Result<(), TransferError> {
    pass.tracker.wait_for_parent(open);
    let mut asks = Asks::default();
    let compared = pass.compare_listing(open, &mut asks);
    pass.tracker.end_compare(open.listing.seq);
    if let Err(error) = compared {
        pass.failed(&open.directory.path, &error);
    }
    let sent = pass.ask(open.listing.seq, asks);
    pass.settle_one(open);
    sent
}

impl TargetPass<'_> {
    /// Sends wants, and hands their bases on in the order in which the sender will need them.
    fn ask(&self, seq: u64, asks: Asks) -> std::result::Result<(), TransferError> {
        let order = self.basis_jobs.in_order();
        self.out.send_packed(&Up::Wants {
            seq,
            wants: asks.wants,
        })?;
        order.push(asks.bases);
        Ok(())
    }

    fn compare_listing(&self, open: &Arc<OpenListing>, asks: &mut Asks) -> Result<()> {
        let listing = &open.listing;
        let dir = self.open(&listing.path)?;
        if listing.after.is_none() {
            self.note_own_attributes(open, dir.as_ref())?;
        }
        let names = open.directory.names(dir.as_ref())?;
        for (index, entry) in (0u32..).zip(&listing.entries) {
            if entry.kind != Kind::Directory {
                count(&self.counts.listed);
            }
            Counters::add(&self.counts.listed_bytes, entry.kind.size());
            let is_there = names
                .binary_search_by(|name| (**name).cmp(entry.name.as_bytes()))
                .is_ok();
            let existing = match &dir {
                Some(dir) if is_there => self.existing(dir, &entry.name),
                _ => Ok(None),
            };
            let done = existing.and_then(|existing| {
                let item = Item {
                    open,
                    index,
                    entry,
                    existing,
                    dir: dir.as_ref(),
                };
                self.compare_entry(item, asks)
            });
            if let Err(error) = done {
                self.entry_failed(open, entry, &error);
            }
        }
        match &dir {
            Some(dir) if !listing.opaque => self.gather_extras(open, dir, names),
            _ => Ok(()),
        }
    }

    fn note_own_attributes(&self, open: &OpenListing, dir: Option<&Dir>) -> Result<()> {
        let directory = &open.directory;
        count(&self.counts.listed);
        let is_fresh = self.tracker.take_fresh(&directory.path);
        match dir {
            Some(dir) if !is_fresh => note_directory(
                self,
                Place {
                    dir,
                    path: &directory.path,
                },
                &directory.metadata,
            ),
            _ => Ok(()),
        }
    }

    fn entry_failed(&self, open: &Arc<OpenListing>, entry: &Entry, error: &FsError) {
        self.failed(&open.path_of(entry), error);
        if let Some(link) = entry.link {
            self.leader_failed(link);
        }
    }

    fn compare_entry(&self, item: Item<'_>, asks: &mut Asks) -> Result<()> {
        if let Some(link) = item.entry.link {
            let role = lock(&self.links).join(link, item.open, item.index);
            match role {
                Role::Leader => {}
                Role::Waits => return Ok(()),
                Role::Follows(leader) => return self.follow(item, link, &leader, asks),
            }
        }
        self.settle_entry(item, asks)
    }

    /// Does what the comparison says.
    fn settle_entry(&self, item: Item<'_>, asks: &mut Asks) -> Result<()> {
        let action = decide(
            item.entry,
            item.existing.as_ref(),
            self.pass,
            self.sharing(&item),
        );
        let path = item.open.path_of(item.entry);
        match action {
            Action::Equal => {
                if item.entry.kind != Kind::Directory {
                    count(&self.counts.equal);
                }
                self.entry_stays(&item);
            }
            Action::Attributes => {
                if let (false, Some(place)) = (self.is_dry_run(), item.place()) {
                    self.change_attributes(place, item.entry)?;
                }
                count(&self.counts.attributes);
                self.item(Way::Attributes, &path, item.entry, item.existing.as_ref());
                self.entry_stays(&item);
            }
            Action::Make => {
                let id = match item.place() {
                    Some(place) if !self.is_dry_run() => {
                        Some(self.make_special(place, item.entry)?)
                    }
                    _ => None,
                };
                count(&self.counts.made);
                self.item(Way::Made, &path, item.entry, item.existing.as_ref());
                self.leader_landed(item.entry.link, Leader { path, id });
            }
            Action::MakeDirectory => {
                if let (false, Some(place)) = (self.is_dry_run(), item.place()) {
                    self.make_directory(place, &item.entry.name, item.existing.is_some())?;
                }
                count(&self.counts.made);
                self.item(Way::Made, &path, item.entry, item.existing.as_ref());
                self.tracker.note_fresh(path);
            }
            Action::Body(basis_use) => self.want(&item, basis_use, asks)?,
        }
        Ok(())
    }

    /// Tells whether the existing inode may be kept: a name that is single on the source must be
    /// single on the target, and an inode belongs to one group.
    fn sharing(&self, item: &Item<'_>) -> Sharing {
        match (&item.existing, item.entry.link) {
            (Some(existing), None)
                if existing.link_count > 1 && existing.kind != Kind::Directory =>
            {
                Sharing::Foreign
            }
            (Some(existing), Some(link)) if !lock(&self.links).claim(existing.id, link) => {
                Sharing::Foreign
            }
            _ => Sharing::Own,
        }
    }

    fn entry_stays(&self, item: &Item<'_>) {
        let id = item.existing.as_ref().map(|existing| existing.id);
        self.leader_landed(
            item.entry.link,
            Leader {
                path: item.open.path_of(item.entry),
                id,
            },
        );
    }

    /// Asks for contents, telling what is there of them.
    fn want(&self, item: &Item<'_>, basis_use: BasisUse, asks: &mut Asks) -> Result<()> {
        let same_size = item
            .existing
            .as_ref()
            .is_some_and(|existing| existing.kind == item.entry.kind);
        if self.is_dry_run() && !(same_size && basis_use == BasisUse::Compare) {
            count(&self.counts.landed);
            let path = item.open.path_of(item.entry);
            self.item(Way::Sent, &path, item.entry, item.existing.as_ref());
            self.leader_landed(item.entry.link, Leader { path, id: None });
            return Ok(());
        }
        let plan = match basis_use {
            BasisUse::None => BasisPlan::Nothing,
            BasisUse::Compare => self.plan_basis(item)?,
        };
        let basis = match (item.entry.kind.size() <= SMALL_FILE_LEN, item.place()) {
            (true, Some(place)) if same_size && basis_use == BasisUse::Compare => {
                small_digest(place.dir, &item.entry.name, item.entry.kind.size())?
            }
            (true, _) => Basis::None,
            (false, _) => self.open_large(item, plan, asks)?,
        };
        item.open.defer();
        item.open.want(item.index);
        asks.wants.push(Want {
            index: item.index,
            basis,
        });
        Ok(())
    }

    fn plan_basis(&self, item: &Item<'_>) -> Result<BasisPlan> {
        let Some(existing) = &item.existing else {
            return Ok(BasisPlan::Nothing);
        };
        let (wanted, there) = (item.entry.kind.size(), existing.kind.size());
        if wanted <= SMALL_FILE_LEN || there <= SMALL_FILE_LEN {
            return Ok(BasisPlan::Nothing);
        }
        if wanted != there {
            return Ok(BasisPlan::Windows {
                id: existing.id,
                size: there,
            });
        }
        let most_likely_equal =
            self.pass == Pass::Checksum && existing.metadata.mtime == item.entry.metadata.mtime;
        let shortest = if most_likely_equal {
            EQUAL_BLOCK_LEN
        } else {
            CHANGED_BLOCK_LEN
        };
        Ok(BasisPlan::Existing {
            id: existing.id,
            grid: Grid::new(there, shortest),
        })
    }

    /// Prepares the landing of a large file; a partial file of an earlier run goes before what
    /// is there.
    fn open_large(&self, item: &Item<'_>, plan: BasisPlan, asks: &mut Asks) -> Result<Basis> {
        let mut plan = plan;
        if let (false, Some(place)) = (self.is_dry_run(), item.place()) {
            let key = partial_key(&item.open.path_of(item.entry));
            if let Some((_, file)) = self.stage(place)?.open_partial(&key)? {
                let size = crate::fs::dir::status_of_fd(&file)?.size();
                plan = BasisPlan::Partial {
                    grid: Grid::new(size, EQUAL_BLOCK_LEN),
                };
            }
        }
        let want = WantId {
            seq: item.open.listing.seq,
            index: item.index,
        };
        let landing = LargeLanding::new(Arc::clone(item.open), item.index, plan);
        lock(&self.large).insert(want, Arc::new(std::sync::Mutex::new(landing)));
        if plan.needs_sums() {
            asks.bases.push(BasisJob {
                want,
                open: Arc::clone(item.open),
                plan,
            });
        }
        Ok(plan.basis())
    }

    /// Makes `item` another name of its leader.
    fn follow(&self, item: Item<'_>, link: LinkId, leader: &Leader, asks: &mut Asks) -> Result<()> {
        let there = item.existing.as_ref().map(|existing| existing.id);
        if leader.id.is_some() && there == leader.id {
            count(&self.counts.equal);
            return Ok(());
        }
        let path = item.open.path_of(item.entry);
        if let (false, Some(place)) = (self.is_dry_run(), item.place()) {
            match self.link(place, &item.entry.name, leader) {
                Ok(()) => {}
                Err(error) if cannot_take_more_names(&error) => {
                    // It becomes the leader of the names that are still to come.
                    let mut links = lock(&self.links);
                    drop(links.forget(link));
                    drop(links.join(link, item.open, item.index));
                    drop(links);
                    return self.settle_entry(item, asks);
                }
                Err(error) => return Err(error),
            }
        }
        count(&self.counts.linked);
        self.item(Way::Linked, &path, item.entry, item.existing.as_ref());
        Ok(())
    }

    fn link(&self, place: Place<'_>, name: &Name, leader: &Leader) -> Result<()> {
        let missing = || FsError {
            operation: "link".to_owned(),
            errno: rustix::io::Errno::NOENT,
        };
        let (parent, leader_name) = leader.path.split().ok_or_else(missing)?;
        let leader_dir = self.open(&parent)?.ok_or_else(missing)?;
        let temp = self.stage(place)?.reserve()?;
        leader_dir.link(&leader_name, temp.dir(), temp.name())?;
        self.publish(temp, place, name)
    }

    /// Notes that a name is there, and lets those that waited for it follow.
    pub fn leader_landed(&self, link: Option<LinkId>, leader: Leader) {
        let Some(link) = link else { return };
        let waiting = {
            let mut links = lock(&self.links);
            if let Some(id) = leader.id {
                links.claim(id, link);
            }
            links.landed(link, leader)
        };
        self.resume(waiting);
    }

    /// Lets another name of the group lead.
    pub fn leader_failed(&self, link: LinkId) {
        let waiting = lock(&self.links).forget(link);
        self.resume(waiting);
    }

    fn resume(&self, waiting: Vec<Waiting>) {
        for (open, index) in waiting {
            let mut asks = Asks::default();
            if let Some(entry) = open.entry(index)
                && let Err(error) = self.compare_again(&open, index, entry, &mut asks)
            {
                self.entry_failed(&open, entry, &error);
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
        let dir = self.open(&open.directory.path)?;
        let existing = match &dir {
            Some(dir) => self.existing(dir, &entry.name)?,
            None => None,
        };
        self.compare_entry(
            Item {
                open,
                index,
                entry,
                existing,
                dir: dir.as_ref(),
            },
            asks,
        )
    }

    /// Asks for a file again, whole, after what landed was not what was read.
    pub fn want_again(
        &self,
        open: &Arc<OpenListing>,
        index: u32,
    ) -> std::result::Result<(), TransferError> {
        let want = WantId {
            seq: open.listing.seq,
            index,
        };
        let mut landing = LargeLanding::new(Arc::clone(open), index, BasisPlan::Nothing);
        landing.is_second_attempt = true;
        lock(&self.large).insert(want, Arc::new(std::sync::Mutex::new(landing)));
        open.want(index);
        let wants = vec![Want {
            index,
            basis: Basis::None,
        }];
        Ok(self.out.send(&Up::Wants {
            seq: open.listing.seq,
            wants,
        })?)
    }

    /// The target has the contents already: only attributes may have to change.
    pub fn contents_are_same(&self, open: &OpenListing, index: u32) -> Result<()> {
        let Some(entry) = open.entry(index) else {
            return Ok(());
        };
        let path = open.path_of(entry);
        let Some(dir) = self.open(&open.directory.path)? else {
            return Ok(());
        };
        let existing = self.existing(&dir, &entry.name)?;
        let Some(existing) = existing else {
            return Err(FsError {
                operation: "stat".to_owned(),
                errno: rustix::io::Errno::NOENT,
            });
        };
        if attributes_differ(entry, &existing.metadata) {
            if !self.is_dry_run() {
                self.change_attributes(
                    Place {
                        dir: &dir,
                        path: &open.directory.path,
                    },
                    entry,
                )?;
            }
            count(&self.counts.attributes);
            self.item(Way::Attributes, &path, entry, Some(&existing));
        } else {
            count(&self.counts.equal);
        }
        self.leader_landed(
            entry.link,
            Leader {
                path,
                id: Some(existing.id),
            },
        );
        Ok(())
    }

    /// Remembers what only the target has, of the stretch of names that this part covers.
    fn gather_extras(&self, open: &OpenListing, dir: &Dir, names: &[Box<[u8]>]) -> Result<()> {
        let Some(extras) = &self.extras else {
            return Ok(());
        };
        let listing = &open.listing;
        let start = listing.after.as_ref().map_or(0, |after| {
            names.partition_point(|name| **name <= *after.as_bytes())
        });
        let end = match listing.entries.last() {
            Some(last) if !listing.last => {
                names.partition_point(|name| **name <= *last.name.as_bytes())
            }
            _ => names.len(),
        };
        let listed = |name: &[u8]| {
            listing
                .entries
                .binary_search_by(|entry| entry.name.as_bytes().cmp(name))
                .is_ok()
        };
        let mut scope = self.tree.rules.below(&listing.path);
        for name in names
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .filter(|name| !listed(name))
        {
            if **name == *STAGE_NAME && self.holds_stage(dir)? {
                continue;
            }
            let name = Name::new(name).map_err(|_| crate::fs::dir::unusable_name())?;
            let is_directory = match dir.status_of(&name) {
                Err(error) if error.is_missing() => continue,
                status => status?.is_directory(),
            };
            if !scope.decide(&name, is_directory).verdict.protects() {
                lock(extras).add(self, &listing.path, &name)?;
            }
        }
        Ok(())
    }

    fn holds_stage(&self, dir: &Dir) -> Result<bool> {
        self.tree
            .stages
            .as_ref()
            .map_or(Ok(false), |stages| stages.has_stage_in(dir))
    }
}

/// EMLINK: the file system's limit of names; EXDEV: a mount point of the target lies between.
fn cannot_take_more_names(error: &FsError) -> bool {
    matches!(
        error.errno,
        rustix::io::Errno::MLINK | rustix::io::Errno::XDEV
    )
}

/// Returns the digest of what the target has of a small file.
fn small_digest(dir: &Dir, name: &Name, size: u64) -> Result<Basis> {
    let file = dir.open_file(name)?;
    let mut contents = vec![0u8; size as usize];
    let count = extents::read_at(&file, &mut contents, 0)?;
    contents.truncate(count);
    Ok(Basis::Digest(digest_of(&contents)))
}
