//! A whole system as seen from its own `/`: the running one, or one that is mounted somewhere.
//! Small files are read and names are looked at; links lead where they would lead inside.
//!
//! Never writes, never waits for a FIFO, opens nothing but regular files and directories, and
//! never leaves a root that is not the live one. Knows nothing of what the files mean.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::gate::call;
use super::{Dir, Doing, FileId, FsError, Result, Status};
use crate::relpath::Name;

/// LIMIT: bytes of a file that [`Root::read`] takes; far above any configuration file.
pub const MAX_READ: usize = 4 << 20;
/// LIMIT: links on the way to one file, as many as the kernel follows.
const MAX_LINKS: usize = 40;
/// Read at a time, in bytes; most files here are smaller.
const CHUNK: usize = 16 * 1024;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
const PLAIN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Errors that tell what is there: nothing, no directory, no link, no file, links in a circle.
const TELLING: [Errno; 6] = [
    Errno::NOENT,
    Errno::NOTDIR,
    Errno::INVAL,
    Errno::ISDIR,
    Errno::LOOP,
    Errno::NAMETOOLONG,
];

/// Bytes and inodes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free for root, in bytes.
    pub free_bytes: u64,
    /// Inodes; 0 where the file system has no fixed number.
    pub total_inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// The root of a system. All paths are absolute as seen from it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    is_live: bool,
    /// The first failure that does not mean that something is not there, or is something else.
    unseen: Mutex<Option<FsError>>,
}

/// A directory inside the root and a name in it that is no link, or is not to be followed.
struct Place {
    directory: OwnedFd,
    leaf: Vec<u8>,
}

impl Root {
    /// Opens the root that the operator named; links in that path are the operator's own.
    pub fn open(path: &Path) -> Result<Root> {
        let fd = call!(fs::openat(CWD, path, DIRECTORY, Mode::empty())).doing("open directory")?;
        // By its path: a second mount of the root file system shows no /proc.
        let real = std::fs::canonicalize(path);
        let is_live = real.is_ok_and(|real| real == Path::new("/"));
        Ok(Root {
            fd,
            is_live,
            unseen: Mutex::default(),
        })
    }

    /// Tells whether this is the running system.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Takes the first error since it was opened, or since this was asked last, that leaves open
    /// what is there: of a disk, of rights, of a lack of handles. What only answers with `None`
    /// and nothing else has not told it.
    pub fn take_unseen(&self) -> Option<FsError> {
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        unseen.take()
    }

    /// Remembers an error that leaves open what is there.
    fn seen<T>(&self, operation: &str, found: rustix::io::Result<T>) -> rustix::io::Result<T> {
        if let Err(errno) = found
            && !TELLING.contains(&errno)
        {
            let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
            let operation = operation.to_owned();
            unseen.get_or_insert(FsError { operation, errno });
        }
        found
    }

