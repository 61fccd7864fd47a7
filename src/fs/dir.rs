//! Directory handles: the one way to reach anything below a root.
//!
//! Opening goes down from the root without following links (`openat2` where the kernel has it,
//! else part by part); every other call takes a leaf name. Knows nothing of attributes beyond
//! what one `fstatat` returns.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, makedev};
use rustix::io::Errno;

use super::gate::call;
use super::nesting::Nesting;
use super::stand::{self, Serial};
use super::status::{status_at, volume_at, volume_of_fd};
use super::{Doing, FileId, Result, Status, Volume, status_of_fd, usable_name};
use crate::entry::{DeviceNumber, Kind};
use crate::relpath::{Name, RelPath};

/// LIMIT: `openat2` takes no path of PATH_MAX (4096) bytes or more.
const LONGEST_CALL_PATH: usize = 4000;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    serial: Serial,
    nesting: Nesting,
    id: OnceLock<FileId>,
    volume: OnceLock<Volume>,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Dir {
    fn from(fd: OwnedFd) -> Dir {
        Dir::new(fd)
    }
}

impl Dir {
    fn new(fd: OwnedFd) -> Dir {
        Dir {
            fd,
            serial: Serial::next(),
            nesting: Nesting::default(),
            id: OnceLock::new(),
            volume: OnceLock::new(),
        }
    }

    /// Returns which directory it is; asked of the kernel once.
    pub fn id(&self) -> Result<FileId> {
        match self.id.get() {
            Some(id) => Ok(*id),
            None => {
                let id = self.status()?.id();
                Ok(*self.id.get_or_init(|| id))
            }
        }
    }

    /// Returns which volume it is in; asked of the kernel once.
    pub fn volume(&self) -> Result<Volume> {
        match self.volume.get() {
            Some(volume) => Ok(*volume),
            None => {
                let volume = volume_of_fd(&self.fd, self.id()?.device)?;
                Ok(*self.volume.get_or_init(|| volume))
            }
        }
    }

