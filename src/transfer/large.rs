//! One large file on its way onto the target: begun in the stage, filled by position, checked
//! against the content digest, published. Knows nothing of other files.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::delta::aligned::Grid;
use super::delta::windows::window_count;
use super::digest::ContentHasher;
use super::itemize::Way;
use super::links::Leader;
use super::place::Place;
use super::settle::OpenListing;
use super::spans::{Span, SpanReader};
use super::target::{TargetPass, count};
use super::wire::message::{Basis, Digest, SUM_LEN};
use crate::entry::{Entry, Timestamp};
use crate::fs::extents::Ground;
use crate::fs::stage::NewFile;
use crate::fs::{Dir, FileId, FsError, Result, extents};
use crate::relpath::RelPath;

/// From this size on a file that was cut in the middle stays for the next run, in bytes.
const PARTIAL_LEN: u64 = 4 << 20;

/// Returns the name under which a partial file is kept: the hash of its path.
pub fn partial_key(path: &RelPath) -> String {
    let hash = blake3::hash(path.as_bytes()).to_hex();
    hash.as_str().get(..32).unwrap_or_default().to_owned()
}

/// What the landing begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasisPlan {
    /// An empty file.
    Nothing,
    /// What an earlier run left in the stage; it is continued.
    Partial {
        /// How its sums are made.
        grid: Grid,
    },
    /// A copy of the file that is there, which has the same size.
    Existing {
        /// Which file.
        id: FileId,
        /// How its sums are made.
        grid: Grid,
    },
    /// An empty file into which stretches of the existing one are copied.
    Windows {
        /// Which file.
        id: FileId,
        /// Its size.
        size: u64,
    },
}

impl BasisPlan {
    /// Tells whether sums or signatures are to be made.
    pub fn needs_sums(&self) -> bool {
        *self != BasisPlan::Nothing
    }

    /// Returns what the sender is told.
    pub fn basis(&self) -> Basis {
        match self {
            BasisPlan::Nothing => Basis::None,
            BasisPlan::Partial { grid } | BasisPlan::Existing { grid, .. } => Basis::Sums {
                block_length: u32::try_from(grid.block_length).unwrap_or(u32::MAX),
                size: grid.size,
            },
            BasisPlan::Windows { size, .. } => Basis::Windows { size: *size },
        }
    }

    /// Returns which file the target has under the name.
    pub fn id(&self) -> Option<FileId> {
        match self {
            BasisPlan::Existing { id, .. } | BasisPlan::Windows { id, .. } => Some(*id),
            BasisPlan::Nothing | BasisPlan::Partial { .. } => None,
        }
    }

    /// Returns how many bytes of sums it takes, roughly.
    pub fn sum_bytes(&self) -> u64 {
        match self {
            BasisPlan::Nothing => 0,
            BasisPlan::Partial { grid } | BasisPlan::Existing { grid, .. } => {
                grid.size.div_ceil(grid.block_length) * SUM_LEN as u64
            }
            BasisPlan::Windows { size, .. } => window_count(*size) * 128 * 1024,
        }
    }
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
        let cleared = self.file(pass).and_then(|file| {
            // What lies beyond the end reads as zeros anyway.
            let size = crate::fs::status_of_fd(file)?.size();
            let length = length.min(size.saturating_sub(offset));
            if length == 0 {
                Ok(())
            } else {
                extents::clear_range(file, offset, length)
            }
        });
        self.hasher = None;
        self.keep_failure(cleared);
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

    fn begin(&mut self, pass: &TargetPass<'_>) -> Result<NewFile> {
        let open = Arc::clone(&self.open);
        let dir = self.dir(pass)?;
        let stage = pass.stage(Place {
            dir: &dir,
            path: &open.directory.path,
        })?;
        let entry = self.entry()?;
        let (path, size) = (open.path_of(entry), entry.kind.size());
        let begun = if size >= PARTIAL_LEN {
            stage.create_partial(&partial_key(&path))?
        } else {
            stage.create_file(entry.metadata.mode)?
        };
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
        extents::set_size(self.file(pass)?, size)?;
        let landed = match self.hasher.take() {
            Some(hasher) => hasher.finish(size),
            None => read_back(self.file(pass)?, size)?,
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

    /// Lets go of what was begun; a file that failed is not continued later.
    pub(super) fn discard(&mut self) {
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

/// Returns the digest of what is on the target's disk file.
fn read_back(file: &OwnedFd, size: u64) -> Result<Digest> {
    let mut reader = SpanReader::new(file, size, super::digest::DIGEST_BLOCK as u64);
    let mut hasher = ContentHasher::default();
    let mut offset = 0;
    while let Some(span) = reader.next(u64::MAX)? {
        match span {
            Span::Hole(length) => offset += length,
            Span::Data(bytes) => {
                hasher.add(offset, bytes);
                offset += bytes.len() as u64;
            }
        }
    }
    Ok(hasher.finish(size))
}
