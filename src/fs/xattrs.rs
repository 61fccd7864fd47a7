//! Extended attributes: listed, read and set as raw bytes. ACLs, capabilities and labels are
//! names like any other. Knows nothing of who wants them copied.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::gate::call;
use super::{Dir, Doing, FsError, Result};
use crate::entry::Xattr;
use crate::relpath::Name;

/// LIMIT: the kernel's XATTR_SIZE_MAX and XATTR_LIST_MAX, in bytes.
pub const MAX_XATTR_LEN: usize = 64 * 1024;

/// How an object's attributes are reached: by its own descriptor, or by its name in a directory
/// (symbolic links, devices: opening those would follow or wake them).
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A leaf that is not followed.
    Leaf(&'a Dir, &'a Name),
}

impl Object<'_> {
    /// Reads all extended attributes, sorted by name. One system call where there are none.
    pub fn read_xattrs(&self) -> Result<Vec<Xattr>> {
        let names = match self.list() {
            Ok(names) => names,
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno).doing("list xattrs"),
        };
        let mut xattrs = Vec::new();
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| is_copied(name))
        {
            match self.get(name) {
                Ok(value) => xattrs.push(Xattr {
                    name: name.to_vec(),
                    value,
                }),
                // Gone between the two calls, or a name that is listed without having a value.
                Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(errno) => return Err(xattr_error("read", name, errno)),
            }
        }
        xattrs.sort();
        Ok(xattrs)
    }

    fn list(&self) -> rustix::io::Result<Vec<u8>> {
        let mut small = [0u8; 256];
        match self.list_into(&mut small) {
            Ok(length) => return Ok(small[..length].to_vec()),
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
        let mut names = vec![0u8; MAX_XATTR_LEN];
        let length = self.list_into(&mut names)?;
        names.truncate(length);
        Ok(names)
    }

    fn list_into(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Object::Open(fd) => call!(fs::flistxattr(fd, buffer)),
            Object::Leaf(dir, name) => call!(fs::llistxattr(&*dir.path_to(name), buffer)),
        }
    }

    fn get(&self, name: &[u8]) -> rustix::io::Result<Vec<u8>> {
        let mut small = [0u8; 256];
        match self.get_into(name, &mut small) {
            Ok(length) => return Ok(small[..length].to_vec()),
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
        let mut value = vec![0u8; MAX_XATTR_LEN];
        let length = self.get_into(name, &mut value)?;
        value.truncate(length);
        Ok(value)
    }

    fn get_into(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Object::Open(fd) => call!(fs::fgetxattr(fd, name, buffer)),
            Object::Leaf(dir, leaf) => call!(fs::lgetxattr(&*dir.path_to(leaf), name, buffer)),
        }
    }

    /// Sets one attribute.
    pub fn set_xattr(&self, xattr: &Xattr) -> Result<()> {
        match self {
            Object::Open(fd) => {
                call!(fs::fsetxattr(
                    fd,
                    &xattr.name[..],
                    &xattr.value,
                    XattrFlags::empty()
                ))
            }
            Object::Leaf(dir, leaf) => call!(fs::lsetxattr(
                &*dir.path_to(leaf),
                &xattr.name[..],
                &xattr.value,
                XattrFlags::empty(),
            )),
        }
        .map_err(|errno| xattr_error("set", &xattr.name, errno))
    }

    /// Removes one attribute; one that is not there is fine.
    pub fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        let removed = match self {
            Object::Open(fd) => call!(fs::fremovexattr(fd, name)),
            Object::Leaf(dir, leaf) => call!(fs::lremovexattr(&*dir.path_to(leaf), name)),
        };
        match removed {
            Ok(()) | Err(Errno::NODATA) => Ok(()),
            Err(errno) => Err(xattr_error("remove", name, errno)),
        }
    }
}

impl<'a> Object<'a> {
    /// Reaches an open file or directory.
    pub fn open(fd: &'a impl AsFd) -> Object<'a> {
        Object::Open(fd.as_fd())
    }
}

/// Attributes of the name space `system` belong to one kind of file system (NFSv4, NTFS), apart
/// from ACLs.
fn is_copied(name: &[u8]) -> bool {
    !name.is_empty() && (!name.starts_with(b"system.") || name.starts_with(b"system.posix_acl_"))
}

fn xattr_error(verb: &str, name: &[u8], errno: Errno) -> FsError {
    FsError {
        operation: format!("{verb} xattr {}", String::from_utf8_lossy(name)),
        errno,
    }
}
