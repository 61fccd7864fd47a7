//! The network of a machine: who configures it, how names are resolved, which addresses it has,
//! and which firewall files name addresses. Reads `/proc` and `/sys`; asks no program.
//!
//! Knows nothing of how the stacks are recognised.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::assignments::Assignments;
use super::look::{Look, active_lines};
use super::stacks;
use super::units::Units;
use crate::facts::{Dns, DnsKind, Firewall, Interface, Network};

/// LIMIT: addresses of one firewall file; a block list may have a million.
const MAX_ADDRESSES: usize = 100;
/// LIMIT: firewall files that are looked at.
const MAX_FIREWALL_FILES: usize = 100;

/// Gathers all of it.
pub(super) fn gather(look: &Look, units: &Units) -> Network {
    let stacks = stacks::gather(look, units);
    Network {
        in_charge: stacks::in_charge(look, units, &stacks),
        stacks,
        dns: dns(look),
        interfaces: interfaces(look),
        firewall: firewall(look),
    }
}

fn dns(look: &Look) -> Dns {
    let path = "/etc/resolv.conf";
    let link = look.link(path);
    let kind = match (&link, look.exists(path)) {
        (Some(_), _) => DnsKind::Link,
        (None, true) => DnsKind::File,
        (None, false) => DnsKind::Missing,
    };
    let text = look.text(path).unwrap_or_default();
    let servers = active_lines(&text).filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().unwrap_or("").to_owned())
    });
    Dns {
        kind,
        link,
        servers: servers.filter(|server| !server.is_empty()).collect(),
    }
}

fn interfaces(look: &Look) -> Vec<Interface> {
    let names = look.names("/sys/class/net").into_iter();
    // Not a directory: `bonding_masters`.
    let names: Vec<String> = names
        .filter(|name| name != "lo" && look.is_directory(&format!("/sys/class/net/{name}")))
        .collect();
    let mut addresses = addresses(look);
    let interface = |name: String| Interface {
        mac: look
            .word(&format!("/sys/class/net/{name}/address"))
            .filter(|mac| mac.chars().any(|letter| !matches!(letter, '0' | ':'))),
        addresses: addresses
            .remove(&name)
            .unwrap_or_default()
            .iter()
            .map(IpAddr::to_string)
            .collect(),
        name,
    };
    names.into_iter().map(interface).collect()
}

/// Returns the addresses of each interface, as the kernel's tables tell.
fn addresses(look: &Look) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let text = |path| look.text(path).unwrap_or_default();
    let routes: Vec<Route> = text("/proc/net/route")
        .lines()
        .filter_map(Route::parse)
        .collect();
    let mut found: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for address in own_addresses(&text("/proc/net/fib_trie")) {
        // The table of own addresses does not name interfaces: the one whose network holds the
        // address has it, or the one of the default route, where the network is one machine.
        let matching = routes.iter().filter(|route| route.holds(address));
        if let Some(route) = matching.max_by_key(|route| route.mask.count_ones()) {
            found
                .entry(route.interface.clone())
                .or_default()
                .insert(IpAddr::V4(address));
        }
    }
    for line in text("/proc/net/if_inet6").lines() {
        let mut words = line.split_whitespace();
        let address = words
            .next()
            .and_then(|word| u128::from_str_radix(word, 16).ok());
        if let (Some(address), Some(name)) = (address, words.nth(4)) {
            let address = IpAddr::V6(Ipv6Addr::from_bits(address));
            found.entry(name.to_owned()).or_default().insert(address);
        }
    }
    found
}

/// A line of `/proc/net/route`.
struct Route {
    interface: String,
    network: u32,
    mask: u32,
}

impl Route {
    fn parse(line: &str) -> Option<Route> {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The kernel prints the bytes of an address as one number of this machine.
        let number = |index: usize| {
            let number = u32::from_str_radix(words.get(index)?, 16).ok()?;
            Some(u32::from_be_bytes(number.to_ne_bytes()))
        };
        Some(Route {
            interface: (*words.first()?).to_owned(),
            network: number(1)?,
            mask: number(7)?,
        })
    }

    fn holds(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask == self.network
    }
}

/// Returns the machine's own addresses out of `fib_trie`: a leaf, then `/32 host LOCAL`.
fn own_addresses(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf = None;
    for line in trie.lines() {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("|-- ") {
            leaf = rest.trim().parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf.filter(|address| !address.is_loopback()));
        }
    }
    found
}

