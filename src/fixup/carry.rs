//! What the target keeps comes into the stage: as further names of the same files, so that it costs
//! no room, stays the target's newest, and nothing of the running target changes.
//!
//! Done again it changes what has changed since. Knows nothing of mergers, passes and the switch.

mod modules;
mod place;
mod proof;
mod way;

pub use proof::astray;

use std::collections::{BTreeMap, BTreeSet};

use super::OwnerMap;
use super::gather::problem;
use super::kept::{Ground, Held, Reach, search};
use crate::exclude::Rules;
use crate::fs::metadata::change_mtime;
use crate::fs::stage::STAGE_NAME;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FileId, FsError, Result, Staged, Status, Volume};
use crate::problem::{Problem, Side};
use crate::relpath::{Name, RelPath};

/// What instancesync itself has on a target: it stays, as in a clone in place.
const OWN: [&str; 4] = [
    "var/lib/instancesync",
    "var/log/instancesync",
    "usr/local/bin/instancesync",
    "usr/local/sbin/instancesync",
];

/// When it is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Before the fix-ups: also what a merger may change yet.
    BeforeFixUps,
    /// Right before the switch: only what is the target's own for good.
    BeforeSwitch,
}

/// What is carried, and how.
#[derive(Clone, Copy, Debug)]
pub struct Carry<'a> {
    /// The rules of the run.
    pub rules: &'a Rules,
    /// Paths of the source that were not looked into: what the target has in them stays.
    pub apart: &'a [RelPath],
    /// Numbers of owners that mean another account in the clone.
    pub owners: &'a OwnerMap,
    /// What the fix-ups decided about: it stays as it is in the stage.
    pub edited: &'a [RelPath],
    /// When.
    pub occasion: Occasion,
}

/// What came of it. All zero where the stage was up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarryStats {
    /// Files that are further names of the target's now.
    pub linked_count: u64,
    /// Files that are copies of the target's.
    pub copied_count: u64,
    /// Directories that were made or got other attributes.
    pub directory_count: u64,
    /// Names that the target no longer has.
    pub removed_count: u64,
    /// Of all these, how many belong to another number than on the target.
    pub renumbered_count: u64,
}

/// Brings into the stage what the target keeps. What fails does not stop the rest.
///
/// A file becomes a hard link; a copy where the file system refuses that, or where its owner gets
/// another number. What stands in its way in the stage makes room, but a link on the way does not.
pub fn carry(staged: &Staged, what: &Carry<'_>) -> (CarryStats, Vec<Problem>) {
    let mut work = Work::new(staged, what);
    for (path, reason) in work.wanted() {
        if let Err(error) = work.take(&path, reason) {
            work.fail(&path, &error);
        }
    }
    work.remove_gone();
    work.finish_ways();
    (work.stats, work.problems)
}

/// Why something is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It is the target's own, and its accounts came along.
    Kept,
    /// It is the target's own and stays as it is.
    Stays,
    /// A directory of the source's, in which the target's things stay.
    Around,
}

struct Work<'a> {
    staged: &'a Staged,
    what: &'a Carry<'a>,
    edited: BTreeSet<RelPath>,
    /// The volume of each tree that has a stage.
    homes: BTreeMap<RelPath, Volume>,
    stats: CarryStats,
    problems: Vec<Problem>,
    /// Directories that were made on the way to something, for their times.
    made: Vec<RelPath>,
    /// Where copies of files with further names lie.
    copied: BTreeMap<(u64, u64), RelPath>,
}

/// The live tree: what is mounted in it and has no stage is not entered, nor what is private.
struct Live<'a>(&'a Staged);

impl Ground for Live<'_> {
    fn open(&self, path: &RelPath) -> Result<Dir> {
        self.0.live().open_beneath(path)
    }

    fn enter(
        &self,
        dir: &Dir,
        name: &Name,
        path: &RelPath,
        status: &Status,
    ) -> Result<Option<Dir>> {
        if is_private(self.0, path) {
            return Ok(None);
        }
        match self.0.volumes().contains(path) {
            true => dir.open_dir(name).map(Some),
            false => dir.open_dir_of_mount(name, status),
        }
    }
}

/// The new tree.
struct New<'a>(&'a Staged);

impl Ground for New<'_> {
    fn open(&self, path: &RelPath) -> Result<Dir> {
        self.0.stage().open_beneath(path)
    }

    fn enter(&self, _: &Dir, _: &Name, path: &RelPath, _: &Status) -> Result<Option<Dir>> {
        self.open(path).map(Some)
    }
}

/// Tells whether this is the private directory of a volume.
fn is_private(staged: &Staged, path: &RelPath) -> bool {
    path.split().is_some_and(|(parent, name)| {
        name.as_bytes() == STAGE_NAME && (parent.is_root() || staged.volumes().contains(&parent))
    })
}

