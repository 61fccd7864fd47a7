//! Peers that lie: frames written by hand to the agent and to the sender. Whatever they say,
//! the other side neither panics nor hangs, and nothing outside the target directory changes.

mod agents;
mod senders;

use std::io::{self, PipeReader, PipeWriter, Write};
use std::thread;

use instancesync::entry::{Entry, Kind, Metadata, Timestamp};
use instancesync::relpath::{Name, RelPath};
use instancesync::transfer::wire::frame::{Frame, FrameBuilder, Packing};
use instancesync::transfer::wire::message::{Listing, Outcome, Up, WantId};
use serde::Serialize;

use crate::support::rng::Rng;

/// Our end of a link to the side that is under attack.
struct Peer {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Peer {
    /// Says something well formed. A link that is gone already is an answer too.
    fn say(&mut self, message: &impl Serialize, body: &[u8]) {
        let mut frame = FrameBuilder::new(message, body.len()).unwrap();
        frame.body().extend_from_slice(body);
        self.raw(frame.finish(Packing::Plain).unwrap().as_bytes());
    }

    /// Says anything.
    fn raw(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).unwrap_or(());
    }

    /// Hears the next message; `None` at the end.
    fn hear<M: serde::de::DeserializeOwned>(&mut self) -> Option<M> {
        let frame = Frame::read(&mut self.reader).ok()?;
        Some(frame.message().expect("the honest side speaks well"))
    }

    /// Stops talking and hears everything to the end.
    fn hang_up<M: serde::de::DeserializeOwned>(self) -> Vec<M> {
        let Peer { reader, writer } = self;
        drop(writer);
        let mut rest = Peer {
            reader,
            writer: io::pipe().unwrap().1,
        };
        std::iter::from_fn(|| rest.hear()).collect()
    }

    /// Lets a thread hear everything, so that the other side never waits for us.
    fn deaf(self) -> (PipeWriter, thread::JoinHandle<()>) {
        let mut reader = self.reader;
        let drain = thread::spawn(move || {
            drop(io::copy(&mut reader, &mut io::sink()));
        });
        (self.writer, drain)
    }
}

/// Bytes of no sense, one lot for each round. Every second has a true length in front, so that
/// the header is looked at.
fn garbage(seed: u64, rounds: u32) -> impl Iterator<Item = (String, Vec<u8>)> {
    let mut rng = Rng::new(seed);
    (0..rounds).map(move |round| {
        let count = 5 + rng.below(5000);
        let mut bytes = rng.bytes(count);
        if round % 2 == 0 {
            let length = (bytes.len() as u32).to_le_bytes();
            bytes.splice(0..0, length);
            bytes[4] &= 1;
        }
        (format!("garbage {round}"), bytes)
    })
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn metadata() -> Metadata {
    Metadata {
        mode: 0o755,
        mtime: Timestamp {
            seconds: 1_000_000_000,
            nanoseconds: 0,
        },
        ..Metadata::default()
    }
}

fn entry(name: &str, kind: Kind) -> Entry {
    Entry {
        name: Name::new(name.as_bytes()).unwrap(),
        kind,
        metadata: metadata(),
        link: None,
    }
}

fn file(name: &str, size: u64) -> Entry {
    entry(name, Kind::File { size })
}

/// The only part of a directory.
fn listing(seq: u64, parent: u64, directory: &str, entries: Vec<Entry>) -> Listing {
    Listing {
        seq,
        parent,
        directory: seq,
        path: path(directory),
        metadata: metadata(),
        after: None,
        last: true,
        opaque: false,
        partial: false,
        entries,
    }
}

fn want(seq: u64, index: u32) -> WantId {
    WantId { seq, index }
}

fn whole(size: u64) -> Outcome {
    Outcome::Whole {
        size,
        mtime: metadata().mtime,
        churned: false,
    }
}

#[test]
fn a_peer_that_says_nothing_is_no_panic() {
    let (there_reader, writer) = io::pipe().unwrap();
    let (reader, there) = io::pipe().unwrap();
    let agent = thread::spawn(move || {
        instancesync::agent::serve(
            (there_reader, there),
            None,
            &instancesync::agent::HeldKey::default(),
        )
    });
    let said: Vec<Up> = Peer { reader, writer }.hang_up();
    assert_eq!(said, []);
    assert!(agent.join().unwrap().is_ok());
}
