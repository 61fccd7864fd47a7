//! A hostile sender against the agent. Knows nothing of the sender's own code.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use instancesync::agent::{self, HeldKey};
use instancesync::entry::{Entry, Kind, LinkId};
use instancesync::exclude::Rules;
use instancesync::monitor::Pass;
use instancesync::transfer::TransferError;
use instancesync::transfer::digest::DigestKey;
use instancesync::transfer::wire::frame::Frame;
use instancesync::transfer::wire::message::{
    BundleFile, DigestSecret, Down, Listing, MAX_LISTING_ENTRIES, Outcome, Policy, Up, WantId,
};

use super::{Peer, entry, file, garbage, listing, want, whole};
use crate::support::engine::Watchdog;
use crate::support::manifest::{Manifest, diff};

/// A target directory in a place where any change is noticed, and an agent that serves us.
struct Attack {
    peer: Peer,
    agent: JoinHandle<Result<(), TransferError>>,
    target: PathBuf,
    place: tempfile::TempDir,
    outside: Manifest,
    _watchdog: Watchdog,
}

impl Attack {
    /// Starts an agent, opens a target with some files in it, and begins a pass that deletes.
    fn start(context: &str) -> Attack {
        Attack::start_with(context, |_| {})
    }

    /// The same, with more done to the target before.
    fn start_with(context: &str, prepare: impl Fn(&std::path::Path)) -> Attack {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        fs::create_dir_all(target.join("dir")).unwrap();
        fs::create_dir_all(place.path().join("outside/deep")).unwrap();
        fs::write(place.path().join("outside/secret"), "secret").unwrap();
        fs::write(place.path().join("outside/deep/file"), "file").unwrap();
        fs::write(target.join("large"), vec![b'o'; 300_000]).unwrap();
        fs::write(target.join("shrinks"), vec![b'o'; 400_000]).unwrap();
        prepare(&target);
        let outside = Manifest::of(&place.path().join("outside"));
        let (there_reader, writer) = io::pipe().unwrap();
        let (reader, there) = io::pipe().unwrap();
        let agent =
            thread::spawn(move || agent::serve((there_reader, there), None, &HeldKey::default()));
        let mut peer = Peer { reader, writer };
        peer.say(
            &Down::Begin {
                target: target.as_os_str().as_bytes().to_vec(),
                rules: Rules::none(),
                policy: Policy {
                    dry_run: false,
                    items: true,
                    delete_limit: Some(u64::MAX),
                    staged: None,
                    fsync: true,
                    patch_in_place: false,
                    pair: None,
                },
                secret: secret(),
            },
            b"",
        );
        assert_eq!(peer.hear(), Some(Up::Ready));
        peer.say(
            &Down::Pass {
                pass: Pass::Timestamp,
                deletes: true,
                last: true,
            },
            b"",
        );
        Attack {
            peer,
            agent,
            target,
            place,
            outside,
            _watchdog: Watchdog::start(context),
        }
    }

    /// Names a file and waits until it is asked for.
    fn list_file(&mut self, name: &str, size: u64) {
        self.say(&Down::Listing(listing(1, 0, "", vec![file(name, size)])));
        self.hear_until(|message| matches!(message, Up::Wants { .. }));
    }

    fn say(&mut self, message: &Down) {
        self.peer.say(message, b"");
    }

    fn hear_until(&mut self, is_it: impl Fn(&Up) -> bool) -> Up {
        loop {
            let message: Up = self.peer.hear().expect("the agent goes on");
            if is_it(&message) {
                return message;
            }
        }
    }

    /// Hangs up; returns what the agent said. Fails on a panic, and on a change outside.
    #[track_caller]
    fn end(self) -> Vec<Up> {
        let said = self.peer.hang_up();
        let ended = self.agent.join();
        assert!(ended.is_ok(), "the agent panicked after {said:?}");
        let now = Manifest::of(&self.place.path().join("outside"));
        assert_eq!(diff(&self.outside, &now), [""; 0], "changed outside");
        let names = fs::read_dir(self.place.path()).unwrap();
        assert_eq!(names.count(), 2, "something new beside the target");
        said
    }

