//! Copies of what a clean-up changes, and the record that undo reads.
//!
//! One directory for each clean-up below `/var/lib/instancesync/cleanup`, private, with the
//! files as they were (owner, mode, times and extended attributes too) below `files/` and
//! `record.json`. All of it is on disk before the first change. Knows nothing of packages but
//! their names.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::profile::Generation;
use super::tree::{State, Tree, open_or_make, place_state, read_state};
use crate::entry::Metadata;
use crate::fs::owned::{OwnedFile, read_owned, replace_owned};
use crate::fs::{Dir, FsError, Result};
use crate::relpath::{Name, RelPath};

/// Where the copies of all clean-ups lie, from the root.
pub const COPIES: &str = "/var/lib/instancesync/cleanup";
const RECORD: &[u8] = b"record.json";
const FILES: &[u8] = b"files";
/// LIMIT: how long somebody else may hold the lock; starting a program takes milliseconds.
const LOCKING: Duration = Duration::from_secs(1);
/// Of the record; another number is another program's.
const FORMAT: u32 = 1;

/// What a file was, or is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Print {
    /// Nothing.
    Absent,
    /// A file with this BLAKE3 of its contents.
    File(String),
    /// A link with this text.
    Link(String),
}

impl Print {
    /// Returns the print of a state.
    pub fn of(state: &State) -> Print {
        match state {
            State::Absent => Print::Absent,
            State::File { contents, .. } => {
                Print::File(blake3::hash(contents).to_hex().to_string())
            }
            State::Link { text, .. } => Print::Link(String::from_utf8_lossy(text).into_owned()),
        }
    }
}

/// One file of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeptFile {
    /// Its path from the root, without any link in it.
    pub path: String,
    /// What was there; the copy has it.
    pub before: Print,
    /// What the clean-up put there.
    pub after: Print,
}

/// What one clean-up did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    format: u32,
    /// When it began, as it names the directory: `20261121T091519Z`.
    pub time: String,
    /// The release of Amazon Linux.
    pub generation: Option<Generation>,
    /// The files, sorted by path.
    pub files: Vec<KeptFile>,
    /// The packages that went.
    pub packages: Vec<String>,
    /// Whether it was undone.
    pub is_undone: bool,
    /// Whether nothing of it failed after the record was made; records of before did not say.
    #[serde(default = "yes")]
    pub is_finished: bool,
}

fn yes() -> bool {
    true
}

impl Record {
    /// Begins a record.
    pub fn new(time: String, generation: Option<Generation>) -> Record {
        Record {
            format: FORMAT,
            time,
            generation,
            files: Vec::new(),
            packages: Vec::new(),
            is_undone: false,
            is_finished: false,
        }
    }
}

/// The directory of one clean-up.
#[derive(Debug)]
pub struct Copies {
    dir: Dir,
    /// Its path from the root.
    pub path: String,
}

