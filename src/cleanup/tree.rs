//! The root that is cleaned: paths resolved inside it, objects read and replaced whole.
//!
//! A link on the way leads where it would lead for somebody whose `/` this root is; what was
//! found is held by a handle, so that nothing can be swapped in between. Knows nothing of what
//! the files mean.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::entry::{Kind, Metadata};
use crate::fs::metadata::{Before, apply_metadata, read_metadata};
use crate::fs::owned::{OwnedFile, is_temporary, read_owned, replace_owned, temporary_name};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result};
use crate::relpath::{Name, RelPath};

/// LIMIT: links on one way, as in the kernel's MAXSYMLINKS.
const MAX_LINKS: usize = 40;

/// A root directory.
#[derive(Debug)]
pub struct Tree {
    root: Dir,
    path: PathBuf,
    /// What could not be looked at, so that nobody takes it for missing.
    troubles: RefCell<BTreeSet<String>>,
}

/// Whether a link in the last place is what is meant, or what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// The link itself.
    Itself,
    /// What it leads to.
    Followed,
}

/// A place in an open directory; what is there may be missing.
#[derive(Debug)]
pub struct Spot {
    /// The path without any link in it, from the root: `/usr/lib/os-release`.
    pub path: String,
    dir: Dir,
    name: Name,
}

/// What is at a place.
#[derive(Clone, Debug)]
pub enum State {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// What is in it.
        contents: Vec<u8>,
        /// Its attributes.
        metadata: Metadata,
    },
    /// A symbolic link.
    Link {
        /// Its text.
        text: Vec<u8>,
        /// Its attributes.
        metadata: Metadata,
    },
}

impl Tree {
    /// Opens the root that the operator named.
    pub fn open(path: &Path) -> Result<Tree> {
        Ok(Tree {
            root: Dir::open_root(path)?,
            path: path.to_owned(),
            troubles: RefCell::default(),
        })
    }

    /// Returns the path of the root as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether it is the root of the running system.
    pub fn is_live(&self) -> bool {
        let live = Dir::open_root(Path::new("/")).and_then(|root| root.id());
        matches!((self.root.id(), live), (Ok(one), Ok(other)) if one == other)
    }

    /// Returns what could not be looked at since the last time, a sentence for each path.
    pub fn take_troubles(&self) -> Vec<String> {
        self.troubles.take().into_iter().collect()
    }

