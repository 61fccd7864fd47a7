//! Which network stacks are there, configured and started at boot. Knows nothing of what they
//! configure.

use super::assignments::Assignments;
use super::look::{Look, active_lines};
use super::units::Units;
use crate::facts::{NetworkStack, StackState};

/// How one stack is recognised.
struct Signs {
    stack: NetworkStack,
    /// A directory without which it is another stack's program or unit.
    home: &'static str,
    programs: &'static [&'static str],
    units: &'static [&'static str],
    is_configured: fn(&Look) -> bool,
}

const SIGNS: [Signs; 9] = [
    Signs {
        stack: NetworkStack::Ifupdown,
        home: "/etc/network",
        programs: &["/sbin/ifup", "/usr/sbin/ifup"],
        units: &["networking", "ifup@*", "ifupdown2"],
        is_configured: has_ifupdown,
    },
    Signs {
        stack: NetworkStack::Netplan,
        home: "/",
        programs: &[
            "/usr/sbin/netplan",
            "/lib/netplan/generate",
            "/usr/libexec/netplan/*",
        ],
        units: &["netplan-ovs-*"],
        is_configured: |look| !netplan_files(look).is_empty(),
    },
    Signs {
        stack: NetworkStack::SystemdNetworkd,
        home: "/",
        programs: &[
            "/usr/lib/systemd/systemd-networkd",
            "/lib/systemd/systemd-networkd",
        ],
        units: &["systemd-networkd"],
        is_configured: has_networkd,
    },
    Signs {
        stack: NetworkStack::NetworkManager,
        home: "/",
        programs: &MANAGERS,
        units: &["NetworkManager", "network-manager"],
        is_configured: has_network_manager,
    },
    Signs {
        stack: NetworkStack::NetworkScripts,
        home: "/etc/sysconfig/network-scripts",
        programs: &[
            "/etc/sysconfig/network-scripts/ifup-eth",
            "/etc/sysconfig/network-scripts/network-functions",
        ],
        units: &["network"],
        is_configured: |look| has_ifcfg(look, "/etc/sysconfig/network-scripts"),
    },
    Signs {
        stack: NetworkStack::Wicked,
        home: "/etc/sysconfig/network",
        // SUSE to 11 has a script and no wicked.
        programs: &[
            "/usr/sbin/wicked",
            "/sbin/netcontrol",
            "/etc/init.d/network",
        ],
        units: &["wicked", "network"],
        is_configured: |look| has_ifcfg(look, "/etc/sysconfig/network"),
    },
    Signs {
        stack: NetworkStack::Netctl,
        home: "/",
        programs: &["/usr/bin/netctl"],
        units: &["netctl", "netctl@*", "netctl-auto@*", "netctl-ifplugd@*"],
        is_configured: |look| has_file(look, "/etc/netctl", |_| true),
    },
    Signs {
        stack: NetworkStack::OpenrcNetifrc,
        home: "/etc/init.d",
        programs: &["/etc/init.d/net.lo"],
        units: &["net.*"],
        is_configured: has_netifrc,
    },
    Signs {
        stack: NetworkStack::Dhcpcd,
        home: "/",
        programs: &["/sbin/dhcpcd", "/usr/sbin/dhcpcd", "/usr/bin/dhcpcd"],
        units: &["dhcpcd", "dhcpcd@*", "dhcpcd5"],
        is_configured: |look| look.exists("/etc/dhcpcd.conf"),
    },
];

/// Returns every stack that left a trace.
pub(super) fn gather(look: &Look, units: &Units) -> Vec<StackState> {
    let states = SIGNS.iter().map(|signs| state(look, units, signs));
    states
        .filter(|state| state.installed || state.configured || !state.enabled_units.is_empty())
        .collect()
}

fn state(look: &Look, units: &Units, signs: &Signs) -> StackState {
    let is_home = signs.home == "/" || look.is_directory(signs.home);
    let mut enabled_units = match is_home {
        true => units.enabled(signs.units),
        false => Vec::new(),
    };
    // The loopback is nobody's business.
    enabled_units.retain(|unit| !unit.ends_with("/net.lo"));
    StackState {
        stack: signs.stack,
        installed: is_home && look.any(signs.programs),
        configured: is_home && (signs.is_configured)(look),
        enabled_units,
    }
}

/// Returns the stacks that bring the network up at boot.
pub(super) fn in_charge(look: &Look, units: &Units, states: &[StackState]) -> Vec<NetworkStack> {
    let netplan = states
        .iter()
        .find(|state| state.stack == NetworkStack::Netplan);
    let renderer = netplan
        .filter(|state| state.installed && state.configured)
        .map(|_| netplan_renderer(look));
    let starts = |state: &StackState| {
        let is_enabled = !state.enabled_units.is_empty();
        match state.stack {
            NetworkStack::Netplan => renderer.is_some(),
            // netplan's generator enables it when the system starts.
            NetworkStack::SystemdNetworkd if renderer == Some(NetworkStack::SystemdNetworkd) => {
                state.installed && !units.is_masked("systemd-networkd")
            }
            NetworkStack::NetworkManager if renderer == Some(NetworkStack::NetworkManager) => {
                is_enabled
            }
            // Without configuration it asks for addresses on every interface.
            NetworkStack::Dhcpcd => is_enabled && state.installed,
            _ => is_enabled && state.configured,
        }
    };
    let mut stacks: Vec<NetworkStack> = states
        .iter()
        .filter(|state| starts(state))
        .map(|state| state.stack)
        .collect();
    // It takes every interface that nobody else has, without any configuration.
    let idle_manager = states.iter().find(|state| {
        state.stack == NetworkStack::NetworkManager
            && state.installed
            && !state.enabled_units.is_empty()
    });
    if stacks.is_empty()
        && let Some(manager) = idle_manager
    {
        stacks.push(manager.stack);
    }
    stacks
}

