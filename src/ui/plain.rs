//! Plain lines: for pipes and logs of other programs, where nothing is drawn twice, and for
//! the log file, which gets everything with its time.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::plan::{findings_text, plan_text};
use super::progress::{Progress, Waiting};
use super::summary::Extent;
use super::{Outcome, Sink, escape, failure_text, lines, summary, units};
use crate::monitor::Event;
use crate::plan::Plan;
use crate::settings::Detail;

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(30);

/// Writes lines.
pub struct Plain {
    detail: Detail,
    style: Style,
    output: Mutex<Output>,
}

/// For whom the lines are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A screen: the summary lists some problems.
    Screen { extent: Extent },
    /// A log: every line has its time, and problems are told as they come.
    Log,
}

struct Output {
    writer: Box<dyn Write + Send>,
    told: Instant,
}

impl Plain {
    /// Makes one that writes to a screen that is not a terminal, or not one that redraws.
    pub fn screen(writer: Box<dyn Write + Send>, detail: Detail, extent: Extent) -> Plain {
        // The trace and the items have their own ways to the screen.
        Plain::new(writer, detail.min(Detail::Normal), Style::Screen { extent })
    }

    /// Makes one that writes a log.
    pub fn log(writer: Box<dyn Write + Send>) -> Plain {
        Plain::new(writer, Detail::Trace, Style::Log)
    }

    fn new(writer: Box<dyn Write + Send>, detail: Detail, style: Style) -> Plain {
        let told = Instant::now();
        Plain {
            detail,
            style,
            output: Mutex::new(Output { writer, told }),
        }
    }

    /// Writes a text of one or more lines; a reader that went away or a full disk must not end
    /// the run.
    fn write(&self, text: &str) {
        let text = match self.style {
            Style::Screen { .. } => format!("{}\n", text.trim_end()),
            Style::Log => stamped(text),
        };
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.writer.write_all(text.as_bytes()).ok();
        output.told = Instant::now();
    }

    fn is_silent_for(&self, time: Duration) -> bool {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.told.elapsed() >= time
    }
}

impl Sink for Plain {
    fn event(&self, event: &Event) {
        let (detail, line) = lines::event(event);
        if detail <= self.detail {
            self.write(&line);
        }
    }

    fn plan(&self, plan: &Plan, whole: bool) {
        let text = if whole || self.style == Style::Log {
            plan_text(plan)
        } else {
            findings_text(plan, self.detail)
        };
        if !text.is_empty() {
            self.write(&text);
        }
    }

    fn tick(&self, progress: &Progress) {
        if self.detail > Detail::Quiet && self.is_silent_for(INTERVAL) {
            self.write(&line(progress));
        }
    }

    fn finish(&self, outcome: &Outcome) {
        match self.style {
            Style::Log => {
                self.write(&summary::whole(outcome));
                if let Some(failure) = &outcome.failure {
                    self.write(&failure_text(failure));
                }
            }
            Style::Screen { extent } => {
                let text = summary::for_screen(outcome, self.detail, extent);
                if !text.is_empty() {
                    self.write(&text);
                }
            }
        }
    }
}

fn stamped(text: &str) -> String {
    let time = jiff::Timestamp::now();
    text.lines()
        .map(|line| format!("{time:.3} {line}\n"))
        .collect()
}

/// Returns how far a run is, in one line.
pub fn line(progress: &Progress) -> String {
    if let Some(waiting) = &progress.waiting {
        return format!("still waiting for {}", waited(waiting));
    }
    let Some(pass) = progress.pass else {
        return format!("still at it: {}", scanned(progress));
    };
    let mut text = match progress.fraction {
        Some(fraction) => format!("{pass}: {:.0}%, ", (fraction * 100.0).floor()),
        None => format!("{pass}: "),
    };
    text.push_str(&format!("{}, {}", settled(progress), sent(progress)));
    if let Some(remaining) = progress.remaining {
        text.push_str(&format!(", about {} to go", units::estimate(remaining)));
    }
    text
}

/// Returns what is waited for, how long it has been, and how long it may be.
pub fn waited(waiting: &Waiting) -> String {
    format!(
        "{}: {} of {}",
        escape::text(&waiting.what),
        units::duration(waiting.elapsed),
        units::duration(waiting.limit)
    )
}

/// Returns what is done, of how much if that is known.
pub fn settled(progress: &Progress) -> String {
    let of_entries = of(progress, units::count(progress.scanned_entries));
    let of_bytes = of(progress, units::bytes(progress.scanned_bytes));
    format!(
        "{}{of_entries} entries, {}{of_bytes}",
        units::count(progress.settled_entries),
        units::bytes(progress.settled_bytes),
    )
}

fn of(progress: &Progress, total: String) -> String {
    if progress.has_total {
        format!(" of {total}")
    } else {
        String::new()
    }
}

/// Returns what was sent, how fast, and what went wrong.
pub fn sent(progress: &Progress) -> String {
    let mut parts = vec![format!(
        "sent {} at {}",
        units::bytes(progress.body_bytes),
        units::rate(progress.bytes_per_second)
    )];
    if progress.problem_count > 0 {
        parts.push(units::counted(progress.problem_count, "problem"));
    }
    parts.join(", ")
}

/// Returns what the scan has seen.
pub fn scanned(progress: &Progress) -> String {
    format!(
        "{}{} entries with {} seen on the source",
        if progress.has_total { "" } else { "so far " },
        units::count(progress.scanned_entries),
        units::bytes(progress.scanned_bytes)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;
    use crate::monitor::Pass;
    use crate::ui::progress::{Progress, Waiting};

    #[test]
    fn a_wait_is_told_with_its_end() {
        let progress = Progress {
            pass: Some(Pass::Checksum),
            waiting: Some(Waiting {
                what: "the clone to come back".into(),
                elapsed: Duration::from_secs(31),
                limit: Duration::from_secs(600),
            }),
            ..Progress::default()
        };
        assert_eq!(
            line(&progress),
            "still waiting for the clone to come back: 31 s of 10 min 00 s"
        );
    }

    #[test]
    fn tells_a_percentage_only_of_a_total() {
        let mut progress = Progress {
            scanned_entries: 2000,
            scanned_bytes: 4 << 20,
            ..Progress::default()
        };
        assert_eq!(
            line(&progress),
            "still at it: so far 2,000 entries with 4.00 MiB seen on the source"
        );
        progress.pass = Some(Pass::Timestamp);
        progress.settled_entries = 1000;
        progress.settled_bytes = 1 << 20;
        progress.body_bytes = 1 << 20;
        assert_eq!(
            line(&progress),
            "timestamp pass: 1,000 entries, 1.00 MiB, sent 1.00 MiB at 0 B/s"
        );
        progress.has_total = true;
        progress.fraction = Some(0.379);
        progress.problem_count = 1;
        progress.remaining = Some(Duration::from_secs(100));
        assert_eq!(
            line(&progress),
            "timestamp pass: 37%, 1,000 of 2,000 entries, 1.00 MiB of 4.00 MiB, \
             sent 1.00 MiB at 0 B/s, 1 problem, about 2 min to go"
        );
    }
}
