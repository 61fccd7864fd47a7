//! How a run ends when something stands in its way: exit codes, and that it goes on after.
//!
//! The table of src/exit.rs, from outside.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use filetime::FileTime;
use instancesync::fs::Dir;
use instancesync::transfer::TransferError;
use instancesync::transfer::wire::message::FailureClass;

use crate::support::binary::{run, run_as, to_directory};
use crate::support::edit::catalogued;
use crate::support::engine::Job;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{LOCAL, Mount, Places, assert_code, assert_none, files, put, with};
use crate::support::{Ability, can_run};

#[test]
fn what_cannot_be_replaced_is_listed_and_ends_in_23() {
    if !can_run("what_cannot_be_replaced_is_listed_and_ends_in_23", LOCAL) {
        return;
    }
    let places = Places::with_tree(11);
    assert_code(&places.copy(&[]), 0, "first run");
    let fixed = catalogued(&places.ours, "size-512");
    if !change_flag("+i", &fixed) {
        return println!("skipped: the file system has no immutable flag");
    }
    for name in ["size-512", "size-513"] {
        fs::write(catalogued(&places.source, name), "new").unwrap();
    }
    let outcome = places.copy(&[]);
    change_flag("-i", &fixed);
    assert_code(&outcome, 23, "with an immutable file");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("catalogue/size-512"), "not listed: {said}");
    let other = catalogued(&places.ours, "size-513");
    assert_eq!(fs::read(other).unwrap(), b"new", "the run did not go on");
    assert_code(&places.copy(&["--delete"]), 0, "afterwards");
    places.assert_equal("afterwards");
}

fn change_flag(flag: &str, path: &Path) -> bool {
    let status = Command::new("chattr").arg(flag).arg(path).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_full_target_ends_in_5_and_a_later_run_continues() {
    let places = Places::empty();
    let test = "a_full_target_ends_in_5_and_a_later_run_continues";
    let Some(_mounted) = Mount::small(test, &places.theirs) else {
        return;
    };
    for index in 0..12 {
        let content = vec![index; 1 << 20];
        fs::write(places.source.join(format!("file-{index}")), content).unwrap();
    }
    let target = places.theirs.join("copy");
    let outcome = run(&to_directory(&places.source, &target));
    assert_code(&outcome, 5, "12 MiB to 8 MiB");
    for index in 0..9 {
        for place in [&places.source, &target] {
            // Not every one has arrived.
            fs::remove_file(place.join(format!("file-{index}"))).ok();
        }
    }
    let arguments = with(to_directory(&places.source, &target), &["--delete"]);
    assert_code(&run(&arguments), 0, "with room");
    assert_none(
        &diff(&Manifest::of(&places.source), &Manifest::of(&target)),
        "with room",
    );
}

#[test]
fn a_file_that_never_holds_still_ends_in_24() {
    let places = Places::empty();
    // Longer to read than the pause between two writes, on any machine.
    let restless = places.source.join("restless");
    fs::write(&restless, vec![1; 64 << 20]).unwrap();
    let over = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::File::options().write(true).open(&restless).unwrap();
            for round in 0u64.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                file.write_at(&round.to_le_bytes(), round * 4096 % (64 << 20))
                    .unwrap();
                thread::sleep(Duration::from_micros(500));
            }
        });
        let outcome = places.copy(&[]);
        over.store(true, Ordering::Relaxed);
        outcome
    });
    assert_code(&outcome, 24, "a file in motion");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("restless"), "not listed: {said}");
    assert_code(&places.copy(&[]), 0, "held still");
    assert_none(
        &diff(&Manifest::of(&places.source), &Manifest::of(&places.ours)),
        "held still",
    );
}

#[test]
fn what_the_deletion_limit_keeps_is_listed_and_ends_in_25() {
    let places = Places::empty();
    put(&places.source.join("wanted"), "here");
    for name in ["extra-1", "extra-2", "extra-3"] {
        put(&places.ours.join(name), "there only");
    }
    let outcome = places.copy(&["--delete", "--max-delete", "1"]);
    assert_code(&outcome, 25, "three extras, one may go");
    assert_eq!(files(&places.ours).len(), 3, "one went, one came");
    assert_code(&places.copy(&["--delete"]), 0, "without a limit");
    assert_eq!(files(&places.ours), ["wanted"]);
}

#[test]
fn a_target_inside_the_source_is_refused_with_3() {
    let places = Places::empty();
    let inside = places.source.join("inside");
    let outcome = run(&to_directory(&places.source, &inside));
    assert_code(&outcome, 3, "inside");
    assert!(!inside.exists(), "it was made all the same");
}

#[test]
fn a_machine_that_does_not_answer_ends_in_4() {
    let places = Places::empty();
    // Nobody listens on a port that was just given up.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let source = places.source.to_str().unwrap();
    let target = format!("root@{free}");
    let outcome = run(&["--yes", "--source", source, "--target", &target]);
    assert_code(&outcome, 4, "nobody listens");
    assert!(outcome.stderr.contains("refused"), "{outcome:#?}");
    assert!(outcome.stderr.contains("hint: "), "{outcome:#?}");
}

#[test]
fn a_target_that_another_run_has_locked_ends_in_1_and_stays_as_it_is() {
    let places = Places::empty();
    fs::write(places.source.join("new"), "new").unwrap();
    fs::create_dir(&places.ours).unwrap();
    let other_run = Dir::open_root(&places.ours).unwrap();
    other_run.lock().unwrap();
    let outcome = places.copy(&[]);
    assert_code(&outcome, 1, "while it is locked");
    let ran = Job::new(&places.source, &places.ours).run();
    let Err(TransferError::Peer { class, .. }) = ran.result else {
        panic!("not refused: {ran:?}");
    };
    assert_eq!(class, FailureClass::Locked);
    assert!(!places.ours.join("new").exists(), "the lock was passed by");
    drop(other_run);
    assert_code(&places.copy(&[]), 0, "afterwards");
}

#[test]
fn a_directory_that_cannot_be_opened_gets_its_attributes_and_ends_in_23() {
    let test = "a_directory_that_cannot_be_opened_gets_its_attributes_and_ends_in_23";
    if !can_run(test, &[Ability::Root]) {
        return;
    }
    let places = Places::empty();
    fs::create_dir(places.source.join("shut")).unwrap();
    fs::write(places.source.join("other"), "other").unwrap();
    fs::create_dir(&places.ours).unwrap();
    let shut = |place: &Path| place.join("shut");
    fs::write(shut(&places.source).join("inside"), "inside").unwrap();
    let (nobody, time) = (65534, FileTime::from_unix_time(1_000_000_000, 5));
    for place in [&places.source, &shut(&places.source), &places.ours] {
        chown(place, Some(nobody), Some(nobody)).unwrap();
    }
    let above = places.ours.parent().unwrap();
    fs::set_permissions(above, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(shut(&places.source), Permissions::from_mode(0o311)).unwrap();
    filetime::set_file_mtime(shut(&places.source), time).unwrap();
    let outcome = run_as(nobody, &to_directory(&places.source, &places.ours));
    assert_code(&outcome, 23, "with a directory that cannot be opened");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("shut"), "not listed: {said}");
    let [source, ours] = [&places.source, &places.ours].map(|place| {
        let metadata = fs::metadata(shut(place)).unwrap();
        (metadata.mode(), metadata.mtime(), metadata.mtime_nsec())
    });
    assert_eq!(ours, source);
    assert!(places.ours.join("other").exists());
    assert!(!shut(&places.ours).join("inside").exists());
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let outcome = run(&["--no-such-flag"]);
    assert_code(&outcome, 2, "unknown flag");
}
