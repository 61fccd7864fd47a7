//! Entries: what a directory holds, as the walk saw it and as the wire carries it.
//!
//! Ids are numeric always; names of users never cross the wire. No I/O here.

use serde::{Deserialize, Serialize};

use crate::relpath::Name;

/// A moment as file systems store it: signed seconds and nanoseconds since 1970.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, 0 to 999 999 999.
    pub nanoseconds: u32,
}

/// One extended attribute. ACLs (`system.posix_acl_access`), capabilities and labels are just names here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// The full name with its name space, without the closing NUL.
    pub name: Vec<u8>,
    /// The raw value.
    pub value: Vec<u8>,
}

/// Everything about an entry apart from its kind and contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission, set-uid, set-gid and sticky bits (07777).
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
}

impl Metadata {
    /// Returns how many bytes the extended attributes have, names included.
    pub fn xattr_bytes(&self) -> usize {
        let lengths = self
            .xattrs
            .iter()
            .map(|xattr| xattr.name.len() + xattr.value.len());
        lengths.sum()
    }
}

/// A device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// What an entry is, with what belongs to the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file of so many bytes.
    File {
        /// Length in bytes when it was listed.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link; the text is copied verbatim and never followed.
    Symlink {
        /// The text of the link.
        text: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A socket's name; only its program can bring it to life again.
    Socket,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
}

impl Kind {
    /// Returns the length of a regular file, else 0.
    pub fn size(&self) -> u64 {
        match self {
            Kind::File { size } => *size,
            Kind::Directory
            | Kind::Symlink { .. }
            | Kind::Fifo
            | Kind::Socket
            | Kind::CharDevice(_)
            | Kind::BlockDevice(_) => 0,
        }
    }

    /// Tells whether both are of one type, whatever their details.
    pub fn same_type(&self, other: &Kind) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The source's device and inode, renumbered: equal for the names of one hard-linked file,
/// within one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkId(pub u64);

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name there.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// Its attributes.
    pub metadata: Metadata,
    /// Which names share its inode; `None` for the only name.
    pub link: Option<LinkId>,
}
