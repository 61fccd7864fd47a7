//! A transfer into a stage: what the live tree beside it has already is taken from there, as a
//! second name or as a copy, and is never changed by us. Knows nothing of how a stage takes the
//! live tree's place.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::io::Errno;

use super::ask::Asks;
use super::compare::{Action, BasisUse, Existing, Origin};
use super::itemize::Way;
use super::place::Place;
use super::reconcile::Item;
use super::settle::OpenListing;
use super::target::{TargetPass, count, lock};
use crate::entry::{Entry, Kind, Timestamp};
use crate::fs::{Dir, FileId, FsError, Result, Status, extents, status_of_fd};
use crate::monitor::Pass;
use crate::relpath::{Name, RelPath};

/// Where programs lie: what changes there is replaced by rename, so one inode can serve both trees.
/// Elsewhere programs write into their files, and the tree that was replaced would change with the
/// clone.
const SHARED: [&[u8]; 7] = [
    b"usr", b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32",
];
/// What people install by hand writes where it likes.
const NOT_SHARED: &[u8] = b"usr/local";

/// The live tree beside a stage.
#[derive(Debug)]
pub struct Live {
    root: Dir,
    volumes: Vec<RelPath>,
    /// When each inode that both trees have was last changed, as it was when its contents were
    /// compared: about 50 bytes for each such file. A program can write into it through the live
    /// tree at any time.
    compared: Mutex<HashMap<FileId, Timestamp>>,
}

impl Live {
    /// Stands beside the stages of `root` and of the volumes that begin at `volumes`.
    pub fn new(root: Dir, volumes: Vec<RelPath>) -> Live {
        Live {
            root,
            volumes,
            compared: Mutex::default(),
        }
    }

    /// Tells whether a volume with a stage of its own begins at `path`.
    pub fn is_volume(&self, path: &RelPath) -> bool {
        self.volumes.contains(path)
    }

    fn open(&self, path: &RelPath) -> Result<Option<Dir>> {
        match self.root.open_beneath(path) {
            Err(error) if error.is_gone() => Ok(None),
            result => result.map(Some),
        }
    }
}

/// Tells whether a file of both trees may be one inode.
pub(super) fn may_share(path: &RelPath) -> bool {
    let parent = path.split().map(|(parent, _)| parent);
    parent.is_some_and(|parent| is_shared_directory(&parent))
}

/// Tells whether files right below a directory of both trees may be one inode.
pub(super) fn is_shared_directory(path: &RelPath) -> bool {
    let is_in = |start: &[u8]| match path.as_bytes().strip_prefix(start) {
        Some(rest) => rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    };
    SHARED.iter().any(|start| is_in(start)) && !is_in(NOT_SHARED)
}

