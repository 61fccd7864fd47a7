//! Which paths of the target are its own by the rules: their owners have to go on meaning the
//! same, the room that they take is not to be had, and a staged clone takes them along. Looks only
//! below the fixed beginnings of the patterns. Knows nothing of accounts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exclude::{Decision, Depth, Rules, Verdict};
use crate::fs::{Dir, FsError, Result, Status};
use crate::relpath::{Name, RelPath};

/// How a path comes to be the target's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    /// By the verdict `keep`.
    Keep,
    /// By the verdict `merge`: until a merger has another opinion.
    Merge,
    /// The person left it out.
    LeftOut,
}

impl Held {
    fn by(decision: &Decision<'_>) -> Option<Held> {
        match decision.verdict {
            Verdict::Keep => Some(Held::Keep),
            Verdict::Merge => Some(Held::Merge),
            // A rule without a reason is the person's.
            Verdict::Skip if decision.rule.is_some_and(|rule| rule.reason.is_empty()) => {
                Some(Held::LeftOut)
            }
            Verdict::Skip | Verdict::Copy => None,
        }
    }
}

/// A tree in which paths are looked for.
pub(super) trait Ground {
    /// Opens a directory by its path.
    fn open(&self, path: &RelPath) -> Result<Dir>;
    /// Opens the directory `name` in `dir`, which lies at `path`; `None` where it is not entered.
    fn enter(&self, dir: &Dir, name: &Name, path: &RelPath, status: &Status)
    -> Result<Option<Dir>>;
}

/// Everything below a root, whatever is mounted there.
impl Ground for Dir {
    fn open(&self, path: &RelPath) -> Result<Dir> {
        self.open_beneath(path)
    }

    fn enter(&self, dir: &Dir, name: &Name, _: &RelPath, _: &Status) -> Result<Option<Dir>> {
        dir.open_dir(name).map(Some)
    }
}

/// Returns the paths that `wanted` asks for; what lies in such a directory is not named again.
/// What cannot be read has nothing to keep. With `Reach::Anchored`, patterns for which everything
/// would have to be looked at keep nothing by themselves.
pub(super) fn held(
    ground: &dyn Ground,
    rules: &Rules,
    wanted: &[Held],
    reach: Reach,
) -> BTreeMap<RelPath, Held> {
    search(ground, rules, wanted, reach).0
}

/// What could not be looked at, and why.
pub(super) type Unseen = Vec<(RelPath, FsError)>;

/// Does the same, and returns what could not be looked at as well.
pub(super) fn search(
    ground: &dyn Ground,
    rules: &Rules,
    wanted: &[Held],
    reach: Reach,
) -> (BTreeMap<RelPath, Held>, Unseen) {
    let mut search = Search {
        ground,
        rules,
        wanted,
        found: BTreeMap::new(),
        unseen: Vec::new(),
    };
    for (path, depth) in search.beginnings() {
        match (path.is_root(), reach) {
            (true, Reach::Anchored) => {}
            (true, Reach::Everywhere) => {
                let root = ground.open(&path);
                if let Some(root) = search.seen(root, &path) {
                    search.inside(&root, &path, depth);
                }
            }
            (false, _) => search.from(&path, depth),
        }
    }
    (search.found, search.unseen)
}

/// How far it is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only below the fixed beginnings of patterns.
    Anchored,
    /// Wherever a pattern can match.
    Everywhere,
}

/// Returns the paths with the verdict `keep` below `root`, but for patterns that match anywhere.
pub(super) fn paths(root: &Dir, rules: &Rules) -> Vec<RelPath> {
    let found = held(root, rules, &[Held::Keep], Reach::Anchored);
    found.into_keys().collect()
}

struct Search<'a> {
    ground: &'a dyn Ground,
    rules: &'a Rules,
    wanted: &'a [Held],
    found: BTreeMap<RelPath, Held>,
    unseen: Unseen,
}

impl Search<'_> {
    /// Takes what is not there for nothing, and notes any other error.
    fn seen<T>(&mut self, found: Result<T>, path: &RelPath) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) if error.is_gone() => None,
            Err(error) => {
                self.unseen.push((path.clone(), error));
                None
            }
        }
    }

    /// Returns where patterns begin, and how deep they can match.
    fn beginnings(&self) -> BTreeMap<RelPath, Depth> {
        let mut beginnings: BTreeMap<RelPath, Depth> = BTreeMap::new();
        for rule in self.rules.list() {
            let decision = Decision {
                verdict: rule.verdict,
                rule: Some(rule),
            };
            if Held::by(&decision).is_some_and(|by| self.wanted.contains(&by)) {
                for beginning in rule.beginnings() {
                    let depth = beginnings.entry(beginning.path).or_default();
                    depth.widen(beginning.depth);
                }
            }
        }
        beginnings
    }

    fn from(&mut self, path: &RelPath, depth: Depth) {
        let Some((parent, name)) = path.split() else {
            return;
        };
        let dir = self.ground.open(&parent);
        if let Some(dir) = self.seen(dir, &parent) {
            self.at(&dir, (path, &name), depth);
        }
    }

    fn at(&mut self, dir: &Dir, (path, name): (&RelPath, &Name), depth: Depth) {
        let Some(status) = self.seen(dir.status_of(name), path) else {
            return;
        };
        let is_directory = status.is_directory();
        let decision = self.rules.decide_deep(path, is_directory);
        if let Some(by) = Held::by(&decision) {
            if self.wanted.contains(&by) {
                self.found.insert(path.clone(), by);
            }
        } else if is_directory && may_hold(&decision, path, depth) {
            let inner = self.ground.enter(dir, name, path, &status);
            if let Some(inner) = self.seen(inner, path).flatten() {
                self.inside(&inner, path, depth);
            }
        }
    }

    fn inside(&mut self, dir: &Dir, path: &RelPath, depth: Depth) {
        for name in self.seen(dir.names(), path).unwrap_or_default() {
            if let Ok(name) = Name::new(&name) {
                self.at(dir, (&path.join(&name), &name), depth);
            }
        }
    }
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
    room.bytes = room.bytes.saturating_add(status.allocated_bytes());
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

