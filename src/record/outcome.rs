//! What `result.json` holds: all that is known of a run that has ended. Knows nothing of files.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde::Serialize;

use super::State;
use crate::exclude::{Rule, Verdict};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::monitor::{CheckOutcome, Pass, PassStats, Stage};
use crate::plan::Plan;
use crate::problem::{Problem, Side};
use crate::report::{Checked, FixedUp, PRECEDENCE, Report, Verified};

/// What the story has told besides events.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Source and target.
    pub(super) facts: Option<(Facts, Facts)>,
    /// The plan.
    pub(super) plan: Option<Plan>,
    /// The rules of the run.
    pub(super) rules: Vec<Rule>,
}

/// What `result.json` holds; begins with what `state.json` does.
#[derive(Serialize)]
pub(super) struct Outcome<'a> {
    #[serde(flatten)]
    state: &'a State,
    failure: Option<FailureLine<'a>>,
    stopped_after: Option<&'static str>,
    stages_ms: BTreeMap<&'static str, u64>,
    switch: Option<Switch>,
    passes: Vec<PassLine<'a>>,
    problem_counts: BTreeMap<&'static str, u64>,
    problems: Vec<ProblemLine<'a>>,
    fix_ups: Vec<FixUpLine<'a>>,
    checks: Vec<CheckLine<'a>>,
    verified: Vec<VerifiedLine<'a>>,
    differences: Differences<'a>,
    facts: Option<BothFacts<'a>>,
    plan: Option<&'a Plan>,
}

#[derive(Serialize)]
struct FailureLine<'a> {
    message: &'a str,
    causes: &'a [String],
    hints: &'a [String],
}

#[derive(Serialize)]
struct Switch {
    elapsed_us: u64,
    names: u64,
}

#[derive(Serialize)]
struct PassLine<'a> {
    pass: Pass,
    #[serde(flatten)]
    stats: &'a PassStats,
}

#[derive(Serialize)]
struct ProblemLine<'a> {
    kind: &'static str,
    side: Side,
    #[serde(flatten)]
    path: PathText,
    operation: &'a str,
    cause: &'a str,
}

#[derive(Serialize)]
struct FixUpLine<'a> {
    #[serde(flatten)]
    path: PathText,
    merger: &'static str,
    is_warning: bool,
    text: &'a str,
}

#[derive(Serialize)]
struct CheckLine<'a> {
    id: &'a str,
    what: &'a str,
    outcome: &'static str,
    text: Option<&'a str>,
}

#[derive(Serialize)]
struct VerifiedLine<'a> {
    what: &'a str,
    is_good: bool,
    text: &'a str,
}

/// Where the clone is not what the source is, on purpose.
#[derive(Serialize)]
struct Differences<'a> {
    /// Files made out of both machines', each once.
    merged: Vec<PathText>,
    /// What the target has kept.
    kept: Vec<RuleLine<'a>>,
    /// What was neither copied nor deleted.
    skipped: Vec<RuleLine<'a>>,
}

#[derive(Serialize)]
struct RuleLine<'a> {
    pattern: &'a str,
    reason: &'a str,
    origin: &'a str,
}

#[derive(Serialize)]
struct BothFacts<'a> {
    source: &'a Facts,
    target: &'a Facts,
}

/// A path below the root: readable, and exact where it is not UTF-8, as in docs/events.md.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct PathText {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
}

impl<'a> Outcome<'a> {
    /// Puts together what is known of a run that has ended.
    pub(super) fn new(
        state: &'a State,
        known: &'a Known,
        (report, failure): (&'a Report, Option<&'a Failure>),
    ) -> Outcome<'a> {
        let count = |kind| {
            (
                crate::problem::ProblemKind::word(kind),
                report.problem_count(kind),
            )
        };
        Outcome {
            state,
            failure: failure.map(|failure| FailureLine {
                message: &failure.what,
                causes: &failure.chain,
                hints: &failure.hints,
            }),
            stopped_after: report.stopped_after.map(Stage::word),
            stages_ms: report.timings.milliseconds(),
            switch: report.switched.map(|switched| Switch {
                elapsed_us: switched.elapsed_us,
                names: switched.names,
            }),
            passes: report.passes.iter().map(PassLine::new).collect(),
            problem_counts: PRECEDENCE.iter().map(|(kind, _)| count(*kind)).collect(),
            problems: report
                .problems()
                .into_iter()
                .map(ProblemLine::new)
                .collect(),
            fix_ups: report.fix_ups.iter().map(FixUpLine::new).collect(),
            checks: report.checks.iter().map(CheckLine::new).collect(),
            verified: report.verified.iter().map(VerifiedLine::new).collect(),
            differences: Differences::new(&known.rules, &report.fix_ups),
            facts: known
                .facts
                .as_ref()
                .map(|(source, target)| BothFacts { source, target }),
            plan: known.plan.as_ref(),
        }
    }
}

impl<'a> PassLine<'a> {
    fn new((pass, stats): &'a (Pass, PassStats)) -> PassLine<'a> {
        PassLine { pass: *pass, stats }
    }
}

impl<'a> ProblemLine<'a> {
    fn new(problem: &'a Problem) -> ProblemLine<'a> {
        ProblemLine {
            kind: problem.kind.word(),
            side: problem.side,
            path: PathText::new(&problem.path),
            operation: &problem.operation,
            cause: &problem.cause,
        }
    }
}

impl<'a> FixUpLine<'a> {
    fn new(fixed: &'a FixedUp) -> FixUpLine<'a> {
        FixUpLine {
            path: PathText::new(&fixed.path),
            merger: fixed.merger,
            is_warning: fixed.is_warning,
            text: &fixed.text,
        }
    }
}

impl<'a> CheckLine<'a> {
    fn new(checked: &'a Checked) -> CheckLine<'a> {
        CheckLine {
            id: &checked.id,
            what: &checked.what,
            outcome: checked.outcome.word(),
            text: match &checked.outcome {
                CheckOutcome::Passed => None,
                CheckOutcome::Failed(text) | CheckOutcome::NotApplicable(text) => Some(text),
            },
        }
    }
}

impl<'a> VerifiedLine<'a> {
    fn new(verified: &'a Verified) -> VerifiedLine<'a> {
        VerifiedLine {
            what: &verified.what,
            is_good: verified.is_good,
            text: &verified.text,
        }
    }
}

impl<'a> Differences<'a> {
    fn new(rules: &'a [Rule], fix_ups: &'a [FixedUp]) -> Differences<'a> {
        let of = |verdict: Verdict| {
            let rules = rules.iter().filter(move |rule| rule.verdict == verdict);
            rules.map(RuleLine::new).collect()
        };
        let mut merged: Vec<_> = fix_ups
            .iter()
            .map(|done| PathText::new(&done.path))
            .collect();
        merged.sort_unstable();
        merged.dedup();
        Differences {
            merged,
            kept: of(Verdict::Keep),
            skipped: of(Verdict::Skip),
        }
    }
}

impl<'a> RuleLine<'a> {
    fn new(rule: &'a Rule) -> RuleLine<'a> {
        RuleLine {
            pattern: &rule.pattern,
            reason: &rule.reason,
            origin: &rule.origin,
        }
    }
}

impl PathText {
    fn new(bytes: &[u8]) -> PathText {
        PathText {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_b64: std::str::from_utf8(bytes)
                .is_err()
                .then(|| BASE64.encode(bytes)),
        }
    }
}
