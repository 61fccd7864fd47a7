//! What the target tells of a large file it has: sums or signatures, made while the source
//! reads its side at the same time. Bounded, and in the order in which the sender will want them.
//! Knows nothing of what is done with them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::delta::aligned::{Grid, MAX_PART_BLOCKS, sum_up};
use super::delta::windows::{sign, stretch, window_count};
use super::digest::{ContentHasher, DigestKey, Leaf, Sum};
use super::large::{BasisPlan, Early, LONGEST_KNOWN_LEN, LargeLanding, partial_key};
use super::place::Place;
use super::settle::OpenListing;
use super::spans::{Span, SpanReader};
use super::stopwatch::{Activity, doing};
use super::target::{TargetPass, lock};
use super::wire::link::LinkLost;
use super::wire::message::{Digest, SUM_LEN, Up, WantId};
use crate::fs::extents::Ground;
use crate::fs::{FsError, Result, extents};

/// LIMIT: bytes of sums that may be on their way (docs/protocol.md).
const BUDGET_LEN: u64 = 32 << 20;
/// LIMIT: files between their sums and their ends, as one that is patched where it lies holds a
/// handle for so long.
const MOST_FILES: u64 = 512;
/// Bytes of a file that one message of sums covers at most: the sender begins with the first
/// while the rest is still being read.
const PART_LEN: u64 = 32 << 20;

/// Each byte of the sum of a block that cannot be read; no hash is looked for that has it.
const NO_BLOCK: u8 = 0xff;

/// A large file whose basis is to be summed up.
#[derive(Debug)]
pub struct BasisJob {
    /// Which file.
    pub want: WantId,
    /// Its listing.
    pub open: Arc<OpenListing>,
    /// What is there.
    pub plan: BasisPlan,
}

impl BasisJob {
    /// Tells whether the source has not come to the end of the file, nor the pass to its own: nobody
    /// needs more after that.
    fn is_open(&self, pass: &TargetPass<'_>) -> bool {
        self.open.is_wanted(self.want.index) && pass.budget.needs(self.want)
    }
}

/// The queue of basis jobs. Wants and their jobs enter it under one lock, so that both sides
/// work through large files in one order and neither waits for something behind its back.
#[derive(Debug)]
pub struct BasisJobs(Mutex<Option<Sender<BasisJob>>>);

/// The right to queue jobs.
pub struct InOrder<'a>(MutexGuard<'a, Option<Sender<BasisJob>>>);

impl BasisJobs {
    /// Wraps the queue of the basis worker.
    pub fn new(queue: Sender<BasisJob>) -> BasisJobs {
        BasisJobs(Mutex::new(Some(queue)))
    }

    /// Keeps others out until the jobs of one message are queued.
    pub fn in_order(&self) -> InOrder<'_> {
        InOrder(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes no more jobs: the pass is over.
    pub fn close(&self) {
        drop(self.in_order().0.take());
    }
}

impl InOrder<'_> {
    /// Queues jobs.
    pub fn push(self, jobs: Vec<BasisJob>) {
        let Some(queue) = &*self.0 else { return };
        for job in jobs {
            // The worker is gone only when the link is.
            drop(queue.send(job));
        }
    }
}

