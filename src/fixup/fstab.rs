//! `/etc/fstab`: every line of the target stays as it is; of the source come network mounts,
//! `tmpfs`, bind and other mounts without a disk, and disks as comments. No line of the source can
//! stop the boot. Knows nothing of what is mounted.

use std::collections::BTreeSet;

use super::block::{Block, REMARK, commented_lines, lines, without_block, words};
use super::{Case, Change, Level, path, quoted};
use crate::facts::Init;
use crate::problem::Side;

/// File systems that come over a network.
const NETWORK_TYPES: [&[u8]; 25] = [
    b"nfs",
    b"nfs4",
    b"cifs",
    b"smb3",
    b"smbfs",
    b"ceph",
    b"glusterfs",
    b"sshfs",
    b"davfs",
    b"afs",
    b"lustre",
    b"beegfs",
    b"beegfs_nodev",
    b"efs",
    b"s3fs",
    b"ncpfs",
    b"coda",
    b"moosefs",
    b"mfs",
    b"orangefs",
    b"pvfs2",
    b"curlftpfs",
    b"rclone",
    b"gpfs",
    b"quobyte",
];
/// File systems without a disk below them.
const PSEUDO_TYPES: [&[u8]; 22] = [
    b"tmpfs",
    b"ramfs",
    b"proc",
    b"sysfs",
    b"devpts",
    b"devtmpfs",
    b"usbfs",
    b"cgroup",
    b"cgroup2",
    b"debugfs",
    b"tracefs",
    b"securityfs",
    b"configfs",
    b"fusectl",
    b"hugetlbfs",
    b"mqueue",
    b"bpf",
    b"efivarfs",
    b"pstore",
    b"selinuxfs",
    b"binfmt_misc",
    b"overlay",
];
/// Where the system itself lies: a mount there would hide the clone, or be the target's disk.
const SYSTEM_POINTS: [&[u8]; 19] = [
    b"/",
    b"/boot",
    b"/boot/efi",
    b"/boot/firmware",
    b"/efi",
    b"/usr",
    b"/etc",
    b"/var",
    b"/bin",
    b"/sbin",
    b"/lib",
    b"/lib32",
    b"/lib64",
    b"/libx32",
    b"/root",
    b"/dev",
    b"/proc",
    b"/sys",
    b"/run",
];
/// Where the source's boot loader lies; never a disk of the clone.
const BOOT_POINTS: [&[u8]; 5] = [b"/", b"/boot", b"/boot/efi", b"/boot/firmware", b"/efi"];
/// Options of tmpfs that every kernel of the last decades knows, so that such a mount cannot fail.
const PLAIN_TMPFS_OPTIONS: [&[u8]; 17] = [
    b"defaults",
    b"rw",
    b"ro",
    b"suid",
    b"nosuid",
    b"dev",
    b"nodev",
    b"exec",
    b"noexec",
    b"noatime",
    b"nodiratime",
    b"relatime",
    b"strictatime",
    b"async",
    b"sync",
    b"nofail",
    b"auto",
];
const PLAIN_TMPFS_VALUES: [&[u8]; 3] = [b"size=", b"mode=", b"nr_inodes="];

/// One mount of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<'a> {
    spec: &'a [u8],
    point: &'a [u8],
    fs_type: &'a [u8],
    options: &'a [u8],
    /// The fifth field; the sixth is always 0 for what is taken.
    dump: &'a [u8],
}

