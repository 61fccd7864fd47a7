//! Which module may import which: the layers of docs/architecture.md as a table.
//!
//! Knows nothing of the parser's rules: it looks for paths in lines that are no comments.

use super::source::{crate_modules, without_tests};

/// Nouns without I/O; they know only each other.
const VOCABULARY: &[&str] = &[
    "relpath",
    "entry",
    "problem",
    "monitor",
    "exit",
    "prompter",
    "interrupt",
    "units",
    "facts",
    "merger",
];
/// The chapters, each with the layers it stands on besides the vocabulary.
const CHAPTERS: &[(&str, &[&str])] = &[
    ("fs", &[]),
    ("exclude", &[]),
    ("distro", &["fs"]),
    ("fixup", &["exclude", "fs"]),
    ("ssh", &[]),
    ("transfer", &["exclude", "fs"]),
    ("switch", &["exclude", "fs"]),
    ("authorized_keys", &["fs"]),
    ("settings", &["cli", "exclude", "failure", "ssh"]),
];
/// The story of one run: anything below the edge.
const STORY: &[&str] = &[
    "clone",
    "agent",
    "session",
    "source",
    "inspect",
    "layout",
    "preflight",
    "plan",
    "cleanup",
    "check",
    "loader",
    "orders",
    "boot",
    "record",
    "report",
    "failure",
];
/// The edge: anything.
const EDGE: &[&str] = &["cli", "commands", "ui", "main", "lib"];

/// Modules that must work without looking at the machine.
const WITHOUT_IO: &[&str] = &["std::fs", "std::net", "std::process", "rustix::", "libc::"];
/// Where `fs` calls the kernel.
const GATE: &str = "src/fs/gate.rs";
/// What of rustix is no call, or cannot fail.
const UNGATED: &[&str] = &["makedev", "major", "minor", "sync"];
/// What writes to the terminal.
const PRINTERS: [&str; 5] = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];

/// Returns every module of the table.
pub(super) fn modules() -> Vec<&'static str> {
    let chapters: Vec<&str> = CHAPTERS.iter().map(|(name, _)| *name).collect();
    [VOCABULARY, &chapters, STORY, EDGE].concat()
}

/// Complains of each import that goes upwards or sideways, and of calls that have one home.
pub(super) fn check(name: &str, text: &str) -> Vec<String> {
    let path = name.trim_start_matches("src/").trim_end_matches(".rs");
    let module = path.split('/').next().unwrap_or(path);
    let depth = path.split('/').filter(|part| *part != "mod").count();
    if super::is_test_file(name) {
        return Vec::new();
    }
    let code: Vec<&str> = without_tests(text)
        .into_iter()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    if !modules().contains(&module) {
        found.push(format!(
            "'{module}' has no layer: add it to tests/it/tidy/layers.rs"
        ));
    }
    for import in crate_modules(&code, depth) {
        if !may_import(module, &import) {
            found.push(format!("'{module}' must not know of '{import}'"));
        }
    }
    found.extend(check_homes(name, module, &code));
    found
}

fn may_import(module: &str, import: &str) -> bool {
    if module == import || EDGE.contains(&module) {
        return true;
    }
    if STORY.contains(&module) {
        return modules().contains(&import) && !EDGE.contains(&import);
    }
    let below = CHAPTERS.iter().find(|(name, _)| *name == module);
    VOCABULARY.contains(&import) || below.is_some_and(|(_, below)| below.contains(&import))
}

/// Complains of calls that have one home.
fn check_homes(name: &str, module: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    if module != "fs" && mentions_rustix_fs(code) {
        found.push("only 'fs' makes file-system calls".to_owned());
    }
    if module == "fs" && name != GATE {
        let ungated = rustix_functions(code);
        found.extend(ungated.map(|function| format!("'{function}' has to go through call!")));
    }
    let prints = PRINTERS.iter().any(|printer| calls(code, printer));
    if prints && name != "src/main.rs" && module != "ui" {
        found.push("only src/main.rs and src/ui write to the terminal".to_owned());
    }
    if ["exclude", "plan"].contains(&module) || VOCABULARY.contains(&module) {
        let used = WITHOUT_IO.iter().filter(|path| code.contains(**path));
        found.extend(used.map(|path| format!("'{module}' does no I/O, but uses {path}")));
    }
    found
}

