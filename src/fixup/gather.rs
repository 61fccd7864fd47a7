//! Reads what the mergers have to see of one machine. Nothing is written, no link is followed.
//! Knows nothing of which machine it is.

use serde::{Deserialize, Serialize};

use super::glob::fits;
use super::{File, Object, Objects};
use crate::fs::owned::read_owned;
use crate::fs::{Dir, FsError, Result};
use crate::merger::Merger;
use crate::problem::{Problem, ProblemKind, Side};
use crate::relpath::{Name, RelPath};

/// LIMIT: what one machine hands over, in bytes of contents. A debconf database has about 1 MiB.
const MAX_BYTES: usize = 32 << 20;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// Files and links.
    pub objects: Objects,
    /// What is there and could not be read: the merger must not decide on the rest of its files.
    pub problems: Vec<Problem>,
}

/// Reads what `mergers` have to see below `root`.
pub fn gather(root: &Dir, side: Side, mergers: &[Merger]) -> Gathered {
    let mut reader = Reader {
        side,
        bytes: 0,
        gathered: Gathered::default(),
    };
    for merger in mergers {
        for pattern in merger.wanted() {
            let parts: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'/').collect();
            reader.below(root, &RelPath::root(), &parts);
        }
    }
    reader.gathered
}

struct Reader {
    side: Side,
    bytes: usize,
    gathered: Gathered,
}

impl Reader {
    /// Reads what fits `parts` in `dir`, which lies at `path`.
    fn below(&mut self, dir: &Dir, path: &RelPath, parts: &[&[u8]]) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        let names = match part.iter().any(|byte| matches!(byte, b'*' | b'?')) {
            true => dir.names(),
            false => Ok(vec![(*part).into()]),
        };
        let names = match names {
            Ok(names) => names,
            Err(error) => return self.fail(path, &error),
        };
        for name in names.iter().filter(|name| fits(part, name)) {
            let Ok(name) = Name::new(name) else { continue };
            let path = path.join(&name);
            let read = match rest.is_empty() {
                true => self.take(dir, &name, &path),
                false => dir
                    .open_dir(&name)
                    .map(|inner| self.below(&inner, &path, rest)),
            };
            match read {
                Ok(()) => {}
                // A link or file where a directory would be: nothing of ours is below it.
                Err(error) if error.is_gone() => {}
                Err(error) => self.fail(&path, &error),
            }
        }
    }

    fn take(&mut self, dir: &Dir, name: &Name, path: &RelPath) -> Result<()> {
        let status = dir.status_of(name)?;
        let object = if status.is_file() {
            let Some(file) = read_owned(dir, name)? else {
                return Ok(());
            };
            Object::File(File {
                contents: file.contents,
                mode: file.metadata.mode,
                uid: file.metadata.uid,
                gid: file.metadata.gid,
            })
        } else if status.kind().is_none() {
            Object::Link(dir.link_text(name)?)
        } else {
            return Ok(());
        };
        self.bytes += object.file().map_or(0, |file| file.contents.len());
        if self.bytes > MAX_BYTES {
            return Err(FsError {
                operation: "read".to_owned(),
                errno: rustix::io::Errno::FBIG,
            });
        }
        self.gathered.objects.insert(path.clone(), object);
        Ok(())
    }

    fn fail(&mut self, path: &RelPath, error: &FsError) {
        self.gathered.problems.push(problem(self.side, path, error));
    }
}

/// Makes a problem of a failed call.
pub(super) fn problem(side: Side, path: &RelPath, error: &FsError) -> Problem {
    let kind = match error.is_no_space() {
        true => ProblemKind::NoSpace,
        false => ProblemKind::Failed,
    };
    Problem {
        side,
        kind,
        path: path.as_bytes().to_vec(),
        operation: error.operation.clone(),
        cause: error.cause(),
    }
}
