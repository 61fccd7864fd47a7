//! JSON events: one object per line on stdout, documented in docs/events.md.
//!
//! Fields may be added; none is taken away or changes its meaning while `v` is 1.

mod body;
mod explanation;

use std::io::{BufWriter, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::body::{Body, body, progress_body, summary_body};
pub use self::explanation::explanations;
use super::progress::Progress;
use super::{Outcome, Sink};
use crate::monitor::Event;
use crate::plan::Plan;

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

#[cfg(test)]
mod tests;
