//! What stands at a path on one machine. Knows nothing of who reads or merges it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Change;
use crate::relpath::RelPath;

/// A regular file. Its extended attributes stay with the file that is replaced.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// What is in it.
    pub contents: Vec<u8>,
    /// Permission bits (07777).
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

impl std::fmt::Debug for File {
    /// Leaves the contents out: they can be password hashes.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "File({} bytes, {:o}, {}:{})",
            self.contents.len(),
            self.mode,
            self.uid,
            self.gid
        )
    }
}

/// What stands at a path. Whatever is neither file nor link is not there for a merger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Object {
    /// A regular file.
    File(File),
    /// A symbolic link and its text.
    Link(Vec<u8>),
}

/// What one machine has, by path below its root.
pub type Objects = BTreeMap<RelPath, Object>;

/// The versions of both machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The source's.
    pub source: Objects,
    /// The target's, as they were before the clone.
    pub target: Objects,
}

impl Object {
    /// Returns the file, if it is one.
    pub fn file(&self) -> Option<&File> {
        match self {
            Object::File(file) => Some(file),
            Object::Link(_) => None,
        }
    }

    /// Returns the text of the link, if it is one.
    pub fn link(&self) -> Option<&[u8]> {
        match self {
            Object::Link(text) => Some(text),
            Object::File(_) => None,
        }
    }

    /// Returns the change that brings this object about.
    pub(super) fn as_change(object: Option<&Object>) -> Change {
        match object {
            Some(Object::File(file)) => Change::Write(file.clone()),
            Some(Object::Link(text)) => Change::Link(text.clone()),
            None => Change::Remove,
        }
    }
}

impl File {
    /// Returns a file of the same owner and mode with other contents.
    pub(super) fn with(&self, contents: Vec<u8>) -> File {
        File {
            contents,
            ..self.clone()
        }
    }

    /// Returns a file of root that everybody can read.
    pub(super) fn of_root(contents: Vec<u8>) -> File {
        File {
            contents,
            mode: 0o644,
            uid: 0,
            gid: 0,
        }
    }
}
