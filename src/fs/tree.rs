//! A directory tree that may be put together of several volumes' parts, each with a handle of its
//! own. Knows nothing of what the parts are for.

use super::{Dir, Result};
use crate::relpath::RelPath;

/// A tree with further parts in it.
#[derive(Debug)]
pub struct Tree {
    root: Dir,
    /// Where each further part begins; one within another comes before it.
    parts: Vec<(RelPath, Dir)>,
}

impl From<Dir> for Tree {
    fn from(root: Dir) -> Tree {
        Tree {
            root,
            parts: Vec::new(),
        }
    }
}

impl Tree {
    /// Lets everything from `path` on lie in `dir`, whatever the tree around it has there.
    pub fn add_part(&mut self, path: RelPath, dir: Dir) {
        self.parts.push((path, dir));
        // A path sorts after those above it.
        self.parts.sort_by(|one, next| next.0.cmp(&one.0));
    }

    /// Returns the handle of the root itself.
    pub fn root(&self) -> &Dir {
        &self.root
    }

    /// Opens a directory of the tree, following no link on the way.
    pub fn open_beneath(&self, path: &RelPath) -> Result<Dir> {
        let (dir, rest) = self.part_of(path);
        dir.open_beneath(&rest)
    }

    /// Returns the part in which `path` lies, and the path from there.
    pub fn part_of(&self, path: &RelPath) -> (&Dir, RelPath) {
        let found = self
            .parts
            .iter()
            .find_map(|(start, dir)| Some((dir, path.below(start)?)));
        found.unwrap_or((&self.root, path.clone()))
    }
}
