//! Exclude files: one pattern a line, as `rsync --exclude-from` reads them.
//!
//! Takes the bytes; who opens the file, and where it may lie, is decided elsewhere. Knows
//! nothing of what a pattern means.

use super::error::PatternError;
use super::rules::MAX_RULES;
use super::{Rule, Verdict};

/// Reads the rules of a file. `origin` is how messages name it; each rule adds its line.
///
/// Blank lines and lines that begin with `#` or `;` say nothing; `+ ` makes a rule that copies,
/// `- ` or nothing one that skips. Spaces elsewhere belong to the pattern.
pub fn parse_file(origin: &str, bytes: &[u8]) -> Result<Vec<Rule>, PatternError> {
    // Editors of other systems put this mark first; as part of a name it would never match.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut rules = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || matches!(line.first(), Some(b'#' | b';')) {
            continue;
        }
        if rules.len() == MAX_RULES {
            return Err(PatternError::TooManyRules);
        }
        rules.push(parse_line(format!("{origin}:{}", index + 1), line)?);
    }
    Ok(rules)
}

fn parse_line(origin: String, line: &[u8]) -> Result<Rule, PatternError> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Err(PatternError::NotText { origin });
    };
    if line == "!" {
        return Err(PatternError::ClearList { origin });
    }
    let (verdict, pattern) = if let Some(pattern) = line.strip_prefix("+ ") {
        (Verdict::Copy, pattern)
    } else {
        (Verdict::Skip, line.strip_prefix("- ").unwrap_or(line))
    };
    Ok(Rule::new(verdict, pattern, origin))
}

#[cfg(test)]
mod tests {
    use super::{PatternError, parse_file};
    use crate::exclude::Verdict;

    #[test]
    fn reads_one_pattern_a_line() {
        let text = b"\xef\xbb\xbf*.tmp\r\n\n# note\n; note\n   \n+ */\n- a b \n-x\n+\n\\#c";
        let rules = parse_file("x.rules", text).unwrap();
        let rules: Vec<_> = rules
            .iter()
            .map(|rule| (rule.verdict, rule.pattern.as_str(), rule.origin.as_str()))
            .collect();
        assert_eq!(
            rules,
            [
                (Verdict::Skip, "*.tmp", "x.rules:1"),
                (Verdict::Copy, "*/", "x.rules:6"),
                (Verdict::Skip, "a b ", "x.rules:7"),
                (Verdict::Skip, "-x", "x.rules:8"),
                (Verdict::Skip, "+", "x.rules:9"),
                (Verdict::Skip, "\\#c", "x.rules:10"),
            ]
        );
        assert_eq!(parse_file("empty", b""), Ok(Vec::new()));
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        assert_eq!(
            parse_file("x", b"a\n\xff\n"),
            Err(PatternError::NotText {
                origin: "x:2".into()
            })
        );
        assert_eq!(
            parse_file("x", b"a\n\n!\n"),
            Err(PatternError::ClearList {
                origin: "x:3".into()
            })
        );
        let long = b"a\n".repeat(super::MAX_RULES + 1);
        assert_eq!(parse_file("x", &long), Err(PatternError::TooManyRules));
    }
}
