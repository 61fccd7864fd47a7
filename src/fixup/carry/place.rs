//! One object of the target placed in the stage, with what lies in it. Knows nothing of why it is
//! carried.

use rustix::io::Errno;

use super::{Reason, Work, key};
use crate::entry::Kind;
use crate::fs::metadata::{Before, apply_metadata, read_metadata, xattrs_differ};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, Status, extents, status_of_fd, sync_file, usable_name};
use crate::relpath::{Name, RelPath};

/// What is placed has this name until it is whole.
const TEMP: &[u8] = b".instancesync-carry";
/// LIMIT: how often a file is copied anew that changes meanwhile. The last copy stands then; a
/// database that is written to all the time has its own way to recover.
const MAX_TRIES: usize = 3;

impl Work<'_> {
    /// Places what stands under a name of `from` under the same name in `to`.
    pub(super) fn place(
        &mut self,
        from: &Dir,
        to: &Dir,
        (path, name): (&RelPath, &Name),
        (status, reason): (&Status, Reason),
    ) -> Result<()> {
        if self.is_edited(path) || super::is_private(self.staged, path) {
            return Ok(());
        }
        match status.is_directory() {
            true => self.directory(from, to, (path, name), (status, reason)),
            false => self.leaf(from, to, (path, name), (status, reason)),
        }
    }

    pub(super) fn owner(&self, status: &Status, reason: Reason) -> (u32, u32) {
        match reason {
            Reason::Kept => self.what.owners.of(status.uid(), status.gid()),
            Reason::Stays | Reason::Around => (status.uid(), status.gid()),
        }
    }

    fn directory(
        &mut self,
        from: &Dir,
        to: &Dir,
        (path, name): (&RelPath, &Name),
        (status, reason): (&Status, Reason),
    ) -> Result<()> {
        let is_new = make_directory(to, name)?;
        let has_stage = self.staged.volumes().contains(path);
        let source = match has_stage {
            true => Some(from.open_dir(name)?),
            // What lies in a subvolume is copied: no name leads out of one.
            false => from.open_dir_of_mount(name, status)?,
        };
        let made = match has_stage {
            true => self.staged.stage().open_beneath(path)?,
            false => to.open_dir(name)?,
        };
        let before = made.status()?;
        if let Some(source) = &source {
            self.contents(source, &made, path, reason)?;
        }
        if reason == Reason::Around && !is_new {
            return super::restore_time(&made, &before);
        }
        let source = match source {
            Some(source) => source,
            // A mount point: what is seen there is another volume's.
            None => from.open_dir(name)?,
        };
        self.attributes(&source, (&made, is_new), path, reason)
    }

    /// Places what is in a directory, and removes what is no longer there.
    fn contents(&mut self, from: &Dir, to: &Dir, path: &RelPath, reason: Reason) -> Result<()> {
        let inner = match reason {
            Reason::Around => Reason::Stays,
            reason => reason,
        };
        let names = from.names()?;
        for bytes in &names {
            let name = usable_name(bytes)?;
            let child = path.join(&name);
            let placed = from
                .status_of(&name)
                .and_then(|status| self.place(from, to, (&child, &name), (&status, inner)));
            match placed {
                // LIVE: it vanished meanwhile.
                Err(error) if error.is_missing() => {}
                Err(error) => self.fail(&child, &error),
                Ok(()) => {}
            }
        }
        for bytes in to.names()?.iter().filter(|name| !names.contains(name)) {
            let name = usable_name(bytes)?;
            self.remove(to, &name, &path.join(&name))?;
        }
        Ok(())
    }

    /// ORDER: after the contents, which move the time.
    fn attributes(
        &mut self,
        from: &Dir,
        (to, is_new): (&Dir, bool),
        path: &RelPath,
        reason: Reason,
    ) -> Result<()> {
        let status = from.status()?;
        let mut wanted = read_metadata(Object::open(from), &status)?;
        (wanted.uid, wanted.gid) = self.owner(&status, reason);
        let found = read_metadata(Object::open(to), &to.status()?)?;
        let owners = [(found.uid, found.gid), (wanted.uid, wanted.gid)];
        let is_same = owners[0] == owners[1]
            && (found.mode, found.mtime) == (wanted.mode, wanted.mtime)
            && !xattrs_differ(&found.xattrs, &wanted.xattrs);
        if is_same {
            return Ok(());
        }
        for error in apply_metadata(Object::open(to), false, &wanted, Before::Unknown) {
            self.fail(path, &error);
        }
        // A time that moved because of what is inside is no change of its own.
        let is_changed = is_new || owners[0] != owners[1] || found.mode != wanted.mode;
        self.stats.directory_count += u64::from(is_changed);
        let is_renumbered = owners[1] != (status.uid(), status.gid());
        self.stats.renumbered_count += u64::from(is_changed && is_renumbered);
        Ok(())
    }

    fn leaf(
        &mut self,
        from: &Dir,
        to: &Dir,
        (path, name): (&RelPath, &Name),
        (status, reason): (&Status, Reason),
    ) -> Result<()> {
        let owner = self.owner(status, reason);
        let is_renumbered = owner != (status.uid(), status.gid());
        let found = match to.status_of(name) {
            Err(error) if error.is_missing() => None,
            result => Some(result?),
        };
        if !is_renumbered {
            if found.is_some_and(|found| found.id() == status.id()) {
                return Ok(());
            }
            match link(from, name, to) {
                Ok(()) => {
                    without_rest(to, publish(to, name, found.as_ref()))?;
                    self.stats.linked_count += 1;
                    return Ok(());
                }
                // Another device, too many names, or a file that must not be touched.
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if found.is_none_or(|found| !is_current(&found, status, owner)) {
            if found.is_some_and(|found| found.id() == status.id()) {
                // ORDER: before the copy, as it counts as a change of the file.
                to.remove_file(name)?;
            }
            let copied = match self.follow(to, status) {
                Ok(false) => copy(from, name, to, owner),
                result => result.map(|_| ()),
            };
            let published = copied.and_then(|()| publish(to, name, found.as_ref()));
            without_rest(to, published)?;
            self.stats.copied_count += 1;
            self.stats.renumbered_count += u64::from(is_renumbered);
        }
        if status.link_count() > 1 {
            self.copied.insert(key(status.id()), path.clone());
        }
        Ok(())
    }

    /// Makes a temp of the copy that another name of the same file has got.
    fn follow(&self, to: &Dir, status: &Status) -> Result<bool> {
        let Some((parent, name)) = self.copied.get(&key(status.id())).and_then(RelPath::split)
        else {
            return Ok(false);
        };
        let leader = self.staged.stage().open_beneath(&parent)?;
        match link(&leader, &name, to) {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Makes sure that a directory stands there; tells whether it is new.
fn make_directory(to: &Dir, name: &Name) -> Result<bool> {
    match to.status_of(name) {
        Ok(found) if found.is_directory() => return Ok(false),
        Ok(_) => to.remove_file(name)?,
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(error),
    }
    to.make_dir(name)?;
    Ok(true)
}

/// Tells whether a copy was made after anything about the file changed.
///
/// RACE: a file that is written to twice within one tick of the kernel's clock, and copied between
/// the two, is taken for unchanged until it is written to again.
pub(super) fn is_current(copy: &Status, status: &Status, owner: (u32, u32)) -> bool {
    copy.file_type() == status.file_type()
        && (copy.size(), copy.mtime(), copy.mode())
            == (status.size(), status.mtime(), status.mode())
        && (copy.uid(), copy.gid()) == owner
        && status.ctime() <= copy.ctime()
}

fn is_refusal(error: &FsError) -> bool {
    matches!(
        error.errno,
        Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::NOTSUP
    )
}

fn temp_name() -> Result<Name> {
    usable_name(TEMP)
}

/// Returns the name of a temp in `to` that is free.
fn free_temp(to: &Dir) -> Result<Name> {
    let temp = temp_name()?;
    match to.remove_file(&temp) {
        Err(error) if !error.is_missing() => Err(error),
        _ => Ok(temp),
    }
}

fn link(from: &Dir, name: &Name, to: &Dir) -> Result<()> {
    from.link(name, to, &free_temp(to)?)
}

/// Lets no temp stand where something failed.
fn without_rest(to: &Dir, result: Result<()>) -> Result<()> {
    // The first error is the one to report.
    result.inspect_err(|_| drop(free_temp(to)))
}

/// Gives the temp its name, in place of whatever `found` is.
fn publish(to: &Dir, name: &Name, found: Option<&Status>) -> Result<()> {
    if found.is_some_and(Status::is_directory) {
        to.remove_tree(name)?;
    }
    to.rename(&temp_name()?, to, name)
}

/// Makes a temp in `to` that is like the original, but for its owner.
fn copy(from: &Dir, name: &Name, to: &Dir, owner: (u32, u32)) -> Result<()> {
    let status = from.status_of(name)?;
    if status.is_file() {
        return copy_file(from, name, to, owner);
    }
    let kind = match status.kind() {
        Some(kind) => kind,
        None => Kind::Symlink {
            text: from.link_text(name)?,
        },
    };
    let temp = free_temp(to)?;
    to.make_special(&temp, &kind)?;
    let mut wanted = read_metadata(Object::Leaf(from, name), &status)?;
    (wanted.uid, wanted.gid) = owner;
    let is_symlink = status.kind().is_none();
    let refused = apply_metadata(Object::Leaf(to, &temp), is_symlink, &wanted, Before::Fresh);
    refused.into_iter().next().map_or(Ok(()), Err)
}

fn copy_file(from: &Dir, name: &Name, to: &Dir, owner: (u32, u32)) -> Result<()> {
    for attempt in 1.. {
        let file = from.open_file(name)?;
        let status = status_of_fd(&file)?;
        if !status.is_file() {
            return Err(FsError::missing("open"));
        }
        let temp = to.create_file(&free_temp(to)?)?;
        let copied = extents::copy_contents(&file, &temp, status.size());
        if status.has_churned(&status_of_fd(&file)?) && attempt < MAX_TRIES {
            continue;
        }
        copied?;
        let mut wanted = read_metadata(Object::open(&file), &status)?;
        (wanted.uid, wanted.gid) = owner;
        let refused = apply_metadata(Object::open(&temp), false, &wanted, Before::Fresh);
        // ORDER: before it has its name: after a power cut a copy that looks right is right.
        return refused
            .into_iter()
            .next()
            .map_or_else(|| sync_file(&temp), Err);
    }
    Ok(())
}
