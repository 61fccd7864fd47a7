//! A compiled list of rules: the first one that matches a path decides about it.
//!
//! All patterns are one glob set, asked once for a path; without rules nothing is asked at all.
//! Paths are matched as raw bytes. Knows nothing of files, and nothing of how patterns are written.

use globset::{Candidate, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::PatternError;
use super::pattern::{self, Compiled};
use super::{Rule, Verdict};
use crate::relpath::{Name, RelPath};

/// LIMIT: rules of a run. Far above any hand-written list; a generated one should name directories.
pub const MAX_RULES: usize = 10_000;
/// LIMIT: globs that all patterns may stand for once braces are written out.
pub const MAX_GLOBS: usize = 20_000;
/// LIMIT: their text in bytes. Measured 2026-11: 1 MiB of the worst kind takes under a second to
/// compile or to refuse.
pub const MAX_GLOB_BYTES: usize = 1024 * 1024;
/// LIMIT: longest origin of a rule in bytes: a path of PATH_MAX and a line number.
pub const MAX_ORIGIN_LEN: usize = 4096 + 32;
/// LIMIT: longest reason of a rule in bytes: three lines of a terminal.
pub const MAX_REASON_LEN: usize = 240;

/// A name that nobody has written a rule for.
const ANY_NAME: &[u8] = b"instancesync-any-name";

/// What happens to a path, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'r> {
    /// What happens to it.
    pub verdict: Verdict,
    /// The rule that matched first; `None` where none did, which copies.
    pub rule: Option<&'r Rule>,
}

/// Rules in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    list: Vec<Rule>,
    globs: GlobSet,
    slots: Vec<Slot>,
}

/// What one glob of the set belongs to.
#[derive(Clone, Copy, Debug)]
struct Slot {
    rule_index: usize,
    directories_only: bool,
}

impl Rules {
    /// Compiles the rules; the first pattern that makes no sense is the error.
    pub fn new(list: Vec<Rule>) -> Result<Rules, PatternError> {
        if list.len() > MAX_RULES {
            return Err(PatternError::TooManyRules);
        }
        let mut builder = GlobSetBuilder::new();
        let mut slots = Vec::with_capacity(list.len());
        let mut glob_bytes = 0;
        for (rule_index, rule) in list.iter().enumerate() {
            for compiled in compile(rule)? {
                glob_bytes += compiled.glob.glob().len();
                builder.add(compiled.glob);
                slots.push(Slot {
                    rule_index,
                    directories_only: compiled.directories_only,
                });
            }
            if slots.len() > MAX_GLOBS || glob_bytes > MAX_GLOB_BYTES {
                return Err(PatternError::TooManyGlobs {
                    origin: rule.origin.clone(),
                });
            }
        }
        let globs = builder.build().map_err(PatternError::Together)?;
        Ok(Rules { list, globs, slots })
    }

    /// Returns the set without rules: everything is copied.
    pub fn none() -> Rules {
        Rules::default()
    }

    /// Tells whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the rules in their order.
    pub fn list(&self) -> &[Rule] {
        &self.list
    }

