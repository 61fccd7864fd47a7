//! The newest clean-up taken back: every file becomes what the copy says it was.
//!
//! A file that changed since is somebody's work and stays, and so does sshd's configuration
//! where it would come to ask a program that is gone; `--force` restores both. Packages are not
//! brought back. Knows nothing of profiles.

use serde::{Deserialize, Serialize};

use super::keep_copy::{Copies, KeptFile, Print, Record};
use super::sshd;
use super::tree::{Last, State, Tree};
use crate::fs::{FsError, Result};

/// A file that is not restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its path.
    pub path: String,
    /// Why.
    pub because: String,
}

/// What undo would do.
pub struct UndoPlan {
    copies: Copies,
    record: Record,
    /// What is to be where.
    pub restore: Vec<(String, State)>,
    /// What is not restored.
    pub left: Vec<Left>,
}

impl UndoPlan {
    /// Looks at the newest clean-up that was not undone; `None` where there is none.
    pub fn make(tree: &Tree, is_forced: bool) -> Result<Option<UndoPlan>> {
        let Some((copies, record)) = Copies::newest(tree)? else {
            return Ok(None);
        };
        let mut plan = UndoPlan {
            copies,
            record,
            restore: Vec::new(),
            left: Vec::new(),
        };
        for file in plan.record.files.clone() {
            plan.consider(tree, &file, is_forced)?;
        }
        Ok(Some(plan))
    }

    /// Returns when the clean-up was.
    pub fn time(&self) -> &str {
        &self.record.time
    }

    /// Returns where the copies lie, from the root.
    pub fn copies(&self) -> &str {
        &self.copies.path
    }

    /// Returns the packages that do not come back.
    pub fn packages(&self) -> &[String] {
        &self.record.packages
    }

    fn consider(&mut self, tree: &Tree, file: &KeptFile, is_forced: bool) -> Result<()> {
        let mut leave = |because: String| {
            self.left.push(Left {
                path: file.path.clone(),
                because,
            });
        };
        let present = match tree.locate(&file.path, Last::Itself)? {
            Some(spot) if spot.is_replaceable()? => Print::of(&spot.state()?),
            Some(_) => {
                leave("a directory has its name now".to_owned());
                return Ok(());
            }
            None => {
                leave("its directory is gone".to_owned());
                return Ok(());
            }
        };
        if present == file.before {
            return Ok(());
        }
        // What a package took along later is as the clean-up left it: not somebody's work.
        let is_ours = present == file.after || present == Print::Absent;
        if !is_ours && !is_forced {
            leave("it was changed since".to_owned());
            return Ok(());
        }
        let state = match file.before {
            Print::Absent => State::Absent,
            Print::File(_) | Print::Link(_) => self.copies.kept(&file.path)?,
        };
        if Print::of(&state) != file.before {
            leave("its copy is damaged".to_owned());
            return Ok(());
        }
        if let Some(program) = missing_program(tree, &file.path, &state)
            && !is_forced
        {
            leave(format!("sshd would ask {program}, which is gone"));
            return Ok(());
        }
        self.restore.push((file.path.clone(), state));
        Ok(())
    }

    /// Restores the files. Returns what was restored and adds to what is left.
    pub fn apply(&mut self, tree: &Tree) -> Result<Vec<String>> {
        let mut restored = Vec::new();
        for (path, state) in std::mem::take(&mut self.restore) {
            let placed = match tree.locate(&path, Last::Itself) {
                Ok(Some(spot)) => spot.place(&state),
                Ok(None) => Err(FsError::missing("restore")),
                Err(error) => Err(error),
            };
            match placed {
                Ok(()) => restored.push(path),
                Err(error) => {
                    let because = format!("{error}: {}", error.cause());
                    self.left.push(Left { path, because });
                }
            }
        }
        // What is left can still be restored, by force.
        self.record.is_undone = self.left.is_empty();
        self.copies.write(&self.record)?;
        Ok(restored)
    }
}

/// Returns a program that the file would have sshd ask and that is not there.
fn missing_program(tree: &Tree, path: &str, state: &State) -> Option<String> {
    let State::File { contents, .. } = state else {
        return None;
    };
    if !sshd::is_of_sshd(path) {
        return None;
    }
    let programs = sshd::keys_commands(&String::from_utf8_lossy(contents));
    programs.into_iter().find(|program| !tree.has_file(program))
}
