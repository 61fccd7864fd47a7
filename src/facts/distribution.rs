//! Which Linux it is, and what it starts with.

use serde::{Deserialize, Serialize};

/// Which Linux it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Distribution {
    /// The `ID` of os-release, or the one it would have: `debian`, `rhel`, `amzn`, `arch`.
    pub id: String,
    /// The `ID_LIKE` of os-release, split.
    pub like: Vec<String>,
    /// `VERSION_ID`: `12`, `2018.03`, `6.10`; empty for a rolling distribution.
    pub version: String,
    /// For people: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// Its family.
    pub family: Family,
    /// The file that said so: `/etc/os-release`, `/etc/redhat-release`.
    pub origin: String,
}

impl Distribution {
    /// Returns the part of the version up to the first dot: `12`, `2018`, `6`.
    pub fn major(&self) -> &str {
        self.version.split('.').next().unwrap_or("")
    }
}

/// Distributions that share their packages' layout, so that one rule set fits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Debian, Ubuntu, Mint, Raspberry Pi OS.
    Debian,
    /// RHEL, CentOS, Fedora, Rocky, Alma, Oracle, Amazon Linux.
    Rhel,
    /// SLES, openSUSE.
    Suse,
    /// Arch, Manjaro.
    Arch,
    /// Gentoo.
    Gentoo,
    /// Alpine.
    Alpine,
    /// None of these.
    #[default]
    Unknown,
}

/// The kernels that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kernels {
    /// The one that runs, as `uname -r` says it.
    pub running: Option<String>,
    /// Those in `/boot` and those with modules, sorted by version text.
    pub installed: Vec<Kernel>,
}

/// One kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kernel {
    /// Its release: `6.1.0-18-amd64`.
    pub version: String,
    /// Whether an image of it lies in `/boot` (or beside its modules).
    pub has_image: bool,
    /// Whether its modules are in `/lib/modules` or `/usr/lib/modules`.
    pub has_modules: bool,
}

/// The C library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Libc {
    /// glibc, with its version where the name of its file tells.
    Glibc(Option<String>),
    /// musl.
    Musl,
    /// None was found.
    #[default]
    Unknown,
}

/// How `/bin`, `/sbin` and `/lib` lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsrLayout {
    /// They are links into `/usr`.
    Merged,
    /// They are directories.
    Split,
    /// There is no `/bin`.
    #[default]
    Unknown,
}

/// What runs as process 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC.
    Openrc,
    /// System V init.
    Sysvinit,
    /// Upstart (Ubuntu to 14.10, RHEL 6, Amazon Linux 1).
    Upstart,
    /// Anything else.
    #[default]
    Unknown,
}

/// How it boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Boot {
    /// By which firmware.
    pub mode: BootMode,
    /// By which boot loader, as its files in `/boot` and `/etc` tell.
    pub loader: BootLoader,
    /// Whether GRUB's `grub-mkconfig` makes its menu from the kernels in `/boot`. It does not where
    /// each kernel has an entry of its own (Boot Loader Specification).
    pub makes_menu: bool,
    /// Whether initramfs images are made by initramfs-tools.
    pub initramfs_tools: bool,
}

/// By which firmware it boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// `/sys/firmware/efi` is there.
    Uefi,
    /// It is not.
    Bios,
    /// It is a container: somebody else's kernel.
    Container,
    /// A mounted root does not tell.
    #[default]
    Unknown,
}

/// The boot loader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootLoader {
    /// GRUB 2.
    Grub2,
    /// GRUB 0.97.
    GrubLegacy,
    /// systemd-boot.
    SystemdBoot,
    /// EXTLINUX or SYSLINUX.
    Extlinux,
    /// LILO or ELILO.
    Lilo,
    /// zipl.
    Zipl,
    /// U-Boot or the Raspberry Pi's firmware.
    Board,
    /// None: a container, or a kernel that the hypervisor brings.
    #[default]
    None,
}
