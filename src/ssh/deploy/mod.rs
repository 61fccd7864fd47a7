//! Brings the agent to the target and starts it: look, upload, start, skip the noise.
//!
//! Needs nothing on the target but sshd, a POSIX shell and the basic tools. Knows nothing of
//! what the agent says after its magic word.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use super::clean::clean_text;
use super::connection::Connection;
use super::error::{LinkLost, SshError};
use super::process::{Process, ProcessEnd};

mod probe;
mod upload;

use probe::Shell;
pub use probe::TargetFacts;
use upload::Parcel;

/// How long the target may be silent while the upload or the start of the agent is awaited.
const START_LIMIT: Duration = Duration::from_secs(60);
/// From which round trip on the window of a channel (2 MiB with OpenSSH) is what limits it, and
/// packing pays: 20 ms leave 100 MB/s.
pub const FAR: Duration = Duration::from_millis(20);
/// How much a login shell may print before the program that was asked for says something.
pub const NOISE_BYTES: usize = 64 * 1024;
/// The directories that are tried for the agent, in this order, before the home directory. The
/// first two are memory: nothing of the agent ever touches a disk of the target.
pub const AGENT_PARENTS: [&str; 4] = ["/run", "/dev/shm", "/tmp", "/var/tmp"];

/// What is brought to the target.
#[derive(Clone, Copy, Debug)]
pub struct AgentImage<'a> {
    /// The program.
    pub binary: &'a [u8],
    /// Names the private directory; the same for every run of one source and target, so that a
    /// run replaces what a cut one left. Letters, digits, `_` and `-`.
    pub id: &'a str,
    /// What a line of `authorized_keys` has that a run of the same source and target has put there.
    /// Letters, digits, `_`, `-` and `:`.
    pub key_mark: &'a str,
    /// What follows `agent` on the command line. No secrets: every user of the target sees it.
    pub arguments: &'a [&'a str],
    /// What follows these where the target is far ([`FAR`]).
    pub far_arguments: &'a [&'a str],
    /// What the agent prints before anything else.
    pub magic: &'a [u8],
    /// The directories to try before the home directory: [`AGENT_PARENTS`].
    pub parents: &'a [&'a str],
}

impl AgentImage<'_> {
    /// What follows `agent` on the command line, quoted.
    fn command_line(&self, is_far: bool) -> Result<String, DeployError> {
        let far_arguments = if is_far { self.far_arguments } else { &[] };
        let arguments = self.arguments.iter().chain(far_arguments);
        let quoted: Result<Vec<String>, _> = arguments.map(|word| quote(word)).collect();
        Ok(quoted?.join(" "))
    }
}

/// The agent runs, and has said its magic word.
#[derive(Debug)]
pub struct AgentProcess {
    /// Its streams; what follows the magic word is still to be read.
    pub process: Process,
    /// What the target is.
    pub target: TargetFacts,
    /// What the upload carried, in bytes a second; `None` where the program was there already.
    pub upload_bytes_per_second: Option<u64>,
    /// Whether it was started with the arguments for a far target.
    pub is_far: bool,
    /// What the login shell printed, fit for the screen.
    pub noise: String,
}

/// Why no agent runs on the target.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The connection failed.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The account has no shell that runs commands.
    #[error(
        "the login shell of the target does not run commands{}",
        after_colon(words)
    )]
    NoShell {
        /// What came instead.
        words: String,
    },
    /// Basic tools are missing.
    #[error("the target lacks the programs {0}")]
    MissingTools(String),
    /// Another operating system.
    #[error("the target runs {0}, not Linux")]
    NotLinux(String),
    /// Another processor.
    #[error("the target is a {target} machine, this program is for {ours}")]
    WrongMachine {
        /// What `uname -m` says there.
        target: String,
        /// What this program was built for.
        ours: String,
    },
    /// The account is not root and cannot become it.
    #[error("the account {user} on the target is not root and has no passwordless sudo")]
    NotRoot {
        /// Who logged in.
        user: String,
    },
    /// No directory can hold a program and run it.
    #[error("no directory of the target can hold and run the agent ({})", tried.join("; "))]
    NoPlace {
        /// Each directory, and what is wrong with it.
        tried: Vec<String>,
    },
    /// There would be a place, but it is full.
    #[error("no room for the agent on the target ({})", tried.join("; "))]
    NoRoom {
        /// Each directory, and what is wrong with it.
        tried: Vec<String>,
    },
    /// The upload failed or came out wrong.
    #[error("the agent cannot be written to {place} on the target: {cause}")]
    Upload {
        /// The directory.
        place: String,
        /// What went wrong.
        cause: String,
    },
    /// It was started, but did not say its magic word.
    #[error(
        "the agent did not start on the target ({ending}){}",
        after_colon(words)
    )]
    NotStarted {
        /// How it ended: "exit status 127".
        ending: String,
        /// Its last words.
        words: String,
    },
    /// The id or an argument cannot be quoted for every shell.
    #[error("{0:?} cannot be passed through every login shell")]
    Unquotable(String),
}

