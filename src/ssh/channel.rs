//! Moves the bytes of one process between its blocking ends and the SSH library; what goes to the
//! process over several channels, if it was widened.
//!
//! Knows nothing of threads other than the connection's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use russh::client::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::error::{SshError, describe};
use super::pace::Pace;
use super::process::{Process, QUEUED_PIECES, Shared, make_process};
use super::session::{Link, SessionHandler};
use super::stripes::{LONGEST_PIECE, header};

/// How much is given to a channel at once.
const STEP: usize = 32 * 1024;
/// How long the process itself may take to end after one of its further channels.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Opens a channel, has the command started and hands the process over.
pub(super) async fn start_process(
    handle: Arc<Handle<SessionHandler>>,
    link: Arc<Link>,
    command: String,
    started: oneshot::Sender<Result<Process, SshError>>,
) {
    let process = match execute(&handle, &link, command).await {
        Err(error) => Err(error),
        Ok((read_half, write_half)) => {
            let asked = Instant::now();
            let shared = Shared::new();
            let (queue, pieces) = mpsc::channel(QUEUED_PIECES);
            let pieces = Arc::new(Pieces::new(pieces));
            shared.set_pieces(&pieces);
            let pace = Arc::new(Pace::new(Arc::clone(&link)));
            tokio::spawn(feed((pieces, Arc::clone(&pace)), write_half, shared.over()));
            tokio::spawn(drain((read_half, pace), shared.clone(), (link, asked)));
            Ok(make_process(&shared, queue))
        }
    };
    // Dropping an unwanted process closes its channel.
    started.send(process).map(drop).unwrap_or_else(drop);
}

type Halves = (ChannelReadHalf, ChannelWriteHalf<Msg>);

async fn execute(
    handle: &Handle<SessionHandler>,
    link: &Link,
    command: String,
) -> Result<Halves, SshError> {
    let fail = |error: russh::Error| {
        if handle.is_closed() {
            SshError::Lost(link.loss())
        } else {
            SshError::CommandRefused(describe(&error))
        }
    };
    let asked = Instant::now();
    let channel = handle.channel_open_session().await.map_err(fail)?;
    link.note_answer(asked.elapsed());
    // What goes to the process follows at once: the answer comes with its first output.
    channel.exec(true, command).await.map_err(fail)?;
    Ok(channel.split())
}

