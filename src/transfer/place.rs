//! How an entry takes its place on the target: made in the stage with all its attributes, then
//! given its name at one moment. Knows nothing of contents and of who asked.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::compare::metadata_differs;
use super::itemize::directory_columns;
use super::settle::Directory;
use super::stages::Stages;
use super::stopwatch::{Activity, doing};
use super::target::{TargetPass, count};
use crate::entry::{Entry, Kind, Metadata};
use crate::fs::metadata::{Before, apply_metadata, read_metadata};
use crate::fs::stage::{NewFile, Stage, Temp};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FileId, FsError, Result, Status, usable_name};
use crate::relpath::{Name, RelPath};

/// A directory of the target and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its handle.
    pub dir: &'a Dir,
    /// Its path.
    pub path: &'a RelPath,
}

/// What is to become of entries that a rule protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protected {
    Stays,
    Goes,
}

/// Returns the error of what must not be done although it could.
pub(super) fn refusal(operation: &str) -> FsError {
    FsError {
        operation: operation.to_owned(),
        errno: Errno::NOTEMPTY,
    }
}

impl TargetPass<'_> {
    /// Returns the stage for things that belong to `place`.
    pub fn stage(&self, place: Place<'_>) -> Result<Arc<Stage>> {
        match (&self.tree.stages, &self.tree.root) {
            (Some(stages), Some(root)) => stages.for_directory(root.root(), place.dir, place.path),
            _ => Err(FsError {
                operation: "write in a dry run".to_owned(),
                errno: Errno::ROFS,
            }),
        }
    }

    /// Gives what is in the stage its name. A directory in its place is replaced only where the
    /// run deletes and no rule protects anything in it.
    pub fn publish(&self, mut temp: Temp, place: Place<'_>, name: &Name) -> Result<()> {
        match temp.publish(place.dir, name) {
            Err(error) if error.errno == Errno::ISDIR => {
                let inside = self.allow_replacing(place, name)?;
                let replaced = temp.publish_in_place_of(place.dir, name);
                match replaced {
                    Ok(()) => drop(self.counts.deleted.fetch_add(inside, Ordering::Relaxed)),
                    Err(_) => self.tree.allowance.give_back(inside),
                }
                replaced
            }
            result => result,
        }
    }

    /// Refuses to replace a directory that must stay; returns how many entries go with it, which the
    /// limit allows.
    fn allow_replacing(&self, place: Place<'_>, name: &Name) -> Result<u64> {
        let dir = place.dir.open_dir(name)?;
        if dir.names()?.is_empty() {
            return Ok(0);
        }
        if self.tree.policy.delete_limit.is_none() {
            return Err(refusal(
                "replace a directory with contents (--delete would)",
            ));
        }
        let path = place.path.join(name);
        let inside = self.count_inside(Place {
            dir: &dir,
            path: &path,
        })?;
        match self.tree.allowance.take(inside) {
            true => Ok(inside),
            false => Err(refusal(
                "replace a directory with more entries than --max-delete allows",
            )),
        }
    }

    /// Counts what goes with a directory that is replaced. In a stage, what a rule protects was
    /// carried there and is carried again: it neither counts nor is in the way.
    fn count_inside(&self, place: Place<'_>) -> Result<u64> {
        let rules = &self.tree.rules;
        match self.tree.live.is_some() {
            false => self.count(place, Protected::Stays),
            true if rules.decide(place.path, true).verdict.protects() => Ok(0),
            true => self.count(place, Protected::Goes),
        }
    }

    /// Counts what is below a directory; fails where anything in it must stay.
    pub(super) fn count_below(&self, place: Place<'_>) -> Result<u64> {
        self.count(place, Protected::Stays)
    }

    fn count(&self, place: Place<'_>, protected: Protected) -> Result<u64> {
        let mut scope = self.tree.rules.below(place.path);
        let mut entries = 0;
        for name in place.dir.names()? {
            let name = usable_name(&name)?;
            let status = place.dir.status_of(&name)?;
            let decision = scope.decide(&name, status.is_directory());
            match (decision.verdict.protects(), protected) {
                (true, Protected::Stays) => {
                    return Err(refusal("replace a directory that holds protected entries"));
                }
                (true, Protected::Goes) => continue,
                (false, _) => entries += 1,
            }
            if status.is_directory() {
                let holds_mount = || refusal("replace a directory that holds a mount point");
                let dir = place.dir.open_dir_here(&name, &status)?;
                let (dir, path) = (dir.ok_or_else(holds_mount)?, place.path.join(&name));
                let place = Place {
                    dir: &dir,
                    path: &path,
                };
                entries += self.count(place, protected)?;
            }
        }
        Ok(entries)
    }

    /// Makes a symbolic link, FIFO, socket or device; returns its inode.
    pub fn make_special(&self, place: Place<'_>, entry: &Entry) -> Result<FileId> {
        let temp = self.stage(place)?.reserve()?;
        temp.dir().make_special(temp.name(), &entry.kind)?;
        let is_symlink = matches!(entry.kind, Kind::Symlink { .. });
        let object = Object::Leaf(temp.dir(), temp.name());
        let refused = apply_metadata(object, is_symlink, &entry.metadata, Before::Fresh);
        self.note_refused(&place.path.join(&entry.name), &refused);
        let id = temp.dir().status_of(temp.name())?.id();
        self.publish(temp, place, &entry.name)?;
        Ok(id)
    }

    /// Makes a directory, private until its contents are in.
    pub fn make_directory(&self, place: Place<'_>, name: &Name, is_name_taken: bool) -> Result<()> {
        if !is_name_taken {
            place.dir.make_dir(name)?;
            return self.open_mount_point(place, name);
        }
        let temp = self.stage(place)?.reserve()?;
        temp.dir().make_dir(temp.name())?;
        temp.publish_in_place_of(place.dir, name)
    }

    /// The stage of a volume has the attributes of what is mounted; the directory below it, which
    /// one sees only where the mount is missing, may be looked into.
    fn open_mount_point(&self, place: Place<'_>, name: &Name) -> Result<()> {
        let live = self.tree.live.as_ref();
        if live.is_some_and(|live| live.is_volume(&place.path.join(name))) {
            let metadata = Metadata {
                mode: 0o755,
                ..Metadata::default()
            };
            let object = Object::Leaf(place.dir, name);
            self.note_refused(
                &place.path.join(name),
                &apply_metadata(object, false, &metadata, Before::Fresh),
            );
        }
        Ok(())
    }

    /// Gives a complete file in the stage its attributes and its name; returns the inode of a
    /// file with several names.
    pub fn publish_file(
        &self,
        new: NewFile,
        place: Place<'_>,
        entry: &Entry,
        metadata: &Metadata,
    ) -> Result<Option<FileId>> {
        let status = crate::fs::status_of_fd(new.file())?;
        let object = Object::open(new.file());
        let refused = apply_metadata(object, false, metadata, Before::Made(status));
        if !refused.is_empty() {
            self.note_refused(&place.path.join(&entry.name), &refused);
        }
        if let Some(temp) = new.give_name(place.dir, &entry.name)? {
            self.publish(temp, place, &entry.name)?;
        }
        // Only names of a group are ever compared by inode.
        Ok(entry.link.map(|_| status.id()))
    }

    /// Gives a file that was patched where it lies its attributes, if it still has its name;
    /// returns its inode.
    pub fn confirm_file(
        &self,
        file: &OwnedFd,
        place: Place<'_>,
        entry: &Entry,
        metadata: &Metadata,
    ) -> Result<Option<FileId>> {
        let id = crate::fs::status_of_fd(file)?.id();
        if place.dir.status_of(&entry.name)?.id() != id {
            return Err(FsError::stale("patch in place"));
        }
        // ORDER: blocks that were there already are not written before the time stamp, which a
        // later run would believe after a power cut.
        crate::fs::sync_file(file)?;
        let refused = apply_metadata(Object::open(file), false, metadata, Before::Unknown);
        self.note_refused(&place.path.join(&entry.name), &refused);
        Ok(Some(id))
    }

    /// Reports the attributes that were refused; the rest is set.
    fn note_refused(&self, path: &RelPath, refused: &[FsError]) {
        for error in refused {
            self.failed(path, error);
        }
    }

    /// Sets the attributes of a regular file that stays. One that the live tree has too becomes a
    /// copy, and so does one with further names that a rule may protect; returns the inode of that
    /// where the file has several names. `compared` is what it was compared as: another one that
    /// has taken its name fails as stale.
    pub fn set_attributes(
        &self,
        place: Place<'_>,
        entry: &Entry,
        compared: FileId,
    ) -> Result<Option<FileId>> {
        let live = self.live_dir(place.path)?;
        let there = live.and_then(|live| live.status_of(&entry.name).ok());
        let own = place.dir.status_of(&entry.name)?;
        let may_be_protected = own.link_count() > 1 && !self.tree.rules.is_empty();
        if may_be_protected || there.is_some_and(|there| there.id() == compared) {
            return self.copy_from((place.dir, compared), place, entry);
        }
        self.change_attributes(place, entry, compared)
            .map(|()| None)
    }

    fn change_attributes(&self, place: Place<'_>, entry: &Entry, compared: FileId) -> Result<()> {
        let file = place.dir.open_file(&entry.name)?;
        let status: Status = crate::fs::status_of_fd(&file)?;
        if !status.is_file() || status.id() != compared {
            return Err(FsError::stale("set attributes"));
        }
        let object = Object::open(&file);
        let refused = apply_metadata(object, false, &entry.metadata, Before::Unknown);
        self.note_refused(&place.path.join(&entry.name), &refused);
        Ok(())
    }
}

