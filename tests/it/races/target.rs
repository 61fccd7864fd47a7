//! The account's directory is on the target, where root writes: one test for each thing that root
//! does there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::time::Instant;

use filetime::FileTime;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{ACCOUNT, Attacker, DIRECTORIES, FILES, Field, LARGE, assert_secrets_kept, attack};
use crate::support::attributes::encode_acl;
use crate::support::engine::Job;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::assert_none;
use crate::support::{Ability, can_run, span};

/// What a file of the account holds in a version.
fn contents(version: u64, number: u64) -> String {
    let line = format!("version {version} of {number}\n");
    let length = if number == FILES - 1 { LARGE } else { 300 };
    line.repeat(length / line.len())
}

/// Makes the account's directory below `root`, then lets `change` do with each of its directories
/// what is wanted.
fn build(root: &Path, version: u64, change: impl Fn(&Path)) {
    let work = root.join("work");
    for number in 0..DIRECTORIES {
        let directory = work.join(format!("d{number}"));
        fs::create_dir_all(directory.join("sub")).unwrap();
        for number in 0..FILES {
            fs::write(
                directory.join(format!("f{number}")),
                contents(version, number),
            )
            .unwrap();
            fs::write(directory.join(format!("sub/f{number}")), "below").unwrap();
        }
        change(&directory);
    }
    let time = FileTime::from_unix_time(1_600_000_000 + version as i64, 5);
    for entry in walkdir::WalkDir::new(&work).contents_first(true) {
        let path = entry.unwrap().into_path();
        // One of the directories is root's, in that of the account.
        let owner = if path.ends_with("d2") { 0 } else { ACCOUNT };
        if path.symlink_metadata().unwrap().uid() == 0 {
            lchown(&path, Some(owner), Some(owner)).unwrap();
        }
        filetime::set_symlink_file_times(&path, time, time).unwrap();
    }
}

fn each_file(directory: &Path, act: impl Fn(&Path)) {
    for number in 0..FILES {
        act(&directory.join(format!("f{number}")));
    }
}

fn as_it_is(_directory: &Path) {}

/// Copies again and again over what `there` makes on the target, while the account attacks there;
/// at last in peace.
#[track_caller]
fn race(name: &str, (version, here): (u64, fn(&Path)), there: fn(&Path), staged: bool) {
    if !can_run(name, &[Ability::Root]) {
        return;
    }
    let field = Field::new();
    build(&field.source, version, here);
    let (work, precious, haven) = (
        field.target.join("work"),
        field.precious.clone(),
        field.haven.clone(),
    );
    let attacker = Attacker::start(move |round| attack(&work, (&precious, &haven), round));
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < span() || runs < 2 {
        attacker.rest();
        for path in [&field.target, &field.haven] {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
            }
        }
        build(&field.target, 1, there);
        attacker.go();
        let ran = job(&field, staged).run();
        attacker.rest();
        assert!(ran.result.is_ok(), "{name}: {ran:?}");
        runs += 1;
        field.assert_outside_untouched(name);
        assert_secrets_kept(&field.target, name);
    }
    let rounds = attacker.finish();
    assert!(rounds > 100, "{name}: {rounds} rounds against {runs} runs");
    job(&field, staged).checksum().run().stats();
    let made = match staged {
        true => field.target.join(".instancesync/stage"),
        false => field.target.clone(),
    };
    let differences = diff(&Manifest::of(&field.source), &Manifest::of(&made));
    assert_none(&differences, &format!("{name}: at rest"));
    field.assert_outside_untouched(name);
}

fn job(field: &Field, staged: bool) -> Job<'_> {
    let mut job = Job::new(&field.source, &field.target).deleting(u64::MAX);
    job.policy.fsync = false;
    job.policy.staged = staged.then(Vec::new);
    job
}

#[test]
fn files_are_created() {
    let empty = |directory: &Path| {
        fs::remove_dir_all(directory).unwrap();
        fs::create_dir(directory).unwrap();
    };
    race("files_are_created", (1, as_it_is), empty, false);
}

#[test]
fn files_are_replaced() {
    race("files_are_replaced", (2, as_it_is), as_it_is, false);
}

