//! The proof that what the target keeps is in the stage. Changes nothing. Knows nothing of how it
//! came there.

use super::place::is_current;
use super::{Carry, Reason, Work, is_private};
use crate::entry::{Kind, Timestamp};
use crate::fs::extents::read_at;
use crate::fs::{Dir, Result, Staged, Status};
use crate::relpath::{Name, RelPath};

/// Compared at a time, in bytes.
const CHUNK: usize = 256 * 1024;

/// Returns what the target keeps and the stage does not have, or has otherwise. What changed on
/// the target after `since` is not looked at: it is carried again before the switch.
pub fn astray(staged: &Staged, what: &Carry<'_>, since: Timestamp) -> Vec<RelPath> {
    let mut proof = Proof {
        work: Work::new(staged, what),
        since: (since.seconds, since.nanoseconds),
        astray: Vec::new(),
    };
    for (path, reason) in proof.work.wanted() {
        if reason != Reason::Around && !proof.work.is_left_alone(&path) {
            proof.path(&path, reason);
        }
    }
    proof.astray
}

struct Proof<'a> {
    work: Work<'a>,
    since: (i64, u32),
    astray: Vec<RelPath>,
}

impl Proof<'_> {
    fn path(&mut self, path: &RelPath, reason: Reason) {
        let Some((parent, name)) = path.split() else {
            return;
        };
        let Ok(live) = self.work.staged.live().open_beneath(&parent) else {
            return;
        };
        // What lies on a volume without a stage stays there.
        let is_home = self.work.is_home(&live, &parent).unwrap_or(false);
        let stage = self.work.staged.stage().open_beneath(&parent).ok();
        if is_home {
            self.name(&live, stage.as_ref(), (path, &name), reason);
        }
    }

    fn name(
        &mut self,
        live: &Dir,
        stage: Option<&Dir>,
        (path, name): (&RelPath, &Name),
        reason: Reason,
    ) {
        let Ok(status) = live.status_of(name) else {
            return;
        };
        if self.work.is_edited(path) || is_private(self.work.staged, path) {
            return;
        }
        let found = stage.and_then(|stage| Some((stage, stage.status_of(name).ok()?)));
        if status.is_directory() {
            // Else another volume is mounted there, or it vanished.
            let Ok(Some(inner)) = live.open_dir_of_mount(name, &status) else {
                return;
            };
            let made = found.and_then(|(stage, _)| stage.open_dir(name).ok());
            if made.is_none() && !self.is_newer(live, &status) {
                return self.astray.push(path.clone());
            }
            for child in inner.names().unwrap_or_default() {
                if let Ok(child) = Name::new(&child) {
                    self.name(&inner, made.as_ref(), (&path.join(&child), &child), reason);
                }
            }
            return;
        }
        let is_there = found.is_some_and(|(stage, found)| {
            found.id() == status.id()
                || is_current(&found, &status, self.work.owner(&status, reason))
                || has_same_contents(live, stage, name).unwrap_or(false)
        });
        if !is_there && !self.is_newer(live, &status) {
            self.astray.push(path.clone());
        }
    }

    /// Tells whether something got its name in `live`, or its contents, only since then. The time of
    /// the last change of any kind says too little: that its name in the stage is gone is one, too.
    fn is_newer(&self, live: &Dir, status: &Status) -> bool {
        let is_since = |time: Timestamp| (time.seconds, time.nanoseconds) > self.since;
        let is_named_since = live.status().is_ok_and(|live| is_since(live.mtime()));
        is_since(status.ctime()) && (is_named_since || is_since(status.mtime()))
    }
}

fn has_same_contents(live: &Dir, stage: &Dir, name: &Name) -> Result<bool> {
    let kinds = (live.status_of(name)?.kind(), stage.status_of(name)?.kind());
    match kinds {
        (None, None) => return Ok(live.link_text(name)? == stage.link_text(name)?),
        (Some(Kind::File { size }), Some(Kind::File { size: other })) if size == other => {}
        // A pipe or device that is the same has nothing in it.
        (one, other) => return Ok(one == other && !matches!(one, Some(Kind::File { .. }))),
    }
    let files = (live.open_file(name)?, stage.open_file(name)?);
    let mut chunks = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    loop {
        let count = read_at(&files.0, &mut chunks.0, offset)?;
        let other = read_at(&files.1, &mut chunks.1, offset)?;
        if chunks.0.get(..count) != chunks.1.get(..other) {
            return Ok(false);
        }
        if count < CHUNK {
            return Ok(true);
        }
        offset += count as u64;
    }
}
