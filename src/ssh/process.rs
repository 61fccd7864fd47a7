//! A process on the target as three blocking ends: its input, its output and its end.
//!
//! Two tasks on the thread of the connection move the bytes; neither waits for the other, and
//! both learn at once when the process or the link ends. Knows nothing of logins and of what
//! the process is.

mod exit;

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::{Notify, mpsc, watch};

use super::channel::Pieces;
use super::clean::clean_text;
use super::error::{LinkLost, ProcessEnded};

use exit::Ending;
pub use exit::Exit;

/// How many bytes are collected before they go to the connection as one piece.
///
/// LIMIT: several SSH packets of 32 KiB, so that waking the other thread costs little.
const PIECE: usize = 256 * 1024;
/// How many pieces wait for the connection.
pub(super) const QUEUED_PIECES: usize = 4;
/// How much output waits for its reader before the whole connection is held up.
///
/// LIMIT: the channel window of 16 MiB; the SSH library grants it anew as data arrive, so only
/// this bounds the memory.
const BUFFERED_BYTES: usize = 16 << 20;
/// How much of the end of stderr is kept.
const STDERR_TAIL: usize = 32 * 1024;

/// A process on the target.
#[derive(Debug)]
pub struct Process {
    /// What the process reads.
    pub input: ProcessInput,
    /// What the process writes to stdout.
    pub output: ProcessOutput,
    /// How the process ends, and what it wrote to stderr.
    pub end: ProcessEnd,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    buffered_bytes: usize,
    /// Nobody reads any more: output is thrown away.
    discards: bool,
    no_more_output: bool,
    stderr: VecDeque<u8>,
    status: Option<u32>,
    signal: Option<String>,
    ending: Option<Ending>,
}

/// What the ends of a process and the tasks of its connection share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    output_changed: Condvar,
    ended: Condvar,
    output_taken: Notify,
    /// Turns true when the process or the link has ended, or when it is given up.
    over: watch::Sender<bool>,
    /// What goes to the process; its channels take from there.
    pieces: OnceLock<Arc<Pieces>>,
}

impl Shared {
    pub fn new() -> Arc<Shared> {
        Arc::new(Shared {
            state: Mutex::default(),
            output_changed: Condvar::new(),
            ended: Condvar::new(),
            output_taken: Notify::new(),
            over: watch::Sender::new(false),
            pieces: OnceLock::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole: every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what turns true at the end.
    pub fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    /// Keeps where the pieces come from.
    pub fn set_pieces(&self, pieces: &Arc<Pieces>) {
        self.pieces.get_or_init(|| Arc::clone(pieces));
    }

    /// Returns where the pieces come from.
    pub fn pieces(&self) -> Option<Arc<Pieces>> {
        self.pieces.get().cloned()
    }

    /// Hands output to the reader; waits while too much lies there.
    pub async fn push_output(&self, data: Bytes) {
        loop {
            let taken = self.output_taken.notified();
            {
                let mut state = self.state();
                if state.discards || state.ending.is_some() {
                    return;
                }
                if state.buffered_bytes < BUFFERED_BYTES {
                    state.buffered_bytes += data.len();
                    state.chunks.push_back(data);
                    self.output_changed.notify_all();
                    return;
                }
            }
            taken.await;
        }
    }

    pub fn push_stderr(&self, data: &[u8]) {
        let mut state = self.state();
        state.stderr.extend(data);
        let excess = state.stderr.len().saturating_sub(STDERR_TAIL);
        state.stderr.drain(..excess);
    }

    pub fn end_output(&self) {
        self.state().no_more_output = true;
        self.output_changed.notify_all();
    }

    pub fn set_status(&self, status: u32) {
        self.state().status = Some(status);
    }

    pub fn set_signal(&self, signal: String) {
        self.state().signal = Some(signal);
    }

    pub fn end_with_exit(&self) {
        self.finish(Ending::Exited);
    }

    pub fn end_with_loss(&self, loss: LinkLost) {
        self.finish(Ending::Lost(loss));
    }

    /// The command was not run.
    pub fn end_with_refusal(&self) {
        self.finish(Ending::Refused);
    }

    /// Only the first ending counts.
    fn finish(&self, ending: Ending) {
        self.state().ending.get_or_insert(ending);
        self.output_changed.notify_all();
        self.ended.notify_all();
        self.output_taken.notify_one();
        self.over.send_replace(true);
    }

    fn ending_error(&self) -> io::Error {
        let error = self.state().ending.as_ref().and_then(Ending::error);
        error.unwrap_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, ProcessEnded))
    }
}

/// Joins the blocking ends with the queue that the connection takes pieces from.
pub(super) fn make_process(shared: &Arc<Shared>, queue: mpsc::Sender<Bytes>) -> Process {
    Process {
        input: ProcessInput {
            pending: BytesMut::new(),
            queue,
            shared: shared.clone(),
        },
        output: ProcessOutput {
            current: Bytes::new(),
            silence_limit: None,
            shared: shared.clone(),
        },
        end: ProcessEnd {
            shared: shared.clone(),
        },
    }
}

/// The stdin of a process on the target.
///
/// Small writes are collected until [`Write::flush`] or until 256 KiB lie there. Every call
/// fails with `BrokenPipe` as soon as the process or the link has ended, also while it waits
/// for the target to take more. Dropping it without [`ProcessInput::finish`] closes the stream,
/// and what was not flushed is lost.
#[derive(Debug)]
pub struct ProcessInput {
    pending: BytesMut,
    queue: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
}

impl ProcessInput {
    /// Sends bytes without copying them. Keeps the order with what was written before.
    pub fn send(&mut self, data: Bytes) -> io::Result<()> {
        self.flush()?;
        if data.is_empty() {
            return Ok(());
        }
        self.queue
            .blocking_send(data)
            .map_err(|_| self.shared.ending_error())
    }

