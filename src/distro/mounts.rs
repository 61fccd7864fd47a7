//! What is mounted, by `/proc/self/mountinfo`, and what kind of thing each of it is. Asks only
//! file systems of this machine for their space: a file server that is gone never answers.
//!
//! Knows nothing of `/etc/fstab`.

use super::look::Look;
use crate::facts::{FsFeatures, Mount, MountKind};

/// LIMIT: mounts; a machine with many containers has thousands.
const MAX_MOUNTS: usize = 10_000;

/// Gathers the mounts, `/` first.
pub(super) fn gather(look: &Look) -> Vec<Mount> {
    let text = look.text("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts = parse(&text);
    if mounts.is_empty() {
        look.note("what is mounted is not known: no /proc/self/mountinfo".to_owned());
        mounts.push(bare_root());
    }
    let uuids = Uuids::gather(look);
    for mount in &mut mounts {
        mount.uuid = uuids.find(look, mount);
        if has_own_space(mount) {
            match look.root().space(&mount.path) {
                Ok(space) => {
                    mount.total_bytes = space.total_bytes;
                    mount.free_bytes = space.free_bytes;
                    mount.total_inodes = space.total_inodes;
                    mount.free_inodes = space.free_inodes;
                }
                // Files can be mount points as well, as containers have them.
                Err(error) if error.is_not_directory() => {}
                Err(error) => {
                    look.note(format!("free space of {}: {}", mount.path, error.cause()));
                }
            }
        }
    }
    mounts
}

/// The file system of a root that shows no mounts.
fn bare_root() -> Mount {
    Mount {
        path: "/".to_owned(),
        subtree: "/".to_owned(),
        executable: true,
        kind: MountKind::Disk,
        features: features("ext4", ""),
        ..Mount::default()
    }
}

fn has_own_space(mount: &Mount) -> bool {
    matches!(
        mount.kind,
        MountKind::Disk | MountKind::Bind | MountKind::Overlay
    ) || mount.fs_type == "tmpfs"
}

/// Reads mountinfo: what can be seen, `/` first, else in the kernel's order.
fn parse(text: &str) -> Vec<Mount> {
    let lines = text.lines().filter_map(parse_line);
    let all: Vec<Mount> = lines.take(MAX_MOUNTS).collect();
    let mut last_at = std::collections::HashMap::new();
    for (index, mount) in all.iter().enumerate() {
        last_at.insert(mount.path.clone(), index);
    }
    // What is mounted at the same place later hides it: `rootfs`, automount points.
    let visible = all.into_iter().enumerate();
    let visible = visible.filter(|(index, mount)| last_at.get(&mount.path) == Some(index));
    let (roots, others): (Vec<Mount>, Vec<Mount>) = visible
        .map(|(_, mount)| mount)
        .partition(|mount| mount.path == "/");
    let mut mounts = roots;
    mounts.extend(others);
    mark_binds(&mut mounts);
    mounts
}

/// Reads `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn parse_line(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(2);
    let (device, subtree, path) = (front.next()?, front.next()?, front.next()?);
    let options = front.next()?;
    let mut back = back.split(' ');
    let fs_type = back.next()?;
    let source = back.next().unwrap_or("");
    let fs_options = back.next().unwrap_or("");
    let has = |options: &str, wanted| options.split(',').any(|option| option == wanted);
    let path = unescape(path);
    path.starts_with('/').then(|| Mount {
        path,
        source: unescape(source),
        fs_type: unescape(fs_type),
        kind: kind(fs_type),
        device: device.to_owned(),
        subtree: unescape(subtree),
        read_only: has(options, "ro") || has(fs_options, "ro"),
        executable: !has(options, "noexec"),
        features: features(fs_type, fs_options),
        ..Mount::default()
    })
}

/// Replaces `\040` and its kin.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or(&[]);
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kind(fs_type: &str) -> MountKind {
    match fs_type {
        "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "zfs" | "f2fs" | "jfs" | "reiserfs"
        | "reiser4" | "bcachefs" | "nilfs2" | "vfat" | "msdos" | "exfat" | "ntfs" | "ntfs3"
        | "fuseblk" | "hfs" | "hfsplus" | "ufs" | "minix" | "ubifs" | "jffs2" | "ocfs2"
        | "gfs2" => MountKind::Disk,
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "ceph" | "afs" | "9p" | "ncpfs" | "coda"
        | "lustre" | "beegfs" | "gpfs" | "glusterfs" | "orangefs" | "virtiofs" | "vboxsf"
        | "vmhgfs" | "prl_fs" | "davfs" => MountKind::Network,
        "proc" | "sysfs" | "tmpfs" | "ramfs" | "rootfs" | "devtmpfs" | "devpts" | "devfs"
        | "cgroup" | "cgroup2" | "cpuset" | "securityfs" | "selinuxfs" | "smackfs" | "debugfs"
        | "tracefs" | "configfs" | "fusectl" | "pstore" | "efivarfs" | "bpf" | "mqueue"
        | "hugetlbfs" | "binfmt_misc" | "rpc_pipefs" | "nfsd" | "nsfs" | "sockfs" | "usbfs"
        | "usbdevfs" | "xenfs" | "functionfs" | "resctrl" | "oprofilefs" | "binder"
        | "fuse.lxcfs" | "fuse.gvfsd-fuse" | "fuse.portal" => MountKind::Pseudo,
        "squashfs" | "iso9660" | "udf" | "erofs" | "cramfs" | "romfs" | "fuse.squashfuse"
        | "fuse.snapfuse" => MountKind::Image,
        "overlay" | "overlayfs" | "aufs" | "unionfs" | "fuse.fuse-overlayfs" => MountKind::Overlay,
        "autofs" => MountKind::Auto,
        _ if fs_type == "fuse" || fs_type.starts_with("fuse.") => MountKind::Fuse,
        _ => MountKind::Unknown,
    }
}