    /// The same, after the agent has refused what it was told.
    #[track_caller]
    fn end_refused(mut self) {
        self.hear_until(|message| matches!(message, Up::Failed { .. }));
        self.end();
    }

    /// The same, where a frame is so wrong that the link itself may be given up.
    #[track_caller]
    fn end_refused_or_lost(self) {
        let said = self.end();
        let done = said.iter().any(|message| matches!(message, Up::Finished));
        assert!(!done, "went through: {said:?}");
    }
}

fn secret() -> DigestSecret {
    DigestSecret::from([7; 16])
}

fn key() -> DigestKey {
    DigestKey::new(&secret())
}

fn bundle(files: Vec<(WantId, Outcome)>, body: &[u8]) -> Down {
    Down::Bundle {
        files: files
            .into_iter()
            .map(|(want, outcome)| BundleFile { want, outcome })
            .collect(),
        tag: key().tag(body),
    }
}

#[test]
fn frames_that_lie_about_lengths_end_the_session() {
    let zstd = |raw_len: u32, raw: &[u8]| {
        let packed = zstd::bulk::compress(raw, 1).unwrap();
        let mut frame = (5 + packed.len() as u32).to_le_bytes().to_vec();
        frame.push(1);
        frame.extend_from_slice(&raw_len.to_le_bytes());
        frame.extend_from_slice(&packed);
        frame
    };
    let bomb = vec![0u8; 64 << 20];
    let attacks: Vec<(&str, Vec<u8>)> = vec![
        ("no length", vec![0; 4]),
        ("longest length", vec![0xff; 64]),
        ("over the limit", ((4 << 20) + 17u32).to_le_bytes().to_vec()),
        ("longer than sent", vec![200, 0, 0, 0, 0, 1, 0]),
        (
            "header longer than frame",
            vec![6, 0, 0, 0, 0, 9, 0, 0, 0, 1],
        ),
        ("flags", vec![6, 0, 0, 0, 2, 1, 0, 0, 0, 1]),
        ("unknown number", vec![6, 0, 0, 0, 0, 1, 0, 0, 0, 99]),
        (
            "bytes after the header",
            vec![7, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0],
        ),
        ("bomb with a true length", zstd(bomb.len() as u32, &bomb)),
        ("bomb with a false length", zstd(4 << 20, &bomb)),
        ("too short a length", zstd(1, &bomb[..100_000])),
        ("zstd garbage", vec![9, 0, 0, 0, 1, 4, 0, 0, 0, 1, 2, 3, 4]),
        ("a varint without end", {
            let mut frame = vec![24, 0, 0, 0, 0, 19, 0, 0, 0];
            frame.extend_from_slice(&[0xff; 19]);
            frame
        }),
    ];
    for (context, bytes) in attacks {
        let mut attack = Attack::start(context);
        attack.peer.raw(&bytes);
        attack.say(&Down::PassEnd);
        attack.say(&Down::Finish);
        attack.end_refused_or_lost();
    }
}

