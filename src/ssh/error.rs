//! What can go wrong between this machine and the target, each with one thing to do.
//!
//! Knows nothing of how the connection is made.

use std::io;
use std::net::SocketAddr;

use super::host_key::HostKeyError;

/// The link to the target is gone. One error, whatever noticed it first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link to the target was lost: {cause}")]
pub struct LinkLost {
    /// What ended it: "the connection was closed by the target".
    pub cause: String,
}

impl LinkLost {
    /// Returns it as the error of a stream; [`LinkLost::find`] gets it back.
    pub fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, self)
    }

    /// Returns the lost link that an error of a stream stands for, if it does.
    pub fn find(error: &io::Error) -> Option<&LinkLost> {
        error.get_ref()?.downcast_ref()
    }
}

/// The process on the target has ended, so nobody takes what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process on the target has ended")]
pub struct ProcessEnded;

/// The target would not run the command, so there is no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the target refused to run the command")]
pub struct CommandRefused;

impl CommandRefused {
    /// Returns it as the error of a stream; [`CommandRefused::is`] knows it again.
    pub fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, self)
    }

    /// Whether an error of a stream stands for it.
    pub fn is(error: &io::Error) -> bool {
        error
            .get_ref()
            .is_some_and(|inner| inner.is::<CommandRefused>())
    }
}

/// Why no connection came about, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The name of the target has no address.
    #[error("the name of the target {host} cannot be resolved")]
    Resolve {
        /// The name.
        host: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// None of its addresses takes a connection.
    #[error("the target {address} cannot be reached: {}", list_causes(causes))]
    Connect {
        /// The address as the user gave it.
        address: String,
        /// Each IP address that was tried, and why it failed.
        causes: Vec<(SocketAddr, io::Error)>,
    },
    /// Something answers, but SSH does not come about.
    #[error("no SSH with the target {address}: {cause}")]
    Handshake {
        /// The address as the user gave it.
        address: String,
        /// What went wrong.
        cause: String,
    },
    /// A known_hosts file cannot be read.
    #[error("source: the known host keys cannot be read")]
    KnownHosts(#[source] io::Error),
    /// The target's host key is not trusted.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// The target lets nobody in with what was tried.
    #[error(
        "the target refused the login of {user} (tried: {}; it accepts: {})",
        list_words(tried),
        list_words(offered)
    )]
    Login {
        /// Who wanted in.
        user: String,
        /// What was tried, and how each ended.
        tried: Vec<String>,
        /// The methods that the target offers (RFC 4252 names).
        offered: Vec<String>,
    },
    /// The target hung up in the middle of the login.
    #[error(
        "the login of {user} was cut off: {cause} (tried: {})",
        list_words(tried)
    )]
    LoginEnded {
        /// Who wanted in.
        user: String,
        /// What ended it.
        cause: String,
        /// What was tried, and how each ended.
        tried: Vec<String>,
    },
    /// The target does not run commands for this account.
    #[error("the target refused to run a command: {0}")]
    CommandRefused(String),
    /// The link is gone.
    #[error(transparent)]
    Lost(#[from] LinkLost),
    /// A command gave no sign of its end.
    #[error("the target did not finish {command:?} within {seconds} s")]
    Stuck {
        /// The beginning of the command.
        command: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What was to be sent cannot be read.
    #[error("source: the input for a command on the target cannot be read")]
    Input(#[source] io::Error),
    /// The thread of the connection cannot be started.
    #[error("source: the SSH thread cannot be started")]
    Thread(#[source] io::Error),
}

impl SshError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            SshError::Resolve { .. } => {
                "check the spelling, or give the IP address; aliases of ~/.ssh/config are not known"
                    .to_owned()
            }
            SshError::Connect { .. } => {
                "check the address, the port and that no firewall lies between".to_owned()
            }
            SshError::Handshake { .. } => "check that the port is the one of sshd".to_owned(),
            SshError::KnownHosts(_) => {
                "make the file readable, or name another with --known-hosts FILE".to_owned()
            }
            SshError::HostKey(error) => return error.hint(),
            SshError::Login { offered, .. } => login_hint(offered),
            SshError::LoginEnded { .. } => {
                "too many keys may have been tried: name the right one with --identity FILE"
                    .to_owned()
            }
            SshError::CommandRefused(_) => {
                "the account must be allowed to run commands (no ForceCommand, no sftp-only)"
                    .to_owned()
            }
            SshError::Lost(_) => "run the same command again: it continues".to_owned(),
            SshError::Stuck { .. } => "see on the target what the command waits for".to_owned(),
            SshError::Input(_) | SshError::Thread(_) => return None,
        };
        Some(text)
    }
}

fn login_hint(offered: &[String]) -> String {
    let takes_password = offered
        .iter()
        .any(|method| method == "password" || method == "keyboard-interactive");
    if takes_password {
        "name a key with --identity FILE, or a password with --password-file FILE".to_owned()
    } else {
        "name a key with --identity FILE whose public half is in authorized_keys of the target"
            .to_owned()
    }
}

fn list_causes(causes: &[(SocketAddr, io::Error)]) -> String {
    let texts: Vec<String> = causes
        .iter()
        .map(|(address, cause)| format!("{address}: {cause}"))
        .collect();
    list_words(&texts)
}

fn list_words(words: &[String]) -> String {
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}

/// Puts an error of the SSH library into our words.
pub(super) fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::Version => "what answers there does not speak SSH".to_owned(),
        russh::Error::HUP | russh::Error::Disconnect => {
            "the connection was closed by the target".to_owned()
        }
        russh::Error::KeepaliveTimeout
        | russh::Error::InactivityTimeout
        | russh::Error::ConnectionTimeout => "the target no longer answers".to_owned(),
        russh::Error::IO(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            "the connection was closed by the target".to_owned()
        }
        russh::Error::NoCommonAlgo { kind, theirs, .. } => format!(
            "no {kind:?} algorithm in common, the target offers {}",
            list_words(theirs)
        ),
        other => {
            let text = other.to_string();
            let mut chars = text.chars();
            match chars.next() {
                Some(first) => first.to_lowercase().chain(chars).collect(),
                None => text,
            }
        }
    }
}