    /// Sends what is collected, then end of file.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()
    }
}

impl Write for ProcessInput {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.queue.is_closed() {
            return Err(self.shared.ending_error());
        }
        if self.pending.capacity() == 0 {
            self.pending.reserve(PIECE);
        }
        let room = PIECE.saturating_sub(self.pending.len());
        let taken = room.min(data.len());
        self.pending
            .extend_from_slice(data.get(..taken).unwrap_or_default());
        if self.pending.len() >= PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.queue.is_closed() {
            return Err(self.shared.ending_error());
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let piece = self.pending.split().freeze();
        self.queue
            .blocking_send(piece)
            .map_err(|_| self.shared.ending_error())
    }
}

/// The stdout of a process on the target.
///
/// It must be read until the end or dropped: unread output beyond 16 MiB holds up everything
/// else on the connection. A lost link is an error ([`LinkLost::find`]), never an end of file.
#[derive(Debug)]
pub struct ProcessOutput {
    current: Bytes,
    silence_limit: Option<Duration>,
    shared: Arc<Shared>,
}

impl ProcessOutput {
    /// Sets how long a read waits for the next byte before it fails with `TimedOut`; `None`
    /// waits for ever. The stream stays usable after such a failure.
    pub fn set_silence_limit(&mut self, limit: Option<Duration>) {
        self.silence_limit = limit;
    }

    /// Waits for the next bytes; empty means end of file.
    fn next_chunk(&self) -> io::Result<Bytes> {
        let deadline = self.silence_limit.map(|limit| Instant::now() + limit);
        let mut state = self.shared.state();
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                let was_full = state.buffered_bytes >= BUFFERED_BYTES;
                state.buffered_bytes -= chunk.len();
                if was_full {
                    self.shared.output_taken.notify_one();
                }
                return Ok(chunk);
            }
            match &state.ending {
                Some(ending) => return ending.error().map_or(Ok(Bytes::new()), Err),
                None if state.no_more_output => return Ok(Bytes::new()),
                None => {}
            }
            state = wait(&self.shared.output_changed, state, deadline)?;
        }
    }
}

impl BufRead for ProcessOutput {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.is_empty() {
            self.current = self.next_chunk()?;
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count.min(self.current.len()));
    }
}

impl Read for ProcessOutput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let count = available.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl Drop for ProcessOutput {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.discards = true;
        state.chunks.clear();
        drop(state);
        self.shared.output_taken.notify_one();
    }
}

/// How a process on the target ends.
#[derive(Clone, Debug)]
pub struct ProcessEnd {
    pub(super) shared: Arc<Shared>,
}

impl ProcessEnd {
    /// Waits for the end. Fails with `TimedOut`, with the lost link ([`LinkLost::find`]), or where
    /// the target would not run the command ([`CommandRefused::is`]).
    /// The output must be read or dropped meanwhile.
    pub fn wait(&self, limit: Duration) -> io::Result<Exit> {
        let deadline = Some(Instant::now() + limit);
        let mut state = self.shared.state();
        loop {
            match &state.ending {
                Some(ending) => {
                    let exit = Exit {
                        status: state.status,
                        signal: state.signal.clone(),
                    };
                    return ending.error().map_or(Ok(exit), Err);
                }
                None => state = wait(&self.shared.ended, state, deadline)?,
            }
        }
    }

