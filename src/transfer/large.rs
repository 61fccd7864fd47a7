//! One large file on its way onto the target: begun in the stage, filled by position, checked
//! against the content digest, published. Knows nothing of other files.

mod copy;
mod plan;
mod verify;
mod work;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use self::copy::Known;
use self::plan::Kept;
use self::work::Work;
use super::delta::aligned::Grid;
use super::digest::{ContentHasher, DigestKey};
use super::itemize::Way;
use super::place::Place;
use super::settle::OpenListing;
use super::stopwatch::{Activity, doing};
use super::target::{TargetPass, count};
use super::wire::message::Digest;
use crate::entry::{Entry, Timestamp};
use crate::fs::extents::Ground;
use crate::fs::stage::NewFile;
use crate::fs::{Dir, FsError, Result, extents};
use crate::relpath::RelPath;

pub(super) use copy::Early;
pub use plan::{BasisPlan, LONGEST_KNOWN_LEN, Patching};

/// From this size on a file that was cut in the middle stays for the next run, in bytes.
const PARTIAL_LEN: u64 = 4 << 20;

/// Returns the name under which a partial file is kept: the hash of its path.
pub fn partial_key(path: &RelPath) -> String {
    let hash = blake3::hash(path.as_bytes()).to_hex();
    hash.as_str().get(..32).unwrap_or_default().to_owned()
}

/// A large file that is landing.
#[derive(Debug)]
pub struct LargeLanding {
    open: Arc<OpenListing>,
    index: u32,
    /// What it began with.
    pub(super) plan: BasisPlan,
    /// Whether it is asked for again after what landed was not what was read.
    pub is_second_attempt: bool,
    /// Whether an attempt has left its name to what is neither the old file nor the new one.
    pub(super) has_torn: bool,
    work: Option<Work>,
    basis: Option<OwnedFd>,
    /// Follows what is written while that comes in order; `None` when the file is read back.
    hasher: Option<ContentHasher>,
    end: u64,
    /// The digest of the basis, when its sums are made.
    basis_digest: Option<Digest>,
    /// What is known of the contents by then.
    known: Option<Known>,
    failure: Option<FsError>,
    spoiled: bool,
}

impl LargeLanding {
    /// Prepares for what will arrive.
    pub fn new(
        open: Arc<OpenListing>,
        index: u32,
        plan: BasisPlan,
        key: &DigestKey,
    ) -> LargeLanding {
        let in_order = matches!(plan, BasisPlan::Nothing | BasisPlan::Windows { .. });
        LargeLanding {
            open,
            index,
            plan,
            is_second_attempt: false,
            has_torn: false,
            work: None,
            basis: None,
            hasher: in_order.then(|| ContentHasher::new(key)),
            end: 0,
            basis_digest: None,
            known: None,
            failure: None,
            spoiled: false,
        }
    }

    /// Prepares to continue what an earlier run left in the stage.
    pub fn continuing(
        open: Arc<OpenListing>,
        index: u32,
        (partial, grid): (NewFile, Grid),
        key: &DigestKey,
    ) -> LargeLanding {
        LargeLanding {
            work: Some(Work::New(partial)),
            ..LargeLanding::new(open, index, BasisPlan::Partial { grid }, key)
        }
    }

    /// Takes bytes for `offset`. A failure is kept for the end of the file; the rest of it is
    /// let go by.
    pub fn write(&mut self, pass: &TargetPass<'_>, offset: u64, bytes: &[u8]) {
        if self.failure.is_some() {
            return;
        }
        let ground = if self.hasher.is_some() {
            Ground::Hole
        } else {
            Ground::Data
        };
        let written = self
            .work(pass)
            .and_then(Work::for_writing)
            .and_then(|file| extents::write_sparse(file, bytes, offset, ground));
        self.follow(offset, bytes);
        self.note_patched(offset, bytes.len() as u64);
        self.keep_failure(written.map(drop));
    }

    fn follow(&mut self, offset: u64, bytes: &[u8]) {
        if offset < self.end {
            self.hasher = None;
        }
        self.end = offset.saturating_add(bytes.len() as u64);
        if let Some(hasher) = &mut self.hasher {
            hasher.add(offset, bytes);
        }
    }

    fn keep_failure(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
    }

    /// Takes a stretch of zeros.
    pub fn clear(&mut self, pass: &TargetPass<'_>, offset: u64, length: u64) {
        if self.failure.is_some() {
            return;
        }
        let cleared = self
            .work(pass)
            .and_then(Work::for_writing)
            .and_then(|file| {
                // What lies beyond the end reads as zeros anyway.
                let size = crate::fs::status_of_fd(file)?.size();
                let length = length.min(size.saturating_sub(offset));
                if length > 0 {
                    extents::clear_range(file, offset, length)?;
                }
                Ok(length)
            });
        self.hasher = None;
        if let Ok(length) = cleared {
            self.note_patched(offset, length);
        }
        self.keep_failure(cleared.map(drop));
    }

    /// Takes a stretch in terms of the basis. One that does not fit spoils the file, which is
    /// then asked for again whole.
    pub fn patch(
        &mut self,
        pass: &TargetPass<'_>,
        stretch: (u64, u64),
        (offset, length): (u64, u64),
        delta: &[u8],
    ) {
        if self.failure.is_some() {
            return;
        }
        match self.patched(pass, stretch, length, delta) {
            Ok(Some(bytes)) => self.write(pass, offset, &bytes),
            Ok(None) => self.spoiled = true,
            Err(error) => self.keep_failure(Err(error)),
        }
    }

