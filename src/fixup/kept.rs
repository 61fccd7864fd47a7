//! Which paths of the target are its own by the rules: their owners have to go on meaning the
//! same, and the room that they take is not to be had. Looks only below the fixed beginnings of the patterns. Knows nothing of accounts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::exclude::{Rules, Verdict};
use crate::fs::Dir;
use crate::relpath::{Name, RelPath};

/// Returns the paths with the verdict `keep` below `root`; what lies in such a directory is not
/// named again. What cannot be read has nothing to keep.
pub(super) fn paths(root: &Dir, rules: &Rules) -> Vec<RelPath> {
    let kept = rules
        .list()
        .iter()
        .filter(|rule| rule.verdict == Verdict::Keep);
    let beginnings: BTreeSet<RelPath> = kept.map(|rule| beginning(&rule.pattern)).collect();
    let mut found = BTreeSet::new();
    for path in beginnings {
        // The root would mean a walk over everything: such a pattern keeps nothing by itself.
        if path.is_root() {
            continue;
        }
        look(root, rules, &path, &mut found);
    }
    found.into_iter().collect()
}

/// What is kept on one file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRoom {
    /// Bytes that it occupies.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Returns how much room the kept paths take on each device, by its numbers as `major:minor`.
pub fn room(root: &Dir, rules: &Rules) -> BTreeMap<String, KeptRoom> {
    let mut rooms = BTreeMap::new();
    for path in paths(root, rules) {
        let Some((parent, name)) = path.split() else {
            continue;
        };
        if let Ok(dir) = root.open_beneath(&parent) {
            measure(&dir, &name, &mut rooms);
        }
    }
    rooms
}

fn measure(dir: &Dir, name: &Name, rooms: &mut BTreeMap<String, KeptRoom>) {
    let Ok(status) = dir.status_of(name) else {
        return;
    };
    let room = rooms.entry(status.id().device_numbers()).or_default();
    room.bytes += status.allocated_bytes();
    room.inodes += 1;
    if status.is_directory() {
        let Ok(inner) = dir.open_dir(name) else {
            return;
        };
        for name in inner.names().unwrap_or_default() {
            if let Ok(name) = Name::new(&name) {
                measure(&inner, &name, rooms);
            }
        }
    }
}

/// Returns the part of a pattern before its first wildcard, up to a slash.
fn beginning(pattern: &str) -> RelPath {
    if !pattern.starts_with('/') {
        return RelPath::root();
    }
    let fixed = pattern
        .trim_matches('/')
        .split('/')
        .take_while(|part| !part.contains(['*', '?', '[', '{', '\\']));
    let path: Vec<&str> = fixed.collect();
    RelPath::new(path.join("/").as_bytes()).unwrap_or_default()
}

fn look(root: &Dir, rules: &Rules, path: &RelPath, found: &mut BTreeSet<RelPath>) {
    let Some((parent, name)) = path.split() else {
        return;
    };
    let Ok(dir) = root.open_beneath(&parent) else {
        return;
    };
    look_at(&dir, rules, (path, &name), found);
}

fn look_at(
    dir: &Dir,
    rules: &Rules,
    (path, name): (&RelPath, &Name),
    found: &mut BTreeSet<RelPath>,
) {
    let Ok(status) = dir.status_of(name) else {
        return;
    };
    let is_directory = status.is_directory();
    match rules.decide_deep(path, is_directory).verdict {
        Verdict::Keep => {
            found.insert(path.clone());
        }
        Verdict::Copy if is_directory => {
            let Ok(inner) = dir.open_dir(name) else {
                return;
            };
            for name in inner.names().unwrap_or_default() {
                let Ok(name) = Name::new(&name) else { continue };
                look_at(&inner, rules, (&path.join(&name), &name), found);
            }
        }
        Verdict::Copy | Verdict::Skip | Verdict::Merge => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{beginning, paths, room};
    use crate::exclude::{Rule, Rules, Verdict};
    use crate::fs::Dir;

    #[test]
    fn a_pattern_begins_before_its_first_wildcard() {
        for (pattern, path) in [
            ("/etc/netplan/***", "etc/netplan"),
            ("/etc/ssh/ssh_host_*", "etc/ssh"),
            ("/boot", "boot"),
            ("/*", ""),
            ("name", ""),
            ("/a/{b,c}/d", "a"),
        ] {
            assert_eq!(beginning(pattern).as_bytes(), path.as_bytes(), "{pattern}");
        }
    }

    #[test]
    fn finds_what_is_kept_and_nothing_beside_it() {
        let place = tempfile::tempdir().unwrap();
        for path in [
            "etc/ssh/ssh_host_key",
            "etc/ssh/sshd_config",
            "etc/netplan/a",
            "boot/x",
        ] {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let keep = |pattern: &str| Rule::new(Verdict::Keep, pattern, "test");
        let rules = Rules::new(vec![
            keep("/etc/ssh/ssh_host_*"),
            keep("/etc/netplan/***"),
            keep("/none/***"),
        ])
        .unwrap();
        let found = paths(&Dir::open_root(place.path()).unwrap(), &rules);
        let found: Vec<&[u8]> = found.iter().map(|path| path.as_bytes()).collect();
        assert_eq!(found, [&b"etc/netplan"[..], b"etc/ssh/ssh_host_key"]);
        let rooms = room(&Dir::open_root(place.path()).unwrap(), &rules);
        // The directory, the file in it, and the key.
        assert_eq!(rooms.values().map(|room| room.inodes).sum::<u64>(), 3);
    }
}
