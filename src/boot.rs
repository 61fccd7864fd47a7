//! What surrounds a switch: the one-shot that looks after it at the next boot, the reboot, and
//! the state of the machine afterwards.
//!
//! While a switch can be cut, a unit lies in the `/etc` of both trees, so that whichever of them
//! boots repairs it. Knows nothing of how names are exchanged.

mod first;
mod machine;
mod reboot;
mod stillness;
mod units;
mod watcher;

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::str::SplitWhitespace;

use crate::entry::{Metadata, Xattr};
use crate::fs::extents::read_at;
use crate::fs::metadata::read_metadata;
use crate::fs::owned::{OwnedFile, replace_owned};
use crate::fs::staged::{PROGRAM_NAME, private_dir};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, Status, Tree, status_of_fd, usable_name};
use crate::relpath::{Name, RelPath};

pub(crate) use first::remove_key;
pub use first::{BOOTED_NAME, Booted, boot, forget_booted, is_booted, keep_booted, note_boot};
pub use machine::{MachineState, boot_id, listens};
pub use reboot::{reboot_now, reboot_soon};
pub use stillness::{Stillness, let_go_after_holder};
pub use units::{arm, disarm, is_armed};
pub use watcher::{Watcher, outlive};

/// The label of SELinux, which decides whether the init may start a file.
const LABEL: &[u8] = b"security.selinux";

/// Returns our own program as `boot` with a flag, in nobody's way: it outlives whoever starts it.
fn own_program(flag: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["boot", flag])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Returns the fields of `/proc/PID/stat` from the third on: the name before them may hold anything.
fn after_name(stat: &str) -> Option<SplitWhitespace<'_>> {
    let end = stat.rfind(')')?;
    Some(stat.get(end + 1..)?.split_whitespace())
}

/// Puts the running program into the private directory, for the console and the next boot. One
/// that is there already is left alone: a full disk has no room for a second.
pub fn place_program(live: &Dir) -> Result<()> {
    let contents = std::fs::read("/proc/self/exe")
        .map_err(|error| FsError::from_io("read the own program", &error))?;
    let programs = RelPath::new(b"usr/bin").map_err(|_| FsError::unusable_name())?;
    // A file in a directory of ours would not be started where SELinux is enforced.
    let label = live.open_beneath(&programs).map(|dir| label_of(&dir));
    let program = OwnedFile {
        contents,
        metadata: private(0o700, label.unwrap_or_default()),
    };
    let private = private_dir(live, &RelPath::root())?;
    let name = usable_name(PROGRAM_NAME)?;
    // One that cannot be looked at is replaced.
    match holds(&private, &name, &program) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => replace_owned(&private, &name, &program),
    }
}

/// Tells whether a file is there with these contents, this mode and, where one is wanted, this label.
fn holds(dir: &Dir, name: &Name, wanted: &OwnedFile) -> Result<bool> {
    let file = dir.open_file(name)?;
    let status = status_of_fd(&file)?;
    let Metadata {
        mode,
        uid,
        xattrs: label,
        ..
    } = &wanted.metadata;
    if !status.is_file() || (status.mode(), status.uid()) != (*mode, *uid) {
        return Ok(false);
    }
    let is_labelled = label.is_empty() || label_in(Object::open(&file), &status) == *label;
    Ok(is_labelled && reads(&file, &status, &wanted.contents)?)
}

/// Tells whether a file has these contents.
fn reads(file: &OwnedFd, status: &Status, wanted: &[u8]) -> Result<bool> {
    if status.size() != wanted.len() as u64 {
        return Ok(false);
    }
    let mut buffer = vec![0u8; 1 << 20];
    let mut offset = 0;
    for part in wanted.chunks(buffer.len()) {
        let found = buffer.get_mut(..part.len()).unwrap_or_default();
        if read_at(file, found, offset)? != part.len() || found != part {
            return Ok(false);
        }
        offset += part.len() as u64;
    }
    Ok(true)
}

fn private(mode: u16, xattrs: Vec<Xattr>) -> Metadata {
    let now = jiff::Timestamp::now();
    Metadata {
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        mtime: crate::entry::Timestamp {
            seconds: now.as_second(),
            nanoseconds: 0,
        },
        xattrs,
    }
}

/// Returns the label of a directory as the only attribute; none where there is none.
fn label_of(dir: &Dir) -> Vec<Xattr> {
    let status = dir.status();
    status.map_or(Vec::new(), |status| {
        label_in(Object::Open(dir.as_fd()), &status)
    })
}

fn label_in(object: Object<'_>, status: &Status) -> Vec<Xattr> {
    let read = read_metadata(object, status);
    let mut xattrs = read.map(|found| found.xattrs).unwrap_or_default();
    xattrs.retain(|xattr| xattr.name == LABEL);
    xattrs
}

/// Opens the trees called `side` of the first volume and of `volumes` as one.
pub fn side_tree(live: &Dir, volumes: &[RelPath], side: &[u8]) -> Result<Tree> {
    let open = |path: &RelPath| private_dir(live, path)?.open_dir(&usable_name(side)?);
    let mut tree = Tree::from(open(&RelPath::root())?);
    for path in volumes {
        tree.add_part(path.clone(), open(path)?);
    }
    Ok(tree)
}

/// Takes the one-shot out of the live tree, if it is in it.
pub fn disarm_live(live: &Dir) -> Result<()> {
    disarm(&live_tree(live)?)
}

/// Returns the live tree as one; what is mounted in it is reached through it.
pub fn live_tree(live: &Dir) -> Result<Tree> {
    Ok(Tree::from(live.open_beneath(&RelPath::root())?))
}
