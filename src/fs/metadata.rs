//! Attributes: read in one place, applied in one place in the one right order.
//!
//! ORDER: owner, mode, xattrs, times. Changing the owner clears set-id bits and capabilities;
//! changing the mode rewrites the mask of an ACL; anything after the times would move them.
//! Knows nothing of entries' contents.

use std::sync::LazyLock;

use rustix::fs::{Access, AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::gate::call;
use super::xattrs::Object;
use super::{Doing, FsError, Result, Status};
use crate::entry::{Metadata, Timestamp, Xattr};

/// The label of SELinux. Where it is active the kernel gives every file one and lets nobody
/// remove it.
const SELINUX_LABEL: &[u8] = b"security.selinux";
static IS_SELINUX_ACTIVE: LazyLock<bool> =
    LazyLock::new(|| call!(fs::access("/sys/fs/selinux/enforce", Access::EXISTS)).is_ok());

/// Reads the attributes of an object whose status is at hand.
pub fn read_metadata(object: Object<'_>, status: &Status) -> Result<Metadata> {
    Ok(Metadata {
        mode: status.mode(),
        uid: status.uid(),
        gid: status.gid(),
        mtime: status.mtime(),
        xattrs: object.read_xattrs()?,
    })
}

/// Whether the object may have attributes that nobody asked for.
#[derive(Clone, Copy, Debug)]
pub enum Before {
    /// Just made by us in a private directory: nothing to remove.
    Fresh,
    /// The same, and this is how it looks.
    Made(Status),
    /// Anything may be there.
    Unknown,
}

impl Before {
    fn has_owner(&self, wanted: &Metadata) -> bool {
        matches!(self, Before::Made(made) if (made.uid(), made.gid()) == (wanted.uid, wanted.gid))
    }

    fn has_mode(&self, wanted: &Metadata) -> bool {
        matches!(self, Before::Made(made) if made.mode() == wanted.mode)
    }
}

/// Makes the attributes of `object` those of `wanted`. What is refused is returned, the rest is
/// applied nevertheless.
pub fn apply_metadata(
    object: Object<'_>,
    is_symlink: bool,
    wanted: &Metadata,
    before: Before,
) -> Vec<FsError> {
    let mut refused = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            refused.push(error);
        }
    };
    if !before.has_owner(wanted) {
        note(change_owner(object, wanted.uid, wanted.gid));
    }
    if !is_symlink && !before.has_mode(wanted) {
        note(change_mode(object, wanted.mode));
    }
    for error in apply_xattrs(object, is_symlink, wanted, before) {
        note(Err(error));
    }
    note(change_mtime(object, wanted.mtime).and_then(|()| check_mtime(object, wanted.mtime)));
    refused
}

fn change_owner(object: Object<'_>, uid: u32, gid: u32) -> Result<()> {
    // 4294967295 means "leave as it is" to the kernel and cannot be stored.
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match object {
        Object::Open(fd) => call!(fs::fchown(fd, uid, gid)),
        Object::Leaf(dir, name) => {
            call!(fs::chownat(
                dir,
                name.as_bytes(),
                uid,
                gid,
                AtFlags::SYMLINK_NOFOLLOW
            ))
        }
    }
    .doing("set owner")
}

fn change_mode(object: Object<'_>, mode: u16) -> Result<()> {
    let mode = Mode::from_raw_mode(u32::from(mode));
    match object {
        Object::Open(fd) => call!(fs::fchmod(fd, mode)),
        // No link is followed: the caller made this leaf itself in its private directory.
        Object::Leaf(dir, name) => {
            call!(fs::chmodat(dir, name.as_bytes(), mode, AtFlags::empty()))
        }
    }
    .doing("set mode")
}

/// Sets the time of the last change; the access time stays.
pub fn change_mtime(object: Object<'_>, mtime: Timestamp) -> Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: i64::from(mtime.nanoseconds),
        },
    };
    match object {
        Object::Open(fd) => call!(fs::futimens(fd, &times)),
        Object::Leaf(dir, name) => {
            call!(fs::utimensat(
                dir,
                name.as_bytes(),
                &times,
                AtFlags::SYMLINK_NOFOLLOW
            ))
        }
    }
    .doing("set mtime")
}

/// Tells of a time that the file system cannot store: the kernel takes it, and stores the nearest
/// that it can. Between 1980 and 2038 lie those that every one of them has.
fn check_mtime(object: Object<'_>, wanted: Timestamp) -> Result<()> {
    const EVERYWHERE: std::ops::Range<i64> = 315_532_800..0x8000_0000;
    if EVERYWHERE.contains(&wanted.seconds) {
        return Ok(());
    }
    let stored = match object {
        Object::Open(fd) => super::status_of_fd(fd)?,
        Object::Leaf(dir, name) => dir.status_of(name)?,
    };
    // vfat has every second one.
    match stored.mtime().seconds.abs_diff(wanted.seconds) {
        0..=2 => Ok(()),
        _ => Err(Errno::OVERFLOW).doing("set mtime"),
    }
}

fn apply_xattrs(
    object: Object<'_>,
    is_symlink: bool,
    wanted: &Metadata,
    before: Before,
) -> Vec<FsError> {
    let mut refused = Vec::new();
    let present = match before {
        Before::Fresh | Before::Made(_) => Vec::new(),
        Before::Unknown => object.read_xattrs().unwrap_or_else(|error| {
            refused.push(error);
            Vec::new()
        }),
    };
    let mut removed_acl = false;
    for xattr in unwanted(&present, &wanted.xattrs) {
        removed_acl |= xattr.name.starts_with(b"system.posix_acl");
        refused.extend(object.remove_xattr(&xattr.name).err());
    }
    for xattr in wanted
        .xattrs
        .iter()
        .filter(|xattr| !present.contains(xattr))
    {
        refused.extend(object.set_xattr(xattr).err());
    }
    if removed_acl && !is_symlink {
        // Removing an ACL leaves its mask in the group bits.
        refused.extend(change_mode(object, wanted.mode).err());
    }
    refused
}

fn unwanted<'a>(present: &'a [Xattr], wanted: &'a [Xattr]) -> impl Iterator<Item = &'a Xattr> {
    present.iter().filter(|xattr| {
        (xattr.name != SELINUX_LABEL || !*IS_SELINUX_ACTIVE)
            && !wanted.iter().any(|other| other.name == xattr.name)
    })
}

/// Tells whether two sets of attributes differ in anything that `apply_metadata` would change.
pub fn xattrs_differ(present: &[Xattr], wanted: &[Xattr]) -> bool {
    unwanted(present, wanted).next().is_some()
        || wanted.iter().any(|xattr| !present.contains(xattr))
}