/// Returns what netplan writes for: NetworkManager when a file says so, else networkd.
fn netplan_renderer(look: &Look) -> NetworkStack {
    let texts = netplan_files(look).into_iter();
    let is_manager = texts.filter_map(|path| look.text(&path)).any(|text| {
        active_lines(&text)
            .filter_map(|line| line.strip_prefix("renderer:"))
            .any(|value| value.contains("NetworkManager"))
    });
    match is_manager {
        true => NetworkStack::NetworkManager,
        false => NetworkStack::SystemdNetworkd,
    }
}

fn netplan_files(look: &Look) -> Vec<String> {
    let directories = ["/etc/netplan", "/run/netplan", "/lib/netplan"];
    let paths = directories
        .iter()
        .flat_map(|directory| look.paths(directory, ".yaml"));
    paths.collect()
}

fn has_ifupdown(look: &Look) -> bool {
    let main = look.text("/etc/network/interfaces").unwrap_or_default();
    let mut texts = vec![main];
    if texts.iter().any(|text| text.contains("interfaces.d")) {
        let parts = look.paths("/etc/network/interfaces.d", "");
        texts.extend(parts.iter().filter_map(|path| look.text(path)));
    }
    let mut lines = texts.iter().flat_map(|text| active_lines(text));
    lines.any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("iface") && words.next().is_some_and(|name| name != "lo")
    })
}

fn has_networkd(look: &Look) -> bool {
    let own = ["/etc/systemd/network", "/run/systemd/network"];
    if own
        .iter()
        .any(|directory| !look.paths(directory, ".network").is_empty())
    {
        return true;
    }
    // What systemd itself brings is for its own containers and machines; what else lies there
    // (`80-ec2.network`) is an image's.
    const SHIPPED: [&str; 6] = [
        "80-container",
        "80-vm-",
        "80-6rd",
        "80-auto-link",
        "80-iwd",
        "80-wifi",
    ];
    let is_image_file =
        |name: &str| name.ends_with(".network") && !SHIPPED.iter().any(|s| name.starts_with(s));
    has_file(look, "/usr/lib/systemd/network", is_image_file)
}

const MANAGERS: [&str; 2] = ["/usr/sbin/NetworkManager", "/usr/bin/NetworkManager"];

fn has_network_manager(look: &Look) -> bool {
    let directories = [
        "/etc/NetworkManager/system-connections",
        "/run/NetworkManager/system-connections",
        "/usr/lib/NetworkManager/system-connections",
    ];
    directories
        .iter()
        .any(|directory| has_file(look, directory, |name| name != "lo.nmconnection"))
        // The files of the scripts are also its own, where it is.
        || (look.any(&MANAGERS) && has_ifcfg(look, "/etc/sysconfig/network-scripts"))
}

/// Tells whether there is a file for an interface that is to come up at boot.
fn has_ifcfg(look: &Look, directory: &str) -> bool {
    let names = look.names(directory);
    let mut files = names.iter().filter(|name| {
        let is_copy = [
            ".bak",
            ".orig",
            ".rpmsave",
            ".rpmnew",
            ".rpmorig",
            "~",
            ".template",
        ]
        .iter()
        .any(|ending| name.ends_with(ending));
        let interface = name.strip_prefix("ifcfg-");
        interface.is_some_and(|interface| interface != "lo") && !is_copy
    });
    files.any(|name| {
        let text = look
            .text(&format!("{directory}/{name}"))
            .unwrap_or_default();
        let values = Assignments::parse(&text);
        let is_off = values
            .get("ONBOOT")
            .is_some_and(|value| value.eq_ignore_ascii_case("no"));
        let is_manual = matches!(values.get("STARTMODE"), Some("off" | "manual"));
        !is_off && !is_manual
    })
}

fn has_netifrc(look: &Look) -> bool {
    let text = look.text("/etc/conf.d/net").unwrap_or_default();
    let is_set = active_lines(&text)
        .any(|line| line.starts_with("config_") && !line.starts_with("config_lo="));
    // An interface that no file names asks for its address.
    let has_service = || {
        let levels = look.names("/etc/runlevels").into_iter();
        let mut names = levels.flat_map(|level| look.names(&format!("/etc/runlevels/{level}")));
        names.any(|name| name.starts_with("net.") && name != "net.lo")
    };
    is_set || has_service()
}

fn has_file(look: &Look, directory: &str, is_wanted: impl Fn(&str) -> bool) -> bool {
    let names = look.names(directory);
    names.iter().any(|name| {
        let path = format!("{directory}/{name}");
        is_wanted(name) && look.status(&path).is_some_and(|status| status.is_file())
    })
}
