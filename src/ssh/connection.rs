//! A connection to the target: opened, used and closed by blocking calls from any thread.
//!
//! The asynchronous library runs on one thread of its own per connection; nothing of it is seen
//! outside of `ssh`. Knows nothing of agents and of what the commands mean.

use std::borrow::Cow;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use russh::client::{self, DisconnectReason, Handle, Session};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{Disconnect, Preferred, cipher};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc as async_mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::auth::{Login, LoginSettings};
use super::channel::start_process;
use super::clean::clean_text;
use super::error::{LinkLost, SshError, describe};
use super::host_key::{Decision, HostKeyError, HostKeyPolicy, fingerprint};
use super::known_hosts::{KnownHosts, host_name};
use super::process::{Exit, Process};
use super::question::{Asker, Event};
use crate::prompter::Prompter;

/// How long one IP address may take to accept, and then to agree on keys.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long a goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long [`Connection::run`] waits for a command after all its input was sent.
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// How much of a command's output [`Connection::run`] keeps.
const RUN_OUTPUT_BYTES: u64 = 1 << 20;
/// How much a target may say before the login (RFC 4252, 5.4).
const BANNER_BYTES: usize = 8 * 1024;

/// What the thread tells its opener: the fingerprint of the host key, or why there is none.
type Opened = Result<String, SshError>;
pub(super) type OpenAsker = Asker<Opened>;

/// An open, logged-in connection. Dropping it closes it; processes on it then see a lost link.
#[derive(Debug)]
pub struct Connection {
    requests: async_mpsc::UnboundedSender<Request>,
    thread: Option<JoinHandle<()>>,
    link: Arc<Link>,
    host_key_fingerprint: String,
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
    Close,
}

/// What is known about the link, shared by everything that uses it.
#[derive(Debug, Default)]
pub(super) struct Link {
    cause: OnceLock<String>,
    notices: Mutex<Vec<String>>,
}

impl Link {
    /// Returns why the link is gone; to be asked once it is.
    pub fn loss(&self) -> LinkLost {
        let cause = self.cause.get().cloned();
        LinkLost {
            cause: cause.unwrap_or_else(|| "the connection is closed".to_owned()),
        }
    }

    fn add_notice(&self, notice: String) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.push(notice);
    }
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
            .spawn(move || opener.run(known_hosts, request_queue))
            .map_err(SshError::Thread)?;
        for event in event_queue {
            match event {
                Event::Question(question) => question.answer_by(prompter),
                Event::Opened(opened) => {
                    return Ok(Connection {
                        requests,
                        thread: Some(thread),
                        link,
                        host_key_fingerprint: opened?,
                    });
                }
            }
        }
        Err(link.loss().into())
    }

    /// Returns the fingerprint of the target's host key, `SHA256:...`. A later connection of the
    /// same run can demand it and then asks nobody.
    pub fn host_key_fingerprint(&self) -> &str {
        &self.host_key_fingerprint
    }

    /// Returns what is worth a line: the banner of the target, a host key that was recorded.
    pub fn notices(&self) -> Vec<String> {
        let notices = self.link.notices.lock();
        notices.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a command by the login shell of the account.
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
                end.wait(RUN_LIMIT).map_err(|error| {
                    LinkLost::find(&error).map_or_else(
                        || SshError::Stuck {
                            command: command.chars().take(60).collect(),
                            seconds: RUN_LIMIT.as_secs(),
                        },
                        |loss| SshError::Lost(loss.clone()),
                    )
                })
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
fn feed(
    mut process_input: super::process::ProcessInput,
    mut input: impl Read,
) -> Result<(), SshError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(SshError::Input(error)),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        if let Err(error) = io::Write::write_all(&mut process_input, piece) {
            return ended_early(&error);
        }
    }
    process_input.finish().or_else(|error| ended_early(&error))
}

fn ended_early<E: From<LinkLost>>(error: &io::Error) -> Result<(), E> {
    match LinkLost::find(error) {
        Some(loss) => Err(loss.clone().into()),
        None => Ok(()),
    }
}

fn read_capped(mut output: super::process::ProcessOutput) -> (Vec<u8>, bool) {
    let mut stdout = Vec::new();
    // How the command ended is told by its end; what was read until then is kept.
    let kept = output
        .by_ref()
        .take(RUN_OUTPUT_BYTES)
        .read_to_end(&mut stdout);
    let rest = kept.and_then(|_| io::copy(&mut output, &mut io::sink()));
    (stdout, rest.is_ok_and(|count| count > 0))
}

