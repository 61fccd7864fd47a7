//! Where a pattern can match: its fixed beginning, and how far below that. For whoever looks for
//! what matches on a machine without looking at all of it. Knows nothing of verdicts.

use super::pattern::{Token, alternatives};
use crate::relpath::RelPath;

/// Where one alternative of a pattern can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The names before its first wildcard; the root for one that may begin anywhere.
    pub path: RelPath,
    /// How deep below the root of the copy it can match.
    pub depth: Depth,
}

/// How deep below the root of the copy patterns can match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// So many names deep, what lies below a match not counted.
    pub name_count: usize,
    /// Whether all that lies below a match is one as well: that says something where an exception
    /// before the pattern has opened a directory.
    pub goes_on: bool,
}

impl Depth {
    /// Takes in that of another pattern.
    pub fn widen(&mut self, other: Depth) {
        self.name_count = self.name_count.max(other.name_count);
        self.goes_on |= other.goes_on;
    }
}

/// Returns the beginning of each alternative; none of a pattern that is refused.
pub(super) fn beginnings(pattern: &str) -> Vec<Beginning> {
    let alternatives = alternatives(pattern).unwrap_or_default();
    alternatives.iter().map(|tokens| of(tokens)).collect()
}

fn of(tokens: &[Token]) -> Beginning {
    let Some(tokens) = tokens.strip_prefix(&[Token::Slash]) else {
        let depth = Depth {
            name_count: usize::MAX,
            goes_on: false,
        };
        let path = RelPath::root();
        return Beginning { path, depth };
    };
    let tokens = tokens.strip_suffix(&[Token::Slash]).unwrap_or(tokens);
    let crosses = |token: &Token| matches!(token, Token::Stars(2..));
    let (fixed, goes_on) = match tokens.split_last() {
        Some((last, fixed)) if crosses(last) => (fixed, true),
        _ => (tokens, false),
    };
    let parts = tokens.split(|token| *token == Token::Slash);
    let name_count = match fixed.iter().any(crosses) {
        true => usize::MAX,
        false => parts.clone().count(),
    };
    let names: Vec<String> = parts.map_while(literal).collect();
    Beginning {
        path: RelPath::new(names.join("/").as_bytes()).unwrap_or_default(),
        depth: Depth {
            name_count,
            goes_on,
        },
    }
}

/// Returns the name for which a part stands, if it has no wildcard.
fn literal(part: &[Token]) -> Option<String> {
    let character = |token: &Token| match token {
        Token::Literal(c) => Some(*c),
        _ => None,
    };
    part.iter().map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::beginnings;

    #[test]
    fn a_pattern_begins_before_its_first_wildcard() {
        for (pattern, paths) in [
            ("/etc/netplan/***", &["etc/netplan"][..]),
            ("/etc/ssh/ssh_host_*", &["etc/ssh"]),
            ("/boot/", &["boot"]),
            ("/*", &[""]),
            ("name", &[""]),
            ("/a/{b,c}/d", &["a/b/d", "a/c/d"]),
            ("/{etc,usr/lib}/x/*", &["etc/x", "usr/lib/x"]),
            ("/a/\\{b\\*/c?", &["a/{b*"]),
            ("/a{,*}/b", &["a/b", ""]),
        ] {
            let found = beginnings(pattern);
            let found: Vec<&[u8]> = found.iter().map(|one| one.path.as_bytes()).collect();
            let paths: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
            assert_eq!(found, paths, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_matches_no_deeper_than_its_parts() {
        for (pattern, expected) in [
            ("/etc/netplan/***", &[(3, true)][..]),
            ("/srv/**", &[(2, true)]),
            ("/srv/a**", &[(2, true)]),
            ("/home/*/.ssh/keys", &[(4, false)]),
            ("/a/{b,c/d}/e", &[(3, false), (4, false)]),
            ("/a/**/b", &[(usize::MAX, false)]),
            ("/a**b/", &[(usize::MAX, false)]),
            ("*.bak", &[(usize::MAX, false)]),
        ] {
            let found = beginnings(pattern).into_iter();
            let found: Vec<(usize, bool)> = found
                .map(|one| (one.depth.name_count, one.depth.goes_on))
                .collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
