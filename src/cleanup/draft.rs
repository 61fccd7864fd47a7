//! What will be changed, before anything is: the files of the root with the changes planned so
//! far laid over them. Two names of one file are one file.
//!
//! Reads the root, never writes. Knows nothing of why a change is wanted; the reason is a text.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::edits::changed_lines;
use super::keep_copy::{Copies, Print, Record};
use super::packages::Package;
use super::tree::{Last, State, Tree};
use crate::entry::{Metadata, Timestamp};
use crate::fs::Result;

/// Where the link of a masked unit leads.
const NOTHING: &[u8] = b"/dev/null";
/// Why a file is put back.
const LOST: &str = "a package took it along in a clean-up that was not finished";

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Its text changes.
    Edit,
    /// It goes; the copy stays.
    Remove,
    /// It is made.
    Create,
    /// A file takes the place of a link.
    Replace,
    /// A link to `/dev/null` takes its name, so that systemd never starts it.
    Mask,
}

/// The change of one file, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// The path without any link in it.
    pub path: String,
    /// What happens.
    pub action: Action,
    /// Why, each reason once.
    pub reasons: Vec<String>,
    /// For an edit or a new file: `- old` and `+ new`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// The change of one file, as it is done.
#[derive(Clone, Debug)]
pub struct Change {
    /// As it is shown.
    pub shown: FileChange,
    /// What was there.
    pub before: State,
    /// What is to be there.
    pub after: State,
}

/// Changes in the making.
pub struct Draft<'a> {
    tree: &'a Tree,
    /// Files that go together with their packages.
    leaving: BTreeSet<&'a str>,
    changes: BTreeMap<String, Change>,
    problems: Vec<String>,
    now: Timestamp,
}

