//! What only the target has, removed after everything has landed: never what a rule protects,
//! never on another file system, never more than the limit. The candidates wait in a file, so
//! that memory does not grow with them. Knows nothing of the source.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use super::itemize::DELETING;
use super::place::Place;
use super::target::{TargetPass, TargetTree, count};
use crate::fs::metadata::change_mtime;
use crate::fs::stage::Temp;
use crate::fs::xattrs::Object;
use crate::fs::{FsError, Result};
use crate::problem::{Problem, ProblemKind, Side};
use crate::relpath::{MAX_PATH_LEN, Name, RelPath};

/// Candidates for deletion.
#[derive(Debug)]
pub struct Extras {
    /// In the stage, `None` in a dry run, which reports at once.
    spool: Option<(Temp, BufWriter<File>)>,
    limit: Limit,
}

/// How many may go.
#[derive(Debug)]
struct Limit {
    left: u64,
    refused: u64,
}

fn io_error(operation: &str, error: &std::io::Error) -> FsError {
    let errno = rustix::io::Errno::from_io_error(error).unwrap_or(rustix::io::Errno::IO);
    FsError {
        operation: operation.to_owned(),
        errno,
    }
}

impl Extras {
    /// Starts empty.
    pub fn new(tree: &TargetTree, limit: u64) -> Result<Extras> {
        let spool = match (&tree.stages, &tree.root) {
            (Some(stages), Some(root)) => {
                let (temp, file) = stages
                    .for_directory(root, root, &RelPath::root())?
                    .create_file()?;
                Some((temp, BufWriter::new(File::from(file))))
            }
            _ => None,
        };
        Ok(Extras {
            spool,
            limit: Limit {
                left: limit,
                refused: 0,
            },
        })
    }

    /// Takes a candidate.
    pub fn add(&mut self, pass: &TargetPass<'_>, directory: &RelPath, name: &Name) -> Result<()> {
        match &mut self.spool {
            None => {
                let Some(dir) = pass.open(directory)? else {
                    return Ok(());
                };
                self.limit.remove(
                    pass,
                    Place {
                        dir: &dir,
                        path: directory,
                    },
                    name,
                )
            }
            Some((_, spool)) => write_part(spool, directory.as_bytes())
                .and_then(|()| write_part(spool, name.as_bytes()))
                .map_err(|error| io_error("note what is to be deleted", &error)),
        }
    }

    /// Removes all candidates.
    pub fn remove_all(mut self, pass: &TargetPass<'_>) -> Result<()> {
        if let Some((temp, spool)) = self.spool.take() {
            let mut file = spool
                .into_inner()
                .map_err(|error| io_error("note what is to be deleted", error.error()))?;
            file.rewind()
                .map_err(|error| io_error("read what is to be deleted", &error))?;
            let mut reader = BufReader::new(file);
            while let Some((directory, name)) = read_candidate(&mut reader)? {
                if let Err(error) = self.remove_one(pass, &directory, &name) {
                    pass.failed(&directory.join(&name), &error);
                }
            }
            temp.discard();
        }
        self.report_refused(pass);
        Ok(())
    }

    fn remove_one(
        &mut self,
        pass: &TargetPass<'_>,
        directory: &RelPath,
        name: &Name,
    ) -> Result<()> {
        let Some(dir) = pass.open(directory)? else {
            return Ok(());
        };
        let before = dir.status()?;
        self.limit.remove(
            pass,
            Place {
                dir: &dir,
                path: directory,
            },
            name,
        )?;
        // The directory has its final time stamp already.
        change_mtime(Object::open(&dir), before.mtime())
    }

    fn report_refused(&self, pass: &TargetPass<'_>) {
        if self.limit.refused > 0 {
            pass.problem(Problem {
                side: Side::Target,
                kind: ProblemKind::DeleteLimit,
                path: Vec::new(),
                operation: "delete".to_owned(),
                cause: format!(
                    "{} more entries than --max-delete allows were kept",
                    self.limit.refused
                ),
            });
        }
    }
}

impl Limit {
    fn remove(&mut self, pass: &TargetPass<'_>, place: Place<'_>, name: &Name) -> Result<()> {
        let status = match place.dir.status_of(name) {
            Err(error) if error.is_missing() => return Ok(()),
            status => status?,
        };
        let path = place.path.join(name);
        if status.is_directory() {
            if status.id().device != place.dir.status()?.id().device {
                return Ok(());
            }
            let dir = place.dir.open_dir(name)?;
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
        if self.left == 0 {
            self.refused += 1;
            return Ok(());
        }
        if !pass.is_dry_run() {
            if status.is_directory() {
                place.dir.remove_dir(name)?
            } else {
                place.dir.remove_file(name)?
            }
        }
        self.left -= 1;
        count(&pass.counts.deleted);
        pass.item_columns(DELETING.to_owned(), &path);
        Ok(())
    }

    /// Removes what is in a directory; tells whether nothing stays in it.
    fn remove_contents(&mut self, pass: &TargetPass<'_>, place: Place<'_>) -> Result<bool> {
        let mut scope = pass.tree.rules.below(place.path);
        let mut all_gone = true;
        for name in place.dir.names()? {
            let name = Name::new(&name).map_err(|_| crate::fs::dir::unusable_name())?;
            let status = place.dir.status_of(&name)?;
            if scope
                .decide(&name, status.is_directory())
                .verdict
                .protects()
            {
                all_gone = false;
                continue;
            }
            let refused = self.refused;
            self.remove(pass, place, &name)?;
            let stays = self.refused > refused
                || (!pass.is_dry_run() && place.dir.status_of(&name).is_ok());
            all_gone &= !stays;
        }
        Ok(all_gone)
    }
}

fn write_part(spool: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    spool.write_all(&length.to_le_bytes())?;
    spool.write_all(bytes)
}

fn read_candidate(reader: &mut impl Read) -> Result<Option<(RelPath, Name)>> {
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
    let mut next = || read_part().map_err(|error| io_error(operation, &error));
    let (Some(directory), Some(name)) = (next()?, next()?) else {
        return Ok(None);
    };
    let bad = |_| crate::fs::dir::unusable_name();
    Ok(Some((
        RelPath::new(&directory).map_err(bad)?,
        Name::new(&name).map_err(bad)?,
    )))
}

impl TargetPass<'_> {
    /// Removes what only the target has, where this pass does so.
    pub fn prune(&mut self) {
        let Some(extras) = self.extras.take() else {
            return;
        };
        let extras = extras
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Err(error) = extras.remove_all(self) {
            self.failed(&RelPath::root(), &error);
        }
    }
}
