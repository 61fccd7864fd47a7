//! One large file on its way onto the target: begun in the stage, filled by position, checked
//! against the content digest, published. Knows nothing of other files.

mod copy;
mod plan;
mod verify;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use self::copy::{AtOnce, Slot};
use self::plan::Kept;
use self::verify::{hash_patched, read_back};
use super::delta::aligned::Grid;
use super::digest::{ContentHasher, Leaf};
use super::itemize::Way;
use super::links::Leader;
use super::place::Place;
use super::settle::OpenListing;
use super::target::{TargetPass, count};
use super::wire::message::Digest;
use crate::entry::{Entry, Timestamp};
use crate::fs::extents::Ground;
use crate::fs::stage::NewFile;
use crate::fs::{Dir, FsError, Result, extents};
use crate::relpath::RelPath;

pub use plan::BasisPlan;

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
    new: Option<NewFile>,
    basis: Option<OwnedFd>,
    /// Follows what is written while that comes in order; `None` when the file is read back.
    hasher: Option<ContentHasher>,
    end: u64,
    /// The digest of the basis, when its sums are made.
    basis_digest: Option<Digest>,
    /// The copy that is made meanwhile.
    copy: Option<AtOnce>,
    failure: Option<FsError>,
    spoiled: bool,
}

impl LargeLanding {
    /// Prepares for what will arrive.
    pub fn new(open: Arc<OpenListing>, index: u32, plan: BasisPlan) -> LargeLanding {
        let in_order = matches!(plan, BasisPlan::Nothing | BasisPlan::Windows { .. });
        LargeLanding {
            open,
            index,
            plan,
            is_second_attempt: false,
            new: None,
            basis: None,
            hasher: in_order.then(ContentHasher::default),
            end: 0,
            basis_digest: None,
            copy: None,
            failure: None,
            spoiled: false,
        }
    }

    /// Prepares to continue what an earlier run left in the stage.
    pub fn continuing(
        open: Arc<OpenListing>,
        index: u32,
        partial: NewFile,
        grid: Grid,
    ) -> LargeLanding {
        LargeLanding {
            new: Some(partial),
            ..LargeLanding::new(open, index, BasisPlan::Partial { grid })
        }
    }

    /// Takes bytes for `offset`. A failure is kept for the end of the file; the rest of it is
    /// let go by.
    pub fn write(&mut self, pass: &TargetPass<'_>, offset: u64, bytes: &[u8]) {
        let ground = if self.hasher.is_some() {
            Ground::Hole
        } else {
            Ground::Data
        };
        let written = self
            .file(pass)
            .and_then(|file| extents::write_sparse(file, bytes, offset, ground));
        self.follow(offset, bytes);
        self.note_patched(offset, bytes.len() as u64);
        self.keep_failure(written.map(drop));
    }

    fn note_patched(&mut self, offset: u64, length: u64) {
        if let Some(copy) = &mut self.copy {
            copy.note_patched(offset, length);
            self.keep_copy();
        }
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
        let cleared = self.file(pass).and_then(|file| {
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
        let read = self
            .basis_file(pass)
            .and_then(|basis| extents::read_at(basis, &mut stretch, basis_offset));
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

    /// Returns the file in the stage, beginning it where this is the first that arrives.
    fn file(&mut self, pass: &TargetPass<'_>) -> Result<&OwnedFd> {
        if self.new.is_none() {
            self.new = Some(self.begin(pass)?);
        }
        self.new
            .as_ref()
            .map(NewFile::file)
            .ok_or_else(|| FsError::missing("create"))
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

    /// Begins the file that is copied while its sums are made. Returns a handle to it, and whether
    /// it has the contents already because the file system shares them; nothing where there is
    /// nothing to copy.
    pub(super) fn begin_copy(
        &mut self,
        pass: &TargetPass<'_>,
        basis: &OwnedFd,
    ) -> Result<Option<(OwnedFd, bool)>> {
        let BasisPlan::Existing {
            grid,
            at_once: true,
            ..
        } = self.plan
        else {
            return Ok(None);
        };
        let Some(slot) = Slot::take(&pass.copies).filter(|_| self.new.is_none()) else {
            return Ok(None);
        };
        let new = self.make(pass, Kept::No)?;
        let is_shared = extents::share_contents(basis, new.file());
        extents::set_size(new.file(), grid.size)?;
        let handle = new.file().try_clone();
        let handle = handle.map_err(|error| FsError::from_io("copy basis", &error))?;
        self.new = Some(new);
        self.copy = Some(AtOnce::new(slot));
        Ok(Some((handle, is_shared)))
    }

    /// Gives up the copy: there may be room enough where nothing differs. What has arrived in it
    /// already is missed at the end, and the file asked for whole.
    pub(super) fn drop_copy(&mut self) {
        let is_patched = |copy: &AtOnce| !copy.patched.is_empty();
        self.spoiled |= self.copy.as_ref().is_some_and(is_patched);
        self.discard();
    }

    /// Takes the digest of the basis and the leaves of its copy, which is whole by now.
    pub(super) fn note_summed(&mut self, digest: Digest, leaves: Vec<Leaf>) {
        self.basis_digest = Some(digest);
        if let Some(copy) = &mut self.copy {
            copy.leaves = Some(leaves);
            self.keep_copy();
        }
    }

    /// Has a cut run continued from the copy, where that is worth it.
    fn keep_copy(&mut self) {
        let is_due = self.copy.as_ref().is_some_and(AtOnce::is_worth_keeping);
        let is_kept = self.new.as_ref().is_none_or(NewFile::is_partial);
        let key = match self.entry() {
            Ok(entry) if is_due && !is_kept && entry.kind.size() >= PARTIAL_LEN => {
                partial_key(&self.open.path_of(entry))
            }
            _ => return,
        };
        if let Some(new) = &mut self.new {
            // Without that name it is made anew after a cut, and lands as well now.
            drop(new.keep(&key));
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
                Err(error) if error.is_no_space() => return Err(error),
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
        // The file ended before the sums: the copy is still being written to.
        if self.copy.as_ref().is_some_and(|copy| copy.leaves.is_none()) {
            return Ok(Verified::Differs);
        }
        extents::set_size(self.file(pass)?, size)?;
        let landed = match self.hasher.take() {
            Some(hasher) => hasher.finish(size),
            None => self.digest_of_file(pass, size)?,
        };
        if landed != *digest || self.spoiled {
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
        let Some(new) = self.new.take() else {
            return Err(FsError::missing("publish"));
        };
        let id = pass.publish_file(new, place, &entry, &metadata)?;
        count(&pass.counts.landed);
        let path = self.open.path_of(&entry);
        pass.item(Way::Sent, &path, &entry, existing.as_ref());
        pass.leader_landed(&self.open, &entry, Leader { path, id });
        Ok(Verified::Equal)
    }

    /// Returns the digest of what is in the stage. Of a copy that was hashed while it was written
    /// only what was written to since is read.
    fn digest_of_file(&mut self, pass: &TargetPass<'_>, size: u64) -> Result<Digest> {
        match (&self.plan, self.copy.take()) {
            (
                BasisPlan::Existing { grid, .. },
                Some(AtOnce {
                    patched,
                    leaves: Some(leaves),
                    ..
                }),
            ) if grid.size == size => hash_patched(self.file(pass)?, leaves, patched, size),
            _ => read_back(self.file(pass)?, size),
        }
    }

    /// Lets go of what was begun; a file that failed is not continued later.
    pub(super) fn discard(&mut self) {
        self.copy = None;
        if let Some(new) = self.new.take() {
            new.discard();
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
