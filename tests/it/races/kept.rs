//! Files of root in a directory of the account: it may rename them, and may neither read nor write
//! them, nor have their rights. A file that takes the place of another between two looks must not
//! change that, on either side.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use filetime::FileTime;

use super::{ACCOUNT, Attacker, Field, SECRET, assert_secrets_kept, each_file, exchange, own};
use crate::support::engine::Job;
use crate::support::{Ability, can_run, span};

/// How many of each kind of file there are: enough that a swap often falls between two looks at one.
const COUNT: usize = 96;
/// What is in files of the account: as long as what is in those of root, so that no size tells
/// them apart.
const OWN: &str = "made by account; ";
/// What is in programs of root, with and without rights of their own.
const TOOL: &str = "a program of root ";
const PLAIN: &str = "another program of root ";
/// A capability as the kernel keeps it: one bit, permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One kind of file: name, owner, mode, contents.
type Kind = (&'static str, u32, u32, &'static str);

const KEPT: Kind = ("kept", 0, 0o600, SECRET);
const MINE: Kind = ("own", ACCOUNT, 0o644, OWN);
const SET_ID: Kind = ("set-id", 0, 0o4755, TOOL);
const ABLE: Kind = ("able", 0, 0o755, TOOL);
const OTHER: Kind = ("plain", 0, 0o755, PLAIN);

fn build(root: &Path, kinds: &[Kind], times: usize) {
    let work = root.join("work");
    fs::create_dir_all(&work).unwrap();
    own(&work, ACCOUNT, 0o755);
    for (name, owner, mode, contents) in kinds {
        for number in 0..COUNT {
            let file = work.join(format!("{name}-{number}"));
            let times = if number == 0 { times } else { 4 };
            drop(fs::remove_file(&file));
            fs::write(&file, contents.repeat(times)).unwrap();
            own(&file, *owner, *mode);
            if *name == "able" {
                xattr::set(&file, "security.capability", &CAPABILITY).unwrap();
            }
            let time = FileTime::from_unix_time(1_600_000_000, 5);
            filetime::set_file_times(&file, time, time).unwrap();
        }
    }
}

/// Asserts that contents, owners and rights belong together as they did.
#[track_caller]
fn assert_rights(root: &Path, context: &str) {
    assert_secrets_kept(root, context);
    each_file(root, |path, contents, metadata| {
        let context = format!("{context}: {} {metadata:?}", path.display());
        let is_able = xattr::get(path, "security.capability").unwrap().is_some();
        let has_set_id = metadata.mode() & 0o6000 != 0;
        if contents.contains(OWN) {
            assert_eq!(metadata.uid(), ACCOUNT, "{context}");
            assert!(!has_set_id && !is_able, "{context}");
        } else if contents.contains(PLAIN) {
            assert!(!has_set_id && !is_able, "{context}");
        } else {
            assert_eq!(metadata.uid(), 0, "{context}");
        }
    });
}

/// Exchanges files of two kinds in `work`, back and forth.
fn swaps(work: PathBuf, pairs: &'static [(Kind, Kind)]) -> impl FnMut(u64) + Send {
    move |round| {
        let number = round as usize % COUNT;
        let (one, other) = pairs[round as usize / COUNT % pairs.len()];
        let path = |kind: Kind| work.join(format!("{}-{number}", kind.0));
        exchange(&path(one), &path(other));
    }
}

#[test]
fn contents_travel_with_their_own_rights() {
    if !can_run("contents_travel_with_their_own_rights", &[Ability::Root]) {
        return;
    }
    let field = Field::new();
    build(&field.source, &[KEPT, MINE, SET_ID, ABLE, OTHER], 5000);
    let pairs = &[(MINE, KEPT), (MINE, SET_ID), (OTHER, ABLE), (MINE, ABLE)];
    let attacker = Attacker::start(swaps(field.source.join("work"), pairs));
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < span() || runs < 10 {
        fs::remove_dir_all(&field.target).unwrap();
        attacker.go();
        let mut job = Job::new(&field.source, &field.target);
        job.policy.fsync = false;
        let ran = job.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        attacker.rest();
        assert_rights(&field.target, "after a run");
        runs += 1;
    }
    assert!(attacker.finish() > 100);
}