impl Copies {
    /// Makes the directory of a clean-up that begins now, and locks all of them against a second
    /// one for as long as the second value lives.
    pub fn create(tree: &Tree) -> Result<(Copies, Dir, String)> {
        let all = lock(tree)?;
        let now = jiff::Timestamp::now()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let mut time = now.clone();
        let mut number = 1;
        loop {
            let name = name(time.as_bytes())?;
            match all.make_dir(&name) {
                Ok(()) => {
                    let copies = Copies {
                        dir: all.open_dir(&name)?,
                        path: format!("{COPIES}/{time}"),
                    };
                    return Ok((copies, all, time));
                }
                Err(error) if error.errno == rustix::io::Errno::EXIST => {
                    number += 1;
                    time = format!("{now}-{number}");
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the newest clean-up that was not undone.
    pub fn newest(tree: &Tree) -> Result<Option<(Copies, Record)>> {
        let Some(all) = tree.directory(COPIES)? else {
            return Ok(None);
        };
        let mut names = all.names()?;
        names.sort();
        for bytes in names.into_iter().rev() {
            let Ok(text) = std::str::from_utf8(&bytes) else {
                continue;
            };
            let dir = match all.open_dir(&name(&bytes)?) {
                Err(error) if error.is_not_directory() => continue,
                result => result?,
            };
            let copies = Copies {
                dir,
                path: format!("{COPIES}/{text}"),
            };
            match copies.record()? {
                Some(record) if !record.is_undone => return Ok(Some((copies, record))),
                // Undone, or cut before its first change.
                Some(_) | None => {}
            }
        }
        Ok(None)
    }

    /// Keeps what is at a path.
    pub fn keep(&self, path: &str, state: &State) -> Result<()> {
        if matches!(state, State::Absent) {
            return Ok(());
        }
        let mut dir = open_or_make(&self.dir, &name(FILES)?)?;
        let (parents, leaf) = split(path)?;
        for part in parents.parts() {
            dir = open_or_make(&dir, &name(part)?)?;
        }
        place_state(&dir, &leaf, state)
    }

    /// Removes the copies of a clean-up that has changed nothing.
    pub fn discard(self, all: &Dir) -> Result<()> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        all.remove_tree(&crate::fs::usable_name(name.as_bytes())?)
    }

    /// Returns what was kept of a path.
    pub fn kept(&self, path: &str) -> Result<State> {
        let (parents, leaf) = split(path)?;
        let files = self.dir.open_dir(&name(FILES)?)?;
        read_state(&files.open_beneath(&parents)?, &leaf)
    }

    /// Writes the record, and everything to the disk.
    pub fn write(&self, record: &Record) -> Result<()> {
        let contents = serde_json::to_vec_pretty(record).map_err(|_| FsError {
            operation: "write the record as JSON".to_owned(),
            errno: rustix::io::Errno::INVAL,
        })?;
        let file = OwnedFile {
            contents,
            metadata: Metadata {
                mode: 0o600,
                ..Metadata::default()
            },
        };
        replace_owned(&self.dir, &name(RECORD)?, &file)?;
        self.dir.sync_file_system()
    }

    fn record(&self) -> Result<Option<Record>> {
        let Some(file) = read_owned(&self.dir, &name(RECORD)?)? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Record>(&file.contents) {
            Ok(record) if record.format == FORMAT => Ok(Some(record)),
            _ => Err(FsError {
                operation: format!("read {}/record.json as a record of this program", self.path),
                errno: rustix::io::Errno::INVAL,
            }),
        }
    }
}

/// Locks all clean-ups of a root, making their directory if need be.
///
/// RACE: a program that is being started has the handle of its parent, until it runs.
pub fn lock(tree: &Tree) -> Result<Dir> {
    let all = tree.private_directory(COPIES)?;
    let until = Instant::now() + LOCKING;
    loop {
        match all.lock() {
            Ok(()) => return Ok(all),
            Err(error) if error.is_locked() && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => {
                return Err(FsError {
                    operation: "lock the copies against a second clean-up".to_owned(),
                    ..error
                });
            }
        }
    }
}

fn name(bytes: &[u8]) -> Result<Name> {
    crate::fs::usable_name(bytes)
}

fn split(path: &str) -> Result<(RelPath, Name)> {
    RelPath::new(path.trim_start_matches('/').as_bytes())
        .ok()
        .and_then(|path| path.split())
        .ok_or_else(FsError::unusable_name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Copies, KeptFile, Print, Record};
    use crate::cleanup::tree::{Last, Tree};

    #[test]
    fn what_was_kept_comes_back_with_its_attributes() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("etc/x y.conf");
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, b"a\xff\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4640)).unwrap();
        let tree = Tree::open(place.path()).unwrap();
        assert!(Copies::newest(&tree).unwrap().is_none());
        let path = "/etc/x y.conf";
        let spot = tree.locate(path, Last::Itself).unwrap().unwrap();
        let state = spot.state().unwrap();
        let (copies, lock, time) = Copies::create(&tree).unwrap();
        copies.keep(path, &state).unwrap();
        assert!(Copies::create(&tree).is_err(), "locked");
        assert!(Copies::newest(&tree).unwrap().is_none(), "no record yet");
        let mut record = Record::new(time, None);
        record.files.push(KeptFile {
            path: path.to_owned(),
            before: Print::of(&state),
            after: Print::Absent,
        });
        copies.write(&record).unwrap();
        drop(lock);
        let (second, _lock, time) = Copies::create(&tree).unwrap();
        assert!(time > record.time, "{time}");
        let (found, read) = Copies::newest(&tree).unwrap().unwrap();
        assert_eq!(read, record);
        std::fs::remove_file(&file).unwrap();
        spot.place(&found.kept(path).unwrap()).unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o4640);
        assert_eq!(std::fs::read(&file).unwrap(), b"a\xff\n");
        record.is_undone = true;
        copies.write(&record).unwrap();
        assert!(Copies::newest(&tree).unwrap().is_none());
        drop(second);
    }
}
