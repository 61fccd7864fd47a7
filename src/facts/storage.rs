//! File systems, swap and what lies below them.

use serde::{Deserialize, Serialize};

/// What data lies on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Storage {
    /// What is mounted, in the kernel's order; `/` comes first.
    pub mounts: Vec<Mount>,
    /// Active swap, and swap that `/etc/fstab` names.
    pub swaps: Vec<Swap>,
    /// What lies in `/mnt` and `/media` without being mounted there, and is not empty.
    pub by_hand: Vec<String>,
    /// Whether device-mapper volumes of LVM are in use.
    pub lvm: bool,
    /// Whether software RAID (`/proc/mdstat`) is in use.
    pub raid: bool,
    /// Whether LUKS volumes are in use.
    pub luks: bool,
    /// Which of the three can be set up at boot: its tools are installed, and taken into the
    /// initramfs.
    #[serde(default)]
    pub tools: VolumeTools,
    /// Types of [`FILE_SYSTEM_TOOLS`] whose tools are installed.
    #[serde(default)]
    pub file_system_tools: Vec<String>,
}

/// Types of file systems whose tools no base system brings, with a program of these.
pub const FILE_SYSTEM_TOOLS: [(&str, &str); 2] = [("btrfs", "btrfs"), ("xfs", "xfs_repair")];

/// Tools for what can lie below file systems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeTools {
    /// Those of LVM.
    pub lvm: bool,
    /// Those of software RAID.
    pub raid: bool,
    /// Those of LUKS.
    pub luks: bool,
}

impl Storage {
    /// Returns the file system on which `path` (absolute) lies.
    pub fn mount_of(&self, path: &str) -> Option<&Mount> {
        // Later mounts hide earlier ones.
        let holds = |mount: &&Mount| {
            let point = mount.path.trim_end_matches('/');
            path == mount.path
                || path
                    .strip_prefix(point)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let longest = self
            .mounts
            .iter()
            .filter(holds)
            .map(|m| m.path.len())
            .max()?;
        self.mounts
            .iter()
            .rfind(|mount| mount.path.len() == longest && holds(mount))
    }
}

/// One mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mount {
    /// Where, absolute.
    pub path: String,
    /// From what: `/dev/vda1`, `server:/export`.
    pub source: String,
    /// The type as the kernel says it: `ext4`, `nfs4`, `fuse.sshfs`.
    pub fs_type: String,
    /// What kind that type is.
    pub kind: MountKind,
    /// The device number as `major:minor`; equal for bind mounts of one file system.
    pub device: String,
    /// The directory of the file system that is mounted: `/`, `/@home`, `/srv/www` of a bind.
    pub subtree: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// Whether programs may be started from it.
    pub executable: bool,
    /// Its UUID, where `/dev/disk/by-uuid` tells.
    pub uuid: Option<String>,
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free for root, in bytes.
    pub free_bytes: u64,
    /// Inodes; 0 where the file system has no fixed number.
    pub total_inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// What files on it can have.
    pub features: FsFeatures,
}

/// What kind of file system it is: decides whether a clone enters it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// On a disk of this machine.
    Disk,
    /// The same file system is mounted at an earlier place, and this shows a part of it.
    Bind,
    /// NFS, CIFS, Ceph and the like.
    Network,
    /// `proc`, `sysfs`, `tmpfs`, `cgroup` and the like.
    Pseudo,
    /// An image that is only read: `squashfs`, `iso9660`, a snap.
    Image,
    /// A merged view of other directories: `overlay`, `aufs`.
    Overlay,
    /// FUSE; it may be anything.
    Fuse,
    /// Mounted when looked at.
    Auto,
    /// A type that is not known.
    #[default]
    Unknown,
}

/// What files of a file system can have, as far as type and options tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FsFeatures {
    /// Extended attributes.
    pub xattrs: bool,
    /// POSIX ACLs.
    pub acls: bool,
    /// Copies that share their blocks.
    pub reflinks: bool,
    /// Owners, modes and links as Linux has them (not so on `vfat`, `exfat`, `ntfs`).
    pub unix_attributes: bool,
}

/// One swap area.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Swap {
    /// The file or device.
    pub path: String,
    /// Whether it is a file inside a file system.
    pub is_file: bool,
    /// Whether it is in use now.
    pub active: bool,
}
