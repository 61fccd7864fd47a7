//! A hostile agent against the sender. Knows nothing of the agent's own code.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use instancesync::exclude::Rules;
use instancesync::fs::Dir;
use instancesync::monitor::{Counters, Event, Monitor, Pass, PassStats};
use instancesync::problem::{Problem, ProblemKind, Side};
use instancesync::transfer::TransferError;
use instancesync::transfer::sender::{Deletes, PassPlan, Sender, Tree, Turn};
use instancesync::transfer::wire::link::{Link, LinkSettings};
use instancesync::transfer::wire::message::{Basis, Down, Policy, Up, Want};

use super::{Peer, garbage, want};
use crate::support::engine::Watchdog;

/// Keeps counters and forgets events.
#[derive(Default)]
struct DeafMonitor {
    counters: Counters,
}

impl Monitor for DeafMonitor {
    fn event(&self, _event: Event) {}

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// Where the long file of the source begins to have data: behind two windows.
const LONG_START: u64 = 16 << 20;

/// A sender that works for us.
struct Attack {
    peer: Peer,
    sender: JoinHandle<Result<Vec<PassStats>, TransferError>>,
    large: u32,
    long: u32,
    small: u32,
    directory: u32,
    _watchdog: Watchdog,
}

impl Attack {
    /// Starts one, and lets it list its tree.
    fn start(context: &str) -> Attack {
        let (there_reader, writer) = io::pipe().unwrap();
        let (reader, there) = io::pipe().unwrap();
        let sender = thread::spawn(move || send(there_reader, there));
        let mut peer = Peer { reader, writer };
        assert!(matches!(peer.hear(), Some(Down::Begin { .. })));
        peer.say(&Up::Ready, b"");
        let mut attack = Attack {
            peer,
            sender,
            large: 0,
            long: 0,
            small: 0,
            directory: 0,
            _watchdog: Watchdog::start(context),
        };
        loop {
            if let Down::Listing(listing) = attack.peer.hear().unwrap() {
                let place = |name: &[u8]| {
                    let found = listing
                        .entries
                        .iter()
                        .position(|entry| entry.name.as_bytes() == name);
                    found.unwrap() as u32
                };
                assert_eq!(listing.seq, 1);
                (attack.large, attack.small) = (place(b"large"), place(b"small"));
                (attack.long, attack.directory) = (place(b"long"), place(b"dir"));
                return attack;
            }
        }
    }

    fn say(&mut self, message: &Up, body: &[u8]) {
        self.peer.say(message, body);
    }

    fn want(&mut self, index: u32, basis: Basis) {
        let wants = vec![Want { index, basis }];
        self.say(&Up::Wants { seq: 1, wants }, b"");
    }

    /// Hangs up; fails on a panic. Returns what was sent and how the sender fared.
    #[track_caller]
    fn end(self) -> (Vec<Down>, Result<Vec<PassStats>, TransferError>) {
        let said = self.peer.hang_up();
        let result = self.sender.join().expect("the sender panicked");
        (said, result)
    }

