//! One volume of the target in a switch: its live top, and the tree beside it. Knows nothing of
//! why a name moves.

use rustix::io::Errno;

use super::SwitchError;
use super::choose::{Choice, Found, Seen};
use super::error::absolute;
use super::journal::Part;
use crate::entry::Metadata;
use crate::fs::metadata::{Before, apply_metadata, read_metadata};
use crate::fs::stage::STAGE_NAME;
use crate::fs::staged::{PREVIOUS_NAME, open_private, volume_top};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Status, usable_name};
use crate::relpath::{Name, RelPath};

/// The handles of a volume.
#[derive(Debug)]
pub(super) struct Volume {
    path: RelPath,
    live: Dir,
    private: Dir,
    /// The tree that is not live: the stage, or what was replaced.
    side: Dir,
}

impl Volume {
    /// Opens the first volume and those at `paths`, each with the tree called `side` beside it.
    pub(super) fn open_all(
        root: &Dir,
        paths: &[RelPath],
        side: &[u8],
    ) -> Result<Vec<Volume>, SwitchError> {
        let first = RelPath::root();
        let all = std::iter::once(&first).chain(paths);
        all.map(|path| Volume::open(root, path, &[side])).collect()
    }

    /// Opens the volume at `path` with the first of `sides` that is there.
    pub(super) fn open(root: &Dir, path: &RelPath, sides: &[&[u8]]) -> Result<Volume, SwitchError> {
        let at = SwitchError::at(path);
        let live = volume_top(root, path).map_err(&at)?;
        let missing = || match sides.first() {
            Some(side) if *side == PREVIOUS_NAME => SwitchError::PreviousMissing {
                path: absolute(path),
            },
            _ => SwitchError::NothingStaged {
                path: absolute(path),
            },
        };
        let private = match open_private(&live) {
            Err(error) if error.is_missing() => return Err(missing()),
            result => result.map_err(&at)?,
        };
        for side in sides {
            match private.open_dir(&usable_name(side).map_err(&at)?) {
                Err(error) if error.is_missing() => {}
                result => {
                    return Ok(Volume {
                        path: path.clone(),
                        live,
                        private,
                        side: result.map_err(&at)?,
                    });
                }
            }
        }
        Err(missing())
    }

    /// Returns where it begins.
    pub(super) fn path(&self) -> &RelPath {
        &self.path
    }

    /// Refuses something with the name that the other tree is to get.
    pub(super) fn refuse_beside(&self, name: &[u8]) -> Result<(), SwitchError> {
        let at = SwitchError::at(&self.path);
        let name = usable_name(name).map_err(&at)?;
        match self.private.status_of(&name) {
            Err(error) if error.is_missing() => Ok(()),
            result => {
                result.map_err(at)?;
                let private = usable_name(STAGE_NAME).map_err(SwitchError::at(&self.path))?;
                let path = absolute(&self.path.join(&private).join(&name));
                Err(SwitchError::InTheWay { path })
            }
        }
    }

    /// Looks at all names of both sides and records what is to be done with each.
    pub(super) fn part(
        &self,
        choose: impl Fn(&Seen, &RelPath) -> Result<Choice, SwitchError>,
    ) -> Result<Part, SwitchError> {
        let mut part = Part {
            volume: self.path.clone(),
            alone: Vec::new(),
            steps: Vec::new(),
            old_top: self.attributes(&self.live)?,
            new_top: self.attributes(&self.side)?,
        };
        for name in self.names()? {
            let seen = Seen {
                live: self.look(&self.live, &name)?,
                side: self.look(&self.side, &name)?,
            };
            match choose(&seen, &self.path.join(&name))? {
                Choice::Alone => part.alone.push(name),
                Choice::Moves => part.steps.push(seen.step(name)),
            }
        }
        Ok(part)
    }

    /// Returns the names of both sides, sorted.
    fn names(&self) -> Result<Vec<Name>, SwitchError> {
        let at = SwitchError::at(&self.path);
        let mut names = self.live.names().map_err(&at)?;
        names.extend(self.side.names().map_err(&at)?);
        names.sort();
        names.dedup();
        let usable = names.iter().map(|name| usable_name(name).map_err(&at));
        usable.collect()
    }

    fn look(&self, dir: &Dir, name: &Name) -> Result<Option<Found>, SwitchError> {
        // RACE: what goes away while it is looked at is not there.
        match look(dir, name) {
            Err(error) if error.is_missing() => Ok(None),
            result => result
                .map(Some)
                .map_err(SwitchError::at(&self.path.join(name))),
        }
    }

    fn attributes(&self, dir: &Dir) -> Result<Metadata, SwitchError> {
        let read = || read_metadata(Object::open(dir), &dir.status()?);
        read().map_err(SwitchError::at(&self.path))
    }

