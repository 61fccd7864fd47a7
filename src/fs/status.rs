//! What one look at a file tells: which object it is, its type, size, owner and times. Knows
//! nothing of extended attributes, and changes nothing.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, major, minor};
use rustix::io::Errno;

use super::gate::call;
use super::{Doing, Result};
use crate::entry::{DeviceNumber, Kind, Timestamp};
use crate::relpath::Name;

/// Some file systems count in whole seconds, and FAT in two.
const AT_REST: Duration = Duration::from_secs(2);

/// Device and inode: which object it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number on it.
    pub inode: u64,
}

/// Within one volume things can be renamed and linked: one mount of one file system. A bind mount
/// is another mount of the same device, a subvolume another device in the same mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Volume {
    device: u64,
    mount: u64,
}

impl Volume {
    /// Tells whether two directories are seen through one mount: one of the two may be a subvolume
    /// in the other's, with a device number of its own.
    ///
    /// LIMIT: where mounts have no numbers, devices alone tell.
    pub fn is_of_mount(&self, other: &Volume) -> bool {
        match (self.mount, other.mount) {
            (0, _) | (_, 0) => self.device == other.device,
            (mount, other) => mount == other,
        }
    }
}

/// What one `fstatat` tells.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    stat: Stat,
}

impl FileId {
    /// Returns the numbers of the device as `/proc/self/mountinfo` writes them: `major:minor`.
    pub fn device_numbers(&self) -> String {
        format!("{}:{}", major(self.device), minor(self.device))
    }
}

impl Status {
    /// Returns device and inode.
    pub fn id(&self) -> FileId {
        FileId {
            device: self.stat.st_dev,
            inode: self.stat.st_ino,
        }
    }

    /// Returns the type bits.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Tells whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Tells whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    /// Returns all bits of the mode, those of the type too.
    pub fn mode_with_type(&self) -> u32 {
        self.stat.st_mode
    }

    /// Returns permission, set-id and sticky bits.
    pub fn mode(&self) -> u16 {
        (self.stat.st_mode & 0o7777) as u16
    }

    /// Returns the numeric owner.
    pub fn uid(&self) -> u32 {
        self.stat.st_uid
    }

    /// Returns the numeric group.
    pub fn gid(&self) -> u32 {
        self.stat.st_gid
    }

    /// Returns the length in bytes.
    pub fn size(&self) -> u64 {
        self.stat.st_size.unsigned_abs()
    }

    /// Returns the bytes that it occupies, which holes make less than its length. What ZFS
    /// compresses counts compressed.
    pub fn allocated_bytes(&self) -> u64 {
        // The kernel counts blocks of 512 bytes, whatever the file system's own size.
        self.stat.st_blocks.unsigned_abs().saturating_mul(512)
    }

    /// Returns how many names the inode has.
    pub fn link_count(&self) -> u64 {
        #[allow(clippy::unnecessary_cast, reason = "narrower on some architectures")]
        {
            self.stat.st_nlink as u64
        }
    }

    /// Returns when the contents changed.
    pub fn mtime(&self) -> Timestamp {
        timestamp(self.stat.st_mtime, self.stat.st_mtime_nsec)
    }

    /// Returns when anything about the inode changed.
    pub fn ctime(&self) -> Timestamp {
        timestamp(self.stat.st_ctime, self.stat.st_ctime_nsec)
    }

    /// Tells whether the inode has been left alone for so long that its time of change tells two
    /// states apart.
    pub fn is_at_rest(&self, now: SystemTime) -> bool {
        self.rest(now).is_some_and(|rest| rest > AT_REST)
    }

    /// Returns how long before `now` anything about the inode changed last; `None` where that is
    /// still to come.
    pub fn rest(&self, now: SystemTime) -> Option<Duration> {
        let ctime = self.ctime();
        let Ok(seconds) = u64::try_from(ctime.seconds) else {
            return Some(Duration::MAX);
        };
        let changed = UNIX_EPOCH + Duration::new(seconds, ctime.nanoseconds);
        now.duration_since(changed).ok()
    }

    /// Tells whether it belongs to us, and its mode has none of the bits `open`.
    pub fn is_ours(&self, open: u16) -> bool {
        self.uid() == rustix::process::geteuid().as_raw() && self.mode() & open == 0
    }

