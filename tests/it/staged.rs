//! A whole new tree beside the live one: it ends equal to the source, and the live one never
//! changes, whatever it had. How a stage takes its place is proven in `switch`.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::fixup::{Carry, Occasion, OwnerMap, carry};
use instancesync::fs::{Dir, Staged};
use instancesync::monitor::Pass;
use instancesync::relpath::RelPath;
use instancesync::transfer::sender::{Deletes, PassPlan, Turn};
use instancesync::transfer::wire::message::{Down, Up};

use crate::support::engine::Job;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{LOCAL, Mount, Places, assert_none, put};
use crate::support::{Ability, can_run, edit, rsync};

/// The passes of a staged clone: by attributes, by contents, and a last look.
pub fn passes() -> Vec<PassPlan> {
    let plan = |pass, turn| PassPlan {
        pass,
        deletes: Deletes::AtEnd,
        turn,
    };
    vec![
        plan(Pass::Timestamp, Turn::Early),
        plan(Pass::Checksum, Turn::Early),
        plan(Pass::Timestamp, Turn::Last),
    ]
}

fn job<'a>(places: &'a Places, volumes: &[&str]) -> Job<'a> {
    let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    let volumes = volumes.iter().map(|path| RelPath::new(path.as_bytes()));
    job.policy.staged = Some(volumes.collect::<Result<_, _>>().unwrap());
    job.plans = passes();
    job
}

fn stage(places: &Places) -> PathBuf {
    places.ours.join(".instancesync/stage")
}

/// Asserts that the stage is the source, and that the live tree is what it was.
#[track_caller]
fn assert_staged(places: &Places, live: &Manifest, context: &str) {
    let differences = diff(&Manifest::of(&places.source), &Manifest::of(&stage(places)));
    assert_none(&differences, &format!("{context}: the stage"));
    assert_live(places, live, context);
}

#[track_caller]
fn assert_live(places: &Places, live: &Manifest, context: &str) {
    let mut differences = diff(live, &Manifest::of(&places.ours));
    differences.retain(|text| !text.contains(".instancesync"));
    assert_none(&differences, &format!("{context}: the live tree"));
}

#[test]
fn a_stage_becomes_the_source_and_the_live_tree_stays() {
    if !can_run("a_stage_becomes_the_source_and_the_live_tree_stays", LOCAL) {
        return;
    }
    for seed in 1..=6 {
        let places = Places::with_tree(seed);
        // Some of it where inodes may be shared, the rest where they must not.
        for (from, to) in [("sticky", "usr/sticky"), ("shared", "usr/shared")] {
            let from = places.source.join(from);
            if from.exists() {
                fs::create_dir_all(places.source.join("usr")).unwrap();
                fs::rename(from, places.source.join(to)).unwrap();
            }
        }
        put(&places.source.join("usr/bin/program"), "the program");
        rsync::copy(&places.source, &places.ours);
        edit::edit(&places.ours, seed + 100);
        let live = Manifest::of(&places.ours);
        let ran = job(&places, &[]).run();
        ran.stats();
        assert_staged(&places, &live, &format!("seed {seed}"));
        // The source goes on living; the stage of before is continued.
        edit::edit(&places.source, seed + 200);
        job(&places, &[]).run().stats();
        assert_staged(&places, &live, &format!("seed {seed}, again"));
    }
}

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

/// A source and a live tree that are equal.
fn twins(files: &[&str]) -> Places {
    let places = Places::empty();
    for path in files {
        put(&places.source.join(path), "the same on both");
    }
    rsync::copy(&places.source, &places.ours);
    places
}

#[test]
fn equal_programs_share_their_inode_and_data_does_not() {
    if !can_run("equal_programs_share_their_inode_and_data_does_not", LOCAL) {
        return;
    }
    let places = twins(&["usr/bin/a", "var/lib/a", "usr/bin/b"]);
    fs::hard_link(places.ours.join("usr/bin/b"), places.ours.join("usr/bin/c")).unwrap();
    let ran = job(&places, &[]).run();
    assert_eq!(ran.stats().body_bytes, 0, "contents were sent");
    let is_shared =
        |path: &str| inode(&stage(&places).join(path)) == inode(&places.ours.join(path));
    assert!(is_shared("usr/bin/a"));
    assert!(!is_shared("var/lib/a"), "a database would change in both");
    assert!(
        !is_shared("usr/bin/b"),
        "it has a name that the clone does not have"
    );
}

#[test]
fn attributes_change_in_the_stage_alone() {
    if !can_run("attributes_change_in_the_stage_alone", LOCAL) {
        return;
    }
    let places = twins(&["usr/bin/a", "usr/bin/b", "etc/a"]);
    job(&places, &[]).run().stats();
    fs::hard_link(
        places.source.join("usr/bin/b"),
        places.source.join("usr/bin/c"),
    )
    .unwrap();
    for path in ["usr/bin/a", "usr/bin/b", "etc/a"] {
        let mode = Permissions::from_mode(0o4711);
        fs::set_permissions(places.source.join(path), mode).unwrap();
    }
    let live = Manifest::of(&places.ours);
    job(&places, &[]).run().stats();
    assert_staged(&places, &live, "after chmod on the source");
}

