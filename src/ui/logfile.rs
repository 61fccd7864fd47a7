//! The log file: appended to, readable by its owner only, shared by lines and trace.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::screen::{Screen, Stream};
use crate::failure::Failure;
use crate::settings::Detail;

/// The open file. Cheap to clone; each write appends whole lines.
#[derive(Clone)]
pub struct LogFile(Arc<Mutex<File>>);

/// Opens the log file; a new one is made with mode 0600, as it names every file.
pub fn open(path: &Path) -> Result<LogFile, Failure> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(|file| LogFile(Arc::new(Mutex::new(file))))
        .map_err(|cause| Failure::usage(format!("--log-file {}", path.display())).because(&cause))
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// LIMIT: bytes that are held for a log that is not open yet: what comes before a record begins
/// is some ten lines.
const MAX_HELD_BYTES: usize = 64 << 10;

/// A log that is opened later, or never: until then it holds a little in memory.
#[derive(Clone, Default)]
pub struct LaterLog(Arc<Mutex<Later>>);

enum Later {
    Held(Vec<u8>),
    Open(File),
}

impl Default for Later {
    fn default() -> Later {
        Later::Held(Vec::new())
    }
}

impl LaterLog {
    /// Writes what was held into the file, and everything from now on.
    pub fn open(&self, mut file: File) {
        let mut later = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Later::Held(held) = &*later {
            // A full disk must not end the run.
            file.write_all(held).ok();
        }
        *later = Later::Open(file);
    }
}

impl Write for LaterLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Later::Open(file) => return file.write(bytes),
            Later::Held(held) if held.len() + bytes.len() <= MAX_HELD_BYTES => {
                held.extend_from_slice(bytes);
            }
            Later::Held(_) => {}
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends the program's own trace to the log file, and to the screen if so much is wanted.
/// Only this crate's: what the libraries trace may hold secrets.
pub fn start_trace(detail: Detail, screen: &Screen, log: Option<LogFile>) {
    let screen = (detail >= Detail::Trace).then(|| screen.clone());
    if screen.is_none() && log.is_none() {
        return;
    }
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(TraceWriter { screen, log });
    tracing_subscriber::registry()
        .with(Targets::new().with_target(env!("CARGO_PKG_NAME"), tracing::Level::DEBUG))
        .with(layer)
        .try_init()
        .ok(); // One that is set already, by a test, serves as well.
}

#[derive(Clone)]
struct TraceWriter {
    screen: Option<Screen>,
    log: Option<LogFile>,
}

impl Write for TraceWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(screen) = &self.screen {
            screen.write(Stream::Stderr, &String::from_utf8_lossy(bytes));
        }
        if let Some(log) = &mut self.log {
            log.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for TraceWriter {
    type Writer = TraceWriter;

    fn make_writer(&self) -> TraceWriter {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{LaterLog, MAX_HELD_BYTES};

    #[test]
    fn what_was_told_before_it_was_opened_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let log = LaterLog::default();
        let mut writer = log.clone();
        writer.write_all(b"early\n").unwrap();
        writer.write_all(&vec![b'x'; MAX_HELD_BYTES]).unwrap();
        log.open(std::fs::File::create(&path).unwrap());
        writer.write_all(b"late\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"early\nlate\n");
    }
}
