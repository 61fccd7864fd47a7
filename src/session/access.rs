//! What it takes to reach the agent on another machine, again and again: log in, send it, start
//! it, make sure that it is this build. Knows nothing of what is asked of it.

use std::path::Path;
use std::time::Duration;

use super::key::InstalledKey;
use super::{End, Session};
use crate::agent::{MOST_CHANNELS, SOCKET_NAME};
use crate::authorized_keys::mark_of;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{Event, Monitor, Stage};
use crate::prompter::{NobodyThere, Prompter};
use crate::settings::{self, HostKeyPolicy};
use crate::ssh::deploy::{self, AGENT_PARENTS, AgentImage, AgentProcess, DeployError};
use crate::ssh::{Address, AddressError, Connection, LoginSettings, SshError, fingerprints};
use crate::transfer::TransferError;
use crate::transfer::wire::handshake::{BUILD, MAGIC};
use crate::transfer::wire::link::{LONGEST_SILENCE, Link, LinkSettings};
use crate::transfer::wire::message::{Digest, Up};

/// LIMIT: bytes that OpenSSH grants a channel; others grant less.
const CHANNEL_WINDOW: u64 = 2 << 20;

/// What it takes to reach the agent on another machine, again and again.
pub struct Access<'a> {
    address: Address,
    pub(super) login: LoginSettings,
    prompter: &'a dyn Prompter,
    pub(super) monitor: &'a dyn Monitor,
    link: LinkSettings,
    /// Our own file, which becomes the agent.
    binary: Vec<u8>,
    digest: Digest,
    pub(super) pair: String,
    pub(super) key: Option<InstalledKey>,
    /// Whether the login that was accepted needs nobody the next time.
    is_repeatable: bool,
    /// What the link carried while the agent was sent, in bytes a second; `None` where it had not to
    /// be sent.
    pub upload_bytes_per_second: Option<u64>,
}

/// Why the agent was not reached.
#[derive(Debug)]
pub struct Unreached {
    /// What failed.
    pub failure: Failure,
    /// Whether the machine answered, with the right host key, and let nobody in, or not as root.
    pub is_login_refused: bool,
}

impl From<Failure> for Unreached {
    fn from(failure: Failure) -> Unreached {
        Unreached {
            failure,
            is_login_refused: false,
        }
    }
}

impl From<Unreached> for Failure {
    fn from(unreached: Unreached) -> Failure {
        unreached.failure
    }
}

