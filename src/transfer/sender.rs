//! The source half of a transfer: drives the walk, answers wants, keeps the count.
//!
//! Threads of a pass: walkers, body workers, and the router (the caller's own), which takes what
//! the receiver says and never blocks. Knows nothing of how the link was made.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded, unbounded};

use super::TransferError;
use super::body::{self, BodySettings};
use super::digest::DigestKey;
use super::router::Router;
use super::snapshot::{Print, Snapshot, Trust};
use super::stopwatch::{Activity, Stopwatch};
use super::walk::{Found, Unchanged, Visitor, Walk};
use super::window::{SentListing, Window};
use super::wire::frame::Frame;
use super::wire::link::{Link, LinkLost};
use super::wire::message::{DigestSecret, Down, Policy, Up};
use crate::exclude::Rules;
use crate::fs::{Dir, stand_alone};
use crate::monitor::{Counters, Event, Monitor, Pass, PassStats};
use crate::problem::{Problem, ProblemKind};

/// Threads that walk, and threads that read contents. More than the two cores of a small server
/// gain nothing there and keep the disks of a larger one busy.
const WALKERS: usize = 2;
const READERS: usize = 2;
/// How often the router looks whether the person wants to stop.
pub(super) const LOOK: Duration = Duration::from_millis(200);

/// One transfer over one link.
pub struct Sender<'a> {
    pub(super) link: &'a Link,
    tree: Tree<'a>,
    policy: Policy,
    key: DigestKey,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) stop: &'a AtomicBool,
    /// What the target has by now.
    snapshot: Mutex<Arc<Snapshot>>,
    /// Whether a pass has removed all extras.
    has_deleted: AtomicBool,
    /// Whether the target has said that it could open its side.
    is_ready: AtomicBool,
    /// Whether the end of the transfer was asked for together with that of its last pass.
    is_finishing: AtomicBool,
}

/// What a transfer copies.
#[derive(Clone, Copy, Debug)]
pub struct Tree<'a> {
    /// Where it begins.
    pub root: &'a Dir,
    /// What is left out and protected.
    pub rules: &'a Rules,
    /// Devices of further file systems that belong to it.
    pub mounts: &'a [u64],
}

/// One pass as the plan wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassPlan {
    /// Which.
    pub pass: Pass,
    /// Whether it removes what the source does not have.
    pub deletes: Deletes,
    /// Whether another pass makes up for what moves meanwhile.
    pub turn: Turn,
}

/// The place of a pass in its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another follows: what vanished or changed is no problem yet.
    Early,
    /// None follows.
    Last,
}

/// When extras go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// Not in this pass.
    Never,
    /// When its contents have landed.
    AtEnd,
}

