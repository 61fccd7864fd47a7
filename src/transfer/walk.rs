//! The walk of the live source: directory by directory, several at once, as listings.
//!
//! A directory's listing leaves before its children are walked, so that the receiver always
//! knows the parent first. What moves meanwhile is a problem with a name, never an error of the
//! walk. Knows nothing of the target.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::churn::{problem_of, source_problem};
use super::wire::link::LinkLost;
use super::wire::message::{Listing, MAX_LISTING_ENTRIES};
use crate::entry::{Entry, Kind, LinkId, Metadata};
use crate::exclude::{Rules, Scope, Verdict};
use crate::fs::metadata::read_metadata;
use crate::fs::stage::STAGE_NAME;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FileId, FsError, Status, usable_name};
use crate::problem::{Problem, ProblemKind};
use crate::relpath::{Name, RelPath};

/// LIMIT: bytes of xattrs that one entry may carry, so that a full listing fits in a frame.
const MAX_ENTRY_XATTR_LEN: usize = 1 << 20;
/// Bytes of names, link texts and xattrs after which a listing is cut into parts.
const PART_LEN: usize = 256 * 1024;

/// Takes what the walk finds. Called from all its threads.
pub trait Visitor: Sync {
    /// Takes one listing, before any listing of a directory that it names. May block.
    fn listing(&self, listing: Listing, directory: FileId) -> Result<(), LinkLost>;
    /// Takes what did not make it into a listing.
    fn problem(&self, problem: Problem);
}

/// What is walked.
#[derive(Debug)]
pub struct Walk<'a> {
    root: &'a Dir,
    rules: &'a Rules,
    devices: HashSet<u64>,
    links: Mutex<LinkTable>,
    next_seq: AtomicU64,
    next_directory: AtomicU64,
    stack: Mutex<Stack>,
    wake: Condvar,
}

/// A directory that is to be walked.
#[derive(Debug)]
struct Task {
    path: RelPath,
    parent: u64,
    parent_device: u64,
}

#[derive(Debug, Default)]
struct Stack {
    tasks: Vec<Task>,
    busy: usize,
    cancelled: bool,
}

impl<'a> Walk<'a> {
    /// Prepares a walk of `root` that stays on its file system and those of `mounts`.
    pub fn new(root: &'a Dir, rules: &'a Rules, mounts: &[u64]) -> Result<Walk<'a>, FsError> {
        let device = root.id()?.device;
        let task = Task {
            path: RelPath::root(),
            parent: 0,
            parent_device: 0,
        };
        Ok(Walk {
            root,
            rules,
            devices: mounts.iter().copied().chain([device]).collect(),
            links: Mutex::default(),
            next_seq: AtomicU64::new(1),
            next_directory: AtomicU64::new(1),
            stack: Mutex::new(Stack {
                tasks: vec![task],
                ..Stack::default()
            }),
            wake: Condvar::new(),
        })
    }

    /// Walks until nothing is left; run it on as many threads as should share the work.
    pub fn run(&self, visitor: &impl Visitor) -> Result<(), LinkLost> {
        while let Some(task) = self.take() {
            let walked = self.walk_directory(&task, visitor);
            self.put_back(walked.is_err());
            walked?;
        }
        Ok(())
    }

    fn take(&self) -> Option<Task> {
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stack.cancelled {
                return None;
            }
            if let Some(task) = stack.tasks.pop() {
                stack.busy += 1;
                return Some(task);
            }
            if stack.busy == 0 {
                return None;
            }
            stack = self
                .wake
                .wait(stack)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put_back(&self, cancel: bool) {
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        stack.busy -= 1;
        stack.cancelled |= cancel;
        self.wake.notify_all();
    }

    fn push(&self, tasks: Vec<Task>) {
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        // Last in, first out: the walk goes deep before it goes wide and little waits.
        stack.tasks.extend(tasks.into_iter().rev());
        self.wake.notify_all();
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
        let mut part = self.begin(task, status.id(), metadata);
        let names = if self.devices.contains(&device) {
            dir.names()
        } else {
            Ok(Vec::new())
        };
        part.listing.opaque = !self.devices.contains(&device) || names.is_err();
        let mut names = names.unwrap_or_else(|error| {
            visitor.problem(source_problem(&task.path, &error));
            Vec::new()
        });
        names.sort_unstable();
        if task.parent_device != device {
            names.retain(|name| **name != *STAGE_NAME);
        }
        self.list(&dir, names, part, visitor)
    }

    fn begin(&self, task: &Task, id: FileId, metadata: Metadata) -> Part {
        Part {
            listing: Listing {
                seq: 0,
                parent: task.parent,
                directory: self.next_directory.fetch_add(1, Ordering::Relaxed),
                path: task.path.clone(),
                metadata,
                after: None,
                last: false,
                opaque: false,
                entries: Vec::new(),
            },
            id,
            length: 0,
        }
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
            let entry = match self.read_entry(dir, &name, &mut scope) {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                Err(error) => {
                    // What could not be looked at is not gone: nothing here counts as an extra.
                    part.listing.opaque |= !error.is_missing();
                    visitor.problem(problem_at(&part.listing.path, &name, &error));
                    continue;
                }
            };
            if !part.has_room() {
                part = self.send(part, false, visitor)?;
            }
            part.add(entry);
        }
        self.send(part, true, visitor)?;
        Ok(())
    }

    /// Sends a part and hands its directories to the other threads; returns the next part.
    fn send(&self, mut part: Part, last: bool, visitor: &impl Visitor) -> Result<Part, LinkLost> {
        part.listing.seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        part.listing.last = last;
        let next = part.next();
        let tasks: Vec<Task> = part.tasks();
        visitor.listing(part.listing, part.id)?;
        if !tasks.is_empty() {
            self.push(tasks);
        }
        Ok(next)
    }

    fn read_entry(
        &self,
        dir: &Dir,
        name: &[u8],
        scope: &mut Scope<'_>,
    ) -> Result<Option<Entry>, FsError> {
        let name = usable_name(name)?;
        let status = dir.status_of(&name)?;
        if scope.decide(&name, status.is_directory()).verdict != Verdict::Copy {
            return Ok(None);
        }
        if status.is_directory() {
            // Its attributes come with its own listing, read from its own handle.
            let metadata = Metadata::default();
            return Ok(Some(Entry {
                name,
                kind: Kind::Directory,
                metadata,
                link: None,
            }));
        }
        let kind = match status.kind() {
            Some(kind) => kind,
            None => Kind::Symlink {
                text: dir.link_text(&name)?,
            },
        };
        let metadata = read_metadata(Object::Leaf(dir, &name), &status)?;
        check_xattrs(&metadata)?;
        let link = self.link_of(&status);
        Ok(Some(Entry {
            name,
            kind,
            metadata,
            link,
        }))
    }

    fn link_of(&self, status: &Status) -> Option<LinkId> {
        (status.link_count() > 1).then(|| {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.number_of(status.id(), status.link_count())
        })
    }
}

