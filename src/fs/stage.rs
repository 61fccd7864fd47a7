//! The stage: one private hidden directory per volume of the target, where things are made
//! before they get their names.
//!
//! Nothing half-made is ever beside its final name, where a daemon could read it. Large files
//! that were cut in the middle stay here for the next run. Knows nothing of what is made.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use super::metadata::change_mtime;
use super::xattrs::Object;
use super::{Dir, Doing, FsError, Result, usable_name};
use crate::relpath::Name;

/// The name of the private directory, at the root of the copy and of each file system below it.
pub const STAGE_NAME: &[u8] = b".instancesync";
const PARTIAL_PREFIX: &str = "partial-";
/// What a temp's name consists of; everything else in the stage is there to stay.
const TEMP_DIGITS: std::ops::RangeInclusive<u8> = b'0'..=b'9';

/// The number that is the next temp's name. What could not be removed keeps its own for good.
static NEXT_NAME: AtomicU64 = AtomicU64::new(0);

/// An open stage.
#[derive(Debug)]
pub struct Stage {
    dir: Dir,
    parent: Dir,
    /// Whether the file system makes files without a name and gives them one later.
    names_late: OnceLock<bool>,
}

/// Something in the stage that has no name outside yet. Dropping it removes it.
#[derive(Debug)]
pub struct Temp {
    stage: Arc<Stage>,
    name: Name,
    keeps: bool,
}

/// Something of ours that cannot be removed.
#[derive(Debug)]
pub struct Stuck {
    /// Its name in the stage.
    pub name: Name,
    /// Why.
    pub error: FsError,
}

/// A file that is being made. Dropping it removes it, unless it is partial.
#[derive(Debug)]
pub struct NewFile {
    stage: Arc<Stage>,
    file: OwnedFd,
    /// Its name in the stage; `None` where it has none anywhere.
    temp: Option<Temp>,
}

impl Stage {
    /// Opens the stage in `parent`, making it where it is missing, and removes what an earlier
    /// run left apart from partial files. `parent` keeps its time stamp.
    pub fn open(parent: Dir) -> Result<Stage> {
        let stage = Stage::open_used(parent)?;
        for stuck in stage.remove_all(is_temp)? {
            skip_name(&stuck.name);
        }
        Ok(stage)
    }

    /// Opens the stage in `parent` that may be in use through another mount of it.
    pub fn open_used(parent: Dir) -> Result<Stage> {
        let name = usable_name(STAGE_NAME)?;
        let before = parent.status()?;
        match parent.make_dir(&name) {
            Ok(()) => change_mtime(Object::open(&parent), before.mtime())?,
            Err(error) if error.errno == Errno::EXIST => {}
            Err(error) => {
                return Err(FsError {
                    operation: "make stage".to_owned(),
                    ..error
                });
            }
        }
        let dir = parent.open_dir(&name)?;
        refuse_foreign(&dir, 0o077)?;
        // An ACL that the directory around it hands down would get into all that is made here.
        for acl in [&b"system.posix_acl_default"[..], b"system.posix_acl_access"] {
            match Object::open(&dir).remove_xattr(acl) {
                Err(error) if error.errno != Errno::NOTSUP => return Err(error),
                _ => {}
            }
        }
        Ok(Stage {
            dir,
            parent,
            names_late: OnceLock::new(),
        })
    }

    /// Removes what `goes`; returns what stays nevertheless.
    fn remove_all(&self, goes: impl Fn(&[u8]) -> bool) -> Result<Vec<Stuck>> {
        let names = match self.dir.names() {
            // It was removed through another mount of the directory around it.
            Err(error) if error.is_missing() => Vec::new(),
            names => names?,
        };
        let mut stuck = Vec::new();
        for name in names.iter().filter(|name| goes(name)) {
            let name = usable_name(name)?;
            if let Err(error) = self.dir.remove_tree(&name) {
                stuck.push(Stuck { name, error });
            }
        }
        Ok(stuck)
    }

    /// Returns the handle of the private directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Returns the handle of the directory around it.
    pub fn parent(&self) -> &Dir {
        &self.parent
    }

    fn fresh_name(&self) -> Result<Name> {
        let number = NEXT_NAME.fetch_add(1, Ordering::Relaxed);
        usable_name(number.to_string().as_bytes())
    }

    /// Reserves a name for something that the caller makes under it.
    pub fn reserve(self: &Arc<Self>) -> Result<Temp> {
        Ok(Temp {
            stage: Arc::clone(self),
            name: self.fresh_name()?,
            keeps: false,
        })
    }