/// Returns the directories that get into a stage with all that the target has in them, because the
/// person left them out, or because the source has other file systems there (`apart`). Programs of
/// the target may write to them. On which volumes there are stages is said by `stages`; patterns
/// that match anywhere are not looked for.
pub fn linked_directories(
    root: &Dir,
    rules: &Rules,
    (stages, apart): (&[RelPath], &[RelPath]),
) -> Vec<RelPath> {
    let left_out = held(root, rules, &[Held::LeftOut], Reach::Anchored).into_keys();
    let left_out = left_out.filter(|path| !is_left_alone(rules, path));
    // The switch leaves alone what is apart at the top.
    let apart = apart.iter().filter(|path| path.parts().count() > 1);
    let mut found: Vec<RelPath> = left_out.chain(apart.cloned()).collect();
    found.retain(|path| is_linked(root, stages, path).unwrap_or(false));
    found.sort();
    found.dedup();
    found
}

fn is_left_alone(rules: &Rules, path: &RelPath) -> bool {
    let first = path.parts().next().and_then(|name| Name::new(name).ok());
    first.is_some_and(|name| rules.leaves_alone(&RelPath::root().join(&name), true))
}

/// Tells whether a directory with something in it lies on a volume with a stage.
fn is_linked(root: &Dir, stages: &[RelPath], path: &RelPath) -> Result<bool> {
    let around = stages.iter().filter(|stage| path.below(stage).is_some());
    let Some(home) = around.max_by_key(|stage| stage.as_bytes().len()) else {
        return Ok(false);
    };
    let dir = root.open_beneath(path)?;
    let home = root.open_beneath(home)?.volume()?;
    Ok(dir.volume()?.is_of_mount(&home) && !dir.names()?.is_empty())
}

/// Tells whether patterns of this depth can match something in a directory about which `decision`
/// was made.
fn may_hold(decision: &Decision<'_>, path: &RelPath, depth: Depth) -> bool {
    // Below a match only a rule before it can have a directory copied.
    let is_exception = decision.rule.is_some();
    decision.verdict == Verdict::Copy
        && (path.parts().count() < depth.name_count || depth.goes_on && is_exception)
}

#[cfg(test)]
mod tests {
    use super::{Held, Reach, held, linked_directories, paths, room};
    use crate::exclude::{Rule, Rules, Verdict};
    use crate::fs::Dir;

    #[test]
    fn finds_what_was_left_out_beside_exceptions() {
        let place = tempfile::tempdir().unwrap();
        for path in [
            "srv/www/logo.png",
            "srv/www/site.conf",
            "srv/www/deep/er/data",
            "opt/a/b/data",
            "opt/a/x",
            "data/index/old",
            "data/other",
            "home/a/src/deep/er",
        ] {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let include = |pattern: &str| Rule::new(Verdict::Copy, pattern, "--include");
        let exclude = |pattern: &str| Rule::new(Verdict::Skip, pattern, "--exclude");
        let rules = Rules::new(vec![
            include("/srv/**/"),
            include("/srv/**/*.conf"),
            exclude("/srv/**"),
            include("/opt/a/"),
            include("/opt/a/b/"),
            exclude("/opt/*/***"),
            include("/data/index/"),
            exclude("/data/**"),
            exclude("/home/*/cache/**"),
        ])
        .unwrap();
        let root = Dir::open_root(place.path()).unwrap();
        let found = held(&root, &rules, &[Held::LeftOut], Reach::Anchored);
        let found: Vec<&[u8]> = found.keys().map(|path| path.as_bytes()).collect();
        let expected = [
            &b"data/index/old"[..],
            b"data/other",
            b"opt/a/b/data",
            b"opt/a/x",
            b"srv/www/deep/er/data",
            b"srv/www/logo.png",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn directories_of_the_target_that_the_stage_shares() {
        let place = tempfile::tempdir().unwrap();
        for path in [
            "var/lib/base/data",
            "var/lib/empty",
            "srv/left/x",
            "apart/x",
            "var/lib/apart/x",
            "etc/kept/x",
        ] {
            std::fs::create_dir_all(place.path().join(path)).unwrap();
        }
        std::fs::write(place.path().join("var/lib/file"), "").unwrap();
        let skip = |pattern: &str| Rule::new(Verdict::Skip, pattern, "--exclude");
        let rules = Rules::new(vec![
            skip("/var/lib/base"),
            skip("/var/lib/empty"),
            skip("/var/lib/file"),
            skip("/srv/***"),
            Rule::new(Verdict::Keep, "/etc/kept/***", "test").because("why"),
        ])
        .unwrap();
        let path = |path: &str| crate::fixup::path(path);
        let apart = [path("apart"), path("var/lib/apart"), path("not/there")];
        let root = Dir::open_root(place.path()).unwrap();
        let linked = |stages: &[_]| linked_directories(&root, &rules, (stages, &apart));
        assert_eq!(
            linked(&[path("")]),
            [path("var/lib/apart"), path("var/lib/base")]
        );
        assert_eq!(linked(&[]), [], "in place");
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
