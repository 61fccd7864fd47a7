//! One thing that a check found. Knows nothing of the checks.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The run must not begin.
    Blocker,
    /// It may begin, but the clone may not be what was meant.
    Warning,
    /// It is good to know.
    Note,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The check: `other-architecture`. The ids are in `docs/plan.md`; one is never used anew.
    pub id: &'static str,
    /// What was found, with names and numbers: a lower-case fragment that names the machine.
    pub what: String,
    /// Why it matters: one clause.
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

/// What a check says of what it found; its level and id are in the table.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) what: String,
    pub(super) why: String,
    pub(super) hint: String,
}

/// Returns what a check found, why it matters, and what to do about it.
pub(super) fn found(
    what: impl Into<String>,
    why: impl Into<String>,
    hint: impl Into<String>,
) -> Option<Found> {
    Some(Found {
        what: what.into(),
        why: why.into(),
        hint: hint.into(),
    })
}
