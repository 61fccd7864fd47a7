//! One large file on its way onto the target: begun in the stage, filled by position, checked
//! against the content digest, published. Knows nothing of other files.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::TransferError;
use super::delta::aligned::Grid;
use super::delta::windows::window_count;
use super::digest::ContentHasher;
use super::itemize::Way;
use super::links::Leader;
use super::place::Place;
use super::settle::OpenListing;
use super::spans::{Span, SpanReader};
use super::target::{TargetPass, count, lock};
use super::wire::message::{Basis, Digest, Outcome, SUM_LEN, WantId};
use crate::entry::{Entry, Timestamp};
use crate::fs::extents::Ground;
use crate::fs::metadata::Before;
use crate::fs::stage::Temp;
use crate::fs::{Dir, FileId, FsError, Result, extents};
use crate::problem::{Problem, ProblemKind, Side};
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
    plan: BasisPlan,
    /// Whether it is asked for again after what landed was not what was read.
    pub is_second_attempt: bool,
    temp: Option<(Temp, OwnedFd)>,
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
            temp: None,
            basis: None,
            hasher: in_order.then(ContentHasher::default),
            end: 0,
            failure: None,
            spoiled: false,
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
        self.keep_failure(written);
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
            let size = crate::fs::dir::status_of_fd(file)?.size();
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
        let count = extents::read_at(self.basis_file(pass)?, &mut stretch, basis_offset)?;
        stretch.truncate(count);
        let mut bytes = Vec::new();
        let applied = fast_rsync::apply_limited(&stretch, delta, &mut bytes, length as usize);
        Ok((applied.is_ok() && bytes.len() as u64 == length).then_some(bytes))
    }

    fn entry(&self) -> Result<&Entry> {
        self.open.entry(self.index).ok_or_else(|| missing("land"))
    }

    fn dir(&self, pass: &TargetPass<'_>) -> Result<Dir> {
        pass.open(&self.open.directory.path)?
            .ok_or_else(|| missing("open directory"))
    }

    fn basis_file(&mut self, pass: &TargetPass<'_>) -> Result<&OwnedFd> {
        if self.basis.is_none() {
            let file = self.dir(pass)?.open_file(&self.entry()?.name)?;
            if self.plan.id() != Some(crate::fs::dir::status_of_fd(&file)?.id()) {
                return Err(missing("open basis"));
            }
            self.basis = Some(file);
        }
        self.basis.as_ref().ok_or_else(|| missing("open basis"))
    }

    /// Returns the file in the stage, beginning it where this is the first that arrives.
    fn file(&mut self, pass: &TargetPass<'_>) -> Result<&OwnedFd> {
        if self.temp.is_none() {
            self.temp = Some(self.begin(pass)?);
        }
        self.temp
            .as_ref()
            .map(|(_, file)| file)
            .ok_or_else(|| missing("create"))
    }

    fn begin(&mut self, pass: &TargetPass<'_>) -> Result<(Temp, OwnedFd)> {
        let open = Arc::clone(&self.open);
        let dir = self.dir(pass)?;
        let stage = pass.stage(Place {
            dir: &dir,
            path: &open.directory.path,
        })?;
        let entry = self.entry()?;
        let (path, size) = (open.path_of(entry), entry.kind.size());
        if let BasisPlan::Partial { .. } = self.plan
            && let Some(partial) = stage.open_partial(&partial_key(&path))?
        {
            return Ok(partial);
        }
        let begun = if size >= PARTIAL_LEN {
            stage.create_partial(&partial_key(&path))?
        } else {
            stage.create_file()?
        };
        if let BasisPlan::Existing { grid, .. } = self.plan {
            extents::copy_contents(self.basis_file(pass)?, &begun.1, grid.size)?;
        }
        Ok(begun)
    }

    /// Checks what landed and publishes it; tells whether the file is to be asked for again.
    fn publish(
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
            pass.existing(&dir, &entry.name)?
        } else {
            None
        };
        let mut metadata = entry.metadata.clone();
        metadata.mtime = mtime;
        let Some(temp) = self.temp.take() else {
            return Err(missing("publish"));
        };
        let id = pass.publish_file(temp, place, &entry, &metadata, Before::Fresh)?;
        count(&pass.counts.landed);
        let path = self.open.path_of(&entry);
        pass.item(Way::Sent, &path, &entry, existing.as_ref());
        pass.leader_landed(entry.link, Leader { path, id: Some(id) });
        Ok(Verified::Equal)
    }

    /// Lets go of what was begun; a file that failed is not continued later.
    fn discard(&mut self) {
        if let Some((temp, _)) = self.temp.take() {
            temp.discard();
        }
    }
}

