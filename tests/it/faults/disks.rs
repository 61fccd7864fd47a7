//! Real small disks that have no more room, no more inodes, or turn read-only in the middle.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use filetime::FileTime;
use instancesync::exit::ExitCode;
use instancesync::problem::{ProblemKind, Side};
use instancesync::report::Report;
use instancesync::transfer::TransferError;
use instancesync::transfer::wire::message::FailureClass;

use super::inject::{self, Injection, TARGET_THREAD, can_inject};
use crate::staged;
use crate::support::disk::Disk;
use crate::support::engine::{Job, Ran};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{Places, assert_none, put};
use crate::support::rng::Rng;

/// How many small files each source has.
const SMALL_FILES: usize = 120;

/// A source, and a target on a small disk that has older files under the same names.
struct Case {
    places: Places,
    is_staged: bool,
    old: Manifest,
}

impl Case {
    fn new(target: &Path, is_staged: bool) -> Case {
        let mut places = Places::empty();
        places.ours = target.to_owned();
        for number in 0..SMALL_FILES {
            let name = format!("directory-{}/file-{number}", number % 7);
            put(&places.source.join(&name), &format!("new {number}"));
            if number % 3 == 0 {
                put(&places.ours.join(&name), &format!("the old {number}"));
            }
        }
        rustix::fs::syncfs(fs::File::open(target).unwrap()).unwrap();
        let old = Manifest::of(&places.ours);
        Case {
            places,
            is_staged,
            old,
        }
    }

    fn job(&self) -> Job<'_> {
        let mut job = Job::new(&self.places.source, &self.places.ours).deleting(u64::MAX);
        if self.is_staged {
            job.policy.staged = Some(Vec::new());
            job.plans = staged::passes();
        }
        job
    }

    fn copy(&self) -> PathBuf {
        match self.is_staged {
            true => self.places.ours.join(".instancesync/stage"),
            false => self.places.ours.clone(),
        }
    }

    /// Every file is an old or a new one, whole; a live tree beside a stage has not changed.
    #[track_caller]
    fn assert_whole(&self, context: &str) {
        let source = &self.places.source;
        for number in 0..SMALL_FILES {
            let name = format!("directory-{}/file-{number}", number % 7);
            let Ok(found) = fs::read_to_string(self.copy().join(&name)) else {
                continue;
            };
            let known = [format!("new {number}"), format!("the old {number}")];
            assert!(known.contains(&found), "{context}: {name}: {found:?}");
        }
        for name in ["large-0", "large-1", "large-2"] {
            if let Ok(found) = fs::read(self.copy().join(name)) {
                let is_whole = found == fs::read(source.join(name)).unwrap();
                assert!(is_whole, "{context}: {name} of {}", found.len());
            }
        }
        if self.is_staged {
            let live = Manifest::without(&self.places.ours, ".instancesync");
            assert_none(
                &diff(&self.old, &live),
                &format!("{context}: the live tree"),
            );
        }
    }

    /// What a stage holds that the source has no more goes only after all has landed.
    fn discard(&self) {
        if self.is_staged {
            fs::remove_dir_all(self.places.ours.join(".instancesync")).unwrap();
        }
    }

    #[track_caller]
    fn assert_completes(&self, context: &str) {
        self.job().run().stats();
        let copy = Manifest::without(&self.copy(), ".instancesync");
        assert_none(&diff(&Manifest::of(&self.places.source), &copy), context);
    }
}

fn add_large(source: &Path, count: usize) {
    let mut rng = Rng::new(3);
    for number in 0..count {
        let content: Vec<u8> = (0..3 << 20).map(|_| rng.below(256) as u8).collect();
        fs::write(source.join(format!("large-{number}")), content).unwrap();
    }
}

