//! Sender and agent in one process: attributes, second passes, hard links, deltas, what is
//! continued after a cut, cuts at every frame, deletion, changed types.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use filetime::FileTime;
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::monitor::Pass;
use instancesync::problem::{Problem, ProblemKind};
use instancesync::transfer::TransferError;
use instancesync::transfer::sender::{Deletes, PassPlan, Turn};
use instancesync::transfer::wire::message::{Down, Up};

use crate::support::engine::{Job, cut_after, open_tap, timestamp_passes};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{Mount, Places, assert_none, in_memory, put};
use crate::support::rng::Rng;
use crate::support::{Ability, can_run, tree};

/// One permitted and effective capability (CAP_NET_RAW) as the kernel stores it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const MIB: usize = 1 << 20;

#[track_caller]
fn assert_same(places: &Places, context: &str) {
    let differences = diff(&Manifest::of(&places.source), &Manifest::of(&places.ours));
    assert_none(&differences, context);
}

fn job(places: &Places) -> Job<'_> {
    Job::new(&places.source, &places.ours)
}

fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..count.div_ceil(8))
        .flat_map(|_| rng.next().to_le_bytes())
        .take(count)
        .collect()
}

fn set_mtime(path: &Path, seconds: i64) {
    let time = FileTime::from_unix_time(seconds, 0);
    filetime::set_symlink_file_times(path, time, time).unwrap();
}

