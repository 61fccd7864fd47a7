//! A source that does not hold still: threads change it while passes run. Nobody sees half a
//! file on the target, nothing outside the tree is read, and a last run converges.

mod mapped;
mod states;

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use instancesync::problem::ProblemKind;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::engine::Job;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{Places, assert_none};
use crate::support::rng::Rng;

/// How long the source is kept moving.
const BUSY: Duration = Duration::from_secs(3);
/// What stands in the file outside the tree.
const SECRET: &str = "a secret that must not be copied";

/// Threads that go on until they are told to stop.
struct Crew {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Crew {
    fn start<F>(workers: Vec<F>) -> Crew
    where
        F: FnMut(u64) + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = workers
            .into_iter()
            .map(|mut work| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || {
                    let mut round = 0;
                    while !stop.load(Ordering::Relaxed) {
                        work(round);
                        round += 1;
                        thread::sleep(Duration::from_micros(300));
                    }
                    round
                })
            })
            .collect();
        Crew { stop, threads }
    }

    /// Returns how many rounds each made.
    fn finish(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.threads.into_iter().map(|thread| thread.join());
        joined.map(|rounds| rounds.expect("a worker")).collect()
    }
}

/// One random change below `root`. It may fail: others change the same tree.
fn change(root: &Path, rng: &mut Rng) {
    let file = |rng: &mut Rng| root.join(format!("d{}/f{}", rng.below(4), rng.below(12)));
    let (one, two) = (file(rng), file(rng));
    let size = *rng.pick(&[0, 100, 5000, 140_000, 400_000]);
    let done = match rng.below(9) {
        0 => fs::rename(&one, &two),
        1 => fs::remove_file(&one),
        2 => OpenOptions::new()
            .write(true)
            .open(&one)
            .and_then(|file| file.set_len(size as u64)),
        3 => OpenOptions::new()
            .append(true)
            .open(&one)
            .and_then(|mut file| file.write_all(&rng.bytes(3000))),
        4 => fs::hard_link(&one, &two),
        5 => fs::rename(
            root.join(format!("d{}", rng.below(4))),
            root.join("elsewhere"),
        ),
        6 => fs::rename(
            root.join("elsewhere"),
            root.join(format!("d{}", rng.below(4))),
        ),
        7 => OpenOptions::new()
            .write(true)
            .open(&one)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(70_000))?;
                file.write_all(&rng.bytes(1000))
            }),
        _ => {
            drop(fs::create_dir(one.parent().unwrap()));
            fs::write(&one, rng.bytes(size))
        }
    };
    // A name that another thread took away is no fault.
    drop(done);
}

#[test]
fn a_tree_in_motion_is_copied_and_then_converges() {
    let places = Places::empty();
    let mut rng = Rng::new(1);
    for _ in 0..400 {
        change(&places.source, &mut rng);
    }
    let root = places.source.clone();
    let workers = (0..3).map(|number| {
        let (root, mut rng) = (root.clone(), Rng::new(100 + number));
        move |_| change(&root, &mut rng)
    });
    let crew = Crew::start(workers.collect());
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < BUSY {
        let job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
        let ran = if runs % 2 == 0 { job } else { job.checksum() }.run();
        assert!(ran.result.is_ok(), "run {runs}: {ran:?}");
        for problem in &ran.problems {
            let moved = matches!(problem.kind, ProblemKind::Vanished | ProblemKind::Changed);
            // A directory that moved away leaves nothing to land in.
            let text = format!("{problem:?}");
            assert!(moved, "run {runs}: {text}");
        }
        runs += 1;
    }
    assert!(crew.finish().iter().all(|rounds| *rounds > 10));
    assert!(runs > 1);
    let last = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    last.checksum().run().stats();
    let differences = diff(&Manifest::of(&places.source), &Manifest::of(&places.ours));
    assert_none(&differences, "after it came to rest");
    assert!(!places.ours.join(".instancesync").exists());
}

/// A file that tells whether it is whole: its version in every line.
fn speak(version: u64, size: usize) -> String {
    let line = format!("version {version:012}\n");
    line.repeat(size / line.len())
}