    fn patched(
        &mut self,
        pass: &TargetPass<'_>,
        (basis_offset, basis_length): (u64, u64),
        length: u64,
        delta: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let mut stretch = vec![0u8; basis_length as usize];
        let read = self.basis_file(pass).and_then(|basis| {
            doing(Activity::Read, || {
                extents::read_at(basis, &mut stretch, basis_offset)
            })
        });
        let Ok(count) = read else { return Ok(None) };
        stretch.truncate(count);
        let mut bytes = Vec::new();
        let applied = fast_rsync::apply_limited(&stretch, delta, &mut bytes, length as usize);
        Ok((applied.is_ok() && bytes.len() as u64 == length).then_some(bytes))
    }

    fn entry(&self) -> Result<&Entry> {
        self.open
            .entry(self.index)
            .ok_or_else(|| FsError::missing("land"))
    }

    fn dir(&self, pass: &TargetPass<'_>) -> Result<Dir> {
        pass.open(&self.open.directory.path)?
            .ok_or_else(|| FsError::missing("open directory"))
    }

    fn basis_file(&mut self, pass: &TargetPass<'_>) -> Result<&OwnedFd> {
        if self.basis.is_none() {
            let missing = || FsError::missing("open basis");
            let (path, id) = (&self.open.directory.path, self.plan.id());
            let file = pass.open_found(path, &self.entry()?.name, id.ok_or_else(missing)?)?;
            self.basis = Some(file);
        }
        self.basis
            .as_ref()
            .ok_or_else(|| FsError::missing("open basis"))
    }

    /// Returns what is filled, beginning it where this is the first that arrives.
    fn work(&mut self, pass: &TargetPass<'_>) -> Result<&mut Work> {
        if self.work.is_none() {
            self.work = Some(Work::New(self.begin(pass)?));
        }
        let missing = || FsError::missing("create");
        self.work.as_mut().ok_or_else(missing)
    }

    fn make(&self, pass: &TargetPass<'_>, kept: Kept) -> Result<NewFile> {
        let open = Arc::clone(&self.open);
        let dir = self.dir(pass)?;
        let stage = pass.stage(Place {
            dir: &dir,
            path: &open.directory.path,
        })?;
        let entry = self.entry()?;
        let (path, size) = (open.path_of(entry), entry.kind.size());
        if size >= PARTIAL_LEN && kept == Kept::WhenLong {
            stage.create_partial(&partial_key(&path))
        } else {
            stage.create_file(entry.metadata.mode)
        }
    }

    /// Tells whether the basis, as it was when its sums were made, is what the source has.
    pub(super) fn basis_is(&self, digest: &Digest) -> bool {
        self.basis_digest.as_ref() == Some(digest)
    }

    /// Begins the file when what differs from the basis arrives.
    fn begin(&mut self, pass: &TargetPass<'_>) -> Result<NewFile> {
        let begun = self.make(pass, Kept::WhenLong)?;
        if let BasisPlan::Existing { grid, .. } = self.plan {
            let copied = self
                .basis_file(pass)
                .and_then(|basis| extents::copy_contents(basis, begun.file(), grid.size));
            match copied {
                Err(error) if error.is_no_space() => {
                    // What is only the target's own is no reason to keep its disk full.
                    begun.discard();
                    return Err(error);
                }
                // What cannot be read is asked for again, whole.
                Err(_) => self.spoiled = true,
                Ok(()) => {}
            }
        }
        Ok(begun)
    }

    /// Checks what landed and publishes it; tells whether the file is to be asked for again.
    pub(super) fn publish(
        &mut self,
        pass: &TargetPass<'_>,
        size: u64,
        mtime: Timestamp,
        digest: &Digest,
    ) -> Result<Verified> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        // The file ended before the sums: a copy is still being written to.
        if self.known.as_ref().is_some_and(|known| !known.is_whole()) {
            return Ok(Verified::Differs);
        }
        self.work(pass)?.set_size(size)?;
        let landed = match self.hasher.take() {
            Some(hasher) => hasher.finish(size),
            None => self.digest_of_file(pass, size)?,
        };
        if landed != *digest || self.spoiled {
            if let Some(Work::There(there)) = &mut self.work {
                there.tear()?;
            }
            return Ok(Verified::Differs);
        }
        let entry = self.entry()?.clone();
        let dir = self.dir(pass)?;
        let place = Place {
            dir: &dir,
            path: &self.open.directory.path,
        };
        let existing = if pass.tree.policy.items {
            pass.find_again(&self.open, &entry)?
        } else {
            None
        };
        let mut metadata = entry.metadata.clone();
        metadata.mtime = mtime;
        let id = match self
            .work
            .take()
            .ok_or_else(|| FsError::missing("publish"))?
        {
            Work::New(new) => pass.publish_file(new, place, &entry, &metadata)?,
            Work::There(there) => pass.confirm_file(there.file(), place, &entry, &metadata)?,
        };
        count(&pass.counts.landed);
        pass.item(Way::Sent, &self.open, &entry, existing.as_ref());
        pass.leader_landed(&self.open, &entry, id);
        Ok(Verified::Equal)
    }

    /// Lets go of what was begun; a file that failed is not continued later.
    pub(super) fn discard(&mut self) {
        self.known = None;
        if let Some(work) = self.work.take() {
            self.has_torn |= work.is_torn();
            work.discard();
        }
    }
}

/// What the digest says of a file that landed.
pub(super) enum Verified {
    /// It is what was read, and published.
    Equal,
    /// It is something else, and not published.
    Differs,
}
