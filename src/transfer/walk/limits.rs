//! What one entry may carry on its way to the other side. Knows nothing of the walk.

use crate::entry::Metadata;
use crate::fs::FsError;
use crate::relpath::{MAX_PATH_LEN, Name, RelPath};

/// LIMIT: bytes of xattrs that one entry may carry, so that a full listing fits in a frame.
const MAX_ENTRY_XATTR_LEN: usize = 1 << 20;

/// Refuses what the other side would: somebody on the source may go as deep as they like.
pub(super) fn check_length(directory: &RelPath, name: &Name) -> Result<(), FsError> {
    if directory.as_bytes().len() + 1 + name.as_bytes().len() <= MAX_PATH_LEN {
        return Ok(());
    }
    Err(FsError {
        operation: "send a path of more than 64 KiB".to_owned(),
        errno: rustix::io::Errno::NAMETOOLONG,
    })
}

/// Refuses what would not fit in a frame.
pub(super) fn check_xattrs(metadata: &Metadata) -> Result<(), FsError> {
    if metadata.xattr_bytes() <= MAX_ENTRY_XATTR_LEN {
        return Ok(());
    }
    Err(FsError {
        operation: "send more than 1 MiB of xattrs".to_owned(),
        errno: rustix::io::Errno::TOOBIG,
    })
}
