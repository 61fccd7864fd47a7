//! What lies on the source during a run and after it, and that a second one is refused.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{Journal, RunRecord};
use crate::cli;
use crate::exclude::{Rule, Rules, Verdict};
use crate::exit::ExitCode;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::interrupt::{Interrupt, InterruptCause};
use crate::monitor::{CheckOutcome, Event, Monitor, Pass, PassStats, RecordingMonitor, Stage};
use crate::plan::{Plan, PlanInput};
use crate::problem::{Problem, ProblemKind, Side};
use crate::prompter::NobodyThere;
use crate::report::Recorder;
use crate::settings::{Environment, Settings};

const PAIR: &str = "0123456789abcdef";

/// A journal that keeps the file.
#[derive(Default)]
struct Kept(Mutex<Option<File>>);

impl Journal for Kept {
    fn keep(&self, mut log: File) {
        log.write_all(b"begun\n").unwrap();
        *self.0.lock().unwrap() = Some(log);
    }
}

struct Run {
    record: RunRecord,
    monitor: Arc<RecordingMonitor>,
    settings: Settings,
}

fn run(directory: &Path) -> Run {
    let monitor = Arc::new(RecordingMonitor::default());
    let recorder = Arc::new(Recorder::new(monitor.clone()));
    let cli = cli::parse(["instancesync", "--target=root@h", "--yes"]).unwrap();
    let environment = Environment {
        state_directory: Some(directory.into()),
        ..Environment::default()
    };
    Run {
        record: RunRecord::new(recorder),
        monitor,
        settings: Settings::resolve(cli.clone, &environment, &NobodyThere).unwrap(),
    }
}

impl Run {
    fn begin(&self) -> Result<(), Failure> {
        self.record.begin(&self.settings, PAIR, &Kept::default())
    }

    fn notices(&self) -> Vec<String> {
        let notice = |event| match event {
            Event::Notice(text) => Some(text),
            _ => None,
        };
        let events = self.monitor.events();
        events.into_iter().filter_map(notice).collect()
    }
}

/// Returns what lies in a directory, sorted.
fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn the_only(directory: &Path) -> PathBuf {
    let names = names(directory);
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_state_follows_the_stages_and_everything_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let run = run(directory.path());
    run.record.event(Event::StageStarted(Stage::Agent));
    run.begin().unwrap();
    let own = the_only(&directory.path().join("state"));
    let state = read(&own.join("state.json"));
    assert_eq!(state["stage"], "agent", "what began before the record");
    assert_eq!(state["target"], "root@h");
    assert_eq!(state["pair"], PAIR);
    assert_eq!(state["manner"], "staged");
    assert_eq!(state["pid"], std::process::id());
    run.record.event(Event::StageStarted(Stage::Switch));
    let state = read(&own.join("state.json"));
    assert_eq!(state["stage"], "switch");
    assert_eq!(state["ended"], Value::Null);
    let log = the_only(&directory.path().join("log"));
    assert_eq!(std::fs::read(&log).unwrap(), b"begun\n");
    let name = own.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        log.file_name().unwrap().to_str().unwrap(),
        format!("{name}.log")
    );
    for (path, expected) in [
        (&directory.path().join("state"), 0o700),
        (&directory.path().join("log"), 0o700),
        (&own, 0o700),
        (&own.join("state.json"), 0o600),
        (&log, 0o600),
    ] {
        assert_eq!(mode(path), expected, "{path:?}");
    }
}

/// Tells a record what a run of a few moments would.
fn live_through(run: &Run) {
    let facts = Facts::default();
    let rules = [
        (Verdict::Keep, "/etc/netplan/***", "its own network"),
        (Verdict::Skip, "/tmp/***", "for a while only"),
        (Verdict::Copy, "/etc", ""),
    ];
    let rules =
        rules.map(|(verdict, pattern, why)| Rule::new(verdict, pattern, "core").because(why));
    let rules = Rules::new(rules.to_vec()).unwrap();
    let plan = Plan::make(&PlanInput::new(&facts, &facts, &rules));
    run.record.set_facts(&facts, &facts);
    run.record.set_plan(&plan, &rules);
    let merged = |path: &[u8]| Event::FixUp {
        path: path.to_vec(),
        merger: "fstab",
        is_warning: false,
        text: "both".into(),
    };
    for event in [
        Event::StageStarted(Stage::Transfer),
        Event::PassEnded(Pass::Timestamp, PassStats::default()),
        merged(b"etc/fstab"),
        merged(b"etc/fstab"),
        Event::Checked {
            id: "loader".into(),
            what: "the loader runs".into(),
            outcome: CheckOutcome::Failed("not found".into()),
        },
        Event::Switched {
            elapsed_us: 3410,
            names: 17,
        },
        Event::Verified {
            what: "services".into(),
            is_good: false,
            text: "one failed".into(),
        },
        Event::Problem(Problem {
            side: Side::Source,
            kind: ProblemKind::NoSpace,
            path: b"a/\xff".to_vec(),
            operation: "write".into(),
            cause: "full".into(),
        }),
    ] {
        run.record.event(event);
    }
}