#[test]
fn what_only_the_target_has_is_deleted() {
    let less = |directory: &Path| {
        fs::remove_dir_all(directory).unwrap();
        fs::create_dir(directory).unwrap();
    };
    race(
        "what_only_the_target_has_is_deleted",
        (1, less),
        as_it_is,
        false,
    );
}

#[test]
fn modes_are_set() {
    let private = |directory: &Path| {
        each_file(directory, |file| {
            fs::set_permissions(file, Permissions::from_mode(0o640)).unwrap();
        });
        fs::set_permissions(directory.join("sub"), Permissions::from_mode(0o750)).unwrap();
    };
    race("modes_are_set", (1, private), as_it_is, false);
}

#[test]
fn owners_are_set() {
    let another = |directory: &Path| {
        each_file(directory, |file| {
            lchown(file, Some(ACCOUNT + 1), Some(ACCOUNT + 1)).unwrap();
        });
        lchown(directory.join("sub"), Some(ACCOUNT + 1), Some(7)).unwrap();
    };
    race("owners_are_set", (1, another), as_it_is, false);
}

#[test]
fn attributes_are_set_and_removed() {
    let labelled = |directory: &Path| {
        each_file(directory, |file| {
            xattr::set(file, "trusted.label", b"new").unwrap();
        });
        xattr::set(directory, "trusted.label", b"new").unwrap();
    };
    let other = |directory: &Path| {
        each_file(directory, |file| {
            xattr::set(file, "trusted.kept", b"goes").unwrap();
        });
    };
    race(
        "attributes_are_set_and_removed",
        (1, labelled),
        other,
        false,
    );
}

#[test]
fn access_lists_are_set() {
    let listed = |directory: &Path| {
        // One further account beside owner, group, mask and others.
        let nobody = u32::MAX;
        let acl = encode_acl(&[
            (1, 6, nobody),
            (2, 4, 33),
            (4, 4, nobody),
            (16, 4, nobody),
            (32, 0, nobody),
        ]);
        each_file(directory, |file| {
            xattr::set(file, "system.posix_acl_access", &acl).unwrap();
        });
        xattr::set(directory, "system.posix_acl_default", &acl).unwrap();
    };
    race("access_lists_are_set", (1, listed), as_it_is, false);
}

#[test]
fn names_are_linked() {
    let linked = |directory: &Path| {
        let first = directory.parent().unwrap().join("d0/f0");
        drop(fs::hard_link(&first, directory.join("linked")));
        fs::hard_link(directory.join("f1"), directory.join("sub/linked")).unwrap();
        fs::remove_file(directory.join("f2")).unwrap();
        fs::hard_link(directory.join("f1"), directory.join("f2")).unwrap();
    };
    race("names_are_linked", (1, linked), as_it_is, false);
}

#[test]
fn links_pipes_and_sockets_are_made() {
    let special = |directory: &Path| {
        each_file(directory, |file| {
            fs::remove_file(file).unwrap();
            match file.ends_with("f1") {
                true => symlink("nowhere", file).unwrap(),
                false => mknodat(CWD, file, FileType::Fifo, Mode::RWXU, 0).unwrap(),
            }
        });
    };
    race(
        "links_pipes_and_sockets_are_made",
        (1, special),
        as_it_is,
        false,
    );
}

#[test]
fn types_change() {
    let other = |directory: &Path| {
        fs::remove_file(directory.join("f1")).unwrap();
        fs::create_dir(directory.join("f1")).unwrap();
        fs::write(directory.join("f1/new"), "new").unwrap();
        fs::remove_dir_all(directory.join("sub")).unwrap();
        fs::write(directory.join("sub"), "a file").unwrap();
    };
    race("types_change", (1, other), as_it_is, false);
}

#[test]
fn renamed_directories_are_followed() {
    let renamed = |directory: &Path| {
        fs::rename(directory.join("sub"), directory.join("renamed")).unwrap();
    };
    race(
        "renamed_directories_are_followed",
        (1, renamed),
        as_it_is,
        false,
    );
}

#[test]
fn a_stage_takes_files_from_the_live_tree() {
    let private = |directory: &Path| {
        fs::set_permissions(directory.join("f1"), Permissions::from_mode(0o640)).unwrap();
        fs::write(directory.join("f2"), "another").unwrap();
    };
    race(
        "a_stage_takes_files_from_the_live_tree",
        (1, private),
        as_it_is,
        true,
    );
}
