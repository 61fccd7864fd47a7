//! Edits applied to a tree: by private temp and rename, through no link, with what stood there
//! kept. Knows nothing of why an edit is made.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::gather::problem;
use super::{Change, Edit, File};
use crate::entry::{Kind, Metadata, Timestamp};
use crate::fs::metadata::{Before, apply_metadata, read_metadata};
use crate::fs::owned::{OwnedFile, read_owned, replace_owned};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, Tree};
use crate::problem::{Problem, Side};
use crate::relpath::{Name, RelPath};

/// Where what stood at an edited path is kept, below the root; mode 0700, as are its parts.
const ORIGINALS: &str = "var/lib/instancesync/originals";

/// What became of one edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Where.
    pub path: RelPath,
    /// What happened.
    pub outcome: Outcome,
}

/// How an edit ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It holds now, and did not before.
    Changed,
    /// It held already.
    Unchanged,
    /// It could not be made; what stood there stands there still.
    Failed(Problem),
}

/// Where originals come from.
#[derive(Clone, Copy, Debug)]
pub enum Originals<'a> {
    /// From the tree that is edited.
    Edited,
    /// From the tree that the edited one will replace.
    Live(&'a Dir),
}

/// Applies `edits` in their order to `tree`. One that fails does not stop the others.
///
/// What stood at a changed path is kept below `/var/lib/instancesync/originals` of `tree` first;
/// the original of an earlier run is never replaced. No file is changed in place, for it may have
/// names elsewhere.
pub fn apply(tree: &Tree, edits: &[Edit], originals: Originals<'_>) -> Vec<Applied> {
    let one = |edit: &Edit| Applied {
        path: edit.path.clone(),
        outcome: match apply_one(tree, edit, originals) {
            Ok(true) => Outcome::Changed,
            Ok(false) => Outcome::Unchanged,
            Err(error) => Outcome::Failed(problem(Side::Target, &edit.path, &error)),
        },
    };
    edits.iter().map(one).collect()
}

/// Returns the path below which originals are kept.
pub(super) fn originals() -> RelPath {
    super::path(ORIGINALS)
}

/// Tells whether an edit would change anything. What cannot be looked at would.
pub(super) fn is_pending(root: &Dir, edit: &Edit) -> bool {
    let found = || {
        let (parent, name) = edit.path.split()?;
        Found::at(&root.open_beneath(&parent).ok()?, &name).ok()
    };
    match found() {
        Some(found) => !found.holds(&edit.change),
        None => edit.change != Change::Remove,
    }
}

/// Applies one edit; tells whether anything changed.
fn apply_one(tree: &Tree, edit: &Edit, originals: Originals<'_>) -> Result<bool> {
    let (parent, name) = edit
        .path
        .split()
        .ok_or_else(|| FsError::missing("edit the root"))?;
    let dir = match tree.open_beneath(&parent) {
        Err(error) if error.is_missing() && edit.change == Change::Remove => return Ok(false),
        Err(error) if error.is_missing() => open_or_make(tree, &parent, &edit.change)?,
        result => result?,
    };
    let found = Found::at(&dir, &name)?;
    if found.holds(&edit.change) {
        return Ok(false);
    }
    match originals {
        Originals::Edited => keep_original(tree, &parent, &name, &found)?,
        Originals::Live(live) => match live.open_beneath(&parent) {
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error),
            Ok(dir) => keep_original(tree, &parent, &name, &Found::at(&dir, &name)?)?,
        },
    }
    match &edit.change {
        Change::Write(file) => replace_owned(&dir, &name, &found.replaced_by(file))?,
        Change::Link(text) => replace_link(&dir, &name, text)?,
        Change::Remove => dir.remove_file(&name)?,
    }
    Ok(true)
}

/// What stands at a path before an edit.
enum Found {
    Nothing,
    File(OwnedFile),
    Link(Vec<u8>),
}

impl Found {
    fn at(dir: &Dir, name: &Name) -> Result<Found> {
        let status = match dir.status_of(name) {
            Err(error) if error.is_missing() => return Ok(Found::Nothing),
            result => result?,
        };
        if status.kind().is_none() {
            return Ok(Found::Link(dir.link_text(name)?));
        }
        // Refuses what is neither file nor link.
        let file = read_owned(dir, name)?;
        Ok(file.map_or(Found::Nothing, Found::File))
    }

