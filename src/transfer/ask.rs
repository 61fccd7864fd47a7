//! Asking for contents: which wants a listing makes, and what the target says it has already of
//! each. Knows nothing of how contents arrive.

use std::sync::Arc;

use super::basis::BasisJob;
use super::compare::{BasisUse, Existing, Origin, attributes_differ};
use super::delta::aligned::Grid;
use super::digest::DigestKey;
use super::itemize::Way;
use super::large::{BasisPlan, LONGEST_KNOWN_LEN, LargeLanding, Patching, partial_key};
use super::live::may_share;
use super::reconcile::Item;
use super::settle::{Compared, OpenListing};
use super::stopwatch::{Activity, doing};
use super::target::{TargetPass, count, lock};
use super::wire::message::{Basis, Digest, Up, Want, WantId};
use super::{SMALL_FILE_LEN, TransferError};
use crate::fs::stage::NewFile;
use crate::fs::{Dir, Result, Status, Tree, extents, status_of_fd};
use crate::monitor::Pass;

/// Bytes of a block when the file is known to have changed: as fine as a database's pages.
const CHANGED_BLOCK_LEN: u64 = 4096;
/// Bytes of a block when the file is most likely equal: that of the content digest, so that the
/// source hashes each block once for both.
const EQUAL_BLOCK_LEN: u64 = super::digest::DIGEST_BLOCK as u64;

/// LIMIT: bytes of a file in which shifted contents are looked for: the source keeps the signatures that
/// it has not come to, 200 MiB of this (src/transfer/delta/mod.rs). Of a longer one only what is at its
/// old place is found.
const LONGEST_SHIFTED_LEN: u64 = 1 << 40;

/// What a listing asks for, gathered so that one message carries it.
#[derive(Debug, Default)]
pub(super) struct Asks {
    pub(super) wants: Vec<Want>,
    bases: Vec<BasisJob>,
}

