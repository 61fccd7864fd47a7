//! A copy of the record for the target, so that the clone itself can tell how it came about. Knows
//! nothing of how it gets there.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::shelf::{self, Shelf};
use crate::settings::RecordPlaces;

/// LIMIT: bytes of the log; of a longer one the end is sent.
const MAX_LOG_LEN: usize = 1 << 20;

/// What the clone keeps of the run that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCopy {
    run: String,
    log: String,
    state: String,
}

impl RecordCopy {
    /// Reads what is on the source so far.
    pub(super) fn of(shelf: &Shelf) -> io::Result<RecordCopy> {
        let log = fs::read(&shelf.log)?;
        let from = log.len().saturating_sub(MAX_LOG_LEN);
        Ok(RecordCopy {
            run: shelf.run.clone(),
            log: String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned(),
            state: fs::read_to_string(shelf.directory.join("state.json"))?,
        })
    }

    /// Puts it where a run below `root` would have put its own.
    pub fn place(&self, root: &Path) -> io::Result<()> {
        if !shelf::is_run(&self.run) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let places = RecordPlaces {
            logs: root.join("var/log/instancesync"),
            state: root.join("var/lib/instancesync"),
            locks: root.join("run/instancesync"),
        };
        let directory = places.state.join(&self.run);
        for path in [&places.logs, &places.state, &directory] {
            shelf::make_private(path)?;
        }
        let log = places.logs.join(format!("{}.log", self.run));
        let texts = [
            (log, &self.log),
            (directory.join("state.json"), &self.state),
        ];
        for (path, text) in texts {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => shelf::open_new(&path)?.write_all(text.as_bytes())?,
            }
        }
        shelf::remove_old(&places);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::RecordCopy;

    #[test]
    fn a_copy_lies_where_a_run_of_the_clone_would_put_its_own() {
        let root = tempfile::tempdir().unwrap();
        let copy = RecordCopy {
            run: "20261121T091519Z-0123456789abcdef".to_owned(),
            log: "what happened\n".to_owned(),
            state: "{}\n".to_owned(),
        };
        for _ in 0..2 {
            copy.place(root.path()).unwrap();
        }
        let log = format!("var/log/instancesync/{}.log", copy.run);
        let text = fs::read_to_string(root.path().join(log)).unwrap();
        assert_eq!(text, "what happened\n");
        let state = format!("var/lib/instancesync/{}/state.json", copy.run);
        assert!(root.path().join(state).exists());
        let outside = RecordCopy {
            run: "../../etc".to_owned(),
            ..copy
        };
        outside.place(root.path()).unwrap_err();
    }
}
