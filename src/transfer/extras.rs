//! What only the target has, of one listing. Knows nothing of when and how it goes.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use super::place::Place;
use super::prune::Extra;
use super::settle::OpenListing;
use super::target::{TargetPass, lock};
use super::wire::message::Listing;
use crate::fs::stage::STAGE_NAME;
use crate::fs::{Dir, Result, Status, usable_name};
use crate::relpath::{Name, RelPath};

impl TargetPass<'_> {
    /// Remembers what only the target has, of the stretch of names that this part covers.
    pub(super) fn gather_extras(
        &self,
        open: &OpenListing,
        dir: &Dir,
        names: &[Box<[u8]>],
    ) -> Result<()> {
        let Some(extras) = &self.extras else {
            return Ok(());
        };
        let mut found = Vec::new();
        let looked = self.find_extras(open, dir, names, &mut found);
        let path = &open.listing.path;
        // Together, so that they are removed together.
        let mut extras = lock(extras);
        for extra in &found {
            extras.add(self, Place { dir, path }, extra)?;
        }
        looked
    }

    fn find_extras(
        &self,
        open: &OpenListing,
        dir: &Dir,
        names: &[Box<[u8]>],
        found: &mut Vec<Extra>,
    ) -> Result<()> {
        let listing = &open.listing;
        let start = listing.after.as_ref().map_or(0, |after| {
            names.partition_point(|name| **name <= *after.as_bytes())
        });
        let end = match listing.entries.last() {
            Some(last) if !listing.last => {
                names.partition_point(|name| **name <= *last.name.as_bytes())
            }
            _ => names.len(),
        };
        let listed = |name: &[u8]| {
            listing
                .entries
                .binary_search_by(|entry| entry.name.as_bytes().cmp(name))
                .is_ok()
        };
        let mut scope = self.tree.rules.below(&listing.path);
        let mut spellings = None;
        for name in names
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .filter(|name| !listed(name))
        {
            if **name == *STAGE_NAME && self.holds_stage(dir, &listing.path)? {
                continue;
            }
            let name = usable_name(name)?;
            let status = match dir.status_of(&name) {
                Err(error) if error.is_missing() => continue,
                status => status?,
            };
            let is_directory = status.is_directory();
            if scope.decide(&name, is_directory).verdict.protects() {
                continue;
            }
            let spellings = spellings.get_or_insert_with(|| Spellings::of(listing, names));
            if is_single(&status) && spellings.reach(dir, &name, &status) {
                continue;
            }
            if is_directory && self.follows_renames() {
                self.note_orphan(listing.path.join(&name), status.mtime());
            }
            let inode = status.id().inode;
            found.push(Extra { name, inode });
        }
        Ok(())
    }

    fn holds_stage(&self, dir: &Dir, path: &RelPath) -> Result<bool> {
        match (&self.tree.stages, &self.tree.root) {
            // The new tree of a stage holds no stage.
            _ if self.tree.live.is_some() => Ok(false),
            (Some(stages), Some(root)) => stages.holds(root.root(), dir, path),
            _ => Ok(true),
        }
    }
}

/// The listed names that are not spelled so here, by what they are without case: where a file system
/// takes `README` and `Readme` for one name, what is called the one is the other, and no extra.
struct Spellings<'l>(HashMap<Vec<u8>, Alike<'l>>);

/// Names that may be one.
#[derive(Default)]
struct Alike<'l> {
    names: Vec<&'l Name>,
    /// What they lead to, once somebody has asked.
    inodes: OnceCell<HashSet<u64>>,
}

impl<'l> Spellings<'l> {
    fn of(listing: &'l Listing, names: &[Box<[u8]>]) -> Spellings<'l> {
        let is_here = |name: &[u8]| names.binary_search_by(|other| (**other).cmp(name)).is_ok();
        let listed = listing.entries.iter().map(|entry| &entry.name);
        let mut spellings: HashMap<_, Alike<'_>> = HashMap::new();
        for name in listed.filter(|name| !is_here(name.as_bytes())) {
            let alike = spellings.entry(without_case(name)).or_default();
            alike.names.push(name);
        }
        Spellings(spellings)
    }

    /// Tells whether one of them leads to what has been found under `name`.
    fn reach(&self, dir: &Dir, name: &Name, found: &Status) -> bool {
        let Some(alike) = self.0.get(&without_case(name)) else {
            return false;
        };
        let inodes = alike.inodes.get_or_init(|| {
            let reached = alike
                .names
                .iter()
                .filter_map(|other| dir.status_of(other).ok());
            reached.map(|status| status.id().inode).collect()
        });
        inodes.contains(&found.id().inode)
    }
}

/// Returns what all spellings of a name have in common. What is beyond ASCII each file system folds in
/// its own way: such names may all be one.
fn without_case(name: &Name) -> Vec<u8> {
    match name.as_bytes().is_ascii() {
        true => name.as_bytes().to_ascii_lowercase(),
        false => Vec::new(),
    }
}

/// Tells whether an inode can have one name only.
fn is_single(status: &Status) -> bool {
    status.is_directory() || status.link_count() == 1
}
