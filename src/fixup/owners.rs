//! Numbers of owners: who owns what the target keeps, and what those numbers are in the clone.
//! Knows nothing of accounts' names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::gather::problem;
use crate::fs::metadata::{Before, apply_metadata, read_metadata};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, Result, Status, status_of_fd};
use crate::problem::{Problem, Side};
use crate::relpath::{Name, RelPath};

/// Owners of a set of files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owners {
    /// Numeric users.
    pub uids: BTreeSet<u32>,
    /// Numeric groups.
    pub gids: BTreeSet<u32>,
}

/// Old numbers and new ones. Applied to a file once: a chain (1 to 2, 2 to 3) is no mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMap {
    /// Users.
    pub uids: BTreeMap<u32, u32>,
    /// Groups.
    pub gids: BTreeMap<u32, u32>,
}

impl OwnerMap {
    /// Tells whether nothing changes its owner.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Returns user and group in the clone.
    pub fn of(&self, uid: u32, gid: u32) -> (u32, u32) {
        let new = |map: &BTreeMap<u32, u32>, id: u32| map.get(&id).copied().unwrap_or(id);
        (new(&self.uids, uid), new(&self.gids, gid))
    }
}

/// Finds out who owns `paths` below `root` and everything in them, on the same file system. A path
/// that is not there has no owner.
pub fn owners_of(root: &Dir, paths: &[RelPath]) -> (Owners, Vec<Problem>) {
    let mut owners = Owners::default();
    let problems = each_below(root, paths, &mut |_, _, status| {
        owners.uids.insert(status.uid());
        owners.gids.insert(status.gid());
        Ok(())
    });
    (owners, problems)
}

/// Gives everything at and below `paths` the owners of `map`, on the same file system and through
/// no link; returns how many changed. Set-id bits and capabilities are kept. Sockets, pipes and
/// devices stay as they are.
///
/// ORDER: once for each path, before another program makes files there. A path that shares its
/// inode with the running target must be a copy before.
pub fn change_owners(root: &Dir, paths: &[RelPath], map: &OwnerMap) -> (u64, Vec<Problem>) {
    let mut changed = 0;
    // A name of a file that was changed already: its numbers are new ones, not old ones.
    let mut done = BTreeSet::new();
    let problems = each_below(root, paths, &mut |dir, name, status| {
        let (uid, gid) = map.of(status.uid(), status.gid());
        let id = (status.id().device, status.id().inode);
        if (uid, gid) == (status.uid(), status.gid()) || !done.insert(id) {
            return Ok(());
        }
        let applied = if status.is_directory() {
            give(Object::open(&dir.open_dir(name)?), status, (uid, gid))?
        } else if status.is_file() {
            let file = dir.open_file(name)?;
            let status = status_of_fd(&file)?;
            give(Object::open(&file), &status, (uid, gid))?
        } else if status.kind().is_none() {
            give(Object::Leaf(dir, name), status, (uid, gid))?
        } else {
            false
        };
        changed += u64::from(applied);
        Ok(())
    });
    (changed, problems)
}

fn give(object: Object<'_>, status: &Status, (uid, gid): (u32, u32)) -> Result<bool> {
    let mut metadata = read_metadata(object, status)?;
    (metadata.uid, metadata.gid) = (uid, gid);
    let is_symlink = status.kind().is_none();
    let refused = apply_metadata(object, is_symlink, &metadata, Before::Unknown);
    match refused.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(true),
    }
}

type Look<'a> = &'a mut dyn FnMut(&Dir, &Name, &Status) -> Result<()>;

/// Shows `look` every object at and below `paths`, directories before what is in them.
fn each_below(root: &Dir, paths: &[RelPath], look: Look<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for path in paths {
        let Some((parent, name)) = path.split() else {
            continue;
        };
        let seen = root.open_beneath(&parent).and_then(|dir| {
            let device = dir.status_of(&name)?.id().device;
            let mut walk = Walk {
                device,
                look: &mut *look,
                problems: &mut problems,
            };
            walk.at(&dir, &name, path)
        });
        match seen {
            Err(error) if !error.is_missing() && !error.is_not_directory() => {
                problems.push(problem(Side::Target, path, &error));
            }
            _ => {}
        }
    }
    problems
}

struct Walk<'a> {
    /// The file system of the path that was named; what is mounted below it is not entered.
    device: u64,
    look: Look<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    fn at(&mut self, dir: &Dir, name: &Name, path: &RelPath) -> Result<()> {
        let status = dir.status_of(name)?;
        if status.id().device != self.device {
            return Ok(());
        }
        (self.look)(dir, name, &status)?;
        if !status.is_directory() {
            return Ok(());
        }
        let inner = dir.open_dir(name)?;
        for child in inner.names()? {
            let Ok(child) = Name::new(&child) else {
                continue;
            };
            let child_path = path.join(&child);
            match self.at(&inner, &child, &child_path) {
                Err(error) if !error.is_missing() => {
                    let problem = problem(Side::Target, &child_path, &error);
                    self.problems.push(problem);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