#[test]
fn an_owner_change_keeps_set_uid_and_capability() {
    if !can_run(
        "an_owner_change_keeps_set_uid_and_capability",
        &[Ability::Root],
    ) {
        return;
    }
    let places = Places::empty();
    let names = [("small", 10), ("large", 300_000)];
    let give = |uid, mode| {
        for (name, _) in names {
            let path = places.source.join(name);
            lchown(&path, Some(uid), Some(uid)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            xattr::set(&path, "security.capability", &CAPABILITY).unwrap();
        }
    };
    for (name, size) in names {
        fs::write(places.source.join(name), noise(size, 1)).unwrap();
    }
    give(1000, 0o6755);
    job(&places).run().stats();
    assert_same(&places, "after landing");
    // Only attributes this time: the owner goes first there as well.
    give(33, 0o4711);
    let ran = job(&places).run();
    assert_eq!(
        (ran.stats().body_bytes, ran.stats().attribute_entries),
        (0, 2)
    );
    assert_same(&places, "after a change of attributes");
}

#[test]
fn a_pass_tells_what_its_time_went_into() {
    let places = Places::empty();
    fs::write(places.source.join("large"), noise(64 * MIB, 1)).unwrap();
    let ran = job(&places).run();
    let (source, target) = (ran.stats().source_spent, ran.stats().target_spent);
    let spent = [source.read_ms, source.hash_ms, target.write_ms];
    assert!(
        spent.iter().all(|spent| *spent > 0),
        "{source:?} {target:?}"
    );
    assert!(
        target.idle_ms > 0,
        "a worker without work waits: {target:?}"
    );
    let foreign = [source.write_ms, source.compare_ms, target.walk_ms];
    assert_eq!(foreign, [0; 3], "what the other side does");
}

#[test]
fn a_second_pass_sends_nothing() {
    if !can_run("a_second_pass_sends_nothing", &[Ability::Root]) {
        return;
    }
    let places = Places::with_tree(31);
    fs::write(places.source.join("large file"), noise(3 * MIB, 2)).unwrap();
    job(&places).run().stats();
    assert_same(&places, "first");
    for checksum in [false, true] {
        let again = job(&places);
        let ran = if checksum { again.checksum() } else { again }.run();
        let stats = ran.stats();
        let changed = stats.landed_files
            + stats.made_entries
            + stats.linked_entries
            + stats.attribute_entries;
        assert_eq!((stats.body_bytes, changed), (0, 0), "{stats:?}");
        assert_eq!(stats.equal_entries, stats.listed_entries, "{stats:?}");
    }
    assert_same(&places, "again");
}

/// Three names of one file; the directories are walked in an order that puts the leader first,
/// in between and last.
fn linked_tree(places: &Places, content: &[u8]) -> [PathBuf; 3] {
    let names = ["a/one", "m/deep/two", "z/three"].map(|name| places.source.join(name));
    put(&names[0], "");
    fs::write(&names[0], content).unwrap();
    for name in &names[1..] {
        fs::create_dir_all(name.parent().unwrap()).unwrap();
        fs::hard_link(&names[0], name).unwrap();
    }
    names
}

#[test]
fn names_of_a_file_meet_across_directories() {
    for size in [10, 400_000] {
        let places = Places::empty();
        let names = linked_tree(&places, &noise(size, 3));
        let ran = job(&places).run();
        assert_eq!(ran.stats().body_bytes, size as u64, "sent once");
        assert_same(&places, "first");
        // The target has copies instead of links.
        let ours = places.ours.join("m/deep/two");
        let content = fs::read(&ours).unwrap();
        fs::remove_file(&ours).unwrap();
        fs::write(&ours, content).unwrap();
        set_mtime(&ours, names[0].metadata().unwrap().mtime());
        job(&places).run().stats();
        assert_same(&places, "linked again");
        // The target has links where the source has copies.
        fs::remove_file(&names[2]).unwrap();
        fs::write(&names[2], noise(size, 4)).unwrap();
        job(&places).run().stats();
        assert_same(&places, "parted");
    }
}

#[test]
fn another_name_leads_when_the_leader_vanishes() {
    for size in [10, 400_000] {
        let places = Places::empty();
        let names = linked_tree(&places, &noise(size, 5));
        // The leader is the name that is wanted first; it goes before its contents are read.
        let mut job = job(&places);
        let (source, mut paths, mut done) = (places.source.clone(), Vec::new(), false);
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let listed = Arc::clone(&seen);
        job.down = Box::new(move |frame| {
            if let Ok(Down::Listing(listing)) = frame.message() {
                listed.lock().unwrap().push(listing);
            }
            true
        });
        job.up = Box::new(move |frame| {
            let Ok(Up::Wants { seq, wants }) = frame.message() else {
                return true;
            };
            if !done && !wants.is_empty() {
                done = true;
                let seen = seen.lock().unwrap();
                let listing = seen.iter().find(|listing| listing.seq == seq).unwrap();
                let entry = &listing.entries[wants[0].index as usize];
                let path = listing.path.join(&entry.name);
                let path = String::from_utf8(path.as_bytes().to_vec()).unwrap();
                fs::remove_file(source.join(&path)).unwrap();
                paths.push(path);
            }
            true
        });
        let ran = job.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        let kinds: Vec<_> = ran.problems.iter().map(|problem| problem.kind).collect();
        assert_eq!(kinds, [ProblemKind::Vanished], "{ran:?}");
        let left = names.iter().filter(|name| name.exists()).count();
        assert_eq!(left, 2);
        let ran = Job::new(&places.source, &places.ours).run();
        assert_eq!(ran.stats().body_bytes, 0, "the others had landed");
        assert_same(&places, "after the leader vanished");
    }
}

#[test]
fn scattered_changes_send_few_bytes() {
    let places = Places::empty();
    let path = places.source.join("database");
    fs::write(&path, noise(40 * MIB, 6)).unwrap();
    job(&places).run().stats();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for number in 0..10 {
        file.write_all_at(&[7; 100], number * 4_000_000 + 4090)
            .unwrap();
    }
    drop(file);
    let ran = job(&places).run();
    assert_eq!(ran.stats().landed_files, 1);
    assert!(ran.stats().body_bytes <= 20 * 4096, "{:?}", ran.stats());
    assert_same(&places, "scattered");
    // Unseen by the time stamp.
    let before = FileTime::from_last_modification_time(&path.metadata().unwrap());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 30_000_000).unwrap();
    drop(file);
    filetime::set_file_mtime(&path, before).unwrap();
    let ran = job(&places).checksum().run();
    assert!(ran.stats().body_bytes <= 128 * 1024, "{:?}", ran.stats());
    assert_same(&places, "unseen");
}

