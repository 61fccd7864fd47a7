//! The walk of the live source: directory by directory, several at once, as listings.
//!
//! A directory's listing leaves before its children are walked, so that the receiver always
//! knows the parent first. What moves meanwhile is a problem with a name, never an error of the
//! walk. Knows nothing of the target.

mod inodes;
mod limits;
mod part;
mod tasks;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use self::inodes::{LinkTable, Looks};
use self::limits::{check_length, check_xattrs};
use self::part::{Look, Part};
use self::tasks::{Task, Tasks};
use super::churn::{problem_of, source_problem};
use super::sender::Tree;
use super::snapshot::{Print, Snapshot, Trust};
use super::stopwatch::{Activity, doing};
use super::wire::link::LinkLost;
use super::wire::message::Listing;
use crate::entry::{Entry, Kind, LinkId, Metadata};
use crate::exclude::{Rules, Scope, Verdict};
use crate::fs::metadata::read_metadata;
use crate::fs::stage::STAGE_NAME;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FileId, FsError, Status, birth_of, usable_name};
use crate::problem::{Problem, ProblemKind};
use crate::relpath::{Name, RelPath};

/// Takes what the walk finds. Called from all its threads.
pub trait Visitor: Sync {
    /// Takes one listing, before any listing of a directory that it names. May block.
    fn listing(&self, found: Found) -> Result<(), LinkLost>;
    /// Takes what of a directory is as the target has it, and is not listed.
    fn unchanged(&self, unchanged: Unchanged) -> Result<(), LinkLost>;
    /// Takes what did not make it into a listing.
    fn problem(&self, problem: Problem);
}

/// A listing and what only the source knows of it.
#[derive(Debug)]
pub struct Found {
    /// What the target is told.
    pub listing: Listing,
    /// Which directory it is.
    pub directory: FileId,
    /// Which object each entry was.
    pub ids: Vec<FileId>,
    /// What the target has when it has settled without a problem.
    pub prints: Vec<Print>,
}

/// What the target has already.
#[derive(Debug, Default)]
pub struct Unchanged {
    /// Entries, child directories not counted.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What they look like.
    pub prints: Vec<Print>,
}

/// What is walked.
#[derive(Debug)]
pub struct Walk<'a> {
    root: &'a Dir,
    rules: &'a Rules,
    devices: HashSet<u64>,
    snapshot: &'a Snapshot,
    trust: Trust,
    /// When it began to write out the file systems, if it does.
    written_out: Option<SystemTime>,
    links: Mutex<LinkTable>,
    next_seq: AtomicU64,
    next_directory: AtomicU64,
    tasks: Tasks,
}

impl<'a> Walk<'a> {
    /// Prepares a walk that stays on the file systems of `tree`. Of what `trust` covers it lists
    /// only what `snapshot` does not know. `is_followed` says that a later walk is to trust what
    /// this one finds.
    pub fn new(
        tree: Tree<'a>,
        (snapshot, trust): (&'a Snapshot, Trust),
        is_followed: bool,
    ) -> Result<Walk<'a>, FsError> {
        let device = tree.root.id()?.device;
        let task = Task {
            path: RelPath::root(),
            parent: 0,
            parent_device: 0,
        };
        Ok(Walk {
            root: tree.root,
            rules: tree.rules,
            devices: tree.mounts.iter().copied().chain([device]).collect(),
            snapshot,
            trust,
            written_out: is_followed.then(SystemTime::now),
            links: Mutex::default(),
            next_seq: AtomicU64::new(1),
            next_directory: AtomicU64::new(1),
            tasks: Tasks::new(task),
        })
    }

    /// Walks until nothing is left; run it on as many threads as should share the work.
    pub fn run(&self, visitor: &impl Visitor) -> Result<(), LinkLost> {
        while let Some((task, turn)) = self.tasks.take() {
            self.walk_directory(&task, visitor)?;
            turn.end();
        }
        Ok(())
    }

