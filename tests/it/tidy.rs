//! The rules of the repository, as tests: sizes, layers, names, documents that name what is there.
//!
//! Each rule is a function from text to complaints; the last test plants a breach of every one.
//! A rule about a file that does not exist yet holds. Knows nothing of what the code does.

mod layers;
mod source;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::{functions, without_tests};

/// LIMIT: lines of a source file without its tests (CONTRIBUTING: one screen of thought).
const MAX_FILE_LINES: usize = 400;
/// LIMIT: lines of a function, as in clippy.toml.
const MAX_FUNCTION_LINES: usize = 80;

/// Words that say nothing, or the opposite on the other machine, in the name of a file.
const BANNED_FILE_WORDS: [&str; 14] = [
    "utils", "util", "misc", "common", "helpers", "helper", "local", "remote", "client", "server",
    "host", "hosts", "dest", "dst",
];
/// The same for what the code declares; the host of an address is the field's own word.
const BANNED_WORDS: [&str; 7] = ["local", "remote", "client", "server", "dest", "dst", "misc"];
/// Names that the SSH library gives: its traits must be implemented and its values called
/// something; and the SSH server, which has no other name. Each in one file only.
const FOREIGN_NAMES: [(&str, &str); 3] = [
    ("src/facts/identity.rs", "SshServer"),
    ("src/ssh/session.rs", "check_server_key"),
    ("src/ssh/auth/keys.rs", "client"),
];
/// File names in which the field's own word is right: `known_hosts`, `host_key`.
const ALLOWED_FILE_NAMES: [&str; 3] = ["known_hosts", "host_key", "host_keys"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files below a directory of the repository, sorted; none where it does not exist.
fn files_below(directory: &str) -> Vec<String> {
    let start = root().join(directory);
    if !start.exists() {
        return Vec::new();
    }
    walkdir::WalkDir::new(start)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| name_of(entry.path()))
        .collect()
}

