//! One pattern as a person writes it, translated to globs that globset takes by the letter.
//!
//! Three steps: read the characters into tokens, write braces out, and turn each alternative
//! into a glob for the whole path below the root. The rules are those of `docs/patterns.md`.
//! Knows nothing of verdicts and of other patterns.

use globset::{Glob, GlobBuilder};

use super::class::Class;
use super::error::PatternFault;

/// LIMIT: longest pattern in bytes. PATH_MAX, so that every path a shell can name fits.
pub const MAX_PATTERN_LEN: usize = 4096;
/// LIMIT: how many alternatives the braces of one pattern may stand for.
pub const MAX_ALTERNATIVES: usize = 256;
/// LIMIT: braces that are written out for one pattern; nested ones cost without adding any.
const MAX_EXPANSIONS: usize = 1024;
/// A `**` inside a part: any bytes, slashes included.
const ANYTHING: &str = "{*,*/**/*}";

/// One glob of a pattern, for the whole path below the root.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    /// The glob.
    pub(super) glob: Glob,
    /// Whether it matches directories only.
    pub(super) directories_only: bool,
}

/// Translates a pattern to the globs it stands for.
pub(super) fn compile(pattern: &str) -> Result<Vec<Compiled>, PatternFault> {
    let mut compiled = Vec::new();
    for tokens in alternatives(pattern)? {
        for (text, directories_only) in translate(&tokens)? {
            let glob = GlobBuilder::new(&text)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(|error| PatternFault::Glob(error.kind().clone()))?;
            compiled.push(Compiled {
                glob,
                directories_only,
            });
        }
    }
    Ok(compiled)
}

/// Reads a pattern and writes its braces out.
pub(super) fn alternatives(pattern: &str) -> Result<Vec<Vec<Token>>, PatternFault> {
    expand(read(pattern)?)
}

/// Writes a character so that globset takes it for itself.
pub(super) fn write_literal(c: char, out: &mut String) {
    if matches!(
        c,
        '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\' | '!' | '^'
    ) {
        out.push('\\');
    }
    out.push(c);
}

/// What a pattern is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A character that stands for itself.
    Literal(char),
    Slash,
    /// One byte.
    Any,
    /// So many stars in a row.
    Stars(usize),
    Class(Class),
    Open,
    Comma,
    Close,
}

fn read(pattern: &str) -> Result<Vec<Token>, PatternFault> {
    if pattern.is_empty() {
        return Err(PatternFault::Empty);
    }
    if pattern.len() > MAX_PATTERN_LEN {
        return Err(PatternFault::TooLong {
            length: pattern.len(),
        });
    }
    if pattern.contains('\0') {
        return Err(PatternFault::Nul);
    }
    let text: Vec<char> = pattern.chars().collect();
    let (mut tokens, mut at, mut depth) = (Vec::with_capacity(text.len()), 0, 0usize);
    while let Some(c) = text.get(at) {
        let (token, length) = read_token(*c, &text[at + 1..], depth > 0)?;
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.checked_sub(1).ok_or(PatternFault::UnopenedBrace)?,
            _ => {}
        }
        tokens.push(token);
        at += length;
    }
    if depth > 0 {
        return Err(PatternFault::UnclosedBrace);
    }
    Ok(tokens)
}

/// Reads the token that begins with `c`. Returns it with its length in characters.
fn read_token(c: char, rest: &[char], in_brace: bool) -> Result<(Token, usize), PatternFault> {
    Ok(match c {
        '/' => (Token::Slash, 1),
        '?' => (Token::Any, 1),
        '{' => (Token::Open, 1),
        '}' => (Token::Close, 1),
        ',' if in_brace => (Token::Comma, 1),
        '*' => {
            let count = 1 + rest.iter().take_while(|c| **c == '*').count();
            (Token::Stars(count), count)
        }
        '[' => {
            let (class, length) = Class::parse(rest)?;
            (Token::Class(class), 1 + length)
        }
        '\\' => match rest.first() {
            None => return Err(PatternFault::DanglingEscape),
            Some('/') => return Err(PatternFault::EscapedSlash),
            Some(escaped) => (Token::Literal(*escaped), 2),
        },
        c => (Token::Literal(c), 1),
    })
}