    fn holds(&self, change: &Change) -> bool {
        match (self, change) {
            (Found::Nothing, Change::Remove) => true,
            (Found::Link(text), Change::Link(wanted)) => text == wanted,
            (Found::File(found), Change::Write(wanted)) => {
                let metadata = &found.metadata;
                found.contents == wanted.contents
                    && (metadata.mode, metadata.uid, metadata.gid)
                        == (wanted.mode, wanted.uid, wanted.gid)
            }
            _ => false,
        }
    }

    /// Returns `file` with the extended attributes of what it replaces.
    fn replaced_by(&self, file: &File) -> OwnedFile {
        let xattrs = match self {
            Found::File(found) => found.metadata.xattrs.clone(),
            Found::Nothing | Found::Link(_) => Vec::new(),
        };
        OwnedFile {
            contents: file.contents.clone(),
            metadata: Metadata {
                mode: file.mode,
                uid: file.uid,
                gid: file.gid,
                mtime: now(),
                xattrs,
            },
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or_default(),
        nanoseconds: since.subsec_nanos(),
    }
}

fn replace_link(dir: &Dir, name: &Name, text: &[u8]) -> Result<()> {
    let temp = Name::new(format!(".instancesync-link-{}", std::process::id()).as_bytes())
        .map_err(|_| FsError::unusable_name())?;
    match dir.remove_file(&temp) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    let text = text.to_vec();
    dir.make_special(&temp, &Kind::Symlink { text })?;
    let landed = dir.rename(&temp, dir, name);
    if landed.is_err() {
        // The first error is the one to report.
        drop(dir.remove_file(&temp));
    }
    landed
}

/// Opens a directory, making what is missing of it with root's 0755; `.ssh` with the owner of
/// the file in it and 0700.
fn open_or_make(tree: &Tree, path: &RelPath, change: &Change) -> Result<Dir> {
    let owner = match change {
        Change::Write(file) => (file.uid, file.gid),
        Change::Link(_) | Change::Remove => (0, 0),
    };
    make_parts(tree, path, |name| match name {
        b".ssh" => (0o700, owner),
        _ => (0o755, (0, 0)),
    })
}

/// Goes down part by part, making those that are missing with mode and owner of `attributes`.
fn make_parts(
    tree: &Tree,
    path: &RelPath,
    attributes: impl Fn(&[u8]) -> (u16, (u32, u32)),
) -> Result<Dir> {
    let (part, rest) = tree.part_of(path);
    let mut dir = part.open_beneath(&RelPath::root())?;
    for part in rest.parts() {
        let name = crate::fs::usable_name(part)?;
        dir = match dir.open_dir(&name) {
            Err(error) if error.is_missing() => {
                dir.make_dir(&name)?;
                let made = dir.open_dir(&name)?;
                let mut metadata = read_metadata(Object::open(&made), &made.status()?)?;
                let (mode, (uid, gid)) = attributes(part);
                (metadata.mode, metadata.uid, metadata.gid) = (mode, uid, gid);
                let refused =
                    apply_metadata(Object::open(&made), false, &metadata, Before::Unknown);
                match refused.into_iter().next() {
                    Some(error) => return Err(error),
                    None => made,
                }
            }
            result => result?,
        };
    }
    Ok(dir)
}

/// Puts what was found below the originals, unless an earlier run has done so.
fn keep_original(tree: &Tree, parent: &RelPath, name: &Name, found: &Found) -> Result<()> {
    if matches!(found, Found::Nothing) {
        return Ok(());
    }
    let mut path = originals();
    for part in parent.parts() {
        path = path.join(&crate::fs::usable_name(part)?);
    }
    let owner = tree.root().status()?;
    let originals = make_parts(tree, &path, |part| match part {
        b"var" | b"lib" => (0o755, (0, 0)),
        _ => (0o700, (owner.uid(), owner.gid())),
    })?;
    match originals.status_of(name) {
        Err(error) if error.is_missing() => {}
        result => return result.map(|_| ()),
    }
    match found {
        Found::Nothing => Ok(()),
        Found::File(file) => replace_owned(&originals, name, file),
        Found::Link(text) => replace_link(&originals, name, text),
    }
}