    /// Reads a file; `None` when it is not there. Fails for what is no regular file (`EINVAL`)
    /// and for more than [`MAX_READ`] bytes (`EFBIG`).
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let contents = self.read_head(path, MAX_READ + 1)?;
        if contents
            .as_ref()
            .is_some_and(|bytes| bytes.len() > MAX_READ)
        {
            return Err(Errno::FBIG).doing("read");
        }
        Ok(contents)
    }

    /// Reads the first `limit` bytes of a file; `None` when it is not there.
    pub fn read_head(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        match self.seen("open", self.open_file(path)) {
            Ok(file) => self
                .seen("read", read_up_to(file.as_fd(), limit))
                .doing("read")
                .map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno).doing("open"),
        }
    }

    /// Returns the text of a file, with what is not UTF-8 replaced; `None` when it cannot be read.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = self.read(path).ok().flatten()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the names in a directory, sorted; none where there is no directory.
    pub fn names(&self, path: &str) -> Vec<OsString> {
        let found = self.open_directory(path.as_bytes());
        let Ok(directory) = self.seen("open directory", found) else {
            return Vec::new();
        };
        let names = Dir::from(directory).names().map_err(|error| error.errno);
        let names = self.seen("read directory", names).unwrap_or_default();
        let mut names: Vec<_> = names
            .into_iter()
            .map(|name| OsString::from_vec(name.into_vec()))
            .collect();
        names.sort();
        names
    }

    /// Looks at what a path leads to, following links.
    pub fn status(&self, path: &str) -> Option<Status> {
        self.look(path, true)
    }

    /// Looks at the name itself, which may be a link.
    pub fn status_of_name(&self, path: &str) -> Option<Status> {
        self.look(path, false)
    }

    /// Returns device and inode of what a path leads to.
    pub fn id(&self, path: &str) -> Option<FileId> {
        self.status(path).map(|status| status.id())
    }

    /// Returns the text of a symbolic link; `None` when it is none.
    pub fn link(&self, path: &str) -> Option<String> {
        let place = self.locate(path, false);
        let place = self.seen("open directory", place).ok()?;
        let text = link_text(place.directory.as_fd(), &place.leaf);
        let text = self.seen("read link", text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns bytes and inodes of the file system that a path is on.
    ///
    /// LIVE: asks the file system; one whose server is gone may never answer.
    pub fn space(&self, path: &str) -> Result<Space> {
        let directory = self
            .open_directory(path.as_bytes())
            .doing("open directory")?;
        let figures = call!(fs::fstatvfs(directory)).doing("ask for free space")?;
        Ok(Space {
            total_bytes: figures.f_blocks.saturating_mul(figures.f_frsize),
            free_bytes: figures.f_bfree.saturating_mul(figures.f_frsize),
            total_inodes: figures.f_files,
            free_inodes: figures.f_ffree,
        })
    }

    fn look(&self, path: &str, follow: bool) -> Option<Status> {
        let place = self.locate(path, follow);
        let place = self.seen("open directory", place).ok()?;
        let status = match place.leaf == b"." {
            true => super::status_of_fd(&place.directory),
            false => {
                let name = Name::new(&place.leaf).ok()?;
                super::status::status_at(&place.directory, &name)
            }
        };
        self.seen("stat", status.map_err(|error| error.errno)).ok()
    }

    fn open_file(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let place = self.locate(path, true)?;
        let name = Name::new(&place.leaf).map_err(|_| Errno::ISDIR)?;
        let found = call!(fs::statat(
            &place.directory,
            name.as_bytes(),
            AtFlags::SYMLINK_NOFOLLOW
        ))?;
        // Before it is opened: the opening of a device can do something.
        let is_file = |mode| rustix::fs::FileType::from_raw_mode(mode).is_file();
        if !is_file(found.st_mode) {
            return Err(Errno::INVAL);
        }
        let open = |flags| {
            call!(fs::openat(
                &place.directory,
                name.as_bytes(),
                flags,
                Mode::empty()
            ))
        };
        // Only the owner of a file may leave its access time alone.
        let file = match open(PLAIN_FILE | OFlags::NOATIME) {
            Err(Errno::PERM) => open(PLAIN_FILE),
            result => result,
        }?;
        match is_file(call!(fs::fstat(&file))?.st_mode) {
            true => Ok(file),
            false => Err(Errno::INVAL),
        }
    }

    /// Finds the directory that holds the last name of `path`; follows that name as well, if
    /// asked to, until it is no link.
    fn locate(&self, path: &str, follow: bool) -> rustix::io::Result<Place> {
        let mut path = path.as_bytes().to_vec();
        for _ in 0..MAX_LINKS {
            let (parent, leaf) = split(&path);
            if matches!(leaf, b"" | b"." | b"..") {
                // A directory by any other name; the leaf never leads upwards.
                let directory = self.open_directory(&path)?;
                let leaf = b".".to_vec();
                return Ok(Place { directory, leaf });
            }
            let directory = self.open_directory(parent)?;
            let text = match follow {
                true => link_text(directory.as_fd(), leaf),
                false => Err(Errno::INVAL),
            };
            match text {
                Ok(text) if text.starts_with(b"/") => path = text,
                Ok(text) => path = [parent, b"/", &text[..]].concat(),
                // No link, or nothing at all, which the caller's next call will tell.
                Err(Errno::INVAL | Errno::NOENT) => {
                    let leaf = leaf.to_vec();
                    return Ok(Place { directory, leaf });
                }
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::LOOP)
    }

    /// Opens a directory inside the root, following links as they lead from inside.
    fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"/" } else { path };
        if self.is_live {
            return call!(fs::openat(CWD, path, DIRECTORY, Mode::empty()));
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match call!(fs::openat2(
            &self.fd,
            path,
            DIRECTORY,
            Mode::empty(),
            resolve
        )) {
            // Kernels before 5.6 and some sandboxes lack it; EAGAIN is a rename elsewhere.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => self.open_by_steps(path),
            result => result,
        }
    }

    /// Does what `openat2` does, part by part.
    fn open_by_steps(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let mut stack: Vec<OwnedFd> = Vec::new();
        let mut parts = parts_reversed(path);
        let mut link_count = 0;
        while let Some(part) = parts.pop() {
            if part == b".." {
                // Above the root is the root.
                stack.pop();
                continue;
            }
            let above = stack.last().map_or(self.fd.as_fd(), |fd| fd.as_fd());
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            match call!(fs::openat(above, &part[..], flags, Mode::empty())) {
                Ok(fd) => stack.push(fd),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let text = link_text(above, &part).map_err(|errno| match errno {
                        Errno::INVAL => Errno::NOTDIR,
                        errno => errno,
                    })?;
                    link_count += 1;
                    if link_count > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    if text.starts_with(b"/") {
                        stack.clear();
                    }
                    parts.extend(parts_reversed(&text));
                }
                Err(errno) => return Err(errno),
            }
        }
        match stack.pop() {
            Some(fd) => Ok(fd),
            None => call!(fs::openat(&self.fd, ".", DIRECTORY, Mode::empty())),
        }
    }
}

