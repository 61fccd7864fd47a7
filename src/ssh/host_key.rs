//! Whether the host key that the target presents is trusted.
//!
//! A changed or revoked key is refused whatever the flags say. Knows nothing of connections.

use russh::keys::{HashAlg, PublicKey};

use super::known_hosts::{KnownHosts, Place, Verdict, host_name};

/// Why the target's host key is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// The target presents another key than the one that is known.
    #[error(
        "the {key_type} host key of the target {name} has CHANGED: it is {fingerprint} now, \
         {place} has another; somebody may be in between"
    )]
    Changed {
        /// The name in the known_hosts file.
        name: String,
        /// `ssh-ed25519`, ...
        key_type: String,
        /// The fingerprint that was presented.
        fingerprint: String,
        /// Where the other key stands.
        place: Place,
    },
    /// The key is marked as revoked.
    #[error("the host key of the target {name} ({fingerprint}) is revoked in {place}")]
    Revoked {
        /// The name in the known_hosts file.
        name: String,
        /// The fingerprint that was presented.
        fingerprint: String,
        /// Where it is revoked.
        place: Place,
    },
    /// Another key than the demanded one.
    #[error("the target {name} has the {key_type} host key {fingerprint}, not {demanded}")]
    NotTheDemanded {
        /// The name in the known_hosts file.
        name: String,
        /// `ssh-ed25519`, ...
        key_type: String,
        /// The fingerprint that was presented.
        fingerprint: String,
        /// The fingerprint that the user gave.
        demanded: String,
    },
    /// Unknown, and nobody can be asked.
    #[error("the {key_type} host key of the target {name} is not known: {fingerprint}")]
    Unknown {
        /// The name in the known_hosts file.
        name: String,
        /// `ssh-ed25519`, ...
        key_type: String,
        /// The fingerprint that was presented.
        fingerprint: String,
    },
    /// Unknown, while keys of other types are known: too odd to accept unseen.
    #[error(
        "the target {name} presents a {key_type} host key ({fingerprint}), \
         but only its keys of the types {known_types} are known"
    )]
    OtherType {
        /// The name in the known_hosts file.
        name: String,
        /// `ssh-ed25519`, ...
        key_type: String,
        /// The fingerprint that was presented.
        fingerprint: String,
        /// The types that are known.
        known_types: String,
    },
    /// The user said no.
    #[error("the host key of the target {name} ({fingerprint}) was not accepted")]
    NotAccepted {
        /// The name in the known_hosts file.
        name: String,
        /// The fingerprint that was presented.
        fingerprint: String,
    },
}

impl HostKeyError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            HostKeyError::Changed { name, place, .. } => format!(
                "if the target was reinstalled, remove the old key: ssh-keygen -f {} -R '{name}'",
                place.file.display()
            ),
            HostKeyError::Revoked { .. } => "the target needs a new host key".to_owned(),
            HostKeyError::NotTheDemanded { .. } => {
                "compare with what `ssh-keygen -lf` prints on the target's console for \
                 /etc/ssh/ssh_host_*_key.pub"
                    .to_owned()
            }
            HostKeyError::Unknown { fingerprint, .. } => format!(
                "compare the fingerprint on the target's console, then pass \
                 --host-key-fingerprint {fingerprint}; or pass --accept-new-host-key to trust \
                 the first key seen"
            ),
            HostKeyError::OtherType { fingerprint, .. } => format!(
                "compare the fingerprint on the target's console, then pass \
                 --host-key-fingerprint {fingerprint}"
            ),
            HostKeyError::NotAccepted { .. } => return None,
        };
        Some(text)
    }
}

/// What to do with a host key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Go on.
    Trust,
    /// Go on, and write it to the known_hosts file.
    TrustAndRecord,
    /// Ask with this text; recorded on yes, the error if nobody answers.
    Ask(String, HostKeyError),
    /// Stop.
    Refuse(HostKeyError),
}

/// How host keys of one target are judged.
pub(super) struct HostKeyPolicy {
    pub known_hosts: KnownHosts,
    pub host: String,
    pub port: u16,
    pub demanded_fingerprint: Option<String>,
    /// Keys that we have just given to the target ourselves.
    pub given: Vec<String>,
    pub accept_new: bool,
}

impl HostKeyPolicy {
    /// Decides about the key that was presented.
    ///
    /// A key that is trusted only because of the demanded fingerprint is not recorded: that flag
    /// speaks for one run.
    pub fn decide(&self, key: &PublicKey) -> Decision {
        let name = host_name(&self.host, self.port);
        let fingerprint = fingerprint(key);
        let key_type = key.algorithm().to_string();
        let verdict = self.known_hosts.judge(&self.host, self.port, key);
        // ORDER: changed and revoked come first, so that no flag can overrule them.
        let unknown = match verdict {
            Verdict::Known | Verdict::Unknown | Verdict::OtherType(_) | Verdict::Changed(_)
                if self.given.contains(&fingerprint) =>
            {
                return Decision::Trust;
            }
            Verdict::Changed(place) => {
                return Decision::Refuse(HostKeyError::Changed {
                    name,
                    key_type,
                    fingerprint,
                    place,
                });
            }
            Verdict::Revoked(place) => {
                return Decision::Refuse(HostKeyError::Revoked {
                    name,
                    fingerprint,
                    place,
                });
            }
            Verdict::Known => None,
            Verdict::Unknown => Some(HostKeyError::Unknown {
                name: name.clone(),
                key_type: key_type.clone(),
                fingerprint: fingerprint.clone(),
            }),
            Verdict::OtherType(types) => Some(HostKeyError::OtherType {
                name: name.clone(),
                key_type: key_type.clone(),
                fingerprint: fingerprint.clone(),
                known_types: types.join(", "),
            }),
        };
        if let Some(demanded) = &self.demanded_fingerprint {
            return if is_same_fingerprint(demanded, &fingerprint) {
                Decision::Trust
            } else {
                Decision::Refuse(HostKeyError::NotTheDemanded {
                    name,
                    key_type,
                    fingerprint,
                    demanded: demanded.clone(),
                })
            };
        }
        match unknown {
            None => Decision::Trust,
            Some(HostKeyError::Unknown { .. }) if self.accept_new => Decision::TrustAndRecord,
            Some(error) => Decision::Ask(self.question(&error, &fingerprint, &key_type), error),
        }
    }

