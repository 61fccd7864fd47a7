//! Large files that are changed where they lie: in a stage, and in a directory where the person
//! wants it. Cuts, other names, other sizes, programs.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc;

use filetime::FileTime;
use instancesync::problem::{Problem, ProblemKind, Side};
use instancesync::relpath::RelPath;
use instancesync::transfer::sender::Deletes;
use instancesync::transfer::wire::message::{Down, Up};

use crate::staged::passes;
use crate::support::can_run;
use crate::support::engine::{Job, cut_after, timestamp_passes};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{LOCAL, Places, assert_none};
use crate::support::rng::Rng;

const FILE_LEN: usize = 9 << 20;
const PAGE_LEN: u64 = 4096;

/// A source and a target with one large file each: the same, but for every hundredth page.
fn changed_file(path: &str) -> Places {
    let places = Places::empty();
    let mut rng = Rng::new(71);
    let contents: Vec<u8> = (0..FILE_LEN / 8)
        .flat_map(|_| rng.next().to_le_bytes())
        .collect();
    for root in [&places.source, &places.ours] {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &contents).unwrap();
        filetime::set_file_mtime(&file, FileTime::from_unix_time(1_000_000_000, 0)).unwrap();
    }
    change(&places.source.join(path), 0);
    places
}

/// Changes every hundredth page; one of them becomes zeros.
fn change(path: &Path, seed: u8) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for page in (u64::from(seed)..FILE_LEN as u64 / PAGE_LEN).step_by(100) {
        let byte = if page < 200 { 0 } else { seed + 1 };
        let bytes = vec![byte; PAGE_LEN as usize];
        file.write_all_at(&bytes, page * PAGE_LEN).unwrap();
    }
}

fn job(places: &Places) -> Job<'_> {
    let mut job = Job::new(&places.source, &places.ours);
    job.policy.patch_in_place = true;
    job
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[track_caller]
fn assert_same(places: &Places, context: &str) {
    let differences = diff(&Manifest::of(&places.source), &Manifest::of(&places.ours));
    assert_none(&differences, context);
}

#[test]
fn a_file_keeps_its_inode_and_gets_what_differs() {
    if !can_run("a_file_keeps_its_inode_and_gets_what_differs", LOCAL) {
        return;
    }
    for is_checksum in [false, true] {
        let places = changed_file("data/disk");
        let before = inode(places.ours.join("data/disk"));
        let job = if is_checksum {
            job(&places).checksum()
        } else {
            job(&places)
        };
        let ran = job.run();
        let stats = ran.stats();
        assert_eq!(stats.landed_files, 1);
        assert!(stats.body_bytes < FILE_LEN as u64 / 20, "{stats:?}");
        assert_eq!(inode(places.ours.join("data/disk")), before);
        assert_same(&places, "patched");
    }
}

#[test]
fn a_file_that_is_too_long_to_be_known_keeps_its_inode_too() {
    if !can_run(
        "a_file_that_is_too_long_to_be_known_keeps_its_inode_too",
        LOCAL,
    ) {
        return;
    }
    const LEN: u64 = 17 << 30;
    let places = file_of_holes(LEN);
    let ours = places.ours.join("disk");
    let file = OpenOptions::new().write(true).open(&ours).unwrap();
    file.write_all_at(b"old", LEN / 2).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let before = inode(&ours);
    assert!(job(&places).run().stats().body_bytes < 1 << 20);
    assert_eq!(inode(&ours), before);
    let file = fs::File::open(&ours).unwrap();
    assert_eq!(file.metadata().unwrap().len(), LEN);
    for (offset, expected) in [(0, b"new"), (LEN / 2, &[0; 3]), (LEN - PAGE_LEN, b"new")] {
        let mut found = [7; 3];
        file.read_exact_at(&mut found, offset).unwrap();
        assert_eq!(&found, expected, "at {offset}");
    }
}

