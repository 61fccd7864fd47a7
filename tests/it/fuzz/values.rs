//! Values of every message: one fixed value each, and arbitrary ones. Knows nothing of what is
//! done with them.

use instancesync::entry::{DeviceNumber, Entry, Kind, LinkId, Metadata, Timestamp, Xattr};
use instancesync::exclude::Rules;
use instancesync::monitor::{Pass, PassStats, Spent};
use instancesync::problem::{Problem, ProblemKind, Side};
use instancesync::relpath::{Name, RelPath};
use instancesync::transfer::wire::message::{
    Basis, BundleFile, DigestSecret, Down, FailureClass, KeyRequest, Listing, Outcome, Policy,
    Refusal, Up, Want, WantId,
};
use proptest::collection::vec;
use proptest::prelude::*;

const MTIME: Timestamp = Timestamp {
    seconds: -1_234_567_890,
    nanoseconds: 999_999_999,
};

fn metadata() -> Metadata {
    Metadata {
        mode: 0o4755,
        uid: 1000,
        gid: u32::MAX - 1,
        mtime: MTIME,
        xattrs: vec![Xattr {
            name: b"user.a".to_vec(),
            value: vec![0, 1, 255],
        }],
    }
}

fn want() -> WantId {
    WantId {
        seq: 300,
        index: 17,
    }
}

fn outcomes() -> [Outcome; 4] {
    let whole = Outcome::Whole {
        size: 70_000,
        mtime: MTIME,
        churned: true,
    };
    let failed = Outcome::Failed {
        kind: ProblemKind::Vanished,
        operation: "open".into(),
        cause: "No such file or directory".into(),
    };
    [whole, Outcome::Same, Outcome::Differs, failed]
}

fn one_listing() -> Listing {
    let device = DeviceNumber {
        major: 8,
        minor: 300,
    };
    let kinds = [
        Kind::File { size: 70_000 },
        Kind::Directory,
        Kind::Symlink {
            text: b"../x\xff".to_vec(),
        },
        Kind::Fifo,
        Kind::Socket,
        Kind::CharDevice(device),
        Kind::BlockDevice(device),
    ];
    let entries = kinds.into_iter().enumerate().map(|(number, kind)| Entry {
        name: Name::new(format!("entry-{number}").as_bytes()).unwrap(),
        kind,
        metadata: metadata(),
        link: (number == 0).then_some(LinkId(5)),
    });
    Listing {
        seq: 300,
        parent: 2,
        directory: 130,
        path: RelPath::new(b"a/b c/\xfe").unwrap(),
        metadata: metadata(),
        after: Some(Name::new(b"before").unwrap()),
        last: true,
        opaque: false,
        partial: true,
        entries: entries.collect(),
    }
}

/// Returns one value of each message of the sender, in the order of their numbers.
pub fn all_down(rules: Rules) -> Vec<Down> {
    let files = outcomes().map(|outcome| BundleFile {
        want: want(),
        outcome,
    });
    let [whole, ..] = outcomes();
    vec![
        Down::Heartbeat,
        Down::Key(KeyRequest {
            home: b"/root".to_vec(),
            uid: 0,
            key: Some("ssh-ed25519 AAAA".into()),
            pair: "pair".into(),
            nonce: "nonce".into(),
        }),
        Down::Begin {
            target: b"/mnt/\xff".to_vec(),
            rules,
            policy: Policy {
                dry_run: true,
                items: false,
                delete_limit: Some(1000),
                staged: Some(vec![RelPath::new(b"home").unwrap()]),
                fsync: true,
                patch_in_place: false,
                pair: Some("pair".into()),
            },
            secret: DigestSecret::from([7; 16]),
        },
        Down::Pass {
            pass: Pass::Checksum,
            deletes: true,
            last: true,
        },
        Down::Listing(one_listing()),
        Down::Bundle {
            files: files.to_vec(),
            tag: [7; 16],
        },
        Down::Segment {
            want: want(),
            offset: 1 << 40,
        },
        Down::Delta {
            want: want(),
            offset: 1,
            length: 2,
            basis_offset: 3,
            basis_length: 4,
        },
        Down::Zero {
            want: want(),
            offset: 5,
            length: 6,
        },
        Down::FileEnd {
            want: want(),
            outcome: whole,
            digest: [8; 32],
        },
        Down::PassEnd,
        Down::Finish,
        Down::Failed("why".into()),
        Down::FixUp {
            root: b"/".to_vec(),
            last: true,
        },
        Down::Order,
        Down::Kept {
            root: b"/".to_vec(),
            rules: Rules::none(),
            stages: vec![RelPath::new(b"home").unwrap()],
            apart: vec![RelPath::new(b"mnt").unwrap()],
        },
        Down::Facts {
            root: b"/".to_vec(),
        },
    ]
}

