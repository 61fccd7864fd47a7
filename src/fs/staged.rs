//! A whole new tree beside the one that it will replace: one stage on each volume that is written
//! to, in the private directory `.instancesync` at the top of that volume.
//!
//! ```text
//! .instancesync/          0700, of the volume
//!     stage/              the new tree of this volume; the mount points in it are empty directories
//!     previous/           after the switch: the tree that was replaced
//!     journal, clone, pair, ... notes, on the first volume only
//!     reserve             after the switch: room for these, on the first volume only
//!     instancesync        the program, on the first volume only
//! ```
//! Knows nothing of passes, and of how a stage takes its place.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::metadata::change_mtime;
use super::owned::{OwnedFile, read_owned, replace_owned};
use super::stage::{STAGE_NAME, Stage, refuse_foreign};
use super::tree::Tree;
use super::xattrs::Object;
use super::{Dir, FsError, Result, usable_name};
use crate::entry::{Metadata, Timestamp};
use crate::relpath::RelPath;

/// The new tree of a volume, in its private directory.
pub const NEW_NAME: &[u8] = b"stage";
/// What was replaced, in the private directory.
pub const PREVIOUS_NAME: &[u8] = b"previous";
/// Bits of a mode that let others write.
const OPEN_TO_OTHERS: u16 = 0o022;
/// Both names that the tree beside the live one can have.
pub const SIDES: [&[u8]; 2] = [NEW_NAME, PREVIOUS_NAME];
/// The program, for the console and for the next boot, in the first volume's private directory.
pub const PROGRAM_NAME: &[u8] = b"instancesync";

/// The note of the fix-ups, which says that the stage is ready.
pub const CLONE_NAME: &[u8] = b"clone";
/// The note that says whose the stage is.
const PAIR_NAME: &[u8] = b"pair";

/// A tree and the one that is being built beside it.
#[derive(Debug)]
pub struct Staged {
    live: Dir,
    stage: Tree,
    volumes: Vec<RelPath>,
}

impl Staged {
    /// Makes what is missing of the stages and opens them. Fails (EEXIST) beside a tree that was
    /// replaced and is still there: one of the two has to go first. `volumes` are the mount points below
    /// `live` that have stages of their own; the volume of `live` itself is not named.
    pub fn make(live: &Dir, volumes: &[RelPath]) -> Result<Staged> {
        let make = |path: &RelPath| {
            let stage = Stage::open(live.open_beneath(path)?)?;
            if stage.dir().status_of(&usable_name(PREVIOUS_NAME)?).is_ok() {
                return Err(FsError {
                    operation: "begin a stage beside the replaced system, which is still there"
                        .to_owned(),
                    errno: Errno::EXIST,
                });
            }
            let name = usable_name(NEW_NAME)?;
            match stage.dir().make_dir(&name) {
                Err(error) if error.errno != Errno::EXIST => Err(error),
                _ => stage.dir().open_dir(&name),
            }
        };
        let again = live.open_beneath(&RelPath::root())?;
        Staged::with(again, volumes, make)
    }

    /// Opens the stages that are there.
    pub fn open(live: &Dir, volumes: &[RelPath]) -> Result<Staged> {
        let open = |path: &RelPath| private_dir(live, path)?.open_dir(&usable_name(NEW_NAME)?);
        let again = live.open_beneath(&RelPath::root())?;
        Staged::with(again, volumes, open)
    }

    fn with(
        live: Dir,
        volumes: &[RelPath],
        stage_of: impl Fn(&RelPath) -> Result<Dir>,
    ) -> Result<Staged> {
        let mut stage = Tree::from(stage_of(&RelPath::root())?);
        for path in volumes {
            stage.add_part(path.clone(), stage_of(path)?);
        }
        Ok(Staged {
            live,
            stage,
            volumes: volumes.to_vec(),
        })
    }

    /// Takes the stages for a run of `pair`, which names source and target; empty where nobody has
    /// named them. Fails (EEXIST) where another pair began them: what its rules protect would stay
    /// among ours. From now on nothing is ready there.
    pub fn claim(&self, pair: &str) -> Result<()> {
        match staged_for(&self.live)? {
            Some(found) if found != pair => {
                return Err(FsError {
                    operation: "go on with a stage that another source has begun".to_owned(),
                    errno: Errno::EXIST,
                });
            }
            Some(_) => {}
            None => write_note(&self.live, PAIR_NAME, pair.as_bytes())?,
        }
        remove_note(&self.live, CLONE_NAME)
    }

    /// Returns the tree that will be replaced.
    pub fn live(&self) -> &Dir {
        &self.live
    }

    /// Returns the new tree.
    pub fn stage(&self) -> &Tree {
        &self.stage
    }

    /// Returns the new tree alone.
    pub fn into_stage(self) -> Tree {
        self.stage
    }

    /// Returns the moment by the clock of the file systems: what changes from now on has a later
    /// time, or the same within one tick.
    pub fn moment(&self) -> Result<Timestamp> {
        let top = self.stage.root();
        change_mtime(Object::open(top), top.status()?.mtime())?;
        Ok(top.status()?.ctime())
    }

