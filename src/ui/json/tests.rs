//! The lines of docs/events.md, one for each event.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::Json;
use super::body::{Body, progress_body};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{CheckOutcome, Event, Pass, PassStats, Stage};
use crate::problem::{Problem, ProblemKind, Side};
use crate::report::Report;
use crate::ui::progress::Progress;
use crate::ui::{Outcome, Sink};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// The lines with their times and durations cut out.
    fn lines(&self) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let mut lines = String::new();
        for line in text.lines() {
            let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
            let object = value.as_object_mut().unwrap();
            let time = object.remove("ts").unwrap();
            time.as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .expect("a time of RFC 3339");
            if object["event"] == "summary" {
                assert!(object.remove("elapsed_ms").is_some());
                let stages = object.get_mut("stages_ms").unwrap();
                for took in stages.as_object_mut().unwrap().values_mut() {
                    *took = 0.into();
                }
            }
            lines.push_str(&format!("{value}\n"));
        }
        lines
    }
}

fn problem() -> Problem {
    Problem {
        side: Side::Target,
        kind: ProblemKind::NoSpace,
        path: b"a/\xff".to_vec(),
        operation: "write".into(),
        cause: "No space left on device".into(),
    }
}

fn checked(outcome: CheckOutcome) -> Event {
    Event::Checked {
        id: "sshd".into(),
        what: "the SSH server starts".into(),
        outcome,
    }
}

#[test]
fn every_event_has_its_line() {
    let output = Shared::default();
    let json = Json::new(Box::new(output.clone()), true);
    let events = [
        Event::StageStarted(Stage::CleanUp),
        Event::Estimate {
            entries: 3,
            bytes: 1000,
            link_bytes_per_second: Some(100),
        },
        Event::PassStarted(Pass::Timestamp),
        Event::Item {
            change: ">f+++++++++".into(),
            path: b"etc/a\n".to_vec(),
        },
        checked(CheckOutcome::Passed),
        checked(CheckOutcome::Failed("bad".into())),
        checked(CheckOutcome::NotApplicable("none".into())),
        Event::Switched {
            elapsed_us: 3410,
            names: 17,
        },
        Event::Waiting {
            what: "the clone to come back".into(),
            limit: std::time::Duration::from_secs(600),
        },
        Event::Verified {
            what: "services".into(),
            is_good: true,
            text: "12 run".into(),
        },
        Event::Problem(problem()),
        Event::Notice("hello".into()),
        Event::PassEnded(Pass::Timestamp, PassStats::default()),
        Event::Reconnecting {
            attempt: 2,
            wait: std::time::Duration::from_millis(1500),
            cause: "reset".into(),
        },
    ];
    for event in &events {
        json.event(event);
    }
    let mut report = Report::default();
    let now = Instant::now();
    events.iter().for_each(|event| report.record(event, now));
    report.timings.end(now);
    report.stopped_after = Some(Stage::Switch);
    json.finish(&Outcome {
        report,
        failure: Some(Failure::new(ExitCode::Link, "link lost").hint("try again")),
        dry_run: false,
    });
    insta::assert_snapshot!(output.lines());
}

#[test]
fn progress_says_null_where_nothing_is_known() {
    let output = Shared::default();
    let json = Json::new(Box::new(output.clone()), false);
    json.event(&Event::Item {
        change: ">f".into(),
        path: Vec::new(),
    });
    json.tell(Body::Progress(progress_body(&Progress::default())));
    let lines = output.lines();
    assert_eq!(lines.lines().count(), 2, "an item nobody wants: {lines}");
    assert!(lines.contains(r#""total_entries":null"#), "{lines}");
    assert!(lines.contains(r#""waiting_seconds":null"#), "{lines}");
}