impl<'a> Draft<'a> {
    /// Begins with nothing. `leaving` are the packages that go; files of theirs that a package
    /// shares which stays, stay.
    pub fn new(tree: &'a Tree, leaving: &[&'a Package], staying: &[&Package]) -> Draft<'a> {
        let shared: BTreeSet<&str> = files(staying).collect();
        let leaving = files(leaving).filter(|path| !shared.contains(path));
        let now = jiff::Timestamp::now();
        Draft {
            tree,
            leaving: leaving.collect(),
            changes: BTreeMap::new(),
            problems: Vec::new(),
            now: Timestamp {
                seconds: now.as_second(),
                nanoseconds: u32::try_from(now.subsec_nanosecond()).unwrap_or(0),
            },
        }
    }

    /// Returns the tree below.
    pub fn tree(&self) -> &'a Tree {
        self.tree
    }

    /// Returns the changes by path, and what could not be read.
    pub fn finish(self) -> (Vec<Change>, Vec<String>) {
        let is_real = |change: &Change| !is_same(&change.before, &change.after);
        let changes = self.changes.into_values().filter(is_real);
        (changes.collect(), self.problems)
    }

    /// Tells whether a file goes together with its package. Paths of the database may still say
    /// `/lib` where that is a link to `/usr/lib`.
    pub fn is_leaving(&self, path: &str) -> bool {
        let short = path.strip_prefix("/usr").unwrap_or(path);
        self.leaving.contains(path) || self.leaving.contains(short)
    }

    /// Returns what is planned to be at the end of a path, or is there, and the path without
    /// links; `None` where a directory is, or a device.
    pub fn look(&mut self, path: &str, last: Last) -> Option<(String, State)> {
        match self.locate(path, last) {
            Ok(found) => found,
            Err(error) => {
                self.problems
                    .push(format!("{path}: {error}: {}", error.cause()));
                None
            }
        }
    }

    fn locate(&self, path: &str, last: Last) -> Result<Option<(String, State)>> {
        let Some(spot) = self.tree.locate(path, last)? else {
            return Ok(None);
        };
        if !spot.is_replaceable()? {
            return Ok(None);
        }
        let state = match self.changes.get(&spot.path) {
            Some(change) => change.after.clone(),
            None => spot.state()?,
        };
        Ok(Some((spot.path, state)))
    }

    /// Returns the text at the end of a path as planned; `None` where no file is.
    pub fn text(&mut self, path: &str) -> Option<String> {
        match self.look(path, Last::Followed)?.1 {
            State::File { contents, .. } => String::from_utf8(contents).ok(),
            State::Absent | State::Link { .. } => None,
        }
    }

    /// Plans another text for the file at the end of a path. Nothing happens where the text is
    /// equal, or the file goes with its package.
    pub fn set_text(&mut self, path: &str, text: &str, reason: &str) {
        let Some((path, state)) = self.look(path, Last::Followed) else {
            return;
        };
        let metadata = match &state {
            State::File { contents, .. } if contents == text.as_bytes() => return,
            State::File { .. } if self.is_leaving(&path) => return,
            State::File { metadata, .. } => Metadata {
                mtime: self.now,
                ..metadata.clone()
            },
            State::Absent | State::Link { .. } => self.fresh(0o644),
        };
        let after = State::File {
            contents: text.as_bytes().to_vec(),
            metadata,
        };
        self.plan(path, state, after, reason);
    }

    /// Plans that a file or link goes; a link itself, not what it leads to.
    pub fn remove(&mut self, path: &str, reason: &str) {
        match self.look(path, Last::Itself) {
            None | Some((_, State::Absent)) => {}
            Some((path, state)) => self.plan(path, state, State::Absent, reason),
        }
    }

    /// Plans an empty file in place of a link.
    pub fn replace_link_by_empty_file(&mut self, path: &str, reason: &str) {
        if let Some((path, state @ State::Link { .. })) = self.look(path, Last::Itself) {
            let after = State::File {
                contents: Vec::new(),
                metadata: self.fresh(0o644),
            };
            self.plan(path, state, after, reason);
        }
    }

    /// Plans a link to `/dev/null`.
    pub fn mask(&mut self, path: &str, reason: &str) {
        match self.look(path, Last::Itself) {
            None => {}
            Some((_, State::Link { text, .. })) if text == NOTHING => {}
            Some((path, state)) => {
                let after = State::Link {
                    text: NOTHING.to_vec(),
                    metadata: self.fresh(0o777),
                };
                self.plan(path, state, after, reason);
            }
        }
    }

    /// Plans to put back what packages took along in a clean-up that was not finished.
    pub fn put_back_lost(&mut self, copies: &Copies, record: &Record) {
        let files = record.files.iter().filter(|_| !record.is_finished);
        for file in files.filter(|file| file.before == file.after) {
            let Some((path, State::Absent)) = self.look(&file.path, Last::Itself) else {
                continue;
            };
            match copies.kept(&file.path) {
                Ok(state) if Print::of(&state) == file.before => {
                    self.plan(path, State::Absent, state, LOST);
                }
                Ok(_) => self.problems.push(format!("{path}: its copy is damaged")),
                Err(error) => self
                    .problems
                    .push(format!("{path}: {error}: {}", error.cause())),
            }
        }
    }

    fn fresh(&self, mode: u16) -> Metadata {
        Metadata {
            mode,
            mtime: self.now,
            ..Metadata::default()
        }
    }

    fn plan(&mut self, path: String, state: State, after: State, reason: &str) {
        let previous = self.changes.remove(&path);
        let (before, mut reasons) = match previous {
            Some(previous) => (previous.before, previous.shown.reasons),
            None => (state, Vec::new()),
        };
        if !reasons.iter().any(|present| present == reason) {
            reasons.push(reason.to_owned());
        }
        let shown = FileChange {
            path: path.clone(),
            action: action(&before, &after),
            reasons,
            lines: lines(&before, &after),
        };
        let change = Change {
            shown,
            before,
            after,
        };
        self.changes.insert(path, change);
    }
}

fn files<'a>(packages: &[&'a Package]) -> impl Iterator<Item = &'a str> {
    let files = packages.iter().flat_map(|package| &package.files);
    files.map(String::as_str)
}

fn action(before: &State, after: &State) -> Action {
    match (before, after) {
        (_, State::Absent) => Action::Remove,
        (_, State::Link { text, .. }) if text == NOTHING => Action::Mask,
        (_, State::Link { .. }) => Action::Create,
        (State::File { .. }, State::File { .. }) => Action::Edit,
        (State::Absent, State::File { .. }) => Action::Create,
        (State::Link { .. }, State::File { .. }) => Action::Replace,
    }
}

fn lines(before: &State, after: &State) -> Vec<String> {
    let text = |state: &State| match state {
        State::File { contents, .. } => Some(String::from_utf8_lossy(contents).into_owned()),
        State::Absent | State::Link { .. } => None,
    };
    match text(after) {
        Some(after) => changed_lines(&text(before).unwrap_or_default(), &after),
        None => Vec::new(),
    }
}

/// Tells whether two states are the same to a reader; times and owners do not count.
fn is_same(one: &State, other: &State) -> bool {
    match (one, other) {
        (State::Absent, State::Absent) => true,
        (
            State::File { contents, .. },
            State::File {
                contents: other, ..
            },
        ) => contents == other,
        (State::Link { text, .. }, State::Link { text: other, .. }) => text == other,
        _ => false,
    }
}