fn firewall(look: &Look) -> Vec<Firewall> {
    let files = firewall_files(look).into_iter().take(MAX_FIREWALL_FILES);
    files
        .filter_map(|path| {
            let text = look.text(&path)?;
            has_rules(&text).then(|| Firewall {
                addresses: named_addresses(&text),
                path,
            })
        })
        .collect()
}

fn firewall_files(look: &Look) -> Vec<String> {
    const FILES: [&str; 11] = [
        "/etc/iptables/rules.v4",
        "/etc/iptables/rules.v6",
        "/etc/iptables/iptables.rules",
        "/etc/iptables/ip6tables.rules",
        "/etc/iptables.rules",
        "/etc/sysconfig/iptables",
        "/etc/sysconfig/ip6tables",
        "/etc/sysconfig/nftables.conf",
        "/etc/sysconfig/SuSEfirewall2",
        "/etc/nftables.conf",
        "/etc/nftables.nft",
    ];
    const DIRECTORIES: [(&str, &str); 6] = [
        ("/etc/nftables", ".nft"),
        ("/etc/nftables.d", ".nft"),
        ("/etc/firewalld/zones", ".xml"),
        ("/etc/firewalld/ipsets", ".xml"),
        ("/etc/firewalld", "direct.xml"),
        ("/etc/shorewall", "rules"),
    ];
    let mut files: Vec<String> = FILES.iter().map(|path| (*path).to_owned()).collect();
    for (directory, ending) in DIRECTORIES {
        files.extend(look.paths(directory, ending));
    }
    // The rules of ufw are there from its installation on.
    let ufw = look.text("/etc/ufw/ufw.conf").unwrap_or_default();
    if Assignments::parse(&ufw).is_yes("ENABLED") {
        files.extend(["user.rules", "user6.rules"].map(|name| format!("/etc/ufw/{name}")));
    }
    files.retain(|path| look.exists(path));
    files
}

/// Tells whether a firewall file does more than declare tables and policies.
fn has_rules(text: &str) -> bool {
    const VERBS: [&str; 9] = [
        "-a ", "accept", "drop", "reject", "allow", "dnat", "<rule", "<entry", "<source ",
    ];
    active_lines(text).any(|line| {
        let line = line.to_ascii_lowercase();
        // `:INPUT ACCEPT [0:0]`, `type filter hook input priority 0; policy accept;`
        let declares = line.starts_with(':') || line.starts_with("type ");
        !declares && VERBS.iter().any(|verb| line.contains(verb))
    })
}

/// Returns the addresses in a text that can be somebody's, sorted.
fn named_addresses(text: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_hexdigit() || matches!(letter, '.' | ':' | '/');
    let addresses: BTreeSet<IpAddr> = active_lines(text)
        .flat_map(|line| line.split(|letter| !is_part(letter)))
        .filter_map(|word| word.split('/').next()?.parse().ok())
        .filter(|address: &IpAddr| {
            !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
        })
        .collect();
    let texts = addresses.iter().map(IpAddr::to_string);
    texts.take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn own_addresses_are_the_leaves_that_say_so() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST
        |-- 192.0.2.10\n           /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL
        |-- 192.0.2.255\n           /32 link BROADCAST\n";
        let found: Vec<_> = own_addresses(trie)
            .iter()
            .map(Ipv4Addr::to_string)
            .collect();
        assert_eq!(found, ["192.0.2.10"]);
    }

    #[test]
    fn a_skeleton_has_no_rules() {
        for (text, has) in [
            ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", false),
            (
                "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 192.0.2.1/32 -j ACCEPT\n",
                true,
            ),
            (
                "table inet filter {\n chain input {\n  type filter hook input priority filter;\n }\n}",
                false,
            ),
            (
                "table inet filter {\n chain input {\n  tcp dport 22 accept\n }\n}",
                true,
            ),
            ("# -A INPUT -j DROP\n", false),
        ] {
            assert_eq!(has_rules(text), has, "{text}");
        }
        let text = "-A INPUT -s 192.0.2.1/32 -d 2001:db8::1 -j ACCEPT\n-A X -s 0.0.0.0/0 -p 22:23";
        assert_eq!(named_addresses(text), ["192.0.2.1", "2001:db8::1"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_them_fail(bytes: Vec<u8>) {
            let text = String::from_utf8_lossy(&bytes);
            let _addresses = (own_addresses(&text), named_addresses(&text), has_rules(&text));
            let _routes: Vec<_> = text.lines().filter_map(Route::parse).collect();
        }
    }
}