#[test]
fn a_file_is_replaced_as_a_whole_where_nobody_asked() {
    if !can_run("a_file_is_replaced_as_a_whole_where_nobody_asked", LOCAL) {
        return;
    }
    let places = changed_file("disk");
    let before = inode(places.ours.join("disk"));
    Job::new(&places.source, &places.ours).run().stats();
    assert_ne!(inode(places.ours.join("disk")), before);
    assert_same(&places, "replaced");
}

#[test]
fn a_file_with_another_name_is_left_to_that() {
    if !can_run("a_file_with_another_name_is_left_to_that", LOCAL) {
        return;
    }
    let places = changed_file("disk");
    let backup = places.ours.with_file_name("backup of the target");
    fs::hard_link(places.ours.join("disk"), &backup).unwrap();
    let before = fs::read(&backup).unwrap();
    job(&places).run().stats();
    assert_same(&places, "replaced");
    assert!(
        fs::read(&backup).unwrap() == before,
        "the other name changed"
    );
}

#[test]
fn a_cut_leaves_what_the_next_run_repairs() {
    if !can_run("a_cut_leaves_what_the_next_run_repairs", LOCAL) {
        return;
    }
    let mut torn = 0;
    for frames in 3..20 {
        let places = changed_file("disk");
        let ours = places.ours.join("disk");
        let before = fs::read(&ours).unwrap();
        let mut cut = job(&places);
        cut.down = cut_after(frames);
        drop(cut.run());
        if fs::read(&ours).unwrap() != before {
            torn += 1;
            // By chance, or because both were written to at one moment.
            let time = fs::metadata(places.source.join("disk")).unwrap().modified();
            let ours = OpenOptions::new().write(true).open(ours).unwrap();
            ours.set_modified(time.unwrap()).unwrap();
        }
        job(&places).run().stats();
        assert_same(&places, &format!("after a cut at frame {frames}"));
    }
    assert!(torn > 0, "no cut hit the middle of the file");
}

#[test]
fn what_comes_out_wrong_is_asked_for_whole() {
    if !can_run("what_comes_out_wrong_is_asked_for_whole", LOCAL) {
        return;
    }
    let places = changed_file("disk");
    let before = inode(places.ours.join("disk"));
    let mut disturbed = job(&places);
    let file = OpenOptions::new()
        .write(true)
        .open(places.ours.join("disk"));
    let file = file.unwrap();
    // The sums are made; the next page lies in a block that is about to be patched.
    disturbed.up = Box::new(move |frame| {
        if let Ok(Up::Sums { .. }) = frame.message() {
            file.write_all_at(b"somebody else's", PAGE_LEN).unwrap();
        }
        true
    });
    assert_eq!(disturbed.run().stats().landed_files, 1);
    assert_ne!(inode(places.ours.join("disk")), before);
    assert_same(&places, "asked for again");
}

/// Bytes of a file whose sums leave in more than one message.
const LONG_FILE_LEN: u64 = 70 << 20;

/// A source and a target with a file of holes; the source's has something at its beginning and at
/// its end.
fn file_of_holes(length: u64) -> Places {
    let places = Places::empty();
    for root in [&places.source, &places.ours] {
        fs::create_dir_all(root).unwrap();
        let file = fs::File::create(root.join("disk")).unwrap();
        file.set_len(length).unwrap();
    }
    let ours = places.ours.join("disk");
    filetime::set_file_mtime(&ours, FileTime::from_unix_time(1_000_000_000, 0)).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .open(places.source.join("disk"));
    let file = file.unwrap();
    for offset in [0, length - PAGE_LEN] {
        file.write_all_at(b"new", offset).unwrap();
    }
    places
}

/// Has the source's file changed by `disturb` when the target has got a part of it.
fn disturb_midway(job: &mut Job<'_>, disturb: impl FnOnce() + Send + 'static) {
    let (begun, is_begun) = mpsc::channel();
    job.down = Box::new(move |frame| {
        if let Ok(Down::Segment { .. }) = frame.message() {
            begun.send(()).unwrap_or(());
        }
        true
    });
    let mut disturb = Some(disturb);
    job.up = Box::new(move |frame| {
        // The source does not come to the end without these.
        if let Ok(Up::Sums { first: 1.., .. }) = frame.message()
            && let Some(disturb) = disturb.take()
        {
            is_begun.recv().unwrap();
            disturb();
        }
        true
    });
}