#[test]
fn shifted_contents_send_few_bytes() {
    let places = Places::empty();
    let path = places.source.join("log");
    let content = noise(40 * MIB, 7);
    fs::write(&path, &content).unwrap();
    job(&places).run().stats();
    for (context, new) in [
        (
            "in front",
            [&b"one more line\n".repeat(100), &content[..]].concat(),
        ),
        ("cut in front", content[1_000_000..].to_vec()),
        ("appended", [&content[..], b"end"].concat()),
    ] {
        fs::write(&path, new).unwrap();
        let ran = job(&places).run();
        assert!(ran.stats().body_bytes < MIB as u64, "{context}: {ran:?}");
        assert_same(&places, context);
    }
}

/// A log that was rotated: the target's is long, the source's short by now.
#[test]
fn a_file_that_shrank_lands() {
    for size in [200_000, 9 * MIB, 0] {
        let places = Places::empty();
        put(&places.ours.join("log"), "");
        File::create(places.ours.join("log"))
            .unwrap()
            .write_all(&noise(100 * MIB, 8))
            .unwrap();
        fs::write(places.source.join("log"), noise(size, 9)).unwrap();
        job(&places).run().stats();
        assert_same(&places, "shrunk");
    }
}

/// Large files that the target has too, all gone from the source before they are read.
#[test]
fn large_files_that_vanish_do_not_end_the_run() {
    for (there, here) in [(80 * MIB, 80 * MIB), (90 * MIB, 80 * MIB)] {
        let places = Places::empty();
        fs::create_dir(&places.ours).unwrap();
        for name in ["a", "b", "c"] {
            let file = File::create(places.ours.join(name)).unwrap();
            file.set_len(there as u64).unwrap();
            file.write_all_at(&noise(MIB, 10), 0).unwrap();
            let file = File::create(places.source.join(name)).unwrap();
            file.set_len(here as u64).unwrap();
            set_mtime(&places.source.join(name), 5);
        }
        let mut job = job(&places);
        let source = places.source.clone();
        job.up = Box::new(move |frame| {
            if let Ok(Up::Wants { .. }) = frame.message() {
                for name in ["a", "b", "c"] {
                    fs::remove_file(source.join(name)).unwrap_or(());
                }
            }
            true
        });
        let ran = job.run();
        assert!(ran.result.is_ok(), "{ran:?}");
        assert_eq!(ran.problems.len(), 3, "{ran:?}");
    }
}

fn partial_files(target: &Path) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(target.join(".instancesync")) else {
        return Vec::new();
    };
    found.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_cut_file_is_continued() {
    let places = Places::empty();
    let size = 32 * MIB as u64;
    fs::write(places.source.join("image"), noise(size as usize, 11)).unwrap();
    let mut first = job(&places);
    let mut segments = 0;
    first.down = Box::new(move |frame| {
        segments += u64::from(matches!(frame.message(), Ok(Down::Segment { .. })));
        segments <= 64
    });
    let ran = first.run();
    assert!(matches!(ran.result, Err(TransferError::Link(_))), "{ran:?}");
    assert!(!places.ours.join("image").exists());
    assert_eq!(partial_files(&places.ours).len(), 1);
    let there = partial_files(&places.ours)[0].metadata().unwrap().len();
    assert!(there > 8 * MIB as u64, "{there} bytes had arrived");
    let ran = job(&places).run();
    let sent = ran.stats().body_bytes;
    assert!(
        sent <= size - there + 65536,
        "{sent} of {size}, {there} there"
    );
    assert_same(&places, "continued");
    assert!(!places.ours.join(".instancesync").exists());
}

#[test]
fn a_partial_file_of_nonsense_does_no_harm() {
    for length in [0, 1, 5 * MIB, 20 * MIB] {
        let places = Places::empty();
        fs::write(places.source.join("image"), noise(12 * MIB, 12)).unwrap();
        let mut cut = job(&places);
        let mut segments = 0;
        cut.down = Box::new(move |frame| {
            segments += u64::from(matches!(frame.message(), Ok(Down::Segment { .. })));
            segments <= 16
        });
        cut.run();
        let partial = partial_files(&places.ours).pop().unwrap();
        fs::write(&partial, noise(length, 13)).unwrap();
        job(&places).run().stats();
        assert_same(&places, "nonsense");
    }
}

