//! Which network services and SSH servers start: as on the target, whose configuration stays.
//! Knows nothing of that configuration.

use super::units::{follow_target, links, starts_on_target};
use super::{Case, Level, Object, path};

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
    let stacks = (STACKS, "the network comes up");
    let ssh = (SSH, "the SSH server starts");
    for (patterns, what) in [stacks, ssh] {
        if starts_on_target(case, patterns) {
            follow_target(case, patterns, &format!("{what} as on the target"));
            continue;
        }
        // Nothing of it is known: taking the source's away would leave no way in.
        let note = format!("no link of the target tells how {what}: those of the source stay");
        case.note(&path("etc"), Level::Warning, note);
        for path in links(case, patterns) {
            let change = Object::as_change(case.source(path));
            let reason = format!("{what} as on the source");
            case.propose(path, change, Level::Warning, &reason);
        }
    }
}
