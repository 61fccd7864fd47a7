//! The profiles that are compiled in: one line for each file of the directory `profiles`.
//!
//! Knows nothing of what is in them.

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../profiles/", $name, ".toml")))),*]
    };
}

/// Names and texts; a test compares the list with the directory.
pub(super) const SHIPPED: &[(&str, &str)] = shipped! {
    "access",
    "agent-identities",
    "amazon-ami",
    "boot",
    "caches",
    "containers",
    "core",
    "databases",
    "family-alpine",
    "family-arch",
    "family-debian",
    "family-gentoo",
    "family-rhel",
    "family-suse",
    "identity",
    "kernel-sources",
    "logs",
    "network-dhcpcd",
    "network-dns",
    "network-ifupdown",
    "network-netctl",
    "network-netifrc",
    "network-netplan",
    "network-networkmanager",
    "network-scripts",
    "network-services",
    "network-systemd-networkd",
    "network-wicked",
    "network-wireless",
    "platform-amazon",
    "platform-azure",
    "platform-cloud-init",
    "platform-desktop",
    "platform-digitalocean",
    "platform-google",
    "platform-hyper-v",
    "platform-openstack",
    "platform-others",
    "platform-qemu",
    "platform-rackspace",
    "platform-vmware",
    "platform-xen",
    "process-files",
    "quarantine",
    "sandboxes",
    "source-journal",
    "spools",
    "storage",
    "target-firewall",
    "var-tmp",
    "virtual-machines",
};