enum Verified {
    Equal,
    Differs,
}

fn missing(operation: &str) -> FsError {
    FsError {
        operation: operation.to_owned(),
        errno: rustix::io::Errno::NOENT,
    }
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

impl TargetPass<'_> {
    /// Ends one large file: publishes it, or says why not.
    pub fn end_large(
        &self,
        want: WantId,
        outcome: &Outcome,
        digest: &Digest,
    ) -> std::result::Result<(), TransferError> {
        let open = self
            .tracker
            .get(want.seq)
            .filter(|open| open.answer(want.index));
        let open = open.ok_or(TransferError::Protocol("a file that nobody asked for"))?;
        let landing = lock(&self.large).remove(&want);
        let landing = landing.unwrap_or_else(|| {
            // A small file that has grown.
            Arc::new(std::sync::Mutex::new(LargeLanding::new(
                Arc::clone(&open),
                want.index,
                BasisPlan::Nothing,
            )))
        });
        let mut landing = lock(&landing);
        if landing.plan.needs_sums() {
            self.budget.end(want);
        }
        let landed = match outcome {
            Outcome::Whole {
                size,
                mtime,
                churned,
            } => {
                self.note_churn(&open, want.index, *churned);
                landing.publish(self, *size, *mtime, digest)
            }
            Outcome::Same => self.publish_same(&open, &mut landing, want.index, digest),
            Outcome::Differs => {
                self.would_land(&open, want.index);
                Ok(Verified::Equal)
            }
            Outcome::Failed {
                kind,
                operation,
                cause,
            } => {
                self.source_failed(&open, want.index, *kind, (operation, cause));
                Ok(Verified::Equal)
            }
        };
        let again = self.conclude(&open, &mut landing, want.index, landed);
        if again {
            return self.want_again(&open, want.index);
        }
        self.settle_one(&open);
        Ok(())
    }

    /// Nothing was sent: what is there is what was read. A partial file may be complete so.
    fn publish_same(
        &self,
        open: &Arc<OpenListing>,
        landing: &mut LargeLanding,
        index: u32,
        digest: &Digest,
    ) -> Result<Verified> {
        match (landing.plan, open.entry(index)) {
            (BasisPlan::Partial { grid }, Some(entry)) => {
                landing.publish(self, grid.size, entry.metadata.mtime, digest)
            }
            _ => self
                .contents_are_same(open, index)
                .map(|()| Verified::Equal),
        }
    }

    /// Reports what went wrong; tells whether to ask again.
    fn conclude(
        &self,
        open: &Arc<OpenListing>,
        landing: &mut LargeLanding,
        index: u32,
        landed: Result<Verified>,
    ) -> bool {
        let Some(entry) = open.entry(index) else {
            return false;
        };
        let path = open.path_of(entry);
        let failed = match landed {
            Ok(Verified::Equal) => false,
            Ok(Verified::Differs) if !landing.is_second_attempt => {
                landing.discard();
                return true;
            }
            Ok(Verified::Differs) => {
                self.problem(Problem {
                    side: Side::Target,
                    kind: ProblemKind::Mismatch,
                    path: path.as_bytes().to_vec(),
                    operation: "verify".to_owned(),
                    cause: "what landed is not what was read".to_owned(),
                });
                true
            }
            Err(error) => {
                self.failed(&path, &error);
                true
            }
        };
        landing.discard();
        if let (true, Some(link)) = (failed, entry.link) {
            self.leader_failed(link);
        }
        false
    }

    /// Finds the landing that bytes belong to, beginning one for a small file that has grown.
    pub fn landing_of(
        &self,
        want: WantId,
    ) -> std::result::Result<Arc<std::sync::Mutex<LargeLanding>>, TransferError> {
        let open = self
            .tracker
            .get(want.seq)
            .filter(|open| open.is_wanted(want.index));
        let open = open.ok_or(TransferError::Protocol("bytes that nobody asked for"))?;
        let mut large = lock(&self.large);
        let landing = large.entry(want).or_insert_with(|| {
            Arc::new(std::sync::Mutex::new(LargeLanding::new(
                open,
                want.index,
                BasisPlan::Nothing,
            )))
        });
        Ok(Arc::clone(landing))
    }
}
