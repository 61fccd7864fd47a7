//! How to get into the target: keys, password, host key. Nothing of it is ever printed.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Environment, places};
use crate::cli::LoginArguments;
use crate::failure::Failure;

/// A password. Wiped from memory when dropped, and silent when printed.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes `text` over.
    pub fn new(text: String) -> Password {
        Password(Zeroizing::new(text))
    }

    /// Returns the text.
    pub fn reveal(&self) -> &Zeroizing<String> {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Password(…)")
    }
}

/// How to get into the target.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// Who logs in when the address names nobody.
    pub default_user: String,
    /// Private keys to try first, in this order; each was there.
    pub identities: Vec<PathBuf>,
    /// A password that was given beforehand.
    pub password: Option<Password>,
    /// The list of known host keys, which may not exist yet; `None` for the person's own and
    /// the system's.
    pub known_hosts: Option<PathBuf>,
    /// What to do about a host key that is not on the list.
    pub unknown_host_key: HostKeyPolicy,
}

/// What to do about a host key that is not known. A changed one is always refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// Show it and ask; refuse where nobody answers.
    Ask,
    /// Trust it and remember it.
    AcceptNew,
    /// Trust it if it has this fingerprint (`SHA256:` and 43 characters).
    Fingerprint(String),
}

impl LoginSettings {
    /// Resolves the flags; reads the password file.
    pub fn resolve(
        arguments: LoginArguments,
        environment: &Environment,
    ) -> Result<LoginSettings, Failure> {
        let identities = arguments
            .identity
            .iter()
            .map(|file| identity(file, environment))
            .collect::<Result<_, _>>()?;
        let password = match &arguments.password_file {
            Some(file) => Some(read_password(file)?),
            None => environment.password.clone(),
        };
        let known_hosts = arguments
            .known_hosts
            .as_deref()
            .map(|file| places::absolute(file, environment))
            .transpose()?;
        Ok(LoginSettings {
            default_user: environment.user.clone().unwrap_or_else(|| "root".into()),
            identities,
            password,
            known_hosts,
            unknown_host_key: host_key_policy(&arguments)?,
        })
    }
}

fn identity(file: &Path, environment: &Environment) -> Result<PathBuf, Failure> {
    let flag = || format!("--identity {}", file.display());
    let path = places::absolute(file, environment)?;
    match std::fs::metadata(&path) {
        Err(cause) => Err(Failure::usage(flag()).because(&cause)),
        Ok(found) if found.is_dir() => {
            Err(Failure::usage(format!("{}: it is a directory", flag())))
        }
        Ok(_) => Ok(path),
    }
}

fn host_key_policy(arguments: &LoginArguments) -> Result<HostKeyPolicy, Failure> {
    let Some(text) = &arguments.host_key_fingerprint else {
        return Ok(if arguments.accept_new_host_key {
            HostKeyPolicy::AcceptNew
        } else {
            HostKeyPolicy::Ask
        });
    };
    let digest = text.strip_prefix("SHA256:").unwrap_or_default();
    let digest = digest.trim_end_matches('=');
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    // LIMIT: 32 bytes are 43 base64 characters without padding.
    if digest.len() == 43 && digest.bytes().all(is_base64) {
        Ok(HostKeyPolicy::Fingerprint(format!("SHA256:{digest}")))
    } else {
        Err(Failure::usage(format!(
            "--host-key-fingerprint {text}: it is no fingerprint"
        ))
        .hint("it is 'SHA256:' and 43 characters; on the target this prints it:")
        .hint("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"))
    }
}

/// LIMIT: how much of a password file is read, in bytes; OpenSSH takes 1024 for a password.
const MAX_PASSWORD_BYTES: u64 = 4096;

fn read_password(file: &Path) -> Result<Password, Failure> {
    let flag = || format!("--password-file {}", file.display());
    let unreadable = |cause: std::io::Error| Failure::usage(flag()).because(&cause);
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        let mode = metadata.permissions().mode() & 0o7777;
        return Err(Failure::usage(format!(
            "{}: other people can read it (mode {mode:04o})",
            flag()
        ))
        .hint(format!("chmod 600 {}", file.display())));
    }
    // Large enough from the start: a vector that grows leaves copies behind. No reader with
    // a buffer of its own either.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_BYTES as usize + 64));
    opened
        .take(MAX_PASSWORD_BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let text = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.is_empty() {
        return Err(Failure::usage(format!(
            "{}: its first line is empty",
            flag()
        )));
    }
    match std::str::from_utf8(text) {
        Ok(text) => Ok(Password::new(text.to_owned())),
        Err(_) => Err(Failure::usage(format!("{}: it is not UTF-8", flag()))),
    }
}