    /// Opens the root that the operator named. Links in that path are the operator's own.
    pub fn open_root(path: &Path) -> Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = call!(fs::openat(CWD, path, flags, Mode::empty())).doing("open directory")?;
        Ok(Dir::new(fd))
    }

    /// Makes the root that the operator named, and what is missing above it, and opens it.
    pub fn create_root(path: &Path) -> Result<Dir> {
        for part in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            match call!(fs::mkdir(part, Mode::from_raw_mode(0o755))) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).doing("make directory"),
            }
        }
        Dir::open_root(path)
    }

    /// Opens a directory anywhere below this one, following no link on the way.
    pub fn open_beneath(&self, path: &RelPath) -> Result<Dir> {
        if path.is_root() {
            return self.open_leaf(b".");
        }
        if path.as_bytes().len() < LONGEST_CALL_PATH {
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match call!(fs::openat2(
                &self.fd,
                path.as_bytes(),
                DIRECTORY,
                Mode::empty(),
                resolve
            )) {
                Ok(fd) => return Ok(Dir::new(fd)),
                // Kernels before 5.6 and some sandboxes lack it; EAGAIN is a rename elsewhere.
                Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {}
                Err(errno) => return Err(errno).doing("open directory"),
            }
        }
        let mut parts = path.parts();
        let first = parts.next().unwrap_or(b".");
        parts.try_fold(self.open_leaf(first)?, |dir, part| dir.open_leaf(part))
    }

    pub(super) fn open_leaf(&self, leaf: &[u8]) -> Result<Dir> {
        let fd =
            call!(fs::openat(&self.fd, leaf, DIRECTORY, Mode::empty())).doing("open directory")?;
        Ok(Dir::new(fd))
    }

    /// Opens a directory in this one. Fails (ENAMETOOLONG) some 500 of them deep.
    pub fn open_dir(&self, name: &Name) -> Result<Dir> {
        let nesting = self.nesting.deeper()?;
        let dir = self.open_leaf(name.as_bytes())?;
        Ok(Dir { nesting, ..dir })
    }

    /// Opens a directory in this one whose status is at hand; `None` for a mount point.
    pub fn open_dir_here(&self, name: &Name, status: &Status) -> Result<Option<Dir>> {
        if status.id().device != self.id()?.device {
            return Ok(None);
        }
        let dir = self.open_dir(name)?;
        Ok((dir.volume()? == self.volume()?).then_some(dir))
    }

    /// Opens a directory in this one whose status is at hand, also where a subvolume begins; `None`
    /// for a mount point.
    pub fn open_dir_of_mount(&self, name: &Name, status: &Status) -> Result<Option<Dir>> {
        let (own, device) = (self.volume()?, status.id().device);
        // ORDER: asked before it is opened, which would have an automounter mount something.
        if device != self.id()?.device && !volume_at(&self.fd, name, device)?.is_of_mount(&own) {
            return Ok(None);
        }
        let dir = self.open_dir(name)?;
        Ok(dir.volume()?.is_of_mount(&own).then_some(dir))
    }

    /// Opens a regular file for reading, without touching its access time where that is allowed.
    ///
    /// LIVE: something else may have taken the name; not blocking keeps a FIFO from stalling us,
    /// and the caller checks the type of what was opened.
    pub fn open_file(&self, name: &Name) -> Result<OwnedFd> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        match call!(fs::openat(
            &self.fd,
            name.as_bytes(),
            flags | OFlags::NOATIME,
            Mode::empty(),
        )) {
            Err(Errno::PERM) => call!(fs::openat(&self.fd, name.as_bytes(), flags, Mode::empty())),
            result => result,
        }
        .doing("open")
    }

    /// Looks at this directory itself.
    pub fn status(&self) -> Result<Status> {
        status_of_fd(&self.fd)
    }

    /// Looks at a name in this directory.
    pub fn status_of(&self, name: &Name) -> Result<Status> {
        status_at(&self.fd, name)
    }

    /// Reads the text of a symbolic link.
    pub fn link_text(&self, name: &Name) -> Result<Vec<u8>> {
        let text =
            call!(fs::readlinkat(&self.fd, name.as_bytes(), Vec::new())).doing("read link")?;
        Ok(text.into_bytes())
    }

    /// Makes a private directory (0700); its final attributes come when its contents are in.
    pub fn make_dir(&self, name: &Name) -> Result<()> {
        call!(fs::mkdirat(&self.fd, name.as_bytes(), Mode::RWXU)).doing("make directory")
    }

    /// Creates a file that must not exist yet, private (0600), for reading and writing.
    pub fn create_file(&self, name: &Name) -> Result<OwnedFd> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        call!(fs::openat(
            &self.fd,
            name.as_bytes(),
            flags,
            Mode::RUSR | Mode::WUSR
        ))
        .doing("create")
    }

    /// Opens an own private file for reading and writing.
    pub fn reopen_file(&self, name: &Name) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        call!(fs::openat(&self.fd, name.as_bytes(), flags, Mode::empty())).doing("open")
    }

    /// Makes a symbolic link, FIFO, socket or device with private permissions.
    pub fn make_special(&self, name: &Name, kind: &Kind) -> Result<()> {
        let node = |file_type, device: rustix::fs::Dev| {
            call!(fs::mknodat(
                &self.fd,
                name.as_bytes(),
                file_type,
                Mode::RUSR | Mode::WUSR,
                device,
            ))
            .doing("make node")
        };
        let number = |device: &DeviceNumber| makedev(device.major, device.minor);
        match kind {
            Kind::Symlink { text } => call!(fs::symlinkat(&text[..], &self.fd, name.as_bytes()))
                .doing("make symbolic link"),
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::Socket => node(FileType::Socket, 0),
            Kind::CharDevice(device) => node(FileType::CharacterDevice, number(device)),
            Kind::BlockDevice(device) => node(FileType::BlockDevice, number(device)),
            Kind::File { .. } | Kind::Directory => Err(Errno::INVAL).doing("make node"),
        }
    }

    /// Gives the object at `name` here a second name in `other`.
    pub fn link(&self, name: &Name, other: &Dir, other_name: &Name) -> Result<()> {
        call!(fs::linkat(
            &self.fd,
            name.as_bytes(),
            &other.fd,
            other_name.as_bytes(),
            AtFlags::empty(),
        ))
        .doing("link")
    }

    /// Moves `name` over `other_name` in `other`, replacing what is there at one moment.
    pub fn rename(&self, name: &Name, other: &Dir, other_name: &Name) -> Result<()> {
        call!(fs::renameat(
            &self.fd,
            name.as_bytes(),
            &other.fd,
            other_name.as_bytes()
        ))
        .doing("rename")
    }

    /// Moves `name` to `other_name` in `other`, where nothing may be (`EEXIST`).
    ///
    /// RACE: a file system that cannot refuse replacing is asked before instead.
    pub fn move_to_free(&self, name: &Name, other: &Dir, other_name: &Name) -> Result<()> {
        let moved = call!(fs::renameat_with(
            &self.fd,
            name.as_bytes(),
            &other.fd,
            other_name.as_bytes(),
            RenameFlags::NOREPLACE,
        ));
        match moved {
            Err(Errno::INVAL | Errno::NOSYS) => match other.status_of(other_name) {
                Ok(_) => Err(Errno::EXIST).doing("rename"),
                Err(error) if error.is_missing() => self.rename(name, other, other_name),
                Err(error) => Err(error),
            },
            result => result.doing("rename"),
        }
    }

    /// Swaps two objects of one volume at one moment; `false` where that cannot be done.
    pub fn swap(&self, name: &Name, other: &Dir, other_name: &Name) -> Result<bool> {
        let swapped = call!(fs::renameat_with(
            &self.fd,
            name.as_bytes(),
            &other.fd,
            other_name.as_bytes(),
            RenameFlags::EXCHANGE,
        ));
        match swapped {
            Err(Errno::INVAL | Errno::NOSYS | Errno::XDEV) => Ok(false),
            result => result.doing("exchange").map(|()| true),
        }
    }

    /// Swaps two objects at one moment; where the file system cannot, moves the old one aside
    /// first, so that the name is missing for that long.
    pub fn exchange(
        &self,
        name: &Name,
        other: &Dir,
        other_name: &Name,
        aside: &Name,
    ) -> Result<()> {
        if self.swap(name, other, other_name)? {
            return Ok(());
        }
        other.rename(other_name, self, aside)?;
        if let Err(error) = self.rename(name, other, other_name) {
            // The name must not stay missing; the first error is the one to report.
            drop(self.rename(aside, other, other_name));
            return Err(error);
        }
        self.rename(aside, self, name)
    }

    /// Removes a name that is no directory.
    pub fn remove_file(&self, name: &Name) -> Result<()> {
        call!(fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::empty())).doing("delete")
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, name: &Name) -> Result<()> {
        call!(fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::REMOVEDIR)).doing("delete directory")
    }

    /// Removes whatever `name` is, with everything below it, never leaving its file system.
    pub fn remove_tree(&self, name: &Name) -> Result<()> {
        let status = self.status_of(name)?;
        if !status.is_directory() {
            return self.remove_file(name);
        }
        let Some(dir) = self.open_dir_here(name, &status)? else {
            return Err(Errno::XDEV).doing("delete directory");
        };
        for child in dir.names()? {
            dir.remove_tree(&usable_name(&child)?)?;
        }
        self.remove_dir(name)
    }

    /// Writes everything this file system holds in memory to its disk.
    pub fn sync_file_system(&self) -> Result<()> {
        call!(fs::syncfs(&self.fd)).doing("sync")
    }

    /// Returns the path by which calls that know no handles reach a leaf of this directory.
    pub(super) fn path_to<'n>(&self, name: &'n Name) -> Cow<'n, [u8]> {
        stand::path_to(&self.fd, self.serial, name)
    }
}
