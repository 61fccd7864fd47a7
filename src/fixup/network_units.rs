//! Which network services and SSH servers start: as on the target, whose configuration stays.
//! Knows nothing of that configuration.

use super::units::{follow_target, starts_on_target};
use super::{Case, Level, path};

/// Services of the network stacks, and of names.
const STACKS: &[&str] = &[
    "NetworkManager",
    "NetworkManager-*",
    "systemd-networkd",
    "systemd-networkd-*",
    "systemd-network-generator",
    "systemd-resolved",
    "systemd-resolved-*",
    "networking",
    "network",
    "networkd-dispatcher",
    "ifup@*",
    "ifupdown*",
    "ifplugd*",
    "wicked*",
    "netctl*",
    "netcfg*",
    "net.*",
    "net-online",
    "netifrc",
    "netplan-*",
    "dhcpcd*",
    "dhclient*",
    "dhcp6c",
    "connman*",
    "iwd",
    "wpa_supplicant*",
    "resolvconf*",
    "openresolv",
    "dbus-org.freedesktop.network1",
    "dbus-org.freedesktop.resolve1",
    "dbus-org.freedesktop.NetworkManager",
    "dbus-org.freedesktop.nm-dispatcher",
    "dbus-fi.*.wpa_supplicant1",
];
/// SSH servers and what makes their keys.
const SSH: &[&str] = &[
    "ssh",
    "sshd",
    "ssh@*",
    "sshd@*",
    "sshd-*",
    "ssh-*",
    "dropbear*",
];

pub(super) fn merge(case: &mut Case<'_>) {
    let network = "the network comes up as on the target";
    let ssh = "the SSH server starts as on the target";
    for (patterns, reason) in [(STACKS, network), (SSH, ssh)] {
        if starts_on_target(case, patterns) {
            follow_target(case, patterns, reason);
            continue;
        }
        // Nothing of it is known: taking the source's away would leave no way in.
        let what = format!("not seen how on the target: {reason} is up to the source's links");
        case.note(&path("etc"), Level::Warning, what);
    }
}
