//! What only the target has, removed after everything has landed: never what a rule protects,
//! never on another file system, never more than the limit, never anything but what was seen. The
//! candidates wait in a file, so that memory does not grow with them. Knows nothing of the source.

use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::itemize::DELETING;
use super::place::Place;
use super::target::{TargetPass, count};
use crate::entry::Timestamp;
use crate::fs::extents::{read_at, write_at};
use crate::fs::metadata::change_mtime;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, usable_name};
use crate::problem::{Problem, ProblemKind, Side};
use crate::relpath::{MAX_PATH_LEN, Name, RelPath};

/// LIMIT: bytes of candidates that are kept in memory; more go to a file in the stage.
const MEMORY_LEN: usize = 4 << 20;

/// A name that only the target has.
#[derive(Debug)]
pub struct Extra {
    /// The name.
    pub name: Name,
    /// What was seen under it. LIVE: with another inode it is none by the time it would go: a
    /// program has put it there, or it has just landed on a file system that takes two spellings
    /// for one name.
    pub inode: u64,
}

/// Candidates for deletion.
#[derive(Debug)]
pub struct Extras {
    waiting: Vec<u8>,
    /// How long `waiting` may become.
    spills_at: usize,
    spool: Option<Spool>,
    /// Entries that stay because no more may go.
    refused: u64,
}

/// Candidates in a file, from its beginning.
#[derive(Debug)]
struct Spool {
    file: OwnedFd,
    len: u64,
}

/// A directory out of which candidates are removed. It has its final time stamp already.
struct Parent {
    dir: Dir,
    path: RelPath,
    mtime: Timestamp,
}

impl Parent {
    fn open(pass: &TargetPass<'_>, path: &RelPath) -> Result<Option<Parent>> {
        let Some(dir) = pass.open(path)? else {
            return Ok(None);
        };
        let mtime = dir.status()?.mtime();
        Ok(Some(Parent {
            dir,
            path: path.clone(),
            mtime,
        }))
    }

    fn place(&self) -> Place<'_> {
        Place {
            dir: &self.dir,
            path: &self.path,
        }
    }

    /// Gives it back its time stamp.
    fn leave(self, pass: &TargetPass<'_>) {
        if let Err(error) = change_mtime(Object::open(&self.dir), self.mtime) {
            pass.failed(&self.path, &error);
        }
    }
}

/// Reads a spool.
struct SpoolReader<'a> {
    spool: &'a Spool,
    at: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // Behind its length may be what is left of a write that failed.
        let left = self.spool.len - self.at;
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        let count = read_at(&self.spool.file, buffer, self.at).map_err(|error| error.errno)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// How many entries of the target a transfer may still remove, in all its passes and workers.
#[derive(Debug)]
pub struct Allowance(AtomicU64);

impl Allowance {
    /// Allows `limit` of them.
    pub fn new(limit: u64) -> Allowance {
        Allowance(AtomicU64::new(limit))
    }

