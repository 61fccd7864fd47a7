//! What makes a machine this one, and who gets in.

use serde::{Deserialize, Serialize};

/// What makes a machine this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// `/etc/hostname`, or what the older files say.
    pub hostname: Option<String>,
    /// `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// The boot's id; `None` for a mounted root.
    pub boot_id: Option<String>,
    /// Fingerprints of the SSH host keys (`SHA256:…`), sorted.
    pub host_keys: Vec<String>,
    /// The UUID of the root file system.
    pub root_uuid: Option<String>,
    /// Whether another run of instancesync holds its lock here.
    pub is_locked: bool,
    /// Seconds since the installation, by the age of the oldest of a few files that an
    /// installation makes and nobody touches.
    pub age_s: Option<u64>,
}

/// Who can log in and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Access {
    /// Numeric user that gathered these facts; 0 is root.
    pub user_id: Option<u32>,
    /// The SSH server's settings, effective where `sshd -T` could be asked.
    pub ssh_server: Option<SshServer>,
    /// Accounts.
    pub users: Users,
}

/// Settings of the SSH server that can close the door.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SshServer {
    /// Whether `sshd -T` said it; else the files did.
    pub effective: bool,
    /// Ports, sorted.
    pub ports: Vec<u16>,
    /// Addresses that it listens on, if not on all.
    pub listen_addresses: Vec<String>,
    /// `PermitRootLogin`: `yes`, `no`, `prohibit-password`, `forced-commands-only`.
    pub permit_root_login: String,
    /// `PasswordAuthentication`.
    pub password_authentication: bool,
    /// `PubkeyAuthentication`.
    pub pubkey_authentication: bool,
    /// `AllowUsers`.
    pub allow_users: Vec<String>,
    /// `DenyUsers`.
    pub deny_users: Vec<String>,
    /// `AllowGroups`.
    pub allow_groups: Vec<String>,
    /// `DenyGroups`.
    pub deny_groups: Vec<String>,
    /// `AuthorizedKeysFile`, split.
    pub authorized_keys_files: Vec<String>,
}

/// Accounts of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Users {
    /// Names of accounts of people: ids from 1000 (500 on RHEL 6 and older) to 60000.
    pub people: Vec<String>,
    /// Groups of root, for `AllowGroups`.
    pub root_groups: Vec<String>,
}
