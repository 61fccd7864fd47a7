//! A directory tree that may be put together of several volumes' parts, each with a handle of its
//! own. Knows nothing of what the parts are for.

use rustix::io::Errno;

use super::{Dir, Doing, Result, Status, usable_name};
use crate::relpath::RelPath;

/// LIMIT: links on the way to one path, as many as the kernel follows.
const MAX_LINKS: usize = 40;

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

    /// Finds where an absolute path leads when the tree is `/`: through links, over all parts,
    /// never out of it. The path that is returned has no link in it.
    pub fn resolve(&self, path: &[u8]) -> Result<(RelPath, Status)> {
        let mut found = RelPath::root();
        let mut status = self.root.status()?;
        let mut rest = parts_reversed(path);
        let mut link_count = 0;
        while let Some(part) = rest.pop() {
            if part == b".." {
                // Above the root is the root.
                found = found.split().map(|(parent, _)| parent).unwrap_or_default();
                status = self.open_beneath(&found)?.status()?;
                continue;
            }
            let dir = self.open_beneath(&found)?;
            let name = usable_name(&part)?;
            status = dir.status_of(&name)?;
            // A link is what has no kind.
            if status.kind().is_some() {
                found = found.join(&name);
                continue;
            }
            link_count += 1;
            if link_count > MAX_LINKS {
                return Err(Errno::LOOP).doing("follow links");
            }
            let text = dir.link_text(&name)?;
            if text.starts_with(b"/") {
                found = RelPath::root();
            }
            status = self.open_beneath(&found)?.status()?;
            rest.extend(parts_reversed(&text));
        }
        Ok((found, status))
    }
}

fn parts_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    parts
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::Tree;
    use crate::fs::Dir;
    use crate::relpath::RelPath;

    #[test]
    fn links_lead_over_all_parts_and_never_out() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        for path in ["first/usr", "first/etc", "second/lib/deep"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("second/lib/os-release"), "").unwrap();
        std::fs::write(at("outside"), "").unwrap();
        symlink("usr/lib", at("first/lib")).unwrap();
        symlink("../lib/os-release", at("first/etc/os-release")).unwrap();
        symlink("/etc/os-release", at("second/lib/back")).unwrap();
        symlink("round", at("first/round")).unwrap();
        let usr = RelPath::new(b"usr").unwrap();
        let mut tree = Tree::from(Dir::open_root(&at("first")).unwrap());
        tree.add_part(usr, Dir::open_root(&at("second")).unwrap());
        for (path, expected) in [
            ("/", Some("")),
            ("/lib/os-release", Some("usr/lib/os-release")),
            ("/usr/lib/back", Some("usr/lib/os-release")),
            ("/etc/os-release", Some("usr/lib/os-release")),
            ("/lib/deep/../../../..//etc/.", Some("etc")),
            ("/../outside", None),
            ("/round", None),
            ("/etc/gone", None),
            ("/etc/os-release/below", None),
        ] {
            let found = tree.resolve(path.as_bytes()).ok();
            let found = found.map(|(path, _)| path.as_bytes().to_vec());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }
}