impl<'a> Access<'a> {
    /// Prepares: reads our own file and names the pair of source and target.
    pub fn new(
        address: &str,
        login: &settings::LoginSettings,
        target_dir: &Path,
        link: LinkSettings,
        (prompter, monitor): (&'a dyn Prompter, &'a dyn Monitor),
    ) -> Result<Access<'a>, Failure> {
        let address = resolve_address(address, login)?;
        let binary = std::fs::read("/proc/self/exe").map_err(|error| {
            Failure::new(ExitCode::Failed, "source: our own program file").because(&error)
        })?;
        let digest = *blake3::hash(&binary).as_bytes();
        let pair = pair_name(&address, target_dir);
        Ok(Access {
            address,
            login: ssh_login(login),
            prompter,
            monitor,
            link,
            binary,
            digest,
            pair,
            key: None,
            is_repeatable: false,
            upload_bytes_per_second: None,
        })
    }

    /// Connects, sends the agent and starts it. Nothing on a disk of the target changes.
    pub fn open(&mut self) -> Result<Session, Unreached> {
        self.monitor.event(Event::StageStarted(Stage::Connect));
        let connection = self.connect()?;
        for notice in connection.notices() {
            self.monitor.event(Event::Notice(notice));
        }
        self.monitor.event(Event::StageStarted(Stage::Agent));
        self.start(connection)
    }

    /// Does the same without a word, for a target that may not be up.
    pub fn try_open(&mut self) -> Result<Session, Unreached> {
        let connection = self.connect()?;
        self.start(connection)
    }

    /// Returns the port that it connects to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connects to this port from now on.
    pub fn set_port(&mut self, port: u16) {
        self.address.port = Some(port);
    }

    /// Connects to one of these ports from now on, if there are any and it does not already.
    pub fn expect_port(&mut self, ports: &[u16]) {
        if let Some(first) = ports.first()
            && !ports.contains(&self.port())
        {
            self.set_port(*first);
        }
    }

    fn start(&mut self, connection: Connection) -> Result<Session, Unreached> {
        let AgentProcess {
            process,
            target,
            upload_bytes_per_second,
            is_far,
            ..
        } = self.start_agent(&connection)?;
        self.upload_bytes_per_second = upload_bytes_per_second.or(self.upload_bytes_per_second);
        let mut settings = self.link;
        if is_far {
            settings.ceiling = Some(most_carried(connection.round_trip()));
            let socket = format!("{}/{SOCKET_NAME}", target.place);
            connection.widen(&process, &socket, MOST_CHANNELS);
        }
        let mut output = process.output;
        output.set_silence_limit(Some(LONGEST_SILENCE));
        let link = Link::start(output, process.input, settings);
        let session = Session {
            link,
            end: End::Machine {
                connection,
                process: process.end,
                target,
            },
        };
        self.greet(&session)?;
        Ok(session)
    }

    /// Trusts the host keys of this machine, too: the target has them from its next boot on.
    pub fn expect_own_host_keys(&mut self) {
        let files = std::fs::read_dir("/etc/ssh")
            .into_iter()
            .flatten()
            .flatten();
        let is_host_key = |name: &str| name.starts_with("ssh_host_") && name.ends_with("_key.pub");
        let files = files.filter(|file| file.file_name().to_str().is_some_and(is_host_key));
        let texts: Vec<String> = files
            .filter_map(|file| std::fs::read_to_string(file.path()).ok())
            .collect();
        self.login.given_host_keys = fingerprints(&texts);
    }

    /// Connects and logs in. From then on only a machine with the same host key will do.
    fn connect(&mut self) -> Result<Connection, Unreached> {
        let nobody = NobodyThere;
        let prompter = if self.can_reopen() {
            &nobody
        } else {
            self.prompter
        };
        let opened = Connection::open(&self.address, &self.login, prompter);
        let connection = opened.map_err(|error| Unreached {
            failure: Failure::of(ExitCode::Link, &error).maybe_hint(error.hint()),
            is_login_refused: matches!(error, SshError::Login { .. } | SshError::LoginEnded { .. }),
        })?;
        self.is_repeatable = connection.is_repeatable();
        self.login
            .host_key_fingerprint
            .get_or_insert_with(|| connection.host_key_fingerprint().to_owned());
        Ok(connection)
    }

    fn start_agent(&self, connection: &Connection) -> Result<AgentProcess, Unreached> {
        let image = AgentImage {
            binary: &self.binary,
            id: &self.pair,
            key_mark: &mark_of(&self.pair),
            arguments: &[],
            far_arguments: &["--channels"],
            magic: MAGIC,
            parents: &AGENT_PARENTS,
        };
        deploy::start_agent(connection, &image).map_err(|error| {
            // What no later attempt can change is a reason against the clone, not a fault.
            let exit = match error {
                DeployError::NotLinux(_)
                | DeployError::WrongMachine { .. }
                | DeployError::NotRoot { .. } => ExitCode::Refused,
                _ => ExitCode::Link,
            };
            Unreached {
                failure: Failure::of(exit, &error).maybe_hint(error.hint()),
                is_login_refused: matches!(error, DeployError::NotRoot { .. }),
            }
        })
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

    /// Returns the name of the pair of source and target in the line of the run's key.
    pub fn pair(&self) -> &str {
        &self.pair
    }

    /// Tells whether the link can be opened again without asking anybody.
    pub fn can_reopen(&self) -> bool {
        self.login.run_key.is_some() || self.is_repeatable
    }
}

/// Returns how many bytes a second all channels to a far target carry at most: their windows once
/// in each round trip.
fn most_carried(round_trip: Duration) -> u64 {
    let windows = CHANNEL_WINDOW * (MOST_CHANNELS as u64 + 1);
    (windows as f64 / round_trip.as_secs_f64().max(1e-3)) as u64
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

fn resolve_address(text: &str, login: &settings::LoginSettings) -> Result<Address, Failure> {
    let mut address: Address = text
        .parse()
        .map_err(|error: AddressError| Failure::of(ExitCode::Usage, &error))?;
    address
        .user
        .get_or_insert_with(|| login.default_user.clone());
    Ok(address)
}

fn ssh_login(login: &settings::LoginSettings) -> LoginSettings {
    let (accept_new_host_key, host_key_fingerprint) = match &login.unknown_host_key {
        HostKeyPolicy::Ask => (false, None),
        HostKeyPolicy::AcceptNew => (true, None),
        HostKeyPolicy::Fingerprint(fingerprint) => (false, Some(fingerprint.clone())),
    };
    LoginSettings {
        identity_files: login.identities.clone(),
        password: login
            .password
            .as_ref()
            .map(|password| password.reveal().clone()),
        known_hosts: login.known_hosts.clone(),
        accept_new_host_key,
        host_key_fingerprint,
        given_host_keys: Vec::new(),
        run_key: None,
    }
}
