//! Arbitrary bytes and values against everything that reads them: each test holds a property.
//! INSTANCESYNC_FUZZ asks for more cases than the default 200.

mod files;
pub mod values;

use std::collections::BTreeSet;
use std::fs;

use instancesync::authorized_keys::{Account, Owner, Which, install, remove};
use instancesync::exclude::{Rules, parse_file};
use instancesync::relpath::RelPath;
use instancesync::transfer::digest::{ContentHasher, DigestKey};
use instancesync::transfer::wire::frame::{Frame, FrameBuilder, MAX_RAW_LEN, Packing, encode};
use instancesync::transfer::wire::message::{DigestSecret, Down, Up};
use proptest::collection::vec;
use proptest::prelude::*;

use values::{all_down, all_up, any_down, any_up};

fn cases() -> ProptestConfig {
    let count = std::env::var("INSTANCESYNC_FUZZ").map(|text| text.parse());
    ProptestConfig {
        cases: count.map_or(200, |count| count.expect("a number of cases")),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Everything that a decoded message may join below a root must be a clean path.
fn assert_clean(message: &Down) {
    let Down::Listing(listing) = message else {
        return;
    };
    let names = listing.entries.iter().map(|entry| &entry.name);
    for name in names.chain(&listing.after) {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 255 && bytes != b"." && bytes != b"..");
        assert!(!bytes.contains(&b'/') && !bytes.contains(&0));
    }
    let again = RelPath::new(listing.path.as_bytes());
    assert_eq!(again.as_ref(), Ok(&listing.path));
}

/// Reads frames until one is wrong; what is read must be within the limits.
fn read_all(mut bytes: &[u8]) {
    while let Ok(frame) = Frame::read(&mut bytes) {
        assert!(frame.body().len() <= MAX_RAW_LEN);
        if let Ok(message) = frame.message::<Down>() {
            assert_clean(&message);
            drop(message.check());
        }
        if let Ok(message) = frame.message::<Up>() {
            drop(message.check());
        }
    }
}

/// Changes some bytes, cuts some off, or puts some in.
fn mutate(bytes: &mut Vec<u8>, changes: &[(u16, u8, u8)]) {
    for (place, how, value) in changes {
        let place = usize::from(*place) % (bytes.len() + 1);
        match how % 4 {
            0 if place < bytes.len() => bytes[place] = *value,
            1 if place < bytes.len() => bytes[place] ^= 1 << (value % 8),
            2 => bytes.insert(place, *value),
            _ => drop(bytes.drain(place.min(bytes.len()).saturating_sub(1)..place)),
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn frames_of_any_bytes_yield_clean_values(bytes in vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
        // With a true length, so that more than the length is looked at.
        let mut framed = (bytes.len() as u32).to_le_bytes().to_vec();
        framed.extend_from_slice(&bytes);
        read_all(&framed);
        framed.splice(4..4, [0, 0, 0, 0, 0]);
        framed[..4].copy_from_slice(&((bytes.len() + 5) as u32).to_le_bytes());
        framed[5..9].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        read_all(&framed);
    }

    #[test]
    fn mutated_messages_yield_clean_values(
        which in any::<prop::sample::Index>(),
        changes in vec(any::<(u16, u8, u8)>(), 1..6),
        packed in any::<bool>(),
    ) {
        let packing = if packed { Packing::Zstd(1) } else { Packing::Plain };
        let downs = all_down(Rules::none());
        let frame = encode(&downs[which.index(downs.len())], packing).unwrap();
        let mut bytes = frame.as_bytes().to_vec();
        mutate(&mut bytes, &changes);
        read_all(&bytes);
        let ups = all_up();
        let frame = encode(&ups[which.index(ups.len())], packing).unwrap();
        let mut bytes = frame.as_bytes().to_vec();
        mutate(&mut bytes, &changes);
        read_all(&bytes);
    }

    #[test]
    fn what_is_said_is_what_is_heard(
        down in any_down(),
        up in any_up(),
        body in vec(any::<u8>(), 0..300),
        level in 0..3i32,
    ) {
        let packing = if level == 0 { Packing::Plain } else { Packing::Zstd(level) };
        let mut builder = FrameBuilder::new(&down, body.len()).unwrap();
        builder.body().extend_from_slice(&body);
        let frame = builder.finish(packing).unwrap();
        let heard = Frame::read(&mut frame.as_bytes()).unwrap();
        prop_assert_eq!(heard.body(), &body[..]);
        let said = format!("{:?}", heard.message::<Down>().unwrap());
        prop_assert_eq!(said, format!("{:?}", down));
        let frame = encode(&up, packing).unwrap();
        let heard = Frame::read(&mut frame.as_bytes()).unwrap();
        prop_assert_eq!(heard.message::<Up>().unwrap(), up);
    }

    #[test]
    fn authorized_keys_keep_every_line_of_others(
        lines in vec(vec(any::<u8>().prop_filter("one line", |byte| *byte != b'\n'), 0..60), 0..8),
        ends in any::<bool>(),
        nearly in any::<bool>(),
    ) {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let file = home.path().join(".ssh/authorized_keys");
        let mut lines = lines;
        if nearly {
            // Looks like ours and is that of another pair.
            lines.push(b"ssh-ed25519 AAAA instancesync:p10:n1:f".to_vec());
            lines.push(b"# instancesync:p1:n1: was here".to_vec());
        }
        let mut before = lines.join(&b'\n');
        if ends && !before.is_empty() {
            before.push(b'\n');
        }
        fs::write(&file, &before).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let account = Account { home: home.path(), uid };
        let owner = Owner { pair: "p1", nonce: "n1" };
        install(account, "ssh-ed25519 AAAA", owner).unwrap();
        let between = fs::read(&file).unwrap();
        prop_assert!(between.starts_with(&before), "others moved");
        prop_assert_eq!(between.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line.ends_with(b"instancesync:p1:n1:")).count(), 1);
        remove(account, Which::Pair("p1")).unwrap();
        let after = fs::read(&file).unwrap();
        let trimmed = |bytes: &[u8]| bytes.strip_suffix(b"\n").unwrap_or(bytes).to_vec();
        prop_assert_eq!(trimmed(&after), trimmed(&before));
    }

    #[test]
    fn pattern_files_of_any_bytes_are_rules_or_errors(
        bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(b"*?[]{}!/\\\n-+ #a.".to_vec())], 0..400),
        name in vec(any::<u8>(), 1..40),
    ) {
        let Ok(list) = parse_file("file", &bytes) else { return Ok(()) };
        let lines: BTreeSet<_> = list.iter().map(|rule| rule.origin.clone()).collect();
        prop_assert_eq!(lines.len(), list.len(), "one rule a line");
        let (Ok(rules), Ok(path)) = (Rules::new(list.clone()), RelPath::new(&name)) else {
            return Ok(());
        };
        prop_assert_eq!(rules.list(), &list[..]);
        // The same from the root down and along the walk.
        let Some((parent, leaf)) = path.split() else { return Ok(()) };
        let whole = rules.decide(&path, false).verdict;
        let walked = rules.below(&parent).decide(&leaf, false).verdict;
        prop_assert_eq!(whole, walked);
    }

    #[test]
    fn deltas_of_any_bytes_stay_within_their_limit(
        basis in vec(any::<u8>(), 0..200),
        delta in vec(prop_oneof![any::<u8>(), 0x41..0x55u8, Just(0xff)], 0..200),
        limit in 0..5000usize,
    ) {
        let mut framed = b"rs\x026".to_vec();
        framed.extend_from_slice(&delta);
        for delta in [delta, framed] {
            let mut out = Vec::new();
            let applied = fast_rsync::apply_limited(&basis, &delta, &mut out, limit);
            prop_assert!(out.len() <= limit, "{applied:?}");
        }
    }

    #[test]
    fn digests_do_not_depend_on_how_contents_are_cut(
        parts in vec((any::<bool>(), 1..200_000usize, any::<u8>()), 1..6),
    ) {
        let mut contents = Vec::new();
        let key = DigestKey::new(&DigestSecret::draw());
        let mut hasher = ContentHasher::new(&key);
        for (is_hole, length, byte) in parts {
            let start = contents.len();
            contents.resize(start + length, if is_hole { 0 } else { byte });
            if !is_hole {
                hasher.add(start as u64, &contents[start..]);
            }
        }
        prop_assert_eq!(hasher.finish(contents.len() as u64), key.digest_of(&contents));
    }
}
