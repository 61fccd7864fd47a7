//! Logging in: which credentials there are, and in which order they are offered.
//!
//! Knows nothing of host keys and of what happens after the login.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse, Prompt};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::clean::clean_text;
use super::connection::{OpenAsker, SessionHandler};
use super::error::{LinkLost, SshError, describe};
use super::identity::{Identity, RunKey, default_identity_files, read_identity};

/// How often a person is asked for one password or passphrase.
const ASK_LIMIT: u32 = 3;
/// How many keyboard-interactive rounds are played before it counts as refused.
const ROUND_LIMIT: u32 = 10;

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
    tried: Vec<String>,
    offered: MethodSet,
    asked: u32,
    password_refused: bool,
    rsa_hash: Option<Option<HashAlg>>,
}

impl<'a> Login<'a> {
    pub fn new(
        handle: &'a mut Handle<SessionHandler>,
        user: &'a str,
        settings: &'a LoginSettings,
        asker: &'a OpenAsker,
    ) -> Login<'a> {
        Login {
            handle,
            user,
            settings,
            asker,
            tried: Vec::new(),
            offered: MethodSet::empty(),
            asked: 0,
            password_refused: false,
            rsa_hash: None,
        }
    }

    /// Logs in with the first thing that the target takes.
    pub async fn run(mut self) -> Result<(), SshError> {
        // Nobody lets "none" in; the refusal lists what the target offers.
        let listed = self.handle.authenticate_none(self.user).await;
        if let Outcome::Accepted = self.judge(listed)? {
            return Ok(());
        }
        let mut methods = vec![
            MethodKind::PublicKey,
            MethodKind::Password,
            MethodKind::KeyboardInteractive,
        ];
        while let Some(index) = methods.iter().position(|kind| self.offered.contains(kind)) {
            let outcome = match methods.remove(index) {
                MethodKind::PublicKey => self.try_keys().await?,
                MethodKind::Password => self.try_passwords().await?,
                _ => self.try_questions().await?,
            };
            if let Outcome::Accepted = outcome {
                return Ok(());
            }
        }
        Err(SshError::Login {
            user: self.user.to_owned(),
            tried: self.tried,
            offered: self.offered.iter().map(String::from).collect(),
        })
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

    /// The run's own key, then keys that were named, then the other keys of the ssh-agent, then
    /// the default files. Named keys that the ssh-agent holds are used through it, which saves
    /// their passphrase; they come before its other keys because sshd hangs up after six.
    async fn try_keys(&mut self) -> Result<Outcome, SshError> {
        if let Some(run_key) = &self.settings.run_key {
            let key = run_key.key();
            let outcome = self.try_private_key("the run's key", key).await?;
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        let mut named = Vec::new();
        for path in &self.settings.identity_files {
            named.push((path.clone(), read_identity(path)));
        }
        let named_keys: Vec<PublicKey> = named
            .iter()
            .filter_map(|(_, identity)| identity.as_ref().ok()?.public_key().cloned())
            .collect();
        let mut agent = self.connect_agent().await;
        let (held, others) = match &mut agent {
            Some(client) => self.list_agent_keys(client, &named_keys).await,
            None => (Vec::new(), Vec::new()),
        };
        if let Some(client) = &mut agent {
            let outcome = self.try_agent_keys(client, &held).await?;
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        for (path, identity) in named {
            let public = identity.as_ref().ok().and_then(Identity::public_key);
            if public.is_some_and(|key| contains_key(&held, key)) {
                continue;
            }
            let outcome = self
                .try_identity(&path.display().to_string(), identity)
                .await?;
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        if let Some(client) = &mut agent {
            let outcome = self.try_agent_keys(client, &others).await?;
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        if self.settings.identity_files.is_empty() {
            return self.try_default_files(&others).await;
        }
        Ok(Outcome::Refused)
    }

    async fn try_default_files(&mut self, held: &[AgentIdentity]) -> Result<Outcome, SshError> {
        for path in default_identity_files() {
            let identity = read_identity(&path);
            let public = identity.as_ref().ok().and_then(Identity::public_key);
            if public.is_some_and(|key| contains_key(held, key)) {
                continue;
            }
            let outcome = self
                .try_identity(&path.display().to_string(), identity)
                .await?;
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Refused)
    }

    async fn connect_agent(&mut self) -> Option<AgentClient<UnixStream>> {
        std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty())?;
        match AgentClient::connect_env().await {
            Ok(mut client) => {
                if let Some(binding) = self.handle.agent_session_binding() {
                    // Only keys that are restricted to certain hosts need it; old agents refuse.
                    client
                        .bind_session(binding, false)
                        .await
                        .unwrap_or_default();
                }
                Some(client)
            }
            Err(error) => {
                self.tried.push(format!("ssh-agent: {error}"));
                None
            }
        }
    }

    /// Returns the keys that are among the named ones, and the others.
    async fn list_agent_keys(
        &mut self,
        client: &mut AgentClient<UnixStream>,
        named: &[PublicKey],
    ) -> (Vec<AgentIdentity>, Vec<AgentIdentity>) {
        match client.request_identities().await {
            Ok(keys) => keys.into_iter().partition(|key| {
                let data = key.public_key();
                named
                    .iter()
                    .any(|named| named.key_data() == data.key_data())
            }),
            Err(error) => {
                self.tried.push(format!("ssh-agent: {error}"));
                (Vec::new(), Vec::new())
            }
        }
    }

    async fn try_agent_keys(
        &mut self,
        client: &mut AgentClient<UnixStream>,
        keys: &[AgentIdentity],
    ) -> Result<Outcome, SshError> {
        for identity in keys {
            let hash = self.hash_for(&identity.public_key()).await;
            let user = self.user;
            let result = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    self.handle
                        .authenticate_publickey_with(user, key.clone(), hash, client)
                        .await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle
                        .authenticate_certificate_with(user, certificate.clone(), hash, client)
                        .await
                }
            };
            let name = format!(
                "ssh-agent key {}",
                clean_text(identity.comment().as_bytes())
            );
            let outcome = match result {
                Ok(result) => self.judge(Ok(result))?,
                Err(error) => {
                    self.tried.push(format!("{name}: {error}"));
                    continue;
                }
            };
            self.note(&name, &outcome);
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Refused)
    }

    async fn try_identity(
        &mut self,
        name: &str,
        identity: std::io::Result<Identity>,
    ) -> Result<Outcome, SshError> {
        let identity = match identity {
            Ok(Identity::Plain(key)) => return self.try_private_key(name, key).await,
            Ok(identity @ Identity::Encrypted { .. }) => identity,
            Err(error) => {
                self.tried.push(format!("{name}: {error}"));
                return Ok(Outcome::Refused);
            }
        };
        if let Some(public) = identity.public_key() {
            if !self.is_wanted(public).await? {
                self.note(name, &Outcome::Refused);
                return Ok(Outcome::Refused);
            }
        }
        for _ in 0..ASK_LIMIT {
            let prompt = format!("Passphrase of the key {name}: ");
            let Some(passphrase) = self.asker.secret(prompt).await else {
                self.tried.push(format!(
                    "{name}: encrypted, and nobody to ask for the passphrase"
                ));
                return Ok(Outcome::Refused);
            };
            if let Some(key) = identity.decrypt(&passphrase) {
                return self.try_private_key(name, key).await;
            }
        }
        self.tried.push(format!("{name}: wrong passphrase"));
        Ok(Outcome::Refused)
    }

    /// Asks the target whether it would take a key, so that nobody types a passphrase for
    /// nothing.
    async fn is_wanted(&mut self, key: &PublicKey) -> Result<bool, SshError> {
        let hash = self.hash_for(key).await;
        let mut signer = NoSigner { was_asked: false };
        let result = self
            .handle
            .authenticate_publickey_with(self.user, key.clone(), hash, &mut signer)
            .await;
        if signer.was_asked {
            return Ok(true);
        }
        match result {
            Ok(result) => self.judge(Ok(result)).map(|_| false),
            Err(_) => Err(self.ended()),
        }
    }

    async fn try_private_key(
        &mut self,
        name: &str,
        key: Arc<PrivateKey>,
    ) -> Result<Outcome, SshError> {
        let hash = self.hash_for(key.public_key()).await;
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let result = self.handle.authenticate_publickey(self.user, key).await;
        let outcome = self.judge(result)?;
        self.note(name, &outcome);
        Ok(outcome)
    }

    /// Returns the best hash that the target takes for an RSA key. Asked once, as a target that
    /// does not announce any costs a second.
    async fn hash_for(&mut self, key: &PublicKey) -> Option<HashAlg> {
        if !key.algorithm().is_rsa() {
            return None;
        }
        if self.rsa_hash.is_none() {
            let best = self.handle.best_supported_rsa_hash().await;
            self.rsa_hash = Some(best.ok().flatten().flatten());
        }
        self.rsa_hash.flatten()
    }

    async fn try_passwords(&mut self) -> Result<Outcome, SshError> {
        if let Some(password) = &self.settings.password {
            let outcome = self.try_password(password).await?;
            self.password_refused = matches!(outcome, Outcome::Refused);
            if !self.password_refused {
                return Ok(outcome);
            }
        }
        while self.asked < ASK_LIMIT {
            let prompt = format!("Password of {} on the target: ", self.user);
            let Some(password) = self.asker.secret(prompt).await else {
                if self.settings.password.is_none() {
                    self.tried.push("password: none given".to_owned());
                }
                break;
            };
            self.asked += 1;
            let outcome = self.try_password(&password).await?;
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Refused)
    }

    async fn try_password(&mut self, password: &Zeroizing<String>) -> Result<Outcome, SshError> {
        // The library wipes its copy after use.
        let result = self
            .handle
            .authenticate_password(self.user, password.as_str())
            .await;
        let outcome = self.judge(result)?;
        self.note("password", &outcome);
        Ok(outcome)
    }

    /// Keyboard-interactive: the target asks, often for the same password.
    async fn try_questions(&mut self) -> Result<Outcome, SshError> {
        let mut given = self
            .settings
            .password
            .clone()
            .filter(|_| !self.password_refused);
        loop {
            let had_password = given.is_some();
            let outcome = self.play_rounds(&mut given).await?;
            match outcome {
                Some(Outcome::Refused) if self.asked < ASK_LIMIT => {
                    if !had_password && self.asked == 0 {
                        return Ok(Outcome::Refused);
                    }
                }
                Some(outcome) => return Ok(outcome),
                None => {
                    self.tried
                        .push("keyboard-interactive: nobody to answer".to_owned());
                    return Ok(Outcome::Refused);
                }
            }
        }
    }

    /// Answers what the target asks until it decides; `None` when nobody can answer.
    async fn play_rounds(
        &mut self,
        given: &mut Option<Zeroizing<String>>,
    ) -> Result<Option<Outcome>, SshError> {
        let mut response = self
            .handle
            .authenticate_keyboard_interactive_start(self.user, None)
            .await;
        for _ in 0..ROUND_LIMIT {
            let (instructions, prompts) = match response {
                Ok(KeyboardInteractiveAuthResponse::InfoRequest {
                    instructions,
                    prompts,
                    ..
                }) => (instructions, prompts),
                Ok(KeyboardInteractiveAuthResponse::Success) => {
                    self.note("keyboard-interactive", &Outcome::Accepted);
                    return Ok(Some(Outcome::Accepted));
                }
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                }) => {
                    let outcome = self.note_refusal(remaining_methods, partial_success)?;
                    self.note("keyboard-interactive", &outcome);
                    return Ok(Some(outcome));
                }
                Err(_) => return Err(self.ended()),
            };
            let mut answers = Vec::new();
            for prompt in &prompts {
                let Some(answer) = self.answer(&instructions, prompt, given).await else {
                    return Ok(None);
                };
                answers.push(answer.as_str().to_owned());
            }
            response = self
                .handle
                .authenticate_keyboard_interactive_respond(answers)
                .await;
        }
        Ok(Some(Outcome::Refused))
    }

    async fn answer(
        &mut self,
        instructions: &str,
        prompt: &Prompt,
        given: &mut Option<Zeroizing<String>>,
    ) -> Option<Zeroizing<String>> {
        if is_password_prompt(prompt) {
            if let Some(password) = given.take() {
                return Some(password);
            }
        }
        let mut text = clean_text(instructions.as_bytes());
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&clean_text(prompt.prompt.as_bytes()));
        text.push(' ');
        let answer = if prompt.echo {
            self.asker.line(text).await.map(Zeroizing::new)
        } else {
            self.asker.secret(text).await
        };
        self.asked += u32::from(answer.is_some());
        answer
    }
}

fn is_password_prompt(prompt: &Prompt) -> bool {
    !prompt.echo && prompt.prompt.to_lowercase().contains("password")
}

fn contains_key(identities: &[AgentIdentity], key: &PublicKey) -> bool {
    identities
        .iter()
        .any(|identity| identity.public_key().key_data() == key.key_data())
}

/// Only finds out whether a signature would be asked for.
struct NoSigner {
    was_asked: bool,
}

impl russh::Signer for NoSigner {
    type Error = russh::AgentAuthError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash_alg: Option<HashAlg>,
        _to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        self.was_asked = true;
        Err(russh::keys::Error::AgentFailure.into())
    }
}
