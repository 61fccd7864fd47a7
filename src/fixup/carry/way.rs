//! The way to what is carried: directories that the source does not have, volumes, and names that
//! the switch does not touch. Knows nothing of how a file is carried.

use rustix::io::Errno;

use super::Work;
use crate::fs::metadata::{Before, apply_metadata, change_mtime, read_metadata};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, Volume};
use crate::relpath::{Name, RelPath};

impl Work<'_> {
    /// Tells whether the switch leaves alone the name at the top of a volume under which `path`
    /// lies: it is there already.
    pub(super) fn is_left_alone(&self, path: &RelPath) -> bool {
        let volume = self.volume_of(path);
        let Some(first) = path.below(&volume).and_then(|rest| {
            let name = Name::new(rest.parts().next()?).ok()?;
            Some(volume.join(&name))
        }) else {
            return false;
        };
        let live = self.staged.live().open_beneath(&first);
        let is_directory = live.is_ok();
        let decision = self.what.rules.decide_deep(&first, is_directory);
        if decision.verdict.protects() {
            return true;
        }
        let may_be = self.what.rules.leaves_alone(&first, is_directory)
            || is_directory && self.what.apart.contains(&first);
        may_be && self.has_nothing_in_stage(&first)
    }

    fn has_nothing_in_stage(&self, path: &RelPath) -> bool {
        match self.staged.stage().open_beneath(path) {
            Ok(dir) => dir.names().is_ok_and(|names| names.is_empty()),
            Err(error) => error.is_gone(),
        }
    }

    /// Opens the directory of the stage at `path`, making what is missing of the way as the live
    /// one is. `None` where the live one lies on a volume without a stage: that stays mounted,
    /// and its mount point is made.
    pub(super) fn way_to(&mut self, path: &RelPath) -> Result<Option<Dir>> {
        let live = self.staged.live().open_beneath(path)?;
        if !self.is_home(&live, path)? {
            self.make_mount_point(path)?;
            return Ok(None);
        }
        match self.staged.stage().open_beneath(path) {
            Err(error) if error.is_gone() => {}
            result => return result.map(Some),
        }
        let Some((parent, name)) = path.split() else {
            return Err(FsError::missing("open the stage"));
        };
        let Some(dir) = self.way_to(&parent)? else {
            return Ok(None);
        };
        let before = dir.status()?;
        make_room(&dir, &name)?;
        dir.make_dir(&name)?;
        let made = match self.dress(&dir, &name, &live) {
            Err(error) => {
                // With other attributes it would be taken for one of the source the next time. Best
                // effort, as what failed may fail again.
                drop(dir.remove_dir(&name));
                drop(super::restore_time(&dir, &before));
                return Err(error);
            }
            Ok(made) => made,
        };
        super::restore_time(&dir, &before)?;
        self.made.push(path.clone());
        self.stats.directory_count += 1;
        Ok(Some(made))
    }

    /// Gives a directory that was made the attributes of the live one.
    fn dress(&self, dir: &Dir, name: &Name, live: &Dir) -> Result<Dir> {
        let made = dir.open_dir(name)?;
        let mut wanted = read_metadata(Object::open(live), &live.status()?)?;
        (wanted.uid, wanted.gid) = self.what.owners.of(wanted.uid, wanted.gid);
        let refused = apply_metadata(Object::open(&made), false, &wanted, Before::Unknown);
        refused.into_iter().next().map_or(Ok(made), Err)
    }

    /// Makes the mount point of the volume on which `path` lies.
    fn make_mount_point(&mut self, path: &RelPath) -> Result<()> {
        let Some((parent, name)) = path.split() else {
            return Ok(());
        };
        let Some(dir) = self.way_to(&parent)? else {
            return Ok(());
        };
        match dir.status_of(&name) {
            Err(error) if error.is_missing() => {
                let before = dir.status()?;
                dir.make_dir(&name)?;
                let made = dir.open_dir(&name)?;
                let mut wanted = read_metadata(Object::open(&made), &made.status()?)?;
                wanted.mode = 0o755;
                let refused = apply_metadata(Object::open(&made), false, &wanted, Before::Unknown);
                for error in refused {
                    self.fail(path, &error);
                }
                super::restore_time(&dir, &before)
            }
            result => result.map(|_| ()),
        }
    }

    /// Gives directories that were made on the way the times of the live ones, the deepest first.
    pub(super) fn finish_ways(&mut self) {
        for path in std::mem::take(&mut self.made).into_iter().rev() {
            let finish = || -> Result<()> {
                let live = self.staged.live().open_beneath(&path)?.status()?;
                let made = self.staged.stage().open_beneath(&path)?;
                change_mtime(Object::open(&made), live.mtime())
            };
            match finish() {
                Err(error) if !error.is_gone() => self.fail(&path, &error),
                _ => {}
            }
        }
    }

    /// Returns the mount point of the tree with a stage in which `path` lies.
    fn volume_of(&self, path: &RelPath) -> RelPath {
        let volumes = self.staged.volumes().iter();
        let around = volumes.filter(|volume| path.below(volume).is_some());
        let deepest = around.max_by_key(|volume| volume.as_bytes().len());
        deepest.cloned().unwrap_or_default()
    }

    /// Tells whether the live directory at `path` belongs to a volume with a stage.
    pub(super) fn is_home(&mut self, live: &Dir, path: &RelPath) -> Result<bool> {
        Ok(live.volume()?.is_of_mount(&self.home_of(path)?))
    }

    fn home_of(&mut self, path: &RelPath) -> Result<Volume> {
        let root = self.volume_of(path);
        if let Some(home) = self.homes.get(&root) {
            return Ok(*home);
        }
        let home = self.staged.live().open_beneath(&root)?.volume()?;
        self.homes.insert(root, home);
        Ok(home)
    }
}

/// Removes what is no directory from a place where one has to be. A link stays: what it leads to
/// in the clone is the source's decision, and the way to other things.
fn make_room(dir: &Dir, name: &Name) -> Result<()> {
    match dir.status_of(name) {
        Err(error) if error.is_missing() => Ok(()),
        Ok(status) if status.kind().is_none() => Err(FsError {
            operation: "make a directory where the source has a link".to_owned(),
            errno: Errno::EXIST,
        }),
        Ok(_) => dir.remove_file(name),
        Err(error) => Err(error),
    }
}
