//! A copy by instancesync is the same as its source, and the same as a copy by rsync.
//!
//! Judged by manifests and by rsync's dry run. INSTANCESYNC_SEEDS asks for more trees than the
//! few that every run of the tests tries.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::binary::{over_ssh, run};
use crate::support::edit;
use crate::support::places::{LOCAL, OVER_SSH, Places, assert_code, inodes, with};
use crate::support::sshd::Sshd;
use crate::support::{can_run, rsync, seeds};

#[test]
fn copies_every_attribute_to_a_directory() {
    if !can_run("copies_every_attribute_to_a_directory", LOCAL) {
        return;
    }
    for seed in seeds(6) {
        let places = Places::with_tree(seed);
        for round in 0..3 {
            let context = format!("seed {seed} round {round}");
            rsync::copy(&places.source, &places.theirs);
            assert_code(&places.copy(&["--delete"]), 0, &context);
            places.assert_equal(&context);
            edit::edit(&places.source, seed * 10 + round);
        }
    }
}

#[test]
fn copies_every_attribute_over_ssh() {
    if !can_run("copies_every_attribute_over_ssh", OVER_SSH) {
        return;
    }
    let sshd = Sshd::start();
    for seed in seeds(2) {
        let places = Places::with_tree(seed + 1000);
        for round in 0..2 {
            let context = format!("seed {seed} round {round}");
            rsync::copy(&places.source, &places.theirs);
            let arguments = over_ssh(&sshd, &places.source, &places.ours);
            assert_code(&run(&with(arguments, &["--delete"])), 0, &context);
            places.assert_equal(&context);
            edit::edit(&places.source, seed * 10 + round);
        }
    }
}

#[test]
fn copies_a_real_tree_over_ssh() {
    if !can_run("copies_a_real_tree_over_ssh", OVER_SSH) {
        return;
    }
    let mut places = Places::empty();
    // A copy of the copy, so that the machine's own changes do not matter.
    let real = std::env::var_os("INSTANCESYNC_REAL_TREE").unwrap_or("/etc".into());
    rsync::copy(Path::new(&real), &places.theirs);
    std::mem::swap(&mut places.source, &mut places.theirs);
    fs::remove_dir(&places.theirs).unwrap();
    let sshd = Sshd::start();
    let outcome = run(&over_ssh(&sshd, &places.source, &places.ours));
    assert_code(&outcome, 0, "real tree");
    places.assert_equal("real tree");
}

#[test]
fn second_run_lands_nothing() {
    if !can_run("second_run_lands_nothing", LOCAL) {
        return;
    }
    let places = Places::with_tree(4);
    assert_code(&places.copy(&[]), 0, "first run");
    let before = inodes(&places.ours);
    assert_code(&places.copy(&["--delete"]), 0, "second run");
    assert_eq!(
        before,
        inodes(&places.ours),
        "files were replaced for nothing"
    );
}

#[test]
fn a_file_of_64_gib_of_holes_is_copied_in_no_time() {
    let places = Places::empty();
    let file = File::create(places.source.join("holes")).unwrap();
    file.set_len(64 << 30).unwrap();
    assert_code(&places.copy(&["--only", "timestamp"]), 0, "holes");
    let copy = places.ours.join("holes").metadata().unwrap();
    assert_eq!(copy.len(), 64 << 30);
    assert!(copy.blocks() < 64, "{} blocks", copy.blocks());
}