/// Returns the path above and the last name; slashes at the end do not count.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|byte| *byte != b'/');
    let path = path.get(..end.map_or(0, |end| end + 1)).unwrap_or(path);
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => path.split_at(slash + 1),
        None => (b"", path),
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

fn link_text(directory: BorrowedFd<'_>, leaf: &[u8]) -> rustix::io::Result<Vec<u8>> {
    let leaf = OsStr::from_bytes(leaf);
    call!(fs::readlinkat(directory, leaf, Vec::new())).map(|text| text.into_bytes())
}

/// Reads to the end or to the limit; files of `/proc` do not say how long they are.
fn read_up_to(file: BorrowedFd<'_>, limit: usize) -> rustix::io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let mut chunk = vec![0u8; CHUNK.min(limit)];
    while contents.len() < limit {
        let wanted = chunk.len().min(limit - contents.len());
        match call!(io::read(file, &mut chunk[..wanted])) {
            Ok(0) => break,
            Ok(count) => contents.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn sample() -> (tempfile::TempDir, Root) {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        std::fs::create_dir_all(at("usr/lib/deep")).unwrap();
        std::fs::create_dir(at("etc")).unwrap();
        std::fs::write(at("usr/lib/os-release"), "ID=x\n").unwrap();
        std::fs::write(at("secret"), "inside").unwrap();
        symlink("../usr/lib/os-release", at("etc/os-release")).unwrap();
        symlink("/usr/lib", at("lib")).unwrap();
        symlink("/secret", at("etc/absolute")).unwrap();
        symlink("../../../../../../../../secret", at("etc/above")).unwrap();
        symlink("/../..", at("up")).unwrap();
        symlink("round", at("round")).unwrap();
        symlink("/gone", at("dangling")).unwrap();
        let root = Root::open(place.path()).unwrap();
        (place, root)
    }

    #[test]
    fn links_lead_where_they_lead_inside() {
        let (_place, root) = sample();
        assert!(!root.is_live());
        for (path, text) in [
            ("/etc/os-release", Some("ID=x\n")),
            ("/lib/os-release", Some("ID=x\n")),
            ("/lib/deep/../os-release", Some("ID=x\n")),
            ("/etc/absolute", Some("inside")),
            ("/etc/above", Some("inside")),
            ("/up/secret", Some("inside")),
            ("/../../secret", Some("inside")),
            ("/round", None),
            ("/dangling", None),
            ("/etc", None),
            ("/secret/below", None),
            ("/", None),
        ] {
            assert_eq!(root.text(path).as_deref(), text, "{path}");
        }
        assert_eq!(root.link("/lib").as_deref(), Some("/usr/lib"));
        assert_eq!(root.link("/secret"), None);
        assert!(root.status("/lib").unwrap().is_directory());
        assert!(!root.status_of_name("/lib").unwrap().is_directory());
        assert_eq!(root.id("/up"), root.id("/"));
        assert!(root.status("/dangling").is_none());
        assert_eq!(root.names("/lib"), ["deep", "os-release"]);
        assert!(root.names("/secret").is_empty());
    }

    #[test]
    fn steps_lead_where_openat2_leads() {
        let (_place, root) = sample();
        for path in [
            "/",
            "/etc",
            "/lib",
            "/lib/deep",
            "/lib/deep/..",
            "/up",
            "/up/etc",
            "/../etc",
            "/round",
            "/dangling",
            "/secret",
            "/secret/..",
            "/gone/..",
            "/lib/./deep/",
        ] {
            let id = |found: rustix::io::Result<OwnedFd>| {
                found.map(|fd| super::super::status_of_fd(fd).unwrap().id())
            };
            let by_kernel = id(root.open_directory(path.as_bytes()));
            assert_eq!(id(root.open_by_steps(path.as_bytes())), by_kernel, "{path}");
        }
    }

    #[test]
    fn neither_fifo_nor_a_long_file_is_read() {
        let (place, root) = sample();
        let fifo = place.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(place.path().join("long"), vec![b'x'; MAX_READ + 1]).unwrap();
        assert_eq!(root.read("/fifo").unwrap_err().errno, Errno::INVAL);
        assert_eq!(root.read("/long").unwrap_err().errno, Errno::FBIG);
        assert_eq!(root.read_head("/long", 3).unwrap().unwrap(), b"xxx");
        assert!(root.read("/missing").unwrap().is_none());
    }

    #[test]
    fn reading_leaves_the_access_time_alone() {
        let (place, root) = sample();
        let path = place.path().join("secret");
        let old = filetime::FileTime::from_unix_time(1_000_000, 0);
        filetime::set_file_times(&path, old, old).unwrap();
        assert_eq!(root.text("/secret").as_deref(), Some("inside"));
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(filetime::FileTime::from_last_access_time(&metadata), old);
    }

    #[test]
    fn the_live_root_is_known_as_such() {
        let root = Root::open(Path::new("/")).unwrap();
        assert!(root.is_live());
        assert!(root.text("/proc/self/mountinfo").is_some());
        assert!(root.space("/").unwrap().total_bytes > 0);
    }
}
