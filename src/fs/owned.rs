//! Small files of an account that are edited as a whole (`authorized_keys`): read, and replaced
//! at one moment with owner, mode and attributes kept. Knows nothing of their contents.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::metadata::{Before, apply_metadata, read_metadata};
use super::xattrs::Object;
use super::{Dir, Doing, Result, extents, sync_file, usable_name};
use crate::entry::Metadata;
use crate::relpath::Name;

/// LIMIT: far above any real file of this kind, in bytes.
const MAX_OWNED_LEN: u64 = 16 << 20;
/// Until it has the attributes of the one whose place it takes.
const PRIVATE: u16 = 0o600;

/// What the names begin with that files have before they get their own; the process ends them.
const TEMPORARY: &str = ".instancesync-";

/// Returns the name that a file has before it gets its own.
pub fn temporary_name() -> Result<Name> {
    usable_name(format!("{TEMPORARY}{}", std::process::id()).as_bytes())
}

/// Tells whether a name is such a one, of any process: a killed one has left it.
pub fn is_temporary(name: &[u8]) -> bool {
    let number = name.strip_prefix(TEMPORARY.as_bytes());
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// A file as it was read.
#[derive(Debug)]
pub struct OwnedFile {
    /// What is in it.
    pub contents: Vec<u8>,
    /// Its attributes.
    pub metadata: Metadata,
}

/// Reads a small file; `None` when it is not there. A link in its place is not followed.
pub fn read_owned(dir: &Dir, name: &Name) -> Result<Option<OwnedFile>> {
    let file = match dir.open_file(name) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error),
    };
    let status = super::status_of_fd(&file)?;
    if !status.is_file() || status.size() > MAX_OWNED_LEN {
        return Err(Errno::INVAL).doing("read");
    }
    let mut contents = vec![0u8; status.size() as usize];
    let count = extents::read_at(&file, &mut contents, 0)?;
    contents.truncate(count);
    Ok(Some(OwnedFile {
        contents,
        metadata: read_metadata(Object::open(&file), &status)?,
    }))
}

/// Puts `file` under `name`, on disk before it is visible.
pub fn replace_owned(dir: &Dir, name: &Name, file: &OwnedFile) -> Result<()> {
    let temp_name = temporary_name()?;
    match dir.remove_file(&temp_name) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    // ORDER: a file without a name vanishes unless it gets one: not even a power cut leaves
    // anything of it.
    let written = match dir.create_unnamed(PRIVATE)? {
        Some(temp) => fill(&temp, file).and_then(|()| dir.name_file(&temp, &temp_name)),
        None => dir
            .create_file(&temp_name)
            .and_then(|temp| fill(&temp, file)),
    };
    let landed = written.and_then(|()| dir.rename(&temp_name, dir, name));
    if landed.is_err() {
        // The first error is the one to report.
        drop(dir.remove_file(&temp_name));
    }
    landed
}

/// Writes fewer contents over those of a file: what is left to do on a disk without room for
/// another file.
pub fn shorten_owned(dir: &Dir, name: &Name, shorter: &OwnedFile) -> Result<()> {
    let contents = &shorter.contents;
    let file = dir.reopen_file(name)?;
    let status = super::status_of_fd(&file)?;
    // Under another name it belongs to somebody else.
    if !status.is_file() || status.link_count() > 1 || status.size() < contents.len() as u64 {
        return Err(Errno::INVAL).doing("shorten");
    }
    extents::write_at(&file, contents, 0)?;
    extents::set_size(&file, contents.len() as u64)?;
    let refused = apply_metadata(
        Object::open(&file),
        false,
        &shorter.metadata,
        Before::Unknown,
    );
    if let Some(error) = refused.into_iter().next() {
        return Err(error);
    }
    sync_file(&file)
}

fn fill(temp: &OwnedFd, file: &OwnedFile) -> Result<()> {
    extents::write_at(temp, &file.contents, 0)?;
    let refused = apply_metadata(Object::open(temp), false, &file.metadata, Before::Fresh);
    if let Some(error) = refused.into_iter().next() {
        return Err(error);
    }
    sync_file(temp)
}
