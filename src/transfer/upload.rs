//! One large file on its way off the source: its data in segments or as what differs from the
//! target's basis, then how it went and its digest. Knows nothing of small files.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;

use super::body::BodySettings;
use super::churn::source_kind;
use super::delta::aligned::Grid;
use super::delta::{self, BasisPart};
use super::digest::{ContentHasher, DigestKey};
use super::stopwatch::{Activity, doing};
use super::window::{Listed, SentListing};
use super::wire::frame::FrameBuilder;
use super::wire::link::LinkLost;
use super::wire::message::{Basis, Digest, Down, Outcome, WantId};
use super::{SEGMENT_LEN, TransferError};
use crate::fs::status_of_fd;
use crate::fs::{Dir, FsError, Status, extents};
use crate::monitor::Counters;
use crate::problem::ProblemKind;
use crate::relpath::Name;

/// What fails where a file has got another owner or mode, or its name another file, since it was
/// listed.
const READ_AS_LISTED: &str = "read with the owner and mode that were listed";

/// The longest tick of a kernel's clock, at 100 Hz.
const TICK: Duration = Duration::from_millis(10);

/// Opens the directory of a listing again; another one under its name is as good as gone.
pub(super) fn reopen(root: &Dir, listing: &SentListing) -> Result<Dir, FsError> {
    let dir = root.open_beneath(&listing.path)?;
    if dir.id()? != listing.id {
        return Err(FsError::missing("open directory"));
    }
    Ok(dir)
}

/// Opens a listed file and looks at it; what is no regular file any more is as good as gone.
pub(super) fn open_file(
    dir: &Dir,
    name: &Name,
    listed: &Listed,
) -> Result<(OwnedFd, Status), FsError> {
    let file = dir.open_file(name)?;
    let mut status = status_of_fd(&file)?;
    // RACE: a write that is under way has moved the times already, and within one tick of the clock
    // of older kernels a second write does not move them. What is read a tick later shows both.
    let rest = status.rest(SystemTime::now());
    if rest.is_some_and(|rest| rest < TICK) {
        doing(Activity::Idle, || std::thread::sleep(TICK));
        status = status_of_fd(&file)?;
    }
    if !status.is_file() {
        return Err(FsError::missing("open"));
    }
    check_rights(listed, &status)?;
    Ok((file, status))
}

/// Looks at a file that was read, and refuses what must not travel under the listed attributes.
pub(super) fn look_again(file: &OwnedFd, listed: &Listed) -> Result<Status, FsError> {
    let status = status_of_fd(file)?;
    check_rights(listed, &status)?;
    Ok(status)
}

fn check_rights(listed: &Listed, status: &Status) -> Result<(), FsError> {
    match listed.covers(status) {
        true => Ok(()),
        false => Err(FsError::stale(READ_AS_LISTED)),
    }
}

pub(super) fn failed(error: &FsError) -> Outcome {
    Outcome::Failed {
        kind: match error.operation == READ_AS_LISTED {
            true => ProblemKind::Changed,
            false => source_kind(error),
        },
        operation: error.operation.clone(),
        cause: error.cause(),
    }
}

/// One large file on its way.
#[derive(Clone, Copy, Debug)]
pub struct LargeFile<'a> {
    /// What all body workers share.
    pub settings: BodySettings<'a>,
    /// Which want it answers.
    pub want: WantId,
}