/// Refuses what would not fit in a frame.
fn check_xattrs(metadata: &Metadata) -> Result<(), FsError> {
    if metadata.xattr_bytes() <= MAX_ENTRY_XATTR_LEN {
        return Ok(());
    }
    Err(FsError {
        operation: "send more than 1 MiB of xattrs".to_owned(),
        errno: rustix::io::Errno::TOOBIG,
    })
}

/// A listing that is being filled.
#[derive(Debug)]
struct Part {
    listing: Listing,
    id: FileId,
    length: usize,
}

impl Part {
    fn has_room(&self) -> bool {
        self.listing.entries.len() < MAX_LISTING_ENTRIES && self.length < PART_LEN
    }

    fn add(&mut self, entry: Entry) {
        self.length += entry.name.as_bytes().len() + entry.metadata.xattr_bytes();
        if let Kind::Symlink { text } = &entry.kind {
            self.length += text.len();
        }
        self.listing.entries.push(entry);
    }

    fn next(&self) -> Part {
        let listing = &self.listing;
        let after = listing
            .entries
            .last()
            .map(|entry| entry.name.clone())
            .or_else(|| listing.after.clone());
        Part {
            listing: Listing {
                seq: 0,
                parent: listing.parent,
                directory: listing.directory,
                path: listing.path.clone(),
                metadata: listing.metadata.clone(),
                after,
                last: false,
                opaque: listing.opaque,
                entries: Vec::new(),
            },
            id: self.id,
            length: 0,
        }
    }

    fn tasks(&self) -> Vec<Task> {
        let directories = self
            .listing
            .entries
            .iter()
            .filter(|entry| entry.kind == Kind::Directory);
        directories
            .map(|entry| Task {
                path: self.listing.path.join(&entry.name),
                parent: self.listing.seq,
                parent_device: self.id.device,
            })
            .collect()
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

/// Renumbers the inodes that have several names. An inode is forgotten when all its names were
/// seen, so the table holds only groups that are half known.
#[derive(Debug, Default)]
struct LinkTable {
    groups: HashMap<FileId, (LinkId, u64)>,
    count: u64,
}

impl LinkTable {
    fn number_of(&mut self, id: FileId, link_count: u64) -> LinkId {
        let (link, unseen) = self.groups.entry(id).or_insert_with(|| {
            self.count += 1;
            (LinkId(self.count), link_count)
        });
        let link = *link;
        *unseen = unseen.saturating_sub(1);
        if *unseen == 0 {
            self.groups.remove(&id);
        }
        link
    }
}