impl<'a> Work<'a> {
    fn new(staged: &'a Staged, what: &'a Carry<'a>) -> Work<'a> {
        Work {
            staged,
            what,
            edited: what.edited.iter().cloned().collect(),
            homes: BTreeMap::new(),
            stats: CarryStats::default(),
            problems: Vec::new(),
            made: Vec::new(),
            copied: BTreeMap::new(),
        }
    }

    /// Returns what the target has and keeps, directories before what is named in them. What cannot
    /// be looked at is a problem: it may be kept.
    fn wanted(&mut self) -> BTreeMap<RelPath, Reason> {
        let verdicts: &[Held] = match self.what.occasion {
            Occasion::BeforeFixUps => &[Held::Keep, Held::Merge, Held::LeftOut],
            Occasion::BeforeSwitch => &[Held::Keep, Held::LeftOut],
        };
        let live = Live(self.staged);
        let (by_rule, unseen) = search(&live, self.what.rules, verdicts, Reach::Everywhere);
        for (path, error) in &unseen {
            self.fail(path, error);
        }
        let reason = |held: Held| match held {
            Held::Keep => Reason::Kept,
            Held::Merge | Held::LeftOut => Reason::Stays,
        };
        let around = self.what.apart.iter();
        let mut wanted: BTreeMap<RelPath, Reason> =
            around.map(|path| (path.clone(), Reason::Around)).collect();
        let modules = modules::of_kernels(&live, self.what.rules).into_iter();
        wanted.extend(own_paths().chain(modules).map(|path| (path, Reason::Stays)));
        wanted.extend(by_rule.into_iter().map(|(path, held)| (path, reason(held))));
        wanted
    }

    /// Carries one path and all that lies in it.
    fn take(&mut self, path: &RelPath, reason: Reason) -> Result<()> {
        let Some((parent, name)) = path.split() else {
            return Ok(());
        };
        if self.is_left_alone(path) {
            return Ok(());
        }
        let from = match self.staged.live().open_beneath(&parent) {
            Err(error) if error.is_gone() => return Ok(()),
            result => result?,
        };
        let status = match from.status_of(&name) {
            Err(error) if error.is_gone() => return Ok(()),
            result => result?,
        };
        if reason == Reason::Around && !status.is_directory() {
            return Ok(());
        }
        let Some(to) = self.way_to(&parent)? else {
            return Ok(());
        };
        let before = to.status()?;
        let placed = self.place(&from, &to, (path, &name), (&status, reason));
        restore_time(&to, &before)?;
        placed
    }

    /// Removes from the stage what was carried before and is gone from the target.
    fn remove_gone(&mut self) {
        let verdicts = [Held::Keep, Held::LeftOut];
        let new = New(self.staged);
        let (carried, unseen) = search(&new, self.what.rules, &verdicts, Reach::Everywhere);
        for (path, error) in &unseen {
            self.fail(path, error);
        }
        for path in carried
            .into_keys()
            .chain(modules::of_kernels(&new, self.what.rules))
        {
            if let Err(error) = self.remove_if_gone(&path) {
                self.fail(&path, &error);
            }
        }
    }

    fn remove_if_gone(&mut self, path: &RelPath) -> Result<()> {
        let Some((parent, name)) = path.split() else {
            return Ok(());
        };
        let live = self.staged.live().open_beneath(&parent);
        match live.and_then(|live| live.status_of(&name)) {
            Err(error) if error.is_gone() => {}
            result => return result.map(|_| ()),
        }
        let dir = self.staged.stage().open_beneath(&parent)?;
        let before = dir.status()?;
        self.remove(&dir, &name, path)?;
        restore_time(&dir, &before)
    }

    /// Removes `name` from the stage, unless the fix-ups or a mount point need it.
    fn remove(&mut self, dir: &Dir, name: &Name, path: &RelPath) -> Result<()> {
        let needed = self.edited.iter().chain(self.staged.volumes());
        let originals = super::apply::originals();
        let mut needed = needed.chain(std::iter::once(&originals));
        if needed.any(|needed| needed.below(path).is_some() || path.below(needed).is_some()) {
            return Ok(());
        }
        dir.remove_tree(name)?;
        self.stats.removed_count += 1;
        Ok(())
    }

    fn is_edited(&self, path: &RelPath) -> bool {
        self.edited.contains(path)
    }

    fn fail(&mut self, path: &RelPath, error: &FsError) {
        self.problems.push(problem(Side::Target, path, error));
    }
}

fn own_paths() -> impl Iterator<Item = RelPath> {
    OWN.iter().map(|path| super::path(path))
}

/// What is put into a directory moves its time; the directory is the source's and keeps its own.
fn restore_time(dir: &Dir, before: &Status) -> Result<()> {
    match dir.status()?.mtime() == before.mtime() {
        true => Ok(()),
        false => change_mtime(Object::open(dir), before.mtime()),
    }
}

fn key(id: FileId) -> (u64, u64) {
    (id.device, id.inode)
}
