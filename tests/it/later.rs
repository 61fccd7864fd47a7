//! Later passes of one transfer: they list only what has changed since the passes before, and what
//! went wrong in them; a directory that was renamed is moved. The result is the source all the same.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use instancesync::exclude::{Rules, parse_file};
use instancesync::transfer::sender::Deletes;
use instancesync::transfer::wire::message::{Down, Outcome, Up};

use crate::support::edit;
use crate::support::engine::{AT_REST, Job, Ran, timestamp_passes};
use crate::support::places::{LOCAL, Places, put};
use crate::support::{can_run, seeds};

/// Paths that the second pass listed, directories with a slash.
type Listed = Arc<Mutex<BTreeSet<String>>>;

/// Runs two passes, with `change` between them; returns what the second one listed.
fn run_two(mut job: Job<'_>, change: impl FnOnce() + Send + 'static) -> (Ran, BTreeSet<String>) {
    let listed = Listed::default();
    let noted = Arc::clone(&listed);
    let mut pass = 0;
    job.down = Box::new(move |frame| {
        match frame.message() {
            Ok(Down::Pass { .. }) => pass += 1,
            Ok(Down::Listing(listing)) if pass == 2 => {
                let directory = String::from_utf8_lossy(listing.path.as_bytes()).into_owned();
                let mut noted = noted.lock().unwrap();
                for entry in &listing.entries {
                    let name = String::from_utf8_lossy(entry.name.as_bytes()).into_owned();
                    noted.insert(format!("{directory}/{name}"));
                }
                noted.insert(format!("{directory}/"));
            }
            _ => {}
        }
        true
    });
    let mut change = Some(change);
    job.up = Box::new(move |frame| {
        if let Ok(Up::PassDone(_)) = frame.message()
            && let Some(change) = change.take()
        {
            change();
        }
        true
    });
    let ran = job.run();
    let listed = std::mem::take(&mut *listed.lock().unwrap());
    (ran, listed)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A source of two directories with three files each, at rest.
fn small_tree() -> Places {
    let places = Places::empty();
    for path in ["a/1", "a/2", "a/3", "b/1", "b/2", "b/c/3"] {
        put(&places.source.join(path), path);
    }
    thread::sleep(AT_REST);
    places
}

#[test]
fn a_later_pass_lists_what_changed_and_nothing_else() {
    let places = small_tree();
    let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    job.plans = timestamp_passes([Deletes::AtEnd, Deletes::AtEnd]);
    let source = places.source.clone();
    let (ran, listed) = run_two(job, move || {
        put(&source.join("a/2"), "changed");
        put(&source.join("b/c/new"), "new");
        fs::remove_file(source.join("b/2")).unwrap();
        fs::set_permissions(source.join("a/1"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    assert_eq!(ran.problems, []);
    // A directory that changed itself is listed whole: only so is found what is gone from it. The one
    // above names it, in case that it is another.
    let wanted = [
        "/", "/b", "a/", "a/1", "a/2", "b/", "b/1", "b/c", "b/c/", "b/c/3", "b/c/new",
    ];
    assert_eq!(listed, set(&wanted));
    let second = &ran.result.as_ref().unwrap()[1];
    assert_eq!((second.listed_entries, second.landed_files), (10, 2));
    places.assert_equal("after the second pass");
}

#[test]
fn the_first_pass_that_deletes_looks_everywhere() {
    let places = small_tree();
    put(&places.ours.join("b/c/extra"), "only here");
    let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    job.plans = timestamp_passes([Deletes::Never, Deletes::AtEnd]);
    let (ran, listed) = run_two(job, || ());
    assert_eq!(ran.problems, []);
    assert!(listed.contains("b/c/3"), "{listed:?}");
    assert!(!places.ours.join("b/c/extra").exists());
    places.assert_equal("after the second pass");
}

#[test]
fn what_failed_is_listed_again() {
    let places = small_tree();
    let mut job = Job::new(&places.source, &places.ours);
    job.plans = timestamp_passes([Deletes::Never, Deletes::Never]);
    // The first pass cannot put a file where a directory with contents is.
    put(&places.ours.join("a/2/in the way"), "x");
    let ours = places.ours.clone();
    let (ran, listed) = run_two(job, move || {
        fs::remove_dir_all(ours.join("a/2")).unwrap_or_default();
    });
    assert_eq!(ran.problems.len(), 1, "{:?}", ran.problems);
    assert_eq!(listed, set(&["/", "/a", "a/", "a/1", "a/2", "a/3"]));
    places.assert_equal("after the second pass");
}

#[test]
fn what_was_away_for_a_moment_is_listed_again() {
    let places = small_tree();
    let (home, away) = (places.source.join("b"), places.source.join("away"));
    let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    job.plans = timestamp_passes([Deletes::AtEnd, Deletes::AtEnd]);
    let mut passes_done = 0;
    job.up = Box::new(move |frame| {
        match frame.message() {
            // Before the source has heard of it. What is below has the same times afterwards.
            Ok(Up::Wants { .. }) if passes_done == 0 => {
                fs::rename(&home, &away).unwrap_or_default();
            }
            Ok(Up::PassDone(_)) => {
                passes_done += 1;
                fs::rename(&away, &home).unwrap_or_default();
            }
            _ => {}
        }
        true
    });
    let ran = job.run();
    assert_eq!(ran.problems, []);
    assert!(places.ours.join("b/c/3").exists());
    places.assert_equal("after the second pass");
}

#[test]
fn names_of_one_file_are_always_listed_together() {
    let places = small_tree();
    fs::hard_link(places.source.join("a/1"), places.source.join("b/c/twin")).unwrap();
    thread::sleep(AT_REST);
    let mut job = Job::new(&places.source, &places.ours);
    job.plans = timestamp_passes([Deletes::Never, Deletes::Never]);
    let (ran, listed) = run_two(job, || ());
    assert_eq!(ran.problems, []);
    assert_eq!(listed, set(&["a/", "a/1", "b/c/", "b/c/twin"]));
    places.assert_equal("after the second pass");
}

#[test]
fn a_renamed_directory_is_moved_and_nothing_of_it_is_sent() {
    let places = small_tree();
    for number in 0..20 {
        put(
            &places.source.join(format!("deep/x/y/{number}")),
            "contents",
        );
    }
    let copy = |what: &str| {
        let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
        let sent = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&sent);
        job.down = Box::new(move |frame| {
            if let Ok(Down::Bundle { files, .. }) = frame.message() {
                let whole = |outcome: &Outcome| matches!(outcome, Outcome::Whole { .. });
                *counted.lock().unwrap() += files.iter().filter(|f| whole(&f.outcome)).count();
            }
            true
        });
        let ran = job.run();
        assert_eq!(ran.problems, [], "{what}");
        places.assert_equal(what);
        let sent = *sent.lock().unwrap();
        (sent, ran.result.unwrap()[0].clone())
    };
    copy("the first copy");
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let before = inode(&places.ours.join("deep/x/y/7"));
    fs::rename(places.source.join("deep/x"), places.source.join("deep/z")).unwrap();
    // From one directory into another, where the old place is seen first.
    fs::rename(places.source.join("a"), places.source.join("zz")).unwrap();
    put(&places.source.join("zz/1"), "longer than before");
    let (sent, stats) = copy("after the renames");
    assert_eq!(sent, 1, "{stats:?}");
    assert_eq!(inode(&places.ours.join("deep/z/y/7")), before);
}

/// A source whose `deep/x` was copied and is called `deep/z` now, and the inode of a file in it.
fn renamed_tree() -> (Places, u64) {
    let places = small_tree();
    put(&places.source.join("deep/x/1"), "contents");
    put(&places.source.join("deep/x/2"), "contents");
    let first = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    assert_eq!(first.run().problems, []);
    fs::rename(places.source.join("deep/x"), places.source.join("deep/z")).unwrap();
    let inode = fs::metadata(places.ours.join("deep/x/1")).unwrap().ino();
    (places, inode)
}

#[test]
fn a_directory_that_somebody_could_have_made_up_is_not_moved() {
    for (mode, moves) in [(0o755, true), (0o777, false), (0o700, false)] {
        let (places, before) = renamed_tree();
        let other = fs::Permissions::from_mode(mode);
        fs::set_permissions(places.ours.join("deep/x"), other).unwrap();
        let job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
        assert_eq!(job.run().problems, []);
        places.assert_equal("after the rename");
        let after = fs::metadata(places.ours.join("deep/z/1")).unwrap().ino();
        assert_eq!(after == before, moves, "{mode:o}");
    }
}

#[test]
fn under_a_new_name_contents_count_and_not_times() {
    let (places, _) = renamed_tree();
    let file = places.ours.join("deep/x/1");
    let mtime = filetime::FileTime::from_last_modification_time(&file.metadata().unwrap());
    fs::write(&file, "CONTENTS").unwrap();
    filetime::set_file_mtime(&file, mtime).unwrap();
    let job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    assert_eq!(job.run().problems, []);
    places.assert_equal("after the rename");
}

#[test]
fn what_comes_back_with_its_old_times_is_listed() {
    let places = small_tree();
    put(&places.source.join("b/1"), "not what a/1 says");
    put(&places.source.join("a/c/3"), "longer than what b/c/3 says");
    thread::sleep(AT_REST);
    let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    let plans = timestamp_passes([Deletes::AtEnd, Deletes::AtEnd]);
    job.plans = vec![plans[0], plans[0], plans[1]];
    let source = places.source.clone();
    let mut passes_done = 0;
    job.up = Box::new(move |frame| {
        if let Ok(Up::PassDone(_)) = frame.message() {
            passes_done += 1;
            // There, and back again; nothing below the two has other times then.
            if passes_done < 3 {
                for (from, to) in [("a", "aside"), ("b", "a"), ("aside", "b")] {
                    fs::rename(source.join(from), source.join(to)).unwrap();
                }
            }
        }
        true
    });
    assert_eq!(job.run().problems, []);
    places.assert_equal("after the third pass");
}

fn logs_stay() -> Rules {
    Rules::new(parse_file("rules", b"*.log").unwrap()).unwrap()
}

#[test]
fn a_directory_that_holds_what_must_stay_is_not_moved() {
    let places = small_tree();
    let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    job.rules = logs_stay();
    assert_eq!(job.run().problems, []);
    put(&places.ours.join("a/kept.log"), "the target's");
    fs::rename(places.source.join("a"), places.source.join("z")).unwrap();
    let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    job.rules = logs_stay();
    assert_eq!(job.run().problems, []);
    assert!(places.ours.join("a/kept.log").exists());
    assert!(places.ours.join("z/3").exists());
}

#[test]
fn a_later_pass_leaves_nothing_for_another_run() {
    if !can_run("a_later_pass_leaves_nothing_for_another_run", LOCAL) {
        return;
    }
    for seed in seeds(4) {
        let places = Places::with_tree(seed + 7000);
        thread::sleep(AT_REST);
        let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
        job.plans = timestamp_passes([Deletes::AtEnd, Deletes::AtEnd]);
        let source = places.source.clone();
        let (ran, _) = run_two(job, move || edit::edit(&source, seed));
        assert_eq!(ran.problems, [], "seed {seed}");
        let again = Job::new(&places.source, &places.ours).deleting(u64::MAX);
        let ran = again.run();
        let stats = ran.stats();
        assert_eq!(
            stats.equal_entries, stats.listed_entries,
            "seed {seed}: {stats:?}"
        );
        assert_eq!(stats.deleted_entries, 0, "seed {seed}: {stats:?}");
    }
}
