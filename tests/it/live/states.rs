//! What of a file in motion reaches the target: one state that the source had, or a report. Each
//! file tells by its contents of which state it is.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{Crew, change};
use crate::staged::passes;
use crate::support::engine::Job;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{Places, assert_none};
use crate::support::rng::Rng;
use crate::support::span;

/// Lengths of the files, in bytes: in a bundle, in segments, and with a basis of blocks.
const LENGTHS: [usize; 3] = [20_000, 300_000, 2_000_000];

/// In how many parts a file is written into, and what is left.
const PARTS: usize = 5;

/// The contents of a state.
fn state(number: u64, length: usize) -> String {
    let line = format!("state {number:012}\n");
    line.repeat(length / line.len())
}

/// Tells whether contents are those of one state of that length.
fn is_state(contents: &str, length: usize) -> bool {
    let number = contents
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("state "));
    let number = number.and_then(|number| number.parse().ok());
    number.is_some_and(|number| contents == state(number, length))
}

/// Tells whether contents are those of a file at one moment while it is written from its beginning:
/// up to some place a state, from there on the one before, or nothing yet.
fn is_between_states(contents: &str, length: usize) -> bool {
    let Some(number) = contents
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("state "))
    else {
        return contents.is_empty();
    };
    let Ok(number) = number.parse::<u64>() else {
        return false;
    };
    let new = state(number, length);
    let old = number
        .checked_sub(1)
        .map_or(String::new(), |number| state(number, length));
    let bytes = contents.bytes().zip(new.bytes());
    let end = bytes.take_while(|(one, other)| one == other).count();
    contents.get(end..) == old.get(end..).or(Some(""))
}

/// Tells whether contents are those of a log: whole lines in order from the first one.
fn is_log(contents: &str) -> bool {
    let mut lines = contents.split_inclusive('\n').enumerate();
    lines.all(|(number, line)| line == format!("line {number:08}\n"))
}

/// Writers of every kind, in `root`.
fn writers(root: &Path) -> Vec<Box<dyn FnMut(u64) + Send>> {
    let mut workers: Vec<Box<dyn FnMut(u64) + Send>> = Vec::new();
    for length in LENGTHS {
        // As careful programs do: a new file takes the name.
        let (temp, file) = (
            root.join(format!("temp-{length}")),
            root.join(format!("new-{length}")),
        );
        workers.push(Box::new(move |round| {
            fs::write(&temp, state(round, length)).unwrap();
            fs::rename(&temp, &file).unwrap();
            thread::sleep(Duration::from_millis(round % 7));
        }));
        // As databases do: within the file, here and there.
        let file = root.join(format!("within-{length}"));
        workers.push(Box::new(move |round| {
            let open = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&file);
            let (file, contents) = (open.unwrap(), state(round, length));
            for (part, bytes) in contents.as_bytes().chunks(length / PARTS).enumerate() {
                file.write_all_at(bytes, (part * (length / PARTS)) as u64)
                    .unwrap();
            }
            thread::sleep(Duration::from_millis(round % 40));
        }));
    }
    let log = root.join("log");
    workers.push(Box::new(move |round| {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        file.write_all(format!("line {round:08}\n").as_bytes())
            .unwrap();
    }));
    workers
}

#[test]
fn every_file_is_a_state_that_the_source_had_or_is_reported() {
    let places = Places::empty();
    let crew = Crew::start(writers(&places.source));
    let began = Instant::now();
    let (mut runs, mut reported_count, mut states) = (0, 0, BTreeSet::new());
    while began.elapsed() < span() * 2 || runs < 4 {
        let job = Job::new(&places.source, &places.ours);
        let ran = if runs % 2 == 0 { job } else { job.checksum() }.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        let reported: BTreeSet<_> = ran
            .problems
            .iter()
            .map(|problem| &problem.path[..])
            .collect();
        reported_count += reported.len();
        for entry in fs::read_dir(&places.ours).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let contents = fs::read_to_string(entry.path()).unwrap();
            let length = name
                .rsplit('-')
                .next()
                .and_then(|length| length.parse().ok());
            let is_whole = match length {
                // Until it gets its name it has no state.
                Some(_) if name.starts_with("temp") => true,
                Some(length) if name.starts_with("within") => {
                    is_between_states(&contents, length) || reported.contains(name.as_bytes())
                }
                Some(length) => is_state(&contents, length),
                None => is_log(&contents),
            };
            assert!(is_whole, "run {runs}: {name}, {:?}", ran.problems);
            states.insert(contents.lines().next().unwrap_or_default().to_owned());
        }
        runs += 1;
    }
    assert!(crew.finish().iter().all(|rounds| *rounds > 10));
    assert!(
        reported_count > 0 && states.len() > 3,
        "nothing moved: {reported_count} {states:?}"
    );
}

#[test]
fn three_passes_over_a_source_that_comes_to_rest_before_the_last_make_it_equal() {
    for seed in 0..2 {
        let places = Places::empty();
        let mut workers = writers(&places.source);
        for number in 0..2 {
            let (root, mut rng) = (places.source.clone(), Rng::new(seed * 10 + number));
            workers.push(Box::new(move |_| change(&root, &mut rng)));
        }
        let mut crew = Some(Crew::start(workers));
        thread::sleep(Duration::from_millis(200));
        let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
        job.plans = passes();
        // What is to hold still does so before the last pass, as under quiesce.
        job.before_pass = Box::new(move |number| match number {
            2 => drop(crew.take().map(Crew::finish)),
            _ => thread::sleep(Duration::from_millis(100)),
        });
        let ran = job.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        assert_eq!(ran.problems, [], "seed {seed}");
        let differences = diff(&Manifest::of(&places.source), &Manifest::of(&places.ours));
        assert_none(&differences, &format!("seed {seed}: after three passes"));
    }
}
