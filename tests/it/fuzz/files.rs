//! Arbitrary and damaged contents of the files that are read from disks and typed by people: what
//! reads them says so or copes, and never panics, loses anything or believes what is not there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use instancesync::boot::{BOOTED_NAME, is_booted};
use instancesync::cleanup::Release;
use instancesync::exclude::profile::Catalog;
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::facts::Facts;
use instancesync::fixup::{CloneNote, Gathered, NewName, Task};
use instancesync::fs::staged::{read_note, staged_for, write_note};
use instancesync::fs::{Dir, Staged};
use instancesync::orders::{Order, RollbackOrder, TargetOrder};
use instancesync::relpath::RelPath;
use instancesync::ssh::Address;
use instancesync::switch::{Gate, JOURNAL_NAME, memo, repair, status};
use instancesync::ui::escape;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{cases, mutate};
use crate::switch::Place;

/// Words of profiles, so that some of what is made of them means something.
const PROFILE: &[&str] = &[
    "name = \"a\"",
    "description = \"b\"",
    "[[rules]]",
    "[rules]",
    "pattern = \"/a/**\"",
    "pattern = \"[\"",
    "verdict = \"keep\"",
    "verdict = \"skip\"",
    "reason = \"c\"",
    "keep = [\"/a\"]",
    "skip = [\"*.b\", \"{x,y}\"]",
    "[when]",
    "family = \"debian\"",
    "group = \"stack\"",
    "extends = \"a\"",
    "merger = \"fstab\"",
    "x = 1979-05-27T07:32:00Z",
    "x = 1e999",
    "\"\" = ''",
    "a.b.c.d = {}",
];

/// Bytes of which some are words.
fn words_or_bytes(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let noise = vec(any::<u8>(), 0..20);
    let lines = vec(prop_oneof![6 => word, 1 => noise], 0..14);
    lines.prop_map(|lines| lines.join(&b'\n'))
}

/// All contents of files below a root, wherever they lie, but of what is about to be replaced.
fn contents(root: &Path) -> BTreeSet<Vec<u8>> {
    let walk = walkdir::WalkDir::new(root).into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    let ours = [&b"journal"[..], b"clone"];
    let files = files.filter(|entry| !ours.contains(&entry.file_name().as_encoded_bytes()));
    files
        .map(|entry| fs::read(entry.path()).unwrap_or_default())
        .collect()
}

/// An order of each kind that carries something.
fn orders() -> Vec<Vec<u8>> {
    let target = TargetOrder {
        root: "/".into(),
        dry_run: true,
    };
    let all = [
        Order::Status(target.clone()),
        Order::Discard(target.clone()),
        Order::Repair(target),
        Order::Reboot { returns: false },
    ];
    let bytes = all.iter().map(|order| postcard::to_stdvec(order).unwrap());
    bytes.collect()
}

fn task() -> Vec<u8> {
    let rule = Rule::new(Verdict::Keep, "/etc/x", "test").because("why");
    let task = Task {
        mergers: Vec::new(),
        source: Gathered::default(),
        source_facts: Facts::default(),
        target_facts: Facts::default(),
        rules: Rules::new(vec![rule]).unwrap(),
        returning_pair: Some("pair".into()),
        new_name: Some(NewName::Given("name".into())),
        staged: Some(vec![RelPath::new(b"home").unwrap()]),
        apart: Vec::new(),
        dry_run: true,
    };
    postcard::to_stdvec(&task).unwrap()
}

fn changes() -> impl Strategy<Value = Vec<(u16, u8, u8)>> {
    vec(any::<(u16, u8, u8)>(), 1..6)
}

