//! The bytes of one value of every message, kept in tests/testdata/wire: a change of the
//! protocol is seen and said. INSTANCESYNC_GOLDEN=write writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::transfer::wire::frame::{Packing, encode};
use instancesync::transfer::wire::message::{Down, Up};

use crate::fuzz::values::{all_down, all_up};

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/wire")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

/// The name of a value's file: the direction and the number and name of the message.
fn messages() -> BTreeMap<String, Vec<u8>> {
    let rules = Rules::new(vec![Rule::new(Verdict::Skip, "*.tmp", "x:1").because("y")]).unwrap();
    let name = |text: String| {
        let end = text.find(|c: char| !c.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_lowercase()
    };
    let bytes = |frame: Result<_, _>| -> Vec<u8> {
        let frame: instancesync::transfer::wire::frame::EncodedFrame = frame
            .map_err(|_: instancesync::transfer::wire::frame::FrameError| ())
            .unwrap();
        frame.as_bytes().to_vec()
    };
    let downs = all_down(rules)
        .into_iter()
        .enumerate()
        .map(|(number, message): (usize, Down)| {
            let file = format!("down-{number:02}-{}", name(format!("{message:?}")));
            (file, bytes(encode(&message, Packing::Plain)))
        });
    let ups = all_up()
        .into_iter()
        .enumerate()
        .map(|(number, message): (usize, Up)| {
            let file = format!("up-{number:02}-{}", name(format!("{message:?}")));
            (file, bytes(encode(&message, Packing::Plain)))
        });
    downs.chain(ups).collect()
}

#[test]
fn the_bytes_of_every_message_are_the_documented_ones() {
    let mut changed = Vec::new();
    for (name, bytes) in messages() {
        let path = golden_dir().join(format!("{name}.hex"));
        if std::env::var("INSTANCESYNC_GOLDEN").is_ok_and(|value| value == "write") {
            fs::write(&path, hex(&bytes)).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != hex(&bytes) {
            changed.push(name);
        }
    }
    assert!(
        changed.is_empty(),
        "the protocol changed in {changed:?}: say so in CHANGELOG.md under Protocol, then write \
         the bytes anew with INSTANCESYNC_GOLDEN=write"
    );
}

#[test]
fn no_golden_file_is_left_over() {
    let names = messages();
    for entry in fs::read_dir(golden_dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stem = name.trim_end_matches(".hex");
        assert!(name == "README" || names.contains_key(stem), "{name}");
    }
}
