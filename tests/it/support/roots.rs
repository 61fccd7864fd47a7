//! Small roots: just enough of a system, one line an entry, to be recognised from. The presets
//! are plausible systems with their own `proc` files.
//!
//! Knows nothing of how they are read.

#![allow(dead_code, reason = "each test file uses another part")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use instancesync::distro;
use instancesync::facts::Facts;
use instancesync::fs::Root;

/// The start of a program for x86_64: enough to tell the architecture.
pub const ELF_X86_64: &[u8] =
    b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0\0\0\0\0";

/// A root in a directory of its own, which goes with it.
pub struct SmallRoot {
    place: tempfile::TempDir,
}

impl Default for SmallRoot {
    fn default() -> SmallRoot {
        SmallRoot::new()
    }
}

impl SmallRoot {
    /// Makes a root with nothing in it.
    pub fn new() -> SmallRoot {
        let place = tempfile::tempdir().unwrap();
        SmallRoot { place }
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Opens it for reading.
    pub fn open(&self) -> Root {
        Root::open(self.path()).unwrap()
    }

    /// Gathers what is known about it.
    pub fn facts(&self) -> Facts {
        distro::gather(&self.open())
    }

    fn at(&self, path: &str) -> PathBuf {
        assert!(path.starts_with('/'), "{path} is not absolute");
        let path = self.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Makes or replaces a file, and the directories above it.
    pub fn file(self, path: &str, contents: impl AsRef<[u8]>) -> SmallRoot {
        fs::write(self.at(path), contents).unwrap();
        self
    }

    /// Adds to the end of a file, which need not be there.
    pub fn append(self, path: &str, contents: &str) -> SmallRoot {
        let before = fs::read_to_string(self.at(path)).unwrap_or_default();
        self.file(path, before + contents)
    }

    /// Makes empty files.
    pub fn files(self, paths: &[&str]) -> SmallRoot {
        paths.iter().fold(self, |root, path| root.file(path, ""))
    }

    /// Makes a symbolic link.
    pub fn link(self, path: &str, to: &str) -> SmallRoot {
        let at = self.at(path);
        _ = fs::remove_file(&at);
        symlink(to, at).unwrap();
        self
    }

    /// Makes a directory.
    pub fn dir(self, path: &str) -> SmallRoot {
        fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    /// Makes a file that can be run and has the head of a program.
    pub fn executable(self, path: &str) -> SmallRoot {
        let root = self.file(path, ELF_X86_64);
        fs::set_permissions(root.at(path), fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    /// Makes programs.
    pub fn executables(self, paths: &[&str]) -> SmallRoot {
        paths.iter().fold(self, |root, path| root.executable(path))
    }

    /// Removes whatever is there.
    pub fn without(self, path: &str) -> SmallRoot {
        let at = self.at(path);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&at).unwrap(),
            Ok(_) => fs::remove_file(&at).unwrap(),
            Err(_) => {}
        }
        self
    }

    /// Mounts one more file system, as `proc/self/mountinfo` tells it: `device` is
    /// `major:minor`, `options` those of the mount.
    pub fn mount(self, path: &str, fs_type: &str, device: &str, source: &str) -> SmallRoot {
        let line = format!("50 20 {device} / {path} rw,relatime - {fs_type} {source} rw\n");
        self.dir(path).append("/proc/self/mountinfo", &line)
    }

    /// Enables a systemd unit for `multi-user.target`.
    pub fn enable(self, unit: &str) -> SmallRoot {
        let link = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
        let unit = format!("/usr/lib/systemd/system/{unit}");
        self.link(&link, &unit).file(&unit, "[Unit]\n")
    }

    /// Masks a systemd unit.
    pub fn mask(self, unit: &str) -> SmallRoot {
        self.link(&format!("/etc/systemd/system/{unit}"), "/dev/null")
    }

    /// Lets a process run, as `proc` tells it.
    pub fn process(self, id: u32, comm: &str) -> SmallRoot {
        self.file(&format!("/proc/{id}/comm"), format!("{comm}\n"))
    }

    /// Fills in the DMI table: vendor and product of the system.
    pub fn dmi(self, vendor: &str, product: &str) -> SmallRoot {
        self.file("/sys/class/dmi/id/sys_vendor", format!("{vendor}\n"))
            .file("/sys/class/dmi/id/product_name", format!("{product}\n"))
    }

    /// What every preset has: `proc`, accounts, host keys, one disk, `/bin` as a link.
    fn machine(name: &str) -> SmallRoot {
        SmallRoot::new()
            .link("/bin", "usr/bin")
            .link("/sbin", "usr/sbin")
            .link("/lib", "usr/lib")
            .link("/lib64", "usr/lib64")
            .executables(&["/usr/bin/dash", "/usr/sbin/sshd"])
            .link("/usr/bin/sh", "dash")
            .dir("/usr/lib64")
            .dir("/usr/lib/modules")
            .file("/etc/hostname", format!("{name}\n"))
            .file("/etc/machine-id", machine_id(name))
            .file("/etc/passwd", PASSWD)
            .file("/etc/group", GROUP)
            .file("/etc/ssh/sshd_config", SSHD_CONFIG)
            .file("/etc/ssh/ssh_host_ed25519_key.pub", HOST_KEY)
            .file("/etc/fstab", FSTAB)
            .file("/etc/resolv.conf", "nameserver 192.0.2.53\n")
            .file("/proc/self/mountinfo", MOUNTINFO)
            .file("/proc/swaps", SWAPS)
            .file("/proc/mdstat", "Personalities : \nunused devices: <none>\n")
            .file("/proc/sys/kernel/random/boot_id", boot_id(name))
            .link(
                "/dev/disk/by-uuid/0a1b2c3d-1111-2222-3333-444455556666",
                "../../vda1",
            )
            .process(1, "systemd")
            .dir("/proc/sys/kernel")
            .dir("/run")
            .dir("/tmp")
    }

    /// What systemd leaves.
    fn systemd(self) -> SmallRoot {
        self.executable("/usr/lib/systemd/systemd")
            .link("/usr/sbin/init", "../lib/systemd/systemd")
            .dir("/run/systemd/system")
            .dir("/etc/systemd/system")
    }

    /// Puts a kernel there, with its modules, and lets it run.
    pub fn kernel(self, version: &str) -> SmallRoot {
        self.file(&format!("/boot/vmlinuz-{version}"), "kernel")
            .file(&format!("/boot/initrd.img-{version}"), "initrd")
            .file(&format!("/usr/lib/modules/{version}/modules.dep"), "")
            .file("/proc/sys/kernel/osrelease", format!("{version}\n"))
    }

    /// Debian 12 with ifupdown and GRUB.
    pub fn debian() -> SmallRoot {
        SmallRoot::machine("source-debian")
            .systemd()
            .file("/usr/lib/os-release", DEBIAN_12)
            .link("/etc/os-release", "../usr/lib/os-release")
            .file("/etc/debian_version", "12.5\n")
            .kernel("6.1.0-18-amd64")
            .file("/boot/grub/grub.cfg", "menuentry\n")
            .executable("/usr/lib/x86_64-linux-gnu/libc.so.6")
            .executables(&["/usr/sbin/ifup", "/usr/bin/dpkg", "/usr/bin/apt-get"])
            .file("/etc/network/interfaces", INTERFACES)
            .enable("networking.service")
            .enable("ssh.service")
            .file("/var/lib/dpkg/status", DPKG_STATUS)
            .dir("/var/lib/dpkg/updates")
            .dir("/sys/firmware")
    }

    /// Ubuntu 24.04 with netplan above systemd-networkd, and cloud-init.
    pub fn ubuntu() -> SmallRoot {
        SmallRoot::debian()
            .file("/usr/lib/os-release", UBUNTU_2404)
            .file("/etc/debian_version", "trixie/sid\n")
            .without("/etc/network/interfaces")
            .without("/usr/sbin/ifup")
            .without("/etc/systemd/system/multi-user.target.wants/networking.service")
            .without("/usr/lib/systemd/system/networking.service")
            .executables(&["/usr/sbin/netplan", "/usr/lib/systemd/systemd-networkd"])
            .file("/etc/netplan/50-cloud-init.yaml", NETPLAN)
            .enable("systemd-networkd.service")
            .enable("systemd-resolved.service")
            .link(
                "/etc/resolv.conf",
                "../run/systemd/resolve/stub-resolv.conf",
            )
            .file("/etc/cloud/cloud.cfg", "users:\n - default\n")
            .executable("/usr/bin/cloud-init")
            .enable("cloud-init.service")
    }

    /// Rocky Linux 9 with NetworkManager and SELinux.
    pub fn rocky() -> SmallRoot {
        SmallRoot::machine("source-rocky")
            .systemd()
            .file("/usr/lib/os-release", ROCKY_9)
            .link("/etc/os-release", "../usr/lib/os-release")
            .file(
                "/etc/redhat-release",
                "Rocky Linux release 9.3 (Blue Onyx)\n",
            )
            .kernel("5.14.0-362.8.1.el9_3.x86_64")
            .file("/boot/grub2/grub.cfg", "blscfg\n")
            .executable("/usr/lib64/libc.so.6")
            .executables(&["/usr/sbin/NetworkManager", "/usr/bin/rpm", "/usr/bin/dnf"])
            .file(
                "/etc/NetworkManager/system-connections/eth0.nmconnection",
                "[connection]\n",
            )
            .enable("NetworkManager.service")
            .enable("sshd.service")
            .file(
                "/etc/selinux/config",
                "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
            )
            .file("/sys/fs/selinux/enforce", "1")
            .file("/var/lib/rpm/rpmdb.sqlite", "SQLite format 3\0")
    }

    /// CentOS 6 with network-scripts, Upstart and a split `/usr`.
    pub fn centos_6() -> SmallRoot {
        SmallRoot::machine("source-centos")
            .split_usr()
            .file("/etc/redhat-release", "CentOS release 6.10 (Final)\n")
            .link("/etc/system-release", "redhat-release")
            .kernel_split("2.6.32-754.el6.x86_64")
            .file("/boot/grub/grub.conf", "default=0\n")
            .executables(&[
                "/sbin/init",
                "/sbin/initctl",
                "/lib64/libc-2.12.so",
                "/bin/rpm",
            ])
            .link("/lib64/libc.so.6", "libc-2.12.so")
            .file("/etc/init/rcS.conf", "start on startup\n")
            .process(1, "init")
            .without("/etc/hostname")
            .without("/etc/machine-id")
            .file(
                "/etc/sysconfig/network",
                "NETWORKING=yes\nHOSTNAME=source-centos\n",
            )
            .executable("/etc/sysconfig/network-scripts/ifup-eth")
            .file("/etc/sysconfig/network-scripts/ifcfg-lo", "DEVICE=lo\n")
            .file(
                "/etc/sysconfig/network-scripts/ifcfg-eth0",
                "DEVICE=eth0\nONBOOT=yes\n",
            )
            .executable("/etc/rc.d/init.d/network")
            .link("/etc/rc.d/rc3.d/S10network", "../init.d/network")
            .link("/etc/rc3.d", "rc.d/rc3.d")
            .file(
                "/etc/selinux/config",
                "SELINUX=disabled\nSELINUXTYPE=targeted\n",
            )
            .file("/var/lib/rpm/Packages", "")
    }

    /// Amazon Linux 2 on EC2.
    pub fn amazon_2() -> SmallRoot {
        SmallRoot::machine("ip-172-31-0-10")
            .systemd()
            .file("/usr/lib/os-release", AMAZON_2)
            .link("/etc/os-release", "../usr/lib/os-release")
            .file("/etc/system-release", "Amazon Linux release 2 (Karoo)\n")
            .kernel("5.10.205-195.807.amzn2.x86_64")
            .file("/boot/grub2/grub.cfg", "menuentry\n")
            .executable("/usr/lib64/libc-2.26.so")
            .link("/usr/lib64/libc.so.6", "libc-2.26.so")
            .executable("/etc/sysconfig/network-scripts/ifup-eth")
            .file(
                "/etc/sysconfig/network-scripts/ifcfg-eth0",
                "DEVICE=eth0\nBOOTPROTO=dhcp\n",
            )
            .executable("/etc/rc.d/init.d/network")
            .link("/etc/rc.d/rc3.d/S10network", "../init.d/network")
            .dmi("Amazon EC2", "t3.micro")
            .executable("/usr/bin/amazon-ssm-agent")
            .dir("/etc/amazon/ssm")
            .enable("amazon-ssm-agent.service")
            .executable("/opt/aws/bin/cfn-init")
            .executable("/opt/aws/bin/eic_run_authorized_keys")
            .file("/var/lib/rpm/Packages", "")
    }

    /// openSUSE Leap 15 with wicked.
    pub fn suse() -> SmallRoot {
        SmallRoot::machine("source-suse")
            .systemd()
            .file("/usr/lib/os-release", LEAP_15)
            .link("/etc/os-release", "../usr/lib/os-release")
            .kernel("5.14.21-150500.53-default")
            .file("/boot/grub2/grub.cfg", "menuentry\n")
            .executable("/usr/lib64/libc.so.6")
            .executables(&["/usr/sbin/wicked", "/usr/bin/rpm", "/usr/bin/zypper"])
            .file("/etc/sysconfig/network/ifcfg-eth0", "BOOTPROTO='dhcp'\n")
            .enable("wicked.service")
            .file("/usr/lib/sysimage/rpm/Packages.db", "")
    }

    /// Arch Linux with systemd-networkd and systemd-boot.
    pub fn arch() -> SmallRoot {
        SmallRoot::machine("source-arch")
            .systemd()
            .file("/usr/lib/os-release", ARCH)
            .link("/etc/os-release", "../usr/lib/os-release")
            .file("/etc/arch-release", "")
            .file("/boot/vmlinuz-linux", "kernel")
            .file("/boot/loader/loader.conf", "default arch\n")
            .file("/usr/lib/modules/6.7.4-arch1-1/vmlinuz", "kernel")
            .file("/usr/lib/modules/6.7.4-arch1-1/modules.dep", "")
            .executable("/usr/lib/libc.so.6")
            .executables(&["/usr/lib/systemd/systemd-networkd", "/usr/bin/pacman"])
            .file(
                "/etc/systemd/network/20-wired.network",
                "[Match]\nName=en*\n",
            )
            .enable("systemd-networkd.service")
            .file(
                "/var/lib/pacman/local/bash-5.2.026-2/desc",
                "%NAME%\nbash\n",
            )
            .dir("/sys/firmware/efi")
    }

    /// Gentoo with OpenRC and netifrc, and a split `/usr`.
    pub fn gentoo() -> SmallRoot {
        SmallRoot::machine("source-gentoo")
            .split_usr()
            .file("/usr/lib/os-release", GENTOO)
            .link("/etc/os-release", "../usr/lib/os-release")
            .file("/etc/gentoo-release", "Gentoo Base System release 2.14\n")
            .kernel_split("6.6.13-gentoo-dist")
            .file("/boot/grub/grub.cfg", "menuentry\n")
            .executables(&[
                "/lib64/libc.so.6",
                "/sbin/init",
                "/sbin/openrc",
                "/usr/bin/emerge",
            ])
            .process(1, "init")
            .executable("/etc/init.d/net.lo")
            .link("/etc/init.d/net.eth0", "net.lo")
            .link("/etc/runlevels/default/net.eth0", "/etc/init.d/net.eth0")
            .dir("/lib/netifrc")
            .file("/etc/conf.d/net", "config_eth0=\"192.0.2.7/24\"\n")
            .file("/var/db/pkg/sys-apps/openrc-0.53/SLOT", "0\n")
    }

    /// Alpine 3.19 with OpenRC, ifupdown and EXTLINUX.
    pub fn alpine() -> SmallRoot {
        SmallRoot::machine("source-alpine")
            .split_usr()
            .file("/usr/lib/os-release", ALPINE)
            .link("/etc/os-release", "../usr/lib/os-release")
            .file("/etc/alpine-release", "3.19.1\n")
            .file("/boot/vmlinuz-virt", "kernel")
            .file("/boot/extlinux.conf", "DEFAULT virt\n")
            .file("/lib/modules/6.6.14-0-virt/modules.dep", "")
            .executables(&[
                "/lib/ld-musl-x86_64.so.1",
                "/bin/busybox",
                "/sbin/openrc",
                "/sbin/apk",
            ])
            .link("/bin/sh", "/bin/busybox")
            .link("/sbin/init", "/bin/busybox")
            .link("/sbin/ifup", "/bin/busybox")
            .process(1, "init")
            .file("/etc/network/interfaces", INTERFACES)
            .executable("/etc/init.d/networking")
            .link("/etc/runlevels/boot/networking", "/etc/init.d/networking")
            .file(
                "/lib/apk/db/installed",
                "C:Q1\nP:musl\nV:1.2.4\n\nC:Q2\nP:busybox\nV:1.36\n\n",
            )
    }

    /// Makes `/bin`, `/sbin` and the libraries directories, with a shell.
    fn split_usr(self) -> SmallRoot {
        ["/bin", "/sbin", "/lib", "/lib64"]
            .iter()
            .fold(self, |root, path| root.without(path).dir(path))
            .without("/usr/lib/modules")
            .executable("/bin/sh")
    }

    /// As `kernel`, where `/lib` is no link.
    fn kernel_split(self, version: &str) -> SmallRoot {
        self.file(&format!("/boot/vmlinuz-{version}"), "kernel")
            .file(&format!("/lib/modules/{version}/modules.dep"), "")
            .file("/proc/sys/kernel/osrelease", format!("{version}\n"))
    }
}

/// Makes a machine id out of a name.
fn machine_id(name: &str) -> String {
    let id: String = name
        .bytes()
        .cycle()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect();
    id + "\n"
}

/// Makes a boot id out of a name.
fn boot_id(name: &str) -> String {
    let id = machine_id(name);
    let part = |from: usize, to: usize| id.get(from..to).unwrap();
    format!(
        "{}-{}-{}-{}-{}\n",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
admin:x:1000:1000:Admin:/home/admin:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const GROUP: &str = "root:x:0:\nwheel:x:10:root,admin\nadmin:x:1000:\n";
const SSHD_CONFIG: &str = "Port 22\nPermitRootLogin prohibit-password\n";
const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB71Lwmx/g67vhbQVv1BMhz7ZLLt0iNQY8hLi7XrhTYd root@machine\n";
const FSTAB: &str = "UUID=0a1b2c3d-1111-2222-3333-444455556666 / ext4 errors=remount-ro 0 1
/swapfile none swap sw 0 0
";
const MOUNTINFO: &str = "20 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
21 20 0:19 / /proc rw,nosuid,nodev,noexec,relatime shared:2 - proc proc rw
22 20 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:3 - sysfs sysfs rw
23 20 0:5 / /dev rw,nosuid shared:4 - devtmpfs udev rw,size=1g
24 20 0:21 / /run rw,nosuid,nodev,noexec shared:5 - tmpfs tmpfs rw
25 20 0:22 / /tmp rw,nosuid,nodev shared:6 - tmpfs tmpfs rw
";
const SWAPS: &str = "Filename\tType\tSize\tUsed\tPriority\n/swapfile file\t1048572\t0\t-2\n";
const INTERFACES: &str = "auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address 192.0.2.10/24
    gateway 192.0.2.1
";
const NETPLAN: &str = "network:
  version: 2
  ethernets:
    eth0:
      dhcp4: true
";
const DPKG_STATUS: &str = "Package: base-files
Status: install ok installed
Version: 12.4

Package: openssh-server
Status: install ok installed
Version: 1:9.2p1
";
const DEBIAN_12: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"
NAME=\"Debian GNU/Linux\"
VERSION_ID=\"12\"
VERSION=\"12 (bookworm)\"
VERSION_CODENAME=bookworm
ID=debian
";
const UBUNTU_2404: &str = "PRETTY_NAME=\"Ubuntu 24.04 LTS\"
NAME=\"Ubuntu\"
VERSION_ID=\"24.04\"
VERSION=\"24.04 LTS (Noble Numbat)\"
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=noble
";
const ROCKY_9: &str = "NAME=\"Rocky Linux\"
VERSION=\"9.3 (Blue Onyx)\"
ID=\"rocky\"
ID_LIKE=\"rhel centos fedora\"
VERSION_ID=\"9.3\"
PRETTY_NAME=\"Rocky Linux 9.3 (Blue Onyx)\"
";
const AMAZON_2: &str = "NAME=\"Amazon Linux\"
VERSION=\"2\"
ID=\"amzn\"
ID_LIKE=\"centos rhel fedora\"
VERSION_ID=\"2\"
PRETTY_NAME=\"Amazon Linux 2\"
";
const LEAP_15: &str = "NAME=\"openSUSE Leap\"
VERSION=\"15.5\"
ID=\"opensuse-leap\"
ID_LIKE=\"suse opensuse\"
VERSION_ID=\"15.5\"
PRETTY_NAME=\"openSUSE Leap 15.5\"
";
const ARCH: &str = "NAME=\"Arch Linux\"
PRETTY_NAME=\"Arch Linux\"
ID=arch
BUILD_ID=rolling
";
const GENTOO: &str = "NAME=Gentoo
ID=gentoo
PRETTY_NAME=\"Gentoo Linux\"
VERSION_ID=\"2.14\"
";
const ALPINE: &str = "NAME=\"Alpine Linux\"
ID=alpine
VERSION_ID=3.19.1
PRETTY_NAME=\"Alpine Linux v3.19\"
";
