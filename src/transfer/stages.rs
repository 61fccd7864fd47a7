//! One stage for each file system of the target, made when something is first landed there.
//! Knows nothing of what is staged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::fs::stage::Stage;
use crate::fs::{Dir, FsError, Result};
use crate::relpath::RelPath;

/// The stages of a transfer.
#[derive(Debug)]
pub struct Stages {
    by_device: Mutex<HashMap<u64, Arc<Stage>>>,
}

impl Stages {
    /// Opens the stage of the root's own file system, which locks the target directory.
    pub fn open(root: &Dir) -> Result<Stages> {
        let device = root.status()?.id().device;
        let stage = Stage::open(root.open_beneath(&RelPath::root())?)?;
        Ok(Stages {
            by_device: Mutex::new(HashMap::from([(device, Arc::new(stage))])),
        })
    }

    /// Returns the stage for things that belong into the directory at `path`.
    pub fn for_directory(&self, root: &Dir, dir: &Dir, path: &RelPath) -> Result<Arc<Stage>> {
        let device = dir.status()?.id().device;
        let mut by_device = self
            .by_device
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = by_device.get(&device) {
            return Ok(Arc::clone(stage));
        }
        let stage = Arc::new(Stage::open(mount_root(root, path, device)?)?);
        by_device.insert(device, Arc::clone(&stage));
        Ok(stage)
    }

    fn all(&self) -> Vec<Arc<Stage>> {
        self.by_device
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
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

    /// Tells whether `dir` holds a stage of ours, so that its name there is not an extra.
    pub fn has_stage_in(&self, dir: &Dir) -> std::result::Result<bool, FsError> {
        let id = dir.status()?.id();
        for stage in self.all() {
            if stage.parent().status()?.id() == id {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Climbs from `path` to the topmost directory on the same file system.
fn mount_root(root: &Dir, path: &RelPath, device: u64) -> Result<Dir> {
    let mut top = root.open_beneath(path)?;
    let mut path = path.clone();
    while let Some((parent, _)) = path.split() {
        let dir = root.open_beneath(&parent)?;
        if dir.status()?.id().device != device {
            break;
        }
        (top, path) = (dir, parent);
    }
    Ok(top)
}
