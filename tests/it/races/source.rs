//! The account's directory is on the source, where root reads: what lies outside does not travel.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Instant;

use super::{ACCOUNT, Attacker, DIRECTORIES, FILES, Field, LARGE, SECRET, attack, each_file};
use crate::support::engine::Job;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::assert_none;
use crate::support::{Ability, can_run, span};

/// Makes the account's directory.
fn build(root: &Path) {
    for number in 0..DIRECTORIES {
        let directory = root.join(format!("work/d{number}"));
        fs::create_dir_all(directory.join("sub")).unwrap();
        for number in 0..FILES {
            let length = if number == FILES - 1 { LARGE } else { 300 };
            let contents = "inside ".repeat(length / 7);
            fs::write(directory.join(format!("f{number}")), contents).unwrap();
            fs::write(directory.join(format!("sub/f{number}")), "inside").unwrap();
        }
    }
    for entry in walkdir::WalkDir::new(root.join("work")) {
        let path = entry.unwrap().into_path();
        let owner = if path.ends_with("d2") { 0 } else { ACCOUNT };
        chown(&path, Some(owner), Some(owner)).unwrap();
    }
    fs::set_permissions(root.join("work"), Permissions::from_mode(0o700)).unwrap();
}

/// Reads the tree again and again while the account attacks it; `checksum` says how the second run
/// compares.
fn race(name: &str, checksum: bool) {
    if !can_run(name, &[Ability::Root]) {
        return;
    }
    let field = Field::new();
    build(&field.source);
    let (work, precious, haven) = (
        field.source.join("work"),
        field.precious.clone(),
        field.haven.clone(),
    );
    let attacker = Attacker::start(move |round| attack(&work, (&precious, &haven), round));
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < span() || runs < 2 {
        if runs % 4 == 0 {
            fs::remove_dir_all(&field.target).unwrap();
        }
        attacker.go();
        let mut job = Job::new(&field.source, &field.target).deleting(u64::MAX);
        job.policy.fsync = false;
        let ran = if checksum { job.checksum() } else { job }.run();
        assert!(ran.result.is_ok(), "{name}: {ran:?}");
        attacker.rest();
        runs += 1;
        each_file(&field.target, |path, contents, _| {
            assert!(!contents.contains(SECRET), "{name}: {}", path.display());
        });
        field.assert_outside_untouched(name);
    }
    let rounds = attacker.finish();
    assert!(rounds > 100, "{name}: {rounds} rounds against {runs} runs");
    let job = Job::new(&field.source, &field.target).deleting(u64::MAX);
    job.checksum().run().stats();
    let differences = diff(&Manifest::of(&field.source), &Manifest::of(&field.target));
    assert_none(&differences, &format!("{name}: at rest"));
}

#[test]
fn what_lies_outside_is_not_listed_and_not_read() {
    race("what_lies_outside_is_not_listed_and_not_read", false);
}

#[test]
fn what_lies_outside_is_not_compared() {
    race("what_lies_outside_is_not_compared", true);
}
