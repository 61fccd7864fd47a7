//! A source that changes in the one moment before a call of its walk, whichever: later passes make up
//! for what the ones before met, what the last one meets is told as motion, and the next run
//! completes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use instancesync::problem::{Problem, Side};
use instancesync::transfer::sender::Deletes;
use instancesync::transfer::{SEGMENT_LEN, TransferError};

use super::inject::{self, Moment, can_inject};
use crate::support::engine::{AT_REST, Job, Ran, timestamp_passes};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{assert_none, in_memory, put};

/// What happens, and to what, below the source.
type Change = fn(&Path);

const CHANGES: [(&str, Change); 7] = [
    ("a directory gets another name", |root| {
        fs::rename(root.join("a/d"), root.join("a/renamed")).unwrap();
    }),
    ("a directory moves to another", |root| {
        fs::rename(root.join("a/d"), root.join("b/moved")).unwrap();
    }),
    ("a directory comes", |root| {
        put(&root.join("a/new/deep/file"), "new");
    }),
    ("a directory goes", |root| {
        fs::remove_dir_all(root.join("a/d")).unwrap();
    }),
    ("a directory takes the name of another", |root| {
        fs::rename(root.join("a/d"), root.join("aside")).unwrap();
        fs::rename(root.join("b"), root.join("a/d")).unwrap();
    }),
    ("a directory takes the name of a file", |root| {
        fs::remove_file(root.join("a/1")).unwrap();
        fs::rename(root.join("a/d"), root.join("a/1")).unwrap();
    }),
    ("a file gets another name", |root| {
        fs::rename(root.join("a/d/3"), root.join("a/d/renamed")).unwrap();
    }),
];

fn build(root: &Path) {
    for path in ["a/1", "a/2", "a/d/3", "a/d/e/4", "b/5", "b/f/6", "7"] {
        put(&root.join(path), path);
    }
}

/// Runs three passes, of which the second trusts what the first has found, and `change` before call
/// number `nth` of the source. Tells whether that was before the last pass, and returns how many such calls there were.
fn run(turn: &inject::Turn, place: &Path, (nth, change): (u64, Change)) -> (Ran, bool, u64) {
    let (source, target) = (place.join("source"), place.join("target"));
    let pass = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&pass);
    let root = source.clone();
    let moment = Moment::start(turn, Side::Source, Arc::clone(&pass), nth, move || {
        change(&root);
    });
    let mut job = Job::new(&source, &target).deleting(u64::MAX);
    job.plans = timestamp_passes([Deletes::AtEnd; 3]);
    job.before_pass = Box::new(move |number| seen.store(number as u64 + 1, Ordering::SeqCst));
    let ran = job.run();
    let (calls, happened_in) = moment.end();
    (ran, happened_in.is_some_and(|pass| pass < 3), calls)
}

fn told(problem: &Problem) -> String {
    let path = String::from_utf8_lossy(&problem.path);
    let (side, operation, cause) = (problem.side, &problem.operation, &problem.cause);
    format!("{side}: {path}: {operation}: {cause}")
}

/// Returns what was not as it should be.
fn complaints(turn: &inject::Turn, place: &Path, (nth, change): (u64, Change)) -> Vec<String> {
    let (ran, is_early, _) = run(turn, place, (nth, change));
    let (source, target) = (place.join("source"), place.join("target"));
    let mut complaints = Vec::new();
    if let Err(error) = &ran.result {
        complaints.push(error.to_string());
    }
    let is_told = |problem: &&Problem| is_early || !problem.kind.is_motion();
    complaints.extend(ran.problems.iter().filter(is_told).map(told));
    if !is_early {
        let again = Job::new(&source, &target).deleting(u64::MAX).run();
        complaints.extend(again.problems.iter().map(told));
    }
    complaints.extend(diff(&Manifest::of(&source), &Manifest::of(&target)));
    complaints
}