impl DeployError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            DeployError::Ssh(error) => return error.hint(),
            DeployError::NoShell { .. } => {
                "the account needs a shell: not nologin, not sftp-only, no forced command"
            }
            DeployError::MissingTools(_) => {
                "install them on the target (coreutils or busybox have them all)"
            }
            DeployError::NotLinux(_) => "only Linux can be a target",
            DeployError::WrongMachine { .. } => {
                "source and target must have the same processor architecture"
            }
            DeployError::NotRoot { .. } => {
                "log in as root, or allow the account `NOPASSWD: ALL` in sudoers"
            }
            DeployError::NoPlace { .. } => {
                "make one of them writable and mount it without noexec while this runs"
            }
            DeployError::NoRoom { .. } => "make room in one of them",
            DeployError::Upload { .. } => "see whether the file system there has room",
            DeployError::NotStarted { .. } => {
                "if it said anything, that is above; SELinux or a mount with noexec may forbid programs there"
            }
            DeployError::Unquotable(_) => return None,
        };
        Some(text.to_owned())
    }
}

/// Looks at the target, uploads the agent, starts it and reads up to its magic word. Where the same
/// program is installed on the target, that is copied there and nothing is uploaded.
///
/// One shell does it all, because each program that is started costs two round trips. When
/// anything fails, its directory is removed again, as far as the link still carries that. Once it
/// runs, removing its directory is the agent's own business.
pub fn start_agent(
    connection: &Connection,
    image: &AgentImage<'_>,
) -> Result<AgentProcess, DeployError> {
    let is_vain = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let summing = scope.spawn(|| upload::sum_up(image.binary));
        let process = connection.spawn("exec sh -s")?;
        let seems_far = connection.round_trip() >= FAR;
        // Made while the target looks for a place.
        let packing = seems_far.then(|| scope.spawn(|| upload::pack(image.binary, &is_vain)));
        let expected = joined(summing);
        let shell = probe::look(process, image, &expected, seems_far)?;
        let is_far = match shell.is_agent {
            true => seems_far,
            false => connection.round_trip() >= FAR,
        };
        let parcel = (!shell.is_agent).then(|| {
            let packing = packing.filter(|_| is_far && shell.target.has_gzip);
            let packed = packing.map(joined);
            Parcel { expected, packed }
        });
        // Ends the packing that nobody waits for.
        is_vain.store(true, Ordering::Relaxed);
        let end = shell.process.end.clone();
        let target = shell.target.clone();
        start(shell, image, (parcel, is_far)).inspect_err(|_| {
            end.abort();
            let remove = format!("exec rm -rf {}", target.place);
            // The first error is the one to tell.
            let removed = connection.run(&remove, io::empty());
            removed.map(drop).unwrap_or_default();
        })
    })
}

/// Has the shell take the parcel and start it, unless it is the agent already, and reads up to the
/// magic word.
fn start(
    shell: Shell,
    image: &AgentImage<'_>,
    (parcel, is_far): (Option<Parcel>, bool),
) -> Result<AgentProcess, DeployError> {
    let Shell {
        process,
        target,
        mut noise,
        ..
    } = shell;
    let (process, upload_bytes_per_second) = match parcel {
        None => (process, None),
        Some(parcel) => {
            let (process, rate) = upload::send(process, image, (&target, parcel, is_far))?;
            (process, Some(rate))
        }
    };
    let (process, more) = await_magic(process, image)?;
    noise.extend(more);
    Ok(AgentProcess {
        process,
        target,
        upload_bytes_per_second,
        is_far,
        noise: clean_text(&noise),
    })
}

