//! Names and texts made safe to print: nothing in them moves the cursor, changes colours,
//! breaks the line or turns the reading direction. Pure.

use std::fmt::Write;

/// Returns a file name or path, unambiguously: control bytes and bytes that are not UTF-8 as
/// `\x1b`, invisible or direction-turning characters as `\u{202e}`, a backslash as `\\`.
pub fn name(bytes: &[u8]) -> String {
    let mut safe = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => safe.push_str("\\\\"),
                letter => push(&mut safe, letter),
            }
        }
        for byte in chunk.invalid() {
            push_byte(&mut safe, *byte);
        }
    }
    safe
}

/// Returns a text of messages, where a backslash is just one.
pub fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    text.chars().for_each(|letter| push(&mut safe, letter));
    safe
}

/// Returns a text whose line breaks are meant; each line is made safe.
pub fn lines(lines: &str) -> String {
    let safe: Vec<_> = lines.split('\n').map(text).collect();
    safe.join("\n")
}

/// Returns the end of `name` with "…" in front when it has more than `width` letters.
pub fn shorten(name: &str, width: usize) -> String {
    let count = name.chars().count();
    if count <= width {
        return name.to_owned();
    }
    let rest = name.chars().skip(count - width.saturating_sub(1));
    std::iter::once('…').chain(rest).take(width).collect()
}

fn push(safe: &mut String, letter: char) {
    match letter {
        '\0'..='\x1f' | '\x7f' => push_byte(safe, letter as u8),
        letter if is_treacherous(letter) => {
            // Writing to a String cannot fail.
            _ = write!(safe, "\\u{{{:x}}}", u32::from(letter));
        }
        letter => safe.push(letter),
    }
}

fn push_byte(safe: &mut String, byte: u8) {
    // Writing to a String cannot fail.
    _ = write!(safe, "\\x{byte:02x}");
}

/// Tells whether a character acts on a terminal or on the order of letters, or is not seen.
fn is_treacherous(letter: char) -> bool {
    matches!(letter,
        '\u{80}'..='\u{9f}'                             // C1 controls
        | '\u{61c}' | '\u{200e}' | '\u{200f}'           // direction marks
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // direction overrides
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' // zero width
        | '\u{2028}' | '\u{2029}'                       // line separators
        | '\u{ad}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}'                     // tags
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{lines, name, shorten, text};

    #[test]
    fn shows_what_would_act() {
        for (bytes, shown) in [
            (&b"plain \xc3\xa4/b"[..], "plain ä/b"),
            (b"a\nb\x1b[31m", "a\\x0ab\\x1b[31m"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"a\\x41", "a\\\\x41"),
            ("x\u{202e}gpj.exe".as_bytes(), "x\\u{202e}gpj.exe"),
            ("\u{9b}31m".as_bytes(), "\\u{9b}31m"),
        ] {
            assert_eq!(name(bytes), shown);
        }
        assert_eq!(text("a\\b\n"), "a\\b\\x0a");
        assert_eq!(lines("a\nb\x07"), "a\nb\\x07");
    }

    #[test]
    fn shortens_from_the_front() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdef", 4), "…def");
        assert_eq!(shorten("abcdef", 1), "…");
        assert_eq!(shorten("abcdef", 0), "");
    }

    proptest! {
        #[test]
        fn different_names_look_different(one: Vec<u8>, other: Vec<u8>) {
            prop_assert_eq!(name(&one) == name(&other), one == other);
        }

        #[test]
        fn no_control_gets_through(bytes: Vec<u8>) {
            prop_assert!(!name(&bytes).chars().any(char::is_control));
        }
    }
}
