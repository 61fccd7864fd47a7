//! A connection to the target: opened, used and closed by blocking calls from any thread.
//!
//! The asynchronous library runs on one thread of its own per connection; nothing of it is seen
//! outside of `ssh`. Knows nothing of agents and of what the commands mean.

use std::io::{self, Read, Write};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use russh::Disconnect;
use russh::client::Handle;
use tokio::sync::{mpsc as async_mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::auth::LoginSettings;
use super::channel::{start_process, widen};
use super::error::{CommandRefused, LinkLost, SshError};
use super::known_hosts::KnownHosts;
use super::open::Opener;
use super::process::{Exit, Process, ProcessInput, ProcessOutput, Shared};
use super::question::{Asker, Event};
use super::session::{Link, Opened, SessionHandler};
use crate::prompter::Prompter;

/// How long a goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long [`Connection::run`] waits for a command after all its input was sent.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// How much of a command's output [`Connection::run`] keeps.
const RUN_OUTPUT_BYTES: u64 = 1 << 20;

/// An open, logged-in connection. Dropping it closes it; processes on it then see a lost link.
#[derive(Debug)]
pub struct Connection {
    requests: async_mpsc::UnboundedSender<Request>,
    thread: Option<JoinHandle<()>>,
    link: Arc<Link>,
    opened: Opened,
}

/// What a command printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// The first 1 MiB of stdout.
    pub stdout: Vec<u8>,
    /// Whether there was more than that.
    pub is_cut: bool,
    /// The last 32 KiB of stderr, fit for the screen.
    pub stderr: String,
}

enum Request {
    Start {
        command: String,
        started: oneshot::Sender<Result<Process, SshError>>,
    },
    Widen {
        shared: Arc<Shared>,
        socket: String,
    },
    Close,
}

impl Connection {
    /// Connects, checks the host key and logs in.
    pub fn open(
        address: &Address,
        settings: &LoginSettings,
        prompter: &dyn Prompter,
    ) -> Result<Connection, SshError> {
        let known_hosts =
            KnownHosts::read(settings.known_hosts.as_deref()).map_err(SshError::KnownHosts)?;
        let link = Arc::new(Link::default());
        let (requests, request_queue) = async_mpsc::unbounded_channel();
        let (events, event_queue) = mpsc::channel();
        let opener = Opener {
            address: address.clone(),
            settings: settings.clone(),
            link: link.clone(),
            asker: Asker(events),
        };
        let thread = std::thread::Builder::new()
            .name("ssh".to_owned())
            .spawn(move || run_thread(&opener, known_hosts, request_queue))
            .map_err(SshError::Thread)?;
        for event in event_queue {
            match event {
                Event::Question(question) => question.answer_by(prompter),
                Event::Opened(opened) => {
                    return Ok(Connection {
                        requests,
                        thread: Some(thread),
                        link,
                        opened: opened?,
                    });
                }
            }
        }
        Err(link.loss().into())
    }

    /// Returns the fingerprint of the target's host key, `SHA256:...`. A later connection of the
    /// same run can demand it and then asks nobody.
    pub fn host_key_fingerprint(&self) -> &str {
        &self.opened.host_key_fingerprint
    }

    /// Returns whether the same settings log in again without anybody and anything else: by a key
    /// file without a passphrase, or by nothing at all.
    pub fn is_repeatable(&self) -> bool {
        self.opened.is_repeatable
    }

    /// Returns the shortest time that the target took to answer so far: a round trip and a little
    /// more.
    pub fn round_trip(&self) -> Duration {
        self.link.round_trip().unwrap_or_default()
    }

    /// Returns what is worth a line: the banner of the target, a host key that was recorded.
    pub fn notices(&self) -> Vec<String> {
        self.link.notices()
    }

    /// Starts a command by the login shell of the account, and does not wait until it runs: what
    /// the target says to it is said by the ends of the process.
    pub fn spawn(&self, command: &str) -> Result<Process, SshError> {
        let (started, is_started) = oneshot::channel();
        let request = Request::Start {
            command: command.to_owned(),
            started,
        };
        let lost = || SshError::Lost(self.link.loss());
        self.requests.send(request).map_err(|_| lost())?;
        is_started.blocking_recv().unwrap_or_else(|_| Err(lost()))
    }

    /// Numbers what goes to the process from here on (`ssh/stripes.rs`), and opens so many further
    /// channels to the socket that it listens on. To be called when nothing is on its way to it.
    pub fn widen(&self, process: &Process, socket: &str, channels: usize) {
        let shared = &process.end.shared;
        if let Some(pieces) = shared.pieces() {
            pieces.stripe();
        }
        for _ in 0..channels {
            let request = Request::Widen {
                shared: Arc::clone(shared),
                socket: socket.to_owned(),
            };
            // Nobody takes it when the connection is gone; the process knows.
            self.requests.send(request).unwrap_or_default();
        }
    }