/// Well-formed listings that no walk would send.
fn odd_listings() -> Vec<(&'static str, Vec<Listing>)> {
    let directory = |name: &str| entry(name, Kind::Directory);
    let linked = |entry| Entry {
        link: Some(LinkId(1)),
        ..entry
    };
    vec![
        ("its own parent", vec![listing(1, 1, "", vec![])]),
        (
            "parent of the future",
            vec![listing(1, 2, "", vec![]), listing(2, 1, "dir", vec![])],
        ),
        (
            "numbers used up",
            vec![listing(u64::MAX, u64::MAX, "", vec![file("a", 0)])],
        ),
        (
            "nobody named it",
            vec![listing(1, 0, "no/such/place", vec![file("a", 0)])],
        ),
        (
            "below a file",
            vec![listing(1, 0, "large/x", vec![directory("a")])],
        ),
        (
            "the stage",
            vec![
                listing(1, 0, "", vec![directory(".instancesync"), directory("dir")]),
                listing(
                    2,
                    1,
                    ".instancesync",
                    vec![file("0", 1), directory("partial-x")],
                ),
            ],
        ),
        (
            "the stage as a link",
            vec![listing(
                1,
                0,
                "",
                vec![
                    entry(
                        ".instancesync",
                        Kind::Symlink {
                            text: b"../outside".to_vec(),
                        },
                    ),
                    entry("x", Kind::Fifo),
                ],
            )],
        ),
        (
            "a directory twice",
            vec![
                listing(1, 0, "", vec![]),
                Listing {
                    directory: 1,
                    ..listing(2, 0, "dir", vec![])
                },
            ],
        ),
        (
            "a linked directory",
            vec![listing(
                1,
                0,
                "",
                vec![
                    linked(directory("a")),
                    linked(directory("b")),
                    linked(file("c", 1)),
                ],
            )],
        ),
    ]
}

#[test]
fn listings_that_make_no_sense_neither_hang_nor_escape() {
    let unsorted = vec![file("b", 1), file("a", 1)];
    let twice = vec![file("a", 1), file("a", 1)];
    let many = (0..=MAX_LISTING_ENTRIES)
        .map(|number| file(&format!("f{number:05}"), 0))
        .collect();
    for (context, entries) in [("unsorted", unsorted), ("twice", twice), ("many", many)] {
        let mut attack = Attack::start(context);
        attack.say(&Down::Listing(listing(1, 0, "", entries)));
        attack.end_refused();
    }
    for (context, listings) in odd_listings() {
        let mut attack = Attack::start(context);
        for listing in listings {
            attack.say(&Down::Listing(listing));
        }
        attack.say(&Down::PassEnd);
        attack.say(&Down::Finish);
        attack.end();
    }
}

#[test]
fn a_listing_number_that_is_in_use_is_refused() {
    let mut attack = Attack::start("twice");
    attack.list_file("a", 10);
    attack.say(&Down::Listing(listing(1, 0, "", vec![])));
    attack.end_refused();
}

#[test]
fn contents_that_nobody_asked_for_are_refused() {
    let some = want(1, 0);
    let end = |want| Down::FileEnd {
        want,
        outcome: whole(0),
        digest: key().digest_of(b""),
    };
    for (context, message) in [
        ("bundle", bundle(vec![(want(7, 0), whole(0))], b"")),
        ("index", bundle(vec![(want(1, 9), whole(0))], b"")),
        (
            "double answer",
            bundle(vec![(some, Outcome::Same), (some, Outcome::Same)], b""),
        ),
        (
            "segment",
            Down::Segment {
                want: want(1, 1),
                offset: 0,
            },
        ),
        (
            "zero",
            Down::Zero {
                want: want(9, 0),
                offset: 0,
                length: 1,
            },
        ),
        ("end", end(want(1, 5))),
        ("end of nothing", end(want(u64::MAX, u32::MAX))),
        (
            "begin",
            Down::Begin {
                target: b"/".to_vec(),
                rules: Rules::none(),
                policy: Policy {
                    dry_run: true,
                    items: false,
                    delete_limit: None,
                    staged: None,
                    fsync: true,
                    patch_in_place: false,
                    pair: None,
                },
                secret: secret(),
            },
        ),
        (
            "pass in a pass",
            Down::Pass {
                pass: Pass::Checksum,
                deletes: true,
                last: true,
            },
        ),
        ("finish in a pass", Down::Finish),
    ] {
        let mut attack = Attack::start(context);
        attack.list_file("a", 10);
        attack.say(&message);
        attack.end_refused();
    }
}

#[test]
fn bundles_of_the_wrong_length_or_tag_are_refused() {
    let body = b"0123456789";
    for (context, size, tag_of_other) in [
        ("shorter", 11, false),
        ("longer", 9, false),
        ("endless", u64::MAX, false),
        ("tag", 10, true),
    ] {
        let mut attack = Attack::start(context);
        attack.list_file("a", 10);
        let mut message = bundle(vec![(want(1, 0), whole(size))], body);
        if let (true, Down::Bundle { tag, .. }) = (tag_of_other, &mut message) {
            tag[0] ^= 1;
        }
        attack.peer.say(&message, body);
        attack.end_refused();
    }
}

