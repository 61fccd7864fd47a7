//! Whether the clone comes back on the network.
//!
//! It has the source's programs and the target's network configuration. So the stack that brings
//! the target up must be installed on the source, and be started: by a unit that the source
//! enables too, or by an enable link that the rules keep. Knows nothing of how profiles are made.

use super::super::finding::{Found, found};
use super::super::input::PlanInput;
use super::super::wording::list;
use crate::exclude::Verdict;
use crate::facts::{DnsKind, Network, NetworkStack, StackState};

/// Where systemd keeps the links of enabled units, below `/etc/systemd/system`.
const WANTS: [&str; 7] = [
    "multi-user.target.wants",
    "network-online.target.wants",
    "network.target.wants",
    "sysinit.target.wants",
    "sockets.target.wants",
    "basic.target.wants",
    "default.target.wants",
];
/// Where System V init keeps the links of enabled scripts.
const RUN_LEVELS: [&str; 9] = [
    "/etc/rcS.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc5.d",
    "/etc/rc.d/rc2.d",
    "/etc/rc.d/rc3.d",
    "/etc/rc.d/rc5.d",
    "/etc/init.d/rc3.d",
    "/etc/init.d/rc5.d",
];

fn name(stack: NetworkStack) -> &'static str {
    match stack {
        NetworkStack::Ifupdown => "ifupdown",
        NetworkStack::Netplan => "netplan",
        NetworkStack::SystemdNetworkd => "systemd-networkd",
        NetworkStack::NetworkManager => "NetworkManager",
        NetworkStack::NetworkScripts => "network-scripts",
        NetworkStack::Wicked => "wicked",
        NetworkStack::Netctl => "netctl",
        NetworkStack::OpenrcNetifrc => "netifrc",
        NetworkStack::Dhcpcd => "dhcpcd",
    }
}

/// Returns the names of stacks, for sentences.
pub(in crate::plan) fn names(stacks: &[NetworkStack]) -> String {
    let names: Vec<&str> = stacks.iter().map(|stack| name(*stack)).collect();
    list(&names)
}

fn state(network: &Network, stack: NetworkStack) -> Option<&StackState> {
    network.stacks.iter().find(|state| state.stack == stack)
}

fn is_installed(network: &Network, stack: NetworkStack) -> bool {
    state(network, stack).is_some_and(|state| state.installed)
}

pub(super) fn target_stack_missing(input: &PlanInput<'_>) -> Option<Found> {
    let missing: Vec<NetworkStack> = input
        .target
        .network
        .in_charge
        .iter()
        .copied()
        .filter(|stack| !is_installed(&input.source.network, *stack))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let missing = names(&missing);
    found(
        format!("the target's network is brought up by {missing}, which the source lacks"),
        "the clone has the source's programs and would come up without network",
        format!("install {missing} on the source, or use the source's stack on the target"),
    )
}

pub(super) fn target_stack_not_started(input: &PlanInput<'_>) -> Option<Found> {
    let target = &input.target.network;
    let stopped: Vec<NetworkStack> = target
        .in_charge
        .iter()
        .copied()
        .filter(|stack| is_installed(&input.source.network, *stack))
        .filter(|stack| !is_started(input, *stack))
        .collect();
    if stopped.is_empty() {
        return None;
    }
    let units: Vec<&str> = stopped
        .iter()
        .filter_map(|stack| state(target, *stack))
        .flat_map(starters)
        .collect();
    found(
        format!(
            "the target's network is brought up by {}, which the source does not start",
            names(&stopped)
        ),
        "the clone would start as the source does, and come up without network",
        format!("enable {} on the source too", list(&units)),
    )
}

/// Returns the units that start a stack; what only waits for it or follows it does not.
fn starters(state: &StackState) -> impl Iterator<Item = &str> {
    let units = state.enabled_units.iter().map(String::as_str);
    units.filter(|unit| !unit.contains("wait-online") && !unit.contains("dispatcher"))
}

fn is_started(input: &PlanInput<'_>, stack: NetworkStack) -> bool {
    let Some(target) = state(&input.target.network, stack) else {
        return true;
    };
    let mut units = starters(target).peekable();
    // Netplan has none: it is a generator.
    if units.peek().is_none() {
        return true;
    }
    let source = state(&input.source.network, stack);
    units.any(|unit| {
        let is_enabled = |state: &StackState| starters(state).any(|own| plain(own) == plain(unit));
        source.is_some_and(is_enabled) || keeps_link(input, unit)
    })
}

/// Returns the name of a unit, script or job without its kind, run level or place in the order:
/// `networking` of `networking.service`, `S01networking`, `boot/networking`, `networking.conf`.
fn plain(unit: &str) -> &str {
    let name = unit.rsplit('/').next().unwrap_or(unit);
    let name = [".service", ".conf"]
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name);
    match name.as_bytes() {
        [b'S', tens, ones, _, ..] if tens.is_ascii_digit() && ones.is_ascii_digit() => {
            name.get(3..).unwrap_or(name)
        }
        _ => name,
    }
}

