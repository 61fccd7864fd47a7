//! A file whose contents are known before its changes arrive, because they were hashed while the
//! sums of the basis were made: a copy of that, or the basis itself, patched where it lies. Only
//! what is written to after that is read again. Knows nothing of how changes arrive.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::plan::{BasisPlan, Kept, LONGEST_KNOWN_LEN, Patching};
use super::verify::{hash_patched, read_back};
use super::work::{There, Work};
use super::{LargeLanding, PARTIAL_LEN, partial_key};
use crate::fs::{FsError, Result, extents};
use crate::transfer::delta::aligned::Grid;
use crate::transfer::digest::{DIGEST_BLOCK, Leaf};
use crate::transfer::target::TargetPass;
use crate::transfer::wire::message::Digest;

/// LIMIT: copies of whole files that are made before it is known what differs; each takes the
/// room of its file.
const MOST_COPIES: usize = 2;

/// One of the few copies that may be there at a time. Dropping it makes room for another.
#[derive(Debug)]
struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// Takes one of those in `taken`; `None` where there are as many as may be.
    fn take(taken: &Arc<AtomicUsize>) -> Option<Slot> {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(taken));
        (before < MOST_COPIES).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of contents.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Blocks of the digest that were written to since.
    patched: BTreeSet<u64>,
    /// The leaves of the digest, once the whole is known.
    leaves: Option<Vec<Leaf>>,
    #[expect(dead_code, reason = "held, not looked at")]
    slot: Option<Slot>,
}

impl Known {
    /// Tells whether the whole is known.
    pub(super) fn is_whole(&self) -> bool {
        self.leaves.is_some()
    }

    fn note_patched(&mut self, offset: u64, length: u64) {
        let block = DIGEST_BLOCK as u64;
        self.patched
            .extend(offset / block..(offset + length).div_ceil(block));
    }

    /// Tells whether a run that is cut should go on from it: it is whole, and more than the file
    /// that is there.
    fn is_worth_keeping(&self) -> bool {
        self.is_whole() && !self.patched.is_empty()
    }
}

/// A file that is to have what is read from the basis.
#[derive(Debug)]
pub(in crate::transfer) struct Early {
    /// The file.
    pub(in crate::transfer) file: OwnedFd,
    /// Whether it has the contents already: it is the basis, or the file system shares them.
    pub(in crate::transfer) is_filled: bool,
}

impl LargeLanding {
    /// Begins what is known when the sums are made; nothing where it is begun when the first
    /// difference arrives.
    pub(in crate::transfer) fn begin_early(
        &mut self,
        pass: &TargetPass<'_>,
        basis: &OwnedFd,
    ) -> Result<Option<Early>> {
        let BasisPlan::Existing { grid, patching, .. } = self.plan else {
            return Ok(None);
        };
        if self.work.is_some() {
            return Ok(None);
        }
        match patching {
            Patching::LateCopy => Ok(None),
            Patching::EarlyCopy => self.begin_copy(pass, basis, grid),
            Patching::InPlace => self.begin_in_place(pass, grid).map(Some),
        }
    }

    fn begin_copy(
        &mut self,
        pass: &TargetPass<'_>,
        basis: &OwnedFd,
        grid: Grid,
    ) -> Result<Option<Early>> {
        let Some(slot) = Slot::take(&pass.copies) else {
            return Ok(None);
        };
        let new = self.make(pass, Kept::No)?;
        let is_filled = extents::share_contents(basis, new.file());
        extents::set_size(new.file(), grid.size)?;
        let file = duplicate(new.file())?;
        self.work = Some(Work::New(new));
        self.known = Some(Known {
            slot: Some(slot),
            ..Known::default()
        });
        Ok(Some(Early { file, is_filled }))
    }

    fn begin_in_place(&mut self, pass: &TargetPass<'_>, grid: Grid) -> Result<Early> {
        let gone = || FsError::missing("open basis");
        let id = self.plan.id().ok_or_else(gone)?;
        let there = self.dir(pass)?.reopen_file(&self.entry()?.name)?;
        let status = crate::fs::status_of_fd(&there)?;
        // LIVE: it is patched only as long as it is what was compared, and nobody else's.
        if status.id() != id || status.link_count() != 1 || status.size() != grid.size {
            return Err(gone());
        }
        let file = duplicate(&there)?;
        self.work = Some(Work::There(There::new(there, grid.size)));
        self.known = (grid.size <= LONGEST_KNOWN_LEN).then(Known::default);
        Ok(Early {
            file,
            is_filled: true,
        })
    }

    /// Gives up the copy: there may be room enough where nothing differs. What has arrived in it
    /// already is missed at the end, and the file asked for whole.
    pub(in crate::transfer) fn drop_copy(&mut self) {
        let is_patched = |known: &Known| !known.patched.is_empty();
        self.spoiled |= self.known.as_ref().is_some_and(is_patched);
        self.discard();
    }

    /// Takes the digest of the basis and its leaves: all of it was read by now.
    pub(in crate::transfer) fn note_summed(&mut self, digest: Digest, leaves: Vec<Leaf>) {
        self.basis_digest = Some(digest);
        if let Some(known) = &mut self.known {
            known.leaves = Some(leaves);
            self.keep_copy();
        }
    }

    /// Notes that a stretch was written to.
    pub(super) fn note_patched(&mut self, offset: u64, length: u64) {
        if let Some(known) = &mut self.known {
            known.note_patched(offset, length);
            self.keep_copy();
        }
    }

    /// Has a cut run continued from the copy, where that is worth it.
    fn keep_copy(&mut self) {
        let is_due = self.known.as_ref().is_some_and(Known::is_worth_keeping);
        let key = match self.entry() {
            Ok(entry) if is_due && entry.kind.size() >= PARTIAL_LEN => {
                partial_key(&self.open.path_of(entry))
            }
            _ => return,
        };
        if let Some(Work::New(new)) = &mut self.work {
            // Without that name it is made anew after a cut, and lands as well now.
            drop(new.keep(&key));
        }
    }

    /// Returns the digest of what landed. Of contents that were known only what was written to
    /// since is read.
    pub(super) fn digest_of_file(&mut self, pass: &TargetPass<'_>, size: u64) -> Result<Digest> {
        let key = &pass.tree.key;
        match (&self.plan, self.known.take()) {
            (
                BasisPlan::Existing { grid, .. },
                Some(Known {
                    patched,
                    leaves: Some(leaves),
                    ..
                }),
            ) if grid.size == size => {
                hash_patched(self.work(pass)?.file(), leaves, patched, (size, key))
            }
            _ => read_back(self.work(pass)?.file(), size, key),
        }
    }
}

fn duplicate(file: &OwnedFd) -> Result<OwnedFd> {
    let duplicate = file.try_clone();
    duplicate.map_err(|error| FsError::from_io("copy basis", &error))
}
