//! Fix-ups of a whole-system clone: files that are neither the source's nor the target's but made
//! of both, by one merger each.
//!
//! The mergers are pure: versions of files and facts in, edits out. An edit says what shall stand
//! at a path; `apply` makes it so. Merging again what came out changes nothing. Knows nothing of
//! rules, passes and wire.

mod accounts;
mod agents;
mod apply;
mod authorized_keys;
mod block;
mod carry;
mod debconf;
mod fstab;
mod gather;
mod glob;
mod hostname;
mod kept;
mod merger;
mod modules;
mod names;
mod network_units;
mod note;
mod owners;
mod selinux;
mod sshd;
mod staged;
mod task;
mod units;
mod versions;

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::merger::Merger;
use crate::problem::Side;
use crate::relpath::RelPath;

pub use apply::{Applied, Originals, Outcome, apply};
pub use carry::{Carry, CarryStats, Occasion, astray, carry};
pub use gather::{Gathered, gather};
pub use hostname::NewName;
pub use kept::{KeptRoom, linked_directories, room as kept_room};
pub use note::CloneNote;
pub use owners::{OwnerMap, Owners, change_owners, owners_of};
pub use task::{Done, Report, Task};
pub use versions::{File, Object, Objects, Versions};

/// What the mergers know besides the versions of the files.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The source.
    pub source: &'a Facts,
    /// The target as it was before the clone.
    pub target: &'a Facts,
    /// Who owns what the target keeps; see [`owners_of`].
    pub kept: &'a Owners,
    /// The pair of source and target whose key on the target stays for the way back after the
    /// reboot. Lines of all other runs go; with `None`, all.
    pub returning_pair: Option<&'a str>,
    /// The clone's name, where it is not the target's.
    pub new_name: Option<&'a str>,
    /// Tells whether an absolute path is there in the clone: in the stage or among what the
    /// target keeps. Asked for programs, units and keys that configuration names.
    pub present: &'a dyn Fn(&[u8]) -> bool,
}

/// What shall stand at a path of the clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// This file.
    Write(File),
    /// A symbolic link with this text.
    Link(Vec<u8>),
    /// Nothing.
    Remove,
}

/// How much a person should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Info,
    /// Look at it.
    Warning,
}

/// One edit. Applying it where it holds already changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Who made it.
    pub merger: Merger,
    /// Where, below the root of the clone.
    pub path: RelPath,
    /// What shall stand there.
    pub change: Change,
    /// How much a person should care.
    pub level: Level,
    /// Why, as a fragment: "the source's lines added to the target's".
    pub reason: String,
}

/// Something about a path that a person should know: a line that was left out, say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who says it.
    pub merger: Merger,
    /// What it is about, below the root of the clone.
    pub path: RelPath,
    /// How much a person should care.
    pub level: Level,
    /// What happened, as a fragment. Text of files is quoted, with anything that is not UTF-8
    /// replaced; passwords and keys are never in it.
    pub text: String,
}

/// What the mergers decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// What shall stand where. ORDER: as the mergers were asked, the accounts last.
    pub edits: Vec<Edit>,
    /// Numbers that mean another account in the clone than on the target: what the target keeps
    /// has to change its owners with [`change_owners`].
    pub owners: OwnerMap,
    /// What else is to be told.
    pub notes: Vec<Note>,
}

/// Merges. Each merger is asked once, the accounts last: with them the old way in ends.
///
/// A path at which both machines have already what shall be there gets no edit.
pub fn merge(mergers: &[Merger], versions: &Versions, situation: &Situation<'_>) -> Merged {
    let mut mergers = mergers.to_vec();
    mergers.sort_by_key(|merger| (*merger == Merger::Accounts, *merger));
    mergers.dedup();
    let mut merged = Merged::default();
    for merger in mergers {
        let mut case = Case {
            merger,
            versions,
            situation,
            merged: &mut merged,
        };
        merger.merge(&mut case);
    }
    merged
}

/// One merger at work: what it reads, and where it puts its decisions.
struct Case<'a> {
    merger: Merger,
    versions: &'a Versions,
    situation: &'a Situation<'a>,
    merged: &'a mut Merged,
}

impl<'a> Case<'a> {
    fn source(&self, path: &RelPath) -> Option<&'a Object> {
        self.versions.source.get(path)
    }

    fn target(&self, path: &RelPath) -> Option<&'a Object> {
        self.versions.target.get(path)
    }

    fn source_file(&self, path: &RelPath) -> Option<&'a File> {
        self.source(path).and_then(Object::file)
    }

    fn target_file(&self, path: &RelPath) -> Option<&'a File> {
        self.target(path).and_then(Object::file)
    }

    /// Returns every path that one of the machines has, sorted.
    fn paths(&self) -> std::collections::BTreeSet<&'a RelPath> {
        let sides = [&self.versions.source, &self.versions.target];
        sides.into_iter().flat_map(|side| side.keys()).collect()
    }

    fn present(&self, path: &[u8]) -> bool {
        (self.situation.present)(path)
    }

    /// Decides what shall stand at `path`.
    fn propose(&mut self, path: &RelPath, change: Change, level: Level, reason: &str) {
        // Which of the two stands there before the edit is the rules' business.
        let holds = |object: Option<&Object>| change == Object::as_change(object);
        if holds(self.source(path)) && holds(self.target(path)) {
            return;
        }
        self.merged.edits.push(Edit {
            merger: self.merger,
            path: path.clone(),
            change,
            level,
            reason: reason.to_owned(),
        });
    }

    /// Decides for the version of the target, whatever that is.
    fn propose_target(&mut self, path: &RelPath, level: Level, reason: &str) {
        let change = Object::as_change(self.target(path));
        self.propose(path, change, level, reason);
    }

    /// Tells whether a link stands there on a machine.
    fn is_link(&self, side: Side, path: &RelPath) -> bool {
        let object = match side {
            Side::Source => self.source(path),
            Side::Target => self.target(path),
        };
        object.is_some_and(|object| object.link().is_some())
    }

    /// Where a link stands for the file on one of these machines, decides for the target's version and
    /// says so. What the link leads to is somebody else's, and may lie outside the clone.
    fn leaves_link(&mut self, path: &RelPath, sides: &[Side]) -> bool {
        let is_link = sides.iter().any(|side| self.is_link(*side, path));
        if is_link {
            let what = "a link on one of the machines: the target's stays as it is";
            self.note(path, Level::Warning, what.to_owned());
            self.propose_target(path, Level::Info, "the target's stays as it is");
        }
        is_link
    }

    fn note(&mut self, path: &RelPath, level: Level, text: String) {
        self.merged.notes.push(Note {
            merger: self.merger,
            path: path.clone(),
            level,
            text,
        });
    }
}

/// Returns the path of a constant of this chapter; the root for one that is not valid.
fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap_or_default()
}

/// Quotes text of a file in a note.
fn quoted(text: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(text.trim_ascii()))
}

#[cfg(test)]
mod tests;