/// What the type and the options tell. XFS may have reflinks or not: neither tells.
fn features(fs_type: &str, options: &str) -> FsFeatures {
    let has = |wanted| options.split(',').any(|option| option == wanted);
    let is_unix = !matches!(
        fs_type,
        "vfat" | "msdos" | "exfat" | "ntfs" | "ntfs3" | "fuseblk" | "hfs" | "iso9660" | "udf"
    );
    let has_xattrs = matches!(
        fs_type,
        "ext2"
            | "ext3"
            | "ext4"
            | "xfs"
            | "btrfs"
            | "zfs"
            | "f2fs"
            | "jfs"
            | "bcachefs"
            | "ubifs"
            | "ocfs2"
            | "gfs2"
            | "overlay"
            | "ceph"
            | "squashfs"
            | "tmpfs"
    );
    // ACLs on ZFS have to be switched on, and are an option then.
    let has_acls = match fs_type {
        "zfs" => has("posixacl"),
        "squashfs" => false,
        _ => has_xattrs && !has("noacl"),
    };
    FsFeatures {
        xattrs: has_xattrs && !has("nouser_xattr") && !has("noxattr"),
        acls: has_acls,
        reflinks: matches!(fs_type, "btrfs" | "bcachefs" | "ocfs2"),
        unix_attributes: is_unix,
    }
}

/// Marks what an earlier mount shows as well. A sub-volume is no part of what an earlier mount
/// of its file system shows, unless that one shows all of it, elsewhere and in the open.
fn mark_binds(mounts: &mut [Mount]) {
    for index in 1..mounts.len() {
        let (earlier, rest) = mounts.split_at(index);
        let Some(mount) = rest.first().filter(|mount| mount.kind == MountKind::Disk) else {
            continue;
        };
        let is_shown = |other: &Mount| {
            other.device == mount.device
                && shown_at(other, &mount.subtree)
                    .is_some_and(|place| place != mount.path && !is_hidden(mounts, other, &place))
        };
        if earlier.iter().any(is_shown)
            && let Some(mount) = mounts.get_mut(index)
        {
            mount.kind = MountKind::Bind;
        }
    }
}

/// Returns where `mount` shows that part of its file system.
fn shown_at(mount: &Mount, subtree: &str) -> Option<String> {
    let rest = below(&mount.subtree, subtree)?;
    Some(match (mount.path.trim_end_matches('/'), rest) {
        ("", "") => "/".to_owned(),
        (path, rest) => format!("{path}{rest}"),
    })
}

/// Tells whether another mount lies over that place of `mount`.
fn is_hidden(mounts: &[Mount], mount: &Mount, place: &str) -> bool {
    mounts
        .iter()
        .any(|other| other.path.len() > mount.path.len() && below(&other.path, place).is_some())
}

/// Returns what follows `directory` in `path`: nothing, or a slash and the rest.
fn below<'p>(directory: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?;
    match rest {
        "" | "/" => Some(""),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// UUIDs of file systems by the names of their devices.
pub(super) struct Uuids(Vec<(String, String)>);

impl Uuids {
    /// Reads the links that udev makes.
    pub(super) fn gather(look: &Look) -> Uuids {
        let directory = "/dev/disk/by-uuid";
        let names = look.names(directory).into_iter();
        let pairs = names.filter_map(|uuid| {
            let device = look.link(&format!("{directory}/{uuid}"))?;
            Some((file_name(&device).to_owned(), uuid))
        });
        Uuids(pairs.collect())
    }

    /// Returns the UUID of a device by its name: `vda1`.
    pub(super) fn of_device(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|(device, _)| device == name);
        found.map(|(_, uuid)| uuid.clone())
    }

    /// Returns the device (`/dev/vda1`) of a UUID.
    pub(super) fn device(&self, uuid: &str) -> Option<String> {
        let found = self
            .0
            .iter()
            .find(|(_, other)| other.eq_ignore_ascii_case(uuid));
        found.map(|(device, _)| format!("/dev/{device}"))
    }

    fn find(&self, look: &Look, mount: &Mount) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let by_number = look.link(&format!("/sys/dev/block/{}", mount.device));
        let by_number = by_number.and_then(|link| self.of_device(file_name(&link)));
        // The number of btrfs is none of a device.
        by_number.or_else(|| self.of_device(&device_name(look, &mount.source)?))
    }
}

