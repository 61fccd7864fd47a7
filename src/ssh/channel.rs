//! Moves the bytes of one process between its blocking ends and the SSH library.
//!
//! Knows nothing of threads other than the connection's own.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use russh::client::{Handle, Msg};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{SshError, describe};
use super::process::{Process, QUEUED_PIECES, Shared, make_process};
use super::session::{Link, SessionHandler};

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
            let shared = Shared::new();
            let (queue, pieces) = mpsc::channel(QUEUED_PIECES);
            tokio::spawn(feed(pieces, write_half, shared.over()));
            tokio::spawn(drain(read_half, shared.clone(), link));
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
    let asked = Instant::now();
    channel.exec(true, command).await.map_err(fail)?;
    let (mut read_half, write_half) = channel.split();
    loop {
        match read_half.wait().await {
            Some(ChannelMsg::Success) => {
                link.note_answer(asked.elapsed());
                return Ok((read_half, write_half));
            }
            Some(ChannelMsg::Failure | ChannelMsg::Close) => {
                return Err(SshError::CommandRefused("no reason was given".to_owned()));
            }
            Some(_) => {}
            None => return Err(SshError::Lost(link.loss())),
        }
    }
}

/// Takes pieces to the target until the stream or the process ends.
///
/// Every wait also listens for the end: the library never wakes a writer that waits for window
/// when the channel or the connection dies (measured with 0.65.1).
async fn feed(
    mut pieces: mpsc::Receiver<Bytes>,
    write_half: ChannelWriteHalf<Msg>,
    mut over: watch::Receiver<bool>,
) {
    let stream = async {
        while let Some(piece) = pieces.recv().await {
            if write_half.data_bytes(piece).await.is_err() {
                return;
            }
        }
        // The drain notices a connection that is gone.
        write_half.eof().await.unwrap_or_default();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        _ = over.wait_for(|over| *over) => {}
        () = stream => {}
    }
    // Wakes a blocked writer with an error.
    drop(pieces);
    write_half.close().await.unwrap_or_default();
}

/// Takes what comes from the target. Never waits for the other direction: a channel that is not
/// drained holds up the whole connection.
async fn drain(mut read_half: ChannelReadHalf, shared: Arc<Shared>, link: Arc<Link>) {
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