impl TargetPass<'_> {
    /// Opens a directory of the live tree; `None` where there is none, and without a stage.
    pub(super) fn live_dir(&self, path: &RelPath) -> Result<Option<Dir>> {
        match &self.tree.live {
            Some(live) => live.open(path),
            None => Ok(None),
        }
    }

    /// Looks at a name in `dir`, and where it is not there, in the live tree's directory.
    pub(super) fn find(
        &self,
        dir: Option<&Dir>,
        live: Option<&Dir>,
        name: &Name,
    ) -> Result<Option<Existing>> {
        let own = match dir {
            Some(dir) => self.existing(dir, name)?,
            None => None,
        };
        match (own, live) {
            (None, Some(live)) => Ok(self.existing(live, name)?.map(|existing| Existing {
                origin: Origin::Live,
                ..existing
            })),
            (own, _) => Ok(own),
        }
    }

    /// Looks at an entry that was compared before.
    pub(super) fn find_again(&self, open: &OpenListing, entry: &Entry) -> Result<Option<Existing>> {
        let path = &open.directory.path;
        let (dir, live) = (self.open(path)?, self.live_dir(path)?);
        self.find(dir.as_ref(), live.as_ref(), &entry.name)
    }

    /// Opens the file `id` that was found under `name`, in whichever tree it is.
    pub(super) fn open_found(&self, path: &RelPath, name: &Name, id: FileId) -> Result<OwnedFd> {
        for dir in [self.open(path)?, self.live_dir(path)?]
            .into_iter()
            .flatten()
        {
            match dir.open_file(name) {
                Ok(file) if status_of_fd(&file)?.id() == id => return Ok(file),
                Err(error) if !error.is_missing() => return Err(error),
                _ => {}
            }
        }
        Err(FsError::missing("open basis"))
    }

    /// Tells whether `existing` has one more name than the source's, and that is the same name in
    /// the live tree.
    pub(super) fn is_shared_with_live(&self, item: &Item<'_>, existing: &Existing) -> bool {
        let status = item.live.map(|live| live.status_of(&item.entry.name));
        existing.link_count == 2
            && status.is_some_and(|status| status.is_ok_and(|status| status.id() == existing.id))
    }

    /// Tells whether the last look at a file that both trees share finds it changed since its
    /// contents were compared, or never compared in this transfer.
    pub(super) fn is_unproven(&self, existing: Option<&Existing>) -> bool {
        let (Some(live), Some(existing)) = (&self.tree.live, existing) else {
            return false;
        };
        self.is_last
            && self.pass == Pass::Timestamp
            && is_shared_file(existing)
            && lock(&live.compared).get(&existing.id) != Some(&existing.ctime)
    }

    /// Notes how a shared file looks right before its contents are compared.
    pub(super) fn note_compared(&self, existing: Option<&Existing>) {
        if let (Some(live), Some(existing)) = (&self.tree.live, existing)
            && is_shared_file(existing)
        {
            lock(&live.compared).insert(existing.id, existing.ctime);
        }
    }

    /// Takes an entry that only the live tree has into the stage, as `action` says.
    pub(super) fn take_over(&self, item: &Item<'_>, action: Action, asks: &mut Asks) -> Result<()> {
        let Some(place) = item.place() else {
            return Ok(());
        };
        match (action, &item.entry.kind) {
            (Action::Equal | Action::MakeDirectory, Kind::Directory) => {
                self.make_directory(place, &item.entry.name, false)?;
                count(&self.counts.equal);
                self.tracker.note_fresh(item.open.path_of(item.entry));
            }
            (Action::Equal | Action::Attributes, Kind::File { .. }) => {
                let is_equal = action == Action::Equal;
                let Some(found) = item.existing.as_ref().map(|existing| existing.id) else {
                    return Ok(());
                };
                match self.adopt(item.open, item.entry, (is_equal, found)) {
                    // LIVE: it moved while it was taken; the source's is what counts.
                    Err(error) if error.errno == Errno::STALE => {
                        return self.want(item, BasisUse::None, asks);
                    }
                    adopted => adopted?,
                }
            }
            (Action::Body(basis_use), _) => return self.want(item, basis_use, asks),
            _ => {
                let id = self.make_special(place, item.entry)?;
                self.count_taken(item.open, item.entry, action == Action::Equal);
                self.leader_landed(item.open, item.entry, Some(id));
            }
        }
        Ok(())
    }

    /// Gives a file of the live tree with the source's contents a name in the stage: the same
    /// inode where that is allowed, else a copy with the source's attributes.
    pub(super) fn adopt(
        &self,
        open: &OpenListing,
        entry: &Entry,
        (has_attributes, compared): (bool, FileId),
    ) -> Result<()> {
        let gone = || FsError::missing("open directory");
        let dir = self.open(&open.directory.path)?.ok_or_else(gone)?;
        let live = self.live_dir(&open.directory.path)?.ok_or_else(gone)?;
        let is_single = || {
            let status = live.status_of(&entry.name)?;
            Ok(status.link_count() == 1 && status.id() == compared)
        };
        let may_link = has_attributes && entry.link.is_none() && may_share(&open.path_of(entry));
        let linked = match may_link && is_single()? {
            true => live.link(&entry.name, &dir, &entry.name),
            false => Err(FsError::stale("link")),
        };
        let id = match linked {
            Ok(()) => None,
            Err(error) if error.is_no_space() => return Err(error),
            Err(_) => {
                let path = &open.directory.path;
                self.copy_from((&live, compared), Place { dir: &dir, path }, entry)?
            }
        };
        self.count_taken(open, entry, has_attributes);
        self.leader_landed(open, entry, id);
        Ok(())
    }

    fn count_taken(&self, open: &OpenListing, entry: &Entry, is_equal: bool) {
        if is_equal {
            count(&self.counts.equal);
        } else {
            count(&self.counts.attributes);
            self.item(Way::Attributes, open, entry, None);
        }
    }

    /// Makes a copy of a file of this machine in the stage, with the source's attributes. Fails as
    /// stale where it moves meanwhile, or is not the one that was compared.
    pub(super) fn copy_from(
        &self,
        (from, compared): (&Dir, FileId),
        place: Place<'_>,
        entry: &Entry,
    ) -> Result<Option<FileId>> {
        let file = from.open_file(&entry.name)?;
        let before: Status = status_of_fd(&file)?;
        if !before.is_file() || before.size() != entry.kind.size() || before.id() != compared {
            return Err(FsError::stale("copy"));
        }
        let new = self.stage(place)?.create_file(entry.metadata.mode)?;
        extents::copy_contents(&file, new.file(), before.size())?;
        if before.has_churned(&status_of_fd(&file)?) {
            return Err(FsError::stale("copy"));
        }
        self.publish_file(new, place, entry, &entry.metadata)
    }
}

/// Tells whether a file of the stage has another name somewhere.
fn is_shared_file(existing: &Existing) -> bool {
    existing.origin == Origin::Own
        && existing.link_count > 1
        && matches!(existing.kind, Kind::File { .. })
}

#[cfg(test)]
mod tests {
    use super::may_share;
    use crate::relpath::RelPath;

    #[test]
    fn shares_programs_and_nothing_that_is_written_in_place() {
        let share = |path: &str| may_share(&RelPath::new(path.as_bytes()).unwrap());
        for path in ["usr/bin/true", "lib/x", "sbin/init", "usr/localhost/x"] {
            assert!(share(path), "{path}");
        }
        for path in [
            "usr/local/bin/x",
            "var/lib/x",
            "etc/passwd",
            "usrx/a",
            "opt/a",
            "usr",
        ] {
            assert!(!share(path), "{path}");
        }
    }
}