/// How many bytes of sums may be on their way.
#[derive(Debug, Default)]
pub struct Budget {
    spending: Mutex<Spending>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Spending {
    spent: u64,
    costs: HashMap<WantId, u64>,
    /// Files that were through before their sums were begun: they vanished, for one.
    ended: HashSet<WantId>,
    is_over: bool,
}

impl Budget {
    /// Waits until `sum_bytes` of sums of a file may be made; false when nobody needs them any more.
    fn spend(&self, want: WantId, sum_bytes: u64) -> bool {
        let cost = sum_bytes.max(BUDGET_LEN / MOST_FILES);
        let mut spending = self.locked();
        while !spending.is_over
            && !spending.ended.contains(&want)
            && spending.spent > 0
            && spending.spent + cost > BUDGET_LEN
        {
            spending = self
                .room
                .wait(spending)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if spending.is_over || spending.ended.remove(&want) {
            return false;
        }
        spending.spent += cost;
        spending.costs.insert(want, cost);
        true
    }

    /// Notes that a file with a basis is through, and gives back what its sums took.
    pub fn end(&self, want: WantId) {
        let mut spending = self.locked();
        match spending.costs.remove(&want) {
            Some(cost) => spending.spent -= cost,
            None => drop(spending.ended.insert(want)),
        }
        self.room.notify_all();
    }

    /// Lets everybody go: the pass is over.
    pub fn close(&self) {
        self.locked().is_over = true;
        self.room.notify_all();
    }

    /// Tells whether sums of a file are still of use.
    fn needs(&self, want: WantId) -> bool {
        let spending = self.locked();
        !spending.is_over && spending.costs.contains_key(&want)
    }

    fn locked(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sums up bases until there are no more.
pub fn serve(pass: &TargetPass<'_>, jobs: &Receiver<BasisJob>) {
    for job in jobs {
        if !pass.budget.spend(job.want, job.plan.sum_bytes()) {
            continue;
        }
        let sent = doing(Activity::Read, || match job.plan {
            BasisPlan::Existing { grid, .. } | BasisPlan::Partial { grid } => {
                send_sums(pass, &job, grid)
            }
            BasisPlan::Windows { size, .. } => send_signatures(pass, &job, size),
            BasisPlan::Nothing => Ok(()),
        });
        if sent.is_err() {
            return;
        }
    }
}

fn open_basis(pass: &TargetPass<'_>, job: &BasisJob) -> Result<OwnedFd> {
    let missing = || FsError::missing("open basis");
    let entry = job.open.entry(job.want.index).ok_or_else(missing)?;
    let dir = pass.open(&job.open.directory.path)?.ok_or_else(missing)?;
    match job.plan {
        BasisPlan::Partial { .. } => {
            let place = Place {
                dir: &dir,
                path: &job.open.directory.path,
            };
            let partial = pass
                .stage(place)?
                .open_partial(&partial_key(&job.open.path_of(entry)))?;
            return Ok(partial.ok_or_else(missing)?.into_file());
        }
        BasisPlan::Nothing | BasisPlan::Existing { .. } | BasisPlan::Windows { .. } => {}
    }
    let id = job.plan.id().ok_or_else(missing)?;
    pass.open_found(&job.open.directory.path, &entry.name, id)
}

/// Sends the sums of all blocks. A basis that cannot be read any more gets sums that no block has,
/// so that all of it is sent. WIRE[sums]
fn send_sums(
    pass: &TargetPass<'_>,
    job: &BasisJob,
    grid: Grid,
) -> std::result::Result<(), LinkLost> {
    let landing = lock(&pass.large).get(&job.want).cloned();
    let basis = open_basis(pass, job).ok();
    let copy = match (&landing, &basis) {
        (Some(landing), Some(basis)) => Copy::begin(pass, landing, basis),
        _ => None,
    };
    let mut summing = Summing::new(grid, (basis.as_ref(), copy.as_ref()), &pass.tree.key);
    let blocks = grid.size.div_ceil(grid.block_length);
    let part_blocks = (PART_LEN / grid.block_length).clamp(1, MAX_PART_BLOCKS);
    let mut first = 0;
    while first < blocks && job.is_open(pass) {
        let end = blocks.min(first + part_blocks);
        let sums = summing.sums(first..end);
        // ORDER: before the last sums leave, since the end of the file may follow them.
        if let (Some(landing), true) = (&landing, end == blocks)
            && let Some((digest, leaves)) = summing.finish()
        {
            lock(landing).note_summed(digest, leaves);
        }
        let want = job.want;
        pass.out
            .send_with(&Up::Sums { want, first }, sums.as_flattened())?;
        first = end;
    }
    Ok(())
}

/// A basis on its way through the hashes, and into its copy where one is made.
struct Summing<'f> {
    grid: Grid,
    reader: Option<SpanReader<'f>>,
    /// Until the digest is made.
    hasher: Option<ContentHasher>,
    copy: Option<&'f Copy<'f>>,
}

impl<'f> Summing<'f> {
    fn new(
        grid: Grid,
        (basis, copy): (Option<&'f OwnedFd>, Option<&'f Copy<'f>>),
        key: &DigestKey,
    ) -> Summing<'f> {
        // What is shared is read where nobody else writes.
        let filled = copy.map(|copy| &copy.early).filter(|early| early.is_filled);
        let file = filled.map(|early| &early.file).or(basis);
        Summing {
            grid,
            reader: file.map(|file| SpanReader::new(file, grid.size, grid.block_length)),
            hasher: Some(match copy {
                Some(_) if grid.size <= LONGEST_KNOWN_LEN => ContentHasher::keeping_leaves(key),
                _ => ContentHasher::new(key),
            }),
            copy,
        }
    }

    /// Returns the sums of the next blocks; those that cannot be read get sums that no block has.
    fn sums(&mut self, blocks: Range<u64>) -> Vec<Sum> {
        let count = (blocks.end - blocks.start) as usize;
        let mut sums: Vec<Sum> = Vec::with_capacity(count);
        if let (Some(reader), Some(hasher)) = (&mut self.reader, &mut self.hasher) {
            let limit = blocks.end.saturating_mul(self.grid.block_length);
            let mut offset = reader.position();
            while let Ok(Some(span)) = reader.next(limit) {
                offset += match span {
                    Span::Hole(length) => {
                        let holes = length.div_ceil(self.grid.block_length) as usize;
                        sums.resize(sums.len() + holes, Sum::default());
                        length
                    }
                    Span::Data(bytes) => {
                        doing(Activity::Hash, || {
                            sum_up(self.grid, offset, bytes, hasher, &mut sums);
                        });
                        if self.copy.is_some_and(|copy| !copy.write(offset, bytes)) {
                            self.copy = None;
                        }
                        bytes.len() as u64
                    }
                };
            }
        }
        sums.resize(count, [NO_BLOCK; SUM_LEN]);
        sums
    }

    /// Returns the digest of all that was read, and the leaves of its copy; nothing where that was
    /// not the whole.
    fn finish(&mut self) -> Option<(Digest, Vec<Leaf>)> {
        let reader = self.reader.as_ref()?;
        let is_whole = reader.position() == self.grid.size;
        let hasher = self.hasher.take()?;
        let (digest, leaves) = is_whole.then(|| hasher.finish_with_leaves(self.grid.size))?;
        Some((digest, self.copy.map_or(Vec::new(), |_| leaves)))
    }
}

/// What is to have the contents of a basis while that is read.
struct Copy<'a> {
    landing: &'a Mutex<LargeLanding>,
    early: Early,
}

impl<'a> Copy<'a> {
    fn begin(
        pass: &TargetPass<'_>,
        landing: &'a Mutex<LargeLanding>,
        basis: &OwnedFd,
    ) -> Option<Copy<'a>> {
        // What fails is tried again where anything differs.
        let begun = lock(landing).begin_early(pass, basis).unwrap_or(None);
        begun.map(|early| Copy { landing, early })
    }

