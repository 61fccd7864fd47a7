//! What happens to a path and who decided: rule, reason, profile, and the directory above it
//! if that decided already.
//!
//! Knows nothing of how it is shown.

use serde::Serialize;

use super::profile::Selected;
use super::{Rules, Verdict};
use crate::merger::Merger;
use crate::relpath::RelPath;

/// What happens to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The path.
    pub path: RelPath,
    /// Whether it was judged as a directory.
    pub is_directory: bool,
    /// What happens to it.
    pub verdict: Verdict,
    /// Who said so; `None` where no rule matches, which copies.
    pub decider: Option<Decider>,
    /// The directory above it that is not entered, if that decided.
    pub parent: Option<RelPath>,
    /// Whether it lies on a file system that a run does not enter, so that it is not copied
    /// whatever the rules say.
    pub is_elsewhere: bool,
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decider {
    /// Its pattern, placeholders filled.
    pub pattern: String,
    /// Where it is written: `profile core:12`, `--exclude`, `/etc/x.rules:3`.
    pub origin: String,
    /// Why, or nothing.
    pub reason: String,
    /// The profile that it belongs to.
    pub profile: Option<String>,
    /// Who merges.
    pub merger: Option<Merger>,
}

/// Explains what `rules` decide about a path of which nothing is known, as a walk from the root
/// would find. `selected` tells which of the rules belong to which profile. Nothing is taken to lie
/// on another file system.
pub fn explain(
    rules: &Rules,
    selected: &Selected,
    path: &RelPath,
    is_directory: bool,
) -> Explanation {
    let (decision, parent) = rules.trace(path, is_directory);
    let decider = decision.rule.map(|rule| Decider {
        pattern: rule.pattern.clone(),
        origin: rule.origin.clone(),
        reason: rule.reason.clone(),
        profile: selected.profile_of(&rule.origin).map(str::to_owned),
        merger: selected.merger_of(rule),
    });
    Explanation {
        path: path.clone(),
        is_directory,
        verdict: decision.verdict,
        decider,
        parent,
        is_elsewhere: false,
    }
}