    /// Takes the right to remove `count` entries; false where fewer are left.
    pub fn take(&self, count: u64) -> bool {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(count)
            });
        taken.is_ok()
    }

    /// Gives back the right to what stayed after all.
    pub fn give_back(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

impl Extras {
    /// Returns none so far.
    pub fn empty() -> Extras {
        Extras {
            waiting: Vec::new(),
            spills_at: MEMORY_LEN,
            spool: None,
            refused: 0,
        }
    }

    /// Takes a candidate. A dry run reports it at once.
    pub fn add(&mut self, pass: &TargetPass<'_>, place: Place<'_>, extra: &Extra) -> Result<()> {
        if pass.is_dry_run() {
            return self.remove(pass, place, &extra.name, Some(extra.inode));
        }
        push_part(&mut self.waiting, place.path.as_bytes());
        push_part(&mut self.waiting, extra.name.as_bytes());
        self.waiting.extend_from_slice(&extra.inode.to_le_bytes());
        if self.waiting.len() > self.spills_at {
            self.spill(pass, place)
        } else {
            Ok(())
        }
    }

    fn spill(&mut self, pass: &TargetPass<'_>, place: Place<'_>) -> Result<()> {
        // What cannot be written stays in memory; a full disk is not asked again for each name.
        self.spills_at = self.waiting.len() + MEMORY_LEN;
        if self.spool.is_none() {
            let file = pass.stage(place)?.create_file(0o600)?.into_file();
            self.spool = Some(Spool { file, len: 0 });
        }
        if let Some(spool) = &mut self.spool {
            write_at(&spool.file, &self.waiting, spool.len).map_err(|error| FsError {
                operation: "note what is to be deleted".to_owned(),
                ..error
            })?;
            spool.len += self.waiting.len() as u64;
            self.waiting.clear();
            self.spills_at = MEMORY_LEN;
        }
        Ok(())
    }

    /// Removes all candidates.
    pub fn remove_all(mut self, pass: &TargetPass<'_>) -> Result<()> {
        if let Some(spool) = self.spool.take() {
            let reader = SpoolReader {
                spool: &spool,
                at: 0,
            };
            self.remove_listed(pass, &mut BufReader::new(reader))?;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.remove_listed(pass, &mut &waiting[..])?;
        self.report_refused(pass);
        Ok(())
    }

    fn remove_listed(&mut self, pass: &TargetPass<'_>, listed: &mut impl Read) -> Result<()> {
        let mut open = None;
        let removed = self.remove_in_turn(pass, listed, &mut open);
        if let Some(left) = open {
            left.leave(pass);
        }
        removed
    }

    /// Removes one after the other. Those of one directory follow each other, so it stays open.
    fn remove_in_turn(
        &mut self,
        pass: &TargetPass<'_>,
        listed: &mut impl Read,
        open: &mut Option<Parent>,
    ) -> Result<()> {
        while let Some((directory, extra)) = read_candidate(listed)? {
            let name = &extra.name;
            if open.as_ref().is_none_or(|parent| parent.path != directory) {
                if let Some(left) = open.take() {
                    left.leave(pass);
                }
                match Parent::open(pass, &directory) {
                    Ok(opened) => *open = opened,
                    Err(error) => pass.failed(&directory.join(name), &error),
                }
            }
            let Some(parent) = open else { continue };
            let seen = Some(extra.inode);
            if let Err(error) = self.remove(pass, parent.place(), name, seen) {
                pass.failed(&directory.join(name), &error);
            }
        }
        Ok(())
    }

    fn report_refused(&self, pass: &TargetPass<'_>) {
        if self.refused > 0 {
            pass.problem(Problem {
                side: Side::Target,
                kind: ProblemKind::DeleteLimit,
                path: Vec::new(),
                operation: "delete".to_owned(),
                cause: format!(
                    "{} more entries than --max-delete allows were kept",
                    self.refused
                ),
            });
        }
    }

    /// Removes a name with everything below it, where it is still the inode `seen`. What is below an
    /// extra goes whatever it is: it has no other place.
    fn remove(
        &mut self,
        pass: &TargetPass<'_>,
        place: Place<'_>,
        name: &Name,
        seen: Option<u64>,
    ) -> Result<()> {
        let status = match place.dir.status_of(name) {
            Err(error) if error.is_missing() => return Ok(()),
            status => status?,
        };
        let path = place.path.join(name);
        let inode = status.id().inode;
        if seen.is_some_and(|seen| seen != inode) && !pass.has_left(&path, inode) {
            return Ok(());
        }
        if status.is_directory() {
            let Some(dir) = place.dir.open_dir_here(name, &status)? else {
                return Ok(());
            };
            if !self.remove_contents(
                pass,
                Place {
                    dir: &dir,
                    path: &path,
                },
            )? {
                return Ok(());
            }
        }
        let allowance = &pass.tree.allowance;
        if !allowance.take(1) {
            self.refused += 1;
            return Ok(());
        }
        let removed = match status.is_directory() {
            _ if pass.is_dry_run() => Ok(()),
            true => place.dir.remove_dir(name),
            false => place.dir.remove_file(name),
        };
        if let Err(error) = removed {
            allowance.give_back(1);
            return Err(error);
        }
        count(&pass.counts.deleted);
        pass.item_columns(DELETING.to_owned(), &path);
        Ok(())
    }

    /// Removes what is in a directory; tells whether nothing stays in it.
    fn remove_contents(&mut self, pass: &TargetPass<'_>, place: Place<'_>) -> Result<bool> {
        let mut scope = pass.tree.rules.below(place.path);
        let mut all_gone = true;
        for name in place.dir.names()? {
            let name = usable_name(&name)?;
            let status = match place.dir.status_of(&name) {
                Err(error) if error.is_missing() => continue,
                status => status?,
            };
            if scope
                .decide(&name, status.is_directory())
                .verdict
                .protects()
            {
                all_gone = false;
                continue;
            }
            let refused = self.refused;
            if let Err(error) = self.remove(pass, place, &name, None) {
                pass.failed(&place.path.join(&name), &error);
            }
            let stays = self.refused > refused
                || (!pass.is_dry_run() && place.dir.status_of(&name).is_ok());
            all_gone &= !stays;
        }
        Ok(all_gone)
    }
}

fn push_part(list: &mut Vec<u8>, bytes: &[u8]) {
    // A path is at most MAX_PATH_LEN long.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    list.extend_from_slice(&length.to_le_bytes());
    list.extend_from_slice(bytes);
}

fn read_candidate(reader: &mut impl Read) -> Result<Option<(RelPath, Extra)>> {
    let operation = "read what is to be deleted";
    let mut read_part = || -> std::io::Result<Option<Vec<u8>>> {
        let mut length = [0u8; 4];
        match reader.read_exact(&mut length) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        }
        let length = (u32::from_le_bytes(length) as usize).min(MAX_PATH_LEN);
        let mut bytes = vec![0u8; length];
        reader.read_exact(&mut bytes)?;
        Ok(Some(bytes))
    };
    let failed = |error| FsError::from_io(operation, &error);
    let mut next = || read_part().map_err(failed);
    let (Some(directory), Some(name)) = (next()?, next()?) else {
        return Ok(None);
    };
    let mut inode = [0u8; 8];
    reader.read_exact(&mut inode).map_err(failed)?;
    let directory = RelPath::new(&directory).map_err(|_| FsError::missing(operation))?;
    let extra = Extra {
        name: usable_name(&name)?,
        inode: u64::from_le_bytes(inode),
    };
    Ok(Some((directory, extra)))
}

impl TargetPass<'_> {
    /// Removes what only the target has, where this pass does so.
    pub fn prune(&self, extras: Option<Mutex<Extras>>) {
        let Some(extras) = extras else {
            return;
        };
        let extras = extras.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = extras.remove_all(self) {
            self.failed(&RelPath::root(), &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Allowance;

    #[test]
    fn allows_no_more_than_the_limit_whoever_takes() {
        let allowance = Allowance::new(1000);
        let taken = std::thread::scope(|scope| {
            let taker = || (0..1000).filter(|_| allowance.take(1)).count();
            let takers = [scope.spawn(taker), scope.spawn(taker)];
            takers
                .map(|taker| taker.join().unwrap())
                .iter()
                .sum::<usize>()
        });
        assert_eq!(taken, 1000);
        allowance.give_back(3);
        assert!(!allowance.take(4));
        assert!(allowance.take(3));
    }
}
