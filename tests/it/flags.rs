//! What the flags of a run promise: dry runs, deletion, exclusions, single passes, mounts.
//!
//! Knows nothing of how a run prints; the edge tests that.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::support::places::{LOCAL, Mount, Places, assert_code, files, inodes, put};
use crate::support::{can_run, edit};

#[test]
fn dry_run_changes_nothing() {
    if !can_run("dry_run_changes_nothing", LOCAL) {
        return;
    }
    let places = Places::with_tree(5);
    assert_code(&places.copy(&["--dry-run"]), 0, "nothing there yet");
    assert!(!places.ours.exists(), "a dry run made the directory");
    assert_code(&places.copy(&[]), 0, "real run");
    edit::edit(&places.source, 5);
    let before = inodes(&places.ours);
    assert_code(&places.copy(&["--dry-run", "--delete"]), 0, "dry run");
    assert_eq!(before, inodes(&places.ours), "a dry run changed something");
    assert_code(&places.copy(&["--delete"]), 0, "real run");
    places.assert_equal("after the dry run");
}

#[test]
fn without_delete_extra_files_stay() {
    if !can_run("without_delete_extra_files_stay", LOCAL) {
        return;
    }
    let places = Places::with_tree(8);
    assert_code(&places.copy(&[]), 0, "first run");
    let extra = places.ours.join("catalogue/deep/extra");
    fs::create_dir(&extra).unwrap();
    fs::write(extra.join("file"), "mine").unwrap();
    assert_code(&places.copy(&[]), 0, "without --delete");
    assert_eq!(fs::read(extra.join("file")).unwrap(), b"mine");
    assert_code(&places.copy(&["--delete"]), 0, "with --delete");
    assert!(!extra.exists(), "--delete left a directory");
    places.assert_equal("with --delete");
}

#[test]
fn excluded_paths_are_neither_copied_nor_deleted() {
    let places = Places::empty();
    for path in [
        "a.log",
        "keep.txt",
        "sub/b.log",
        "sub/keep.txt",
        "top/inside",
        "sub/top/inside",
        "cache/x",
        "sub/cache/y",
    ] {
        put(&places.source.join(path), path);
    }
    for path in ["old.log", "top/theirs", "sub/cache/theirs", "gone/extra"] {
        put(&places.ours.join(path), "theirs");
    }
    let rules = [
        "--exclude",
        "*.log",
        "--exclude",
        "/top",
        "--exclude",
        "cache/",
        "--delete",
    ];
    assert_code(&places.copy(&rules), 0, "with exclusions");
    let expected = [
        "keep.txt",
        "old.log",
        "sub/cache/theirs",
        "sub/keep.txt",
        "sub/top/inside",
        "top/theirs",
    ];
    assert_eq!(files(&places.ours), expected);
}

#[test]
fn only_the_checksum_pass_sees_a_change_that_keeps_size_and_time() {
    let places = Places::empty();
    let (source, ours) = (places.source.join("file"), places.ours.join("file"));
    fs::write(&source, vec![b'a'; 300_000]).unwrap();
    assert_code(&places.copy(&[]), 0, "first run");
    let modified = filetime::FileTime::from_last_modification_time(&source.metadata().unwrap());
    let mut file = OpenOptions::new().write(true).open(&source).unwrap();
    file.write_all(b"b").unwrap();
    filetime::set_file_times(&source, modified, modified).unwrap();
    assert_code(&places.copy(&["--only", "timestamp"]), 0, "timestamp pass");
    assert_eq!(fs::read(&ours).unwrap()[0], b'a');
    assert_code(&places.copy(&["--only", "checksum"]), 0, "checksum pass");
    assert_eq!(fs::read(&ours).unwrap()[0], b'b');
}

#[test]
fn a_mount_of_the_target_where_the_source_has_another_is_left_alone() {
    let places = Places::empty();
    let test = "a_mount_of_the_target_where_the_source_has_another_is_left_alone";
    let (here, there) = (places.source.join("mounted"), places.ours.join("mounted"));
    let Some(_here) = Mount::small(test, &here) else {
        return;
    };
    let Some(_there) = Mount::small(test, &there) else {
        return;
    };
    fs::set_permissions(&here, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o755)).unwrap();
    put(&there.join("inside"), "the target's own");
    assert_code(&places.copy(&["--delete"]), 0, "both have a mount there");
    assert_eq!(files(&places.ours), ["mounted/inside"]);
    let mode = fs::metadata(&there).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o777,
        0o755,
        "the root of the target's mount was changed"
    );
}

#[test]
fn other_file_systems_are_not_entered_unless_asked_for() {
    let places = Places::empty();
    let mounted = places.source.join("mounted");
    let test = "other_file_systems_are_not_entered_unless_asked_for";
    let Some(_mounted) = Mount::small(test, &mounted) else {
        return;
    };
    put(&mounted.join("inside"), "inside");
    put(&places.source.join("outside"), "outside");
    assert_code(&places.copy(&[]), 0, "one file system");
    assert_eq!(files(&places.ours), ["outside"]);
    assert!(places.ours.join("mounted").is_dir(), "no mount point");
    let path = mounted.to_str().unwrap();
    assert_code(&places.copy(&["--include-mount", path]), 0, "both");
    assert_eq!(files(&places.ours), ["mounted/inside", "outside"]);
}
