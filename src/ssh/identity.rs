//! Private keys: from files, and the one that a run makes for itself.
//!
//! Knows nothing of connections. Secrets are wiped when dropped and never shown.

mod widened;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, PrivateKey, PublicKey, decode_secret_key};
use zeroize::Zeroizing;

/// A fresh key that lets a run reconnect without asking again.
#[derive(Clone)]
pub struct RunKey {
    key: Arc<PrivateKey>,
}

impl RunKey {
    /// Makes an ed25519 key.
    pub fn generate() -> RunKey {
        let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519)
            .expect("32 random bytes always make an ed25519 key");
        RunKey { key: Arc::new(key) }
    }

    /// Returns the public half as a line of authorized_keys, without newline. Blanks in the
    /// comment become underscores, so that the comment stays one word.
    pub fn public_line(&self, comment: &str) -> String {
        let comment: String = comment
            .chars()
            .map(|c| {
                if c.is_whitespace() || c.is_control() {
                    '_'
                } else {
                    c
                }
            })
            .collect();
        let public = PublicKey::new(self.key.public_key().key_data().clone(), comment);
        // Encoding a well-formed ed25519 key cannot fail.
        public.to_openssh().unwrap_or_default()
    }

    pub(super) fn key(&self) -> Arc<PrivateKey> {
        self.key.clone()
    }
}

impl fmt::Debug for RunKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RunKey({})", self.public_line(""))
    }
}

/// What an identity file holds.
pub(super) enum Identity {
    Plain(Arc<PrivateKey>),
    Encrypted {
        text: Zeroizing<String>,
        /// Readable without the passphrase in OpenSSH's format, else from the `.pub` file.
        public: Option<PublicKey>,
    },
}

impl Identity {
    pub fn public_key(&self) -> Option<&PublicKey> {
        match self {
            Identity::Plain(key) => Some(key.public_key()),
            Identity::Encrypted { public, .. } => public.as_ref(),
        }
    }

    /// Returns the key, or `None` when the passphrase is wrong.
    pub fn decrypt(&self, passphrase: &str) -> Option<Arc<PrivateKey>> {
        match self {
            Identity::Plain(key) => Some(key.clone()),
            Identity::Encrypted { text, .. } => {
                decode_secret_key(text, Some(passphrase)).ok().map(Arc::new)
            }
        }
    }
}

/// Reads a private key in any format of OpenSSH, PEM or PKCS#8.
pub(super) fn read_identity(path: &Path) -> io::Result<Identity> {
    let text = Zeroizing::new(std::fs::read_to_string(path)?);
    let text = widened::widened(&text).unwrap_or(text);
    if let Ok(key) = PrivateKey::from_openssh(text.as_str()) {
        if !key.is_encrypted() {
            return Ok(Identity::Plain(Arc::new(key)));
        }
        let public = Some(key.public_key().clone());
        return Ok(Identity::Encrypted { text, public });
    }
    if text.contains("ENCRYPTED") {
        let mut public_path = path.as_os_str().to_owned();
        public_path.push(".pub");
        let public = russh::keys::load_public_key(public_path).ok();
        return Ok(Identity::Encrypted { text, public });
    }
    match decode_secret_key(&text, None) {
        Ok(key) => Ok(Identity::Plain(Arc::new(key))),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a private key in a format that is understood",
        )),
    }
}

/// Returns the files that ssh tries on its own, as far as they exist.
pub(super) fn default_identity_files() -> Vec<PathBuf> {
    let Some(home) = std::env::var_os("HOME").filter(|home| !home.is_empty()) else {
        return Vec::new();
    };
    ["id_ed25519", "id_ecdsa", "id_rsa"]
        .iter()
        .map(|name| Path::new(&home).join(".ssh").join(name))
        .filter(|path| path.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_key_is_fresh_and_its_line_is_one_line() {
        let key = RunKey::generate();
        let line = key.public_line("instancesync run 7\nssh-rsa");
        assert!(
            line.starts_with("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"),
            "{line}"
        );
        assert!(line.ends_with(" instancesync_run_7_ssh-rsa"), "{line}");
        assert_ne!(
            line,
            RunKey::generate().public_line("instancesync run 7\nssh-rsa")
        );
    }

    #[test]
    fn a_run_key_keeps_its_secret() {
        let key = RunKey::generate();
        assert!(format!("{key:?}").starts_with("RunKey(ssh-ed25519 "));
        assert!(!format!("{key:?}").contains("private"));
    }

    #[test]
    fn says_what_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        std::fs::write(&path, "hello").unwrap();
        let Err(error) = read_identity(&path) else {
            panic!("read a key");
        };
        assert!(error.to_string().contains("not a private key"));
    }
}
