//! One stream of bytes over several channels: cut into numbered pieces on the source, put together
//! in order on the target.
//!
//! Knows nothing of SSH and of what the bytes mean.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// LIMIT: bytes of a piece, as a process collects them (`ssh/process.rs`).
pub const LONGEST_PIECE: usize = 256 * 1024;
/// The number of the piece and its length, both little endian. WIRE[piece]
pub const HEADER_BYTES: usize = 12;
/// LIMIT: pieces in order that wait for the reader. Each channel holds one piece more.
const WAITING_PIECES: usize = 4;

/// Returns what goes before the piece with this number; a piece without bytes ends the stream.
pub fn header(number: u64, length: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (first, second) = header.split_at_mut(8);
    first.copy_from_slice(&number.to_le_bytes());
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    second.copy_from_slice(&length.to_le_bytes());
    header
}

/// Why no more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The piece that says so.
    Proper,
    /// Something else, in words.
    Fault(io::ErrorKind, &'static str),
}

#[derive(Debug, Default)]
struct State {
    /// The number of the next piece.
    next: u64,
    waiting: VecDeque<Vec<u8>>,
    /// Who may still bring a piece.
    channels: usize,
    /// The numbers of the pieces that were brought and wait for their turn.
    ahead: Vec<u64>,
    end: Option<End>,
    /// Whether one who could bring a piece is gone: the other side opens no more then.
    has_lost_one: bool,
}