proptest! {
    #![proptest_config(cases())]

    /// What is accepted is accepted again, as the same.
    #[test]
    fn damaged_orders_and_tasks_are_values_or_errors(
        which in any::<prop::sample::Index>(),
        changes in changes(),
    ) {
        let orders = orders();
        let mut bytes = orders[which.index(orders.len())].clone();
        mutate(&mut bytes, &changes);
        if let Ok(order) = postcard::from_bytes::<Order>(&bytes) {
            let again = postcard::to_stdvec(&order).unwrap();
            let order_again = postcard::from_bytes::<Order>(&again).unwrap();
            prop_assert_eq!(format!("{order_again:?}"), format!("{order:?}"));
        }
        let mut bytes = task();
        mutate(&mut bytes, &changes);
        if let Ok(task) = postcard::from_bytes::<Task>(&bytes) {
            for path in task.staged.iter().flatten() {
                prop_assert!(RelPath::new(path.as_bytes()).as_ref() == Ok(path));
            }
        }
        drop(postcard::from_bytes::<RollbackOrder>(&bytes));
    }

    #[test]
    fn damaged_notes_are_notes_or_errors(
        changes in changes(),
        noise in vec(any::<u8>(), 0..80),
        is_noise in any::<bool>(),
    ) {
        let place = tempfile::tempdir().unwrap();
        let live = Dir::open_root(place.path()).unwrap();
        Staged::make(&live, &[]).unwrap();
        let rule = Rule::new(Verdict::Keep, "/etc/x", "test").because("why");
        CloneNote::new(Rules::new(vec![rule]).unwrap()).write(&live).unwrap();
        let mut bytes = read_note(&live, b"clone").unwrap().unwrap();
        mutate(&mut bytes, &changes);
        let bytes = if is_noise { noise } else { bytes };
        for note in [&b"clone"[..], b"pair", BOOTED_NAME, JOURNAL_NAME] {
            write_note(&live, note, &bytes).unwrap();
        }
        if let Ok(Some(note)) = CloneNote::read(&live) {
            for path in &note.volumes {
                prop_assert!(RelPath::new(path.as_bytes()).as_ref() == Ok(path));
            }
        }
        drop((staged_for(&live), is_booted(&live), status(&live), memo(&live)));
    }

    /// Whatever is in a journal: a repair moves names at most.
    #[test]
    fn a_damaged_journal_loses_nothing(changes in changes(), moved in 0..12u64) {
        let place = Place::one();
        drop(place.switch(&Gate::cut_after(moved)));
        let journal = place.root().join(".instancesync/journal");
        let Ok(mut bytes) = fs::read(&journal) else { return Ok(()) };
        mutate(&mut bytes, &changes);
        fs::write(&journal, &bytes).unwrap();
        let before = contents(place.root());
        drop((status(&place.live()), memo(&place.live())));
        drop(repair(&place.live(), &Gate::open()));
        prop_assert_eq!(contents(place.root()), before);
    }

    #[test]
    fn profiles_of_any_text_are_profiles_or_errors(bytes in words_or_bytes(PROFILE)) {
        let text = String::from_utf8_lossy(&bytes);
        let mut catalog = Catalog::empty();
        match catalog.add(&text, "a.toml") {
            Ok(name) => prop_assert!(catalog.get(&name).is_some()),
            Err(error) => drop((error.to_string(), error.hint())),
        }
    }

    #[test]
    fn damaged_shipped_profiles_are_profiles_or_errors(
        which in any::<prop::sample::Index>(),
        changes in changes(),
    ) {
        let shipped: Vec<_> = fs::read_dir("profiles").unwrap().flatten().collect();
        let mut bytes = fs::read(shipped[which.index(shipped.len())].path()).unwrap_or_default();
        mutate(&mut bytes, &changes);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(name) = Catalog::empty().add(&text, "a.toml") {
            prop_assert!(!name.is_empty());
        }
    }

    /// What is taken for an address reads the same again, and cannot be taken for an option.
    #[test]
    fn addresses_read_the_same_again(
        text in "[a-zA-Z0-9@:.\\[\\]% _/\\-\u{7f}\u{e9}\\n]{0,30}",
    ) {
        let Ok(address) = text.parse::<Address>() else { return Ok(()) };
        let again: Address = address.to_string().parse().unwrap();
        prop_assert_eq!(again.to_string(), address.to_string());
        prop_assert_eq!((again.user(), again.port()), (address.user(), address.port()));
        prop_assert!(!address.to_string().starts_with('-'), "{}", address);
        prop_assert!(!address.to_string().contains(char::is_control));
    }

    #[test]
    fn arguments_of_any_bytes_are_arguments_or_usage(
        words in vec(prop_oneof![
            prop::sample::select(vec![
                "--target", "--source", "--exclude", "--to", "--bwlimit", "--passes", "plan",
                "rollback", "--host-key-fingerprint", "--accept", "=", "--", "-v", "--yes",
                "cleanup", "amazon-ami", "--become", "1e9G", "18446744073709551616K",
            ]).prop_map(|word| word.as_bytes().to_vec()),
            vec(any::<u8>(), 0..12),
        ], 0..8),
    ) {
        let words = std::iter::once(OsString::from("instancesync"))
            .chain(words.into_iter().map(OsString::from_vec));
        drop(instancesync::cli::parse(words));
    }

    #[test]
    fn releases_of_any_text_are_releases(text in any::<String>()) {
        let release = Release::parse(&text);
        prop_assert_eq!(&Release::parse(&text), &release);
    }

    /// What is shown moves no cursor and tells one name from another.
    #[test]
    fn what_is_shown_is_safe_and_unambiguous(
        one in vec(any::<u8>(), 0..40),
        other in vec(any::<u8>(), 0..40),
        text in any::<String>(),
        width in 1..30usize,
    ) {
        for shown in [escape::name(&one), escape::text(&text), escape::lines(&text)] {
            for line in shown.split('\n') {
                prop_assert!(!line.contains(char::is_control), "{line:?}");
                prop_assert!(!line.contains(['\u{202e}', '\u{200b}', '\u{2028}', '\u{feff}']), "{line:?}");
            }
        }
        prop_assert_eq!(escape::name(&one) == escape::name(&other), one == other);
        let short = escape::shorten(&escape::name(&one), width);
        prop_assert!(short.chars().count() <= width);
    }
}
