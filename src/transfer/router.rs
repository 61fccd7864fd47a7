//! The router: takes what the receiver says during a pass and gives it to the body workers. It
//! never waits for them. Knows nothing of the walk but its end.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender as Queue, select, unbounded};

use super::body::Job;
use super::delta::BasisPart;
use super::sender::{LOOK, Sender, Turn};
use super::snapshot::Print;
use super::window::Window;
use super::wire::frame::{Frame, FrameError};
use super::wire::link::LinkLost;
use super::wire::message::{Basis, Up, Want, WantId};
use super::{SMALL_FILE_LEN, TransferError};
use crate::monitor::Counters;

/// How often a file may be wanted: once, and again when what landed was not what was read.
const MAX_WANTS: u32 = 2;

/// LIMIT: paths of what went wrong that are remembered.
const MAX_SPOILED: usize = 100_000;

/// Takes what the receiver says during a pass.
pub(super) struct Router<'a> {
    sender: &'a Sender<'a>,
    window: &'a Window,
    turn: Turn,
    jobs: Queue<Job>,
    /// Bytes on the link when the pass began.
    sent_before: u64,
    /// How often each file of each unsettled listing was wanted.
    wanted: HashMap<u64, HashMap<u32, u32>>,
    /// Where parts of a basis go while its file is being compared.
    bases: HashMap<WantId, Queue<BasisPart>>,
    /// Bytes of parts that wait.
    waiting_sums: Arc<AtomicUsize>,
    /// Directories in which something went wrong; a later pass looks at them again. `None` where
    /// there are too many: it looks everywhere.
    spoiled: Option<HashSet<Vec<u8>>>,
    /// What the target has.
    settled: Vec<Print>,
}

