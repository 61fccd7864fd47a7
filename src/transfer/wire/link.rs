//! The two ends of a link as queues of frames: one thread reads, one thread writes.
//!
//! The law: a link reader never waits for its own side's writer. Heartbeats, the bandwidth limit
//! and the loss of the link live here; a lost link is one error whatever noticed it. Knows
//! nothing of what the frames mean.

use std::io::{self, BufWriter, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded, unbounded};
use serde::Serialize;

use super::super::stopwatch::{Activity, doing};
use super::frame::{EncodedFrame, Frame, FrameBuilder, FrameError, Packing, encode, write_frame};
use super::packing::{Compression, Packer};
use super::rate_limit::RateLimit;

/// How often a side says that it is there (docs/protocol.md, [heartbeat]).
const HEARTBEAT: Duration = Duration::from_secs(10);
/// After how much silence a link is taken for lost (docs/protocol.md, [heartbeat]).
pub const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// Frames that wait for the writer: enough to keep it busy, few megabytes at most.
const QUEUED_FRAMES: usize = 8;
/// How often a blocked sender looks whether the link is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Nothing can be sent: the link is gone, and the reader of the incoming frames knows why, or a
/// frame cannot be built, and [`FrameSender::fault`] knows why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link was lost")]
pub struct LinkLost;

/// Puts frames on the link. Cheap to clone; used by many threads.
#[derive(Clone, Debug)]
pub struct FrameSender {
    queue: Sender<Queued>,
    shared: Arc<Shared>,
    /// Until when last words are said; `None` before [`Link::part`].
    until: Option<Instant>,
}

/// A frame that waits for the writer.
#[derive(Debug)]
struct Queued {
    frame: EncodedFrame,
    /// Leaves also after [`FrameSender::stop`].
    is_last_word: bool,
}

#[derive(Debug)]
struct Shared {
    is_lost: AtomicBool,
    is_stopped: AtomicBool,
    fault: OnceLock<String>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    packer: Packer,
}

impl FrameSender {
    /// Sends a message without a body.
    pub fn send(&self, message: &impl Serialize) -> Result<(), LinkLost> {
        self.send_frame(self.built(encode(message, Packing::Plain))?)
    }

    /// Sends a message without a body, compressed where that pays.
    pub fn send_packed(&self, message: &impl Serialize) -> Result<(), LinkLost> {
        self.send_built(self.builder(message, 0)?)
    }

    /// Sends a message with its body, compressed where that pays.
    pub fn send_with(&self, message: &impl Serialize, body: &[u8]) -> Result<(), LinkLost> {
        let mut frame = self.builder(message, body.len())?;
        frame.body().extend_from_slice(body);
        self.send_built(frame)
    }

    /// Starts a frame with its message; `body_capacity` bytes of body are expected.
    pub fn builder(
        &self,
        message: &impl Serialize,
        body_capacity: usize,
    ) -> Result<FrameBuilder, LinkLost> {
        self.built(FrameBuilder::new(message, body_capacity))
    }

    /// Sends what was built, compressed where that pays.
    pub fn send_built(&self, mut builder: FrameBuilder) -> Result<(), LinkLost> {
        let finished = doing(Activity::Pack, || {
            let packing = self.shared.packer.choose(builder.body());
            builder.finish(packing)
        });
        self.send_frame(self.built(finished)?)
    }

    /// Keeps why a frame cannot be built: no new link would help.
    fn built<T>(&self, result: Result<T, FrameError>) -> Result<T, LinkLost> {
        result.map_err(|error| {
            self.shared.fault.get_or_init(|| error.to_string());
            LinkLost
        })
    }

    /// Returns why a frame could not be built, once one could not.
    pub fn fault(&self) -> Option<&str> {
        self.shared.fault.get().map(String::as_str)
    }

    fn send_frame(&self, frame: EncodedFrame) -> Result<(), LinkLost> {
        let queued = Queued {
            frame,
            is_last_word: self.until.is_some(),
        };
        doing(Activity::Link, || self.wait_to_send(queued))
    }

    fn wait_to_send(&self, mut queued: Queued) -> Result<(), LinkLost> {
        while self.is_open() {
            match self.queue.send_timeout(queued, LOOK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => queued = back,
                Err(SendTimeoutError::Disconnected(_)) => return Err(LinkLost),
            }
        }
        Err(LinkLost)
    }

    fn is_open(&self) -> bool {
        let has_time = match self.until {
            Some(until) => Instant::now() < until,
            None => !self.shared.is_stopped.load(Ordering::Relaxed),
        };
        has_time && !self.is_lost()
    }

    /// Stops all sending: what waits is thrown away, nobody waits for room any more, and the
    /// frame that is being written leaves without regard to the bandwidth limit.
    pub fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Marks the link as lost, so that nobody waits for it any more.
    pub fn mark_lost(&self) {
        self.shared.is_lost.store(true, Ordering::Relaxed);
    }

    /// Tells whether the link is known to be lost.
    pub fn is_lost(&self) -> bool {
        self.shared.is_lost.load(Ordering::Relaxed)
    }

    /// Returns bytes sent and received so far, framing included.
    pub fn traffic(&self) -> (u64, u64) {
        let shared = &self.shared;
        (
            shared.sent_bytes.load(Ordering::Relaxed),
            shared.received_bytes.load(Ordering::Relaxed),
        )
    }
}

