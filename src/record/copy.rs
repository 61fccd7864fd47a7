//! A copy of the record for the target, so that the clone itself can tell how it came about. Knows
//! nothing of how it gets there.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::shelf::{self, Shelf};
use crate::entry::Metadata;
use crate::fs::owned::{OwnedFile, replace_owned};
use crate::fs::{Dir, FsError, Result, Tree, usable_name};

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

    /// Puts it where a run of the system below `root` would have put its own. Links on the way are
    /// the clone's: they lead where they would lead inside, and never out of it.
    pub fn place(&self, root: &Path) -> io::Result<()> {
        if !shelf::is_run(&self.run) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.put(root).map_err(|error| error.errno.into())
    }

    fn put(&self, root: &Path) -> Result<()> {
        let tree = Tree::from(Dir::open_root(root)?);
        let (logs, state) = (own_place(&tree, "/var/log")?, own_place(&tree, "/var/lib")?);
        let run = open_or_make(&state, self.run.as_bytes())?;
        let log = format!("{}.log", self.run);
        replace_private(&logs, log.as_bytes(), &self.log)?;
        replace_private(&run, b"state.json", &self.state)?;
        shelf::remove_old(&state, &logs);
        Ok(())
    }
}

/// Opens the directory `instancesync` in another, making it where it is missing.
fn own_place(tree: &Tree, parent: &str) -> Result<Dir> {
    let (parent, _) = tree.resolve(parent.as_bytes())?;
    open_or_make(&tree.open_beneath(&parent)?, b"instancesync")
}

fn open_or_make(parent: &Dir, name: &[u8]) -> Result<Dir> {
    let name = usable_name(name)?;
    match parent.make_dir(&name) {
        Err(error) if error.errno != Errno::EXIST => return Err(error),
        _ => {}
    }
    let dir = parent.open_dir(&name)?;
    match dir.status()?.is_ours(shelf::OPEN) {
        true => Ok(dir),
        false => Err(FsError {
            operation: "keep the record in a directory of somebody else".to_owned(),
            errno: Errno::PERM,
        }),
    }
}

fn replace_private(dir: &Dir, name: &[u8], text: &str) -> Result<()> {
    let own = dir.status()?;
    let file = OwnedFile {
        contents: text.as_bytes().to_vec(),
        metadata: Metadata {
            mode: 0o600,
            uid: own.uid(),
            gid: own.gid(),
            mtime: own.mtime(),
            ..Metadata::default()
        },
    };
    replace_owned(dir, &usable_name(name)?, &file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::RecordCopy;

    #[test]
    fn links_of_the_clone_lead_inside() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let inside = |path: &std::path::Path| at(path.strip_prefix("/").unwrap().to_str().unwrap());
        fs::create_dir_all(at("var/lib")).unwrap();
        symlink(outside.path(), at("var/log")).unwrap();
        let copy = RecordCopy {
            run: "20261121T091519Z-0123456789abcdef".to_owned(),
            log: "what happened\n".to_owned(),
            state: "{}\n".to_owned(),
        };
        copy.place(root.path()).unwrap_err();
        let real = inside(outside.path());
        fs::create_dir_all(&real).unwrap();
        copy.place(root.path()).unwrap();
        assert!(real.join("instancesync").exists());
        symlink(outside.path(), at("var/lib/other")).unwrap();
        fs::rename(at("var/lib/instancesync"), at("var/lib/aside")).unwrap();
        fs::rename(at("var/lib/other"), at("var/lib/instancesync")).unwrap();
        copy.place(root.path()).unwrap_err();
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_copy_lies_where_a_run_of_the_clone_would_put_its_own() {
        let root = tempfile::tempdir().unwrap();
        for parent in ["var/log", "var/lib"] {
            fs::create_dir_all(root.path().join(parent)).unwrap();
        }
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