    fn walk_directory(&self, task: &Task, visitor: &impl Visitor) -> Result<(), LinkLost> {
        let (dir, status, metadata) = match self.open(task) {
            Ok(opened) => opened,
            Err(error) => {
                visitor.problem(source_problem(&task.path, &error));
                return match self.look_from_above(task) {
                    Some((id, metadata)) => {
                        let mut part = self.begin(task, id, metadata);
                        part.listing.opaque = true;
                        self.send(part, true, visitor).map(drop)
                    }
                    None => Ok(()),
                };
            }
        };
        let device = status.id().device;
        if task.parent_device != device {
            self.write_out(&dir);
        }
        let mut part = self.begin(task, status.id(), metadata);
        part.own_print = self.print_of(&task.path, b"", &status);
        part.listing.partial = self.trust.covers(&task.path) && self.snapshot.knows(part.own_print);
        let names = if self.devices.contains(&device) {
            dir.names_of_living(status)
        } else {
            Ok(Vec::new())
        };
        part.listing.opaque = !self.devices.contains(&device) || names.is_err();
        let mut names = names.unwrap_or_else(|error| {
            visitor.problem(source_problem(&task.path, &error));
            Vec::new()
        });
        if task.parent_device != device {
            names.retain(|name| **name != *STAGE_NAME);
        }
        self.list(&dir, names, part, visitor)
    }

    /// Writes out the file system that begins at `dir`, so that its times tell what changes from now
    /// on: the first write to a page of a mapped file moves them, and then none until that page was
    /// written out.
    fn write_out(&self, dir: &Dir) {
        let is_ours = dir.id().is_ok_and(|id| self.devices.contains(&id.device));
        if is_ours && self.written_out.is_some() {
            // A disk that fails says so where it is read.
            drop(doing(Activity::Idle, || dir.sync_file_system()));
        }
    }

    /// Returns the print of what had come to rest when this was written out.
    fn print_of(&self, path: &RelPath, name: &[u8], status: &Status) -> Option<Print> {
        let now = self.written_out.unwrap_or_else(SystemTime::now);
        self.snapshot.print_of(path, (name, status), now)
    }

    /// Tells whether the target has this very directory at this path.
    fn knows_directory(&self, path: &RelPath, status: &Status) -> bool {
        self.snapshot.knows(self.print_of(path, b"", status))
    }

    fn begin(&self, task: &Task, id: FileId, metadata: Metadata) -> Part {
        let listing = Listing {
            seq: 0,
            parent: task.parent,
            directory: self.next_directory.fetch_add(1, Ordering::Relaxed),
            path: task.path.clone(),
            metadata,
            after: None,
            last: false,
            opaque: false,
            partial: false,
            entries: Vec::new(),
        };
        Part::new(listing, id)
    }

    /// Reads the attributes of a directory that cannot be opened by way of its parent: what is
    /// not known of it is its contents. `None` when it is gone by now.
    fn look_from_above(&self, task: &Task) -> Option<(FileId, Metadata)> {
        let (parent, name) = task.path.split()?;
        let dir = self.root.open_beneath(&parent).ok()?;
        let status = dir.status_of(&name).ok()?;
        let metadata = read_metadata(Object::Leaf(&dir, &name), &status).ok()?;
        let is_fit = status.is_directory() && check_xattrs(&metadata).is_ok();
        is_fit.then(|| (status.id(), metadata))
    }

    fn open(&self, task: &Task) -> Result<(Dir, Status, Metadata), FsError> {
        let dir = self.root.open_beneath(&task.path)?;
        let status = dir.status()?;
        let metadata = read_metadata(Object::open(&dir), &status)?;
        check_xattrs(&metadata)?;
        Ok((dir, status, metadata))
    }