impl State {
    /// Ends the stream when nobody is left who could bring the next piece: it was on a channel that
    /// has ended. Whoever waits for his turn does not see his own channel end.
    fn end_if_nobody_comes(&mut self) {
        if self.ahead.len() == self.channels && !self.ahead.contains(&self.next) {
            self.end.get_or_insert(End::Fault(
                io::ErrorKind::UnexpectedEof,
                "the channels ended before the stream",
            ));
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Waits for the turn of the piece, and for room; returns whether more may come.
    fn put(&self, number: u64, piece: Vec<u8>) -> bool {
        let mut state = self.state();
        state.ahead.push(number);
        state.end_if_nobody_comes();
        while state.end.is_none()
            && (number > state.next
                || number == state.next && state.waiting.len() >= WAITING_PIECES)
        {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.ahead.retain(|waiting| *waiting != number);
        if state.end.is_some() {
            drop(state);
            self.changed.notify_all();
            return false;
        }
        if number < state.next {
            state.end = Some(End::Fault(
                io::ErrorKind::InvalidData,
                "a piece of the stream came twice",
            ));
        } else if piece.is_empty() {
            state.end = Some(End::Proper);
        } else {
            state.next += 1;
            state.waiting.push_back(piece);
        }
        let goes_on = state.end.is_none();
        drop(state);
        self.changed.notify_all();
        goes_on
    }
}

/// Takes channels; the stream fails when the last one, and the last `Joiner`, is gone too early.
#[derive(Debug)]
pub struct Joiner(Arc<Shared>);

impl Joiner {
    /// Returns it with the stream; a read that gets nothing for so long fails with `TimedOut`.
    pub fn new(longest_silence: Duration) -> (Joiner, JoinedStream) {
        let shared = Arc::new(Shared::default());
        shared.state().channels = 1;
        let stream = JoinedStream {
            shared: Arc::clone(&shared),
            current: io::Cursor::default(),
            longest_silence,
        };
        (Joiner(shared), stream)
    }

    /// Reads pieces from one more channel, on a thread of its own.
    ///
    /// A channel that is ahead of the others is not read: that bounds the memory.
    pub fn add(&self, mut channel: impl Read + Send + 'static) {
        let shared = Arc::clone(&self.0);
        shared.state().channels += 1;
        std::thread::spawn(move || {
            let channel_of = Held(shared);
            match read_pieces(&mut channel, &channel_of.0) {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => channel_of
                    .0
                    .finish(End::Fault(error.kind(), "a channel cannot be read")),
                // Another channel may bring the end.
                _ => {}
            }
        });
    }

    /// Whether the stream has ended, or is about to: no further channel comes.
    pub fn is_over(&self) -> bool {
        let state = self.0.state();
        state.end.is_some() || state.has_lost_one
    }
}

impl Drop for Joiner {
    fn drop(&mut self) {
        drop(Held(Arc::clone(&self.0)));
    }
}

/// One of those who may bring a piece.
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.channels = state.channels.saturating_sub(1);
        state.has_lost_one = true;
        state.end_if_nobody_comes();
        drop(state);
        self.0.changed.notify_all();
    }
}

fn read_pieces(channel: &mut impl Read, shared: &Shared) -> io::Result<()> {
    loop {
        let mut number = [0; 8];
        channel.read_exact(&mut number)?;
        let mut length = [0; 4];
        channel.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > LONGEST_PIECE {
            shared.finish(End::Fault(
                io::ErrorKind::InvalidData,
                "a piece of the stream is over the limit",
            ));
            return Ok(());
        }
        let mut piece = vec![0; length];
        channel.read_exact(&mut piece)?;
        if !shared.put(u64::from_le_bytes(number), piece) {
            return Ok(());
        }
    }
}

/// The stream, put together.
#[derive(Debug)]
pub struct JoinedStream {
    shared: Arc<Shared>,
    current: io::Cursor<Vec<u8>>,
    longest_silence: Duration,
}

impl JoinedStream {
    fn next_piece(&self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + self.longest_silence;
        let mut state = self.shared.state();
        loop {
            if let Some(piece) = state.waiting.pop_front() {
                drop(state);
                self.shared.changed.notify_all();
                return Ok(piece);
            }
            match state.end {
                Some(End::Proper) => return Ok(Vec::new()),
                Some(End::Fault(kind, text)) => return Err(io::Error::new(kind, text)),
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for JoinedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.position() == self.current.get_ref().len() as u64 {
            self.current = io::Cursor::new(self.next_piece()?);
        }
        self.current.read(buffer)
    }
}

impl Drop for JoinedStream {
    fn drop(&mut self) {
        // Nobody reads any more: the threads of the channels end.
        self.shared.finish(End::Proper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn piece(number: u64, bytes: &[u8]) -> Vec<u8> {
        [&header(number, bytes.len())[..], bytes].concat()
    }

    fn join(channels: Vec<Vec<u8>>) -> io::Result<Vec<u8>> {
        let (joiner, mut stream) = Joiner::new(LONG);
        for channel in channels {
            joiner.add(io::Cursor::new(channel));
        }
        drop(joiner);
        let mut joined = Vec::new();
        stream.read_to_end(&mut joined).map(|_| joined)
    }

    #[test]
    fn pieces_come_out_in_order_however_they_are_spread() {
        let whole: Vec<u8> = (0..2000u32).flat_map(u32::to_le_bytes).collect();
        for width in [1, 2, 3, 7] {
            let mut channels = vec![Vec::new(); width];
            let mut last = 0;
            for (number, bytes) in whole.chunks(31).enumerate() {
                channels[number * number % width].extend(piece(number as u64, bytes));
                last = number as u64 + 1;
            }
            channels[width - 1].extend(piece(last, b""));
            assert_eq!(join(channels).unwrap(), whole, "{width}");
        }
    }

    #[test]
    fn what_is_cut_or_hostile_is_an_error_and_never_an_end() {
        let too_long = header(0, LONGEST_PIECE + 1).to_vec();
        let whole = [piece(0, b"ab"), piece(1, b"")].concat();
        let mut cases = vec![
            ("twice", vec![[piece(0, b"a"), piece(0, b"b")].concat()]),
            ("too long", vec![too_long]),
            ("longest of all", vec![vec![0xff; 12]]),
            ("no channel", vec![]),
        ];
        for cut in 0..whole.len() {
            cases.push(("cut", vec![whole[..cut].to_vec()]));
        }
        for (what, channels) in cases {
            let error = join(channels).expect_err(what);
            assert!(
                matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ),
                "{what}: {error}"
            );
        }
    }

    #[test]
    fn a_piece_that_was_on_a_channel_that_ended_is_not_waited_for() {
        // The other channels are open and have pieces that come after it.
        for is_last_to_end in [false, true] {
            let (joiner, mut stream) = Joiner::new(LONG);
            let (lost, mut brings) = io::pipe().unwrap();
            let (ahead, mut waits) = io::pipe().unwrap();
            joiner.add(lost);
            joiner.add(ahead);
            drop(joiner);
            io::Write::write_all(&mut brings, &piece(0, b"first")).unwrap();
            let write_ahead = |waits: &mut io::PipeWriter| {
                io::Write::write_all(waits, &piece(2, b"third")).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            };
            if is_last_to_end {
                write_ahead(&mut waits);
            }
            drop(brings);
            if !is_last_to_end {
                write_ahead(&mut waits);
            }
            let mut joined = Vec::new();
            let error = stream.read_to_end(&mut joined).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{is_last_to_end}"
            );
            assert_eq!(joined, b"first");
        }
    }

    #[test]
    fn no_further_channel_is_waited_for_when_one_has_ended() {
        let (joiner, mut stream) = Joiner::new(LONG);
        assert!(!joiner.is_over());
        joiner.add(io::empty());
        while !joiner.is_over() {
            std::thread::yield_now();
        }
        drop(joiner);
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_piece_that_never_comes_is_a_silence_and_holds_little() {
        let (joiner, mut stream) = Joiner::new(Duration::from_millis(50));
        let (reader, mut writer) = io::pipe().unwrap();
        joiner.add(reader);
        let ahead = std::thread::spawn(move || {
            for number in 1..1000 {
                if io::Write::write_all(&mut writer, &piece(number, &[7; 4096])).is_err() {
                    return number;
                }
            }
            1000
        });
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop((stream, joiner));
        // One piece and what the pipe holds.
        assert!(ahead.join().unwrap() < 30);
    }
}
