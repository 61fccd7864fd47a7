//! Logging in: which credentials there are, and in which order they are offered.
//!
//! Knows nothing of host keys and of what happens after the login.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use russh::client::{AuthResult, Handle};
use russh::keys::HashAlg;
use russh::{MethodKind, MethodSet};
use zeroize::Zeroizing;

use super::error::{LinkLost, SshError, describe};
use super::identity::RunKey;
use super::session::{Link, OpenAsker, SessionHandler};

mod keys;
mod passwords;

/// How often a person is asked for one password or passphrase.
const ASK_LIMIT: u32 = 3;

/// What a login may use, and how the target's host key is checked.
#[derive(Clone, Default)]
pub struct LoginSettings {
    /// Private key files; when empty, `~/.ssh/id_ed25519`, `id_ecdsa` and `id_rsa`.
    pub identity_files: Vec<PathBuf>,
    /// The password of the account.
    pub password: Option<Zeroizing<String>>,
    /// The known_hosts file to use instead of the user's and the system's.
    pub known_hosts: Option<PathBuf>,
    /// Trust and record the key of a host that is not known.
    pub accept_new_host_key: bool,
    /// The only host key to trust, as `SHA256:...`.
    pub host_key_fingerprint: Option<String>,
    /// Fingerprints of further host keys to trust: those that this run has given to the target.
    pub given_host_keys: Vec<String>,
    /// The key of this run, once it is installed on the target; tried first.
    pub run_key: Option<RunKey>,
}

impl fmt::Debug for LoginSettings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LoginSettings")
            .field("identity_files", &self.identity_files)
            .field("has_password", &self.password.is_some())
            .field("known_hosts", &self.known_hosts)
            .field("accept_new_host_key", &self.accept_new_host_key)
            .field("host_key_fingerprint", &self.host_key_fingerprint)
            .field("given_host_keys", &self.given_host_keys)
            .field("run_key", &self.run_key)
            .finish()
    }
}

/// How one attempt, or all of one method, ended.
enum Outcome {
    Accepted,
    Refused,
    /// Accepted, but the target wants another method as well.
    OneOfSeveral,
}

/// One login in progress. There is one per connection: the library hangs when it is asked to
/// log in again after success (measured with 0.65.1).
pub(super) struct Login<'a> {
    handle: &'a mut Handle<SessionHandler>,
    user: &'a str,
    settings: &'a LoginSettings,
    asker: &'a OpenAsker,
    link: &'a Link,
    tried: Vec<String>,
    offered: MethodSet,
    asked: u32,
    password_refused: bool,
    is_repeatable: bool,
    rsa_hash: Option<Option<HashAlg>>,
}

impl<'a> Login<'a> {
    pub fn new(
        handle: &'a mut Handle<SessionHandler>,
        user: &'a str,
        settings: &'a LoginSettings,
        asker: &'a OpenAsker,
        link: &'a Link,
    ) -> Login<'a> {
        Login {
            handle,
            user,
            settings,
            asker,
            link,
            tried: Vec::new(),
            offered: MethodSet::empty(),
            asked: 0,
            password_refused: false,
            is_repeatable: false,
            rsa_hash: None,
        }
    }

    /// Logs in with the first thing that the target takes. Returns whether that is there the next
    /// time, too, without anybody and anything else: a key file without a passphrase, or nothing
    /// at all. An ssh-agent may ask for each use, and go away.
    ///
    /// Keys are offered without a question first: the refusal of one lists what the target takes
    /// as well as that of "none" does, which would cost a round trip more.
    pub async fn run(mut self) -> Result<bool, SshError> {
        let mut outcome = self.try_keys().await?;
        let has_offers = !self.offered.is_empty();
        if !has_offers && matches!(outcome, Outcome::Refused) {
            outcome = self.try_nothing().await?;
            self.is_repeatable = matches!(outcome, Outcome::Accepted);
        }
        if let Outcome::Accepted = outcome {
            return Ok(self.is_repeatable);
        }
        let mut methods = vec![MethodKind::Password, MethodKind::KeyboardInteractive];
        while let Some(index) = methods.iter().position(|kind| self.offered.contains(kind)) {
            let outcome = match methods.remove(index) {
                MethodKind::Password => self.try_passwords().await?,
                _ => self.try_questions().await?,
            };
            if let Outcome::Accepted = outcome {
                return Ok(false);
            }
        }
        // A target that hangs up now has refused as well.
        if has_offers && matches!(self.try_nothing().await, Ok(Outcome::Accepted)) {
            return Ok(false);
        }
        Err(self.refused())
    }

    /// All that was tried, as an error.
    fn refused(&mut self) -> SshError {
        SshError::Login {
            user: self.user.to_owned(),
            tried: std::mem::take(&mut self.tried),
            offered: self.offered.iter().map(String::from).collect(),
        }
    }

    /// Few let "none" in; the refusal lists what the target offers.
    async fn try_nothing(&mut self) -> Result<Outcome, SshError> {
        let asked = Instant::now();
        let listed = self.handle.authenticate_none(self.user).await;
        self.link.note_answer(asked.elapsed());
        self.judge(listed)
    }

    /// Whether the target has said what it offers, and that is not this.
    fn lacks(&self, method: MethodKind) -> bool {
        !self.offered.is_empty() && !self.offered.contains(&method)
    }

    fn judge(&mut self, result: Result<AuthResult, russh::Error>) -> Result<Outcome, SshError> {
        match result {
            Ok(AuthResult::Success) => Ok(Outcome::Accepted),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => self.note_refusal(remaining_methods, partial_success),
            Err(_) if self.handle.is_closed() => Err(self.ended()),
            Err(error) => Err(SshError::Lost(LinkLost {
                cause: describe(&error),
            })),
        }
    }

    fn note_refusal(&mut self, offered: MethodSet, partial: bool) -> Result<Outcome, SshError> {
        // The library reports a connection that died as a refusal that offers nothing.
        if offered.is_empty() && self.handle.is_closed() {
            return Err(self.ended());
        }
        self.offered = offered;
        Ok(if partial {
            Outcome::OneOfSeveral
        } else {
            Outcome::Refused
        })
    }

    fn ended(&mut self) -> SshError {
        SshError::LoginEnded {
            user: self.user.to_owned(),
            cause: self.link.loss().cause,
            tried: std::mem::take(&mut self.tried),
        }
    }

    fn note(&mut self, what: &str, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Accepted => "accepted",
            Outcome::Refused => "refused",
            Outcome::OneOfSeveral => "accepted, but more is demanded",
        };
        self.tried.push(format!("{what}: {word}"));
    }
}