#[test]
fn a_cut_after_any_frame_ends_and_the_next_run_completes() {
    let places = Places::empty();
    for number in 0..30 {
        let path = places.source.join(format!("d{}/f{number}", number % 4));
        put(&path, &format!("content {number}"));
    }
    fs::write(places.source.join("large"), noise(5 * MIB, 14)).unwrap();
    fs::write(places.source.join("changed"), noise(MIB, 15)).unwrap();
    symlink("d0", places.source.join("link")).unwrap();
    for down in [true, false] {
        let mut count = 0;
        loop {
            if places.ours.exists() {
                fs::remove_dir_all(&places.ours).unwrap();
            }
            put(&places.ours.join("extra/file"), "x");
            fs::write(places.ours.join("changed"), noise(2 * MIB, 15)).unwrap();
            let mut cut = job(&places).deleting(u64::MAX);
            (cut.down, cut.up) = match down {
                true => (cut_after(count), open_tap()),
                false => (open_tap(), cut_after(count)),
            };
            let ran = cut.run();
            let went_through = ran.result.is_ok();
            if !went_through {
                let lost = matches!(ran.result, Err(TransferError::Link(_)));
                assert!(lost, "down {down}, frame {count}: {ran:?}");
            }
            job(&places).deleting(u64::MAX).run().stats();
            assert_same(&places, &format!("down {down}, frame {count}"));
            if went_through {
                break;
            }
            count += 1;
        }
        assert!(count > 5, "{count} frames are no transfer");
    }
}

#[test]
fn of_a_file_of_a_tebibyte_only_what_differs_is_sent_although_it_has_grown() {
    const LEN: u64 = (1 << 40) + 1;
    let places = Places::empty();
    let page = noise(4096, 17);
    for (root, length) in [(&places.source, LEN + 5000), (&places.ours, LEN)] {
        fs::create_dir_all(root).unwrap();
        let file = File::create(root.join("disk")).unwrap();
        file.set_len(length).unwrap();
        for offset in [0, LEN / 2] {
            file.write_all_at(&page, offset).unwrap();
        }
        if length > LEN {
            file.write_all_at(b"new", LEN / 4).unwrap();
            file.write_all_at(b"end", length - 3).unwrap();
        }
    }
    let ran = job(&places).run();
    // The block around it, and what lies beyond the old end.
    assert!(ran.stats().body_bytes < 5 * MIB as u64, "{ran:?}");
    let disk = File::open(places.ours.join("disk")).unwrap();
    assert_eq!(disk.metadata().unwrap().len(), LEN + 5000);
    for (offset, expected) in [
        (0, &page[..]),
        (LEN / 4, b"new"),
        (LEN / 2, &page),
        (LEN + 4997, b"end"),
    ] {
        let mut found = vec![0; expected.len()];
        disk.read_exact_at(&mut found, offset).unwrap();
        assert!(found == expected, "at {offset}");
    }
}

#[test]
fn a_pipe_of_single_bytes_does_not_block() {
    let places = Places::empty();
    for number in 0..200 {
        put(
            &places.source.join(format!("d{}/f{number}", number % 9)),
            &"x".repeat(number),
        );
    }
    fs::write(places.source.join("large"), noise(300_000, 16)).unwrap();
    let mut job = job(&places);
    job.step = 1;
    job.run().stats();
    assert_same(&places, "single bytes");
}

#[test]
fn deletes_as_many_as_allowed_and_says_so() {
    let places = Places::empty();
    put(&places.source.join("kept"), "k");
    for number in 0..10 {
        put(&places.ours.join(format!("extra-{number}")), "x");
    }
    put(&places.ours.join("tree/a/b"), "x");
    let ran = job(&places).deleting(4).run();
    let stats = &ran.result.as_ref().unwrap()[0];
    assert_eq!((stats.deleted_entries, stats.failed_entries), (4, 0));
    let kinds: Vec<_> = ran.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ProblemKind::DeleteLimit]);
    let ran = job(&places).deleting(9).run();
    assert_eq!(ran.stats().deleted_entries, 9, "3 of them were the tree");
    assert_same(&places, "all extras are gone");
}