impl<'a> Router<'a> {
    /// Routes to the body workers behind `jobs`; they end when the router does.
    pub(super) fn new(
        sender: &'a Sender<'a>,
        (window, turn): (&'a Window, Turn),
        jobs: Queue<Job>,
    ) -> Self {
        Router {
            sender,
            window,
            turn,
            jobs,
            sent_before: sender.link.out.traffic().0,
            wanted: HashMap::new(),
            bases: HashMap::new(),
            waiting_sums: Arc::default(),
            spoiled: Some(HashSet::new()),
            settled: Vec::new(),
        }
    }

    /// Runs until the walk has ended and everything that it listed is settled; returns what the
    /// target has by then.
    pub(super) fn run(mut self, walk_ended: &Receiver<()>) -> Result<Vec<Print>, TransferError> {
        let mut walking = true;
        let nothing = crossbeam_channel::never();
        while walking || !self.window.is_empty() {
            if self.sender.stop.load(Ordering::Relaxed) {
                return Err(TransferError::Stopped);
            }
            let walk_ended = if walking { walk_ended } else { &nothing };
            select! {
                recv(self.sender.link.incoming) -> arrived => self.take(arrived)?,
                recv(walk_ended) -> _ => walking = false,
                default(LOOK) => {}
            }
            if self.window.is_stopped() {
                return Err(LinkLost.into());
            }
        }
        Ok(self.settled)
    }

    fn take(
        &mut self,
        arrived: Result<Result<Frame, FrameError>, crossbeam_channel::RecvError>,
    ) -> Result<(), TransferError> {
        let frame = arrived.map_err(|_| LinkLost)??;
        match self.sender.decode(&frame)? {
            Up::Wants { seq, wants } => self.take_wants(seq, wants),
            Up::Sums { want, first } => self.take_basis(want, first, &frame),
            Up::Window { want, index } => self.take_basis(want, index, &frame),
            Up::Settled { seq } => self.settle(seq),
            Up::Problem(problem) => {
                self.spoil(&problem.path);
                self.sender.note(Up::Problem(problem), self.turn)
            }
            message => self.sender.note(message, self.turn),
        }
    }

    fn take_wants(&mut self, seq: u64, wants: Vec<Want>) -> Result<(), TransferError> {
        let listing = self
            .window
            .get(seq)
            .ok_or(TransferError::Protocol("wants of an unknown listing"))?;
        let mut small = Vec::new();
        for want in wants {
            let Some((_, listed)) = listing.file(want.index) else {
                return Err(TransferError::Protocol(
                    "a want of something that is no regular file",
                ));
            };
            self.count_want(seq, want.index)?;
            let basis = match want.basis {
                Basis::Sums { .. } | Basis::Windows { .. } => Some(self.open_basis(WantId {
                    seq,
                    index: want.index,
                })?),
                Basis::None | Basis::Digest(_) => None,
            };
            if listed.size <= SMALL_FILE_LEN && basis.is_none() {
                small.push(want);
            } else {
                self.queue(Job::Large {
                    listing: listing.clone(),
                    want,
                    basis,
                })?;
            }
        }
        if small.is_empty() {
            Ok(())
        } else {
            self.queue(Job::Small {
                listing,
                wants: small,
            })
        }
    }

    fn count_want(&mut self, seq: u64, index: u32) -> Result<(), TransferError> {
        let count = self
            .wanted
            .entry(seq)
            .or_default()
            .entry(index)
            .or_default();
        *count += 1;
        if *count > MAX_WANTS {
            return Err(TransferError::Protocol("a file wanted again and again"));
        }
        Ok(())
    }

    fn queue(&self, job: Job) -> Result<(), TransferError> {
        Ok(self.jobs.send(job).map_err(|_| LinkLost)?)
    }

    fn open_basis(&mut self, want: WantId) -> Result<Receiver<BasisPart>, TransferError> {
        let (parts, taken) = unbounded();
        match self.bases.entry(want) {
            Slot::Vacant(slot) => slot.insert(parts),
            Slot::Occupied(_) => return Err(TransferError::Protocol("a file wanted twice")),
        };
        Ok(taken)
    }

    /// Hands on a part of a basis. A file that is through takes no more of them.
    fn take_basis(&self, want: WantId, number: u64, frame: &Frame) -> Result<(), TransferError> {
        if let Some(parts) = self.bases.get(&want) {
            let part = BasisPart::new(number, frame.body(), &self.waiting_sums);
            let part = part.ok_or(TransferError::Protocol("more sums than a file can have"))?;
            drop(parts.send(part));
        }
        Ok(())
    }

    /// Notes that an entry, or a directory as a whole, is not as the source's.
    fn spoil(&mut self, path: &[u8]) {
        let Some(spoiled) = &mut self.spoiled else {
            return;
        };
        let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let parent = path.get(..parent).unwrap_or_default();
        spoiled.extend([path.to_vec(), parent.to_vec()]);
        if spoiled.len() > MAX_SPOILED {
            self.spoiled = None;
            self.settled.clear();
        }
    }

    fn settle(&mut self, seq: u64) -> Result<(), TransferError> {
        let listing = self
            .window
            .settle(seq)
            .ok_or(TransferError::Protocol("an unknown listing is settled"))?;
        self.bases.retain(|want, _| want.seq != seq);
        self.wanted.remove(&seq);
        let is_spoiled = |spoiled: &HashSet<Vec<u8>>| spoiled.contains(listing.path.as_bytes());
        if self
            .spoiled
            .as_ref()
            .is_some_and(|spoiled| !is_spoiled(spoiled))
        {
            self.settled.extend_from_slice(&listing.prints);
        }
        let counters = self.sender.monitor.counters();
        counters.set_current_path(listing.path.as_bytes());
        let sent = self.sender.link.out.traffic().0;
        counters
            .wire_bytes
            .store(sent.saturating_sub(self.sent_before), Ordering::Relaxed);
        Counters::add(&counters.settled_entries, listing.entry_count);
        Counters::add(&counters.settled_bytes, listing.bytes);
        Ok(())
    }
}
