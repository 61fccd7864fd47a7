//! What all workers of the receiving half share in a pass: the root, the rules, the stages, the
//! counts, and the few ways to say that something happened. Knows nothing of the order of work.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TransferError;
use super::basis::{BasisJobs, Budget};
use super::churn::target_problem;
use super::compare::{Existing, Origin};
use super::digest::DigestKey;
use super::itemize::{Way, columns};
use super::large::LargeLanding;
use super::links::LinkGroups;
use super::live::Live;
use super::movable::refuse_immovable;
use super::prune::{Allowance, Extras};
use super::renamed::Orphans;
use super::settle::{OpenListing, Settled, Tracker};
use super::stages::Stages;
use super::stopwatch::Stopwatch;
use super::wire::link::FrameSender;
use super::wire::message::{Policy, Up, WantId};
use crate::entry::{Entry, Kind, Metadata};
use crate::exclude::Rules;
use crate::fs::metadata::read_metadata;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, Staged, Tree};
use crate::monitor::{Pass, PassStats};
use crate::problem::{Problem, ProblemKind};
use crate::relpath::{Name, RelPath};

/// The target directory, open for a transfer.
#[derive(Debug)]
pub struct TargetTree {
    /// Where it is written; `None` where a dry run found none.
    pub root: Option<Tree>,
    /// The live tree beside it; `None` where it is written in place.
    pub live: Option<Live>,
    /// Where things are made; `None` in a dry run.
    pub stages: Option<Stages>,
    /// What is not touched.
    pub rules: Rules,
    /// What to do.
    pub policy: Policy,
    /// How much of what is there may go.
    pub allowance: Allowance,
    /// For tags and digests.
    pub key: DigestKey,
}

impl TargetTree {
    /// Opens the target directory, making it where it is missing.
    pub fn open(
        target: &[u8],
        (rules, policy): (Rules, Policy),
        key: DigestKey,
    ) -> std::result::Result<TargetTree, TransferError> {
        let path = Path::new(OsStr::from_bytes(target));
        if !path.is_absolute() {
            return Err(TransferError::Protocol(
                "a target directory that is not absolute",
            ));
        }
        let name = format!("target: {}", path.display());
        if !Path::new("/proc/self/fd").exists() {
            let errno = rustix::io::Errno::NOENT;
            let error = FsError {
                operation: "find /proc".to_owned(),
                errno,
            };
            return Err(root_error(&name, error));
        }
        if let Some(volumes) = &policy.staged {
            return TargetTree::beside((path, volumes), (rules, policy.clone()), key)
                .map_err(|error| root_error(&name, error));
        }
        let opened = match Dir::open_root(path) {
            Err(error) if error.is_missing() && policy.dry_run => None,
            Err(error) if error.is_missing() => {
                Some(Dir::create_root(path).map_err(|error| root_error(&name, error))?)
            }
            result => Some(result.map_err(|error| root_error(&name, error))?),
        };
        let stages = match &opened {
            Some(root) if !policy.dry_run => {
                let locked = root.lock().and_then(|()| Stages::open(root));
                Some(locked.map_err(|error| root_error(&name, error))?)
            }
            _ => None,
        };
        Ok(TargetTree {
            root: opened.map(Tree::from),
            live: None,
            stages,
            rules,
            allowance: Allowance::new(policy.delete_limit.unwrap_or(0)),
            policy,
            key,
        })
    }

    /// Opens a whole new tree beside the one at `path`. The lock is on that one's handle.
    fn beside(
        (path, volumes): (&Path, &[RelPath]),
        (rules, policy): (Rules, Policy),
        key: DigestKey,
    ) -> Result<TargetTree> {
        let live = Dir::open_root(path)?;
        live.lock()?;
        refuse_immovable(&live, volumes, &rules)?;
        let staged = Staged::make(&live, volumes)?;
        staged.claim(policy.pair.as_deref().unwrap_or_default())?;
        Ok(TargetTree {
            root: Some(staged.into_stage()),
            stages: Some(Stages::beside(&live, volumes)?),
            live: Some(Live::new(live, volumes.to_vec())),
            rules,
            allowance: Allowance::new(policy.delete_limit.unwrap_or(0)),
            policy,
            key,
        })
    }
}

fn root_error(what: &str, error: FsError) -> TransferError {
    TransferError::Root(what.to_owned(), error)
}

/// Counts of a pass, moved by many workers.
#[derive(Debug, Default)]
pub struct Counts {
    /// Entries listed.
    pub listed: AtomicU64,
    /// Their bytes.
    pub listed_bytes: AtomicU64,
    /// Entries found equal.
    pub equal: AtomicU64,
    /// Files that landed.
    pub landed: AtomicU64,
    /// Directories, links, nodes made.
    pub made: AtomicU64,
    /// Names linked.
    pub linked: AtomicU64,
    /// Entries whose attributes changed.
    pub attributes: AtomicU64,
    /// Entries deleted.
    pub deleted: AtomicU64,
    /// Entries vanished on the source.
    pub vanished: AtomicU64,
    /// Files that never held still.
    pub changed: AtomicU64,
    /// Entries that failed.
    pub failed: AtomicU64,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counts {
    /// Returns them as what a pass did.
    pub fn stats(&self) -> PassStats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PassStats {
            listed_entries: value(&self.listed),
            listed_bytes: value(&self.listed_bytes),
            equal_entries: value(&self.equal),
            landed_files: value(&self.landed),
            made_entries: value(&self.made),
            linked_entries: value(&self.linked),
            attribute_entries: value(&self.attributes),
            deleted_entries: value(&self.deleted),
            vanished_entries: value(&self.vanished),
            changed_files: value(&self.changed),
            failed_entries: value(&self.failed),
            ..PassStats::default()
        }
    }
}