fn is_torn(problem: &Problem) -> bool {
    problem.side == Side::Target && problem.kind == ProblemKind::Failed && problem.path == b"disk"
}

#[test]
fn a_file_that_stays_half_patched_is_a_failure() {
    if !can_run("a_file_that_stays_half_patched_is_a_failure", LOCAL) {
        return;
    }
    for passes in [1, 2] {
        let places = file_of_holes(LONG_FILE_LEN);
        let mut job = job(&places);
        if passes == 2 {
            job.plans = timestamp_passes([Deletes::Never; 2]);
        }
        let path = places.source.join("disk");
        disturb_midway(&mut job, move || {
            fs::set_permissions(&path, Permissions::from_mode(0o611)).unwrap();
        });
        let ran = job.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        // A pass that follows lists it again.
        let is_failure = passes == 1;
        assert_eq!(ran.problems.iter().any(is_torn), is_failure, "{ran:?}");
        let size = fs::metadata(places.ours.join("disk")).unwrap().len();
        assert_eq!(size != LONG_FILE_LEN, is_failure);
    }
}

#[test]
fn a_half_patched_file_that_is_gone_when_it_is_asked_for_again_is_a_failure() {
    let name = "a_half_patched_file_that_is_gone_when_it_is_asked_for_again_is_a_failure";
    if !can_run(name, LOCAL) {
        return;
    }
    // How many passes, whether they delete, and whether it stays as it is.
    for (is_followed, deletes, is_failure) in [
        (false, true, true),
        (true, true, false),
        (true, false, true),
    ] {
        let places = changed_file("disk");
        let mut job = job(&places);
        if deletes {
            job = job.deleting(u64::MAX);
        }
        if is_followed {
            let last = if deletes {
                Deletes::AtEnd
            } else {
                Deletes::Never
            };
            job.plans = timestamp_passes([Deletes::Never, last]);
        }
        let ours = places.ours.join("disk");
        let file = OpenOptions::new().write(true).open(&ours).unwrap();
        let (path, mut wants) = (places.source.join("disk"), 0);
        job.up = Box::new(move |frame| {
            match frame.message() {
                Ok(Up::Sums { .. }) => {
                    file.write_all_at(b"somebody else's", PAGE_LEN).unwrap();
                }
                Ok(Up::Wants { wants: asked, .. }) if !asked.is_empty() => {
                    wants += 1;
                    if wants == 2 {
                        fs::remove_file(&path).unwrap();
                    }
                }
                _ => {}
            }
            true
        });
        let ran = job.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        let context = format!("{is_followed} {deletes} {ran:?}");
        assert_eq!(ran.problems.iter().any(is_torn), is_failure, "{context}");
        assert_eq!(ours.exists(), is_failure, "{context}");
    }
}

#[test]
fn a_stage_is_patched_but_for_programs() {
    if !can_run("a_stage_is_patched_but_for_programs", LOCAL) {
        return;
    }
    for (path, is_patched) in [("var/lib/disk", true), ("usr/lib/program", false)] {
        let places = changed_file(path);
        let staged = |places: &Places| {
            let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
            job.policy.staged = Some(Vec::<RelPath>::new());
            job.plans = passes();
            job.run().stats();
        };
        let live = Manifest::of(&places.ours);
        staged(&places);
        let stage = places.ours.join(".instancesync/stage");
        let before = inode(stage.join(path));
        change(&places.source.join(path), 7);
        staged(&places);
        assert_eq!(inode(stage.join(path)) == before, is_patched, "{path}");
        let differences = diff(&Manifest::of(&places.source), &Manifest::of(&stage));
        assert_none(&differences, path);
        let mut differences = diff(&live, &Manifest::of(&places.ours));
        differences.retain(|text| !text.contains(".instancesync"));
        assert_none(&differences, "the live tree");
    }
}