impl<'a> Sender<'a> {
    /// Opens `target` on the other side with the tree's rules. Whether it could comes as an answer
    /// to the first pass, which does not wait for it.
    pub fn begin(
        link: &'a Link,
        tree: Tree<'a>,
        (target, policy): (Vec<u8>, Policy),
        monitor: &'a dyn Monitor,
        stop: &'a AtomicBool,
    ) -> Result<Sender<'a>, TransferError> {
        let secret = DigestSecret::draw();
        let sender = Sender {
            link,
            tree,
            policy: policy.clone(),
            key: DigestKey::new(&secret),
            monitor,
            stop,
            snapshot: Mutex::default(),
            has_deleted: AtomicBool::new(false),
            is_ready: AtomicBool::new(false),
            is_finishing: AtomicBool::new(false),
        };
        let begun = link.out.send_packed(&Down::Begin {
            target,
            rules: tree.rules.clone(),
            policy,
            secret,
        });
        begun.map_err(|lost| TransferError::from(lost).explained(&link.out))?;
        Ok(sender)
    }

    /// Ends the transfer: the stage on the target is removed. The last pass has asked for it already.
    pub fn finish(self) -> Result<(), TransferError> {
        if !self.is_finishing.load(Ordering::Relaxed) {
            self.link.out.send(&Down::Finish)?;
        }
        self.wait_for(|message| matches!(message, Up::Finished))
    }

    /// Waits for one answer, passing on what happens meanwhile.
    fn wait_for(&self, is_answer: impl Fn(&Up) -> bool) -> Result<(), TransferError> {
        loop {
            let message = self.decode(&self.next_frame()?)?;
            if is_answer(&message) {
                return Ok(());
            }
            self.note(message, Turn::Last)?;
        }
    }

    fn next_frame(&self) -> Result<Frame, TransferError> {
        loop {
            // The target may delete or sync for minutes before it answers.
            if self.stop.load(Ordering::Relaxed) {
                return Err(TransferError::Stopped);
            }
            match self.link.incoming.recv_timeout(LOOK) {
                Ok(arrived) => return Ok(arrived?),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(LinkLost.into()),
            }
        }
    }

    pub(super) fn decode(&self, frame: &Frame) -> Result<Up, TransferError> {
        let message: Up = frame.message()?;
        message.check()?;
        match message {
            Up::Failed { text, class } => Err(TransferError::Peer { text, class }),
            message => Ok(message),
        }
    }

    /// Takes what may come at any time.
    pub(super) fn note(&self, message: Up, turn: Turn) -> Result<(), TransferError> {
        match message {
            Up::Heartbeat => {}
            Up::Ready if !self.is_ready.swap(true, Ordering::Relaxed) => {}
            // RACE: the target learns only from the end of a file that it needs no more sums.
            Up::Sums { .. } | Up::Window { .. } => {}
            Up::Problem(problem) if turn == Turn::Early && problem.kind.is_motion() => {}
            Up::Problem(problem) => self.monitor.event(Event::Problem(problem)),
            Up::Item { change, path } => self.monitor.event(Event::Item { change, path }),
            _ => return Err(TransferError::Protocol("a message out of turn")),
        }
        Ok(())
    }

    /// Runs one pass over the whole tree.
    pub fn pass(&self, plan: PassPlan) -> Result<PassStats, TransferError> {
        let began = Instant::now();
        let traffic = self.link.out.traffic();
        self.monitor.counters().start_pass();
        self.monitor.event(Event::PassStarted(plan.pass));
        let deletes = plan.deletes == Deletes::AtEnd;
        let last = plan.turn == Turn::Last;
        self.link.out.send(&Down::Pass {
            pass: plan.pass,
            deletes,
            last,
        })?;

        let snapshot = Arc::clone(&lock(&self.snapshot));
        let is_followed = plan.turn == Turn::Early && !self.policy.dry_run;
        let walk = Walk::new(self.tree, (&snapshot, self.trust(plan)), is_followed);
        let walk = walk.map_err(|error| {
            TransferError::Root("source: the root of the copy".to_owned(), error)
        })?;
        let state = PassState {
            window: Window::default(),
            turn: plan.turn,
            vanished: AtomicU64::new(0),
            unchanged_entries: AtomicU64::new(0),
            unchanged_bytes: AtomicU64::new(0),
            unchanged_prints: Mutex::default(),
            stopwatch: Stopwatch::default(),
        };
        let settled = self.run_threads(&walk, &state)?;
        if !self.policy.dry_run {
            drop(walk);
            drop(snapshot);
            let unchanged = std::mem::take(&mut *lock(&state.unchanged_prints));
            lock(&self.snapshot).learn([settled, unchanged]);
        }

        self.end_pass(plan.turn)?;
        let mut stats = self.wait_for_stats(plan.turn)?;
        let vanished = state.vanished.load(Ordering::Relaxed);
        stats.vanished_entries = stats.vanished_entries.saturating_add(vanished);
        let unchanged = state.unchanged_entries.load(Ordering::Relaxed);
        stats.listed_entries = stats.listed_entries.saturating_add(unchanged);
        stats.equal_entries = stats.equal_entries.saturating_add(unchanged);
        let bytes = state.unchanged_bytes.load(Ordering::Relaxed);
        stats.listed_bytes = stats.listed_bytes.saturating_add(bytes);
        if deletes {
            self.has_deleted.store(true, Ordering::Relaxed);
        }
        stats.source_spent = state.stopwatch.spent();
        let now = self.link.out.traffic();
        stats.sent_bytes = now.0 - traffic.0;
        stats.received_bytes = now.1 - traffic.1;
        stats.body_bytes = self.monitor.counters().body_bytes.load(Ordering::Relaxed);
        stats.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.monitor
            .event(Event::PassEnded(plan.pass, stats.clone()));
        Ok(stats)
    }

    /// Says that all was sent and settled; after the last pass also that the transfer is over, which
    /// saves a round trip.
    fn end_pass(&self, turn: Turn) -> Result<(), LinkLost> {
        self.link.out.send(&Down::PassEnd)?;
        if turn == Turn::Last {
            self.link.out.send(&Down::Finish)?;
            self.is_finishing.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Tells how far a pass goes by what the passes before it have found. The first that deletes
    /// has to look everywhere; after it extras come only from directories that change.
    fn trust(&self, plan: PassPlan) -> Trust {
        let knows_extras =
            plan.deletes == Deletes::Never || self.has_deleted.load(Ordering::Relaxed);
        match (plan.pass, knows_extras) {
            (Pass::Checksum, _) | (_, false) => Trust::Nowhere,
            _ if self.policy.staged.is_some() && plan.turn == Turn::Last => Trust::NotInShared,
            _ => Trust::Everywhere,
        }
    }

    fn wait_for_stats(&self, turn: Turn) -> Result<PassStats, TransferError> {
        loop {
            match self.decode(&self.next_frame()?)? {
                Up::PassDone(stats) => return Ok(stats),
                message => self.note(message, turn)?,
            }
        }
    }

    /// Returns what has settled.
    fn run_threads(&self, walk: &Walk<'_>, state: &PassState) -> Result<Vec<Print>, TransferError> {
        let (jobs, queued) = unbounded();
        let (walked, walk_ended) = bounded::<()>(0);
        let settings = BodySettings {
            root: self.tree.root,
            dry_run: self.policy.dry_run,
            key: &self.key,
            out: &self.link.out,
            counters: self.monitor.counters(),
            window: &state.window,
        };
        std::thread::scope(|scope| {
            for _ in 0..WALKERS {
                let walked = walked.clone();
                scope.spawn(move || {
                    stand_alone();
                    // A lost link is the router's to report; the end of all clones ends the walk.
                    let outlet = Outlet {
                        sender: self,
                        state,
                    };
                    let walked_all = state.stopwatch.time(Activity::Walk, || walk.run(&outlet));
                    let lost = walked_all.is_err();
                    if lost {
                        state.window.stop();
                    }
                    drop(walked);
                });
            }
            drop(walked);
            for _ in 0..READERS {
                let queued = queued.clone();
                scope.spawn(move || {
                    let serve = || body::serve(settings, &queued);
                    if state.stopwatch.time(Activity::Read, serve).is_err() {
                        state.window.stop();
                    }
                });
            }
            let router = Router::new(self, (&state.window, state.turn), jobs);
            let routed = router.run(&walk_ended);
            let routed = routed.map_err(|error| error.explained(&self.link.out));
            if let Err(error) = &routed {
                // Nobody waits for room in the window or on the link any more.
                state.window.stop();
                self.link.out.stop();
                if let TransferError::Link(_) | TransferError::Protocol(_) = error {
                    self.link.out.mark_lost();
                }
            }
            routed
        })
    }
}

/// What the threads of a pass share.
struct PassState {
    window: Window,
    turn: Turn,
    vanished: AtomicU64,
    /// What was not listed because the target has it.
    unchanged_entries: AtomicU64,
    unchanged_bytes: AtomicU64,
    unchanged_prints: Mutex<Vec<Print>>,
    stopwatch: Stopwatch,
}

/// Takes what the walk finds and puts it on the link.
struct Outlet<'a> {
    sender: &'a Sender<'a>,
    state: &'a PassState,
}

