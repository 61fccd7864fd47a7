//! Who makes one file of two: the mergers by name, for profiles, plans and fix-ups. Knows nothing of
//! how they merge.

use serde::{Deserialize, Serialize};

/// Who makes one file of the source's and the target's, by the names of the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merger {
    /// The target's file systems and the source's further mounts.
    Fstab,
    /// The source's accounts and those that the target's own files need.
    Accounts,
    /// The keys of both.
    AuthorizedKeys,
    /// The target's names and the source's further lines.
    Hosts,
    /// Name servers: the target's stay.
    ResolvConf,
    /// Which network services start, masks included: the target's state.
    NetworkUnits,
    /// Which agents of clouds and hypervisors start: the target's own only.
    Agents,
    /// The source's SSH server, in a state in which it starts.
    Sshd,
    /// SELinux: the target's mode with a policy that is there.
    Selinux,
    /// Filters and devices of LVM and its kin: the target's stay.
    Storage,
    /// How initramfs images are made: the target's stays.
    Initramfs,
    /// Kernel modules to load or to leave.
    Modules,
    /// Answers in debconf's database that name disks.
    Debconf,
}

impl Merger {
    /// Every merger.
    pub const ALL: [Merger; 13] = [
        Merger::Fstab,
        Merger::Accounts,
        Merger::AuthorizedKeys,
        Merger::Hosts,
        Merger::ResolvConf,
        Merger::NetworkUnits,
        Merger::Agents,
        Merger::Sshd,
        Merger::Selinux,
        Merger::Storage,
        Merger::Initramfs,
        Merger::Modules,
        Merger::Debconf,
    ];

    /// Returns its name in profiles and reports.
    pub fn word(self) -> &'static str {
        match self {
            Merger::Fstab => "fstab",
            Merger::Accounts => "accounts",
            Merger::AuthorizedKeys => "authorized-keys",
            Merger::Hosts => "hosts",
            Merger::ResolvConf => "resolv-conf",
            Merger::NetworkUnits => "network-units",
            Merger::Agents => "agents",
            Merger::Sshd => "sshd",
            Merger::Selinux => "selinux",
            Merger::Storage => "storage",
            Merger::Initramfs => "initramfs",
            Merger::Modules => "modules",
            Merger::Debconf => "debconf",
        }
    }
}

impl std::fmt::Display for Merger {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.word())
    }
}