/// Writes the braces out, outermost and leftmost first, in the order in which they are written.
fn expand(tokens: Vec<Token>) -> Result<Vec<Vec<Token>>, PatternFault> {
    let mut pending = vec![tokens];
    let mut done = Vec::new();
    let mut expansion_count = 0;
    while let Some(tokens) = pending.pop() {
        let Some(open) = tokens.iter().position(|token| *token == Token::Open) else {
            done.push(tokens);
            continue;
        };
        let borders = borders(&tokens[open..]);
        let Some(close) = borders.last() else {
            return Err(PatternFault::UnclosedBrace);
        };
        let (head, tail) = (&tokens[..open], &tokens[open + close + 1..]);
        for pair in borders.windows(2).rev() {
            let alternative = &tokens[open + pair[0] + 1..open + pair[1]];
            pending.push([head, alternative, tail].concat());
        }
        expansion_count += 1;
        if pending.len() + done.len() > MAX_ALTERNATIVES || expansion_count > MAX_EXPANSIONS {
            return Err(PatternFault::TooManyAlternatives);
        }
    }
    Ok(done)
}

/// Returns where the brace that opens at 0 opens, has its commas and closes.
fn borders(tokens: &[Token]) -> Vec<usize> {
    let mut borders = Vec::new();
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        match (token, depth) {
            (Token::Open | Token::Comma, 1) => borders.push(at),
            (Token::Close, 0) => {
                borders.push(at);
                break;
            }
            _ => {}
        }
    }
    borders
}

/// Translates one alternative. Returns globs and whether each matches directories only.
fn translate(tokens: &[Token]) -> Result<Vec<(String, bool)>, PatternFault> {
    let (anchored, tokens) = match tokens {
        [] => return Err(PatternFault::Empty),
        [Token::Slash, rest @ ..] => (true, rest),
        _ => (false, tokens),
    };
    let (directories_only, tokens) = match tokens {
        [] | [Token::Slash] => return Err(PatternFault::Root),
        [rest @ .., Token::Slash] => (true, rest),
        _ => (false, tokens),
    };
    let parts: Vec<&[Token]> = tokens.split(|token| *token == Token::Slash).collect();
    parts.iter().try_for_each(|part| check_part(part))?;
    let (last, head) = parts.split_last().ok_or(PatternFault::Empty)?;
    if head.iter().any(|part| is_triple_star(part)) {
        return Err(PatternFault::TripleStar);
    }
    if is_triple_star(last) {
        let contents = [head, &[&[Token::Stars(2)][..]]].concat();
        let mut globs = vec![(write_path(&contents, anchored), directories_only)];
        if !head.is_empty() {
            globs.insert(0, (write_path(head, anchored), true));
        }
        return Ok(globs);
    }
    Ok(vec![(write_path(&parts, anchored), directories_only)])
}

fn check_part(part: &[Token]) -> Result<(), PatternFault> {
    match part {
        [] => Err(PatternFault::EmptyPart),
        [Token::Literal('.')] | [Token::Literal('.'), Token::Literal('.')] => {
            Err(PatternFault::DotPart)
        }
        _ => Ok(()),
    }
}

fn is_any_depth(part: &[Token]) -> bool {
    matches!(part, [Token::Stars(2)])
}

fn is_triple_star(part: &[Token]) -> bool {
    matches!(part, [Token::Stars(3..)])
}

/// Writes the glob for a path. What is not anchored may begin below any directory.
fn write_path(parts: &[&[Token]], anchored: bool) -> String {
    let mut out = String::new();
    let mut after_any_depth = false;
    if !anchored && !parts.first().is_some_and(|part| is_any_depth(part)) {
        out.push_str("**/");
    }
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        if is_any_depth(part) && after_any_depth && !is_last {
            continue;
        }
        if is_any_depth(part) {
            out.push_str("**");
        } else {
            part.iter().for_each(|token| write_token(*token, &mut out));
        }
        if !is_last {
            out.push('/');
        }
        after_any_depth = is_any_depth(part);
    }
    out
}

