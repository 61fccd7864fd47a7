//! One stage for each file system of the target, made when something is first landed there.
//! Knows nothing of what is staged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::stage::{STAGE_NAME, Stage};
use crate::fs::{Dir, Result};
use crate::relpath::{Name, RelPath};

/// The stages of a transfer.
#[derive(Debug)]
pub struct Stages {
    by_device: Mutex<HashMap<u64, Option<Arc<Stage>>>>,
}

impl Stages {
    /// Takes up what an earlier run left in `root`. Nothing is made before it is needed: a run
    /// that changes nothing touches nothing.
    pub fn open(root: &Dir) -> Result<Stages> {
        let stages = Stages {
            by_device: Mutex::default(),
        };
        if root.status_of(&stage_name()?).is_ok() {
            stages.for_directory(root, root, &RelPath::root())?;
        }
        Ok(stages)
    }

    /// Returns the stage for things that belong into the directory at `path`.
    pub fn for_directory(&self, root: &Dir, dir: &Dir, path: &RelPath) -> Result<Arc<Stage>> {
        let device = dir.id()?.device;
        let mut by_device = self.locked();
        if let Some(Some(stage)) = by_device.get(&device) {
            return Ok(Arc::clone(stage));
        }
        let stage = Arc::new(Stage::open(mount_root(root, path, device)?)?);
        by_device.insert(device, Some(Arc::clone(&stage)));
        Ok(stage)
    }

    /// Returns the stage for the directory at `path` where there is one; what an earlier run
    /// left is looked for once on each file system.
    pub fn existing(
        &self,
        root: Option<&Dir>,
        dir: &Dir,
        path: &RelPath,
    ) -> Result<Option<Arc<Stage>>> {
        let device = dir.id()?.device;
        let known = self.locked().get(&device).cloned();
        match (known, root) {
            (Some(stage), _) => Ok(stage),
            (None, None) => Ok(None),
            (None, Some(root)) => {
                let name = stage_name()?;
                if mount_root(root, path, device)?.status_of(&name).is_ok() {
                    return self.for_directory(root, dir, path).map(Some);
                }
                self.locked().entry(device).or_insert(None);
                Ok(None)
            }
        }
    }

    /// Keeps stages from being made while it is held: making one moves the time stamp of the
    /// directory around it for a moment.
    pub fn keep_still(&self) -> StandStill<'_> {
        StandStill(self.locked())
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<u64, Option<Arc<Stage>>>> {
        self.by_device
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Stage>> {
        self.locked().values().flatten().cloned().collect()
    }

    /// Writes all that landed to the disks.
    pub fn sync(&self) -> Result<()> {
        self.all()
            .iter()
            .try_for_each(|stage| stage.dir().sync_file_system())
    }

    /// Removes all stages; the transfer is complete.
    pub fn remove(&self) -> Result<()> {
        self.all().iter().try_for_each(|stage| stage.remove())
    }

    /// Tidies the stages of a transfer that was cut: only partial files stay.
    pub fn leave(&self) -> Result<()> {
        self.all().iter().try_for_each(|stage| stage.leave())
    }

    /// Tells whether the stage's name in `dir` is a stage of ours, and no extra: it is at the
    /// root of the copy or of a file system below it. One that an earlier run left is taken up.
    pub fn holds(&self, root: &Dir, dir: &Dir, path: &RelPath) -> Result<bool> {
        let id = dir.id()?;
        if mount_root(root, path, id.device)?.status()?.id() != id {
            return Ok(false);
        }
        self.for_directory(root, dir, path)?;
        Ok(true)
    }
}

/// Stages stand still while this lives.
pub struct StandStill<'a>(#[expect(dead_code, reason = "held, not looked at")] ByDevice<'a>);

type ByDevice<'a> = MutexGuard<'a, HashMap<u64, Option<Arc<Stage>>>>;

fn stage_name() -> Result<Name> {
    Name::new(STAGE_NAME).map_err(|_| crate::fs::dir::unusable_name())
}

/// Climbs from `path` to the topmost directory on the same file system.
fn mount_root(root: &Dir, path: &RelPath, device: u64) -> Result<Dir> {
    let mut top = root.open_beneath(path)?;
    let mut path = path.clone();
    while let Some((parent, _)) = path.split() {
        let dir = root.open_beneath(&parent)?;
        if dir.id()?.device != device {
            break;
        }
        (top, path) = (dir, parent);
    }
    Ok(top)
}