/// Tells whether another file system of the target is mounted where the source did not look: it
/// is no part of the copy, nor is its root (`/proc`, `/sys`, a data disk).
fn is_mount_apart(pass: &TargetPass<'_>, directory: &Directory, dir: &Dir) -> Result<bool> {
    let Some((parent, _)) = directory.path.split().filter(|_| directory.is_opaque) else {
        return Ok(false);
    };
    match pass.open(&parent)? {
        Some(parent) => Ok(parent.volume()? != dir.volume()?),
        None => Ok(false),
    }
}

/// Tells about a directory's own attributes, once, before anything is made in it.
pub fn note_directory(pass: &TargetPass<'_>, dir: &Dir, directory: &Directory) -> Result<()> {
    if is_mount_apart(pass, directory, dir)? {
        count(&pass.counts.equal);
        return Ok(());
    }
    let status = dir.status()?;
    let present = read_metadata(Object::open(dir), &status)?;
    let wanted = &directory.metadata;
    if metadata_differs(wanted, &present) {
        count(&pass.counts.attributes);
        pass.item_columns(directory_columns(wanted, &present), &directory.path);
    } else {
        count(&pass.counts.equal);
        directory.note_equal(&status);
    }
    Ok(())
}

/// Gives a directory its own attributes after everything in it has landed.
pub fn finish_directory(pass: &TargetPass<'_>, directory: &Directory) {
    if pass.is_dry_run() {
        return;
    }
    let finished = || -> Result<()> {
        let Some(dir) = pass.open(&directory.path)? else {
            return Ok(());
        };
        let status = dir.status()?;
        if directory.is_still_equal(&status) {
            return Ok(());
        }
        if is_mount_apart(pass, directory, &dir)? {
            return Ok(());
        }
        let present = read_metadata(Object::open(&dir), &status)?;
        if metadata_differs(&directory.metadata, &present) {
            let _quiet = pass.tree.stages.as_ref().map(Stages::keep_still);
            let object = Object::open(&dir);
            let refused = doing(Activity::Write, || {
                apply_metadata(object, false, &directory.metadata, Before::Unknown)
            });
            pass.note_refused(&directory.path, &refused);
        }
        Ok(())
    };
    match finished() {
        // It could not be made: that was reported where it happened.
        Err(_) if directory.has_failed() => {}
        Err(error) => pass.failed(&directory.path, &error),
        Ok(()) => {}
    }
}