/// Has root give the account's files another mode, owner or time on the target while it exchanges
/// them with root's own; `change` makes the source differ.
fn race_on_target(name: &str, change: fn(&Path), is_checksum: bool, staged: bool) {
    if !can_run(name, &[Ability::Root]) {
        return;
    }
    let field = Field::new();
    build(&field.source, &[MINE], 5000);
    for number in 0..COUNT {
        change(&field.source.join(format!("work/own-{number}")));
    }
    let pairs = &[(MINE, KEPT)];
    let attacker = Attacker::start(swaps(field.target.join("work"), pairs));
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < span() || runs < 10 {
        // A stage that is full takes nothing from the live tree any more.
        drop(fs::remove_dir_all(field.target.join(".instancesync")));
        build(&field.target, &[MINE, KEPT], 5000);
        attacker.go();
        let mut job = Job::new(&field.source, &field.target);
        job.policy.fsync = false;
        job.policy.staged = staged.then(Vec::new);
        let ran = if is_checksum { job.checksum() } else { job }.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        attacker.rest();
        assert_rights(&field.target, name);
        runs += 1;
    }
    assert!(attacker.finish() > 100);
}

fn change_mode(file: &Path) {
    own(file, ACCOUNT, 0o640);
}

fn change_time(file: &Path) {
    let time = FileTime::from_unix_time(1_700_000_000, 5);
    filetime::set_file_times(file, time, time).unwrap();
}

#[test]
fn no_mode_is_given_to_a_file_that_was_not_compared() {
    let name = "no_mode_is_given_to_a_file_that_was_not_compared";
    race_on_target(name, change_mode, false, false);
}

#[test]
fn no_file_counts_as_equal_that_was_not_compared() {
    let name = "no_file_counts_as_equal_that_was_not_compared";
    race_on_target(name, change_time, true, false);
}

#[test]
fn no_copy_is_made_of_a_file_that_was_not_compared() {
    let name = "no_copy_is_made_of_a_file_that_was_not_compared";
    race_on_target(name, change_mode, true, true);
}

#[test]
fn a_file_that_only_looks_like_one_of_the_account_stays_closed() {
    let name = "a_file_that_only_looks_like_one_of_the_account_stays_closed";
    if !can_run(name, &[Ability::Root]) {
        return;
    }
    // The account has made size and time on the source what they are on the target.
    let field = Field::new();
    let length = SECRET.repeat(4).len();
    let alike = |root: &Path, owner: u32, mode: u32, contents: &[u8]| {
        let file = root.join("file");
        fs::write(&file, contents).unwrap();
        own(&file, owner, mode);
        let time = FileTime::from_unix_time(1_600_000_000, 5);
        filetime::set_file_times(&file, time, time).unwrap();
    };
    alike(&field.source, ACCOUNT, 0o644, &vec![b'x'; length]);
    alike(&field.target, 0, 0o600, SECRET.repeat(4).as_bytes());
    Job::new(&field.source, &field.target).run().stats();
    assert_secrets_kept(&field.target, name);
    assert_eq!(
        fs::read(field.target.join("file")).unwrap(),
        vec![b'x'; length]
    );
}

#[test]
fn no_name_is_linked_to_a_file_that_took_its_leaders_place() {
    let name = "no_name_is_linked_to_a_file_that_took_its_leaders_place";
    if !can_run(name, &[Ability::Root]) {
        return;
    }
    // One file with a name in the account's directory and one where only root writes.
    let field = Field::new();
    build(&field.source, &[SET_ID], 4);
    fs::create_dir(field.source.join("z")).unwrap();
    for number in 0..COUNT {
        let tool = field.source.join(format!("work/set-id-{number}"));
        fs::hard_link(tool, field.source.join(format!("z/set-id-{number}"))).unwrap();
    }
    let pairs = &[(MINE, SET_ID)];
    let attacker = Attacker::start(swaps(field.target.join("work"), pairs));
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < span() || runs < 10 {
        drop(fs::remove_dir_all(field.target.join("z")));
        for number in 0..COUNT {
            drop(fs::remove_file(
                field.target.join(format!("work/set-id-{number}")),
            ));
        }
        build(&field.target, &[MINE], 4);
        attacker.go();
        let mut job = Job::new(&field.source, &field.target);
        job.policy.fsync = false;
        let ran = job.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        attacker.rest();
        each_file(&field.target.join("z"), |path, contents, _| {
            assert!(!contents.contains(OWN), "{name}: {}", path.display());
        });
        runs += 1;
    }
    assert!(attacker.finish() > 100);
}
