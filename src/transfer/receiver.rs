//! The target half of a transfer: takes listings and contents off the link and gives them to
//! workers, large files always to the same one, so that their parts stay in order.
//!
//! The reader waits for workers and nobody else; workers wait for the link's writer, which
//! drains because the sender's reader always reads. Knows nothing of how the link was made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver as Queued, Sender as Queue, bounded, select, unbounded};

use super::TransferError;
use super::basis::{self, BasisJobs, Budget};
use super::churn::target_problem;
use super::digest::DigestKey;
use super::prune::Extras;
use super::reconcile::reconcile;
use super::settle::{OpenListing, Tracker};
use super::stopwatch::{Activity, Stopwatch, doing};
use super::target::{Counts, TargetPass, TargetTree};
use super::wire::frame::Frame;
use super::wire::link::{Link, LinkLost};
use super::wire::message::{
    BundleFile, Digest, DigestSecret, Down, FailureClass, Outcome, Policy, Tag, Up, WantId,
};
use crate::exclude::Rules;
use crate::fs::{FsError, fence_in, stand_alone};
use crate::monitor::{Pass, PassStats};

/// Threads that compare and land. One more than the cores of a small server, so that one that
/// waits for its disk does not stop the rest.
const WORKERS: usize = 3;
/// Work that waits for all of them, and parts of large files that wait for each.
const QUEUED_WORK: usize = 16;
const QUEUED_PARTS: usize = 8;

/// What a worker does next.
#[derive(Debug)]
enum Work {
    Compare(Arc<OpenListing>),
    Bundle(Vec<BundleFile>, Tag, Frame),
}

/// A part of a large file.
#[derive(Debug)]
enum Part {
    Segment {
        offset: u64,
        frame: Frame,
    },
    Delta {
        place: (u64, u64),
        stretch: (u64, u64),
        frame: Frame,
    },
    Zero {
        offset: u64,
        length: u64,
    },
    End {
        outcome: Outcome,
        digest: Digest,
    },
}

/// What the threads of a transfer may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All that the process may.
    Everything,
    /// Only what is below the target directory, where the kernel can see to that. A stage is made
    /// beside what it replaces, and takes files from there: that is done without a fence.
    Target,
}

/// Runs one transfer, from its beginning to [finish]: passes as the sender asks for them.
pub fn receive(
    link: &Link,
    target: &[u8],
    (rules, policy, secret): (Rules, Policy, &DigestSecret),
    reach: Reach,
) -> Result<(), TransferError> {
    let tree = TargetTree::open(target, (rules, policy), DigestKey::new(secret))?;
    match (&tree.root, &tree.live) {
        (Some(root), None) if reach == Reach::Target => std::thread::scope(|scope| {
            // The thread that came here has more to do than to fill a directory.
            let fenced = scope.spawn(|| {
                fence_in(root.root());
                serve(link, &tree)
            });
            fenced
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }),
        _ => serve(link, &tree),
    }
}

fn serve(link: &Link, tree: &TargetTree) -> Result<(), TransferError> {
    link.out.send(&Up::Ready)?;
    let served = serve_passes(link, tree);
    match (&tree.stages, &served) {
        (None, _) => {}
        (Some(stages), Ok(())) => {
            for (path, error) in stages.remove() {
                link.out.send(&Up::Problem(target_problem(&path, &error)))?;
            }
        }
        // The run was cut: large files stay for the next one. The first error is the one to tell.
        (Some(stages), Err(_)) => drop(stages.leave()),
    }
    served?;
    Ok(link.out.send(&Up::Finished)?)
}

fn serve_passes(link: &Link, tree: &TargetTree) -> Result<(), TransferError> {
    loop {
        match link.next()?.message::<Down>()? {
            Down::Heartbeat => {}
            Down::Pass {
                pass,
                deletes,
                last,
            } => run_pass(link, tree, (pass, last), deletes)?,
            Down::Finish => return Ok(()),
            Down::Failed(text) => {
                return Err(TransferError::Peer {
                    text,
                    class: FailureClass::Other,
                });
            }
            _ => return Err(TransferError::Protocol("a message out of turn")),
        }
    }
}

