//! How the agent is reached: in this process, or on another machine over SSH. A session is one
//! link to one agent; when it breaks, another is opened with the same access. Knows nothing of
//! what is transferred.

use std::io;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::agent;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{Event, Monitor, Stage};
use crate::prompter::{NobodyThere, Prompter};
use crate::ssh::deploy::{self, AGENT_PARENTS, AgentImage, AgentProcess, TargetFacts};
use crate::ssh::{Address, Connection, LoginSettings, ProcessEnd, RunKey};
use crate::transfer::TransferError;
use crate::transfer::wire::handshake::{BUILD, MAGIC};
use crate::transfer::wire::link::{LONGEST_SILENCE, Link, LinkSettings};
use crate::transfer::wire::message::{Digest, Down, KeyRequest, Up};

/// How long the agent may take to answer to a goodbye.
const PARTING: Duration = Duration::from_secs(10);
/// LIMIT: how long a run that was stopped waits for the agent to tidy up and to take the key
/// out. On a link that stands still that is in vain: the agent does both when it notices.
const STOPPING: Duration = Duration::from_secs(5);

/// An open session.
pub struct Session {
    /// For the transfer.
    pub link: Link,
    end: End,
}

enum End {
    InProcess(JoinHandle<()>),
    Machine {
        connection: Connection,
        process: ProcessEnd,
    },
}

impl Session {
    /// Starts an agent in this process.
    pub fn in_process(settings: LinkSettings) -> Result<Session, Failure> {
        let failed = |error: io::Error| Failure::new(ExitCode::Failed, "a pipe").because(&error);
        let (there_reader, here) = roomy_pipe().map_err(failed)?;
        let (here_reader, there) = roomy_pipe().map_err(failed)?;
        let agent = std::thread::spawn(move || {
            // Its failure reaches us as a message or as the end of the stream.
            drop(agent::serve(there_reader, there, None));
        });
        Ok(Session {
            link: Link::start(here_reader, here, settings),
            end: End::InProcess(agent),
        })
    }

    fn host_key_fingerprint(&self) -> String {
        match &self.end {
            End::InProcess(_) => String::new(),
            End::Machine { connection, .. } => connection.host_key_fingerprint().to_owned(),
        }
    }

    /// Tells the agent that the transfer is over, without what waits to be sent. What is said
    /// after this, and its answers, take 5 s at most.
    pub fn part(&mut self, why: &str) {
        self.link.part(STOPPING);
        // An agent that cannot be told notices by itself.
        let last_word = self.link.out.send(&Down::Failed(why.to_owned()));
        last_word.unwrap_or(());
    }

    /// Ends the session; everything that was sent leaves before, as far as the link lets it.
    pub fn close(self) {
        let Session { link, end } = self;
        match end {
            End::InProcess(agent) => {
                link.close();
                // A panic there was printed and has ended the stream.
                drop(agent.join());
            }
            End::Machine {
                connection,
                process,
            } => {
                let limit = link.time_left().unwrap_or(PARTING);
                // The writer ends when it has written everything, and with it the agent's input.
                drop(link);
                match process.wait(limit) {
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => process.abort(),
                    // It has ended, or the link is gone.
                    _ => connection.close(),
                }
            }
        }
    }
}

/// A pipe that takes a whole frame at once.
fn roomy_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // LIMIT: /proc/sys/fs/pipe-max-size. A smaller pipe is only slower.
    rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap_or_default();
    Ok((reader, writer))
}

/// What it takes to reach the agent on another machine, again and again.
pub struct Access<'a> {
    address: Address,
    login: LoginSettings,
    prompter: &'a dyn Prompter,
    monitor: &'a dyn Monitor,
    link: LinkSettings,
    /// Our own file, which becomes the agent.
    binary: Vec<u8>,
    digest: Digest,
    pair: String,
    key: Option<InstalledKey>,
    /// What the link carried while the agent was sent, in bytes a second.
    pub upload_bytes_per_second: Option<u64>,
}

/// The run's key and the request that removes it.
struct InstalledKey {
    key: RunKey,
    request: KeyRequest,
}