/// The run ends, or its exit code says, for want of room.
#[track_caller]
fn assert_no_room(ran: &Ran) {
    let mut report = Report::default();
    for problem in &ran.problems {
        report.add_problem(problem.clone());
    }
    match &ran.result {
        Ok(_) => assert_eq!(report.exit_code(), ExitCode::NoSpace, "{ran:?}"),
        Err(TransferError::Peer { class, .. }) => {
            assert_eq!(*class, FailureClass::NoSpace, "{ran:?}");
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_full_disk_ends_the_run_and_a_smaller_source_fits() {
    let test = "a_full_disk_ends_the_run_and_a_smaller_source_fits";
    for is_staged in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let mounted = place.path().join("disk");
        let Some(_disk) = Disk::new(test, &mounted, "8M", &[]) else {
            return;
        };
        let case = Case::new(&mounted.join("copy"), is_staged);
        add_large(&case.places.source, 3);
        assert_no_room(&case.job().run());
        case.assert_whole("full");
        case.discard();
        for number in 1..3 {
            fs::remove_file(case.places.source.join(format!("large-{number}"))).unwrap();
        }
        case.assert_completes("with room");
    }
}

#[test]
fn a_disk_without_inodes_ends_the_run_and_a_smaller_source_fits() {
    let test = "a_disk_without_inodes_ends_the_run_and_a_smaller_source_fits";
    for is_staged in [false, true] {
        let place = tempfile::tempdir().unwrap();
        let mounted = place.path().join("disk");
        let Some(_disk) = Disk::new(test, &mounted, "8M", &["-N", "128"]) else {
            return;
        };
        let case = Case::new(&mounted.join("copy"), is_staged);
        let ran = case.job().run();
        assert_no_room(&ran);
        case.assert_whole("no inodes");
        case.discard();
        // Whatever had no room goes from the source, and two that had from both.
        for number in 0..SMALL_FILES {
            let name = format!("directory-{}/file-{number}", number % 7);
            let landed = case.copy().join(&name);
            if number < 2 {
                fs::remove_file(&landed).unwrap_or(());
            }
            let has_room = match is_staged {
                true => number < 40,
                false => landed.exists(),
            };
            if number < 2 || !has_room {
                fs::remove_file(case.places.source.join(&name)).unwrap();
            }
        }
        case.assert_completes("with inodes");
    }
}

#[test]
fn a_disk_that_turns_read_only_is_told_and_the_next_run_completes() {
    let test = "a_disk_that_turns_read_only_is_told_and_the_next_run_completes";
    for (frame, is_staged) in [(0, false), (2, false), (5, false), (11, false), (6, true)] {
        let place = tempfile::tempdir().unwrap();
        let mounted = place.path().join("disk");
        let Some(disk) = Disk::new(test, &mounted, "24M", &[]) else {
            return;
        };
        let case = Case::new(&mounted.join("copy"), is_staged);
        add_large(&case.places.source, 2);
        let breaker = disk.breaker();
        if fs::metadata(&breaker).is_err() {
            return println!("skipped {test}: this kernel lets no disk fail");
        }
        let mut job = case.job();
        let mut seen = 0;
        job.down = Box::new(move |_| {
            if seen == frame {
                fs::write(&breaker, "1").unwrap();
            }
            seen += 1;
            true
        });
        let ran = job.run();
        let context = format!("read-only at frame {frame}, staged {is_staged}");
        let is_told = match &ran.result {
            Ok(_) => ran
                .problems
                .iter()
                .any(|told| told.kind == ProblemKind::Failed),
            Err(error) => !error.to_string().is_empty(),
        };
        assert!(is_told, "{context}: {ran:?}");
        case.assert_whole(&context);
        disk.mend();
        case.assert_whole(&format!("{context}, mended"));
        case.assert_completes(&context);
    }
}

#[test]
fn a_changed_file_without_room_for_its_copy_is_begun_once_and_leaves_none() {
    let test = "a_changed_file_without_room_for_its_copy_is_begun_once_and_leaves_none";
    let place = tempfile::tempdir().unwrap();
    let mounted = place.path().join("disk");
    let Some(_disk) = Disk::new(test, &mounted, "24M", &[]) else {
        return;
    };
    if !can_inject(test) {
        return;
    }
    let mut places = Places::empty();
    places.ours = mounted.join("copy");
    let mut rng = Rng::new(5);
    let words = (0..(12 << 20) / 8).map(|_| rng.next().to_le_bytes());
    let contents: Vec<u8> = words.flatten().collect();
    fs::create_dir(&places.ours).unwrap();
    for root in [&places.source, &places.ours] {
        fs::write(root.join("disk.img"), &contents).unwrap();
    }
    let changed = places.source.join("disk.img");
    let file = fs::OpenOptions::new().write(true).open(&changed).unwrap();
    for page in (0..(12 << 20) / 4096).step_by(8) {
        file.write_all_at(b"changed", page * 4096).unwrap();
    }
    filetime::set_file_mtime(&changed, FileTime::from_unix_time(1_000_000_000, 0)).unwrap();
    let turn = inject::turn();
    let injection = Injection::start(&turn, Side::Source, None);
    let mut job = Job::new(&places.source, &places.ours);
    job.agent_thread = TARGET_THREAD;
    let ran = job.run();
    let calls = injection.census();
    assert_no_room(&ran);
    let copies = calls.get(&(Side::Target, "copy_file_range")).copied();
    assert!(copies.unwrap_or_default() < 10, "{copies:?}");
    let left = fs::read_dir(places.ours.join(".instancesync"));
    let left: Vec<_> = left.into_iter().flatten().map(Result::unwrap).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(fs::read(places.ours.join("disk.img")).unwrap() == contents);
}

#[test]
fn a_time_that_the_disk_cannot_store_is_told() {
    let test = "a_time_that_the_disk_cannot_store_is_told";
    let place = tempfile::tempdir().unwrap();
    let mounted = place.path().join("disk");
    let Some(_disk) = Disk::new(test, &mounted, "8M", &["-I", "128"]) else {
        return;
    };
    let mut places = Places::empty();
    places.ours = mounted.join("copy");
    for (name, seconds) in [
        ("late", 2_208_988_800),
        ("early", 0),
        ("now", 1_700_000_000),
    ] {
        let directory = places.source.join(name);
        put(&directory.join("file"), name);
        std::os::unix::fs::symlink("file", directory.join("link")).unwrap();
        for path in [&directory.join("file"), &directory.join("link"), &directory] {
            let time = FileTime::from_unix_time(seconds, 0);
            filetime::set_symlink_file_times(path, time, time).unwrap();
        }
    }
    let ran = Job::new(&places.source, &places.ours).run();
    let mut told: Vec<String> = ran
        .problems
        .iter()
        .map(|problem| {
            let path = String::from_utf8_lossy(&problem.path);
            format!(
                "{path}: {}: {}",
                problem.operation,
                problem.kind == ProblemKind::Failed
            )
        })
        .collect();
    told.sort();
    let all = [
        "late/file: set mtime: true",
        "late/link: set mtime: true",
        "late: set mtime: true",
    ];
    assert_eq!(told, all, "{ran:?}");
}