impl Visitor for Outlet<'_> {
    fn listing(&self, found: Found) -> Result<(), LinkLost> {
        let (sent, listing) = SentListing::new(found);
        if !self.state.window.admit(sent) {
            return Err(LinkLost);
        }
        self.sender.link.out.send_packed(&Down::Listing(listing))
    }

    fn unchanged(&self, unchanged: Unchanged) -> Result<(), LinkLost> {
        // Where nothing is listed, nothing else tells the walk that it is to end.
        if self.state.window.is_stopped() {
            return Err(LinkLost);
        }
        let Unchanged {
            entries,
            bytes,
            prints,
        } = unchanged;
        Counters::add(&self.state.unchanged_entries, entries);
        Counters::add(&self.state.unchanged_bytes, bytes);
        lock(&self.state.unchanged_prints).extend(prints);
        let counters = self.sender.monitor.counters();
        Counters::add(&counters.settled_entries, entries);
        Counters::add(&counters.settled_bytes, bytes);
        Ok(())
    }

    fn problem(&self, problem: Problem) {
        if problem.kind == ProblemKind::Vanished {
            Counters::add(&self.state.vanished, 1);
        }
        if self.state.turn == Turn::Early && problem.kind.is_motion() {
            return;
        }
        self.sender.monitor.event(Event::Problem(problem));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