/// Entries that only the target has are counted against the limit also where they stand in the
/// way of something else.
#[test]
fn a_directory_that_is_replaced_counts_against_the_limit() {
    let places = Places::empty();
    put(&places.source.join("name"), "a file");
    for number in 0..20 {
        put(&places.ours.join(format!("name/extra-{number}")), "x");
    }
    let ran = job(&places).deleting(4).run();
    let left = fs::read_dir(places.ours.join("name")).map_or(0, |entries| entries.count());
    assert!(left >= 16, "{} of 20 were deleted: {ran:?}", 20 - left);
    assert!(!ran.problems.is_empty());
}

#[test]
fn what_a_run_before_could_not_remove_is_told_and_in_no_way() {
    let places = Places::empty();
    put(&places.source.join("name"), "a file");
    put(&places.ours.join("name/inside"), "x");
    let private = places.ours.join(".instancesync");
    // It is too deep for us.
    fs::create_dir_all(private.join("0").join("d/".repeat(600))).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    for _ in 0..2 {
        let ran = job(&places).deleting(u64::MAX).run();
        assert!(ran.result.is_ok(), "{ran:?}");
        let told: Vec<_> = ran
            .problems
            .iter()
            .map(|problem| &problem.path[..])
            .collect();
        assert_eq!(told, [b".instancesync/0"], "{ran:?}");
        fs::remove_file(places.ours.join("name")).unwrap_or(());
        put(&places.ours.join("name/inside"), "x");
    }
    fs::remove_dir_all(&private).unwrap();
    job(&places).deleting(u64::MAX).run().stats();
    assert_same(&places, "the stage is gone");
}

#[test]
fn what_is_replaced_and_what_is_removed_share_one_limit() {
    let places = Places::empty();
    put(&places.source.join("name"), "a file");
    for number in 0..4 {
        put(&places.ours.join(format!("name/inside-{number}")), "x");
        put(&places.ours.join(format!("extra-{number}")), "x");
    }
    let mut job = job(&places).deleting(6);
    job.plans = timestamp_passes([Deletes::AtEnd; 2]);
    let ran = job.run();
    let passes = ran.result.as_ref().unwrap();
    let deleted: Vec<u64> = passes.iter().map(|stats| stats.deleted_entries).collect();
    assert_eq!(deleted, [6, 0], "{ran:?}");
    let is_limit = |problem: &Problem| problem.kind == ProblemKind::DeleteLimit;
    assert!(ran.problems.iter().all(is_limit), "{ran:?}");
    let left = fs::read_dir(&places.ours).unwrap().count();
    assert_eq!(left, 3, "the file and two extras");
}

#[test]
fn every_type_takes_the_place_of_every_other() {
    if !can_run(
        "every_type_takes_the_place_of_every_other",
        &[Ability::Root],
    ) {
        return;
    }
    let kinds = [
        tree::Kind::File,
        tree::Kind::Directory,
        tree::Kind::Symlink,
        tree::Kind::Fifo,
        tree::Kind::Socket,
        tree::Kind::CharDevice,
        tree::Kind::BlockDevice,
    ];
    let places = Places::empty();
    fs::create_dir(&places.ours).unwrap();
    let mut rng = Rng::new(17);
    for from in kinds {
        for to in kinds {
            let name = format!("{from:?}-{to:?}");
            tree::make(&places.source.join(&name), to, &mut rng, 1);
            tree::make(&places.ours.join(&name), from, &mut rng, 1);
        }
    }
    let ran = job(&places).deleting(u64::MAX).run();
    ran.stats();
    assert_same(&places, "changed types");
    assert!(!places.ours.join(".instancesync").exists());
}