/// Parts of a large file with offsets and lengths at every edge, for a new file, one with sums
/// and one with windows.
#[test]
fn parts_of_large_files_at_any_offset_do_no_harm() {
    let edges = [
        0,
        1,
        4095,
        4096,
        300_000,
        1 << 40,
        i64::MAX as u64 - 4095,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 300_000,
        u64::MAX - 4095,
        u64::MAX - 4096,
        u64::MAX - 100,
        u64::MAX,
    ];
    let bodies: [Vec<u8>; 4] = [vec![], vec![0; 8192], vec![7; 8192], vec![5; 101]];
    for name in ["new", "large", "shrinks"] {
        for offset in edges {
            let some = want(1, 0);
            let parts = bodies
                .iter()
                .map(|body| (Down::Segment { want: some, offset }, body.clone()));
            let zeros = edges.map(|length| {
                (
                    Down::Zero {
                        want: some,
                        offset,
                        length,
                    },
                    vec![],
                )
            });
            let deltas = edges.map(|length| {
                let length = length % (33 << 20);
                let message = Down::Delta {
                    want: some,
                    offset,
                    length,
                    basis_offset: length ^ offset,
                    basis_length: length,
                };
                (message, b"rs\x026\x45\0\0".to_vec())
            });
            for (message, body) in parts.chain(zeros).chain(deltas) {
                let context = format!("{name}: {message:?}, {} bytes", body.len());
                let mut attack = Attack::start(&context);
                attack.list_file(name, 300_000);
                attack.peer.say(&message, &body);
                attack.say(&Down::FileEnd {
                    want: some,
                    outcome: whole(offset),
                    digest: [9; 32],
                });
                attack.say(&Down::PassEnd);
                let target = attack.target.clone();
                attack.end();
                let landed = fs::metadata(target.join("new")).is_ok();
                assert!(!landed, "it landed: {context}");
            }
        }
    }
}

#[test]
fn a_wrong_digest_lands_nothing() {
    let mut attack = Attack::start("wrong digest");
    attack.list_file("new", 300_000);
    let some = want(1, 0);
    for _ in 0..2 {
        attack.peer.say(
            &Down::Segment {
                want: some,
                offset: 0,
            },
            &[b'x'; 100],
        );
        attack.say(&Down::FileEnd {
            want: some,
            outcome: whole(300_000),
            digest: [1; 32],
        });
    }
    attack.hear_until(|message| matches!(message, Up::Problem(_)));
    assert!(!attack.target.join("new").exists());
    attack.end();
}

#[test]
fn sums_end_with_the_pass() {
    const FILE_LEN: u64 = 8 << 30;
    const PARTS: usize = 256;
    let mut attack = Attack::start_with("sums without end", |target| {
        let disk = fs::File::create(target.join("disk")).unwrap();
        disk.set_len(FILE_LEN).unwrap();
    });
    attack.list_file("disk", FILE_LEN);
    let is_sums = |message: &Up| matches!(message, Up::Sums { .. });
    attack.hear_until(is_sums);
    attack.say(&Down::Failed("stopped".to_owned()));
    // What waits for us to hear it stays little until the agent has heard us.
    thread::sleep(Duration::from_millis(500));
    let count = attack.end().iter().filter(|said| is_sums(said)).count();
    assert!(count < PARTS / 2, "{count} of {PARTS} parts came after it");
}

#[test]
fn a_delta_may_not_ask_for_more_than_its_limit() {
    for (length, basis_length) in [(u64::MAX, 0), (0, u64::MAX), ((32 << 20) + 1, 1)] {
        let mut attack = Attack::start("delta");
        attack.list_file("large", 300_000);
        let message = Down::Delta {
            want: want(1, 0),
            offset: 0,
            length,
            basis_offset: 0,
            basis_length,
        };
        attack.say(&message);
        attack.end_refused();
    }
}