    /// Notes an error unless it says that nothing is there.
    fn note<T>(&self, path: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(error) if error.is_gone() => {}
            Err(error) => {
                let sentence = format!("{path}: {error}: {}", error.cause());
                self.troubles.borrow_mut().insert(sentence);
            }
        }
        None
    }

    /// Writes what has changed to the disk that the root is on.
    pub fn sync(&self) -> Result<()> {
        self.root.sync_file_system()
    }

    /// Finds the place of an absolute path; `None` where a directory on the way is missing.
    pub fn locate(&self, path: &str, last: Last) -> Result<Option<Spot>> {
        let mut ahead: VecDeque<Vec<u8>> = parts(path.as_bytes());
        let mut way: Vec<(Name, Dir)> = Vec::new();
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == b".." {
                way.pop();
                continue;
            }
            let name = crate::fs::usable_name(&part)?;
            let here = way.last().map_or(&self.root, |(_, dir)| dir);
            let is_last = ahead.is_empty();
            let status = match here.status_of(&name) {
                Ok(status) => status,
                Err(error) if error.is_missing() && is_last => return self.spot(way, name),
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) => return Err(error),
            };
            if status.kind().is_none() && !(is_last && last == Last::Itself) {
                links += 1;
                if links > MAX_LINKS {
                    return Ok(None);
                }
                let text = here.link_text(&name)?;
                if text.starts_with(b"/") {
                    way.clear();
                }
                let rest = std::mem::take(&mut ahead);
                ahead = parts(&text);
                ahead.extend(rest);
            } else if is_last {
                return self.spot(way, name);
            } else if status.is_directory() {
                let dir = here.open_dir(&name)?;
                way.push((name, dir));
            } else {
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn spot(&self, way: Vec<(Name, Dir)>, name: Name) -> Result<Option<Spot>> {
        let mut path = String::new();
        for part in way.iter().map(|(name, _)| name).chain([&name]) {
            let Ok(part) = std::str::from_utf8(part.as_bytes()) else {
                return Ok(None);
            };
            path.push('/');
            path.push_str(part);
        }
        let dir = match way.into_iter().next_back() {
            Some((_, dir)) => dir,
            None => self.root.open_beneath(&RelPath::root())?,
        };
        Ok(Some(Spot { path, dir, name }))
    }

    /// Returns what is at the end of a path, links followed; `None` where nothing readable is.
    pub fn text(&self, path: &str) -> Option<String> {
        let spot = self.note(path, self.locate(path, Last::Followed))??;
        if !self.note(path, spot.is_replaceable())? {
            return None;
        }
        match self.note(path, spot.state())? {
            State::File { contents, .. } => Some(String::from_utf8_lossy(&contents).into_owned()),
            State::Absent | State::Link { .. } => None,
        }
    }

    /// Tells whether something that is no directory is at the end of a path, links followed.
    pub fn has_file(&self, path: &str) -> bool {
        let spot = self.note(path, self.locate(path, Last::Followed));
        spot.flatten().is_some_and(|spot| {
            let status = self.note(path, spot.dir.status_of(&spot.name));
            status.is_some_and(|status| !status.is_directory())
        })
    }

    /// Returns the paths that match a glob, sorted. Its wildcards match no slash; names that are
    /// not UTF-8 match nothing.
    pub fn matching(&self, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let step = |path: &String| match wildcard(part) {
                Some(glob) => self.children(path, &glob),
                None => vec![format!("{path}/{part}")],
            };
            found = found.iter().flat_map(step).collect();
        }
        found.retain(|path| self.exists(path));
        found.sort();
        found
    }

    fn exists(&self, path: &str) -> bool {
        let spot = self.note(path, self.locate(path, Last::Itself));
        spot.flatten()
            .is_some_and(|spot| self.note(path, spot.dir.status_of(&spot.name)).is_some())
    }

    fn children(&self, path: &str, glob: &GlobMatcher) -> Vec<String> {
        let directory = match self.locate(path, Last::Followed) {
            Ok(Some(spot)) => spot.dir.open_dir(&spot.name),
            Ok(None) if path.is_empty() => self.root.open_beneath(&RelPath::root()),
            Ok(None) => return Vec::new(),
            Err(error) => Err(error),
        };
        let names = directory.and_then(|dir| dir.names());
        let names = self.note(path, names).unwrap_or_default();
        let names = names
            .iter()
            .filter_map(|name| std::str::from_utf8(name).ok());
        names
            .filter(|name| glob.is_match(name))
            .map(|name| format!("{path}/{name}"))
            .collect()
    }

    /// Opens a directory below the root that belongs to us, making what is missing, private.
    pub fn private_directory(&self, path: &str) -> Result<Dir> {
        let mut dir = self.root.open_beneath(&RelPath::root())?;
        for part in parts(path.as_bytes()) {
            let name = crate::fs::usable_name(&part)?;
            dir = open_or_make(&dir, &name)?;
        }
        Ok(dir)
    }

    /// Opens a directory that may be missing, following no link.
    pub fn directory(&self, path: &str) -> Result<Option<Dir>> {
        let path = path.trim_matches('/').as_bytes();
        let path = RelPath::new(path).map_err(|_| FsError::unusable_name())?;
        match self.root.open_beneath(&path) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Opens a directory, making it private where it is missing.
pub fn open_or_make(dir: &Dir, name: &Name) -> Result<Dir> {
    match dir.open_dir(name) {
        Err(error) if error.is_missing() => {}
        result => return result,
    }
    dir.make_dir(name)?;
    dir.open_dir(name)
}

fn parts(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && part != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

/// Returns a part of a pattern as a glob, or `None` where it is a plain name.
fn wildcard(part: &str) -> Option<GlobMatcher> {
    if !part.contains(['*', '?', '[', '{']) {
        return None;
    }
    let glob = GlobBuilder::new(part).literal_separator(true).build();
    glob.ok().map(|glob| glob.compile_matcher())
}

impl Spot {
    /// Tells whether a file, a link or nothing is there: what can be kept and replaced.
    pub fn is_replaceable(&self) -> Result<bool> {
        match self.dir.status_of(&self.name) {
            Ok(status) => Ok(status.is_file() || status.kind().is_none()),
            Err(error) if error.is_missing() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Reads what is there. Anything but a file or a link is an error.
    pub fn state(&self) -> Result<State> {
        read_state(&self.dir, &self.name)
    }

    /// Makes `state` what is there, at one moment.
    pub fn place(&self, state: &State) -> Result<()> {
        place_state(&self.dir, &self.name, state)
    }

    /// Makes a directory here that everybody can read, where nothing is.
    pub fn make_directory(&self) -> Result<()> {
        match self.dir.status_of(&self.name) {
            Err(error) if error.is_missing() => {}
            result => return result.map(|_| ()),
        }
        self.dir.make_dir(&self.name)?;
        let made = self.dir.open_dir(&self.name)?;
        let mut metadata = read_metadata(Object::open(&made), &made.status()?)?;
        metadata.mode = 0o755;
        let refused = apply_metadata(Object::open(&made), false, &metadata, Before::Unknown);
        refused.into_iter().next().map_or(Ok(()), Err)
    }

    /// Removes what a clean-up that was killed has left beside this place. What cannot be removed
    /// stays: it has no name that anybody asks for.
    pub fn sweep(&self) {
        for name in self.dir.names().unwrap_or_default() {
            if let Ok(name) = crate::fs::usable_name(&name)
                && is_temporary(name.as_bytes())
            {
                drop(self.dir.remove_file(&name));
            }
        }
    }
}

/// Reads a file or link of a directory.
pub fn read_state(dir: &Dir, name: &Name) -> Result<State> {
    let status = match dir.status_of(name) {
        Err(error) if error.is_missing() => return Ok(State::Absent),
        result => result?,
    };
    if status.kind().is_none() {
        return Ok(State::Link {
            text: dir.link_text(name)?,
            metadata: read_metadata(Object::Leaf(dir, name), &status)?,
        });
    }
    if !status.is_file() {
        return Err(FsError {
            operation: "read as a file".to_owned(),
            errno: rustix::io::Errno::INVAL,
        });
    }
    match read_owned(dir, name)? {
        Some(OwnedFile { contents, metadata }) => Ok(State::File { contents, metadata }),
        None => Ok(State::Absent),
    }
}

/// Makes `state` what is under a name of a directory, at one moment.
pub fn place_state(dir: &Dir, name: &Name, state: &State) -> Result<()> {
    match state {
        State::Absent => match dir.remove_file(name) {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        },
        State::File { contents, metadata } => {
            let file = OwnedFile {
                contents: contents.clone(),
                metadata: metadata.clone(),
            };
            replace_owned(dir, name, &file)
        }
        State::Link { text, metadata } => place_link(dir, name, text, metadata),
    }
}

fn place_link(dir: &Dir, name: &Name, text: &[u8], metadata: &Metadata) -> Result<()> {
    let temp = temporary_name()?;
    match dir.remove_file(&temp) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    let kind = Kind::Symlink {
        text: text.to_vec(),
    };
    dir.make_special(&temp, &kind)?;
    let refused = apply_metadata(Object::Leaf(dir, &temp), true, metadata, Before::Fresh);
    let placed = match refused.into_iter().next() {
        Some(error) => Err(error),
        None => dir.rename(&temp, dir, name),
    };
    if placed.is_err() {
        // The first error is the one to report.
        drop(dir.remove_file(&temp));
    }
    placed
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{Last, State, Tree};

    fn tree(root: &std::path::Path) -> Tree {
        for (path, text) in [
            ("usr/lib/os-release", "ID=amzn\n"),
            ("etc/yum.repos.d/amzn2-core.repo", "[a]\n"),
            ("etc/yum.repos.d/own.repo", "[b]\n"),
            ("etc/systemd/system/multi-user.target.wants/x.service", ""),
        ] {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/etc/loop", root.join("etc/loop")).unwrap();
        symlink("../../../../../etc", root.join("etc/up")).unwrap();
        Tree::open(root).unwrap()
    }

    #[test]
    fn links_lead_inside_the_root() {
        let place = tempfile::tempdir().unwrap();
        let tree = tree(place.path());
        for (path, last, expected) in [
            ("/etc/os-release", Last::Itself, Some("/etc/os-release")),
            (
                "/etc/os-release",
                Last::Followed,
                Some("/usr/lib/os-release"),
            ),
            ("/lib/os-release", Last::Itself, Some("/usr/lib/os-release")),
            ("/etc/new", Last::Followed, Some("/etc/new")),
            ("/etc/none/new", Last::Followed, None),
            ("/etc/loop", Last::Followed, None),
            // Going up ends at the root, as it does for the kernel.
            (
                "/etc/up/yum.repos.d/own.repo",
                Last::Itself,
                Some("/etc/yum.repos.d/own.repo"),
            ),
        ] {
            let spot = tree.locate(path, last).unwrap();
            assert_eq!(spot.as_ref().map(|spot| &spot.path[..]), expected, "{path}");
        }
        assert_eq!(tree.text("/etc/os-release").unwrap(), "ID=amzn\n");
        assert!(tree.text("/etc").is_none());
    }

    #[test]
    fn wildcards_match_names_of_one_directory() {
        let place = tempfile::tempdir().unwrap();
        let tree = tree(place.path());
        for (pattern, expected) in [
            (
                "/etc/yum.repos.d/amzn*.repo",
                &["/etc/yum.repos.d/amzn2-core.repo"][..],
            ),
            (
                "/etc/systemd/system/*.wants/x.service",
                &["/etc/systemd/system/multi-user.target.wants/x.service"],
            ),
            ("/etc/nothing*/x", &[]),
            ("/etc/os-release", &["/etc/os-release"]),
            ("/us*/lib/os-release", &["/usr/lib/os-release"]),
        ] {
            assert_eq!(tree.matching(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_was_read_can_be_put_back() {
        let place = tempfile::tempdir().unwrap();
        let tree = tree(place.path());
        for path in ["/etc/os-release", "/etc/yum.repos.d/own.repo"] {
            let spot = tree.locate(path, Last::Itself).unwrap().unwrap();
            let state = spot.state().unwrap();
            spot.place(&State::Absent).unwrap();
            assert!(matches!(spot.state().unwrap(), State::Absent), "{path}");
            spot.place(&state).unwrap();
            assert!(tree.text(path).is_some(), "{path}");
        }
        assert!(place.path().join("etc/os-release").is_symlink());
    }
}
