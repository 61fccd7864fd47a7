//! The mergers by name, and what each has to see of both machines. Knows nothing of how they
//! merge.

use serde::{Deserialize, Serialize};

use super::{
    Case, accounts, agents, authorized_keys, debconf, fstab, machine_id, modules, names,
    network_units, selinux, sshd,
};

/// Who makes one file of the source's and the target's; by the names of the profiles.
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
    /// The machine's id and what is named by it.
    MachineId,
    /// Filters and devices of LVM and its kin: the target's stay.
    Storage,
    /// How initramfs images are made: the target's stays.
    Initramfs,
    /// Kernel modules to load or to leave.
    Modules,
    /// Answers in debconf's database that name disks.
    Debconf,
}

/// Where units and scripts are enabled: links, and what may stand in the place of one.
const ENABLED: &[&str] = &[
    "etc/systemd/system/*",
    "etc/systemd/system/*.wants/*",
    "etc/systemd/system/*.requires/*",
    "etc/rc?.d/*",
    "etc/rc.d/rc?.d/*",
    "etc/init.d/rc?.d/*",
    "etc/runlevels/*/*",
    agents::CLOUD_INIT_OFF,
];

impl Merger {
    /// Every merger.
    pub const ALL: [Merger; 14] = [
        Merger::Fstab,
        Merger::Accounts,
        Merger::AuthorizedKeys,
        Merger::Hosts,
        Merger::ResolvConf,
        Merger::NetworkUnits,
        Merger::Agents,
        Merger::Sshd,
        Merger::Selinux,
        Merger::MachineId,
        Merger::Storage,
        Merger::Initramfs,
        Merger::Modules,
        Merger::Debconf,
    ];

    /// Returns its name in profiles and reports.
    pub fn name(self) -> &'static str {
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
            Merger::MachineId => "machine-id",
            Merger::Storage => "storage",
            Merger::Initramfs => "initramfs",
            Merger::Modules => "modules",
            Merger::Debconf => "debconf",
        }
    }

    /// Returns the paths that it has to see, part by part with `*` and `?`; below the root, and
    /// for keys also below the home directory of the login user.
    pub(super) fn wanted(self) -> &'static [&'static str] {
        match self {
            Merger::Fstab => &["etc/fstab"],
            Merger::Accounts => accounts::WANTED,
            Merger::AuthorizedKeys => &["root/.ssh/authorized_keys", "root/.ssh/authorized_keys2"],
            Merger::Hosts => &["etc/hosts"],
            Merger::NetworkUnits | Merger::Agents => ENABLED,
            Merger::Sshd => sshd::WANTED,
            Merger::Selinux => &["etc/selinux/config"],
            Merger::MachineId => &["etc/machine-id", "var/lib/dbus/machine-id"],
            Merger::Modules => modules::WANTED,
            Merger::Debconf => &["var/cache/debconf/config.dat"],
            Merger::ResolvConf | Merger::Storage | Merger::Initramfs => &[],
        }
    }

    pub(super) fn merge(self, case: &mut Case<'_>) {
        match self {
            Merger::Fstab => fstab::merge(case),
            Merger::Accounts => accounts::merge(case),
            Merger::AuthorizedKeys => authorized_keys::merge(case),
            Merger::Hosts => names::merge(case),
            Merger::NetworkUnits => network_units::merge(case),
            Merger::Agents => agents::merge(case),
            Merger::Sshd => sshd::merge(case),
            Merger::Selinux => selinux::merge(case),
            Merger::MachineId => machine_id::merge(case),
            Merger::Modules => modules::merge(case),
            Merger::Debconf => debconf::merge(case),
            // The verdict has protected what the target has; that is all.
            Merger::ResolvConf | Merger::Storage | Merger::Initramfs => {}
        }
    }
}

impl std::fmt::Display for Merger {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}
