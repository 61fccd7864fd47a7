//! What each line of the JSON events holds. Knows nothing of where the lines go.

use std::time::Duration;

use data_encoding::BASE64;
use serde::Serialize;

use crate::monitor::{CheckOutcome, Event, Pass, PassStats, Stage};
use crate::plan::Plan;
use crate::problem::{Problem, ProblemKind, Side};
use crate::report::PRECEDENCE;
use crate::ui::progress::Progress;
use crate::ui::{Outcome, summary};

/// What a line tells.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Body<'a> {
    Hello {
        version: &'static str,
    },
    Stage {
        stage: &'static str,
    },
    Plan {
        plan: &'a Plan,
    },
    Estimate {
        entries: u64,
        bytes: u64,
        link_bytes_per_second: Option<u64>,
        seconds: Option<u64>,
    },
    PassStarted {
        pass: Pass,
    },
    Progress(ProgressBody),
    Item {
        change: &'a str,
        #[serde(flatten)]
        path: PathBody,
    },
    FixUp {
        #[serde(flatten)]
        path: PathBody,
        merger: &'static str,
        is_warning: bool,
        text: &'a str,
    },
    Checked {
        id: &'a str,
        what: &'a str,
        outcome: &'static str,
        text: Option<&'a str>,
    },
    Switched {
        elapsed_us: u64,
        names: u64,
    },
    Waiting {
        what: &'a str,
        limit_seconds: u64,
    },
    Verified {
        what: &'a str,
        is_good: bool,
        text: &'a str,
    },
    Problem {
        kind: &'static str,
        side: Side,
        #[serde(flatten)]
        path: PathBody,
        operation: &'a str,
        cause: &'a str,
    },
    Notice {
        text: &'a str,
    },
    PassEnded {
        pass: Pass,
        #[serde(flatten)]
        stats: &'a PassStats,
    },
    Reconnecting {
        attempt: u32,
        wait_ms: u64,
        cause: &'a str,
    },
    Error {
        exit: u8,
        message: &'a str,
        causes: &'a [String],
        hints: &'a [String],
    },
    Summary(SummaryBody),
}

#[derive(Serialize)]
pub(super) struct ProgressBody {
    pass: Option<Pass>,
    entries: u64,
    bytes: u64,
    total_entries: Option<u64>,
    total_bytes: Option<u64>,
    fraction: Option<f64>,
    body_bytes: u64,
    wire_bytes: u64,
    bytes_per_second: u64,
    remaining_seconds: Option<u64>,
    waiting_seconds: Option<u64>,
    problems: u64,
    #[serde(flatten)]
    path: PathBody,
}

#[derive(Serialize)]
pub(super) struct SummaryBody {
    exit: u8,
    dry_run: bool,
    passes: usize,
    problems: std::collections::BTreeMap<&'static str, u64>,
    speedup: Option<f64>,
    elapsed_ms: u64,
    stages_ms: std::collections::BTreeMap<&'static str, u64>,
    switch_us: Option<u64>,
    stopped_after: Option<&'static str>,
}

/// A path below the root: readable, and exact where it is not UTF-8.
#[derive(Serialize)]
pub(super) struct PathBody {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
}

impl PathBody {
    pub(super) fn new(bytes: &[u8]) -> PathBody {
        PathBody {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_b64: std::str::from_utf8(bytes)
                .is_err()
                .then(|| BASE64.encode(bytes)),
        }
    }
}

/// Returns what an event tells.
pub(super) fn body(event: &Event) -> Body<'_> {
    match event {
        Event::StageStarted(stage) => Body::Stage {
            stage: stage.word(),
        },
        Event::Estimate {
            entries,
            bytes,
            link_bytes_per_second: rate,
        } => Body::Estimate {
            entries: *entries,
            bytes: *bytes,
            link_bytes_per_second: *rate,
            seconds: rate.and_then(|rate| bytes.checked_div(rate)),
        },
        Event::PassStarted(pass) => Body::PassStarted { pass: *pass },
        Event::Item { change, path } => Body::Item {
            change,
            path: PathBody::new(path),
        },
        Event::FixUp {
            path,
            merger,
            is_warning,
            text,
        } => Body::FixUp {
            path: PathBody::new(path),
            merger,
            is_warning: *is_warning,
            text,
        },
        Event::Checked { id, what, outcome } => checked_body(id, what, outcome),
        Event::Switched { elapsed_us, names } => Body::Switched {
            elapsed_us: *elapsed_us,
            names: *names,
        },
        Event::Waiting { what, limit } => Body::Waiting {
            what,
            limit_seconds: limit.as_secs(),
        },
        Event::Verified {
            what,
            is_good,
            text,
        } => Body::Verified {
            what,
            is_good: *is_good,
            text,
        },
        Event::Problem(problem) => problem_body(problem),
        Event::Notice(text) => Body::Notice { text },
        Event::PassEnded(pass, stats) => Body::PassEnded { pass: *pass, stats },
        Event::Reconnecting {
            attempt,
            wait,
            cause,
        } => Body::Reconnecting {
            attempt: *attempt,
            wait_ms: milliseconds(*wait),
            cause,
        },
    }
}

fn checked_body<'a>(id: &'a str, what: &'a str, outcome: &'a CheckOutcome) -> Body<'a> {
    let text = match outcome {
        CheckOutcome::Passed => None,
        CheckOutcome::Failed(text) | CheckOutcome::NotApplicable(text) => Some(text.as_str()),
    };
    Body::Checked {
        id,
        what,
        outcome: outcome.word(),
        text,
    }
}

fn problem_body(problem: &Problem) -> Body<'_> {
    Body::Problem {
        kind: problem.kind.word(),
        side: problem.side,
        path: PathBody::new(&problem.path),
        operation: &problem.operation,
        cause: &problem.cause,
    }
}

/// Returns what there is to say of the progress.
pub(super) fn progress_body(progress: &Progress) -> ProgressBody {
    ProgressBody {
        pass: progress.pass,
        entries: progress.settled_entries,
        bytes: progress.settled_bytes,
        total_entries: progress.has_total.then_some(progress.scanned_entries),
        total_bytes: progress.has_total.then_some(progress.scanned_bytes),
        fraction: progress.fraction,
        body_bytes: progress.body_bytes,
        wire_bytes: progress.wire_bytes,
        bytes_per_second: progress.bytes_per_second as u64,
        remaining_seconds: progress.remaining.map(|time| time.as_secs()),
        waiting_seconds: progress.waiting.as_ref().map(|wait| wait.elapsed.as_secs()),
        problems: progress.problem_count,
        path: PathBody::new(&progress.current_path),
    }
}

/// Returns the last line of a run that took so long.
pub(super) fn summary_body(outcome: &Outcome, elapsed: Duration) -> SummaryBody {
    let report = &outcome.report;
    let count = |kind: &ProblemKind| (kind.word(), report.problem_count(*kind));
    SummaryBody {
        exit: outcome.exit().code(),
        dry_run: outcome.dry_run,
        passes: report.passes.len(),
        problems: PRECEDENCE.iter().map(|(kind, _)| count(kind)).collect(),
        speedup: summary::speedup(report),
        elapsed_ms: milliseconds(elapsed),
        stages_ms: report.timings.milliseconds(),
        switch_us: report.switched.map(|switched| switched.elapsed_us),
        stopped_after: report.stopped_after.map(Stage::word),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
