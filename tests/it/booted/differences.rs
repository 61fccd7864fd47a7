//! The paths in which two machines may differ, and why. Everything else has to be equal.
//!
//! Knows nothing of how a clone is made; it says what is promised of one.

use std::collections::BTreeSet;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::support::manifest::{Manifest, diff};

/// A pattern below the root and the reason. A star does not match a slash.
type Allowed = (&'static str, &'static str);

/// What a boot, the services of a small Debian, and the time between two looks write.
const RUNNING: &[Allowed] = &[
    ("var/log/**", "logs, the journal, who logged in"),
    (
        "var/lib/systemd/**",
        "random seed, when timers ran, core dumps",
    ),
    (
        "var/lib/dbus{,/machine-id}",
        "the id of the machine, made at the first boot",
    ),
    ("etc/.updated", "that this boot brought /etc up to date"),
    ("var/.updated", "that this boot brought /var up to date"),
    ("etc/.pwd.lock", "the lock of the account files"),
    ("var/lib/dpkg/lock*", "locks of the package manager"),
    (
        "var/lib/NetworkManager/**",
        "leases and the state of interfaces",
    ),
    ("var/lib/dhcp/**", "leases"),
    ("etc/resolv.conf", "written by the network stack"),
    ("var/cache/**", "caches"),
    ("var/lib/apt/lists/**", "what the mirrors had"),
    ("var/tmp/**", "private directories of services"),
    ("tmp/**", "temporary"),
    ("run/**", "of one boot"),
    ("dev/**", "of one boot"),
    ("proc/**", "of one boot"),
    ("sys/**", "of one boot"),
    ("lost+found", "of the file system"),
    ("root/.bash_history", "of one login"),
];

/// What instancesync writes about itself; its private directory is in no manifest.
const OURS: &[Allowed] = &[
    (
        "var/lib/instancesync",
        "records of runs, originals of merged files",
    ),
    (
        "var/lib/instancesync/**",
        "records of runs, originals of merged files",
    ),
];

/// What differs in its time alone: made anew, with the same contents and attributes.
const REMADE: &[Allowed] = &[
    (
        "etc/{passwd,shadow,group,gshadow,subuid,subgid}{,-}",
        "merged",
    ),
    ("tmp", "a directory in which others write"),
    ("var/tmp", "a directory in which others write"),
    ("root/.ssh", "the run's key came and went"),
];

/// What a clone keeps of the target, or makes out of both (docs/profiles.md, docs/fixups.md).
const KEPT: &[Allowed] = &[
    ("etc/hostname", "the target's own name"),
    ("etc/hosts", "merged: the target's own names"),
    ("etc/machine-id", "identity"),
    ("etc/ssh/ssh_host_*", "identity"),
    ("etc/network/**", "the target's network"),
    ("etc/netplan/**", "the target's network"),
    ("etc/systemd/network/**", "the target's network"),
    (
        "etc/systemd/system/**/systemd-networkd*",
        "the target's network starts as there",
    ),
    (
        "etc/NetworkManager/system-connections/**",
        "the target's network",
    ),
    ("etc/fstab", "merged: the target's disks"),
    ("root/.ssh/authorized_keys", "merged: the keys of both"),
    ("boot/**", "the target's kernel and boot loader"),
];

/// What waits on a clone until somebody has seen it.
const UNCONFIRMED: &[Allowed] = &[
    ("etc/systemd/system/instancesync-*", "the one-shots"),
    (
        "etc/systemd/system/*.wants/instancesync-*",
        "that they start",
    ),
    ("etc/init.d/instancesync-boot", "the same, for another init"),
    (
        "etc/rcS.d/S99instancesync-boot",
        "the same, for another init",
    ),
];

/// What the services of the source write all the time, which the fixture puts there.
const WRITTEN: &[Allowed] = &[
    ("srv/beat/**", "the service of the source writes there"),
    ("srv/database/**", "the database of the source"),
];

/// Returns how `now` differs from the machine `before`, apart from what running it leaves.
pub fn since(before: &Manifest, now: &Manifest) -> Vec<String> {
    unexplained(diff(before, now), &[RUNNING, OURS])
}

/// Returns how the machine `clone` differs from its source in what a clone promises.
pub fn between(source: &Manifest, clone: &Manifest) -> Vec<String> {
    unexplained(diff(source, clone), &[RUNNING, OURS, KEPT, WRITTEN])
}

/// Returns how a clone that nobody has seen yet differs from its source in what one promises.
pub fn between_unconfirmed(source: &Manifest, clone: &Manifest) -> Vec<String> {
    let lists = [RUNNING, OURS, KEPT, WRITTEN, UNCONFIRMED];
    unexplained(diff(source, clone), &lists)
}

/// Leaves out what one of the lists allows, and the times of the directories in which that lies.
fn unexplained(differences: Vec<String>, lists: &[&[Allowed]]) -> Vec<String> {
    let allowed = matcher(lists);
    let remade = matcher(&[REMADE]);
    let explained: BTreeSet<&str> = differences
        .iter()
        .map(|text| path_of(text))
        .filter(|path| allowed.is_match(path))
        .collect();
    let touched: BTreeSet<_> = explained
        .iter()
        .filter_map(|path| Path::new(path).parent())
        .collect();
    let is_of_time = |text: &str| {
        let path = path_of(text);
        text.contains(": mtime is ") && (touched.contains(Path::new(path)) || remade.is_match(path))
    };
    differences
        .iter()
        .filter(|text| !explained.contains(path_of(text)) && !is_of_time(text))
        .cloned()
        .collect()
}

fn matcher(lists: &[&[Allowed]]) -> GlobSet {
    let mut globs = GlobSetBuilder::new();
    for (pattern, _) in lists.iter().flat_map(|list| list.iter()) {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .empty_alternates(true)
            .build();
        globs.add(glob.unwrap());
    }
    globs.build().unwrap()
}

/// Returns the path that a difference is about.
fn path_of(difference: &str) -> &str {
    let path = difference
        .split_once(": ")
        .map_or(difference, |(path, _)| path);
    path.trim_start_matches("./")
}

#[test]
fn what_is_not_listed_is_a_difference() {
    let differences = |texts: &[&str]| {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        unexplained(texts, &[RUNNING, OURS])
    };
    let log = "./var/log/journal: only in the copy";
    assert_eq!(differences(&[log]), Vec::<String>::new());
    let kept = differences(&[log, "./var/log: mtime is 1 instead of 2"]);
    assert_eq!(kept, Vec::<String>::new());
    let remade = differences(&["./etc/passwd-: mtime is 1 instead of 2"]);
    assert_eq!(remade, Vec::<String>::new());
    for text in [
        "./etc/passwd-: size is 1 instead of 2",
        "./etc/passwd2: mtime is 1 instead of 2",
        "./etc: mtime is 1 instead of 2",
        "./etc/hostname: blake3 is 1 instead of 2",
        "./var/logs: only in the copy",
        "./srv/var/log/x: missing in the copy",
    ] {
        assert_eq!(differences(&[log, text]), [text], "{text}");
    }
}
