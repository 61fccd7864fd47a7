//! Paths below the root of a copy: raw bytes, valid by construction.
//!
//! A value that exists is safe to join below a root: `..`, `.`, NUL, empty parts and leading or
//! trailing slashes cannot be represented. Knows nothing of files.

use serde::{Deserialize, Serialize};

/// LIMIT: longest file name that Linux file systems store (NAME_MAX), in bytes.
pub const MAX_NAME_LEN: usize = 255;
/// LIMIT: longest path that is accepted from a peer. Linux allows deeper trees than PATH_MAX.
pub const MAX_PATH_LEN: usize = 64 * 1024;

/// Why bytes are no path or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefused {
    /// A part is empty, `.` or `..`.
    #[error("a part of it is empty, '.' or '..'")]
    Part,
    /// A byte is NUL, or a slash in a name.
    #[error("it contains a NUL byte or a slash")]
    Byte,
    /// Longer than the limit.
    #[error("it is too long")]
    Length,
}

/// The name of one entry in its directory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks `bytes` and makes a name of them.
    pub fn new(bytes: &[u8]) -> Result<Name, PathRefused> {
        check_part(bytes)?;
        Ok(Name(bytes.into()))
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Name {
    type Error = PathRefused;
    fn try_from(bytes: Vec<u8>) -> Result<Name, PathRefused> {
        check_part(&bytes)?;
        Ok(Name(bytes.into()))
    }
}

impl From<Name> for Vec<u8> {
    fn from(name: Name) -> Vec<u8> {
        name.0.into()
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// A path below the root of the copy; empty for the root itself. Ordered part by part, so that
/// a directory sorts right before what it contains.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Returns the root of the copy.
    pub fn root() -> RelPath {
        RelPath(Vec::new())
    }

    /// Checks `bytes` and makes a path of them.
    pub fn new(bytes: &[u8]) -> Result<RelPath, PathRefused> {
        RelPath::try_from(bytes.to_vec())
    }

    /// Returns the path of `name` in this directory.
    pub fn join(&self, name: &Name) -> RelPath {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&name.0);
        RelPath(bytes)
    }

    /// Returns the directory it lies in and its name there, or `None` for the root.
    pub fn split(&self) -> Option<(RelPath, Name)> {
        if self.0.is_empty() {
            return None;
        }
        let (parent, name) = match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (&self.0[..0], &self.0[..]),
        };
        Some((RelPath(parent.to_vec()), Name(name.into())))
    }

    /// Returns the rest of this path below `start`, the root for `start` itself; `None` where it
    /// does not lie there.
    pub fn below(&self, start: &RelPath) -> Option<RelPath> {
        if start.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(start.as_bytes())? {
            [] => Some(RelPath::root()),
            [b'/', rest @ ..] => Some(RelPath(rest.to_vec())),
            _ => None,
        }
    }

    /// Returns the names from the root down.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Tells whether this is the root of the copy.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for RelPath {
    type Error = PathRefused;
    fn try_from(bytes: Vec<u8>) -> Result<RelPath, PathRefused> {
        if bytes.len() > MAX_PATH_LEN {
            return Err(PathRefused::Length);
        }
        if !bytes.is_empty() {
            bytes.split(|byte| *byte == b'/').try_for_each(check_part)?;
        }
        Ok(RelPath(bytes))
    }
}

impl From<RelPath> for Vec<u8> {
    fn from(path: RelPath) -> Vec<u8> {
        path.0
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &RelPath) -> std::cmp::Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &RelPath) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Debug for RelPath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

fn check_part(part: &[u8]) -> Result<(), PathRefused> {
    if part.is_empty() || part == b"." || part == b".." {
        Err(PathRefused::Part)
    } else if part.len() > MAX_NAME_LEN {
        Err(PathRefused::Length)
    } else if part.contains(&0) || part.contains(&b'/') {
        Err(PathRefused::Byte)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, PathRefused, RelPath};

    #[test]
    fn refuses_what_could_leave_the_root() {
        for bad in [
            "..", "a/..", "../a", "a//b", "/a", "a/", ".", "a/./b", "a\0b",
        ] {
            assert!(RelPath::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(Name::new(b"a/b"), Err(PathRefused::Byte));
        assert_eq!(Name::new(&[b'x'; 256]), Err(PathRefused::Length));
    }

    #[test]
    fn joins_and_splits_back() {
        let name = Name::new(b"c\xff").unwrap();
        let path = RelPath::new(b"a/b").unwrap().join(&name);
        assert_eq!(path.as_bytes(), b"a/b/c\xff");
        assert_eq!(path.split(), Some((RelPath::new(b"a/b").unwrap(), name)));
        assert_eq!(RelPath::root().split(), None);
    }

    #[test]
    fn lies_below_whole_parts_only() {
        let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
        assert_eq!(path("a/b/c").below(&path("a")), Some(path("b/c")));
        assert_eq!(path("a").below(&path("a")), Some(RelPath::root()));
        assert_eq!(path("ab").below(&path("a")), None);
        assert_eq!(path("a").below(&RelPath::root()), Some(path("a")));
    }

    #[test]
    fn orders_a_directory_right_before_its_contents() {
        let mut paths = ["a-b", "a/c", "a"].map(|path| RelPath::new(path.as_bytes()).unwrap());
        paths.sort();
        assert_eq!(
            paths.map(|path| path.as_bytes().to_vec()),
            [&b"a"[..], b"a/c", b"a-b"]
        );
    }
}