fn name_of(path: &Path) -> String {
    let path = path.strip_prefix(root()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn rust_files(directories: &[&str]) -> Vec<String> {
    let all = directories.iter().flat_map(|name| files_below(name));
    all.filter(|name| name.ends_with(".rs")).collect()
}

/// Returns the text of a file of the repository, or `None` where it does not exist yet.
fn text_of(name: &str) -> Option<String> {
    let bytes = std::fs::read(root().join(name)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// Applies a rule to each file and fails with every complaint at once.
fn check_each(names: &[String], rule: impl Fn(&str, &str) -> Vec<String>) {
    let complaints: Vec<String> = names
        .iter()
        .filter_map(|name| Some((name, text_of(name)?)))
        .flat_map(|(name, text)| {
            let found = rule(name, &text).into_iter();
            found.map(move |complaint| format!("{name}: {complaint}"))
        })
        .collect();
    assert_nothing(&complaints);
}

fn assert_nothing(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn check_size(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let line_count = without_tests(text).len();
    if name.starts_with("src/") && !is_test_file(name) && line_count > MAX_FILE_LINES {
        found.push(format!("{line_count} lines, more than {MAX_FILE_LINES}"));
    }
    for (function, line_count) in functions(text) {
        if line_count > MAX_FUNCTION_LINES {
            found.push(format!(
                "fn {function} has {line_count} lines, more than {MAX_FUNCTION_LINES}"
            ));
        }
    }
    found
}

fn check_opening(_name: &str, text: &str) -> Vec<String> {
    let opens = text.starts_with("//! ");
    let complaint = (!opens).then(|| "does not open with //! and what it is for".to_owned());
    complaint.into_iter().collect()
}

fn check_file_name(name: &str, _text: &str) -> Vec<String> {
    let words = |stem: &str| -> Vec<String> {
        let words = stem.split(['_', '-', '.']).map(str::to_owned);
        words
            .filter(|word| BANNED_FILE_WORDS.contains(&word.as_str()))
            .collect()
    };
    name.split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .filter(|part| !ALLOWED_FILE_NAMES.contains(part))
        .flat_map(words)
        .map(|word| format!("'{word}' is banned from names of files"))
        .collect()
}

fn check_declared_names(name: &str, text: &str) -> Vec<String> {
    if is_test_file(name) {
        return Vec::new();
    }
    source::declared_names(&without_tests(text).join("\n"))
        .into_iter()
        .filter(|declared| !FOREIGN_NAMES.contains(&(name, declared.as_str())))
        .filter(|declared| {
            let words = source::words(declared);
            words
                .iter()
                .any(|word| BANNED_WORDS.contains(&word.as_str()))
        })
        .map(|declared| format!("'{declared}': say source, target, sender, receiver or agent"))
        .collect()
}

fn check_open_points(_name: &str, text: &str) -> Vec<String> {
    // Written in two halves: this file is searched as well.
    [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ]
    .into_iter()
    .filter(|mark| text.contains(mark))
    .map(|mark| format!("{mark}: make it an issue or do it"))
    .collect()
}

/// Complains of each `src/` path in a document that `exists` denies.
fn check_named_paths(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    source::paths_below_src(text)
        .into_iter()
        .filter(|path| !exists(path))
        .map(|path| format!("names {path}, which does not exist"))
        .collect()
}

/// Complains of each source file that the map does not name by its path.
fn check_map(map: &str, source_files: &[String]) -> Vec<String> {
    source_files
        .iter()
        .filter(|name| !is_test_file(name))
        .filter(|name| !source::names_path(map, name.trim_start_matches("src/")))
        .map(|name| format!("docs/architecture.md does not name {name}"))
        .collect()
}

fn check_tags(protocol: &str, code: &str) -> Vec<String> {
    let documented = source::document_tags(protocol);
    let written = source::code_tags(code);
    let code_only = written.difference(&documented);
    let document_only = documented.difference(&written);
    code_only
        .map(|tag| format!("WIRE[{tag}] is not in docs/protocol.md"))
        .chain(document_only.map(|tag| format!("[{tag}] of docs/protocol.md is not in the code")))
        .collect()
}

/// Complains of a test file that `main.rs` does not name or that tests nothing.
fn check_test_file(stem: &str, text: Option<&str>, main: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !main.lines().any(|line| line == format!("mod {stem};")) {
        found.push(format!("tests/it/main.rs does not name {stem}"));
    }
    if text.is_some_and(|text| !text.contains("#[test]")) {
        found.push(format!("tests/it/{stem}.rs has no test"));
    }
    found
}

fn check_changelog(changelog: &str, version: &str) -> Vec<String> {
    let has = changelog
        .lines()
        .filter(|line| line.starts_with("## "))
        .any(|line| line.split([' ', '[', ']', 'v']).any(|word| word == version));
    let complaint = (!has).then(|| format!("CHANGELOG.md has no heading for {version}"));
    complaint.into_iter().collect()
}

#[test]
fn files_and_functions_stay_small() {
    check_each(&rust_files(&["src", "tests/it"]), check_size);
}

#[test]
fn every_file_says_what_it_is_for() {
    check_each(&rust_files(&["src", "tests"]), check_opening);
}

#[test]
fn modules_import_downwards_only() {
    check_each(&rust_files(&["src"]), layers::check);
}

#[test]
fn names_say_what_they_mean() {
    let names = [
        files_below("src"),
        files_below("tests"),
        files_below("scripts"),
    ]
    .concat();
    check_each(&names, check_file_name);
    check_each(&rust_files(&["src"]), check_declared_names);
}

#[test]
fn no_open_point_hides_in_a_comment() {
    let directories = ["src", "tests", "scripts", "docs", "profiles", ".ci"];
    let mut names: Vec<String> = directories.iter().flat_map(|d| files_below(d)).collect();
    names.extend(["README.md", "CHANGELOG.md", "Cargo.toml"].map(str::to_owned));
    check_each(&names, check_open_points);
}

#[test]
fn documents_name_files_that_exist() {
    let mut names: Vec<String> = files_below("docs")
        .into_iter()
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.push("README.md".to_owned());
    check_each(&names, |_, text| {
        check_named_paths(text, |path| root().join(path).exists())
    });
}

#[test]
fn the_map_names_every_source_file() {
    if let Some(map) = text_of("docs/architecture.md") {
        assert_nothing(&check_map(&map, &rust_files(&["src"])));
    }
}

#[test]
fn protocol_and_code_carry_the_same_tags() {
    if let Some(protocol) = text_of("docs/protocol.md") {
        let names = rust_files(&["src"]);
        let code: Vec<String> = names.iter().filter_map(|name| text_of(name)).collect();
        assert_nothing(&check_tags(&protocol, &code.join("\n")));
    }
}

#[test]
fn every_test_file_is_run() {
    let main = text_of("tests/it/main.rs").unwrap();
    let mut complaints = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        // The harness has no test of its own; `main.rs` is the list.
        let text = (is_rust && stem != "support").then(|| text_with_parts(stem));
        // What insta recorded is data.
        let is_data = stem == "snapshots";
        if stem != "main" && !is_data && (is_rust || path.is_dir()) {
            complaints.extend(check_test_file(stem, text.as_deref(), &main));
        }
    }
    assert_nothing(&complaints);
}

/// Returns the text of a test module and of the files in the directory of its name.
fn text_with_parts(stem: &str) -> String {
    let parts = files_below(&format!("tests/it/{stem}"));
    let names = std::iter::once(format!("tests/it/{stem}.rs")).chain(parts);
    names.filter_map(|name| text_of(&name)).collect()
}

#[test]
fn scripts_can_be_run() {
    let mut complaints = Vec::new();
    for name in [files_below("scripts"), files_below(".ci")].concat() {
        complaints.extend(check_script(&root().join(&name)));
    }
    assert_nothing(&complaints);
}

/// Complains of a script that cannot be executed or that its shell cannot read.
fn check_script(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let bytes = std::fs::read(path).unwrap();
    let first_line = String::from_utf8_lossy(&bytes);
    let first_line = first_line.lines().next().unwrap_or("").to_owned();
    if !first_line.starts_with("#!") {
        // What is no program: a README, a table, a part that a script reads.
        if path.extension().is_none() {
            found.push(format!("{}: has no #! line", path.display()));
        }
        return found;
    }
    if std::fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0o111 {
        found.push(format!("{}: is not executable", path.display()));
    }
    let shell = ["bash", "sh"].into_iter().find(|s| first_line.ends_with(s));
    if let Some(shell) = shell {
        let output = Command::new(shell).arg("-n").arg(path).output().unwrap();
        if !output.status.success() {
            found.push(String::from_utf8_lossy(&output.stderr).into_owned());
        }
    }
    found
}

#[test]
fn the_bench_explains_every_word() {
    let output = Command::new(root().join("scripts/bench"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    let parts = ["workloads", "contenders"].map(|name| format!("scripts/lib/bench/{name}.py"));
    let code: String = parts.iter().filter_map(|name| text_of(name)).collect();
    assert_nothing(&check_bench_words(&help, &code));
}

/// Complains of workloads and contenders that the help of the bench does not name.
fn check_bench_words(help: &str, code: &str) -> Vec<String> {
    let named: BTreeSet<&str> = help.split([' ', ',', '\n']).collect();
    code.lines()
        .filter_map(bench_word)
        .filter(|word| !named.contains(word))
        .map(|word| format!("scripts/bench --help does not name '{word}'"))
        .collect()
}

/// Returns the name in a line like `"small": small,` or `Contender("rsync", rsync),`.
fn bench_word(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (word, _) = match line.strip_prefix("Contender(\"") {
        Some(contender) => contender.split_once("\", ")?,
        None => line.strip_prefix('"')?.split_once("\": ")?,
    };
    Some(word)
}

#[test]
fn changelog_has_this_version() {
    if let Some(changelog) = text_of("CHANGELOG.md") {
        assert_nothing(&check_changelog(&changelog, env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn each_rule_finds_a_planted_breach() {
    let long_function = format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(79));
    let long_tests = format!(
        "#[cfg(test)]\nmod tests {{\n{}}}\n",
        "    // x\n".repeat(500)
    );
    assert_eq!(check_size("src/a.rs", &long_function).len(), 1);
    assert_eq!(check_size("src/a.rs", &"// x\n".repeat(401)).len(), 1);
    assert_eq!(check_size("src/a.rs", &long_tests), [""; 0]);
    assert_eq!(check_opening("", "use a;\n").len(), 1);
    assert_eq!(check_file_name("src/fs/common.rs", "").len(), 1);
    assert_eq!(check_file_name("src/ssh/remote_file.rs", "").len(), 1);
    assert_eq!(check_file_name("src/ssh/known_hosts.rs", ""), [""; 0]);
    assert_eq!(
        check_declared_names("src/a.rs", "let remote_path = 1;").len(),
        1
    );
    assert_eq!(
        check_declared_names("src/a.rs", "struct HttpClient;").len(),
        1
    );
    assert_eq!(check_declared_names("src/a.rs", "let x = client;"), [""; 0]);
    assert_eq!(
        check_declared_names("src/a.rs", "fn check_server_key() {}").len(),
        1
    );
    assert_eq!(check_open_points("", concat!("// TO", "DO later")).len(), 1);
    assert_eq!(check_named_paths("see `src/gone.rs`.", |_| false).len(), 1);
    assert_eq!(check_map("fs/dir.rs", &["src/dir.rs".to_owned()]).len(), 1);
    assert_eq!(check_map("`dir.rs`", &["src/dir.rs".to_owned()]), [""; 0]);
    assert_eq!(check_tags("[a] [x](y) u[b]", "WIRE[b]").len(), 2);
    assert_eq!(check_test_file("a", Some("#[test]"), "mod b;").len(), 1);
    assert_eq!(check_test_file("a", Some("fn x() {}"), "mod a;").len(), 1);
    let code = "    \"big\": big,\n    Contender(\"tar\", tar),\n";
    assert_eq!(check_bench_words("  small  tar", code).len(), 1);
    assert_eq!(check_bench_words("  big  star", code).len(), 1);
    assert_eq!(check_changelog("## 0.1.0\n", "0.2.0").len(), 1);
    assert_eq!(check_changelog("## [0.2.0] - today\n", "0.2.0"), [""; 0]);
    let scratch = tempfile::tempdir().unwrap();
    let script: PathBuf = scratch.path().join("script");
    std::fs::write(&script, "#!/bin/sh\nif\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(check_script(&script).len(), 2);
}

#[test]
fn the_layer_table_names_no_module_twice() {
    let names = layers::modules();
    let unique: BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}
