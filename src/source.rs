//! What a run copies, opened for reading: the directory and the further file systems in it. Knows
//! nothing of where it goes.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::exclude::Rules;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::{Dir, FsError};
use crate::transfer::sender::Tree;

/// What a run copies.
#[derive(Debug)]
pub struct Source {
    /// The directory.
    pub root: Dir,
    /// Devices of further file systems that belong to it.
    mounts: Vec<u64>,
    device: u64,
}

impl Source {
    /// Opens a directory; `mounts` are the mount points in it that belong to it.
    pub fn open(directory: &Path, mounts: &[PathBuf]) -> Result<Source, Failure> {
        check_proc()?;
        let failed =
            |error: &FsError| Failure::new(ExitCode::Failed, at_source(directory)).because(error);
        let root = Dir::open_root(directory).map_err(|error| failed(&error))?;
        let device = root.id().map_err(|error| failed(&error))?.device;
        Ok(Source {
            mounts: devices_of(device, mounts)?,
            root,
            device,
        })
    }

    /// Returns what a transfer by these rules copies.
    pub fn tree<'a>(&'a self, rules: &'a Rules) -> Tree<'a> {
        Tree {
            root: &self.root,
            rules,
            mounts: &self.mounts,
        }
    }

    /// Returns the devices of all file systems that belong to it.
    pub fn devices(&self) -> HashSet<u64> {
        let mounts = self.mounts.iter().copied();
        mounts.chain([self.device]).collect()
    }

    /// Tells whether a path in it lies on a file system that does not belong to it. What is not there
    /// would lie where the directory above it does.
    pub fn is_elsewhere(&self, path: &Path) -> bool {
        let found = path
            .ancestors()
            .find_map(|path| path.symlink_metadata().ok());
        found.is_some_and(|found| !self.devices().contains(&found.dev()))
    }
}

fn at_source(path: &Path) -> String {
    format!("source: {}", path.display())
}

/// Returns the devices of further file systems. One that is not mounted now must not be taken
/// for an empty directory: with `--delete` that would empty the target's.
fn devices_of(own: u64, mounts: &[PathBuf]) -> Result<Vec<u64>, Failure> {
    let device_of = |path: &PathBuf| {
        let id = Dir::open_root(path).and_then(|dir| dir.id());
        let id =
            id.map_err(|error| Failure::new(ExitCode::Usage, at_source(path)).because(&error))?;
        if id.device == own {
            let what = format!("{} is no mount point now", at_source(path));
            return Err(Failure::usage(what).hint("mount it, or leave --include-mount out"));
        }
        Ok(id.device)
    };
    mounts.iter().map(device_of).collect()
}

/// Attributes of links and devices are reached through `/proc`.
fn check_proc() -> Result<(), Failure> {
    if Path::new("/proc/self/fd").exists() {
        return Ok(());
    }
    Err(
        Failure::new(ExitCode::Refused, "source: /proc is not mounted")
            .hint("mount it: mount -t proc proc /proc"),
    )
}
