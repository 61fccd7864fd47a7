//! The files of one run on the source: its log and its directory, private to root, and no more
//! than some of the newest. Knows nothing of what is in them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::fs::Dir;
use crate::relpath::Name;
use crate::settings::RecordPlaces;

/// LIMIT: runs whose records are kept; older ones are removed.
const MAX_RUNS: usize = 20;
/// LIMIT: runs of one pair in one second that have names of their own.
const MAX_NAMESAKES: u32 = 100;
/// The time that begins the name of a run: `20261121T091519Z`.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// Where one run has its files.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    /// The name of the run: time and pair.
    pub(super) run: String,
    /// Its own directory.
    pub(super) directory: PathBuf,
    /// Its log.
    pub(super) log: PathBuf,
}

impl Shelf {
    /// Makes the places of a run, removes those of old ones, and opens the log.
    pub(super) fn make(
        places: &RecordPlaces,
        now: Timestamp,
        pair: &str,
    ) -> io::Result<(Shelf, File)> {
        let logs = make_private(&places.logs)?;
        let state = make_private(&places.state)?;
        let first = format!("{}-{pair}", now.strftime(TIME_FORMAT));
        for number in 1..=MAX_NAMESAKES {
            let run = match number {
                1 => first.clone(),
                number => format!("{first}-{number}"),
            };
            let directory = places.state.join(&run);
            match DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let log = places.logs.join(format!("{run}.log"));
            let file = open_new(&log)?;
            remove_old(&state, &logs);
            let shelf = Shelf {
                run,
                directory,
                log,
            };
            return Ok((shelf, file));
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Writes a value as JSON; readers see the old file or the new one.
    pub(super) fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        let temp = self.directory.join(format!(".{name}.new"));
        match fs::remove_file(&temp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open_new(&temp)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temp, self.directory.join(name))
    }
}

/// Makes a directory, and those above that are missing, for root alone, and opens it. Fails for one
/// of somebody else, and for a link of somebody else: in some systems not only root writes to
/// `/var/log`.
pub(super) fn make_private(directory: &Path) -> io::Result<Dir> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let link = fs::symlink_metadata(directory)?;
    let dir = Dir::open_root(directory).map_err(|error| error.errno)?;
    let status = dir.status().map_err(|error| error.errno)?;
    let own = rustix::process::geteuid().as_raw();
    let is_ours = [0, own].contains(&link.uid()) && status.is_ours(OPEN);
    match is_ours {
        true => Ok(dir),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// Bits in the mode of a directory that let others put something into it.
pub(super) const OPEN: u16 = 0o022;

/// Creates a file for root alone.
fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Removes the records of all but the newest runs; what is no record of a run stays.
pub(super) fn remove_old(state: &Dir, logs: &Dir) {
    for (dir, ending) in [(state, ""), (logs, ".log")] {
        for name in old(dir, ending) {
            // What cannot be removed now is tried again by the next run.
            drop(dir.remove_tree(&name));
        }
    }
}

/// Returns the records in a directory that are older than the newest ones.
fn old(dir: &Dir, ending: &str) -> Vec<Name> {
    let mut names: Vec<String> = dir
        .names()
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| String::from_utf8(name.into_vec()).ok())
        .filter(|name| name.strip_suffix(ending).is_some_and(is_run))
        .collect();
    // The names begin with the time.
    names.sort_unstable_by(|one, other| other.cmp(one));
    let rest = names.into_iter().skip(MAX_RUNS);
    rest.filter_map(|name| Name::new(name.as_bytes()).ok())
        .collect()
}

/// Tells whether a name is that of a run: a time, a hyphen, and the pair.
pub(super) fn is_run(name: &str) -> bool {
    let Some((time, pair)) = name.split_once('-') else {
        return false;
    };
    let is_time = time.len() == 16
        && time.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    is_time && !pair.is_empty() && !name.contains('.')
}

#[cfg(test)]
mod tests {
    use super::is_run;

    #[test]
    fn only_runs_are_taken_for_runs() {
        assert!(is_run("20261121T091519Z-0123456789abcdef"));
        assert!(is_run("20261121T091519Z-0123456789abcdef-2"));
        for name in [
            "originals",
            "20261121T091519Z",
            "20261121T091519Z-",
            "20261121T091519Z-a.log",
            "2026112XT091519Z-a",
            "20261121 091519Z-a",
            "",
        ] {
            assert!(!is_run(name), "{name}");
        }
    }
}