fn write_token(token: Token, out: &mut String) {
    match token {
        Token::Literal(c) => write_literal(c, out),
        Token::Slash => out.push('/'),
        Token::Any => out.push('?'),
        Token::Stars(1) => out.push('*'),
        Token::Stars(_) => out.push_str(ANYTHING),
        Token::Class(class) => class.write_glob(out),
        // Braces are written out before anything is translated.
        Token::Open | Token::Comma | Token::Close => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{PatternFault, compile};

    #[test]
    fn translates_to_globs_of_the_whole_path() {
        for (pattern, globs) in [
            ("foo", &[("**/foo", false)][..]),
            ("/foo", &[("foo", false)]),
            ("foo/", &[("**/foo", true)]),
            ("/foo/bar/", &[("foo/bar", true)]),
            ("foo/bar", &[("**/foo/bar", false)]),
            ("*", &[("**/*", false)]),
            ("*/", &[("**/*", true)]),
            ("/*", &[("*", false)]),
            ("**", &[("**", false)]),
            ("/**", &[("**", false)]),
            ("**/foo", &[("**/foo", false)]),
            ("/**/foo", &[("**/foo", false)]),
            ("a/**/**/b", &[("**/a/**/b", false)]),
            ("dir/*", &[("**/dir/*", false)]),
            ("dir/**", &[("**/dir/**", false)]),
            ("dir/***", &[("**/dir", true), ("**/dir/**", false)]),
            ("/***", &[("**", false)]),
            ("/a**b", &[("a{*,*/**/*}b", false)]),
            ("{a,/b/}c", &[("**/ac", false), ("b/c", false)]),
            ("/{a,b/}", &[("a", false), ("b", true)]),
            (
                "{a,{b,c}d}",
                &[("**/a", false), ("**/bd", false), ("**/cd", false)],
            ),
            ("a,b", &[("**/a\\,b", false)]),
            ("[{]a[}]", &[("**/\\{a\\}", false)]),
            ("\\{a\\*\\\\", &[("**/\\{a\\*\\\\", false)]),
            ("a b ", &[("**/a b ", false)]),
        ] {
            let made = compile(pattern).unwrap();
            let made: Vec<_> = made
                .iter()
                .map(|one| (one.glob.glob(), one.directories_only))
                .collect();
            assert_eq!(made, globs, "{pattern}");
        }
    }

    #[test]
    fn refuses_what_cannot_match_or_means_two_things() {
        for (pattern, fault) in [
            ("", PatternFault::Empty),
            ("{a,}", PatternFault::Empty),
            ("/", PatternFault::Root),
            ("//", PatternFault::Root),
            ("..", PatternFault::DotPart),
            ("a/../b", PatternFault::DotPart),
            ("\\./a", PatternFault::DotPart),
            ("./a", PatternFault::DotPart),
            ("{a,..}/b", PatternFault::DotPart),
            ("a//b", PatternFault::EmptyPart),
            ("//a", PatternFault::EmptyPart),
            ("a//", PatternFault::EmptyPart),
            ("***/a", PatternFault::TripleStar),
            ("a\0b", PatternFault::Nul),
            ("a\\/b", PatternFault::EscapedSlash),
            ("a\\", PatternFault::DanglingEscape),
            ("a[b", PatternFault::UnclosedClass),
            ("{a,b", PatternFault::UnclosedBrace),
            ("{a,{b}", PatternFault::UnclosedBrace),
            ("a}", PatternFault::UnopenedBrace),
            (&"{a,b}".repeat(9), PatternFault::TooManyAlternatives),
            (&"{a}".repeat(1300), PatternFault::TooManyAlternatives),
            (&"a".repeat(4097), PatternFault::TooLong { length: 4097 }),
        ] {
            assert_eq!(compile(pattern).map(|_| ()), Err(fault), "{pattern}");
        }
    }

    #[test]
    fn allows_as_many_alternatives_as_the_limit_says() {
        assert_eq!(compile(&"{a,b}".repeat(8)).unwrap().len(), 256);
    }
}