#[test]
fn readers_of_the_target_see_whole_files() {
    let places = Places::empty();
    fs::create_dir(&places.ours).unwrap();
    let sizes = [400, 60_000, 600_000, 5_000_000];
    let write = move |root: &Path, version: u64| {
        for (number, size) in sizes.iter().enumerate() {
            // Replaced at one moment, as careful programs do.
            let temp = root.join(format!("temp-{number}"));
            let length = size + (version as usize % 3) * 20_000;
            fs::write(&temp, speak(version, length)).unwrap();
            fs::rename(&temp, root.join(format!("file-{number}"))).unwrap();
        }
    };
    write(&places.source, 0);
    let root = places.source.clone();
    let crew = Crew::start(vec![move |round| write(&root, round)]);
    let (root, looks) = (places.ours.clone(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&looks);
    let reader = Crew::start(vec![move |_| {
        for (number, size) in sizes.iter().enumerate() {
            let Ok(text) = fs::read_to_string(root.join(format!("file-{number}"))) else {
                continue;
            };
            counted.fetch_add(1, Ordering::Relaxed);
            let first = text.lines().next().expect("a file with a line");
            assert!(text.lines().all(|line| line == first), "a mixture");
            let version: u64 = first[8..].parse().unwrap();
            let length = size + (version as usize % 3) * 20_000;
            assert_eq!(text.len(), speak(version, length).len(), "half a file");
        }
    }]);
    let began = Instant::now();
    while began.elapsed() < BUSY {
        let ran = Job::new(&places.source, &places.ours).run();
        assert!(ran.result.is_ok(), "{ran:?}");
    }
    crew.finish();
    reader.finish();
    assert!(looks.load(Ordering::Relaxed) > 10, "nothing was read");
}

/// Replaces what is at `path` by something else, at one moment.
fn swap(path: &Path, round: u64, outside: &Path) {
    let temp = path.with_extension("swap");
    drop(fs::remove_file(&temp));
    match round % 4 {
        0 => fs::write(&temp, "inside\n".repeat(50_000)).unwrap(),
        1 => mknodat(CWD, &temp, FileType::Fifo, Mode::RWXU, 0).unwrap(),
        2 => symlink(outside, &temp).unwrap(),
        _ => fs::write(&temp, "inside").unwrap(),
    }
    fs::rename(&temp, path).unwrap();
}

#[test]
fn a_file_that_becomes_something_else_is_neither_awaited_nor_followed() {
    let places = Places::empty();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), SECRET.repeat(9000)).unwrap();
    fs::create_dir(places.source.join("dir")).unwrap();
    let workers = (0..3u64).map(|number| {
        let path = places.source.join(format!("swapped-{number}"));
        let secret = outside.path().join("secret");
        Box::new(move |round| swap(&path, round + number, &secret)) as Box<dyn FnMut(u64) + Send>
    });
    let mut workers: Vec<_> = workers.collect();
    // A directory that turns into a link to one outside, where the same name stands.
    let (dir, away, link) = ["dir", "away", "link"]
        .map(|name| places.source.join(name))
        .into();
    fs::write(dir.join("secret"), "inside").unwrap();
    symlink(outside.path(), &link).unwrap();
    workers.push(Box::new(move |_| {
        fs::rename(&dir, &away).unwrap();
        fs::rename(&link, &dir).unwrap();
        thread::sleep(Duration::from_micros(500));
        fs::rename(&dir, &link).unwrap();
        fs::rename(&away, &dir).unwrap();
    }));
    let crew = Crew::start(workers);
    let began = Instant::now();
    while began.elapsed() < BUSY {
        // Everything is asked for anew each time.
        if places.ours.exists() {
            fs::remove_dir_all(&places.ours).unwrap();
        }
        let ran = Job::new(&places.source, &places.ours).run();
        assert!(ran.result.is_ok(), "{ran:?}");
        assert_no_secret(&places.ours);
    }
    crew.finish();
}

fn assert_no_secret(root: &Path) {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    for path in files.map(|entry| -> PathBuf { entry.into_path() }) {
        let content = String::from_utf8(fs::read(&path).unwrap()).unwrap();
        assert!(!content.contains(SECRET), "{}", path.display());
    }
}
