//! What the SSH library reports about a session, and what is known of its end.
//!
//! Knows nothing of commands.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use russh::client::{self, DisconnectReason, Session};
use russh::keys::PublicKeyOrCertificate;

use super::clean::clean_text;
use super::error::{LinkLost, SshError, describe};
use super::host_key::{Decision, HostKeyError, HostKeyPolicy, fingerprint};
use super::known_hosts::host_name;
use super::question::Asker;

/// How much a target may say before the login (RFC 4252, 5.4).
const BANNER_BYTES: usize = 8 * 1024;

/// What the opener of a connection is told once it is logged in.
#[derive(Debug)]
pub(super) struct Opened {
    pub host_key_fingerprint: String,
    /// Whether the same settings log in again without anybody.
    pub is_repeatable: bool,
}

pub(super) type OpenAsker = Asker<Result<Opened, SshError>>;

/// What is known about the link, shared by everything that uses it.
#[derive(Debug, Default)]
pub(super) struct Link {
    cause: OnceLock<String>,
    notices: Mutex<Vec<String>>,
    round_trip: Mutex<Option<Duration>>,
}

impl Link {
    /// Returns why the link is gone; to be asked once it is.
    pub fn loss(&self) -> LinkLost {
        let cause = self.cause.get().cloned();
        LinkLost {
            cause: cause.unwrap_or_else(|| "the connection is closed".to_owned()),
        }
    }

    /// Returns what is worth a line.
    pub fn notices(&self) -> Vec<String> {
        let notices = self.notices.lock();
        notices.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how long the target took to answer; the shortest answer counts.
    pub fn note_answer(&self, took: Duration) {
        let shortest = self.round_trip.lock();
        let mut shortest = shortest.unwrap_or_else(PoisonError::into_inner);
        *shortest = Some(shortest.map_or(took, |known| known.min(took)));
    }

    /// Returns the shortest time that the target took to answer: at least one round trip.
    pub fn round_trip(&self) -> Option<Duration> {
        *self
            .round_trip
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add_notice(&self, notice: String) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.push(notice);
    }
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
    pub policy: HostKeyPolicy,
    pub asker: OpenAsker,
    pub link: Arc<Link>,
    pub fingerprint: Arc<OnceLock<String>>,
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
