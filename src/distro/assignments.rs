//! `NAME=value` as shells read it: os-release and the settings files beside it. Pure; never
//! fails: what is no assignment is left out. Knows nothing of which names mean what.

use std::collections::BTreeMap;

/// The assignments of a file; of two of one name the later one, as a shell would have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments(BTreeMap<String, String>);

impl Assignments {
    /// Reads a text. Quotes and backslashes are a shell's; nothing is expanded.
    pub fn parse(text: &str) -> Assignments {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter_map(parse_line);
        Assignments(lines.collect())
    }

    /// Returns a value that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Tells whether a value says yes, in any of the ways of such files.
    pub fn is_yes(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or("").to_ascii_lowercase();
        matches!(value.as_str(), "yes" | "true" | "on" | "1")
    }
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let (name, value) = line.split_once('=')?;
    // Some write blanks around the sign; no shell reads those, but people mean them.
    let name = name.trim_end();
    let mut letters = name.chars();
    let first = letters.next()?;
    let is_name = (first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    is_name.then(|| (name.to_owned(), unquote(value.trim())))
}

/// Takes the quotes off the first word. A quote that nobody closes ends with the line.
pub(super) fn unquote(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut quote = None;
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(mark)) if mark == letter => quote = None,
            ('\\', None) => plain.extend(letters.next()),
            ('\\', Some('"')) => match letters.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => plain.push(next),
                Some(next) => plain.extend(['\\', next]),
                None => plain.push('\\'),
            },
            (' ' | '\t', None) => break,
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        for (line, value) in [
            ("A=plain", Some("plain")),
            ("A=\"two words\"", Some("two words")),
            ("A='single \\quotes\\'", Some("single \\quotes\\")),
            (
                r#"A="say \"x\" for \$5 and \n""#,
                Some("say \"x\" for $5 and \\n"),
            ),
            ("A=a\\ b", Some("a b")),
            ("A=\"a\"'b'c", Some("abc")),
            ("A=word rest", Some("word")),
            ("A=word # comment", Some("word")),
            ("A=\"never closed", Some("never closed")),
            ("A='", None),
            ("A=\\", None),
            ("A=\"\\", Some("\\")),
            ("A=", None),
            ("A=\"\"", None),
            ("  A = spaced ", Some("spaced")),
            ("export A=1", Some("1")),
            ("#A=comment", None),
            ("=no name", None),
            ("1A=no name", None),
            ("A-B=no name", None),
            ("nothing", None),
            ("\u{feff}A=after a mark", Some("after")),
            ("A=1\nA=2\r\n", Some("2")),
        ] {
            assert_eq!(Assignments::parse(line).get("A"), value, "{line:?}");
        }
    }

    #[test]
    fn yes_has_many_forms() {
        let yes = |value: &str| Assignments::parse(&format!("A={value}")).is_yes("A");
        assert!(yes("yes") && yes("\"TRUE\"") && yes("on"));
        assert!(!yes("no") && !yes("") && !yes("y"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text: String) {
            let _read = Assignments::parse(&text);
        }

        #[test]
        fn a_quoted_text_comes_back(text in "[^\n\r]*") {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`");
            prop_assert_eq!(unquote(&format!("\"{quoted}\"")), text);
        }
    }
}