fn bases() -> [Basis; 4] {
    let sums = Basis::Sums {
        block_length: 4096,
        size: 1 << 33,
    };
    let windows = Basis::Windows { size: 77 };
    [Basis::None, Basis::Digest([9; 32]), sums, windows]
}

fn pass_stats() -> PassStats {
    PassStats {
        listed_entries: 1,
        equal_entries: 2,
        landed_files: 3,
        made_entries: 4,
        linked_entries: 5,
        attribute_entries: 6,
        deleted_entries: 7,
        listed_bytes: 8,
        body_bytes: 9,
        sent_bytes: 10,
        received_bytes: 11,
        vanished_entries: 12,
        changed_files: 13,
        failed_entries: 14,
        elapsed_ms: 15,
        source_spent: Spent {
            walk_ms: 16,
            read_ms: 17,
            ..Spent::default()
        },
        target_spent: Spent {
            compare_ms: 18,
            hash_ms: 19,
            pack_ms: 20,
            write_ms: 21,
            link_ms: 22,
            idle_ms: 23,
            ..Spent::default()
        },
    }
}

/// Returns one value of each message of the receiver, in the order of their numbers.
pub fn all_up() -> Vec<Up> {
    let wants = (0..).zip(bases());
    let wants = wants.map(|(index, basis)| Want { index, basis });
    vec![
        Up::Heartbeat,
        Up::Hello {
            build: "0.1.0".into(),
            binary: [1; 32],
        },
        Up::KeyDone(Err("no home".into())),
        Up::Ready,
        Up::Wants {
            seq: 300,
            wants: wants.collect(),
        },
        Up::Sums {
            want: want(),
            first: 8192,
        },
        Up::Window {
            want: want(),
            index: 3,
        },
        Up::Settled { seq: 300 },
        Up::Problem(Problem {
            side: Side::Target,
            kind: ProblemKind::DeleteLimit,
            path: b"a/\xff".to_vec(),
            operation: "delete".into(),
            cause: "limit".into(),
        }),
        Up::Item {
            change: ">f+++++++++".into(),
            path: b"a".to_vec(),
        },
        Up::PassDone(pass_stats()),
        Up::Finished,
        Up::Failed {
            text: "full".into(),
            class: FailureClass::Locked,
        },
        Up::FixedUp,
        Up::Ordered(Err(Refusal {
            is_refused: true,
            text: "no".into(),
            hints: vec!["do".into()],
        })),
        Up::Kept {
            kept: vec![("254:0".into(), 4096, 2)],
            left: vec![(RelPath::new(b"home").unwrap(), 8192, 3)],
            linked: vec![RelPath::new(b"srv/x").unwrap()],
        },
        Up::Facts(Ok(Box::default())),
    ]
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn any_name() -> impl Strategy<Value = Name> {
    vec(any::<u8>(), 1..255).prop_filter_map("a name", |bytes| Name::new(&bytes).ok())
}

fn any_path() -> impl Strategy<Value = RelPath> {
    vec(any_name(), 0..5).prop_map(|names| {
        names
            .iter()
            .fold(RelPath::root(), |path, name| path.join(name))
    })
}

fn any_want() -> impl Strategy<Value = WantId> {
    any::<(u64, u32)>().prop_map(|(seq, index)| WantId { seq, index })
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let xattrs = vec((any_bytes(), any_bytes()), 0..3);
    (any::<(u16, u32, u32, i64, u32)>(), xattrs).prop_map(|(numbers, xattrs)| {
        let (mode, uid, gid, seconds, nanoseconds) = numbers;
        Metadata {
            mode,
            uid,
            gid,
            mtime: Timestamp {
                seconds,
                nanoseconds,
            },
            xattrs: xattrs
                .into_iter()
                .map(|(name, value)| Xattr { name, value })
                .collect(),
        }
    })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let device = any::<(u32, u32)>().prop_map(|(major, minor)| DeviceNumber { major, minor });
    prop_oneof![
        any::<u64>().prop_map(|size| Kind::File { size }),
        Just(Kind::Directory),
        any_bytes().prop_map(|text| Kind::Symlink { text }),
        Just(Kind::Fifo),
        Just(Kind::Socket),
        device.clone().prop_map(Kind::CharDevice),
        device.prop_map(Kind::BlockDevice),
    ]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let link = prop::option::of(any::<u64>());
    (any_name(), any_kind(), any_metadata(), link).prop_map(|(name, kind, metadata, link)| Entry {
        name,
        kind,
        metadata,
        link: link.map(LinkId),
    })
}

fn any_listing() -> impl Strategy<Value = Listing> {
    let numbers = any::<(u64, u64, u64, bool, bool, bool)>();
    let after = prop::option::of(any_name());
    let entries = vec(any_entry(), 0..6);
    (numbers, any_path(), any_metadata(), after, entries).prop_map(
        |((seq, parent, directory, last, opaque, partial), path, metadata, after, entries)| {
            Listing {
                seq,
                parent,
                directory,
                path,
                metadata,
                after,
                last,
                opaque,
                partial,
                entries,
            }
        },
    )
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        any::<(u64, i64, u32, bool)>().prop_map(|(size, seconds, nanoseconds, churned)| {
            Outcome::Whole {
                size,
                mtime: Timestamp {
                    seconds,
                    nanoseconds,
                },
                churned,
            }
        }),
        prop::sample::select(outcomes().to_vec()),
    ]
}