#[test]
fn the_result_has_all_that_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let run = run(directory.path());
    run.begin().unwrap();
    live_through(&run);
    run.record.finish(None, &Interrupt::default());
    let own = the_only(&directory.path().join("state"));
    let result = read(&own.join("result.json"));
    assert_eq!(result["exit"], ExitCode::NoSpace.code());
    assert_eq!(result["failure"], Value::Null);
    assert_eq!(result["passes"][0]["pass"], "timestamp");
    assert_eq!(result["problems"][0]["kind"], "no_space");
    assert_eq!(result["problems"][0]["path_b64"], "YS//");
    assert_eq!(result["problem_counts"]["no_space"], 1);
    assert_eq!(result["checks"][0]["outcome"], "failed");
    assert_eq!(result["switch"]["elapsed_us"], 3410);
    assert_eq!(result["verified"][0]["is_good"], false);
    assert!(result["stages_ms"]["transfer"].is_u64());
    assert!(result["facts"]["target"].is_object() && result["plan"].is_object());
    let differences = &result["differences"];
    assert_eq!(differences["merged"].as_array().unwrap().len(), 1);
    assert_eq!(differences["kept"][0]["reason"], "its own network");
    assert_eq!(differences["skipped"][0]["pattern"], "/tmp/***");
    assert_eq!(read(&own.join("state.json"))["exit"], result["exit"]);
    let files: Vec<_> = names(&own);
    assert_eq!(files.len(), 2, "{files:?}");
}

#[test]
fn a_run_that_is_stopped_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let run = run(directory.path());
    run.begin().unwrap();
    let interrupt = Interrupt::default();
    interrupt.raise(InterruptCause::CtrlC);
    let failure = Failure::new(ExitCode::Link, "link lost");
    run.record.finish(Some(&failure), &interrupt);
    let own = the_only(&directory.path().join("state"));
    let result = read(&own.join("result.json"));
    assert_eq!(result["exit"], ExitCode::CtrlC.code());
    assert_eq!(result["failure"]["message"], "stopped by Ctrl-C");
}

#[test]
fn a_second_run_of_the_pair_is_refused_until_the_first_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (run(directory.path()), run(directory.path()));
    first.begin().unwrap();
    let failure = second.begin().unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    let holder = format!(
        "source: another run onto root@h is going on: process {}, since 20",
        std::process::id()
    );
    assert!(failure.what.starts_with(&holder), "{failure}");
    assert_eq!(names(&directory.path().join("state")).len(), 1);
    let other = second
        .record
        .begin(&second.settings, "another", &Kept::default());
    assert!(other.is_ok(), "{other:?}");
    first.record.finish(None, &Interrupt::default());
    second.begin().unwrap();
}

#[test]
fn what_cannot_be_written_is_a_notice() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let run = run(&blocked);
    run.begin().unwrap();
    run.record.event(Event::StageStarted(Stage::Plan));
    run.record.finish(None, &Interrupt::default());
    let notices = run.notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].starts_with("source: the lock of this run cannot be kept: "));
    assert!(notices[1].starts_with("source: the record of this run cannot be kept: "));
}

#[test]
fn a_directory_that_goes_away_is_told_of_once() {
    let directory = tempfile::tempdir().unwrap();
    let run = run(directory.path());
    run.begin().unwrap();
    std::fs::remove_dir_all(directory.path().join("state")).unwrap();
    for stage in [Stage::Plan, Stage::Transfer] {
        run.record.event(Event::StageStarted(stage));
    }
    run.record.finish(None, &Interrupt::default());
    let notices = run.notices();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[1].starts_with("source: the state of this run cannot be kept: "));
}

#[test]
fn the_last_twenty_runs_are_kept_and_nothing_else_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    std::fs::create_dir_all(state.join("originals")).unwrap();
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("mine.log"), "").unwrap();
    for second in 10..35 {
        let run = format!("20200101T0000{second}Z-{PAIR}");
        std::fs::create_dir(state.join(&run)).unwrap();
        std::fs::write(state.join(&run).join("state.json"), "").unwrap();
        std::fs::write(log.join(format!("{run}.log")), "").unwrap();
    }
    let run = run(directory.path());
    run.begin().unwrap();
    let (runs, logs) = (names(&state), names(&log));
    assert_eq!((runs.len(), logs.len()), (21, 21));
    assert!(state.join("originals").is_dir() && log.join("mine.log").is_file());
    assert!(!state.join(format!("20200101T000015Z-{PAIR}")).exists());
    assert!(state.join(format!("20200101T000016Z-{PAIR}")).exists());
}
