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

/// A file that is restored.
pub struct Restore {
    /// Its path.
    pub path: String,
    /// What is there now, by the plan.
    present: Print,
    state: State,
}

/// What came of an undo besides what is left.
#[derive(Default)]
pub struct Undone {
    /// The paths that are restored.
    pub restored: Vec<String>,
    /// What else failed.
    pub problems: Vec<String>,
}

/// What undo would do.
pub struct UndoPlan {
    copies: Copies,
    record: Record,
    /// What is to be where.
    pub restore: Vec<Restore>,
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
            // What cannot be looked at does not keep the others from being restored.
            if let Err(error) = plan.consider(tree, &file, is_forced) {
                plan.leave(&file.path, &error);
            }
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

    fn leave(&mut self, path: &str, error: &FsError) {
        self.left.push(Left {
            path: path.to_owned(),
            because: format!("{error}: {}", error.cause()),
        });
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
            // Its directory went with a package, and is made again where something comes back.
            None => Print::Absent,
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
            Print::File(_) | Print::Link(_) => match self.copies.kept(&file.path) {
                Err(error) if error.is_gone() => State::Absent,
                state => state?,
            },
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
        self.restore.push(Restore {
            path: file.path.clone(),
            present,
            state,
        });
        Ok(())
    }

    /// Restores the files. Adds to what is left.
    pub fn apply(&mut self, tree: &Tree) -> Undone {
        let mut done = Undone::default();
        for file in std::mem::take(&mut self.restore) {
            match restore(tree, &file) {
                Ok(()) => done.restored.push(file.path),
                Err(error) => self.leave(&file.path, &error),
            }
        }
        for file in &self.record.files {
            if let Ok(Some(spot)) = tree.locate(&file.path, Last::Itself) {
                spot.sweep();
            }
        }
        // What is left can still be restored, by force.
        self.record.is_undone = self.left.is_empty();
        // ORDER: the copies may be on another disk; they do not say "undone" before it is so.
        let noted = tree.sync().and_then(|()| self.copies.write(&self.record));
        if let Err(error) = noted {
            let cause = error.cause();
            let path = &self.copies.path;
            let problem = format!("{path}: the undo could not be noted: {error}: {cause}");
            done.problems.push(problem);
        }
        done
    }
}

fn restore(tree: &Tree, file: &Restore) -> Result<()> {
    make_way(tree, &file.path)?;
    let spot = tree
        .locate(&file.path, Last::Itself)?
        .ok_or_else(|| FsError::missing("restore"))?;
    // RACE: between this look and the rename another writer loses.
    if Print::of(&spot.state()?) != file.present {
        return Err(FsError {
            operation: "restore a file that somebody else changes".to_owned(),
            errno: rustix::io::Errno::BUSY,
        });
    }
    spot.place(&file.state)
}

/// Makes the directories on the way to a file that are missing.
fn make_way(tree: &Tree, path: &str) -> Result<()> {
    for (end, _) in path.match_indices('/').skip(1) {
        let directory = path.get(..end).unwrap_or_default();
        let spot = tree.locate(directory, Last::Followed)?;
        let spot = spot.ok_or_else(|| FsError::missing("make the way"))?;
        spot.make_directory()?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::UndoPlan;
    use crate::cleanup::keep_copy::{Copies, KeptFile, Print, Record};
    use crate::cleanup::tree::{Last, State, Tree};

    #[test]
    fn what_lay_in_a_directory_that_has_gone_comes_back_and_the_undo_ends() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("etc/repos/own/a.repo");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "[a]\n").unwrap();
        let tree = Tree::open(place.path()).unwrap();
        let removed = "/etc/repos/own/a.repo";
        let state = tree.locate(removed, Last::Itself).unwrap().unwrap();
        let state = state.state().unwrap();
        let (copies, lock, time) = Copies::create(&tree).unwrap();
        copies.keep(removed, &state).unwrap();
        let mut record = Record::new(time, None);
        for (path, before) in [(removed, &state), ("/etc/cloud/made.cfg", &State::Absent)] {
            record.files.push(KeptFile {
                path: path.to_owned(),
                before: Print::of(before),
                after: Print::Absent,
            });
        }
        copies.write(&record).unwrap();
        drop(lock);
        std::fs::remove_dir_all(place.path().join("etc")).unwrap();
        let mut plan = UndoPlan::make(&tree, false).unwrap().unwrap();
        let undone = plan.apply(&tree);
        assert_eq!(
            (undone.restored, plan.left),
            (vec![removed.to_owned()], vec![])
        );
        assert_eq!(std::fs::read(&file).unwrap(), b"[a]\n");
        let made = file.parent().unwrap().metadata().unwrap();
        assert_eq!(made.permissions().mode() & 0o7777, 0o755);
        assert!(!place.path().join("etc/cloud").exists());
        assert!(UndoPlan::make(&tree, false).unwrap().is_none());
    }
}