/// Makes any message of the sender.
pub fn any_down() -> impl Strategy<Value = Down> {
    let files = vec((any_want(), any_outcome()), 0..5).prop_map(|files| {
        let files = files.into_iter();
        files
            .map(|(want, outcome)| BundleFile { want, outcome })
            .collect()
    });
    prop_oneof![
        prop::sample::select(all_down(Rules::none())),
        any_listing().prop_map(Down::Listing),
        (files, any::<[u8; 16]>()).prop_map(|(files, tag)| Down::Bundle { files, tag }),
        (any_want(), any::<u64>()).prop_map(|(want, offset)| Down::Segment { want, offset }),
        (any_want(), any_outcome(), any::<[u8; 32]>()).prop_map(|(want, outcome, digest)| {
            Down::FileEnd {
                want,
                outcome,
                digest,
            }
        }),
        ".*".prop_map(Down::Failed),
    ]
}

/// Makes any message of the receiver.
pub fn any_up() -> impl Strategy<Value = Up> {
    let basis = prop_oneof![
        prop::sample::select(bases().to_vec()),
        any::<[u8; 32]>().prop_map(Basis::Digest),
        any::<(u32, u64)>().prop_map(|(block_length, size)| Basis::Sums { block_length, size }),
    ];
    let wants = vec((any::<u32>(), basis), 0..20).prop_map(|wants| {
        let wants = wants.into_iter();
        wants.map(|(index, basis)| Want { index, basis }).collect()
    });
    prop_oneof![
        prop::sample::select(all_up()),
        (any::<u64>(), wants).prop_map(|(seq, wants)| Up::Wants { seq, wants }),
        (any_want(), any::<u64>()).prop_map(|(want, first)| Up::Sums { want, first }),
        (".*", any_bytes()).prop_map(|(change, path)| Up::Item { change, path }),
        ".*".prop_map(|text| Up::KeyDone(Err(text))),
    ]
}