    /// Writes a stretch; false where the copy had to be given up.
    fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let is_written = self.early.is_filled
            || doing(Activity::Write, || {
                extents::write_sparse(&self.early.file, bytes, offset, Ground::Hole).is_ok()
            });
        if !is_written {
            lock(self.landing).drop_copy();
        }
        is_written
    }
}

/// WIRE[windows]
fn send_signatures(
    pass: &TargetPass<'_>,
    job: &BasisJob,
    size: u64,
) -> std::result::Result<(), LinkLost> {
    let file = open_basis(pass, job).ok();
    for index in 0..window_count(size) {
        if !job.is_open(pass) {
            break;
        }
        let stretch = stretch(index, size);
        let mut contents = vec![0u8; stretch.length as usize];
        let read = file
            .as_ref()
            .map(|file| extents::read_at(file, &mut contents, stretch.offset));
        match read {
            Some(Ok(count)) => contents.truncate(count),
            Some(Err(_)) | None => contents.clear(),
        }
        pass.out.send_with(
            &Up::Window {
                want: job.want,
                index,
            },
            &doing(Activity::Hash, || sign(&contents, size)),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BUDGET_LEN, Budget, MOST_FILES};
    use crate::transfer::wire::message::WantId;

    #[test]
    fn a_file_that_ends_before_its_sums_begin_costs_nothing() {
        let budget = Budget::default();
        let want = |index| WantId { seq: 1, index };
        assert!(budget.spend(want(0), BUDGET_LEN));
        budget.end(want(1));
        assert!(!budget.spend(want(1), BUDGET_LEN));
        budget.end(want(0));
        assert!(budget.spend(want(2), BUDGET_LEN), "all was given back");
    }

    #[test]
    fn short_sums_of_many_files_wait_as_well() {
        let budget = Budget::default();
        let want = |index| WantId { seq: 1, index };
        for index in 0..MOST_FILES as u32 {
            assert!(budget.spend(want(index), 400));
        }
        assert_eq!(budget.locked().spent, BUDGET_LEN, "no room for another");
    }
}
