//! Reads Rust and Markdown just far enough for the rules. Relies on rustfmt's layout.
//!
//! Knows nothing of the rules themselves.

use std::collections::BTreeSet;

/// Returns the lines without the modules of tests.
pub(super) fn without_tests(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_tests = line == "#[cfg(test)]"
            && lines
                .peek()
                .is_some_and(|next| next.starts_with("mod ") || next.starts_with("pub mod "));
        if !opens_tests {
            kept.push(line);
        } else if lines.next().is_some_and(|next| next.ends_with('{')) {
            lines.by_ref().find(|line| *line == "}");
        }
    }
    kept
}

/// Returns the name and the number of lines of each function with a body.
pub(super) fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = &line[..line.len() - line.trim_start().len()];
        let signature = lines[at..]
            .iter()
            .position(|line| line.ends_with(['{', ';', '}']))
            .unwrap_or(0);
        if lines[at + signature].ends_with('{') {
            let close = format!("{indent}}}");
            let length = lines[at..].iter().position(|line| *line == close);
            found.push((name, length.unwrap_or(lines.len() - at) + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    for word in ["pub(super) ", "pub(crate) ", "pub ", "const ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    Some(identifier(name).to_owned())
}

/// Returns the identifier that `text` begins with; empty if it begins with none.
fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// Returns what the code declares, by keyword and name.
pub(super) fn declared_names(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        let mut words = line.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let declares = matches!(
                word,
                "fn" | "let" | "struct" | "enum" | "trait" | "type" | "mod" | "const" | "static"
            );
            if declares {
                words.next_if_eq(&"mut");
                let name = words.peek();
                found.extend(name.map(|name| identifier(name).to_owned()));
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Splits an identifier into its words, in lower case.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !spaced.ends_with(char::is_uppercase) {
            spaced.push('_');
        }
        spaced.push(c);
    }
    spaced.split('_').map(str::to_lowercase).collect()
}

/// Returns the modules of the crate that the code names: `crate::x`, `super::…::x` as far as the
/// root of the crate, and groups of them. `depth` is how many modules the file is below it.
pub(super) fn crate_modules(code: &str, depth: usize) -> Vec<String> {
    let up = "super::".repeat(depth);
    let mut found = Vec::new();
    for start in ["crate::", "instancesync::", &up] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let rest = &code[at + start.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                found.extend(group_heads(group));
            } else {
                found.push(identifier(rest).to_owned());
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Returns the first identifier of each item of a group, up to its closing brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut at_head) = (Vec::new(), 0usize, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && !c.is_whitespace() => {
                heads.push(identifier(&group[at..]).to_owned());
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

/// Returns each `src/…` path that a document names.
pub(super) fn paths_below_src(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("src/") {
        if text[..at].chars().next_back().is_some_and(is_part) {
            continue;
        }
        let rest = &text[at..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let mut path = &rest[..end];
        if rest[end..].starts_with(['*', '{', '<', '…']) {
            // A pattern: what stands before it must exist.
            path = &path[..path.rfind('/').unwrap_or(0)];
        }
        found.insert(path.trim_end_matches(['.', '/']).to_owned());
    }
    found
}

/// Tells whether the document names `path` (below `src/`) and not one that only ends like it.
pub(super) fn names_path(document: &str, path: &str) -> bool {
    document.match_indices(path).any(|(at, _)| {
        let before = document[..at]
            .strip_suffix("src/")
            .unwrap_or(&document[..at]);
        let before = before.chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/'))
    })
}

/// Returns the tags of a document: `[tag]` that is no link.
pub(super) fn document_tags(text: &str) -> BTreeSet<String> {
    text.match_indices('[')
        .filter(|(at, _)| {
            let before = text[..*at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
        .filter_map(|(at, _)| bracketed(&text[at + 1..]))
        .collect()
}

/// Returns the tags of the code: `WIRE[x]`.
pub(super) fn code_tags(text: &str) -> BTreeSet<String> {
    text.match_indices("WIRE[")
        .filter_map(|(at, mark)| bracketed(&text[at + mark.len()..]))
        .collect()
}

/// Returns the tag up to the `]`: lower-case letters and hyphens, but not the word by which the
/// documents explain what a tag is.
fn bracketed(text: &str) -> Option<String> {
    let (tag, rest) = text.split_once(']')?;
    let is_tag = !tag.is_empty() && tag.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    (is_tag && tag != "tag" && !rest.starts_with(['(', '['])).then(|| tag.to_owned())
}

#[test]
fn reads_as_far_as_the_rules_need() {
    let text =
        "//! x\nfn a() {\n    b();\n}\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\nfn d();\n";
    assert_eq!(functions(text), [("a".to_owned(), 3)]);
    assert_eq!(
        without_tests(text),
        ["//! x", "fn a() {", "    b();", "}", "fn d();"]
    );
    assert_eq!(
        without_tests("#[cfg(test)]\nmod tests;\nfn a() {}"),
        ["fn a() {}"]
    );
    assert_eq!(words("HttpClient"), ["", "http", "client"]);
    assert_eq!(
        declared_names("let mut a = 1; pub fn b() {} // let"),
        ["a", "b"]
    );
    let paths = paths_below_src("`src/a.rs`, src/b/. src/c/*.rs (src/d/mod.rs) x/src/e");
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    assert_eq!(paths, ["src/a.rs", "src/b", "src/c", "src/d/mod.rs"]);
}
