//! Who configures the network, and what it is.

use serde::{Deserialize, Serialize};

/// The network of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Network {
    /// Every stack that left a trace, in the order of [`NetworkStack`].
    pub stacks: Vec<StackState>,
    /// The stacks that bring the network up at boot: enabled and with something to do. More than
    /// one is possible (netplan above networkd).
    pub in_charge: Vec<NetworkStack>,
    /// How names are resolved.
    pub dns: Dns,
    /// Interfaces but the loopback; empty for a mounted root.
    pub interfaces: Vec<Interface>,
    /// Firewall files that have rules, with the addresses that they name.
    pub firewall: Vec<Firewall>,
}

/// Tells whether an address, as text, is one of the loopback.
pub fn is_loopback(address: &[u8]) -> bool {
    address.starts_with(b"127.") || address == b"::1"
}

/// A file with firewall rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Firewall {
    /// The file.
    pub path: String,
    /// Addresses in it, sorted, each once; at most 100.
    pub addresses: Vec<String>,
}

/// A way to configure the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkStack {
    /// `/etc/network/interfaces`: ifupdown, ifupdown2, ifupdown-ng.
    Ifupdown,
    /// `/etc/netplan`.
    Netplan,
    /// `/etc/systemd/network`.
    SystemdNetworkd,
    /// NetworkManager.
    NetworkManager,
    /// `/etc/sysconfig/network-scripts`.
    NetworkScripts,
    /// `/etc/sysconfig/network` of SUSE.
    Wicked,
    /// `/etc/netctl`.
    Netctl,
    /// `/etc/conf.d/net` and `net.*` services.
    OpenrcNetifrc,
    /// dhcpcd as a service of its own.
    Dhcpcd,
}

/// One stack on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StackState {
    /// Which.
    pub stack: NetworkStack,
    /// Whether its program is there.
    pub installed: bool,
    /// Whether there is configuration for an interface besides the loopback.
    pub configured: bool,
    /// Its units or scripts that start at boot: `networking.service`, `S01networking`.
    pub enabled_units: Vec<String>,
}

/// How names are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Dns {
    /// What stands at `/etc/resolv.conf`.
    pub kind: DnsKind,
    /// Where the link leads, as written.
    pub link: Option<String>,
    /// Name servers in the file, in its order.
    pub servers: Vec<String>,
}

/// What stands at `/etc/resolv.conf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsKind {
    /// A file.
    File,
    /// A link.
    Link,
    /// Nothing.
    #[default]
    Missing,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// Its name: `eth0`.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<String>,
    /// Its addresses, without prefix length.
    pub addresses: Vec<String>,
}