fn run_pass(
    link: &Link,
    tree: &TargetTree,
    (pass, is_last): (Pass, bool),
    deletes: bool,
) -> Result<(), TransferError> {
    let (basis_queue, basis_jobs) = unbounded();
    let may_delete = deletes && tree.policy.delete_limit.is_some();
    let extras = may_delete.then(|| Mutex::new(Extras::empty()));
    let mut pass = TargetPass {
        tree,
        pass,
        is_last,
        out: &link.out,
        tracker: Tracker::default(),
        links: Mutex::default(),
        large: Mutex::new(HashMap::new()),
        basis_jobs: BasisJobs::new(basis_queue),
        budget: Budget::default(),
        extras,
        copies: Arc::default(),
        orphans: Mutex::default(),
        counts: Counts::default(),
        is_full: AtomicBool::new(false),
        stopwatch: Stopwatch::default(),
    };
    run_workers(link, &pass, &basis_jobs)?;
    let extras = pass.extras.take();
    pass.stopwatch.time(Activity::Write, || {
        pass.prune(extras);
        match !is_last || tree.policy.fsync {
            true => sync(tree, &pass.counts.stats()),
            false => Ok(()),
        }
        .map_err(|error| TransferError::Root("target: sync".to_owned(), error))
    })?;
    let mut stats = pass.counts.stats();
    stats.target_spent = pass.stopwatch.spent();
    Ok(link.out.send(&Up::PassDone(stats))?)
}

/// Writes what a pass did to the disks, where it may have done anything: the root's file system,
/// and each on which something landed.
fn sync(tree: &TargetTree, stats: &PassStats) -> Result<(), FsError> {
    // What failed may have got some of its way, and one entry can fail more than once.
    let has_changed = [
        stats.landed_files,
        stats.made_entries,
        stats.linked_entries,
        stats.attribute_entries,
        stats.deleted_entries,
        stats.failed_entries,
    ]
    .iter()
    .any(|count| *count > 0);
    match (&tree.root, &tree.stages) {
        (Some(root), Some(stages)) if has_changed => {
            root.root().sync_file_system()?;
            stages.sync()
        }
        _ => Ok(()),
    }
}

/// The workers of a pass and what they say.
struct Crew {
    work: Queue<Work>,
    lanes: Vec<Queue<(WantId, Part)>>,
    ended: Queued<Result<(), TransferError>>,
}

fn run_workers(
    link: &Link,
    pass: &TargetPass<'_>,
    basis_jobs: &Queued<basis::BasisJob>,
) -> Result<(), TransferError> {
    std::thread::scope(|scope| {
        let (work, queued) = bounded(QUEUED_WORK);
        let (end, ended) = unbounded();
        let mut lanes = Vec::new();
        for _ in 0..WORKERS {
            let (lane, parts) = bounded(QUEUED_PARTS);
            lanes.push(lane);
            let (queued, end) = (queued.clone(), end.clone());
            scope.spawn(move || {
                stand_alone();
                // Nobody listens any more when the pass is over.
                let work = || work_on(pass, &queued, &parts);
                drop(end.send(pass.stopwatch.time(Activity::Idle, work)));
            });
        }
        // A worker that panics must not be waited for.
        drop((queued, end));
        scope.spawn(|| {
            let sum_up = || basis::serve(pass, basis_jobs);
            pass.stopwatch.time(Activity::Idle, sum_up);
        });
        let result = dispatch(link, pass, Crew { work, lanes, ended });
        pass.budget.close();
        pass.basis_jobs.close();
        result
    })
}