    /// Decides about a path whose parents are known to be copied.
    pub fn decide(&self, path: &RelPath, is_directory: bool) -> Decision<'_> {
        self.first_match(path.as_bytes(), is_directory, &mut Vec::new())
    }

    /// Decides about a path of which nothing is known: a parent that is skipped or kept decides
    /// for all that lies below it, as a walk from the root would find.
    pub fn decide_deep(&self, path: &RelPath, is_directory: bool) -> Decision<'_> {
        self.trace(path, is_directory).0
    }

    /// Tells whether a mount point, or a name at the top of a volume, is none of the clone's
    /// business: it is protected, or a directory whose contents are. Whether the clone has put
    /// something into such a directory nevertheless, the caller has to look.
    pub fn leaves_alone(&self, path: &RelPath, is_directory: bool) -> bool {
        let any_name = Name::new(ANY_NAME).map(|name| path.join(&name));
        let protects =
            |path: &RelPath, is_directory| self.decide_deep(path, is_directory).verdict.protects();
        protects(path, is_directory)
            || is_directory
                && any_name.is_ok_and(|inside| protects(&inside, false) && protects(&inside, true))
    }

    /// Decides as [`Rules::decide_deep`] and tells which parent decided, if one did.
    pub(super) fn trace(
        &self,
        path: &RelPath,
        is_directory: bool,
    ) -> (Decision<'_>, Option<RelPath>) {
        let bytes = path.as_bytes();
        let mut hits = Vec::new();
        if !self.is_empty() {
            let slashes = (0..bytes.len()).filter(|at| bytes[*at] == b'/');
            for parent in slashes.map(|at| &bytes[..at]) {
                let decision = self.first_match(parent, true, &mut hits);
                if decision.verdict != Verdict::Copy {
                    return (decision, RelPath::new(parent).ok());
                }
            }
        }
        (self.first_match(bytes, is_directory, &mut hits), None)
    }

    /// Returns what decides about the names in one directory, for a walk.
    pub fn below(&self, directory: &RelPath) -> Scope<'_> {
        let mut path = Vec::new();
        if !self.is_empty() && !directory.is_root() {
            path.extend_from_slice(directory.as_bytes());
            path.push(b'/');
        }
        Scope {
            rules: self,
            prefix_len: path.len(),
            path,
            hits: Vec::new(),
        }
    }

    /// `hits` is room that can be used again.
    fn first_match(&self, path: &[u8], is_directory: bool, hits: &mut Vec<usize>) -> Decision<'_> {
        // The root of the copy is what was asked for: no rule applies to it.
        if !self.is_empty() && !path.is_empty() {
            self.globs
                .matches_candidate_into(&Candidate::from_bytes(path), hits);
            // Hits come sorted, and globs stand in the order of their rules.
            let slot = hits
                .iter()
                .filter_map(|hit| self.slots.get(*hit))
                .find(|slot| is_directory || !slot.directories_only);
            if let Some(rule) = slot.and_then(|slot| self.list.get(slot.rule_index)) {
                return Decision {
                    verdict: rule.verdict,
                    rule: Some(rule),
                };
            }
        }
        Decision {
            verdict: Verdict::Copy,
            rule: None,
        }
    }
}

/// Decides about the names of one directory that is itself copied. Cheap to make; keep one per
/// directory, not per name.
#[derive(Clone, Debug)]
pub struct Scope<'r> {
    rules: &'r Rules,
    path: Vec<u8>,
    prefix_len: usize,
    hits: Vec<usize>,
}

impl<'r> Scope<'r> {
    /// Decides about `name` in this directory.
    pub fn decide(&mut self, name: &Name, is_directory: bool) -> Decision<'r> {
        let rules = self.rules;
        if !rules.is_empty() {
            self.path.truncate(self.prefix_len);
            self.path.extend_from_slice(name.as_bytes());
        }
        rules.first_match(&self.path, is_directory, &mut self.hits)
    }
}

fn compile(rule: &Rule) -> Result<Vec<Compiled>, PatternError> {
    if rule.origin.len() > MAX_ORIGIN_LEN {
        return Err(PatternError::OriginTooLong {
            length: rule.origin.len(),
        });
    }
    if rule.reason.len() > MAX_REASON_LEN {
        return Err(PatternError::ReasonTooLong {
            origin: rule.origin.clone(),
        });
    }
    pattern::compile(&rule.pattern).map_err(|fault| PatternError::Refused {
        origin: rule.origin.clone(),
        pattern: rule.pattern.clone(),
        fault,
    })
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rules, D::Error> {
        let list = Vec::<Rule>::deserialize(deserializer)?;
        Rules::new(list).map_err(|error| {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            de::Error::custom(format!("{error}{cause}"))
        })
    }
}

#[cfg(test)]
mod tests;