impl LargeFile<'_> {
    /// Answers the want: contents as they differ from `basis`, then the end of the file.
    pub(super) fn send(
        self,
        listing: &SentListing,
        basis: &Basis,
        parts: Option<Receiver<BasisPart>>,
    ) -> Result<(), LinkLost> {
        let Some((name, listed)) = listing.file(self.want.index) else {
            return Ok(());
        };
        let opened =
            reopen(self.settings.root, listing).and_then(|dir| open_file(&dir, name, listed));
        self.settings
            .counters
            .set_current_path(listing.path.join(name).as_bytes());
        let sent = match &opened {
            Ok((file, before)) => self.send_contents((file, before, listed), basis, parts),
            Err(error) => return self.end(failed(error), Digest::default()),
        };
        match sent {
            Ok((outcome, digest)) => self.end(outcome, digest),
            Err(SendError::Lost(lost)) => Err(lost),
            Err(SendError::Read(error)) => self.end(failed(&error), Digest::default()),
            Err(SendError::Basis(what)) => {
                let (operation, cause) = ("use the target's sums".to_owned(), what.to_owned());
                self.end(
                    Outcome::Failed {
                        kind: ProblemKind::Failed,
                        operation,
                        cause,
                    },
                    Digest::default(),
                )
            }
        }
    }

    fn send_contents(
        self,
        (file, before, listed): (&OwnedFd, &Status, &Listed),
        basis: &Basis,
        parts: Option<Receiver<BasisPart>>,
    ) -> Result<(Outcome, Digest), SendError> {
        let mut progress = Progress::new(self.settings.key);
        let size = before.size();
        match (basis, parts) {
            (
                Basis::Sums {
                    block_length,
                    size: basis_size,
                },
                Some(parts),
            ) => {
                let grid = Grid {
                    block_length: u64::from(*block_length),
                    size: *basis_size,
                };
                delta::aligned::send(self, (file, size), grid, &parts, &mut progress)?;
            }
            (Basis::Windows { size: basis_size }, Some(parts)) => {
                delta::windows::send(self, (file, size), *basis_size, parts, &mut progress)?;
            }
            _ if self.settings.dry_run => return Ok((Outcome::Differs, Digest::default())),
            _ => self.send_range(file, 0..size, &mut progress)?,
        }
        let churned = before.has_churned(&look_again(file, listed)?) || progress.read_to != size;
        let size = progress.read_to;
        let outcome = match (self.settings.dry_run, progress.differs) {
            (_, false) => Outcome::Same,
            (true, true) => Outcome::Differs,
            (false, true) => Outcome::Whole {
                size,
                mtime: before.mtime(),
                churned,
            },
        };
        Ok((outcome, progress.hasher.finish(size)))
    }

    /// Sends everything in `range`, leaving out holes and zeros. WIRE[segment]
    pub(super) fn send_range(
        self,
        file: &OwnedFd,
        range: Range<u64>,
        progress: &mut Progress,
    ) -> Result<(), SendError> {
        progress.differs = true;
        let mut offset = range.start;
        while let Some((data_start, data_end)) = extents::next_data(file, offset, range.end)? {
            offset = data_start.max(offset);
            while offset < data_end {
                let length =
                    (data_end - offset).min(SEGMENT_LEN as u64 - offset % SEGMENT_LEN as u64);
                let count = self.send_segment(file, offset, length as usize, progress)?;
                if count < length {
                    progress.read_to = offset + count;
                    return Ok(());
                }
                offset += length;
            }
        }
        progress.read_to = range.end;
        Ok(())
    }

    fn send_segment(
        self,
        file: &OwnedFd,
        offset: u64,
        length: usize,
        progress: &mut Progress,
    ) -> Result<u64, SendError> {
        let mut frame = self.segment(offset, length)?;
        let start = frame.body().len();
        frame.body().resize(start + length, 0);
        let count = extents::read_at(file, &mut frame.body()[start..], offset)?;
        frame.body().truncate(start + count);
        let contents = &frame.body()[start..];
        progress.hasher.add(offset, contents);
        if !extents::is_zero(contents) {
            self.send_frame(frame, count)?;
        }
        Ok(count as u64)
    }

    /// Sends bytes that were read already, in as many segments as they take: the longest block is as
    /// long as a frame.
    pub(super) fn send_bytes(self, offset: u64, bytes: &[u8]) -> Result<(), SendError> {
        for (start, part) in (offset..)
            .step_by(SEGMENT_LEN)
            .zip(bytes.chunks(SEGMENT_LEN))
        {
            let mut frame = self.segment(start, part.len())?;
            frame.body().extend_from_slice(part);
            self.send_frame(frame, part.len())?;
        }
        Ok(())
    }

    fn segment(self, offset: u64, capacity: usize) -> Result<FrameBuilder, SendError> {
        let want = self.want;
        self.builder(&Down::Segment { want, offset }, capacity)
    }

    /// Starts a frame of this file, unless the pass was stopped: asked before what goes into it is
    /// read, since what turns out to be zeros never leaves.
    pub(super) fn builder(
        self,
        message: &Down,
        capacity: usize,
    ) -> Result<FrameBuilder, SendError> {
        if self.settings.window.is_stopped() {
            return Err(SendError::Lost(LinkLost));
        }
        Ok(self.settings.out.builder(message, capacity)?)
    }

    /// Sends a frame with `body_bytes` of contents.
    pub(super) fn send_frame(
        self,
        frame: FrameBuilder,
        body_bytes: usize,
    ) -> Result<(), SendError> {
        Counters::add(&self.settings.counters.body_bytes, body_bytes as u64);
        Ok(self.settings.out.send_built(frame)?)
    }

    /// WIRE[file-end]
    fn end(self, outcome: Outcome, digest: Digest) -> Result<(), LinkLost> {
        self.settings.out.send(&Down::FileEnd {
            want: self.want,
            outcome,
            digest,
        })
    }
}

/// How far a large file was read.
#[derive(Debug)]
pub struct Progress {
    /// Over all that was read.
    pub hasher: ContentHasher,
    /// Where reading ended.
    pub read_to: u64,
    /// Whether anything had to be sent.
    pub differs: bool,
}

impl Progress {
    fn new(key: &DigestKey) -> Progress {
        Progress {
            hasher: ContentHasher::new(key),
            read_to: 0,
            differs: false,
        }
    }
}

/// Why sending one file ended early.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The link is gone, or the pass was stopped.
    #[error("the link was lost")]
    Lost(#[from] LinkLost),
    /// The file cannot be read.
    #[error("the file cannot be read")]
    Read(#[from] FsError),
    /// What the target says about its basis makes no sense.
    #[error("{0}")]
    Basis(&'static str),
}

impl From<SendError> for TransferError {
    fn from(_: SendError) -> TransferError {
        TransferError::Link(None)
    }
}