impl<'a> Access<'a> {
    /// Prepares: reads our own file and names the pair of source and target.
    pub fn new(
        address: Address,
        login: LoginSettings,
        target_dir: &Path,
        link: LinkSettings,
        (prompter, monitor): (&'a dyn Prompter, &'a dyn Monitor),
    ) -> Result<Access<'a>, Failure> {
        let binary = std::fs::read("/proc/self/exe").map_err(|error| {
            Failure::new(ExitCode::Failed, "source: our own program file").because(&error)
        })?;
        let digest = *blake3::hash(&binary).as_bytes();
        let pair = pair_name(&address, target_dir);
        Ok(Access {
            address,
            login,
            prompter,
            monitor,
            link,
            binary,
            digest,
            pair,
            key: None,
            upload_bytes_per_second: None,
        })
    }

    /// Connects, sends the agent, starts it and installs the run's key.
    pub fn open(&mut self) -> Result<Session, Failure> {
        self.monitor.event(Event::StageStarted(Stage::Connect));
        let connection = self.connect()?;
        self.monitor.event(Event::StageStarted(Stage::Agent));
        let AgentProcess {
            process,
            target,
            upload_bytes_per_second,
            ..
        } = self.start_agent(&connection)?;
        self.upload_bytes_per_second = Some(upload_bytes_per_second);
        let mut output = process.output;
        output.set_silence_limit(Some(LONGEST_SILENCE));
        let link = Link::start(output, process.input, self.link);
        let session = Session {
            link,
            end: End::Machine {
                connection,
                process: process.end,
            },
        };
        self.greet(&session)?;
        self.install_key(&session, &target);
        Ok(session)
    }

    fn connect(&mut self) -> Result<Connection, Failure> {
        let nobody = NobodyThere;
        let prompter = if self.can_reopen() {
            &nobody
        } else {
            self.prompter
        };
        let connection = Connection::open(&self.address, &self.login, prompter)
            .map_err(|error| Failure::of(ExitCode::Link, &error).maybe_hint(error.hint()))?;
        for notice in connection.notices() {
            self.monitor.event(Event::Notice(notice));
        }
        Ok(connection)
    }

    fn start_agent(&self, connection: &Connection) -> Result<AgentProcess, Failure> {
        let image = AgentImage {
            binary: &self.binary,
            id: &self.pair,
            arguments: &[],
            magic: MAGIC,
            parents: &AGENT_PARENTS,
        };
        deploy::start_agent(connection, &image)
            .map_err(|error| Failure::of(ExitCode::Link, &error).maybe_hint(error.hint()))
    }

    /// Makes sure that the agent is this build, to the byte. WIRE[hello]
    fn greet(&self, session: &Session) -> Result<(), Failure> {
        let frame = session
            .link
            .next()
            .map_err(|error| Failure::of(ExitCode::Link, &TransferError::from(error)))?;
        match frame.message() {
            Ok(Up::Hello { build, binary }) if build == BUILD && binary == self.digest => Ok(()),
            _ => Err(Failure::new(
                ExitCode::Link,
                "target: the agent is not the program that was sent",
            )
            .hint("check the disk and the memory of the target, then run the command again")),
        }
    }

    /// Installs a fresh key, so that a lost link asks for no password. Going without it is worth
    /// a notice, not the run. WIRE[key]
    fn install_key(&mut self, session: &Session, target: &TargetFacts) {
        let key = self
            .key
            .take()
            .map_or_else(RunKey::generate, |installed| installed.key);
        let request = KeyRequest {
            home: target.home.clone().into_bytes(),
            uid: target.uid,
            key: Some(key.public_line("").trim().to_owned()),
            pair: self.pair.clone(),
            nonce: nonce(),
        };
        match ask_for_key(session, &request) {
            Ok(()) => {
                self.login.run_key = Some(key.clone());
                self.login
                    .host_key_fingerprint
                    .get_or_insert_with(|| session.host_key_fingerprint());
            }
            Err(why) => {
                let text = format!(
                    "target: the run's key is not installed, a lost link will end the run: {why}"
                );
                self.monitor.event(Event::Notice(text));
            }
        }
        self.key = Some(InstalledKey {
            key,
            request: KeyRequest {
                key: None,
                ..request
            },
        });
    }

    /// Takes the run's key out of the target again.
    pub fn remove_key(&mut self, session: &Session) {
        let Some(installed) = self.key.take() else {
            return;
        };
        if self.login.run_key.take().is_none() {
            return;
        }
        if let Err(why) = ask_for_key(session, &installed.request) {
            let text = format!("target: the run's key is still in authorized_keys: {why}");
            self.monitor.event(Event::Notice(text));
        }
    }

    /// Tells whether the link can be opened again without asking anybody.
    pub fn can_reopen(&self) -> bool {
        self.login.run_key.is_some()
    }
}

/// Sends a key request and waits for its answer. What was on its way already is let go by.
fn ask_for_key(session: &Session, request: &KeyRequest) -> Result<(), String> {
    let lost = |error: TransferError| Failure::of(ExitCode::Link, &error).to_string();
    session
        .link
        .out
        .send(&Down::Key(request.clone()))
        .map_err(|error| lost(error.into()))?;
    loop {
        let answer = session.link.next().and_then(|frame| frame.message());
        if let Up::KeyDone(done) = answer.map_err(|error| lost(error.into()))? {
            return done;
        }
    }
}

/// Names the pair of source and target directory, the same in every run.
fn pair_name(address: &Address, target_dir: &Path) -> String {
    let mut state = blake3::Hasher::new();
    let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
    let node = rustix::system::uname();
    for part in [
        &machine,
        node.nodename().to_bytes(),
        address.to_string().as_bytes(),
    ] {
        state.update(part).update(&[0]);
    }
    state.update(target_dir.as_os_str().as_encoded_bytes());
    state
        .finalize()
        .to_hex()
        .as_str()
        .get(..16)
        .unwrap_or_default()
        .to_owned()
}

/// Names one session.
fn nonce() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", now.as_micros(), std::process::id())
}
