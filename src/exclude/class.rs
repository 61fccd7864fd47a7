//! One bracket expression: `[a-z]`, `[!0-9]`, read as rsync reads it, written as globset does.
//!
//! The two differ on the backslash, on a slash inside a range and on `[!a]` matching a slash,
//! so the set of bytes is taken apart and put together again. Knows nothing of paths.

use super::error::PatternFault;

/// A set of ASCII bytes, or of all bytes but those and the slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// Bit `n` stands for the byte `n`.
    members: u128,
    negated: bool,
}

impl Class {
    /// Reads what follows a `[`. Returns the class and how many characters it took, the `]`
    /// included.
    pub(super) fn parse(text: &[char]) -> Result<(Class, usize), PatternFault> {
        let negated = matches!(text.first(), Some('!' | '^'));
        let mut at = usize::from(negated);
        let first = at;
        let mut members = 0u128;
        loop {
            // A `]` right at the start is a member, as in every glob.
            if text.get(at) == Some(&']') && at > first {
                // A range may run over the slash; no bracket matches it.
                let members = members & !(1 << b'/');
                return Ok((Class { members, negated }, at + 1));
            }
            if text
                .get(at..)
                .is_some_and(|rest| rest.starts_with(&['[', ':']))
            {
                return Err(PatternFault::NamedClass);
            }
            let low = member(text, &mut at)?;
            let is_range =
                text.get(at) == Some(&'-') && text.get(at + 1).is_some_and(|c| *c != ']');
            let high = if is_range {
                at += 1;
                member(text, &mut at)?
            } else {
                low
            };
            if high < low {
                return Err(PatternFault::BackwardRange(low.into(), high.into()));
            }
            for byte in low..=high {
                members |= 1 << byte;
            }
        }
    }

    /// Writes it in globset's syntax.
    pub(super) fn write_glob(self, out: &mut String) {
        if self.negated {
            // globset would let a negated class match a slash.
            out.push_str("[!");
            write_members(self.members | 1 << b'/', out);
            out.push(']');
        } else if self.members.count_ones() == 1 {
            self.each_member(|c| super::pattern::write_literal(c, out));
        } else if self.members == 1 << b'!' | 1 << b'^' {
            // Neither can come first in brackets without negating them.
            out.push_str("{\\!,\\^}");
        } else {
            out.push('[');
            write_members(self.members, out);
            out.push(']');
        }
    }

    fn each_member(self, mut take: impl FnMut(char)) {
        (0..128u8)
            .filter(|byte| self.members >> byte & 1 == 1)
            .for_each(|byte| take(char::from(byte)));
    }
}

/// Reads one member, escaped or not: an ASCII byte.
fn member(text: &[char], at: &mut usize) -> Result<u8, PatternFault> {
    if text.get(*at) == Some(&'\\') {
        *at += 1;
    }
    let c = *text.get(*at).ok_or(PatternFault::UnclosedClass)?;
    *at += 1;
    match u8::try_from(c) {
        Ok(b'/') => Err(PatternFault::SlashInClass),
        Ok(byte) if byte.is_ascii() => Ok(byte),
        _ => Err(PatternFault::NotAsciiInClass(c)),
    }
}

/// Writes members so that none of them means anything to globset: `]` first, `-` last or (where
/// only `!` or `^` is left to lead) first, and ranges only between letters and digits.
fn write_members(members: u128, out: &mut String) {
    let class = Class {
        members,
        negated: false,
    };
    let (mut plain, mut marks) = (String::new(), String::new());
    class.each_member(|c| match c {
        '!' | '^' => marks.push(c),
        ']' | '-' => {}
        _ => plain.push(c),
    });
    let has = |byte: u8| members >> byte & 1 == 1;
    let dash_leads = has(b'-') && !has(b']') && plain.is_empty();
    if has(b']') {
        out.push(']');
    }
    if dash_leads {
        out.push('-');
    }
    write_runs(&plain, out);
    out.push_str(&marks);
    if has(b'-') && !dash_leads {
        out.push('-');
    }
}

/// Writes sorted members, with runs of letters or digits as ranges.
fn write_runs(sorted: &str, out: &mut String) {
    let mut rest = sorted.chars().peekable();
    while let Some(low) = rest.next() {
        let mut high = low;
        while let Some(next) =
            rest.next_if(|c| c.is_ascii_alphanumeric() && u32::from(*c) == u32::from(high) + 1)
        {
            high = next;
        }
        out.push(low);
        if high != low {
            out.push('-');
            out.push(high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, PatternFault};

    fn parse(text: &str) -> Result<(String, usize), PatternFault> {
        let text: Vec<char> = text.chars().collect();
        Class::parse(&text).map(|(class, length)| {
            let mut out = String::new();
            class.write_glob(&mut out);
            (out, length)
        })
    }

    #[test]
    fn writes_what_globset_takes_by_the_letter() {
        for (text, glob) in [
            ("abc]", "[a-c]"),
            ("a-c-e]", "[a-ce-]"),
            ("]]", "\\]"),
            ("]a-]", "[]a-]"),
            ("^-a]", "[!/a-]"),
            ("!!]", "[!/!]"),
            ("a!]", "[a!]"),
            ("^]]", "[!]/]"),
            ("\\!\\^]", "{\\!,\\^}"),
            ("\\!-]", "[-!]"),
            ("\\]\\\\]", "[]\\]"),
            ("--0]", "[.0-]"),
            ("+-9]", "[+,.0-9-]"),
            ("{,}]", "[,{}]"),
        ] {
            assert_eq!(
                parse(text),
                Ok((glob.to_owned(), text.chars().count())),
                "[{text}"
            );
        }
    }

    #[test]
    fn refuses_what_would_be_read_differently() {
        for (text, fault) in [
            ("", PatternFault::UnclosedClass),
            ("]", PatternFault::UnclosedClass),
            ("!", PatternFault::UnclosedClass),
            ("!]", PatternFault::UnclosedClass),
            ("a-", PatternFault::UnclosedClass),
            ("\\", PatternFault::UnclosedClass),
            ("a/b]", PatternFault::SlashInClass),
            ("z-a]", PatternFault::BackwardRange('z', 'a')),
            ("aé]", PatternFault::NotAsciiInClass('é')),
            ("a-é]", PatternFault::NotAsciiInClass('é')),
            ("[:alpha:]]", PatternFault::NamedClass),
            ("a[:digit:]]", PatternFault::NamedClass),
        ] {
            assert_eq!(parse(text), Err(fault), "[{text}");
        }
    }
}