fn mentions_rustix_fs(code: &str) -> bool {
    let grouped = code.match_indices("rustix::{").any(|(at, _)| {
        let group = code[at..].split(';').next().unwrap_or("");
        group
            .split(['{', ',', ' ', '\n', ':', '}'])
            .any(|word| word == "fs")
    });
    code.contains("rustix::fs") || grouped
}

/// Returns the functions of rustix's file system and I/O that are named, by path or by import.
fn rustix_functions(code: &str) -> impl Iterator<Item = &str> {
    let starts = ["rustix::fs::", "rustix::io::"];
    let after = starts.into_iter().flat_map(move |start| {
        let found = code.match_indices(start);
        found.filter_map(move |(at, _)| code.get(at + start.len()..))
    });
    let words = after.flat_map(|rest| {
        // One name, or a group of them in braces.
        let (names, ends): (&str, &[char]) = match rest.strip_prefix('{') {
            Some(group) => (group, &['}']),
            None => (rest, &['(', ';', ':', ',', ' ', ')', '>', '<']),
        };
        let names = names.split(ends).next().unwrap_or_default();
        names.split(',').map(str::trim)
    });
    let is_function = |word: &&str| word.starts_with(|first: char| first.is_ascii_lowercase());
    words
        .filter(is_function)
        .filter(|word| !UNGATED.contains(word))
}

/// Tells whether the macro is called by exactly this name.
fn calls(code: &str, printer: &str) -> bool {
    code.match_indices(printer).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn finds_imports_that_go_upwards() {
    for (name, text, count) in [
        ("src/relpath.rs", "use crate::fs::Dir;", 1),
        ("src/relpath.rs", "use super::fs::Dir;", 1),
        ("src/relpath.rs", "use crate::entry::Entry;", 0),
        ("src/exclude/rules.rs", "use super::pattern::Compiled;", 0),
        ("src/exclude/rules.rs", "use super::super::fs::Dir;", 1),
        (
            "src/transfer/wire/frame.rs",
            "use super::super::pass::Pass;",
            0,
        ),
        (
            "src/transfer/wire/frame.rs",
            "let a = crate::ssh::open();",
            1,
        ),
        (
            "src/transfer/mod.rs",
            "use crate::{\n    exclude::Rules,\n    ssh::{a, b},\n};",
            1,
        ),
        ("src/clone.rs", "use crate::ui::Screen;", 1),
        ("src/clone.rs", "use crate::{ssh, transfer};", 0),
        ("src/clone.rs", "use crate::settings::Settings;", 0),
        ("src/clone.rs", "use crate::cli::Cli;", 1),
        ("src/settings.rs", "use crate::cli::CloneArguments;", 0),
        ("src/settings/ask.rs", "use crate::clone::run;", 1),
        ("src/authorized_keys.rs", "use crate::ssh::RunKey;", 1),
        (
            "src/ui/mod.rs",
            "use crate::clone::x; fn f() { println!(); }",
            0,
        ),
        (
            "src/fs/dir.rs",
            "use rustix::fs::{Mode, makedev};\n// crate::ui",
            0,
        ),
        ("src/fs/dir.rs", "use rustix::fs::{Mode, openat};", 1),
        (
            "src/fs/dir.rs",
            "rustix::fs::openat(); rustix::io::read()",
            2,
        ),
        ("src/fs/dir.rs", "call!(fs::openat(Mode::empty()))", 0),
        ("src/ssh/mod.rs", "use rustix::fs::openat;", 1),
        ("src/ssh/mod.rs", "use rustix::{fs::openat, io};", 1),
        ("src/ssh/mod.rs", "use rustix::{io, process};", 0),
        ("src/clone.rs", "fn f() { eprintln!(); }", 1),
        ("src/exit.rs", "use std::fs::File;", 1),
        ("src/novel.rs", "fn f() {}", 1),
        (
            "src/relpath.rs",
            "// use crate::fs\n#[cfg(test)]\nmod tests {\n    use crate::fs;\n}",
            0,
        ),
    ] {
        assert_eq!(check(name, text).len(), count, "{name}: {text}");
    }
}