/// Everything that the thread of a connection needs to open it.
struct Opener {
    address: Address,
    settings: LoginSettings,
    link: Arc<Link>,
    asker: OpenAsker,
}

impl Opener {
    fn run(self, known_hosts: KnownHosts, requests: async_mpsc::UnboundedReceiver<Request>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let events = self.asker.0.clone();
        // Nobody waits for the event when the opener's thread was torn down.
        let tell = |opened| events.send(Event::Opened(opened)).unwrap_or_default();
        match runtime {
            Err(error) => tell(Err(SshError::Thread(error))),
            Ok(runtime) => {
                runtime.block_on(async {
                    match self.open(known_hosts).await {
                        Err(error) => tell(Err(error)),
                        Ok((handle, fingerprint)) => {
                            tell(Ok(fingerprint));
                            serve(Arc::new(handle), &self.link, requests).await;
                        }
                    }
                });
                // A name lookup that hangs must not hold up the end.
                runtime.shutdown_background();
            }
        }
    }

    async fn open(
        &self,
        known_hosts: KnownHosts,
    ) -> Result<(Handle<SessionHandler>, String), SshError> {
        let stream = self.connect().await?;
        let config = Arc::new(session_config(
            &known_hosts.key_types(&self.address.host, self.address.port()),
        ));
        let fingerprint = Arc::new(OnceLock::new());
        let handler = SessionHandler {
            policy: HostKeyPolicy {
                known_hosts,
                host: self.address.host.clone(),
                port: self.address.port(),
                demanded_fingerprint: self.settings.host_key_fingerprint.clone(),
                accept_new: self.settings.accept_new_host_key,
            },
            asker: self.asker.clone(),
            link: self.link.clone(),
            fingerprint: fingerprint.clone(),
        };
        let handshake = client::connect_stream(config, stream, handler);
        // A person may think about the host key for as long as the target waits.
        let silence = async {
            sleep(CONNECT_LIMIT).await;
            if fingerprint.get().is_some() {
                std::future::pending::<()>().await;
            }
        };
        let no_handshake = |cause| SshError::Handshake {
            address: self.address.to_string(),
            cause,
        };
        let mut handle = tokio::select! {
            result = handshake => match result {
                Ok(handle) => handle,
                Err(SessionError::HostKey(error)) => return Err(error.into()),
                Err(SessionError::Ssh(error)) => return Err(no_handshake(describe(&error))),
            },
            () = silence => {
                return Err(no_handshake("nothing was heard for 15 s".to_owned()));
            }
        };
        Login::new(
            &mut handle,
            self.address.user(),
            &self.settings,
            &self.asker,
        )
        .run()
        .await?;
        let fingerprint = fingerprint.get().cloned().unwrap_or_default();
        Ok((handle, fingerprint))
    }

    /// Tries every IP address in the order of the resolver.
    async fn connect(&self) -> Result<TcpStream, SshError> {
        let host = &self.address.host;
        let found = lookup_host((host.as_str(), self.address.port())).await;
        let addresses: Vec<SocketAddr> = match found {
            Ok(addresses) => addresses.collect(),
            Err(cause) => {
                return Err(SshError::Resolve {
                    host: host.clone(),
                    cause,
                });
            }
        };
        let mut causes = Vec::new();
        for address in addresses {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it the last packet of a message waits for an acknowledgement;
                    // a stream that refuses works all the same.
                    stream.set_nodelay(true).unwrap_or_default();
                    return Ok(stream);
                }
                Ok(Err(cause)) => causes.push((address, cause)),
                Err(_elapsed) => causes.push((address, io::ErrorKind::TimedOut.into())),
            }
        }
        Err(SshError::Connect {
            address: self.address.to_string(),
            causes,
        })
    }
}