/// A third party swaps a directory of the target for a link while a file is on its way into it.
#[test]
fn a_directory_that_becomes_a_link_is_not_followed() {
    for size in [10, 300_000] {
        for kind in ["contents", "links", "deletion"] {
            let context = format!("{kind} {size}");
            let mut attack = Attack::start_with(&context, |target| {
                fs::write(target.join("dir/secret"), "old").unwrap();
            });
            let dir = attack.target.join("dir");
            attack.say(&Down::Listing(listing(
                1,
                0,
                "",
                vec![entry("dir", Kind::Directory)],
            )));
            let entries = match kind {
                "contents" => vec![file("secret", size)],
                _ => vec![],
            };
            attack.say(&Down::Listing(listing(2, 1, "dir", entries)));
            attack.hear_until(|message| matches!(message, Up::Wants { seq: 2, .. }));
            fs::rename(&dir, attack.target.join("moved")).unwrap();
            symlink("../outside", &dir).unwrap();
            let content = vec![b'x'; size as usize];
            match kind {
                "contents" if size < 100 => {
                    attack
                        .peer
                        .say(&bundle(vec![(want(2, 0), whole(size))], &content), &content);
                }
                "contents" => {
                    attack.peer.say(
                        &Down::Segment {
                            want: want(2, 0),
                            offset: 0,
                        },
                        &content,
                    );
                    let end = Down::FileEnd {
                        want: want(2, 0),
                        outcome: whole(size),
                        digest: key().digest_of(&content),
                    };
                    attack.say(&end);
                }
                "links" => {
                    let special = vec![
                        entry("deep", Kind::Fifo),
                        entry(
                            "secret",
                            Kind::Symlink {
                                text: b"x".to_vec(),
                            },
                        ),
                    ];
                    attack.say(&Down::Listing(listing(3, 1, "dir", special)));
                }
                _ => {}
            }
            attack.say(&Down::PassEnd);
            attack.say(&Down::Finish);
            attack.end();
        }
    }
}

/// Somebody plants the stage as a link before the run.
#[test]
fn a_stage_that_is_a_link_is_not_used() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("target");
    fs::create_dir(&target).unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "x").unwrap();
    symlink(&outside, target.join(".instancesync")).unwrap();
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("a"), "a").unwrap();
    let before = Manifest::of(&outside);
    let ran = crate::support::engine::Job::new(source.path(), &target).run();
    assert!(ran.result.is_err() || !ran.problems.is_empty(), "{ran:?}");
    assert_eq!(diff(&before, &Manifest::of(&outside)), [""; 0]);
}

/// A sender that never waits for its listings to settle must not fill the target's memory.
#[test]
fn listings_without_end_are_refused() {
    let Attack {
        peer,
        agent,
        place: _place,
        _watchdog,
        ..
    } = Attack::start("flood of listings");
    let Peer { mut reader, writer } = peer;
    let hearing = thread::spawn(move || {
        let mut heard = std::iter::from_fn(|| Frame::read(&mut reader).ok());
        heard.any(|frame| matches!(frame.message(), Ok(Up::Failed { .. })))
    });
    let mut peer = Peer {
        reader: io::pipe().unwrap().0,
        writer,
    };
    // About 250 KB each, and 32 MiB are allowed.
    for seq in 1..=200 {
        let files = (0..1000).map(|number| file(&format!("{number:0200}"), 10));
        peer.say(&Down::Listing(listing(seq, 0, "", files.collect())), b"");
    }
    assert!(hearing.join().unwrap(), "nothing was refused");
    drop(peer);
    drop(agent.join().expect("the agent panicked"));
}

#[test]
fn garbage_ends_the_agent() {
    for (context, bytes) in garbage(99, 200) {
        let mut attack = Attack::start(&context);
        attack.peer.raw(&bytes);
        attack.end();
    }
}