#[test]
fn whenever_the_source_changes_no_pass_takes_it_for_a_fault() {
    if !can_inject("whenever_the_source_changes_no_pass_takes_it_for_a_fault") {
        return;
    }
    let turn = inject::turn();
    let memory = in_memory();
    let make = |number: u64, name: usize| -> PathBuf {
        let place = memory.path().join(format!("{name}-{number}"));
        build(&place.join("source"));
        place
    };
    let place = make(0, CHANGES.len());
    thread::sleep(AT_REST);
    let (_, _, calls) = run(&turn, &place, (u64::MAX, |_| ()));
    assert!(calls > 20, "{calls}");
    let mut cases = Vec::new();
    for (number, (name, change)) in CHANGES.into_iter().enumerate() {
        for nth in 0..calls {
            cases.push((make(nth, number), (nth, name, change)));
        }
    }
    thread::sleep(AT_REST);
    let mut all = Vec::new();
    for (place, (nth, name, change)) in cases {
        let found = complaints(&turn, &place, (nth, change));
        all.extend(
            found
                .iter()
                .map(|text| format!("{name} before call {nth}: {text}")),
        );
    }
    assert_none(&all, "a change in one moment");
}

/// Runs passes with a stop before call number `nth` of the source in the last of them; returns how
/// many calls there were in that.
fn calls_of_a_stopped_pass(turn: &inject::Turn, mut job: Job<'_>, nth: u64) -> u64 {
    let (pass, stop) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (seen, stopped) = (Arc::clone(&pass), Arc::clone(&stop));
    let moment = Moment::start(turn, Side::Source, pass, nth, move || {
        stopped.store(true, Ordering::SeqCst);
        // Until the stop was heard by whoever waits for messages; no call is made meanwhile.
        thread::sleep(Duration::from_millis(500));
    });
    let last = job.plans.len() - 1;
    job.before_pass =
        Box::new(move |number| seen.store(u64::from(number == last), Ordering::SeqCst));
    let ran = job.run_until(&stop);
    assert!(matches!(ran.result, Err(TransferError::Stopped)), "{ran:?}");
    moment.end().0
}

#[test]
fn a_stop_ends_a_walk_that_has_nothing_to_tell() {
    const DIRECTORIES: u64 = 300;
    if !can_inject("a_stop_ends_a_walk_that_has_nothing_to_tell") {
        return;
    }
    let turn = inject::turn();
    let memory = in_memory();
    let [source, target] = ["source", "target"].map(|name| memory.path().join(name));
    for number in 0..DIRECTORIES {
        put(&source.join(format!("{number}/file")), "");
    }
    thread::sleep(AT_REST);
    let mut job = Job::new(&source, &target);
    job.plans = timestamp_passes([Deletes::Never; 2]);
    // The root takes one call for each name.
    let nth = DIRECTORIES + 100;
    let calls = calls_of_a_stopped_pass(&turn, job, nth);
    assert!((nth..nth + 50).contains(&calls), "{calls}");
}

#[test]
fn a_stop_ends_a_file_of_zeros() {
    const SEGMENTS: u64 = 400;
    if !can_inject("a_stop_ends_a_file_of_zeros") {
        return;
    }
    let turn = inject::turn();
    let memory = in_memory();
    let [source, target] = ["source", "target"].map(|name| memory.path().join(name));
    fs::create_dir(&source).unwrap();
    let zeros = vec![0; SEGMENTS as usize * SEGMENT_LEN];
    fs::write(source.join("zeros"), zeros).unwrap();
    let calls = calls_of_a_stopped_pass(&turn, Job::new(&source, &target), 60);
    assert!((60..SEGMENTS / 2).contains(&calls), "{calls}");
}

#[test]
fn a_name_that_is_away_while_its_directory_is_read_is_not_missed() {
    let test = "a_name_that_is_away_while_its_directory_is_read_is_not_missed";
    if !can_inject(test) {
        return;
    }
    let turn = inject::turn();
    let place = tempfile::tempdir().unwrap();
    let (source, target) = (place.path().join("source"), place.path().join("target"));
    for number in 0..3000 {
        put(&source.join(format!("name-{number:04}")), "all the time");
    }
    Job::new(&source, &target).run().stats();
    // In the order in which the kernel tells them, some 1000 in each call.
    let names = fs::read_dir(&source).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    for name in names.iter().skip(900).step_by(100) {
        let (here, away) = (source.join(name), place.path().join("away"));
        let (there, back) = (away.clone(), here.clone());
        let moment = Moment::before(
            &turn,
            Side::Source,
            "getdents64",
            vec![
                (1, Box::new(move || fs::rename(here, there).unwrap())),
                (2, Box::new(move || fs::rename(away, back).unwrap())),
            ],
        );
        let ran = Job::new(&source, &target).deleting(u64::MAX).run();
        let (calls, _) = moment.end();
        assert!(calls > 3, "{calls}");
        assert!(target.join(name).exists(), "{name:?}: {ran:?}");
    }
}