/// One pass on the target.
#[derive(Debug)]
pub struct TargetPass<'a> {
    /// The directory.
    pub tree: &'a TargetTree,
    /// Which pass.
    pub pass: Pass,
    /// Whether no pass follows.
    pub is_last: bool,
    /// Where answers go.
    pub out: &'a FrameSender,
    /// Who is done with what.
    pub tracker: Tracker,
    /// Hard links.
    pub links: Mutex<LinkGroups>,
    /// Large files on their way.
    pub large: Mutex<HashMap<WantId, Arc<Mutex<LargeLanding>>>>,
    /// Large files whose basis is to be summed up.
    pub basis_jobs: BasisJobs,
    /// How many bytes of sums may be on their way.
    pub budget: Budget,
    /// What only the target has; `None` where nothing is deleted.
    pub extras: Option<Mutex<Extras>>,
    /// How many large files are copied before it is known what differs.
    pub copies: Arc<AtomicUsize>,
    /// Directories that only the target has.
    pub orphans: Mutex<Orphans>,
    /// The counts.
    pub counts: Counts,
    /// Whether a file system ran full.
    pub is_full: AtomicBool,
    /// What the workers spend their time on.
    pub stopwatch: Stopwatch,
}

/// Locks, whoever panicked while holding it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TargetPass<'_> {
    /// Tells whether nothing may change.
    pub fn is_dry_run(&self) -> bool {
        self.tree.policy.dry_run
    }

    /// Opens a directory of the target; `None` where a dry run would have made it.
    pub fn open(&self, path: &RelPath) -> Result<Option<Dir>> {
        let Some(root) = &self.tree.root else {
            return Ok(None);
        };
        match root.open_beneath(path) {
            Err(error) if self.is_dry_run() && error.is_gone() => Ok(None),
            result => result.map(Some),
        }
    }

    /// Looks at a name; `None` when it is not there.
    pub fn existing(&self, dir: &Dir, name: &Name) -> Result<Option<Existing>> {
        let status = match dir.status_of(name) {
            Err(error) if error.is_missing() => return Ok(None),
            result => result?,
        };
        let kind = match status.kind() {
            Some(kind) => kind,
            None => Kind::Symlink {
                text: dir.link_text(name)?,
            },
        };
        let metadata = match kind {
            // A directory's attributes are looked at through its own handle.
            Kind::Directory => Metadata::default(),
            _ => read_metadata(Object::Leaf(dir, name), &status)?,
        };
        Ok(Some(Existing {
            kind,
            metadata,
            id: status.id(),
            link_count: status.link_count(),
            ctime: status.ctime(),
            origin: Origin::Own,
        }))
    }

    /// Reports something that did not make it, and counts the entry.
    pub fn problem(&self, problem: Problem) {
        match problem.kind {
            ProblemKind::Vanished => count(&self.counts.vanished),
            ProblemKind::Changed => count(&self.counts.changed),
            ProblemKind::NoSpace => {
                self.is_full.store(true, Ordering::Relaxed);
                count(&self.counts.failed);
            }
            ProblemKind::Failed | ProblemKind::Mismatch => count(&self.counts.failed),
            // Nothing has failed that was tried.
            ProblemKind::DeleteLimit => {}
        }
        self.say(&Up::Problem(problem));
    }

    /// Sends what needs no answer. A lost link is noticed by whoever reads it.
    fn say(&self, message: &Up) {
        self.out.send(message).unwrap_or(());
    }

    /// Reports a failed call on the target.
    pub fn failed(&self, path: &RelPath, error: &FsError) {
        self.problem(target_problem(path, error));
    }

    /// Reports a change where that was asked for.
    pub fn item(&self, way: Way, open: &OpenListing, entry: &Entry, existing: Option<&Existing>) {
        if self.tree.policy.items {
            self.item_columns(columns(way, entry, existing), &open.path_of(entry));
        }
    }

    /// Reports a change whose columns are known.
    pub fn item_columns(&self, change: String, path: &RelPath) {
        if self.tree.policy.items {
            self.say(&Up::Item {
                change,
                path: path.as_bytes().to_vec(),
            });
        }
    }

    /// Notes that one thing of a listing is done, and finishes what ends with it.
    pub fn settle_one(&self, open: &OpenListing) {
        let settled = self.tracker.settle_one(open);
        if let Settled::Directory = settled {
            super::place::finish_directory(self, &open.directory);
        }
        if let Settled::Directory | Settled::Listing = settled {
            self.say(&Up::Settled {
                seq: open.listing.seq,
            });
        }
    }
}