impl TargetPass<'_> {
    /// Sends wants, and hands their bases on in the order in which the sender will need them.
    pub(super) fn ask(&self, seq: u64, asks: Asks) -> std::result::Result<(), TransferError> {
        let order = doing(Activity::Idle, || self.basis_jobs.in_order());
        self.out.send_packed(&Up::Wants {
            seq,
            wants: asks.wants,
        })?;
        order.push(asks.bases);
        Ok(())
    }

    /// Asks for contents, telling what is there of them.
    pub(super) fn want(&self, item: &Item<'_>, basis_use: BasisUse, asks: &mut Asks) -> Result<()> {
        let same_size = item
            .existing
            .as_ref()
            .is_some_and(|existing| existing.kind == item.entry.kind);
        if self.is_dry_run() && !(same_size && basis_use == BasisUse::Compare) {
            count(&self.counts.landed);
            item.tell(self, Way::Sent);
            self.leader_landed(item.open, item.entry, None);
            return Ok(());
        }
        let plan = match basis_use {
            BasisUse::None => BasisPlan::Nothing,
            BasisUse::Compare => self.plan_basis(item)?,
        };
        self.note_compared(item.existing.as_ref());
        let mut attributes_equal = false;
        let basis = match (item.entry.kind.size() <= SMALL_FILE_LEN, item.found_in()) {
            (true, Some(dir)) if same_size && basis_use == BasisUse::Compare => {
                match small_digest((dir, item), &self.tree.key) {
                    Ok(Some((digest, status))) => {
                        attributes_equal = is_equal_but_for_contents(item, &status);
                        Basis::Digest(digest)
                    }
                    // What cannot be read is sent whole.
                    Ok(None) | Err(_) => Basis::None,
                }
            }
            (true, _) => Basis::None,
            (false, _) => self.open_large(item, plan, asks)?,
        };
        item.open.defer();
        if let Some(existing) = &item.existing {
            let compared = Compared {
                id: existing.id,
                attributes_equal,
            };
            item.open.note_compared(item.index, compared);
        }
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
        let same_size = wanted == there;
        if !same_size && there <= LONGEST_SHIFTED_LEN {
            return Ok(BasisPlan::Windows {
                id: existing.id,
                size: there,
            });
        }
        let most_likely_equal = same_size
            && self.pass == Pass::Checksum
            && existing.metadata.mtime == item.entry.metadata.mtime;
        let shortest = if most_likely_equal {
            EQUAL_BLOCK_LEN
        } else {
            CHANGED_BLOCK_LEN
        };
        Ok(BasisPlan::Existing {
            id: existing.id,
            grid: Grid::new(there, shortest),
            patching: match most_likely_equal || self.is_dry_run() {
                // Torn, it could be as long as the source's.
                _ if !same_size => Patching::LateCopy,
                _ if self.may_patch(item, existing) => Patching::InPlace,
                false if there <= LONGEST_KNOWN_LEN => Patching::EarlyCopy,
                _ => Patching::LateCopy,
            },
        })
    }

    /// Tells whether a file may be patched where it lies: the person wants it so, or it is one of
    /// a new tree that nothing else knows. A file below the directories that both trees share may
    /// be a program that runs, from the time when it had a name in the live tree too.
    fn may_patch(&self, item: &Item<'_>, existing: &Existing) -> bool {
        let is_unknown = self.tree.live.is_some() && !may_share(&item.open.path_of(item.entry));
        let is_single = existing.link_count == 1 && item.entry.link.is_none();
        let is_there = existing.origin == Origin::Own && !self.is_dry_run();
        is_there && is_single && (is_unknown || self.tree.policy.patch_in_place)
    }

    /// Prepares the landing of a large file; a partial file of an earlier run goes before what
    /// is there.
    fn open_large(&self, item: &Item<'_>, plan: BasisPlan, asks: &mut Asks) -> Result<Basis> {
        let open = Arc::clone(item.open);
        let landing = match self.partial_of(item)? {
            Some(partial) => {
                let size = status_of_fd(partial.file())?.size();
                let grid = Grid::new(size, EQUAL_BLOCK_LEN);
                LargeLanding::continuing(open, item.index, (partial, grid), &self.tree.key)
            }
            None => LargeLanding::new(open, item.index, plan, &self.tree.key),
        };
        let plan = landing.plan;
        let want = WantId {
            seq: item.open.listing.seq,
            index: item.index,
        };
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

    /// Opens what an earlier run left of a file in the stage.
    fn partial_of(&self, item: &Item<'_>) -> Result<Option<NewFile>> {
        let (Some(stages), Some(dir)) = (&self.tree.stages, item.dir) else {
            return Ok(None);
        };
        let path = &item.open.directory.path;
        let root = self.tree.root.as_ref().map(Tree::root);
        match stages.existing(root, dir, path)? {
            Some(stage) => stage.open_partial(&partial_key(&item.open.path_of(item.entry))),
            None => Ok(None),
        }
    }

    /// Asks for a file again, whole, after what landed was not what was read. `has_torn` says that
    /// its name has been left to what is no whole file.
    pub fn want_again(
        &self,
        open: &Arc<OpenListing>,
        index: u32,
        has_torn: bool,
    ) -> std::result::Result<(), TransferError> {
        let want = WantId {
            seq: open.listing.seq,
            index,
        };
        let (same, plan) = (Arc::clone(open), BasisPlan::Nothing);
        let mut landing = LargeLanding::new(same, index, plan, &self.tree.key);
        landing.is_second_attempt = true;
        landing.has_torn = has_torn;
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
}

/// Tells whether the target's own file has all attributes of the source's, and was still what was
/// compared when its contents were read: then it need not be looked at again.
fn is_equal_but_for_contents(item: &Item<'_>, when_read: &Status) -> bool {
    item.existing.as_ref().is_some_and(|existing| {
        existing.origin == Origin::Own
            && existing.ctime == when_read.ctime()
            && !attributes_differ(item.entry, &existing.metadata)
    })
}

/// Returns the digest of what the target has of a small file, and how that looked before it was
/// read; of another one that has taken its name meanwhile there is none.
fn small_digest(
    (dir, item): (&Dir, &Item<'_>),
    key: &DigestKey,
) -> Result<Option<(Digest, Status)>> {
    let file = dir.open_file(&item.entry.name)?;
    let status = status_of_fd(&file)?;
    let compared = item.existing.as_ref().map(|existing| existing.id);
    if Some(status.id()) != compared {
        return Ok(None);
    }
    let mut contents = vec![0u8; item.entry.kind.size() as usize];
    let count = extents::read_at(&file, &mut contents, 0)?;
    contents.truncate(count);
    Ok(Some((key.digest_of(&contents), status)))
}