/// What becomes of a line of the source.
enum Fate {
    Take(Vec<u8>),
    Comment { level: Level, why: String },
    Drop { why: &'static str },
}

pub(super) fn merge(case: &mut Case<'_>) {
    let path = path("etc/fstab");
    if case.leaves_link(&path, &[Side::Source, Side::Target]) {
        return;
    }
    let Some(source) = case.source_file(&path) else {
        return;
    };
    let target = case.target_file(&path);
    let own = without_block(target.map_or(&[][..], |file| &file.contents));
    let own_points: BTreeSet<Vec<u8>> = lines(&own)
        .filter_map(parse)
        .map(|entry| point_of(entry.point))
        .collect();
    let mut block = Block::default();
    for (above, line) in commented_lines(&source.contents) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match fate(case, line, &own_points) {
            Fate::Take(taken) => {
                above.iter().for_each(|comment| block.push(comment));
                if taken != line {
                    let was = format!("written as {} here", quoted(&taken));
                    case.note(&path, Level::Info, format!("{}: {was}", quoted(line)));
                }
                block.push(&taken);
            }
            Fate::Comment { level, why } => {
                above.iter().for_each(|comment| block.push(comment));
                block.push(&[REMARK, why.as_bytes()].concat());
                block.push(&[b"#", line].concat());
                case.note(&path, level, format!("{}: {why}", quoted(line)));
            }
            Fate::Drop { why } => {
                case.note(&path, Level::Info, format!("{}: {why}", quoted(line)));
            }
        }
    }
    let Some(file) = block.file(target, own) else {
        return;
    };
    let reason = "the target's file systems, and mounts of the source that need no disk of it";
    case.propose(&path, Change::Write(file), Level::Info, reason);
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let mut fields = words(line);
    let (spec, point, fs_type) = (fields.next()?, fields.next()?, fields.next()?);
    let options = fields.next().unwrap_or(b"defaults");
    let dump = fields.next().unwrap_or(b"0");
    let is_mount = !spec.starts_with(b"#");
    is_mount.then_some(Entry {
        spec,
        point,
        fs_type,
        options,
        dump,
    })
}

fn fate(case: &Case<'_>, line: &[u8], own_points: &BTreeSet<Vec<u8>>) -> Fate {
    let comment = |level, why: &str| Fate::Comment {
        level,
        why: why.to_owned(),
    };
    let Some(entry) = parse(line) else {
        return comment(Level::Warning, "a line of the source that is no mount");
    };
    let point = point_of(entry.point);
    let is_system = SYSTEM_POINTS.contains(&&point[..]);
    if entry.fs_type == b"swap" || point == b"swap" || point == b"none" {
        return Fate::Drop {
            why: "swap of the source; the target's stays",
        };
    }
    if own_points.contains(&point) {
        return Fate::Drop {
            why: "the target has a line for that mount point",
        };
    }
    if BOOT_POINTS.contains(&&point[..]) {
        return Fate::Drop {
            why: "a boot or root disk of the source",
        };
    }
    if !point.starts_with(b"/") {
        return comment(Level::Warning, "the mount point is no absolute path");
    }
    if is_api(&entry, &point) {
        return Fate::Take(line.to_vec());
    }
    if is_system {
        return comment(Level::Warning, "this mount would hide a part of the clone");
    }
    if is_network(&entry) {
        return Fate::Take(network_line(case, &entry));
    }
    if is_plain_tmpfs(&entry) {
        return Fate::Take(line.to_vec());
    }
    if is_without_disk(&entry) {
        return Fate::Take(safe_line(case, &entry, &[b"nofail"]));
    }
    comment(Level::Warning, "a disk of the source, which is not here")
}

/// Returns a mount point with its escapes resolved and without trailing slashes.
fn point_of(field: &[u8]) -> Vec<u8> {
    let mut point = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        point.push(octal.unwrap_or(*byte));
        rest = match octal {
            Some(_) => rest.get(4..).unwrap_or_default(),
            None => after,
        };
    }
    while point.len() > 1 && point.ends_with(b"/") {
        point.pop();
    }
    point
}

fn types<'a>(entry: &Entry<'a>) -> impl Iterator<Item = &'a [u8]> {
    entry.fs_type.split(|byte| *byte == b',')
}

fn options<'a>(entry: &Entry<'a>) -> impl Iterator<Item = &'a [u8]> {
    entry.options.split(|byte| *byte == b',')
}

/// Tells whether it is the kernel's own view of itself at its own place: proc at `/proc`.
fn is_api(entry: &Entry<'_>, point: &[u8]) -> bool {
    matches!(
        (entry.fs_type, point),
        (b"proc", b"/proc")
            | (b"sysfs", b"/sys")
            | (b"devpts", b"/dev/pts")
            | (b"tmpfs", b"/dev/shm" | b"/run")
    ) && options(entry).all(|option| !option.starts_with(b"x-"))
}