    /// Returns the kind for anything but a symbolic link, whose text takes another call.
    pub fn kind(&self) -> Option<Kind> {
        let device = DeviceNumber {
            major: major(self.stat.st_rdev),
            minor: minor(self.stat.st_rdev),
        };
        match self.file_type() {
            FileType::RegularFile => Some(Kind::File { size: self.size() }),
            FileType::Directory => Some(Kind::Directory),
            FileType::Fifo => Some(Kind::Fifo),
            FileType::Socket => Some(Kind::Socket),
            FileType::CharacterDevice => Some(Kind::CharDevice(device)),
            FileType::BlockDevice => Some(Kind::BlockDevice(device)),
            FileType::Symlink | FileType::Unknown => None,
        }
    }

    /// Tells whether the contents may have moved between two looks at one file.
    pub fn has_churned(&self, later: &Status) -> bool {
        (self.size(), self.mtime(), self.ctime()) != (later.size(), later.mtime(), later.ctime())
    }
}

fn timestamp(seconds: i64, nanoseconds: u64) -> Timestamp {
    Timestamp {
        seconds,
        nanoseconds: nanoseconds as u32,
    }
}

/// Looks at an open file.
pub fn status_of_fd(fd: impl AsFd) -> Result<Status> {
    Ok(Status {
        stat: call!(fs::fstat(fd)).doing("stat")?,
    })
}

/// Tells which volume an open directory of `device` is in.
///
/// LIMIT: kernels before 5.8 do not number mounts, and some sandboxes refuse the call; devices
/// alone tell volumes apart there.
pub(super) fn volume_of_fd(fd: impl AsFd, device: u64) -> Result<Volume> {
    volume_by(fd, b"", (AtFlags::EMPTY_PATH, device))
}

/// Tells which volume a name of `device` in an open directory is in.
pub(super) fn volume_at(dir: impl AsFd, name: &Name, device: u64) -> Result<Volume> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    volume_by(dir, name.as_bytes(), (flags, device))
}

fn volume_by(fd: impl AsFd, path: &[u8], (flags, device): (AtFlags, u64)) -> Result<Volume> {
    let mount = match call!(fs::statx(fd, path, flags, StatxFlags::MNT_ID)) {
        Ok(status) if status.stx_mask & StatxFlags::MNT_ID.bits() != 0 => status.stx_mnt_id,
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => 0,
        Err(errno) => return Err(errno).doing("stat"),
    };
    Ok(Volume { device, mount })
}

/// Looks at a name in an open directory; a link is not followed.
pub(super) fn status_at(dir: impl AsFd, name: &Name) -> Result<Status> {
    let stat = call!(fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)).doing("stat")?;
    Ok(Status { stat })
}

/// Tells when what has a name in an open directory was made; `None` where the file system or the
/// kernel (before 4.11) does not tell.
pub fn birth_of(dir: impl AsFd, name: &Name) -> Option<Timestamp> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let status = call!(fs::statx(dir, name.as_bytes(), flags, StatxFlags::BTIME)).ok()?;
    (status.stx_mask & StatxFlags::BTIME.bits() != 0).then_some(Timestamp {
        seconds: status.stx_btime.tv_sec,
        nanoseconds: status.stx_btime.tv_nsec,
    })
}

#[cfg(test)]
mod tests {
    use super::{Volume, birth_of, status_at};
    use crate::relpath::Name;

    #[test]
    fn all_names_of_a_file_tell_one_birth() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("a"), "1").unwrap();
        std::fs::hard_link(temp.path().join("a"), temp.path().join("b")).unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        let [a, b, gone] = [b"a", b"b", b"c"].map(|name| Name::new(name).unwrap());
        let birth = birth_of(&dir, &a);
        assert_eq!(birth, birth_of(&dir, &b));
        let changed = status_at(&dir, &a).unwrap().ctime();
        assert!(birth.is_none_or(|birth| birth <= changed), "{birth:?}");
        assert_eq!(birth_of(&dir, &gone), None);
    }

    #[test]
    fn a_subvolume_is_of_the_mount_around_it() {
        let volume = |device, mount| Volume { device, mount };
        for (one, other, is_of_mount) in [
            (volume(40, 7), volume(41, 7), true),
            (volume(40, 7), volume(40, 8), false),
            (volume(40, 7), volume(40, 7), true),
            (volume(40, 0), volume(40, 0), true),
            (volume(40, 0), volume(41, 0), false),
        ] {
            assert_eq!(one.is_of_mount(&other), is_of_mount, "{one:?} {other:?}");
        }
    }
}