    /// Writes all that is staged to the disks.
    pub fn sync(&self) -> Result<()> {
        let sync = |path: &RelPath| self.stage.open_beneath(path)?.sync_file_system();
        sync(&RelPath::root())?;
        self.volumes.iter().try_for_each(sync)
    }

    /// Returns the mount points with stages of their own, without the first volume's.
    pub fn volumes(&self) -> &[RelPath] {
        &self.volumes
    }

    /// Returns what a script needs to mount the stage as one tree: where it lies below the live
    /// `root`, the number of further volumes, and for each of them where its stage lies and its
    /// mount point in the stage. A volume comes before what is mounted in it.
    pub fn mounting(&self, root: &Path) -> Vec<OsString> {
        let volumes: BTreeSet<&RelPath> = self.volumes.iter().collect();
        let mut words = vec![
            stage_path(root, &RelPath::root()).into(),
            volumes.len().to_string().into(),
        ];
        for volume in volumes {
            words.push(stage_path(root, volume).into());
            words.push(OsString::from_vec(volume.as_bytes().to_vec()));
        }
        words
    }
}

/// Returns where the stage of a volume lies, for programs that know no handles. `root` is the live
/// one.
pub fn stage_path(root: &Path, volume: &RelPath) -> PathBuf {
    [volume.as_bytes(), STAGE_NAME, NEW_NAME]
        .into_iter()
        .fold(root.to_owned(), |path, part| {
            path.join(OsStr::from_bytes(part))
        })
}

/// Opens the top of the volume that is mounted at `path` below `live`, wherever its mount is now.
///
/// A mount inside of a directory that changes sides goes along with it, until the machine boots:
/// it is found by its private directory below a stage, or below what was replaced.
pub fn volume_top(live: &Dir, path: &RelPath) -> Result<Dir> {
    let mut tops: Vec<(RelPath, Dir)> = Vec::new();
    let mut way = RelPath::root();
    let mut parts = path.parts();
    loop {
        if let Some(top) = find_top(live, &tops, &way) {
            tops.push((way.clone(), top));
        }
        match parts.next() {
            Some(part) => way = way.join(&usable_name(part)?),
            None => break,
        }
    }
    match tops.pop() {
        Some((found, top)) if &found == path => Ok(top),
        _ => live.open_beneath(path),
    }
}

/// Looks for a directory with a private one in it at `path`: live, or on the other side of one of
/// the volumes that were found on the way there.
fn find_top(live: &Dir, tops: &[(RelPath, Dir)], path: &RelPath) -> Option<Dir> {
    let is_top = |dir: &Dir| open_private(dir).is_ok();
    let aside = tops.iter().rev().flat_map(|(start, top)| {
        let open = |side: &[u8]| {
            let side = open_private(top)?.open_dir(&usable_name(side)?)?;
            side.open_beneath(&path.below(start).unwrap_or_default())
        };
        SIDES.map(open)
    });
    let mut all = std::iter::once(live.open_beneath(path)).chain(aside);
    all.find_map(|dir| dir.ok().filter(is_top))
}

/// Opens the private directory of the volume that is mounted at `volume` below `live`.
pub fn private_dir(live: &Dir, volume: &RelPath) -> Result<Dir> {
    open_private(&volume_top(live, volume)?)
}

/// Opens the private directory at the top of a volume. Fails (EPERM) for one into which others can
/// write: who owns the top of a volume may have put it there.
pub fn open_private(top: &Dir) -> Result<Dir> {
    let private = top.open_dir(&usable_name(STAGE_NAME)?)?;
    refuse_foreign(&private, OPEN_TO_OTHERS)?;
    Ok(private)
}

/// Returns the pair whose run began the stages beside `live`; `None` where none has.
pub fn staged_for(live: &Dir) -> Result<Option<String>> {
    let pair = read_note(live, PAIR_NAME)?;
    Ok(pair.map(|pair| String::from_utf8_lossy(&pair).into_owned()))
}

/// Reads a note in the private directory of the first volume; `None` where there is none.
pub fn read_note(live: &Dir, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let private = match private_dir(live, &RelPath::root()) {
        Err(error) if error.is_missing() => return Ok(None),
        result => result?,
    };
    Ok(read_owned(&private, &usable_name(name)?)?.map(|note| note.contents))
}

/// Writes a note there, whole and on disk before it is visible.
pub fn write_note(live: &Dir, name: &[u8], contents: &[u8]) -> Result<()> {
    let note = OwnedFile {
        contents: contents.to_vec(),
        metadata: Metadata {
            mode: 0o600,
            ..Metadata::default()
        },
    };
    let private = private_dir(live, &RelPath::root())?;
    replace_owned(&private, &usable_name(name)?, &note)
}

/// Removes a note, if it is there.
pub fn remove_note(live: &Dir, name: &[u8]) -> Result<()> {
    let name = usable_name(name)?;
    match private_dir(live, &RelPath::root()).and_then(|private| private.remove_file(&name)) {
        Err(error) if error.is_missing() => Ok(()),
        result => result,
    }
}