/// Returns what a thread made; its panic goes on here.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn await_magic(
    mut process: Process,
    image: &AgentImage<'_>,
) -> Result<(Process, Vec<u8>), DeployError> {
    match skip_noise(&mut process.output, image.magic, NOISE_BYTES) {
        Ok(noise) => {
            process.output.set_silence_limit(None);
            Ok((process, noise))
        }
        Err(error) => {
            if let Some(loss) = error.loss() {
                return Err(SshError::Lost(loss.clone()).into());
            }
            let words = match (process.end.stderr_tail(), error.noise()) {
                (words, _) if !words.is_empty() => words,
                (_, noise) => clean_text(noise),
            };
            let ending = ending(&process.end, &error);
            process.end.abort();
            Err(DeployError::NotStarted { ending, words })
        }
    }
}

/// Says how a process ended that did not say what it should.
fn ending(end: &ProcessEnd, error: &NoiseError) -> String {
    match error {
        NoiseError::Ended(_) => match end.wait(Duration::from_secs(5)) {
            Ok(exit) => exit.to_string(),
            Err(_) => "its output ended".to_owned(),
        },
        other => other.to_string(),
    }
}

fn why_not(end: &ProcessEnd, error: &NoiseError) -> String {
    let ending = ending(end, error);
    let words = end.stderr_tail();
    if words.is_empty() {
        ending
    } else {
        format!("{words} ({ending})")
    }
}

/// Why a magic word was not found. Carries what came instead.
#[derive(Debug, thiserror::Error)]
pub enum NoiseError {
    /// The stream ended.
    #[error("the output ended before the expected word")]
    Ended(Vec<u8>),
    /// The limit was reached.
    #[error("more than {} bytes came before the expected word", .0.len())]
    TooMuch(Vec<u8>),
    /// The stream failed, or was silent for too long.
    #[error("the expected word did not come: {0}")]
    Read(io::Error),
}

impl NoiseError {
    /// Returns what came instead.
    pub fn noise(&self) -> &[u8] {
        match self {
            NoiseError::Ended(noise) | NoiseError::TooMuch(noise) => noise,
            NoiseError::Read(_) => &[],
        }
    }

    fn loss(&self) -> Option<&LinkLost> {
        match self {
            NoiseError::Read(error) => LinkLost::find(error),
            NoiseError::Ended(_) | NoiseError::TooMuch(_) => None,
        }
    }
}

/// Reads up to and including `magic`, and not a byte more; returns what came before it, which a
/// login shell can print. Fails when more than `limit` bytes come before it.
pub fn skip_noise(
    stream: &mut impl Read,
    magic: &[u8],
    limit: usize,
) -> Result<Vec<u8>, NoiseError> {
    let mut noise = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Err(NoiseError::Ended(noise)),
            Ok(_) => noise.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(NoiseError::Read(error)),
        }
        if noise.ends_with(magic) {
            noise.truncate(noise.len() - magic.len());
            return Ok(noise);
        }
        if noise.len() >= limit + magic.len() {
            return Err(NoiseError::TooMuch(noise));
        }
    }
}

/// Quotes a word for sh, csh and fish alike.
fn quote(word: &str) -> Result<String, DeployError> {
    // A backslash, an exclamation mark or a newline means something else to each of them, even
    // between single quotes.
    if word.contains(['\'', '\\', '!']) || word.chars().any(char::is_control) {
        return Err(DeployError::Unquotable(word.to_owned()));
    }
    Ok(format!("'{word}'"))
}

fn after_colon(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_noise_and_reads_no_further() {
        let mut stream = &b"Welcome!\nMAMAGIC\nrest"[..];
        let noise = skip_noise(&mut stream, b"MAGIC\n", 100).unwrap();
        assert_eq!(noise, b"Welcome!\nMA");
        assert_eq!(stream, b"rest");
    }

    #[test]
    fn gives_up_on_endless_noise_and_at_the_end() {
        let mut endless = io::repeat(b'x');
        assert!(matches!(
            skip_noise(&mut endless, b"MAGIC", 1000),
            Err(NoiseError::TooMuch(noise)) if noise.len() == 1005
        ));
        assert!(matches!(
            skip_noise(&mut &b"no such file"[..], b"MAGIC", 1000),
            Err(NoiseError::Ended(noise)) if noise == b"no such file"
        ));
    }

    #[test]
    fn quotes_only_what_every_shell_understands() {
        assert_eq!(quote("a b$c").unwrap(), "'a b$c'");
        for word in ["it's", "a\\b", "hey!", "a\nb"] {
            assert!(quote(word).is_err(), "{word:?}");
        }
    }
}