    /// The same; the sender must call it a broken protocol.
    #[track_caller]
    fn end_refused(mut self, context: &str) {
        // The sender hangs up; we do not.
        while self.peer.hear::<Down>().is_some() {}
        let (_, result) = self.end();
        let refused = matches!(result, Err(TransferError::Protocol(_)));
        assert!(refused, "{context}: {result:?}");
    }
}

fn send(reader: io::PipeReader, writer: io::PipeWriter) -> Result<Vec<PassStats>, TransferError> {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("dir")).unwrap();
    fs::write(place.path().join("small"), "small").unwrap();
    for name in ["large", "large2", "large3"] {
        fs::write(place.path().join(name), vec![b'l'; 9 << 20]).unwrap();
    }
    let long = fs::File::create(place.path().join("long")).unwrap();
    long.write_all_at(&vec![b'l'; 9 << 20], LONG_START).unwrap();
    let root = Dir::open_root(place.path()).unwrap();
    let rules = Rules::none();
    let (monitor, stop) = (DeafMonitor::default(), AtomicBool::new(false));
    let link = Link::start(reader, writer, LinkSettings::default());
    let tree = Tree {
        root: &root,
        rules: &rules,
        mounts: &[],
    };
    let policy = Policy {
        dry_run: false,
        items: true,
        delete_limit: None,
        staged: None,
        fsync: true,
        patch_in_place: false,
        pair: None,
    };
    let run = || {
        let sender = Sender::begin(&link, tree, (b"/x".to_vec(), policy), &monitor, &stop)?;
        let plan = PassPlan {
            pass: Pass::Timestamp,
            deletes: Deletes::Never,
            turn: Turn::Last,
        };
        let stats = sender.pass(plan)?;
        sender.finish()?;
        Ok(vec![stats])
    };
    let result = run();
    link.close();
    result
}

#[test]
fn wants_of_what_is_no_file_are_refused() {
    let mut attack = Attack::start("unknown listing");
    attack.say(
        &Up::Wants {
            seq: 77,
            wants: vec![],
        },
        b"",
    );
    attack.end_refused("unknown listing");
    for context in ["directory", "index", "last index"] {
        let mut attack = Attack::start(context);
        let index = match context {
            "directory" => attack.directory,
            // The last name of the listing.
            "index" => attack.small + 1,
            _ => u32::MAX,
        };
        attack.want(index, Basis::None);
        attack.end_refused(context);
    }
    let mut attack = Attack::start("settled");
    attack.say(&Up::Settled { seq: 99 }, b"");
    attack.end_refused("settled");
    for message in [
        Up::Ready,
        Up::Finished,
        Up::PassDone(PassStats::default()),
        Up::KeyDone(Ok(())),
    ] {
        let mut attack = Attack::start("out of turn");
        attack.say(&message, b"");
        attack.end_refused("out of turn");
    }
}

#[test]
fn a_file_is_not_sent_again_and_again() {
    for basis in [
        Basis::None,
        Basis::Digest([0; 32]),
        Basis::Windows { size: 10 },
    ] {
        for small in [true, false] {
            let context = format!("{basis:?} small {small}");
            let mut attack = Attack::start(&context);
            let index = if small { attack.small } else { attack.large };
            for _ in 0..5 {
                attack.want(index, basis.clone());
            }
            attack.end_refused(&context);
        }
    }
}

fn sums(block_length: u32, size: u64) -> Basis {
    Basis::Sums { block_length, size }
}

