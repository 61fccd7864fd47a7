//! Owners, modes, times, extended attributes, ACLs and capabilities for test trees.
//!
//! ACLs and capabilities are written as the raw attributes that the kernel keeps, so that no
//! tool has to be installed. Knows nothing of contents or names.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use filetime::FileTime;
use walkdir::WalkDir;

use crate::support::rng::Rng;

/// Owners and groups, known and unknown. 4294967295 means "leave it" and is no owner.
const IDS: &[u32] = &[
    0,
    0,
    0,
    1,
    33,
    1000,
    65_534,
    70_000,
    2_147_483_648,
    4_294_967_294,
];
const FILE_MODES: &[u32] = &[
    0o644, 0o644, 0o600, 0o755, 0o4755, 0o2755, 0o6711, 0o1644, 0o000, 0o400, 0o777,
];
const DIRECTORY_MODES: &[u32] = &[0o755, 0o755, 0o700, 0o1777, 0o2755, 0o500, 0o000];

/// Gives every entry below and including `root` random attributes, deepest first, so that the
/// times of directories stay.
pub fn decorate(root: &Path, rng: &mut Rng) {
    let walk = WalkDir::new(root)
        .follow_root_links(false)
        .contents_first(true)
        .sort_by_file_name();
    for entry in walk {
        decorate_one(entry.expect("walk the test tree").path(), rng);
    }
}

/// ORDER: owner, mode, ACL, other attributes, capability, time: each step can undo a later
/// one (chown clears capabilities and set-uid, chmod changes an ACL's mask).
fn decorate_one(path: &Path, rng: &mut Rng) {
    change_owner(path, rng);
    if !is_symlink(path) {
        change_mode(path, rng);
        if rng.once_in(6) {
            change_acl(path, rng);
        }
    }
    if rng.once_in(4) {
        change_xattr(path, rng);
    }
    if path.is_file() && !is_symlink(path) && rng.once_in(8) {
        set(path, "security.capability", &capability(rng));
    }
    change_time(path, rng);
}

/// Sets a random owner and group.
pub fn change_owner(path: &Path, rng: &mut Rng) {
    lchown(path, Some(*rng.pick(IDS)), Some(*rng.pick(IDS))).expect("chown");
}

/// Sets a random mode; `path` is no symbolic link.
pub fn change_mode(path: &Path, rng: &mut Rng) {
    let modes = if path.is_dir() {
        DIRECTORY_MODES
    } else {
        FILE_MODES
    };
    fs::set_permissions(path, Permissions::from_mode(*rng.pick(modes))).expect("chmod");
}

/// Sets a random modification time, also before 1970, far ahead and without nanoseconds.
pub fn change_time(path: &Path, rng: &mut Rng) {
    let seconds = match rng.below(10) {
        0 => -1,
        1 => -1_500_000_000,
        2 => 16_725_225_600, // Year 2500; file systems that end earlier clamp it.
        3 => 0,
        4 => 4_294_967_296,
        _ => 1_000_000_000 + rng.below(700_000_000) as i64,
    };
    let nanoseconds = match rng.below(4) {
        0 => 0,
        1 => 999_999_999,
        2 => 1,
        _ => rng.below(1_000_000_000) as u32,
    };
    let time = FileTime::from_unix_time(seconds, nanoseconds);
    filetime::set_symlink_file_times(path, time, time).expect("set times");
}

/// Sets an attribute, or removes one when there is any.
pub fn change_xattr(path: &Path, rng: &mut Rng) {
    let plain = xattr::list(path).map(|mut names| {
        names.find(|name| {
            name.to_string_lossy().starts_with("user.")
                || name.to_string_lossy().starts_with("trusted.")
        })
    });
    if let Ok(Some(name)) = plain
        && rng.once_in(2)
    {
        return xattr::remove(path, name).expect("remove attribute");
    }
    let size = *rng.pick(&[0, 1, 7, 32, 33, 300, 900]);
    let value = rng.bytes(size);
    let serial = rng.below(3);
    // The kernel keeps `user.` for files and directories.
    let user_allowed = path
        .symlink_metadata()
        .is_ok_and(|metadata| metadata.is_file() || metadata.is_dir());
    match rng.below(if user_allowed { 4 } else { 2 }) {
        0 => set(path, &format!("trusted.t{serial}"), &value),
        1 => set(path, "security.selinux", b"system_u:object_r:etc_t:s0\0"),
        2 => set(path, "user.umlaut-\u{fc}", &value),
        _ => set(path, &format!("user.u{serial}"), &value),
    }
}

/// Sets or removes an ACL; `path` is no symbolic link.
pub fn change_acl(path: &Path, rng: &mut Rng) {
    let mut names = vec!["system.posix_acl_access"];
    if path.is_dir() {
        names.push("system.posix_acl_default");
    }
    let name = *rng.pick(&names);
    if xattr::get(path, name).is_ok_and(|value| value.is_some()) && rng.once_in(2) {
        xattr::remove(path, name).expect("remove ACL");
    } else {
        set(path, name, &acl(rng));
    }
}

fn acl(rng: &mut Rng) -> Vec<u8> {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    const NOBODY: u32 = u32::MAX;
    let mut entries = vec![(1, 7, NOBODY), (USER, 5, 33), (USER, 6, 70_000)];
    entries.push((4, rng.below(8) as u16, NOBODY));
    entries.push((GROUP, rng.below(8) as u16, 1000));
    entries.push((16, rng.below(8) as u16, NOBODY));
    entries.push((32, rng.below(8) as u16, NOBODY));
    encode_acl(&entries)
}

/// The only version that there is.
const ACL_VERSION: u32 = 2;

/// Returns the bytes by which the kernel knows these entries: tag, permissions and id.
pub fn encode_acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = ACL_VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// A file capability, revision 2: one permitted and effective bit.
fn capability(rng: &mut Rng) -> Vec<u8> {
    let permitted: u32 = 1 << rng.below(32);
    [0x0200_0001, permitted, 0, 0, 0]
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect()
}

/// Returns the directories below and including `root`, and everything else, sorted.
pub fn paths(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let walk = WalkDir::new(root).sort_by_file_name();
    walk.into_iter()
        .map(|entry| entry.expect("walk the test tree").into_path())
        .partition(|path| path.is_dir() && !is_symlink(path))
}

/// Tells whether `path` itself is a symbolic link.
pub fn is_symlink(path: &Path) -> bool {
    path.is_symlink()
}

/// Tells whether `path` is a pipe, socket or device.
pub fn is_special(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
    })
}

fn set(path: &Path, name: &str, value: &[u8]) {
    xattr::set(path, name, value)
        .unwrap_or_else(|error| panic!("set {name} on {}: {error}", path.display()));
}