/// How a side uses its link.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkSettings {
    /// When to compress.
    pub compression: Compression,
    /// Bytes a second that may be sent; `None` for as many as fit.
    pub bytes_per_second: Option<u64>,
    /// Bytes a second that the link cannot exceed, whatever is sent; `None` where nothing is known.
    pub ceiling: Option<u64>,
    /// How many frames the reader may read ahead; `None` where the protocol bounds it.
    pub read_ahead: Option<usize>,
}

/// A link in use: frames come in here, and go out through `out`.
#[derive(Debug)]
pub struct Link {
    /// For sending.
    pub out: FrameSender,
    /// What arrives; ends with an error.
    pub incoming: Receiver<Result<Frame, FrameError>>,
    writer: Option<JoinHandle<()>>,
}

impl Link {
    /// Starts the two threads.
    pub fn start(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        settings: LinkSettings,
    ) -> Link {
        let shared = Arc::new(Shared {
            is_lost: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            fault: OnceLock::new(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            packer: Packer::new(settings.compression, settings.ceiling),
        });
        let (queue, queued) = bounded(QUEUED_FRAMES);
        let (arrived, incoming) = match settings.read_ahead {
            Some(frames) => bounded(frames),
            None => unbounded(),
        };
        let read_shared = Arc::clone(&shared);
        std::thread::spawn(move || read_frames(reader, &arrived, &read_shared));
        let write_shared = Arc::clone(&shared);
        let limit = settings.bytes_per_second.map(RateLimit::new);
        let writer =
            std::thread::spawn(move || write_frames(writer, &queued, &write_shared, limit));
        Link {
            out: FrameSender {
                queue,
                shared,
                until: None,
            },
            incoming,
            writer: Some(writer),
        }
    }

    /// Stops all sending but for a few last words: sending them and waiting for their answers
    /// ends after `limit`, whatever the link does.
    pub fn part(&mut self, limit: Duration) {
        self.out.stop();
        self.out.until = Some(Instant::now() + limit);
    }

    /// Returns how much of the time to part is left; `None` before [`Link::part`].
    pub fn time_left(&self) -> Option<Duration> {
        let until = self.out.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// Waits for the next frame; fails with `TimedOut` when the time to part is over.
    pub fn next(&self) -> Result<Frame, FrameError> {
        let arrived = match self.out.until {
            Some(until) => self.incoming.recv_deadline(until),
            None => self.incoming.recv().map_err(RecvTimeoutError::from),
        };
        arrived.unwrap_or_else(|error| {
            Err(FrameError::Io(match error {
                RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
                RecvTimeoutError::Disconnected => io::ErrorKind::BrokenPipe.into(),
            }))
        })
    }

    /// Ends our side properly: everything sent so far leaves, then the stream ends.
    pub fn close(mut self) {
        let writer = self.writer.take();
        drop(self);
        if let Some(writer) = writer {
            // A writer that panicked has nothing left to flush.
            drop(writer.join());
        }
    }
}

fn read_frames(reader: impl Read, arrived: &Sender<Result<Frame, FrameError>>, shared: &Shared) {
    let mut reader = io::BufReader::with_capacity(256 * 1024, reader);
    loop {
        let frame = Frame::read(&mut reader);
        if let Ok(frame) = &frame {
            shared
                .received_bytes
                .fetch_add(frame.wire_len() as u64, Ordering::Relaxed);
        }
        let is_over = frame.is_err();
        if is_over {
            shared.is_lost.store(true, Ordering::Relaxed);
        }
        if arrived.send(frame).is_err() || is_over {
            return;
        }
    }
}

fn write_frames(
    writer: impl Write,
    queued: &Receiver<Queued>,
    shared: &Shared,
    mut limit: Option<RateLimit>,
) {
    let mut writer = BufWriter::with_capacity(64 * 1024, writer);
    while let Some(next) = next_frame(queued) {
        let Queued {
            frame,
            is_last_word,
        } = next;
        if shared.is_stopped.load(Ordering::Relaxed) && !is_last_word {
            continue;
        }
        let began = Instant::now();
        let mut written = match &mut limit {
            None => write_frame(&mut writer, &frame),
            Some(limit) => limit.write(&mut writer, frame.as_bytes(), &shared.is_stopped),
        };
        if queued.is_empty() {
            written = written.and_then(|()| writer.flush());
        }
        if written.is_err() {
            break;
        }
        let length = frame.as_bytes().len();
        shared
            .sent_bytes
            .fetch_add(length as u64, Ordering::Relaxed);
        shared.packer.note_written(length, began.elapsed());
    }
    if writer.flush().is_err() {
        shared.is_lost.store(true, Ordering::Relaxed);
    }
}

/// Waits for a frame, or makes a heartbeat; `None` when all senders are gone.
fn next_frame(queued: &Receiver<Queued>) -> Option<Queued> {
    match queued.recv_timeout(HEARTBEAT) {
        Ok(next) => Some(next),
        // WIRE[heartbeat]: number 0 in both directions.
        Err(RecvTimeoutError::Timeout) => {
            let heartbeat = encode(&0u8, Packing::Plain).ok();
            heartbeat.map(|frame| Queued {
                frame,
                is_last_word: true,
            })
        }
        Err(RecvTimeoutError::Disconnected) => None,
    }
}