/// Tells whether the target's own link that starts a unit stays, by any of its usual places.
fn keeps_link(input: &PlanInput<'_>, unit: &str) -> bool {
    let stays = |path: String| input.verdict(&path, false) != Verdict::Copy;
    if unit.contains('/') {
        // OpenRC's units are told with their run level.
        return stays(format!("/etc/runlevels/{unit}"));
    }
    if unit.ends_with(".conf") {
        return stays(format!("/etc/init/{unit}"));
    }
    let wants = WANTS
        .iter()
        .map(|wants| format!("/etc/systemd/system/{wants}/{unit}"));
    let levels = RUN_LEVELS.iter().map(|level| format!("{level}/{unit}"));
    wants.chain(levels).any(stays)
}

pub(super) fn unknown_stack(input: &PlanInput<'_>) -> Option<Found> {
    if !input.target.network.in_charge.is_empty() {
        return None;
    }
    found(
        "nothing on the target says who brings up its network",
        "nobody can tell whether the clone comes back after a reboot",
        "have a console at hand for the first boot",
    )
}

pub(super) fn doubled_stack(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.network, &input.target.network);
    let comes_along = |stack: &NetworkStack| {
        let state = state(source, *stack);
        state.is_some_and(|state| starters(state).any(|unit| !keeps_link(input, unit)))
    };
    let doubled: Vec<NetworkStack> = source
        .in_charge
        .iter()
        .copied()
        .filter(|stack| !target.in_charge.contains(stack))
        .filter(comes_along)
        .collect();
    if doubled.is_empty() || target.in_charge.is_empty() {
        return None;
    }
    found(
        format!(
            "the source starts {}, the target {}: the clone starts both",
            names(&doubled),
            names(&target.in_charge)
        ),
        "two stacks may fight over one interface",
        format!(
            "disable {} on the source first; or pass --no-reboot, disable it on the target and \
             reboot that",
            names(&doubled)
        ),
    )
}

pub(super) fn dns_broken(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.network.dns, &input.target.network.dns);
    let link = target.link.as_deref()?;
    let leads_to_run = link.contains("run/");
    let is_kept = !input.arrives("/etc/resolv.conf");
    let is_shared = source.kind == DnsKind::Link && maker(source.link.as_deref()?) == maker(link);
    if !leads_to_run || !is_kept || is_shared {
        return None;
    }
    found(
        format!("the target's /etc/resolv.conf is a link to {link}, the source's is not"),
        "where the source does not run what writes that file, names do not resolve",
        "install and enable the target's resolver on the source",
    )
}

/// Returns the directory in `/run` that a link leads to: who writes there.
fn maker(link: &str) -> &str {
    let rest = link.split_once("run/").map_or(link, |(_, rest)| rest);
    rest.rsplit_once('/').map_or(rest, |(maker, _)| maker)
}

pub(super) fn firewall_names_source(input: &PlanInput<'_>) -> Option<Found> {
    let own: Vec<&String> = input
        .source
        .network
        .interfaces
        .iter()
        .flat_map(|interface| &interface.addresses)
        .collect();
    let files: Vec<String> = input
        .source
        .network
        .firewall
        .iter()
        .filter(|file| input.arrives(&file.path))
        .filter_map(|file| {
            let address = file
                .addresses
                .iter()
                .find(|address| own.contains(address))?;
            Some(format!("{} ({address})", file.path))
        })
        .collect();
    if files.is_empty() {
        return None;
    }
    found(
        format!(
            "the source's firewall names its own address in {}",
            list(&files)
        ),
        "on the clone such rules match nothing, or shut SSH out",
        "change the rule on the source first; or pass --no-reboot, change it on the target and \
         reboot that",
    )
}

pub(super) fn other_interfaces(input: &PlanInput<'_>) -> Option<Found> {
    let names = |network: &'_ Network| -> Vec<String> {
        let names = network.interfaces.iter();
        names.map(|interface| interface.name.clone()).collect()
    };
    let (source, target) = (names(&input.source.network), names(&input.target.network));
    let shares_one = source.iter().any(|name| target.contains(name));
    if source.is_empty() || target.is_empty() || shares_one {
        return None;
    }
    found(
        format!(
            "the source's interfaces are {}, the target's {}",
            list(&source),
            list(&target)
        ),
        "firewalls and services that name an interface do not find it",
        "look for the source's names in /etc of the clone",
    )
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_unit_has_one_name_under_every_init() {
        for unit in [
            "networking",
            "networking.service",
            "S01networking",
            "boot/networking",
            "networking.conf",
        ] {
            assert_eq!(plain(unit), "networking");
        }
        assert_eq!(plain("Sam.service"), "Sam");
        assert_eq!(plain("default/net.eth0"), "net.eth0");
    }
}