    /// Returns the last 32 KiB that the process wrote to stderr so far, fit for the screen.
    pub fn stderr_tail(&self) -> String {
        clean_text(self.shared.state().stderr.make_contiguous())
    }

    /// Gives the process up: closes its streams, which ends most programs, and does not wait.
    pub fn abort(&self) {
        self.shared.finish(Ending::Aborted);
    }
}

fn wait<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    deadline: Option<Instant>,
) -> io::Result<MutexGuard<'a, State>> {
    let Some(deadline) = deadline else {
        return Ok(condition
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (state, _timed_out) = condition
        .wait_timeout(state, left)
        .unwrap_or_else(PoisonError::into_inner);
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::super::error::CommandRefused;
    use super::*;

    fn process() -> (Process, Arc<Shared>, mpsc::Receiver<Bytes>) {
        let shared = Shared::new();
        let (queue, pieces) = mpsc::channel(QUEUED_PIECES);
        (make_process(&shared, queue), shared, pieces)
    }

    #[test]
    fn collects_small_writes_and_keeps_the_order() {
        let (mut process, _shared, mut pieces) = process();
        process.input.write_all(b"one").unwrap();
        process.input.write_all(b"two").unwrap();
        process.input.send(Bytes::from_static(b"three")).unwrap();
        assert_eq!(pieces.try_recv().unwrap(), "onetwo");
        assert_eq!(pieces.try_recv().unwrap(), "three");
        process.input.write_all(b"four").unwrap();
        process.input.finish().unwrap();
        assert_eq!(pieces.try_recv().unwrap(), "four");
        assert_eq!(
            pieces.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        );
    }

    #[test]
    fn a_full_queue_gives_way_when_the_process_ends() {
        let (mut process, shared, pieces) = process();
        let writer = std::thread::spawn(move || {
            let chunk = vec![0; PIECE];
            loop {
                if let Err(error) = process.input.write_all(&chunk) {
                    return error;
                }
            }
        });
        shared.end_with_exit();
        drop(pieces);
        let error = writer.join().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert!(LinkLost::find(&error).is_none());
    }

    #[test]
    fn one_loss_reaches_every_end() {
        let (mut process, shared, pieces) = process();
        let loss = LinkLost {
            cause: "cable".into(),
        };
        shared.push_stderr(b"last words\n");
        shared.end_with_loss(loss.clone());
        shared.end_with_exit();
        drop(pieces);
        let write = process.input.write(b"x").unwrap_err();
        let read = process.output.read(&mut [0]).unwrap_err();
        let end = process.end.wait(Duration::ZERO).unwrap_err();
        for error in [write, read, end] {
            assert_eq!(LinkLost::find(&error), Some(&loss));
        }
        assert_eq!(process.end.stderr_tail(), "last words");
    }

    #[test]
    fn a_refusal_is_told_by_every_end() {
        let (mut process, shared, pieces) = process();
        shared.end_with_refusal();
        drop(pieces);
        let write = process.input.write(b"x").unwrap_err();
        let read = process.output.read(&mut [0]).unwrap_err();
        let end = process.end.wait(Duration::ZERO).unwrap_err();
        for error in [write, read, end] {
            assert!(CommandRefused::is(&error), "{error}");
            assert!(LinkLost::find(&error).is_none());
        }
    }

    #[test]
    fn silence_is_a_timeout_and_no_end() {
        let (mut process, shared, _pieces) = process();
        process
            .output
            .set_silence_limit(Some(Duration::from_millis(1)));
        let error = process.output.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        shared.state().chunks.push_back(Bytes::from_static(b"ab"));
        shared.state().buffered_bytes = 2;
        let mut text = String::new();
        shared.end_output();
        process.output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab");
        let error = process.end.wait(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn stderr_keeps_its_tail() {
        let (process, shared, _pieces) = process();
        shared.push_stderr(&vec![b'a'; STDERR_TAIL]);
        shared.push_stderr(b"end");
        let tail = process.end.stderr_tail();
        assert_eq!(tail.len(), STDERR_TAIL);
        assert!(tail.ends_with("aend"));
    }
}
