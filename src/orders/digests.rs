//! Digests of single files, for a comparison of two machines. Knows nothing of what is compared.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::entry::Timestamp;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::extents::read_at;
use crate::fs::{Dir, FsError, Result, status_of_fd};
use crate::relpath::RelPath;

/// LIMIT: files of one order; the answer is one message.
const MAX_FILES: usize = 1000;
/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Which files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DigestOrder {
    /// The root directory.
    pub root: PathBuf,
    /// Files below it.
    pub paths: Vec<RelPath>,
}

/// What a file is by its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digested {
    /// When they changed last.
    pub mtime: Timestamp,
    /// Their BLAKE3 hash.
    pub digest: [u8; 32],
}

/// Reads the files in their order; `None` for one that is not there.
pub(super) fn perform(order: &DigestOrder) -> std::result::Result<Vec<Option<Digested>>, Failure> {
    if order.paths.len() > MAX_FILES {
        return Err(Failure::new(
            ExitCode::Failed,
            "target: too many files to look at",
        ));
    }
    let root = Dir::open_root(&order.root)
        .map_err(|error| Failure::new(ExitCode::Failed, "target: its root").because(&error))?;
    let digests = order.paths.iter().map(|path| digest_of(&root, path).ok());
    Ok(digests.collect())
}

/// Reads one file.
pub fn digest_of(root: &Dir, path: &RelPath) -> Result<Digested> {
    let (parent, name) = path.split().ok_or_else(FsError::unusable_name)?;
    let file = root.open_beneath(&parent)?.open_file(&name)?;
    let status = status_of_fd(&file)?;
    if !status.is_file() {
        return Err(FsError::unusable_name());
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let count = read_at(&file, &mut buffer, offset)?;
        let read = buffer.get(..count).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        hasher.update(read);
        offset += count as u64;
    }
    Ok(Digested {
        mtime: status.mtime(),
        digest: *hasher.finalize().as_bytes(),
    })
}
