//! One stage for each volume of the target, made when something is first landed there.
//! Knows nothing of what is staged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::stage::{STAGE_NAME, Stage};
use crate::fs::{Dir, FsError, Result, Volume, usable_name};
use crate::relpath::{Name, RelPath};

/// The stages of a transfer.
#[derive(Debug)]
pub struct Stages {
    by_volume: Mutex<ByVolume>,
}

/// `None` is a volume that has no stage by now.
type ByVolume = HashMap<Volume, Option<Opened>>;

/// An open stage.
#[derive(Clone, Debug)]
struct Opened {
    /// The directory around it.
    top: RelPath,
    stage: Arc<Stage>,
}

impl Stages {
    /// Takes up what an earlier run left in `root`. Nothing is made before it is needed: a run
    /// that changes nothing touches nothing.
    pub fn open(root: &Dir) -> Result<Stages> {
        let stages = Stages {
            by_volume: Mutex::default(),
        };
        if root.status_of(&stage_name()?).is_ok() {
            stages.for_directory(root, root, &RelPath::root())?;
        }
        Ok(stages)
    }

    /// Opens those of a whole new tree beside `live`: where things are made, not the tree.
    pub fn beside(live: &Dir, volumes: &[RelPath]) -> Result<Stages> {
        let root = RelPath::root();
        let mut by_volume = HashMap::new();
        for path in volumes.iter().chain([&root]) {
            let top = live.open_beneath(path)?;
            let volume = top.volume()?;
            let opened = Opened::new((path.clone(), top), &by_volume)?;
            by_volume.insert(volume, Some(opened));
        }
        Ok(Stages {
            by_volume: Mutex::new(by_volume),
        })
    }

    /// Returns the stage for things that belong into the directory at `path`.
    pub fn for_directory(&self, root: &Dir, dir: &Dir, path: &RelPath) -> Result<Arc<Stage>> {
        let volume = dir.volume()?;
        let mut by_volume = self.locked();
        if let Some(Some(opened)) = by_volume.get(&volume) {
            return Ok(Arc::clone(&opened.stage));
        }
        let opened = Opened::new(top_of(root, path, volume)?, &by_volume)?;
        let stage = Arc::clone(&opened.stage);
        by_volume.insert(volume, Some(opened));
        Ok(stage)
    }

    /// Returns the stage for the directory at `path` where there is one; what an earlier run
    /// left is looked for once in each volume.
    pub fn existing(
        &self,
        root: Option<&Dir>,
        dir: &Dir,
        path: &RelPath,
    ) -> Result<Option<Arc<Stage>>> {
        let volume = dir.volume()?;
        let known = self.locked().get(&volume).cloned();
        match (known, root) {
            (Some(opened), _) => Ok(opened.map(|opened| opened.stage)),
            (None, None) => Ok(None),
            (None, Some(root)) => {
                let name = stage_name()?;
                if top_of(root, path, volume)?.1.status_of(&name).is_ok() {
                    return self.for_directory(root, dir, path).map(Some);
                }
                self.locked().entry(volume).or_insert(None);
                Ok(None)
            }
        }
    }

    /// Keeps stages from being made while it is held: making one moves the time stamp of the
    /// directory around it for a moment.
    pub fn keep_still(&self) -> StandStill<'_> {
        StandStill(self.locked())
    }

    fn locked(&self) -> MutexGuard<'_, ByVolume> {
        self.by_volume
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Opened> {
        self.locked().values().flatten().cloned().collect()
    }

    /// Writes all that landed to the disks.
    pub fn sync(&self) -> Result<()> {
        self.all()
            .iter()
            .try_for_each(|opened| opened.stage.dir().sync_file_system())
    }

    /// Removes all stages; the transfer is complete. Returns what cannot be removed.
    pub fn remove(&self) -> Vec<(RelPath, FsError)> {
        self.all().iter().flat_map(Opened::remove).collect()
    }

    /// Tidies the stages of a transfer that was cut: only partial files stay.
    pub fn leave(&self) -> Result<()> {
        self.all()
            .iter()
            .try_for_each(|opened| opened.stage.leave())
    }

    /// Tells whether the stage's name in `dir` is a stage of ours, and no extra: it is at the
    /// root of the copy or of a volume below it. One that an earlier run left is taken up.
    pub fn holds(&self, root: &Dir, dir: &Dir, path: &RelPath) -> Result<bool> {
        if top_of(root, path, dir.volume()?)?.1.id()? != dir.id()? {
            // The stage of a file system that is mounted a second time shows up in both.
            let id = dir.status_of(&stage_name()?)?.id();
            let is_stage = |opened: &Opened| opened.stage.dir().id().is_ok_and(|own| own == id);
            return Ok(self.all().iter().any(is_stage));
        }
        self.for_directory(root, dir, path)?;
        Ok(true)
    }
}

impl Opened {
    /// Opens the stage of a volume beside those that are open. The top of one volume may be that of
    /// another: a file system that is mounted twice.
    fn new((path, top): (RelPath, Dir), others: &ByVolume) -> Result<Opened> {
        let id = top.id()?;
        let is_around = |other: &Opened| other.stage.parent().id().is_ok_and(|other| other == id);
        let stage = match others.values().flatten().any(is_around) {
            true => Stage::open_used(top)?,
            false => Stage::open(top)?,
        };
        Ok(Opened {
            top: path,
            stage: Arc::new(stage),
        })
    }

    fn remove(&self) -> Vec<(RelPath, FsError)> {
        let path = stage_name().map_or(self.top.clone(), |name| self.top.join(&name));
        match self.stage.remove() {
            Ok(stuck) => {
                let stuck = stuck.into_iter();
                stuck
                    .map(|stuck| (path.join(&stuck.name), stuck.error))
                    .collect()
            }
            Err(error) => vec![(path, error)],
        }
    }
}

/// Stages stand still while this lives.
pub struct StandStill<'a>(
    #[expect(dead_code, reason = "held, not looked at")] MutexGuard<'a, ByVolume>,
);

fn stage_name() -> Result<Name> {
    usable_name(STAGE_NAME)
}

/// Climbs from `path` to the topmost directory in the same volume; returns where and what it is.
fn top_of(root: &Dir, path: &RelPath, volume: Volume) -> Result<(RelPath, Dir)> {
    let mut top = root.open_beneath(path)?;
    let mut path = path.clone();
    while let Some((parent, _)) = path.split() {
        let dir = root.open_beneath(&parent)?;
        if dir.volume()? != volume {
            break;
        }
        (top, path) = (dir, parent);
    }
    Ok((path, top))
}

#[cfg(test)]
mod tests {
    use super::{ByVolume, Opened};
    use crate::fs::Dir;
    use crate::relpath::RelPath;

    #[test]
    fn two_mounts_of_a_directory_share_its_stage() {
        let root = tempfile::tempdir().unwrap();
        let top = || (RelPath::root(), Dir::open_root(root.path()).unwrap());
        let first = Opened::new(top(), &ByVolume::new()).unwrap();
        let temp = first.stage.reserve().unwrap();
        temp.dir().make_dir(temp.name()).unwrap();
        let others = ByVolume::from([(top().1.volume().unwrap(), Some(first.clone()))]);
        let second = Opened::new(top(), &others).unwrap();
        let other = second.stage.reserve().unwrap();
        other.dir().make_dir(other.name()).unwrap();
        assert!(first.stage.dir().status_of(temp.name()).is_ok());
        drop((temp, other));
        for opened in [first, second] {
            assert!(opened.remove().is_empty());
        }
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