#[test]
fn a_stop_is_heard_while_the_target_tidies_up() {
    let places = Places::empty();
    put(&places.source.join("a"), "a");
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let mut job = job(&places);
    // The answer to the end of the pass never comes: a target that deletes or syncs for long.
    let waits = Arc::new(AtomicU64::new(0));
    let waiting = Arc::clone(&waits);
    job.up = Box::new(move |frame| {
        if let Ok(Up::PassDone(_)) = frame.message() {
            asked.store(true, Ordering::Relaxed);
            waiting.store(1, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_secs(3));
            waiting.store(2, Ordering::Relaxed);
        }
        true
    });
    let ran = job.run_until(&stop);
    assert!(matches!(ran.result, Err(TransferError::Stopped)), "{ran:?}");
}

#[test]
fn a_message_that_no_frame_holds_ends_the_run_and_says_why() {
    let places = Places::empty();
    put(&places.source.join("file"), "file");
    let target = PathBuf::from(format!("/{}", "x/".repeat(3 * MIB)));
    let job = Job::new(&places.source, &target);
    let Err(TransferError::Unsendable(why)) = job.run().result else {
        panic!("it was sent, or taken for a lost link");
    };
    assert!(why.contains("4194304 are allowed"), "{why}");
}

#[test]
fn a_part_of_the_file_system_that_is_mounted_again_is_a_volume_of_its_own() {
    let test = "a_part_of_the_file_system_that_is_mounted_again_is_a_volume_of_its_own";
    let places = Places::empty();
    let (twice, precious) = (places.theirs.join("twice"), places.theirs.join("precious"));
    for path in [&twice, &precious] {
        put(&path.join("old/file"), "old");
    }
    let Some(_bound) = Mount::bind(test, &twice, &places.ours.join("bound")) else {
        return;
    };
    let _extra = Mount::bind(test, &precious, &places.ours.join("extra/mount"));
    put(&places.source.join("bound/new/file"), "new");
    fs::write(places.source.join("bound/large"), noise(5 * MIB, 3)).unwrap();
    symlink("new", places.source.join("bound/link")).unwrap();
    let ran = job(&places).deleting(u64::MAX).run();
    assert_eq!(ran.problems, []);
    let (source, ours) = (places.source.join("bound"), places.ours.join("bound"));
    assert_none(&diff(&Manifest::of(&source), &Manifest::of(&ours)), "bound");
    let kept = fs::read_to_string(precious.join("old/file")).unwrap();
    assert_eq!(kept, "old", "deleted behind a mount point");
}

#[test]
fn names_of_a_file_meet_within_each_volume() {
    let places = Places::empty();
    let test = "names_of_a_file_meet_within_each_volume";
    let Some(_mounted) = Mount::small(test, &places.ours.join("mounted")) else {
        return;
    };
    let names = |above: &str| -> Vec<String> {
        let name = |number| format!("{above}{number}/name");
        (0..20).map(name).collect()
    };
    let (inside, outside) = (names("mounted/"), names(""));
    for (index, name) in inside.iter().chain(&outside).enumerate() {
        let path = places.source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match index {
            0 => fs::write(path, noise(MIB, 4)).unwrap(),
            _ => fs::hard_link(places.source.join(&inside[0]), path).unwrap(),
        }
    }
    let ran = job(&places).run();
    assert_eq!(
        (ran.stats().landed_files, ran.stats().linked_entries),
        (2, 38)
    );
    for group in [&inside, &outside] {
        let inode = |name: &String| fs::metadata(places.ours.join(name)).unwrap().ino();
        assert!(group.iter().all(|name| inode(name) == inode(&group[0])));
    }
    let again = job(&places).run();
    assert_eq!(again.stats().equal_entries, again.stats().listed_entries);
}

