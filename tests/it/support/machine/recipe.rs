//! What a machine is made of: packages, size, network stack, and what makes it this machine.
//! Knows nothing of how it is run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::disk::Mounted;
use crate::support::sshd::make_key;

/// What every machine has.
const PACKAGES: [&str; 6] = [
    "openssh-server",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "nftables",
    "sqlite3",
];

/// What brings the network up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    Ifupdown,
    Networkd,
    Netplan,
    NetworkManager,
}

/// What machines can be made alike by.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// What brings the network up; no other stack is installed but systemd's own.
    pub stack: Stack,
    /// The size of the disk, as truncate reads it.
    pub size: &'static str,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            stack: Stack::Ifupdown,
            size: "3G",
        }
    }
}

impl Recipe {
    pub(super) fn packages(&self) -> Vec<&'static str> {
        let stack = match self.stack {
            Stack::Ifupdown => Some("ifupdown"),
            Stack::Networkd => None,
            Stack::Netplan => Some("netplan.io"),
            Stack::NetworkManager => Some("network-manager"),
        };
        PACKAGES.into_iter().chain(stack).collect()
    }
}

/// Gives a fresh disk a name, ids, keys, a password and a network. Returns the host key, its type
/// and itself.
pub(super) fn make_own(recipe: &Recipe, disk: &Mounted, name: &str, address: &str) -> String {
    disk.put("/etc/hostname", &format!("{name}\n"));
    disk.put(
        "/etc/hosts",
        &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n"),
    );
    disk.put("/etc/machine-id", &format!("{}\n", random_id()));
    make_key(&disk.root().join("etc/ssh/ssh_host_ed25519_key"));
    disk.run(&format!("echo root:secret-{name} | chpasswd"));
    set_up_network(recipe.stack, disk, address);
    let key = disk.text("/etc/ssh/ssh_host_ed25519_key.pub");
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    words.join(" ")
}

fn random_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
    id.trim().replace('-', "")
}

fn set_up_network(stack: Stack, disk: &Mounted, address: &str) {
    match stack {
        Stack::Ifupdown => disk.put(
            "/etc/network/interfaces",
            &format!(
                "auto lo\niface lo inet loopback\n\
                 auto wire\niface wire inet static\n address {address}/24\n"
            ),
        ),
        Stack::Networkd => {
            let file = "/etc/systemd/network/10-wire.network";
            let text = format!("[Match]\nName=wire\n[Network]\nAddress={address}/24\n");
            disk.put(file, &text);
            disk.run("systemctl --quiet enable systemd-networkd");
        }
        Stack::Netplan => {
            let file = "/etc/netplan/10-wire.yaml";
            let text = format!(
                "network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    wire:\n      \
                 addresses: [{address}/24]\n"
            );
            disk.put(file, &text);
            set_mode(&disk.root().join(&file[1..]), 0o600);
        }
        Stack::NetworkManager => {
            let file = "/etc/NetworkManager/system-connections/wire.nmconnection";
            let text = format!(
                "[connection]\nid=wire\nuuid={}\ntype=ethernet\ninterface-name=wire\n\
                 [ipv4]\nmethod=manual\naddress1={address}/24\n[ipv6]\nmethod=link-local\n",
                fs::read_to_string("/proc/sys/kernel/random/uuid")
                    .unwrap()
                    .trim()
            );
            disk.put(file, &text);
            set_mode(&disk.root().join(&file[1..]), 0o600);
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn make_ssh_dir(root: &Path) -> std::path::PathBuf {
    let place = root.join("root/.ssh");
    fs::create_dir_all(&place).unwrap();
    set_mode(&place, 0o700);
    place
}

/// Lets root in with a public key.
pub(super) fn let_in(root: &Path, public_key: &str) {
    let keys = make_ssh_dir(root).join("authorized_keys");
    let present = fs::read_to_string(&keys).unwrap_or_default();
    fs::write(&keys, format!("{present}{public_key}")).unwrap();
    set_mode(&keys, 0o600);
}

/// Makes root's own key and tells him a host; returns the public key.
pub(super) fn make_login(root: &Path, known_host: &str) -> String {
    let place = make_ssh_dir(root);
    make_key(&place.join("id_ed25519"));
    fs::write(place.join("known_hosts"), known_host).unwrap();
    fs::read_to_string(place.join("id_ed25519.pub")).unwrap()
}