/// Returns the kernel's name of a device: `dm-0` of `/dev/mapper/vg-root`.
pub(super) fn device_name(look: &Look, path: &str) -> Option<String> {
    let name = path.strip_prefix("/dev/")?;
    let link = look.link(path);
    Some(file_name(link.as_deref().unwrap_or(name)).to_owned())
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(text: &str) -> Vec<(String, MountKind)> {
        let mounts = parse(text).into_iter();
        mounts.map(|mount| (mount.path, mount.kind)).collect()
    }

    fn assert_kinds(text: &str, expected: &[(&str, MountKind)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, kind)| ((*path).to_owned(), *kind))
            .collect();
        assert_eq!(kinds(text), expected);
    }

    #[test]
    fn the_root_comes_first_and_what_is_hidden_not_at_all() {
        let text = "1 1 0:2 / / rw - rootfs rootfs rw\n17 20 0:3 / /proc rw - proc proc rw
20 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 ro,errors=remount-ro
30 17 0:40 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
31 30 0:41 / /proc/sys/fs/binfmt_misc rw,noexec - binfmt_misc none rw\n";
        assert_kinds(
            text,
            &[
                ("/", MountKind::Disk),
                ("/proc", MountKind::Pseudo),
                ("/proc/sys/fs/binfmt_misc", MountKind::Pseudo),
            ],
        );
        let mounts = parse(text);
        let root = mounts.first().unwrap();
        assert!(root.read_only && root.executable && root.features.acls);
        assert_eq!(
            (root.source.as_str(), root.device.as_str()),
            ("/dev/sda1", "8:1")
        );
        assert!(!mounts[2].executable);
    }

    #[test]
    fn a_bind_is_what_an_earlier_mount_shows_elsewhere() {
        assert_kinds(
            "20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 8:1 /data/www /srv/www rw - ext4 /dev/sda1 rw
22 20 8:2 / /home rw - xfs /dev/sda2 rw
23 20 8:2 / /export/home rw - xfs /dev/sda2 rw
24 20 8:2 /old /home rw - xfs /dev/sda2 rw
25 20 8:1 /home /mnt/below rw - ext4 /dev/sda1 rw\n",
            &[
                ("/", MountKind::Disk),
                ("/srv/www", MountKind::Bind),
                ("/export/home", MountKind::Disk),
                ("/home", MountKind::Bind),
                // What lies below a mount point is nowhere else to be seen.
                ("/mnt/below", MountKind::Disk),
            ],
        );
    }

    #[test]
    fn a_sub_volume_is_a_disk() {
        assert_kinds(
            "20 1 0:30 /@/.snapshots/1/snapshot / rw - btrfs /dev/vda2 rw
21 20 0:30 /@/.snapshots /.snapshots rw - btrfs /dev/vda2 rw
22 20 0:30 /@/home /home rw - btrfs /dev/vda2 rw
23 20 0:30 /@/home/web /srv/web rw - btrfs /dev/vda2 rw\n",
            &[
                ("/", MountKind::Disk),
                ("/.snapshots", MountKind::Disk),
                ("/home", MountKind::Disk),
                ("/srv/web", MountKind::Bind),
            ],
        );
        // One that lies inside of what is mounted, and is mounted where it lies.
        assert_kinds(
            "20 1 0:30 / / rw - btrfs /dev/vda2 rw\n22 20 0:30 /home /home rw - btrfs /dev/vda2 rw\n",
            &[("/", MountKind::Disk), ("/home", MountKind::Disk)],
        );
    }

    #[test]
    fn names_are_unescaped() {
        for (written, name) in [
            ("/a\\040b", "/a b"),
            ("/a\\134b\\011", "/a\\b\t"),
            ("/a\\04", "/a\\04"),
            ("/a\\999", "/a\\999"),
            ("\\303\\244", "ä"),
        ] {
            assert_eq!(unescape(written), name);
        }
    }

    #[test]
    fn every_kind_has_its_types() {
        for (fs_type, expected) in [
            ("nfs4", MountKind::Network),
            ("fuse.sshfs", MountKind::Fuse),
            ("fuseblk", MountKind::Disk),
            ("squashfs", MountKind::Image),
            ("overlay", MountKind::Overlay),
            ("autofs", MountKind::Auto),
            ("novelfs", MountKind::Unknown),
        ] {
            assert_eq!(kind(fs_type), expected, "{fs_type}");
        }
        assert!(!features("vfat", "").unix_attributes);
        assert!(!features("ext3", "rw,noacl").acls);
        assert!(features("btrfs", "").reflinks);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(bytes: Vec<u8>) {
            let _read = parse(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_line_makes_it_fail(parts in prop::collection::vec("[ -~]{0,9}", 0..14)) {
            let _read = parse(&format!("{} - {}", parts.join(" "), parts.join("/")));
        }
    }
}
