//! The tools of proof, proven: a right copy is accepted, every wrong one is found.
//!
//! rsync stands in for the engine here.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, lchown, symlink};
use std::path::Path;

use filetime::FileTime;

use crate::support::edit::{self, catalogued};
use crate::support::manifest::{Manifest, diff};
use crate::support::{Ability, can_run, rsync, seeds, tree};

#[test]
fn same_seed_gives_same_tree() {
    if !can_run("same_seed_gives_same_tree", &[Ability::Root]) {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let (one, other) = (place.path().join("one"), place.path().join("other"));
    for root in [&one, &other] {
        tree::build(root, 7);
    }
    let differences = diff(&Manifest::of(&one), &Manifest::of(&other));
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn copy_by_rsync_is_accepted_before_and_after_edits() {
    if !can_run("copy_by_rsync", &[Ability::Root, Ability::Rsync]) {
        return;
    }
    for seed in seeds(3) {
        let place = tempfile::tempdir().expect("temporary directory");
        let (source, copy) = (place.path().join("source"), place.path().join("copy"));
        tree::build(&source, seed);
        for round in 0..3 {
            rsync::copy(&source, &copy);
            let found = diff(&Manifest::of(&source), &Manifest::of(&copy));
            let unexplained = rsync::without_known_faults(&found);
            assert_eq!(
                unexplained,
                Vec::<&String>::new(),
                "seed {seed} round {round}"
            );
            if found.is_empty() {
                assert_eq!(
                    rsync::verdict(&source, &copy),
                    "",
                    "seed {seed} round {round}"
                );
            }
            edit::edit(&source, seed * 10 + round);
        }
    }
}

/// One thing done to a copy that makes it wrong.
type Spoil = (&'static str, fn(&Path));

const SPOILS: &[Spoil] = &[
    ("blake3", |copy| {
        let path = catalogued(copy, "size-4097");
        let modified = FileTime::from_last_modification_time(&path.metadata().unwrap());
        let file = File::options().write(true).open(&path).unwrap();
        let mut byte = [0];
        File::open(&path)
            .unwrap()
            .read_exact_at(&mut byte, 9)
            .unwrap();
        file.write_all_at(&[byte[0] ^ 1], 9).unwrap();
        filetime::set_file_times(&path, modified, modified).unwrap();
    }),
    ("mtime", |copy| {
        let time = FileTime::from_unix_time(1, 1);
        filetime::set_symlink_file_times(catalogued(copy, "link-3"), time, time).unwrap();
    }),
    ("uid", |copy| {
        lchown(catalogued(copy, "link-2"), Some(4242), None).unwrap();
    }),
    ("text", |copy| {
        fs::remove_file(catalogued(copy, "link-4")).unwrap();
        symlink("other", catalogued(copy, "link-4")).unwrap();
    }),
    ("linked", |copy| {
        let path = catalogued(copy, "linked-0-size-4097");
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
    }),
    ("xattr user.more", |copy| {
        xattr::set(catalogued(copy, "size-59"), "user.more", b"x").unwrap();
    }),
    ("holes are lost", |copy| {
        let path = catalogued(copy, "sparse-all");
        let content = fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
    }),
    ("missing in the copy", |copy| {
        fs::remove_file(catalogued(copy, "-rf")).unwrap();
    }),
    ("only in the copy", |copy| {
        fs::write(catalogued(copy, "empty/more"), "").unwrap();
    }),
    ("type", |copy| {
        fs::remove_dir_all(catalogued(copy, "empty")).unwrap();
        fs::write(catalogued(copy, "empty"), "").unwrap();
    }),
];

#[test]
fn every_wrong_copy_is_found() {
    if !can_run(
        "every_wrong_copy_is_found",
        &[Ability::Root, Ability::Rsync],
    ) {
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let source = place.path().join("source");
    tree::build(&source, 2);
    let expected = Manifest::of(&source);
    for (index, (word, spoil)) in SPOILS.iter().enumerate() {
        let copy = place.path().join(format!("copy-{index}"));
        rsync::copy(&source, &copy);
        spoil(&copy);
        let found = diff(&expected, &Manifest::of(&copy));
        assert!(
            found.iter().any(|difference| difference.contains(word)),
            "{word} was not found, only {found:?}"
        );
    }
}