    fn question(&self, error: &HostKeyError, fingerprint: &str, key_type: &str) -> String {
        let name = host_name(&self.host, self.port);
        let warning = match error {
            HostKeyError::OtherType { known_types, .. } => {
                format!("\nWARNING: this machine knows it by keys of other types: {known_types}.")
            }
            _ => String::new(),
        };
        let memory = match self.known_hosts.record_file() {
            Some(file) => format!(" and remember it in {}", file.display()),
            None => String::new(),
        };
        format!(
            "The target {name} is not known yet.\n\
             Its {key_type} host key has the fingerprint {fingerprint}.{warning}\n\
             Trust this key{memory}?"
        )
    }
}

/// Returns the fingerprints of the host keys of a machine with these public key files.
pub fn fingerprints(files: &[String]) -> Vec<String> {
    let keys = files
        .iter()
        .filter_map(|text| PublicKey::from_openssh(text.trim()).ok());
    keys.map(|key| fingerprint(&key)).collect()
}

/// Returns the fingerprint as OpenSSH prints it: `SHA256:` and base64 without padding.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn is_same_fingerprint(demanded: &str, presented: &str) -> bool {
    let bare = |text: &str| {
        let text = text.trim().trim_end_matches('=');
        text.strip_prefix("SHA256:").unwrap_or(text).to_owned()
    };
    bare(demanded) == bare(presented)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";

    fn policy(known_hosts: &str) -> HostKeyPolicy {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        std::fs::write(&path, known_hosts).unwrap();
        HostKeyPolicy {
            known_hosts: KnownHosts::read(Some(&path)).unwrap(),
            host: "web1".into(),
            port: 22,
            demanded_fingerprint: None,
            given: Vec::new(),
            accept_new: false,
        }
    }

    fn key() -> PublicKey {
        PublicKey::from_openssh(KEY).unwrap()
    }

    #[test]
    fn trusts_a_known_key_without_asking() {
        assert_eq!(
            policy(&format!("web1 {KEY}\n")).decide(&key()),
            Decision::Trust
        );
    }

    #[test]
    fn asks_about_an_unknown_key_and_names_the_fingerprint() {
        let Decision::Ask(text, error) = policy("").decide(&key()) else {
            panic!("not asked");
        };
        let fingerprint = fingerprint(&key());
        assert!(fingerprint.starts_with("SHA256:"));
        assert!(
            text.contains(&fingerprint) && text.contains("web1"),
            "{text}"
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains("--accept-new-host-key"), "{hint}");
        assert!(hint.contains("--host-key-fingerprint SHA256:"), "{hint}");
    }

    #[test]
    fn accepts_a_new_key_when_told_to() {
        let mut policy = policy("");
        policy.accept_new = true;
        assert_eq!(policy.decide(&key()), Decision::TrustAndRecord);
    }

    #[test]
    fn never_trusts_a_changed_key() {
        let mut policy = policy(&format!("web1 {OTHER}\n"));
        policy.accept_new = true;
        policy.demanded_fingerprint = Some(fingerprint(&key()));
        let Decision::Refuse(error) = policy.decide(&key()) else {
            panic!("trusted");
        };
        assert!(matches!(error, HostKeyError::Changed { .. }));
        assert!(error.hint().unwrap().contains("-R 'web1'"));
    }

    #[test]
    fn a_key_that_we_gave_the_target_is_no_surprise_unless_it_is_revoked() {
        let mut policy = policy(&format!("web1 {OTHER}\n"));
        policy.demanded_fingerprint = Some("SHA256:AAAA".into());
        policy.given = fingerprints(&[format!("{KEY} root@web0\n"), "nonsense".to_owned()]);
        assert_eq!(policy.given.len(), 1);
        assert_eq!(policy.decide(&key()), Decision::Trust);
        let mut revoked = super::tests::policy(&format!("@revoked * {KEY}\n"));
        revoked.given = policy.given;
        assert!(matches!(
            revoked.decide(&key()),
            Decision::Refuse(HostKeyError::Revoked { .. })
        ));
    }

    #[test]
    fn a_demanded_fingerprint_decides_alone() {
        let mut unknown = policy("");
        unknown.demanded_fingerprint = Some(fingerprint(&key()));
        assert_eq!(unknown.decide(&key()), Decision::Trust);
        let mut known = policy(&format!("web1 {KEY}\n"));
        known.accept_new = true;
        known.demanded_fingerprint = Some("SHA256:AAAA".into());
        assert!(matches!(
            known.decide(&key()),
            Decision::Refuse(HostKeyError::NotTheDemanded { .. })
        ));
    }

    #[test]
    fn another_key_type_is_not_accepted_unseen() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
        let mut policy = policy(&format!("web1 {ecdsa}\n"));
        policy.accept_new = true;
        assert!(matches!(
            policy.decide(&key()),
            Decision::Ask(text, HostKeyError::OtherType { .. }) if text.contains("WARNING")
        ));
    }
}
