//! `authorized_keys` of root and in `/home`: the source's lines and the target's further
//! keys, without those of runs. Knows nothing of whose account it is: the path says so.

use std::collections::BTreeSet;

use super::block::lines;
use super::{Case, Change, File, Level};
use crate::problem::Side;
use crate::relpath::RelPath;

/// How the comment of a run's own line begins, as `authorized_keys` at the top level writes it.
const RUN_MARK: &[u8] = b"instancesync:";

/// A line with a key.
struct Key<'a> {
    options: &'a [u8],
    /// Type and key: what the server compares.
    identity: (&'a [u8], &'a [u8]),
    comment: &'a [u8],
}

pub(super) fn merge(case: &mut Case<'_>) {
    let paths: Vec<&RelPath> = case.paths().into_iter().filter(|p| is_keys(p)).collect();
    for path in paths {
        if !case.leaves_link(path, &[Side::Source, Side::Target]) {
            merge_one(case, path);
        }
    }
}

fn is_keys(path: &RelPath) -> bool {
    path.split().is_some_and(|(_, name)| {
        matches!(name.as_bytes(), b"authorized_keys" | b"authorized_keys2")
    })
}

fn merge_one(case: &mut Case<'_>, path: &RelPath) {
    let (source, target) = (case.source_file(path), case.target_file(path));
    let mut contents = Vec::new();
    let mut add = |line: &[u8]| {
        contents.extend_from_slice(line);
        contents.push(b'\n');
    };
    let mut whole: BTreeSet<&[u8]> = BTreeSet::new();
    let mut seen: BTreeSet<(&[u8], &[u8])> = BTreeSet::new();
    for line in source.into_iter().flat_map(|file| lines(&file.contents)) {
        let key = parse(line);
        let is_run = key.as_ref().is_some_and(|key| is_run(key.comment));
        if is_run || (key.is_some() && !whole.insert(line)) {
            continue;
        }
        seen.extend(key.map(|key| key.identity));
        add(line);
    }
    let mut added = 0;
    let mut restricted = 0;
    for line in target.into_iter().flat_map(|file| lines(&file.contents)) {
        // Comments of the target are not taken: nobody knows to which of the keys they belong.
        let Some(key) = parse(line) else { continue };
        let is_run = is_run(key.comment);
        if is_run && !is_returning(case, key.comment) {
            continue;
        }
        if seen.insert(key.identity) {
            added += u32::from(!is_run);
            add(line);
        } else if has_options(source, &key) {
            restricted += 1;
        }
    }
    if added > 0 {
        let what = format!("added to the source's keys: {added} of the target");
        case.note(path, Level::Info, what);
    }
    if restricted > 0 {
        let what = format!("the source's options hold for {restricted} of the target's keys");
        case.note(path, Level::Warning, what);
    }
    let Some(like) = source.or(target) else {
        return;
    };
    let change = match contents.is_empty() && source.is_none() {
        true => Change::Remove,
        false => Change::Write(like.with(contents)),
    };
    let reason = "the keys of both machines, without those of runs";
    case.propose(path, change, Level::Info, reason);
}

/// Tells whether the source has this key with other options than the target.
fn has_options(source: Option<&File>, key: &Key<'_>) -> bool {
    source
        .into_iter()
        .flat_map(|file| lines(&file.contents))
        .filter_map(parse)
        .any(|other| other.identity == key.identity && other.options != key.options)
}

fn is_run(comment: &[u8]) -> bool {
    comment.starts_with(RUN_MARK)
}

fn is_returning(case: &Case<'_>, comment: &[u8]) -> bool {
    case.situation.returning_pair.is_some_and(|pair| {
        let mark = [RUN_MARK, pair.as_bytes(), b":"].concat();
        comment.starts_with(&mark)
    })
}

/// Takes a line apart as sshd does: `[options] type key [comment]`.
fn parse(line: &[u8]) -> Option<Key<'_>> {
    let line = line.trim_ascii();
    if line.starts_with(b"#") {
        return None;
    }
    let (first, rest) = split_word(line);
    let (options, key_type, rest) = match is_type(first) {
        true => (&b""[..], first, rest),
        false => {
            let (options, rest) = split_options(line);
            let (key_type, rest) = split_word(rest);
            (options, key_type, rest)
        }
    };
    let (body, comment) = split_word(rest);
    let comment = comment
        .rsplit(u8::is_ascii_whitespace)
        .next()
        .unwrap_or(b"");
    (is_type(key_type) && !body.is_empty()).then_some(Key {
        options,
        identity: (key_type, body),
        comment,
    })
}

fn is_type(word: &[u8]) -> bool {
    [
        &b"ssh-"[..],
        b"ecdsa-sha2-",
        b"sk-ssh-",
        b"sk-ecdsa-",
        b"rsa-sha2-",
    ]
    .iter()
    .any(|start| word.starts_with(start))
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace);
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_ascii_start())
}

/// Splits behind the options: at the first white space outside quotes.
fn split_options(line: &[u8]) -> (&[u8], &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    let end = line.iter().position(|byte| {
        let ends = byte.is_ascii_whitespace() && !quoted;
        quoted ^= *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    line.split_at(end.unwrap_or(line.len()))
}
