//! Which paths are copied, skipped, kept or merged: rules, their patterns and what decided.
//!
//! The source prunes its walk by these rules and the target protects from deletion by them, so
//! a set of rules crosses the wire as its text and is compiled again there. What a pattern
//! means is in `docs/patterns.md`, where rules of a whole system come from in
//! `docs/profiles.md`. Knows nothing of files: it is told names and never looks.

mod beginning;
mod class;
mod error;
pub mod explain;
mod file;
mod pattern;
pub mod profile;
mod rules;

use serde::{Deserialize, Serialize};

pub use beginning::{Beginning, Depth};
pub use error::{PatternError, PatternFault};
pub use file::parse_file;
pub use pattern::{MAX_ALTERNATIVES, MAX_PATTERN_LEN};
pub use rules::{
    Decision, MAX_GLOB_BYTES, MAX_GLOBS, MAX_ORIGIN_LEN, MAX_REASON_LEN, MAX_RULES, Rules, Scope,
};

/// What happens to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is copied; what only the target has is deleted if the run deletes.
    Copy,
    /// It is not copied, and what the target has there is neither changed nor deleted.
    Skip,
    /// The target's own stays as it is, also against deletion.
    Keep,
    /// The target's own stays until a merger has made one of both; protected as by `Keep`.
    Merge,
}

impl Verdict {
    /// Tells whether the target's entry must survive although the source sends nothing for it.
    pub fn protects(self) -> bool {
        match self {
            Verdict::Copy => false,
            Verdict::Skip | Verdict::Keep | Verdict::Merge => true,
        }
    }

    /// Returns the word of it, as profiles write it.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Copy => "copy",
            Verdict::Skip => "skip",
            Verdict::Keep => "keep",
            Verdict::Merge => "merge",
        }
    }
}

/// One pattern and what it decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What happens to a path that matches.
    pub verdict: Verdict,
    /// The pattern as it was written.
    pub pattern: String,
    /// Who said so, for messages: `--exclude`, `/etc/x.rules:12`.
    pub origin: String,
    /// Why, for plan and explanation; empty for what the person said on the command line.
    pub reason: String,
}

impl Rule {
    /// Returns a rule without a reason; whether its pattern makes sense is found out by [`Rules::new`].
    pub fn new(verdict: Verdict, pattern: impl Into<String>, origin: impl Into<String>) -> Rule {
        Rule {
            verdict,
            pattern: pattern.into(),
            origin: origin.into(),
            reason: String::new(),
        }
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Rule {
        self.reason = reason.into();
        self
    }

    /// Returns where it can match, for each alternative of its braces.
    pub fn beginnings(&self) -> Vec<Beginning> {
        beginning::beginnings(&self.pattern)
    }
}