/// Takes pieces to the target until the stream or the process ends.
///
/// Every wait also listens for the end: the library never wakes a writer that waits for window
/// when the channel or the connection dies (measured with 0.65.1).
async fn feed(
    (pieces, pace): (Arc<Pieces>, Arc<Pace>),
    write_half: ChannelWriteHalf<Msg>,
    mut over: watch::Receiver<bool>,
) {
    let stream = async {
        if write_pieces(&pieces, &write_half, Some(&pace))
            .await
            .is_ok()
        {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        _ = over.wait_for(|over| *over) => {}
        () = stream => {}
    }
    // Wakes a blocked writer with an error.
    pieces.close().await;
    write_half.close().await.unwrap_or_default();
}

/// Writes pieces until the stream ends. Only to a far target is there more than one channel, and those
/// need no pace.
async fn write_pieces(
    pieces: &Pieces,
    write_half: &ChannelWriteHalf<Msg>,
    pace: Option<&Pace>,
) -> Result<(), russh::Error> {
    while let Some((header, mut piece)) = pieces.next().await {
        if let Some(header) = header {
            write_half.data_bytes(header).await?;
        }
        while !piece.is_empty() {
            let step = piece.split_to(piece.len().min(STEP));
            if let Some(pace) = pace {
                pace.admit(step.len()).await;
            }
            write_half.data_bytes(step).await?;
        }
    }
    // The drain notices a connection that is gone.
    write_half.eof().await.unwrap_or_default();
    Ok(())
}

/// What goes to a process, for whichever of its channels has room.
#[derive(Debug)]
pub(super) struct Pieces {
    source: Mutex<PieceSource>,
    is_striped: AtomicBool,
}

#[derive(Debug)]
struct PieceSource {
    queue: Option<mpsc::Receiver<Bytes>>,
    /// What is left of a piece that was too long.
    rest: Bytes,
    number: u64,
}

impl Pieces {
    fn new(queue: mpsc::Receiver<Bytes>) -> Pieces {
        Pieces {
            source: Mutex::new(PieceSource {
                queue: Some(queue),
                rest: Bytes::new(),
                number: 0,
            }),
            is_striped: AtomicBool::new(false),
        }
    }

    /// Numbers everything from here on. To be said before the next piece is put into the queue.
    pub fn stripe(&self) {
        self.is_striped.store(true, Ordering::SeqCst);
    }

    /// Takes the next piece and what goes before it; the last one of a striped stream is empty.
    async fn next(&self) -> Option<(Option<Bytes>, Bytes)> {
        let mut source = self.source.lock().await;
        if source.rest.is_empty() {
            match source.queue.as_mut()?.recv().await {
                Some(piece) => source.rest = piece,
                None => source.queue = None,
            }
        }
        if !self.is_striped.load(Ordering::SeqCst) {
            let piece = std::mem::take(&mut source.rest);
            return source.queue.is_some().then_some((None, piece));
        }
        let length = source.rest.len().min(LONGEST_PIECE);
        let piece = source.rest.split_to(length);
        let header = Bytes::copy_from_slice(&header(source.number, length));
        source.number += 1;
        Some((Some(header), piece))
    }

    /// Takes nothing any more, so that nobody waits for room.
    async fn close(&self) {
        self.source.lock().await.queue = None;
    }
}

/// Opens one more channel to a process that listens on a socket, and feeds it as well. A target
/// that allows none has one less, which only costs speed.
pub(super) async fn widen(
    handle: Arc<Handle<SessionHandler>>,
    link: Arc<Link>,
    (shared, socket): (Arc<Shared>, String),
) {
    let Some(pieces) = shared.pieces() else {
        return;
    };
    let Ok(channel) = handle.channel_open_direct_streamlocal(socket).await else {
        return;
    };
    let (mut read_half, write_half) = channel.split();
    let mut over = shared.over();
    let fed = async {
        let closed = async {
            // Nothing comes back on it but its end.
            while !matches!(read_half.wait().await, Some(ChannelMsg::Close) | None) {}
        };
        tokio::select! {
            // A piece that was on its way is lost.
            () = closed => {}
            written = write_pieces(&pieces, &write_half, None) => {
                if written.is_ok() {
                    std::future::pending::<()>().await;
                }
            }
        }
        let mut over = shared.over();
        if timeout(END_LIMIT, over.wait_for(|over| *over))
            .await
            .is_err()
        {
            shared.end_with_loss(link.loss());
        }
    };
    tokio::select! {
        biased;
        _ = over.wait_for(|over| *over) => {}
        () = fed => {}
    }
    write_half.close().await.unwrap_or_default();
}

/// Takes what comes from the target, beginning with its answer to what was `asked`. Never waits for
/// the other direction: a channel that is not drained holds up the whole connection.
async fn drain(
    (mut read_half, pace): (ChannelReadHalf, Arc<Pace>),
    shared: Arc<Shared>,
    (link, asked): (Arc<Link>, Instant),
) {
    // Also when the runtime ends and drops this task.
    let _ending = LossOnDrop {
        shared: &shared,
        link: &link,
    };
    let mut over = shared.over();
    loop {
        let message = tokio::select! {
            biased;
            message = read_half.wait() => message,
            // Given up: the library forgets the channel when we close it and tells nobody.
            _ = over.wait_for(|over| *over) => return,
        };
        match message {
            Some(ChannelMsg::WindowAdjusted { new_size }) => pace.note_window(new_size),
            Some(ChannelMsg::Success) => link.note_answer(asked.elapsed()),
            Some(ChannelMsg::Failure) => shared.end_with_refusal(),
            Some(ChannelMsg::Data { data }) => shared.push_output(data).await,
            Some(ChannelMsg::ExtendedData { data, .. }) => shared.push_stderr(&data),
            Some(ChannelMsg::Eof) => shared.end_output(),
            Some(ChannelMsg::ExitStatus { exit_status }) => shared.set_status(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                shared.set_signal(signal_text(&signal_name));
            }
            Some(ChannelMsg::Close) => {
                shared.end_with_exit();
                break;
            }
            Some(_) => {}
            None => break,
        }
    }
}

/// Ends the process with a lost link unless it has ended otherwise.
struct LossOnDrop<'a> {
    shared: &'a Shared,
    link: &'a Link,
}

impl Drop for LossOnDrop<'_> {
    fn drop(&mut self) {
        self.shared.end_with_loss(self.link.loss());
    }
}

fn signal_text(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => super::clean::clean_text(name.as_bytes()),
        other => format!("{other:?}"),
    }
}