    /// Sends all names of one directory, cut into parts.
    fn list(
        &self,
        dir: &Dir,
        names: Vec<Box<[u8]>>,
        mut part: Part,
        visitor: &impl Visitor,
    ) -> Result<(), LinkLost> {
        let mut scope = self.rules.below(&part.listing.path);
        for name in names {
            let looked = self.look_at(dir, &name, &mut scope, &part);
            if !part.has_room() {
                part = self.send(part, false, visitor)?;
            }
            match looked {
                Ok(Look::LeftOut) => {}
                Ok(Look::Unchanged(name, status, print)) => part.pass_over(&name, &status, print),
                Ok(Look::Entry(entry, id, print)) => part.add(entry, id, print),
                Err(error) => {
                    // What could not be looked at is not gone: nothing here counts as an extra.
                    part.listing.opaque |= !error.is_missing();
                    visitor.problem(problem_at(&part.listing.path, &name, &error));
                }
            }
        }
        self.send(part, true, visitor)?;
        Ok(())
    }

    /// Sends a part, unless it has nothing to say, and hands its directories to the other
    /// threads; returns the next part.
    fn send(&self, mut part: Part, last: bool, visitor: &impl Visitor) -> Result<Part, LinkLost> {
        let next = part.next();
        let mut tasks = std::mem::take(&mut part.tasks);
        let unchanged = part.take_unchanged(last);
        if !part.is_silent(last) {
            part.listing.seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
            for task in &mut tasks {
                task.parent = part.listing.seq;
            }
            visitor.listing(part.finish(last))?;
        }
        if unchanged.entries > 0 {
            visitor.unchanged(unchanged)?;
        }
        if !tasks.is_empty() {
            self.tasks.push(tasks);
        }
        Ok(next)
    }

    fn look_at(
        &self,
        dir: &Dir,
        name: &[u8],
        scope: &mut Scope<'_>,
        part: &Part,
    ) -> Result<Look, FsError> {
        let name = usable_name(name)?;
        let status = dir.status_of(&name)?;
        check_length(&part.listing.path, &name)?;
        if scope.decide(&name, status.is_directory()).verdict != Verdict::Copy {
            return Ok(Look::LeftOut);
        }
        let listing = &part.listing;
        if status.is_directory() {
            // RACE: it may have come since the directory that it is in was found as the target has it.
            if listing.partial && self.knows_directory(&listing.path.join(&name), &status) {
                return Ok(Look::Unchanged(name, status, None));
            }
            // Its attributes come with its own listing, read from its own handle.
            let metadata = Metadata::default();
            let entry = Entry {
                name,
                kind: Kind::Directory,
                metadata,
                link: None,
            };
            return Ok(Look::Entry(entry, status.id(), None));
        }
        let print = self.print_of(&listing.path, name.as_bytes(), &status);
        if listing.partial && self.snapshot.knows(print) {
            return Ok(Look::Unchanged(name, status, print));
        }
        let kind = match status.kind() {
            Some(kind) => kind,
            None => Kind::Symlink {
                text: dir.link_text(&name)?,
            },
        };
        let metadata = read_metadata(Object::Leaf(dir, &name), &status)?;
        check_xattrs(&metadata)?;
        let link = self.link_of(dir, &name, &status);
        let entry = Entry {
            name,
            kind,
            metadata,
            link,
        };
        Ok(Look::Entry(entry, status.id(), print))
    }

    fn link_of(&self, dir: &Dir, name: &Name, status: &Status) -> Option<LinkId> {
        (status.link_count() > 1).then(|| {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.number_of(Looks::of(status), || birth_of(dir, name))
        })
    }
}

fn problem_at(directory: &RelPath, name: &[u8], error: &FsError) -> Problem {
    match Name::new(name) {
        Ok(name) => source_problem(&directory.join(&name), error),
        Err(_) => problem_of(
            crate::problem::Side::Source,
            ProblemKind::Failed,
            name.to_vec(),
            error,
        ),
    }
}