/// Serves requests until the connection is closed by this side.
async fn serve(
    handle: Arc<Handle<SessionHandler>>,
    link: &Arc<Link>,
    mut requests: async_mpsc::UnboundedReceiver<Request>,
) {
    while let Some(Request::Start { command, started }) = requests.recv().await {
        tokio::spawn(start_process(
            handle.clone(),
            link.clone(),
            command,
            started,
        ));
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

/// The settings that were measured best (docs/decisions: AES-GCM costs half of chacha20 and a
/// quarter of CTR; a window of 16 MiB carries 600 MB/s at 10 ms, 2 MiB only 100).
fn session_config(known_types: &[Algorithm]) -> client::Config {
    client::Config {
        window_size: 16 << 20,
        maximum_packet_size: 65535,
        channel_buffer_size: 256,
        nodelay: true,
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 4,
        // Only this guards a write that the socket does not take.
        inactivity_timeout: Some(Duration::from_secs(120)),
        preferred: Preferred {
            key: Cow::Owned(order_key_types(known_types)),
            cipher: Cow::Borrowed(&[
                cipher::AES_256_GCM,
                cipher::AES_128_GCM,
                cipher::CHACHA20_POLY1305,
                cipher::AES_256_CTR,
                cipher::AES_192_CTR,
                cipher::AES_128_CTR,
            ]),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// Puts the types of known host keys first, as OpenSSH does, so that a target with several keys
/// presents the one that can be checked.
fn order_key_types(known: &[Algorithm]) -> Vec<Algorithm> {
    let is_known = |algorithm: &Algorithm| match algorithm {
        Algorithm::Rsa { .. } => known
            .iter()
            .any(|known| matches!(known, Algorithm::Rsa { .. })),
        other => known.contains(other),
    };
    let (mut first, rest): (Vec<Algorithm>, Vec<Algorithm>) = Preferred::DEFAULT
        .key
        .iter()
        // Signatures by SHA-1 can be forged.
        .filter(|algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None }))
        .cloned()
        .partition(is_known);
    first.extend(rest);
    first
}

/// Why the session ended, before or after the host key was checked.
#[derive(Debug)]
pub(super) enum SessionError {
    Ssh(russh::Error),
    HostKey(HostKeyError),
}

impl From<russh::Error> for SessionError {
    fn from(error: russh::Error) -> Self {
        SessionError::Ssh(error)
    }
}

/// Hears what the library reports about the session.
pub(super) struct SessionHandler {
    policy: HostKeyPolicy,
    asker: OpenAsker,
    link: Arc<Link>,
    fingerprint: Arc<OnceLock<String>>,
}

impl client::Handler for SessionHandler {
    type Error = SessionError;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, SessionError> {
        let key = presented.public_key();
        self.fingerprint.get_or_init(|| fingerprint(&key));
        let record = match self.policy.decide(&key) {
            Decision::Trust => false,
            Decision::TrustAndRecord => true,
            Decision::Refuse(error) => return Err(SessionError::HostKey(error)),
            Decision::Ask(text, error) => match self.asker.confirm(text).await {
                Some(true) => true,
                None => return Err(SessionError::HostKey(error)),
                Some(false) => {
                    return Err(SessionError::HostKey(HostKeyError::NotAccepted {
                        name: host_name(&self.policy.host, self.policy.port),
                        fingerprint: fingerprint(&key),
                    }));
                }
            },
        };
        if record {
            let HostKeyPolicy {
                known_hosts,
                host,
                port,
                ..
            } = &self.policy;
            let name = host_name(host, *port);
            self.link
                .add_notice(match known_hosts.record(host, *port, &key) {
                    Ok(()) => format!("the host key of the target {name} is remembered"),
                    Err(error) => {
                        format!("the host key of the target {name} cannot be remembered: {error}")
                    }
                });
        }
        Ok(true)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), SessionError> {
        let bytes = banner.as_bytes();
        let text = clean_text(bytes.get(..BANNER_BYTES).unwrap_or(bytes));
        if !text.is_empty() {
            self.link.add_notice(text);
        }
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<SessionError>,
    ) -> Result<(), SessionError> {
        let cause = match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                let message = clean_text(info.message.as_bytes());
                format!("the target hung up: {message}")
            }
            DisconnectReason::Error(SessionError::Ssh(error)) => describe(&error),
            DisconnectReason::Error(SessionError::HostKey(error)) => error.to_string(),
        };
        self.link.cause.get_or_init(|| cause);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_key_types_come_first_and_sha1_never() {
        let ordered = order_key_types(&[Algorithm::Rsa { hash: None }]);
        let sha512 = Some(russh::keys::HashAlg::Sha512);
        assert_eq!(ordered.first(), Some(&Algorithm::Rsa { hash: sha512 }));
        assert!(!ordered.contains(&Algorithm::Rsa { hash: None }));
        assert_eq!(order_key_types(&[]).first(), Some(&Algorithm::Ed25519));
    }
}
