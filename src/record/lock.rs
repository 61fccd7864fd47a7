//! The lock against a second run of the same pair on the source. It falls with the process,
//! however that ends. Knows nothing of what a run does.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::exit::ExitCode;
use crate::failure::Failure;

/// LIMIT: bytes that are read of what the holder has written: a number and a time.
const MAX_NOTE_LEN: u64 = 200;

/// The lock of a pair; dropping it lets go.
#[derive(Debug)]
pub(super) struct RunLock {
    // The file stays where it is: a removed one could be locked beside a new one.
    _file: File,
}

impl RunLock {
    /// Takes the lock, or refuses the run with who holds it. The inner error says why there can be
    /// no lock at all.
    pub(super) fn take(
        directory: &Path,
        pair: &str,
        target: &str,
    ) -> Result<io::Result<RunLock>, Failure> {
        let mut file = match open(directory, pair) {
            Ok(file) => file,
            Err(cause) => return Ok(Err(cause)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(cause)) => return Ok(Err(cause)),
            Err(TryLockError::WouldBlock) => return Err(refusal(&mut file, target)),
        }
        let note = format!("{} {:.0}\n", std::process::id(), jiff::Timestamp::now());
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(note.as_bytes()));
        Ok(noted.map(|()| RunLock { _file: file }))
    }
}

fn open(directory: &Path, pair: &str) -> io::Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(format!("{pair}.lock")))
}

fn refusal(file: &mut File, target: &str) -> Failure {
    let mut note = String::new();
    // RACE: the holder may be about to write it; then the refusal says less.
    let read = file.take(MAX_NOTE_LEN).read_to_string(&mut note);
    let holder = match (read, note.trim().split_once(' ')) {
        (Ok(_), Some((pid, start))) => format!("process {pid}, since {start}"),
        _ => "a process that has just started".to_owned(),
    };
    let what = format!("source: another run onto {target} is going on: {holder}");
    Failure::new(ExitCode::Refused, what)
        .hint("wait until it has ended, or stop it: the next run goes on where it was")
}
