//! Makes text from another machine fit for the screen and the log.
//!
//! Knows nothing of where the text comes from.

/// Returns the text without terminal sequences and control characters other than newlines.
/// Bytes that are no UTF-8 become U+FFFD.
pub fn clean_text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut cleaned = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => cleaned.push('\n'),
            '\t' => cleaned.push(' '),
            '\u{1b}' if chars.peek() == Some(&'[') => {
                // A control sequence ends with a byte from @ to ~ (ECMA-48, 5.4).
                chars.next();
                for end in chars.by_ref() {
                    if ('@'..='~').contains(&end) {
                        break;
                    }
                }
            }
            c if is_unfit(c) => {}
            c => cleaned.push(c),
        }
    }
    cleaned.trim_end().to_owned()
}

/// Control characters, and those that turn the direction of the line or are invisible.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_text_and_newlines() {
        assert_eq!(
            clean_text("größe\tok\r\nzwei\n\n".as_bytes()),
            "größe ok\nzwei"
        );
    }

    #[test]
    fn drops_colours_bells_and_turned_lines() {
        assert_eq!(clean_text(b"\x1b[1;31mred\x1b[0m\x07\x08\0!"), "red!");
        assert_eq!(clean_text("a\u{202e}b".as_bytes()), "ab");
        assert_eq!(clean_text(b"end\x1b["), "end");
    }

    #[test]
    fn survives_bytes_that_are_no_text() {
        assert_eq!(clean_text(b"a\xffb"), "a\u{fffd}b");
    }
}