    /// Runs a command to its end: sends all input, collects the output.
    ///
    /// A command that ends before it has read everything is no error. One that has not ended
    /// 60 s after its last input is.
    pub fn run(&self, command: &str, input: impl Read) -> Result<Output, SshError> {
        let Process {
            input: process_input,
            output,
            end,
        } = self.spawn(command)?;
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || read_capped(output));
            let exit = feed(process_input, input).and_then(|()| {
                let ended = end.wait(RUN_LIMIT);
                ended.map_err(|error| unended(&error, command))
            });
            // Ends the reader as well when the command did not come to its end.
            end.abort();
            let read = reader.join();
            let (stdout, is_cut) = read.unwrap_or_default();
            Ok(Output {
                exit: exit?,
                stdout,
                is_cut,
                stderr: end.stderr_tail(),
            })
        })
    }

    /// Says goodbye and waits, at most 2 s, until the connection is gone.
    pub fn close(mut self) {
        self.hang_up();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked is gone as well.
            thread.join().unwrap_or_default();
        }
    }

    fn hang_up(&self) {
        // The thread has ended already when nobody takes the request.
        self.requests.send(Request::Close).unwrap_or_default();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Sends everything; a command that no longer reads is no error.
fn feed(mut process_input: ProcessInput, mut input: impl Read) -> Result<(), SshError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SshError::Input(error)),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        if let Err(error) = process_input.write_all(piece) {
            return ended_early(&error);
        }
    }
    process_input.finish().or_else(|error| ended_early(&error))
}

/// Why the end of a command did not come.
fn unended(error: &io::Error, command: &str) -> SshError {
    match LinkLost::find(error) {
        Some(loss) => SshError::Lost(loss.clone()),
        None if CommandRefused::is(error) => {
            SshError::CommandRefused("no reason was given".to_owned())
        }
        None => SshError::Stuck {
            command: command.chars().take(60).collect(),
            seconds: RUN_LIMIT.as_secs(),
        },
    }
}

fn ended_early<E: From<LinkLost>>(error: &io::Error) -> Result<(), E> {
    match LinkLost::find(error) {
        Some(loss) => Err(loss.clone().into()),
        None => Ok(()),
    }
}

fn read_capped(mut output: ProcessOutput) -> (Vec<u8>, bool) {
    let mut stdout = Vec::new();
    // How the command ended is told by its end; what was read until then is kept.
    let kept = output
        .by_ref()
        .take(RUN_OUTPUT_BYTES)
        .read_to_end(&mut stdout);
    let rest = kept.and_then(|_| io::copy(&mut output, &mut io::sink()));
    (stdout, rest.is_ok_and(|count| count > 0))
}

/// The life of the thread of a connection.
fn run_thread(
    opener: &Opener,
    known_hosts: KnownHosts,
    requests: async_mpsc::UnboundedReceiver<Request>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let events = opener.asker.0.clone();
    // Nobody waits for the event when the opener's thread was torn down.
    let tell = |opened| events.send(Event::Opened(opened)).unwrap_or_default();
    match runtime {
        Err(error) => tell(Err(SshError::Thread(error))),
        Ok(runtime) => {
            runtime.block_on(async {
                match opener.open(known_hosts).await {
                    Err(error) => tell(Err(error)),
                    Ok((handle, opened)) => {
                        tell(Ok(opened));
                        serve(Arc::new(handle), &opener.link, requests).await;
                    }
                }
            });
            // A name lookup that hangs must not hold up the end.
            runtime.shutdown_background();
        }
    }
}

/// Serves requests until the connection is closed by this side.
async fn serve(
    handle: Arc<Handle<SessionHandler>>,
    link: &Arc<Link>,
    mut requests: async_mpsc::UnboundedReceiver<Request>,
) {
    loop {
        let (handle, link) = (handle.clone(), link.clone());
        match requests.recv().await {
            Some(Request::Start { command, started }) => {
                tokio::spawn(start_process(handle, link, command, started));
            }
            Some(Request::Widen { shared, socket }) => {
                tokio::spawn(widen(handle, link, (shared, socket)));
            }
            Some(Request::Close) | None => break,
        }
    }
    let goodbye = async {
        let said = handle
            .disconnect(Disconnect::ByApplication, "done", "en")
            .await;
        while said.is_ok() && !handle.is_closed() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // A link that is stuck is dropped without goodbye.
    timeout(CLOSE_LIMIT, goodbye).await.unwrap_or_default();
}
