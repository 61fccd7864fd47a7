//! Logging in by key: the run's own, the ssh-agent's, and those in files.
//!
//! Knows nothing of passwords.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::MethodKind;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::clean::clean_text;
use super::super::error::SshError;
use super::super::identity::{Identity, default_identity_files, read_identity};
use super::{ASK_LIMIT, Login, Outcome};

/// How long the ssh-agent may take to list its keys.
const AGENT_LIMIT: Duration = Duration::from_secs(10);

/// A key to try.
enum Candidate {
    Run(Arc<PrivateKey>),
    Agent(Box<AgentIdentity>),
    File(String, io::Result<Identity>),
}

struct KeyFile {
    name: String,
    identity: io::Result<Identity>,
}

impl KeyFile {
    fn is(&self, key: &AgentIdentity) -> bool {
        let public = self.identity.as_ref().ok().and_then(Identity::public_key);
        public.is_some_and(|public| public.key_data() == key.public_key().key_data())
    }
}

fn read_files(paths: &[PathBuf]) -> Vec<KeyFile> {
    paths
        .iter()
        .map(|path| KeyFile {
            name: path.display().to_string(),
            identity: read_identity(path),
        })
        .collect()
}

impl Login<'_> {
    /// Tries one key after the other.
    pub(super) async fn try_keys(&mut self) -> Result<Outcome, SshError> {
        let (mut agent, agent_keys) = match self.open_agent().await {
            Some((client, keys)) => (Some(client), keys),
            None => (None, Vec::new()),
        };
        for candidate in self.list_candidates(agent_keys) {
            let outcome = match (candidate, agent.as_mut()) {
                (Candidate::Run(key), _) => self.try_private_key("the run's key", key).await?,
                (Candidate::File(name, identity), _) => self.try_identity(&name, identity).await?,
                (Candidate::Agent(identity), Some(client)) => {
                    self.try_agent_key(client, &identity).await?
                }
                (Candidate::Agent(_), None) => Outcome::Refused,
            };
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
            if self.lacks(MethodKind::PublicKey) {
                break;
            }
        }
        Ok(Outcome::Refused)
    }

    /// The run's own key, then keys that were named, then the other keys of the ssh-agent, then
    /// the default files. Named keys that the ssh-agent holds are used through it, which saves
    /// their passphrase; they come before its other keys because sshd hangs up after six.
    fn list_candidates(&self, agent_keys: Vec<AgentIdentity>) -> Vec<Candidate> {
        let named = read_files(&self.settings.identity_files);
        let (held, others): (Vec<_>, Vec<_>) = agent_keys
            .into_iter()
            .partition(|key| named.iter().any(|file| file.is(key)));
        let default = if named.is_empty() {
            read_files(&default_identity_files())
        } else {
            Vec::new()
        };
        let without = |files: Vec<KeyFile>, keys: &[AgentIdentity]| -> Vec<Candidate> {
            files
                .into_iter()
                .filter(|file| !keys.iter().any(|key| file.is(key)))
                .map(|file| Candidate::File(file.name, file.identity))
                .collect()
        };
        let mut candidates = Vec::new();
        candidates.extend(
            self.settings
                .run_key
                .iter()
                .map(|key| Candidate::Run(key.key())),
        );
        let named = without(named, &held);
        candidates.extend(held.into_iter().map(|key| Candidate::Agent(Box::new(key))));
        candidates.extend(named);
        let default = without(default, &others);
        candidates.extend(
            others
                .into_iter()
                .map(|key| Candidate::Agent(Box::new(key))),
        );
        candidates.extend(default);
        candidates
    }

    /// Connects to the ssh-agent and lists its keys.
    async fn open_agent(&mut self) -> Option<(AgentClient<UnixStream>, Vec<AgentIdentity>)> {
        std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty())?;
        let binding = self.handle.agent_session_binding();
        let opened = async {
            let mut client = AgentClient::connect_env().await?;
            if let Some(binding) = binding {
                // Only keys that are restricted to certain hosts need it; old agents refuse.
                client
                    .bind_session(binding, false)
                    .await
                    .unwrap_or_default();
            }
            let keys = client.request_identities().await?;
            Ok::<_, russh::keys::Error>((client, keys))
        };
        // The socket of a forwarded agent can outlive the agent and never answer.
        let problem = match timeout(AGENT_LIMIT, opened).await {
            Ok(Ok(opened)) => return Some(opened),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer".to_owned(),
        };
        self.tried.push(format!("ssh-agent: {problem}"));
        None
    }

    async fn try_agent_key(
        &mut self,
        client: &mut AgentClient<UnixStream>,
        identity: &AgentIdentity,
    ) -> Result<Outcome, SshError> {
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
        let comment = clean_text(identity.comment().as_bytes());
        let name = format!("ssh-agent key {comment}");
        match result {
            Ok(result) => {
                let outcome = self.judge(Ok(result))?;
                self.note(&name, &outcome);
                Ok(outcome)
            }
            Err(error) => {
                self.tried.push(format!("{name}: {error}"));
                Ok(Outcome::Refused)
            }
        }
    }

    async fn try_identity(
        &mut self,
        name: &str,
        identity: io::Result<Identity>,
    ) -> Result<Outcome, SshError> {
        let identity = match identity {
            Ok(Identity::Plain(key)) => {
                let outcome = self.try_private_key(name, key).await?;
                self.is_repeatable = matches!(outcome, Outcome::Accepted);
                return Ok(outcome);
            }
            Ok(identity @ Identity::Encrypted { .. }) => identity,
            Err(error) => {
                self.tried.push(format!("{name}: {error}"));
                return Ok(Outcome::Refused);
            }
        };
        if let Some(public) = identity.public_key()
            && !self.is_wanted(public).await?
        {
            self.note(name, &Outcome::Refused);
            return Ok(Outcome::Refused);
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
        let asked = Instant::now();
        let result = self.handle.authenticate_publickey(self.user, key).await;
        let outcome = self.judge(result)?;
        if let Outcome::Accepted = outcome {
            // Two questions: whether it would be taken, and then the signature.
            self.link.note_answer(asked.elapsed() / 2);
        }
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