/// Takes frames until the pass ends.
fn dispatch(link: &Link, pass: &TargetPass<'_>, crew: Crew) -> Result<(), TransferError> {
    loop {
        let frame = select! {
            recv(link.incoming) -> arrived => arrived.map_err(|_| LinkLost)??,
            recv(crew.ended) -> ended => return ended.unwrap_or(Ok(())),
        };
        if pass.is_full.load(Ordering::Relaxed) {
            return Err(TransferError::Peer {
                text: "the target's file system is full".to_owned(),
                class: FailureClass::NoSpace,
            });
        }
        let message: Down = frame.message()?;
        message.check()?;
        match message {
            Down::Heartbeat => {}
            Down::Listing(listing) => {
                let open = pass.tracker.open(listing).ok_or(TransferError::Protocol(
                    "a listing twice, or too many at once",
                ))?;
                crew.give(Work::Compare(open))?;
            }
            Down::Bundle { files, tag } => crew.give(Work::Bundle(files, tag, frame))?,
            Down::Segment { want, offset } => {
                crew.give_part(want, Part::Segment { offset, frame })?;
            }
            Down::Delta {
                want,
                offset,
                length,
                basis_offset,
                basis_length,
            } => {
                let (place, stretch) = ((offset, length), (basis_offset, basis_length));
                crew.give_part(
                    want,
                    Part::Delta {
                        place,
                        stretch,
                        frame,
                    },
                )?;
            }
            Down::Zero {
                want,
                offset,
                length,
            } => crew.give_part(want, Part::Zero { offset, length })?,
            Down::FileEnd {
                want,
                outcome,
                digest,
            } => crew.give_part(want, Part::End { outcome, digest })?,
            Down::PassEnd => return crew.finish(),
            Down::Failed(text) => {
                return Err(TransferError::Peer {
                    text,
                    class: FailureClass::Other,
                });
            }
            Down::Key(_)
            | Down::Begin { .. }
            | Down::Pass { .. }
            | Down::Finish
            | Down::FixUp { .. }
            | Down::Order
            | Down::Kept { .. }
            | Down::Facts { .. } => {
                return Err(TransferError::Protocol("a message out of turn"));
            }
        }
    }
}

impl Crew {
    fn give(&self, work: Work) -> Result<(), TransferError> {
        select! {
            send(self.work, work) -> sent => Ok(sent.map_err(|_| LinkLost)?),
            recv(self.ended) -> ended => ended.unwrap_or(Ok(())).and(Err(LinkLost.into())),
        }
    }

    fn give_part(&self, want: WantId, part: Part) -> Result<(), TransferError> {
        let lane =
            (want.seq.wrapping_add(u64::from(want.index)) % self.lanes.len() as u64) as usize;
        let Some(lane) = self.lanes.get(lane) else {
            return Ok(());
        };
        select! {
            send(lane, (want, part)) -> sent => Ok(sent.map_err(|_| LinkLost)?),
            recv(self.ended) -> ended => ended.unwrap_or(Ok(())).and(Err(LinkLost.into())),
        }
    }

    /// Lets the workers go home and hears how it went.
    fn finish(self) -> Result<(), TransferError> {
        let Crew { work, lanes, ended } = self;
        drop((work, lanes));
        ended.iter().take(WORKERS).collect()
    }
}

fn work_on(
    pass: &TargetPass<'_>,
    work: &Queued<Work>,
    parts: &Queued<(WantId, Part)>,
) -> Result<(), TransferError> {
    let never = crossbeam_channel::never();
    let never_parts = crossbeam_channel::never();
    let (mut work, mut parts) = (Some(work), Some(parts));
    while work.is_some() || parts.is_some() {
        select! {
            recv(work.unwrap_or(&never)) -> item => match item {
                Ok(Work::Compare(open)) => doing(Activity::Compare, || reconcile(pass, &open))?,
                Ok(Work::Bundle(files, tag, frame)) => {
                    doing(Activity::Write, || pass.land_bundle(files, &tag, frame.body()))?;
                }
                Err(_) => work = None,
            },
            recv(parts.unwrap_or(&never_parts)) -> part => match part {
                Ok((want, part)) => doing(Activity::Write, || take_part(pass, want, part))?,
                Err(_) => parts = None,
            },
        }
    }
    Ok(())
}

fn take_part(pass: &TargetPass<'_>, want: WantId, part: Part) -> Result<(), TransferError> {
    if let Part::End { outcome, digest } = part {
        return pass.end_large(want, &outcome, &digest);
    }
    let landing = pass.landing_of(want)?;
    let mut landing = super::target::lock(&landing);
    match part {
        Part::Segment { offset, frame } => landing.write(pass, offset, frame.body()),
        Part::Delta {
            place,
            stretch,
            frame,
        } => landing.patch(pass, stretch, place, frame.body()),
        Part::Zero { offset, length } => landing.clear(pass, offset, length),
        Part::End { .. } => {}
    }
    Ok(())
}