    /// Gives the live top and the tree beside it their attributes.
    pub(super) fn dress(&self, live: &Metadata, side: &Metadata) -> Result<(), SwitchError> {
        for (dir, wanted) in [(&self.live, live), (&self.side, side)] {
            let refused = apply_metadata(Object::open(dir), false, wanted, Before::Unknown);
            if let Some(error) = refused.into_iter().next() {
                return Err(SwitchError::at(&self.path)(error));
            }
        }
        Ok(())
    }

    /// Returns the inode of a name beside the live tree.
    pub(super) fn inode_beside(&self, name: &Name) -> Result<Option<u64>, SwitchError> {
        self.inode(&self.side, name)
    }

    fn inode(&self, dir: &Dir, name: &Name) -> Result<Option<u64>, SwitchError> {
        match dir.status_of(name) {
            Err(error) if error.is_missing() => Ok(None),
            result => {
                let status = result.map_err(SwitchError::at(&self.path.join(name)))?;
                Ok(Some(status.id().inode))
            }
        }
    }

    /// Lets the live side and the other have what the other had, be that nothing.
    ///
    /// RACE: programs make and remove live names meanwhile; it is looked at again until one call
    /// did it. LIMIT: ten times.
    pub(super) fn swap(&self, name: &Name) -> Result<(), SwitchError> {
        let at = SwitchError::at(&self.path.join(name));
        for _ in 0..10 {
            let live = self.inode(&self.live, name)?.is_some();
            let side = self.inode(&self.side, name)?.is_some();
            let moved = match (live, side) {
                (true, true) => self
                    .side
                    .exchange(name, &self.live, name, &aside(&self.path)?),
                (true, false) => self.live.move_to_free(name, &self.side, name),
                (false, true) => self.side.move_to_free(name, &self.live, name),
                (false, false) => Ok(()),
            };
            match moved {
                Err(error) if error.is_missing() || error.errno == Errno::EXIST => {}
                result => return result.map_err(at),
            }
        }
        Err(at(FsError {
            operation: "exchange a name that is made and removed again and again".to_owned(),
            errno: Errno::BUSY,
        }))
    }

    /// Ends an exchange that was cut in the middle, as it can be where the file system has none.
    pub(super) fn settle(&self, name: &Name, known: [Option<u64>; 2]) -> Result<(), SwitchError> {
        let aside = aside(&self.path)?;
        let lying = self.inode_beside(&aside)?;
        if lying.is_none() || !known.contains(&lying) {
            return Ok(());
        }
        let at = SwitchError::at(&self.path.join(name));
        if self.inode(&self.live, name)?.is_none() {
            self.side.rename(&aside, &self.live, name).map_err(at)
        } else if self.inode_beside(name)?.is_none() {
            self.side.rename(&aside, &self.side, name).map_err(at)
        } else {
            Ok(())
        }
    }

    /// Gives the tree beside the live one the name `to`, if it has the name `from`.
    pub(super) fn rename_side(&self, from: &[u8], to: &[u8]) -> Result<(), SwitchError> {
        let at = SwitchError::at(&self.path);
        let (from, to) = (
            usable_name(from).map_err(&at)?,
            usable_name(to).map_err(&at)?,
        );
        match self.private.move_to_free(&from, &self.private, &to) {
            Err(error) if error.is_missing() => Ok(()),
            result => result.map_err(at),
        }
    }

    /// Writes the volume to its disk.
    pub(super) fn sync(&self) -> Result<(), SwitchError> {
        let synced = self.live.sync_file_system();
        synced.map_err(SwitchError::at(&self.path))
    }
}

/// Where an object waits while two others change places without an exchange.
fn aside(volume: &RelPath) -> Result<Name, SwitchError> {
    usable_name(b".instancesync-aside").map_err(SwitchError::at(volume))
}

fn look(dir: &Dir, name: &Name) -> Result<Found, FsError> {
    let status = dir.status_of(name)?;
    let (is_mount, is_empty) = match opened(dir, name, &status)? {
        Opened::MountPoint => (true, false),
        Opened::Directory(below) => (false, below.names()?.is_empty()),
        Opened::Nothing => (false, false),
    };
    Ok(Found {
        inode: status.id().inode,
        is_directory: status.is_directory(),
        is_mount,
        is_empty,
    })
}

enum Opened {
    Nothing,
    Directory(Dir),
    MountPoint,
}

fn opened(dir: &Dir, name: &Name, status: &Status) -> Result<Opened, FsError> {
    if status.id().device != dir.id()?.device {
        return Ok(Opened::MountPoint);
    }
    if !status.is_directory() {
        return Ok(Opened::Nothing);
    }
    Ok(match dir.open_dir_here(name, status)? {
        Some(below) => Opened::Directory(below),
        None => Opened::MountPoint,
    })
}