#[test]
fn what_comes_and_goes_between_passes_is_no_problem() {
    let places = Places::empty();
    put(&places.source.join("stays"), "s");
    put(&places.source.join("goes"), "g");
    let mut job = job(&places).deleting(u64::MAX);
    let pass = |pass, turn| PassPlan {
        pass,
        deletes: match turn {
            Turn::Early => Deletes::Never,
            Turn::Last => Deletes::AtEnd,
        },
        turn,
    };
    job.plans = vec![
        pass(Pass::Timestamp, Turn::Early),
        pass(Pass::Checksum, Turn::Last),
    ];
    let source = places.source.clone();
    job.up = Box::new(move |frame| {
        if let Ok(Up::Wants { .. }) = frame.message() {
            fs::remove_file(source.join("goes")).unwrap_or(());
        }
        true
    });
    let ran = job.run();
    assert!(ran.result.is_ok() && ran.problems.is_empty(), "{ran:?}");
    assert_same(&places, "between passes");
}

/// More attributes than a listing can carry: the file is reported, and what the target has under
/// its name is not taken for an extra.
#[test]
fn an_entry_that_cannot_be_listed_is_reported_and_not_deleted() {
    let test = "an_entry_that_cannot_be_listed_is_reported_and_not_deleted";
    let places = Places::empty();
    let Some(_mount) = Mount::small(test, &places.source) else {
        return;
    };
    put(&places.source.join("dir/laden"), "l");
    put(&places.source.join("dir/plain"), "p");
    for number in 0..80 {
        let path = places.source.join("dir/laden");
        xattr::set(&path, format!("trusted.a{number}"), &noise(60_000, number)).unwrap();
    }
    put(&places.ours.join("dir/laden"), "as it was");
    put(&places.ours.join("extra"), "x");
    let ran = job(&places).deleting(u64::MAX).run();
    assert!(ran.result.is_ok(), "{ran:?}");
    assert_eq!(ran.problems.len(), 1, "{ran:?}");
    assert_eq!(ran.problems[0].kind, ProblemKind::Failed);
    assert_eq!(
        fs::read(places.ours.join("dir/laden")).unwrap(),
        b"as it was"
    );
    assert_eq!(fs::read(places.ours.join("dir/plain")).unwrap(), b"p");
    assert!(!places.ours.join("extra").exists());
}

fn protecting(pattern: &str) -> Rules {
    Rules::new(vec![Rule::new(Verdict::Keep, pattern, "test")]).unwrap()
}

/// A rule that names directories says nothing about the source's file, and all about the target's
/// directory.
#[test]
fn what_a_rule_protects_is_not_replaced_by_another_type() {
    for contents in [None, Some("the target's")] {
        let places = Places::empty();
        put(&places.source.join("kept"), "a file");
        put(&places.source.join("other"), "another");
        fs::create_dir_all(places.ours.join("kept")).unwrap();
        if let Some(contents) = contents {
            put(&places.ours.join("kept/own"), contents);
        }
        let mut job = Job::new(&places.source, &places.ours).deleting(u64::MAX);
        job.rules = protecting("/kept/");
        let ran = job.run();
        let told: Vec<_> = ran.problems.iter().map(|told| &told.path[..]).collect();
        assert_eq!(told, [b"kept"], "{contents:?}");
        assert!(places.ours.join("kept").is_dir(), "{contents:?}");
        assert_eq!(places.ours.join("kept/own").exists(), contents.is_some());
        assert!(places.ours.join("other").exists());
    }
}

#[test]
fn attributes_of_a_name_that_a_rule_protects_stay() {
    let places = Places::empty();
    put(&places.source.join("copied"), "one file");
    let job = || {
        let mut job = Job::new(&places.source, &places.ours);
        job.rules = protecting("/kept");
        job
    };
    for path in [&places.source, &places.ours] {
        fs::create_dir_all(path).unwrap();
        put(&path.join("copied"), "one file");
        fs::hard_link(path.join("copied"), path.join("kept")).unwrap();
        let time = filetime::FileTime::from_unix_time(1_000_000, 7);
        filetime::set_file_mtime(path.join("copied"), time).unwrap();
    }
    let mode = Permissions::from_mode(0o600);
    fs::set_permissions(places.source.join("copied"), mode).unwrap();
    job().run().stats();
    let mode = |name: &str| places.ours.join(name).metadata().unwrap().mode() & 0o777;
    assert_eq!((mode("copied"), mode("kept")), (0o600, 0o644));
    let stats = job().run().stats().clone();
    assert_eq!(stats.attribute_entries + stats.landed_files, 0, "{stats:?}");
}