    /// Creates an empty file. It has no name, where the file system can do without, and permissions
    /// of at most `mode`: nobody reaches it before it is complete.
    pub fn create_file(self: &Arc<Self>, mode: u16) -> Result<NewFile> {
        if *self.names_late.get_or_init(|| self.can_name_late())
            && let Some(file) = self.dir.create_unnamed(mode)?
        {
            return Ok(self.new_file(file, None));
        }
        let temp = self.reserve()?;
        let file = self.dir.create_file(&temp.name)?;
        Ok(self.new_file(file, Some(temp)))
    }

    fn can_name_late(self: &Arc<Self>) -> bool {
        let named = || -> Result<bool> {
            let Some(file) = self.dir.create_unnamed(0o600)? else {
                return Ok(false);
            };
            let name = self.fresh_name()?;
            self.dir.name_file(file, &name)?;
            self.dir.remove_file(&name).map(|()| true)
        };
        named().unwrap_or(false)
    }

    fn new_file(self: &Arc<Self>, file: OwnedFd, temp: Option<Temp>) -> NewFile {
        NewFile {
            stage: Arc::clone(self),
            file,
            temp,
        }
    }

    /// Opens the partial file of an earlier run under `key`, if there is one.
    pub fn open_partial(self: &Arc<Self>, key: &str) -> Result<Option<NewFile>> {
        let temp = self.partial(key)?;
        match self.dir.reopen_file(&temp.name) {
            Ok(file) => Ok(Some(self.new_file(file, Some(temp)))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates the partial file for `key`; it outlives a run that is cut.
    pub fn create_partial(self: &Arc<Self>, key: &str) -> Result<NewFile> {
        let temp = self.free_partial(key)?;
        let file = self.dir.create_file(&temp.name)?;
        Ok(self.new_file(file, Some(temp)))
    }

    /// Reserves the name of a partial file, removing what an earlier run left under it.
    fn free_partial(self: &Arc<Self>, key: &str) -> Result<Temp> {
        let temp = self.partial(key)?;
        match self.dir.remove_file(&temp.name) {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(temp),
        }
    }

    fn partial(self: &Arc<Self>, key: &str) -> Result<Temp> {
        Ok(Temp {
            stage: Arc::clone(self),
            name: usable_name(format!("{PARTIAL_PREFIX}{key}").as_bytes())?,
            keeps: true,
        })
    }

    /// Removes temps and partial files, and the stage unless something else is in it: a whole new
    /// tree, or one that was replaced. The directory around it keeps its time stamp. Returns what
    /// cannot be removed; it is tried again by the next run.
    pub fn remove(&self) -> Result<Vec<Stuck>> {
        let is_partial = |name: &[u8]| name.starts_with(PARTIAL_PREFIX.as_bytes());
        let stuck = self.remove_all(|name| is_temp(name) || is_partial(name))?;
        self.remove_empty()?;
        Ok(stuck)
    }

    /// After a run that was cut: removes the stage unless a partial file waits in it.
    pub fn leave(&self) -> Result<()> {
        self.remove_all(is_temp)?;
        self.remove_empty()
    }

    fn remove_empty(&self) -> Result<()> {
        let before = self.parent.status()?;
        match self.parent.remove_dir(&usable_name(STAGE_NAME)?) {
            Err(error) if error.errno == Errno::NOTEMPTY => return Ok(()),
            // It was an extra where its file system is mounted a second time.
            Err(error) if error.is_missing() => {}
            result => result?,
        }
        change_mtime(Object::open(&self.parent), before.mtime())
    }
}

fn is_temp(name: &[u8]) -> bool {
    name.iter().all(|byte| TEMP_DIGITS.contains(byte))
}

/// Leaves a temp's name to what has it.
fn skip_name(name: &Name) {
    let number = std::str::from_utf8(name.as_bytes()).map(str::parse::<u64>);
    // A longer one is none that we come to.
    if let Ok(Ok(number)) = number {
        NEXT_NAME.fetch_max(number.saturating_add(1), Ordering::Relaxed);
    }
}

/// Refuses a directory that somebody else planted under our name, or that has any of the bits
/// `open` in its mode.
pub(super) fn refuse_foreign(dir: &Dir, open: u16) -> Result<()> {
    match dir.status()?.is_ours(open) {
        true => Ok(()),
        false => Err(Errno::PERM).doing("use the private directory .instancesync of somebody else"),
    }
}

impl NewFile {
    /// Returns the handle by which it is filled.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Tells whether it outlives a run that is cut.
    pub fn is_partial(&self) -> bool {
        self.temp.as_ref().is_some_and(|temp| temp.keeps)
    }

    /// Makes it the partial file for `key`: from now on it outlives a run that is cut.
    pub fn keep(&mut self, key: &str) -> Result<()> {
        if self.is_partial() {
            return Ok(());
        }
        let partial = self.stage.free_partial(key)?;
        let dir = &self.stage.dir;
        match &mut self.temp {
            None => dir.name_file(&self.file, &partial.name)?,
            Some(temp) => {
                dir.rename(&temp.name, dir, &partial.name)?;
                temp.forget();
            }
        }
        self.temp = Some(partial);
        Ok(())
    }

    /// Returns the handle alone; the name goes, unless it is that of a partial file.
    pub fn into_file(self) -> OwnedFd {
        self.file
    }

    /// Gives it its name in `dir` where that is free. Where it is taken, returns what is in the
    /// stage now and has to take the name from what is there.
    pub fn give_name(self, dir: &Dir, name: &Name) -> Result<Option<Temp>> {
        if let Some(temp) = self.temp {
            return Ok(Some(temp));
        }
        match dir.name_file(&self.file, name) {
            Err(error) if error.errno == Errno::EXIST => {
                let temp = self.stage.reserve()?;
                self.stage.dir.name_file(&self.file, &temp.name)?;
                Ok(Some(temp))
            }
            result => result.map(|()| None),
        }
    }

    /// Removes it now, partial or not.
    pub fn discard(self) {
        if let Some(mut temp) = self.temp {
            temp.keeps = false;
        }
    }
}

impl Temp {
    /// Returns the private directory it lies in.
    pub fn dir(&self) -> &Dir {
        &self.stage.dir
    }

    /// Returns its name there.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Gives it its name in `dir`, replacing anything but a directory at one moment.
    pub fn publish(&mut self, dir: &Dir, name: &Name) -> Result<()> {
        self.stage.dir.rename(&self.name, dir, name)?;
        self.forget();
        Ok(())
    }

    /// Gives it the name of something that cannot be renamed over (a directory on either side), and
    /// removes that. What of it cannot be removed stays, and is told when the stage is removed.
    pub fn publish_in_place_of(self, dir: &Dir, name: &Name) -> Result<()> {
        let aside = self.stage.fresh_name()?;
        self.stage.dir.exchange(&self.name, dir, name, &aside)
    }

    fn forget(&mut self) {
        self.keeps = true;
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.keeps {
            // Best effort: what stays is removed with the stage or by the next run. After an exchange
            // it is what was replaced.
            drop(self.stage.dir.remove_tree(&self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::{Stage, is_temp};
    use crate::fs::Dir;
    use crate::relpath::Name;

    fn open(root: &Path) -> Arc<Stage> {
        Arc::new(Stage::open(Dir::open_root(root).unwrap()).unwrap())
    }

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    /// Makes a directory that is too deep for us to remove it.
    fn make_stuck(path: &Path) {
        fs::create_dir_all(path.join("d/".repeat(600))).unwrap();
    }

    #[test]
    fn what_cannot_be_removed_is_told_and_in_nobodys_way() {
        let root = tempfile::tempdir().unwrap();
        let private = root.path().join(".instancesync");
        drop(open(root.path()));
        let number = super::NEXT_NAME.load(super::Ordering::Relaxed) + 5;
        make_stuck(&private.join(number.to_string()));
        for file in ["77", "partial-1"] {
            fs::write(private.join(file), "").unwrap();
        }
        for _ in 0..2 {
            let stage = open(root.path());
            for _ in 0..10 {
                let temp = stage.reserve().unwrap();
                stage.dir().make_dir(temp.name()).unwrap();
            }
            let stuck = stage.remove().unwrap();
            let names: Vec<Name> = stuck.into_iter().map(|stuck| stuck.name).collect();
            assert_eq!(names, [name(&number.to_string())]);
            assert_eq!(fs::read_dir(&private).unwrap().count(), 1);
        }
        fs::remove_dir_all(private.join(number.to_string())).unwrap();
        assert!(open(root.path()).remove().unwrap().is_empty());
        assert!(!private.exists());
    }

    #[test]
    fn what_takes_the_name_of_something_that_cannot_be_removed_has_it() {
        let root = tempfile::tempdir().unwrap();
        make_stuck(&root.path().join("x"));
        let stage = open(root.path());
        let temp = stage.reserve().unwrap();
        stage.dir().create_file(temp.name()).unwrap();
        temp.publish_in_place_of(stage.parent(), &name("x"))
            .unwrap();
        assert!(root.path().join("x").is_file());
        assert_eq!(stage.remove().unwrap().len(), 1);
    }

    #[test]
    fn a_temp_is_known_by_its_name() {
        for (text, expected) in [("0", true), ("18", true), ("stage", false), ("1a", false)] {
            assert_eq!(is_temp(text.as_bytes()), expected, "{text}");
        }
    }
}
