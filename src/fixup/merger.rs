//! The mergers by name, and what each has to see of both machines. Knows nothing of how they
//! merge.

use super::glob::fits;
use super::{
    Case, accounts, agents, authorized_keys, debconf, fstab, modules, names, network_units,
    selinux, sshd,
};
use crate::merger::Merger;

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
    /// Returns the paths that it has to see, part by part with `*` and `?`: at least those that
    /// the profiles have it merge, for nothing else brings these to the target.
    pub(super) fn wanted(self) -> &'static [&'static str] {
        match self {
            Merger::Fstab => &["etc/fstab"],
            Merger::Accounts => accounts::WANTED,
            Merger::AuthorizedKeys => &[
                "root/.ssh/authorized_keys",
                "root/.ssh/authorized_keys2",
                "home/*/.ssh/authorized_keys",
            ],
            Merger::Hosts => &["etc/hosts"],
            Merger::NetworkUnits | Merger::Agents => ENABLED,
            Merger::Sshd => sshd::WANTED,
            Merger::Selinux => &["etc/selinux/config"],
            Merger::Modules => modules::WANTED,
            Merger::Debconf => &["var/cache/debconf/config.dat"],
            Merger::ResolvConf | Merger::Storage | Merger::Initramfs => &[],
        }
    }

    /// Tells whether it has to see what lies at `path`, or may lie below it.
    pub(super) fn wants(self, path: &[u8]) -> bool {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        self.wanted().iter().any(|pattern| {
            let pattern = pattern.as_bytes().split(|byte| *byte == b'/');
            pattern.zip(&parts).all(|(part, name)| fits(part, name))
        })
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
            Merger::Modules => modules::merge(case),
            Merger::Debconf => debconf::merge(case),
            // The verdict has protected what the target has; that is all.
            Merger::ResolvConf | Merger::Storage | Merger::Initramfs => {}
        }
    }
}