/// Makes directories in each other, and returns the innermost; no path is ever that long.
fn nest(root: &Path, name: &str, depth: usize) -> std::os::fd::OwnedFd {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut inner = openat(CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&inner, name, Mode::RWXU).unwrap();
        inner = openat(&inner, name, flags, Mode::empty()).unwrap();
    }
    inner
}

/// How many directories of this name there are, however deep.
fn count_named(root: &Path, name: &str) -> usize {
    let mut find = std::process::Command::new("find");
    let found = find.arg(root).args(["-name", name, "-printf", "x"]);
    found.output().unwrap().stdout.len()
}

/// More levels than any other tree of the tests has, and paths longer than the kernel takes.
#[test]
fn deep_trees_are_copied_and_what_no_path_can_name_is_told() {
    let places = Places::within(in_memory());
    let (long, longer) = ("l".repeat(200), "m".repeat(200));
    drop(nest(&places.source, "d", 1500));
    drop(nest(&places.source, &long, 30));
    // LIMIT: MAX_PATH_LEN (src/relpath.rs), after 326 levels.
    drop(nest(&places.source, &longer, 340));
    put(&places.source.join("other"), "x");
    let ran = job(&places).run();
    let told: Vec<_> = ran.problems.iter().map(|told| told.path.len()).collect();
    // LIMIT: what goes as an extra is gone down step by step (src/fs/nesting.rs).
    drop(nest(&places.ours, "extra", 3000));
    let again = job(&places).deleting(u64::MAX).run();
    let extras = count_named(&places.ours, "extra");
    let counts = ["d", &long, &longer].map(|name| count_named(&places.ours, name));
    for root in [&places.source, &places.ours] {
        // Deeper than what removes temporary directories goes.
        let mut remove = std::process::Command::new("rm");
        assert!(remove.arg("-rf").arg(root).status().unwrap().success());
    }
    assert!(ran.result.is_ok(), "{:?}", ran.result);
    assert_eq!((counts[0], counts[1]), (1500, 30));
    assert!((320..340).contains(&counts[2]), "{counts:?}");
    assert!(!told.is_empty() && told.len() < 4, "{told:?}");
    assert!(again.result.is_ok(), "{:?}", again.result);
    assert_eq!((extras, again.problems.len()), (3000, told.len() + 1));
}

#[test]
fn the_largest_attribute_is_kept() {
    if !can_run("the_largest_attribute_is_kept", &[Ability::Root]) {
        return;
    }
    let places = Places::within(in_memory());
    put(&places.source.join("file"), "x");
    // LIMIT: XATTR_SIZE_MAX of the kernel; few file systems take as much.
    let value = noise(65_536, 5);
    if xattr::set(places.source.join("file"), "trusted.large", &value).is_err() {
        return println!("skipped the_largest_attribute_is_kept: no file system takes it");
    }
    job(&places).run().stats();
    assert_same(&places, "a large attribute");
}

#[test]
fn files_as_long_as_can_be_arrive() {
    let memory = in_memory();
    let mut places = Places::empty();
    places.source = memory.path().join("source");
    places.ours = memory.path().join("ours");
    fs::create_dir(&places.source).unwrap();
    // The kernel tells of no data in the very last page of such a file in memory.
    let at = i64::MAX as u64 - MIB as u64;
    for name in ["a", "b", "c"] {
        let file = File::create(places.source.join(name)).unwrap();
        file.set_len(i64::MAX as u64).unwrap();
        file.write_all_at(name.as_bytes(), at).unwrap();
    }
    for _ in 0..2 {
        job(&places).run().stats();
        for name in ["a", "b", "c"] {
            let file = File::open(places.ours.join(name)).unwrap();
            assert_eq!(file.metadata().unwrap().len(), i64::MAX as u64);
            let mut landed = [0];
            file.read_exact_at(&mut landed, at).unwrap();
            assert_eq!(landed, name.as_bytes());
        }
    }
}
