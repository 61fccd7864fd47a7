//! JSON events: one object per line on stdout, documented in docs/events.md.
//!
//! Fields may be added; none is taken away or changes its meaning while `v` is 1.

use std::io::{BufWriter, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::progress::Progress;
use super::{Outcome, Sink, summary};
use crate::monitor::{Event, Pass, PassStats, Stage};
use crate::plan::Plan;
use crate::problem::{Problem, ProblemKind, Side};
use crate::report::PRECEDENCE;

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    seq: u64,
    ts: String,
    #[serde(flatten)]
    body: Body<'a>,
}

/// What a line tells.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Body<'a> {
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
struct ProgressBody {
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
    problems: u64,
    #[serde(flatten)]
    path: PathBody,
}

#[derive(Serialize)]
struct SummaryBody {
    exit: u8,
    dry_run: bool,
    passes: usize,
    problems: std::collections::BTreeMap<&'static str, u64>,
    speedup: Option<f64>,
    elapsed_ms: u64,
}

/// A path below the root: readable, and exact where it is not UTF-8.
#[derive(Serialize)]
struct PathBody {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
}

impl PathBody {
    fn new(bytes: &[u8]) -> PathBody {
        PathBody {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_b64: std::str::from_utf8(bytes).is_err().then(|| base64(bytes)),
        }
    }
}

/// Writes events.
pub struct Json {
    wants_items: bool,
    started: Instant,
    output: Mutex<Output>,
}

struct Output {
    writer: Box<dyn Write + Send>,
    seq: u64,
    progress_told: Instant,
}

impl Json {
    /// Makes one that writes to stdout, and says hello.
    pub fn stdout(wants_items: bool) -> Json {
        // Items may be many: they are written in blocks, everything else at once.
        Json::new(Box::new(BufWriter::new(std::io::stdout())), wants_items)
    }

    fn new(writer: Box<dyn Write + Send>, wants_items: bool) -> Json {
        let now = Instant::now();
        let json = Json {
            wants_items,
            started: now,
            output: Mutex::new(Output {
                writer,
                seq: 0,
                progress_told: now,
            }),
        };
        json.tell(Body::Hello {
            version: env!("CARGO_PKG_VERSION"),
        });
        json
    }

    /// Writes one line. A reader that went away is not an error: the run goes on.
    fn tell(&self, body: Body<'_>) {
        let may_wait = matches!(body, Body::Item { .. });
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.seq += 1;
        let line = Line {
            v: 1,
            seq: output.seq,
            ts: jiff::Timestamp::now().to_string(),
            body,
        };
        // A structure of texts and numbers always serializes.
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        output.writer.write_all(text.as_bytes()).ok();
        if !may_wait {
            output.writer.flush().ok();
        }
    }

    fn is_progress_due(&self) -> bool {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = output.progress_told.elapsed() >= INTERVAL;
        if is_due {
            output.progress_told = Instant::now();
        }
        is_due
    }
}

impl Sink for Json {
    fn event(&self, event: &Event) {
        match event {
            Event::Item { .. } if !self.wants_items => {}
            event => self.tell(body(event)),
        }
    }

    fn plan(&self, plan: &Plan, _whole: bool) {
        self.tell(Body::Plan { plan });
    }

    fn tick(&self, progress: &Progress) {
        if self.is_progress_due() {
            self.tell(Body::Progress(progress_body(progress)));
        }
    }

    fn finish(&self, outcome: &Outcome) {
        if let Some(failure) = &outcome.failure {
            self.tell(Body::Error {
                exit: failure.exit.code(),
                message: &failure.what,
                causes: &failure.chain,
                hints: &failure.hints,
            });
        }
        let elapsed = self.started.elapsed();
        self.tell(Body::Summary(summary_body(outcome, elapsed)));
    }
}

fn body(event: &Event) -> Body<'_> {
    match event {
        Event::StageStarted(stage) => Body::Stage {
            stage: stage_word(*stage),
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

fn problem_body(problem: &Problem) -> Body<'_> {
    Body::Problem {
        kind: kind_word(problem.kind),
        side: problem.side,
        path: PathBody::new(&problem.path),
        operation: &problem.operation,
        cause: &problem.cause,
    }
}

fn progress_body(progress: &Progress) -> ProgressBody {
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
        problems: progress.problem_count,
        path: PathBody::new(&progress.current_path),
    }
}

fn summary_body(outcome: &Outcome, elapsed: Duration) -> SummaryBody {
    let report = &outcome.report;
    let count = |kind: &ProblemKind| (kind_word(*kind), report.problem_count(*kind));
    SummaryBody {
        exit: outcome.exit().code(),
        dry_run: outcome.dry_run,
        passes: report.passes.len(),
        problems: PRECEDENCE.iter().map(|(kind, _)| count(kind)).collect(),
        speedup: summary::speedup(report),
        elapsed_ms: milliseconds(elapsed),
    }
}

// The words are part of what is documented, so they do not follow the names of the types.

fn kind_word(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Vanished => "vanished",
        ProblemKind::Changed => "changed",
        ProblemKind::Failed => "failed",
        ProblemKind::NoSpace => "no_space",
        ProblemKind::Mismatch => "mismatch",
        ProblemKind::DeleteLimit => "delete_limit",
    }
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::Agent => "agent",
        Stage::Plan => "plan",
        Stage::Transfer => "transfer",
        Stage::FixUp => "fix_up",
        Stage::CleanUp => "clean_up",
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns standard base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= group.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests;
