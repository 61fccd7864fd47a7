//! File names as real machines and hostile ones have them: any bytes but NUL and the slash.
//!
//! Knows nothing of trees; a caller makes sure that a name is free.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::support::rng::Rng;

/// Names that have broken copying programs before.
pub const HARD: &[&[u8]] = &[
    b"two\nlines",
    b"\x1b[31mred\x1b[0m",
    b"-rf",
    b"--delete",
    b" leading",
    b"trailing ",
    b"*",
    b"[a-z]?",
    b"{a,b}",
    b"back\\slash",
    b"quote'\"$(id)`id`",
    b"not\xff\xfeutf8\x80",
    b"tab\there",
    b"\x01\x02\x7f",
    b"...",
    b"..hidden",
    b".x",
    "gr\u{fc}n-\u{65e5}\u{672c}\u{8a9e}".as_bytes(),
    "e\u{301}".as_bytes(),
    b"name.tmp~",
    b"#auto#",
    b"a:b;c",
];

/// Returns a name: mostly a plain one, sometimes a hard one, rarely one of 255 bytes.
pub fn name(rng: &mut Rng) -> OsString {
    let number = rng.below(100_000);
    let bytes = match rng.below(20) {
        0..3 => rng.pick(HARD).to_vec(),
        3 => long(rng),
        4 => format!("n{number} ").into_bytes(),
        _ => format!("n{number}").into_bytes(),
    };
    OsString::from_vec(bytes)
}

/// Returns a name as long as Linux allows, 255 bytes, with an end of its own.
pub fn long(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![b'L'; 245];
    bytes.extend_from_slice(format!("{:010}", rng.below(1_000_000_000)).as_bytes());
    bytes
}
