//! What a virtual machine is made of, and the disks that have been made of it. Knows nothing of
//! how it is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::support::machine::{must, script};
use crate::support::sshd::make_key;

/// Which of the two a machine is. It decides about name, address, keys, and what it is furnished
/// with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Source,
    Target,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Target => "target",
        }
    }

    /// RFC 5737.
    pub fn address(self) -> &'static str {
        match self {
            Role::Source => "192.0.2.1",
            Role::Target => "192.0.2.2",
        }
    }

    pub(super) fn hardware_address(self) -> &'static str {
        match self {
            Role::Source => "52:54:00:00:00:01",
            Role::Target => "52:54:00:00:00:02",
        }
    }

    /// Where the network card is plugged in: its interface is named after it.
    pub(super) fn slot(self) -> u8 {
        match self {
            Role::Source => 5,
            Role::Target => 3,
        }
    }
}

/// By what it boots, and how its disk is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// BIOS, with a table of MBR.
    Bios,
    /// UEFI, with GPT and a partition for it.
    Efi,
}

impl Firmware {
    pub(super) fn word(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Efi => "efi",
        }
    }

    /// How the interface in a slot is called: QEMU's old machine has hot-plug slots, the other
    /// has a bus.
    fn interface(self, slot: u8) -> String {
        match self {
            Firmware::Bios => format!("ens{slot}"),
            Firmware::Efi => format!("enp0s{slot}"),
        }
    }
}

/// Which file systems there are besides the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    One,
    SeparateBoot,
    SeparateHome,
    /// Root and swap are volumes of LVM, `/boot` is not.
    Lvm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootFs {
    Ext4,
    Xfs,
    Btrfs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Partition,
    File,
}

/// What brings the network up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmStack {
    Ifupdown,
    Networkd,
    Netplan,
    NetworkManager,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// For clouds: few drivers.
    Cloud,
    /// The same of the last point release, which may be another version.
    CloudOlder,
    Standard,
}

/// All that decides what is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub role: Role,
    /// The code name of Debian.
    pub release: &'static str,
    pub firmware: Firmware,
    pub layout: Layout,
    pub root: RootFs,
    pub swap: Swap,
    pub stack: VmStack,
    pub cloud_init: bool,
    pub kernel: Kernel,
}

impl Recipe {
    /// The plainest source, with the older kernel.
    pub const SOURCE: Recipe = Recipe {
        role: Role::Source,
        kernel: Kernel::CloudOlder,
        ..Recipe::TARGET
    };
    /// The plainest target.
    pub const TARGET: Recipe = Recipe {
        role: Role::Target,
        release: "bookworm",
        firmware: Firmware::Bios,
        layout: Layout::One,
        root: RootFs::Ext4,
        swap: Swap::Partition,
        stack: VmStack::Ifupdown,
        cloud_init: false,
        kernel: Kernel::Cloud,
    };

    /// The words of `scripts/lib/machine-image`.
    fn words(&self) -> Vec<String> {
        let word = |name: &str, value: &str| format!("{name}={value}");
        vec![
            word("name", self.role.name()),
            word("address", self.role.address()),
            word("wire", &self.firmware.interface(self.role.slot())),
            word("release", self.release),
            word("firmware", self.firmware.word()),
            word(
                "layout",
                match self.layout {
                    Layout::One => "one",
                    Layout::SeparateBoot => "boot",
                    Layout::SeparateHome => "home",
                    Layout::Lvm => "lvm",
                },
            ),
            word("root", &format!("{:?}", self.root).to_lowercase()),
            word("swap", &format!("{:?}", self.swap).to_lowercase()),
            word("stack", &format!("{:?}", self.stack).to_lowercase()),
            word("cloud-init", if self.cloud_init { "yes" } else { "no" }),
            word(
                "kernel",
                match self.kernel {
                    Kernel::Cloud => "cloud",
                    Kernel::CloudOlder => "cloud-older",
                    Kernel::Standard => "standard",
                },
            ),
        ]
    }
}

/// Where disks and keys stay from run to run.
fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm")
}

fn keys() -> PathBuf {
    place().join("keys")
}

/// The tester's private key.
pub(super) fn tester_key() -> PathBuf {
    keys().join("tester")
}

/// What both machines are known by.
pub(super) fn known_hosts() -> String {
    let lines = [Role::Source, Role::Target].map(|role| {
        let file = keys().join(format!("host-{}.pub", role.name()));
        format!(
            "{} {}",
            role.address(),
            fs::read_to_string(file).unwrap_or_default()
        )
    });
    lines.concat()
}

/// Returns the disk that machines of a recipe begin with. It is made where it is not there yet,
/// and anew when one of the scripts that make it has changed.
pub(super) fn base(recipe: &Recipe) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock();
    let words = recipe.words();
    let mut hash = blake3::Hasher::new();
    hash.update(words.join(" ").as_bytes());
    for name in ["machine-image", "machine-own.sh"] {
        let file = script(name);
        hash.update(&fs::read(file.get_program()).unwrap());
    }
    let key = hash.finalize().to_hex();
    let base = place().join(format!("{}-{}.img", recipe.role.name(), &key[..12]));
    if !base.exists() {
        make_keys();
        println!("making a disk: {}", words.join(" "));
        must(
            Command::new("nice")
                .arg(script("machine-image").get_program())
                .arg(&base)
                .arg(keys())
                .args(words),
        );
    }
    base
}

fn make_keys() {
    fs::create_dir_all(keys()).unwrap();
    for name in ["tester", "login", "host-source", "host-target"] {
        let key = keys().join(name);
        if !key.exists() {
            make_key(&key);
        }
    }
}