fn is_network(entry: &Entry<'_>) -> bool {
    let by_type = types(entry).any(|name| {
        let name = name.strip_prefix(b"fuse.").unwrap_or(name);
        NETWORK_TYPES.contains(&name)
    });
    let by_option = options(entry).any(|option| option == b"_netdev");
    // `server:/export` and `//server/share`, whatever the type is called.
    let by_spec = entry.spec.starts_with(b"//")
        || (!entry.spec.starts_with(b"/") && entry.spec.windows(2).any(|two| two == b":/"));
    by_type || (by_option && !is_device(entry)) || by_spec
}

fn is_device(entry: &Entry<'_>) -> bool {
    entry.spec.starts_with(b"/dev/") || entry.spec.contains(&b'=')
}

fn is_plain_tmpfs(entry: &Entry<'_>) -> bool {
    entry.fs_type == b"tmpfs"
        && options(entry).all(|option| {
            PLAIN_TMPFS_OPTIONS.contains(&option)
                || PLAIN_TMPFS_VALUES.iter().any(|value| {
                    let number = option.strip_prefix(*value).unwrap_or_default();
                    !number.is_empty() && number.iter().all(u8::is_ascii_alphanumeric)
                })
        })
}

fn is_without_disk(entry: &Entry<'_>) -> bool {
    let is_bind = options(entry).any(|option| option == b"bind" || option == b"rbind");
    let is_image = entry.spec.starts_with(b"/") && !entry.spec.starts_with(b"/dev/");
    let is_program = types(entry).all(|name| name == b"fuse" || name.starts_with(b"fuse."));
    types(entry).all(|name| PSEUDO_TYPES.contains(&name))
        || is_bind
        || is_image
        || (is_program && !is_device(entry))
}

fn network_line(case: &Case<'_>, entry: &Entry<'_>) -> Vec<u8> {
    let is_systemd = case.situation.source.init == Init::Systemd;
    let is_nfs = types(entry).any(|name| name.starts_with(b"nfs"));
    let mut wanted: Vec<&[u8]> = vec![b"_netdev", b"nofail"];
    // Without systemd `mount -a` waits for each server; in the background it does not.
    if is_nfs && !is_systemd && !options(entry).any(|option| option == b"fg") {
        wanted.push(b"bg");
    }
    // LIMIT: systemd's own is 90 s.
    if is_systemd && !has_value(entry, b"x-systemd.mount-timeout=") {
        wanted.push(b"x-systemd.mount-timeout=30s");
    }
    safe_line(case, entry, &wanted)
}

fn has_value(entry: &Entry<'_>, key: &[u8]) -> bool {
    options(entry).any(|option| option.starts_with(key))
}

/// Returns the line with `wanted` among its options, not checked at boot, not waited for.
fn safe_line(case: &Case<'_>, entry: &Entry<'_>, wanted: &[&[u8]]) -> Vec<u8> {
    let mut all: Vec<&[u8]> = options(entry)
        // Options that would make something else fail with it.
        .filter(|option| {
            !option.starts_with(b"x-systemd.required-by=")
                && !option.starts_with(b"x-systemd.requires=")
                && *option != b"x-initrd.mount"
        })
        .collect();
    let mut add = |option| {
        if !all.contains(&option) {
            all.push(option);
        }
    };
    wanted.iter().copied().for_each(&mut add);
    if case.situation.source.init == Init::Systemd
        && !has_value(entry, b"x-systemd.device-timeout=")
        && is_device(entry)
    {
        // LIMIT: systemd's own is 90 s.
        add(b"x-systemd.device-timeout=10s");
    }
    let options = all.join(&b","[..]);
    [
        entry.spec,
        entry.point,
        entry.fs_type,
        &options,
        entry.dump,
        b"0",
    ]
    .join(&b" "[..])
}