/// What is said of a basis, and the parts that follow.
type BasisLie = (&'static str, Basis, Vec<(u64, Vec<u8>)>);

fn lies_about_sums() -> Vec<BasisLie> {
    let size = 9 << 20;
    vec![
        ("block length 0", sums(0, size), vec![(0, vec![0; 8])]),
        ("block length 1", sums(1, size), vec![(0, vec![0; 8])]),
        ("odd block length", sums(5000, size), vec![(0, vec![0; 8])]),
        ("longest block", sums(u32::MAX, size), vec![(0, vec![0; 8])]),
        (
            "endless basis",
            sums(4096, u64::MAX),
            vec![(0, vec![1; 65536])],
        ),
        ("empty basis", sums(4096, 0), vec![]),
        ("out of order", sums(4096, size), vec![(5, vec![0; 80])]),
        (
            "same part twice",
            sums(4096, size),
            vec![(0, vec![0; 8]), (0, vec![0; 8])],
        ),
        ("empty part", sums(4096, size), vec![(0, vec![])]),
        ("cut sum", sums(4096, size), vec![(0, vec![0; 9])]),
        (
            "more than asked",
            sums(4 << 20, size),
            vec![(0, vec![3; 1 << 20])],
        ),
        (
            "number too large",
            sums(4096, size),
            vec![(u64::MAX, vec![0; 8])],
        ),
    ]
}

fn lies_about_windows() -> Vec<BasisLie> {
    let size = 9 << 20;
    let signature = |block_length: u32, hash_length: u32, blocks: &[u8]| {
        let mut bytes = b"rs\x016".to_vec();
        bytes.extend_from_slice(&block_length.to_be_bytes());
        bytes.extend_from_slice(&hash_length.to_be_bytes());
        bytes.extend_from_slice(blocks);
        bytes
    };
    vec![
        ("no signature", Basis::Windows { size }, vec![(0, vec![])]),
        (
            "signature of garbage",
            Basis::Windows { size },
            vec![(0, vec![9; 1000])],
        ),
        (
            "signature block 0",
            Basis::Windows { size },
            vec![(0, signature(0, 8, &[1; 12]))],
        ),
        (
            "signature block huge",
            Basis::Windows { size },
            vec![(0, signature(u32::MAX, 8, &[1; 12]))],
        ),
        (
            "signature hash 0",
            Basis::Windows { size },
            vec![(0, signature(4096, 0, &[1; 4000]))],
        ),
        (
            "signature hash huge",
            Basis::Windows { size },
            vec![(0, signature(4096, u32::MAX, &[]))],
        ),
        (
            "signature hash 17",
            Basis::Windows { size },
            vec![(0, signature(4096, 17, &[1; 21]))],
        ),
        (
            "blocks without end",
            Basis::Windows { size },
            vec![(0, signature(4096, 8, &[7; 12 * 300_000]))],
        ),
        (
            "wrong window",
            Basis::Windows { size },
            vec![(3, signature(4096, 8, &[]))],
        ),
        (
            "endless windows",
            Basis::Windows { size: u64::MAX },
            vec![(0, signature(131_072, 8, &[]))],
        ),
    ]
}

#[test]
fn a_basis_that_lies_fails_one_file_at_most() {
    for (context, basis, parts) in lies_about_sums().into_iter().chain(lies_about_windows()) {
        let mut attack = Attack::start(context);
        let some = want(1, attack.large);
        let is_sums = matches!(basis, Basis::Sums { .. });
        attack.want(attack.large, basis);
        for (number, body) in parts {
            let message = match is_sums {
                true => Up::Sums {
                    want: some,
                    first: number,
                },
                false => Up::Window {
                    want: some,
                    index: number,
                },
            };
            attack.say(&message, &body);
        }
        let (_, result) = attack.end();
        assert!(result.is_err(), "{context}");
    }
}

/// Contents that hash slowly: every position is a collision.
#[test]
fn a_signature_of_collisions_does_not_stall_the_source() {
    let mut attack = Attack::start("collisions");
    let some = want(1, attack.large);
    attack.want(attack.large, Basis::Windows { size: 9 << 20 });
    // The checksum of a block of 'l' as the source will find it, with another strong hash.
    let block_length = 256 * 1024;
    let options = fast_rsync::SignatureOptions {
        block_size: block_length,
        crypto_hash_size: 16,
    };
    let content = vec![b'l'; block_length as usize];
    let mut bytes = fast_rsync::Signature::calculate(&content, options).into_serialized();
    for byte in &mut bytes[16..] {
        *byte ^= 0x55;
    }
    attack.say(
        &Up::Window {
            want: some,
            index: 0,
        },
        &bytes,
    );
    let (_, result) = attack.end();
    assert!(result.is_err());
}

/// Two windows match badly, so the rest is sent whole, and we do not hear it.
#[test]
fn signatures_that_are_of_no_use_any_more_are_let_go_by() {
    let mut attack = Attack::start("signatures");
    let some = want(1, attack.long);
    let size = LONG_START + (9 << 20);
    attack.want(attack.long, Basis::Windows { size });
    let options = fast_rsync::SignatureOptions {
        block_size: 8192,
        crypto_hash_size: 8,
    };
    let signature = fast_rsync::Signature::calculate(b"of something else", options);
    let signature = signature.into_serialized();
    for index in 0..2 {
        attack.say(&Up::Window { want: some, index }, &signature);
    }
    let is_rest = |said: &Down| {
        matches!(
            said,
            Down::Segment {
                offset: LONG_START..,
                ..
            }
        )
    };
    while !is_rest(&attack.peer.hear().expect("the sender goes on")) {}
    let body = vec![3; 1 << 20];
    for index in 2..302 {
        attack.say(&Up::Window { want: some, index }, &body);
    }
    let (_, result) = attack.end();
    assert!(matches!(result, Err(TransferError::Link(_))), "{result:?}");
}

#[test]
fn floods_are_refused() {
    let problem = Up::Problem(Problem {
        side: Side::Target,
        kind: ProblemKind::Failed,
        path: vec![b'x'; 60_000],
        operation: "x".repeat(60_000),
        cause: "y".repeat(60_000),
    });
    let body = vec![3; 1 << 20];
    for (context, count) in [
        ("problems", 2000),
        ("sums", 300),
        ("wants", 1),
        ("few wants", 5),
    ] {
        let mut attack = Attack::start(context);
        let (index, small) = (attack.large, attack.small);
        attack.want(index, sums(4096, 9 << 20));
        let Attack {
            peer,
            sender,
            _watchdog,
            ..
        } = attack;
        let (writer, drain) = peer.deaf();
        let mut peer = Peer {
            reader: io::pipe().unwrap().0,
            writer,
        };
        let mut wants = |count: usize| {
            let want = Want {
                index: small,
                basis: Basis::None,
            };
            peer.say(
                &Up::Wants {
                    seq: 1,
                    wants: vec![want; count],
                },
                b"",
            );
        };
        match context {
            "wants" => wants(500_000),
            "few wants" => (0..count).for_each(|_| wants(1)),
            "problems" => (0..count).for_each(|_| peer.say(&problem, b"")),
            // Two others keep the readers waiting, so nobody takes these.
            _ => {
                let indices = [index + 1, index + 2];
                let wants = indices.map(|index| Want {
                    index,
                    basis: sums(4096, 9 << 20),
                });
                let wants = wants.to_vec();
                peer.say(&Up::Wants { seq: 1, wants }, b"");
                let some = want(1, index + 2);
                for first in 0..count {
                    peer.say(&Up::Sums { want: some, first }, &body);
                }
            }
        }
        if context == "problems" {
            // Any number of them is fine, and none is kept by the engine.
            drop(peer);
            drop(sender.join().expect("the sender panicked"));
        } else {
            let result = sender.join().expect("the sender panicked");
            assert!(
                matches!(result, Err(TransferError::Protocol(_))),
                "{context}: {result:?}"
            );
            drop(peer);
        }
        drain.join().unwrap();
    }
}

#[test]
fn counts_at_the_edge_are_added_up() {
    let mut attack = Attack::start("counts");
    for seq in 1..=2 {
        attack.say(&Up::Settled { seq }, b"");
        if seq == 1 {
            while !matches!(attack.peer.hear(), Some(Down::Listing(_))) {}
        }
    }
    while !matches!(attack.peer.hear(), Some(Down::PassEnd)) {}
    let most = u64::MAX;
    let stats = PassStats {
        listed_entries: most,
        landed_files: most,
        vanished_entries: most,
        failed_entries: most,
        listed_bytes: most,
        ..PassStats::default()
    };
    attack.say(&Up::PassDone(stats), b"");
    while !matches!(attack.peer.hear(), Some(Down::Finish)) {}
    attack.say(&Up::Finished, b"");
    let (_, result) = attack.end();
    assert!(result.is_ok(), "{result:?}");
}

#[test]
fn garbage_ends_the_sender() {
    for (context, bytes) in garbage(98, 40) {
        let mut attack = Attack::start(&context);
        attack.peer.raw(&bytes);
        let (_, result) = attack.end();
        assert!(result.is_err());
    }
}