#[test]
fn a_shared_file_that_the_target_writes_to_is_sent_again() {
    if !can_run(
        "a_shared_file_that_the_target_writes_to_is_sent_again",
        LOCAL,
    ) {
        return;
    }
    let places = twins(&["usr/bin/a"]);
    let path = places.ours.join("usr/bin/a");
    let mtime = filetime::FileTime::from_last_modification_time(&path.metadata().unwrap());
    let mut job = job(&places, &[]);
    let mut passes_done = 0;
    job.up = Box::new(move |frame| {
        if let Ok(Up::PassDone(_)) = frame.message() {
            passes_done += 1;
            if passes_done == 2 {
                // In place, and as if nothing had happened.
                let mut file = OpenOptions::new().write(true).open(&path).unwrap();
                file.write_all(b"THE").unwrap();
                filetime::set_file_mtime(&path, mtime).unwrap();
            }
        }
        true
    });
    assert_eq!(job.run().problems, []);
    let staged = fs::read_to_string(stage(&places).join("usr/bin/a")).unwrap();
    assert_eq!(staged, "the same on both");
    let live = fs::read_to_string(places.ours.join("usr/bin/a")).unwrap();
    assert_eq!(live, "THE same on both");
}

#[test]
fn each_volume_has_its_own_stage() {
    let test = "each_volume_has_its_own_stage";
    if !can_run(test, LOCAL) {
        return;
    }
    let places = twins(&["etc/a"]);
    let home = places.ours.join("home");
    let Some(_mount) = Mount::small(test, &home) else {
        return;
    };
    put(&places.source.join("home/b/large"), &"x".repeat(300_000));
    put(&places.source.join("home/small"), "small");
    put(&home.join("small"), "another");
    fs::hard_link(
        places.source.join("home/small"),
        places.source.join("home/link"),
    )
    .unwrap();
    fs::set_permissions(places.source.join("home"), Permissions::from_mode(0o711)).unwrap();
    job(&places, &["home"]).run().stats();
    let staged = home.join(".instancesync/stage");
    let differences = diff(
        &Manifest::of(&places.source.join("home")),
        &Manifest::of(&staged),
    );
    assert_none(&differences, "the stage of the volume");
    assert_eq!(fs::read_to_string(home.join("small")).unwrap(), "another");
    let placeholder = stage(&places).join("home");
    assert_eq!(fs::read_dir(&placeholder).unwrap().count(), 0);
    assert_eq!(placeholder.metadata().unwrap().mode() & 0o777, 0o755);
}

#[test]
fn a_cut_stage_is_continued() {
    if !can_run("a_cut_stage_is_continued", &[Ability::Root]) {
        return;
    }
    let places = Places::with_tree(77);
    fs::create_dir(&places.ours).unwrap();
    let live = Manifest::of(&places.ours);
    for count in [4, 9, 30] {
        let mut cut = job(&places, &[]);
        let mut seen = 0;
        cut.down = Box::new(move |frame| {
            let is_listing = matches!(frame.message(), Ok(Down::Listing(_)));
            seen += u64::from(is_listing);
            seen < count
        });
        assert!(cut.run().result.is_err());
    }
    job(&places, &[]).run().stats();
    assert_staged(&places, &live, "after three cuts");
}

#[test]
fn nothing_is_staged_beside_a_replaced_tree() {
    let places = Places::empty();
    fs::create_dir_all(places.ours.join(".instancesync/previous")).unwrap();
    let mode = Permissions::from_mode(0o700);
    fs::set_permissions(places.ours.join(".instancesync"), mode).unwrap();
    let error = job(&places, &[]).run().result.unwrap_err().to_string();
    assert!(error.contains("still there"), "{error}");
}

#[test]
fn a_stage_is_continued_by_the_pair_that_began_it_alone() {
    if !can_run(
        "a_stage_is_continued_by_the_pair_that_began_it_alone",
        LOCAL,
    ) {
        return;
    }
    let places = twins(&["etc/a"]);
    let of = |pair: &str| {
        let mut job = job(&places, &[]);
        job.policy.pair = Some(pair.to_owned());
        job
    };
    of("one").run().stats();
    let note = places.ours.join(".instancesync/clone");
    put(&note, "ready");
    let error = of("another").run().result.unwrap_err().to_string();
    assert!(error.contains("another source"), "{error}");
    assert!(note.exists(), "what is ready stays so");
    of("one").run().stats();
    assert!(!note.exists(), "it is being staged again");
}

/// A kept directory of the target's, or one in which something is kept, where the source has a
/// file: the source's lands, and the target's own takes its place back, in every run.
#[test]
fn what_was_carried_into_a_stage_is_in_no_later_runs_way() {
    if !can_run(
        "what_was_carried_into_a_stage_is_in_no_later_runs_way",
        LOCAL,
    ) {
        return;
    }
    for kept in ["/etc/a/", "/etc/a/kept", "/etc/a/deep/***"] {
        let places = twins(&["etc/b"]);
        put(&places.source.join("etc/a"), "a file of the source");
        for at in ["kept", "deep/er", "other"] {
            put(&places.ours.join("etc/a").join(at), "the target's");
        }
        let keep = || {
            let rule = Rule::new(Verdict::Keep, kept, "test").because("the target's");
            Rules::new(vec![rule]).unwrap()
        };
        let mut carried = Vec::new();
        for run in 1..=3 {
            let mut job = job(&places, &[]);
            job.rules = keep();
            // What is carried is no deletion either.
            job.policy.delete_limit = Some(if run == 1 { u64::MAX } else { 0 });
            let ran = job.run();
            assert!(ran.result.is_ok(), "{kept}, run {run}: {ran:?}");
            assert_eq!(ran.problems, [], "{kept}, run {run}");
            let live = Dir::open_root(&places.ours).unwrap();
            let what = Carry {
                rules: &keep(),
                apart: &[],
                owners: &OwnerMap::default(),
                edited: &[],
                occasion: Occasion::BeforeFixUps,
            };
            let (_, problems) = carry(&Staged::open(&live, &[]).unwrap(), &what);
            carried.push((Manifest::of(&stage(&places)).to_string(), problems));
        }
        assert_eq!(carried[0], carried[1], "{kept}");
        assert_eq!(carried[1], carried[2], "{kept}");
    }
}
