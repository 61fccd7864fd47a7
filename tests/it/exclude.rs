//! Patterns against the real rsync: where the documentation says that both agree, they do.
//!
//! rsync decides in a dry run over a random tree; the same rules decide here. Knows nothing of
//! the engine.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use instancesync::exclude::{Rules, Verdict, parse_file};
use instancesync::relpath::RelPath;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// A tree: paths of files and, with a slash at the end, of directories.
fn make_tree(root: &Path, paths: &[String]) {
    for path in paths {
        let full = root.join(path);
        let directory = if path.ends_with('/') {
            full.as_path()
        } else {
            full.parent().unwrap()
        };
        // Random paths collide: a file where another wants a directory simply stays.
        if fs::create_dir_all(directory).is_ok() && !path.ends_with('/') && !full.exists() {
            fs::write(&full, "x").unwrap();
        }
    }
}

fn run_rsync(rules: &str, arguments: &[&str], from: &Path, to: &Path) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("rules");
    fs::write(&file, rules).unwrap();
    let output = Command::new("rsync")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("LC_ALL", "C")
        .args(["-r", "--dry-run", "--8-bit-output"])
        .args(arguments)
        .arg(format!("--exclude-from={}", file.display()))
        .arg(format!("{}/", from.display()))
        .arg(format!("{}/", to.display()))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{rules}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What rsync would copy; directories end in a slash.
fn rsync_copies(tree: &Path, rules: &str) -> BTreeSet<String> {
    let empty = tempfile::tempdir().unwrap();
    run_rsync(rules, &["--out-format=%n"], tree, empty.path())
        .into_iter()
        .filter(|line| line != "./")
        .collect()
}

/// Which files rsync would delete from a target whose source is empty.
fn rsync_deletes(tree: &Path, rules: &str) -> BTreeSet<String> {
    let empty = tempfile::tempdir().unwrap();
    run_rsync(
        rules,
        &["--delete", "--out-format=%i %n"],
        empty.path(),
        tree,
    )
    .into_iter()
    .filter_map(|line| line.strip_prefix("*deleting   ").map(str::to_owned))
    .filter(|name| !name.ends_with('/'))
    .collect()
}

fn relative(tree: &Path, path: &Path) -> RelPath {
    RelPath::new(path.strip_prefix(tree).unwrap().as_os_str().as_bytes()).unwrap()
}

/// What our rules would copy, by a walk that prunes.
fn rules_copy(tree: &Path, rules: &Rules) -> BTreeSet<String> {
    let mut copied = BTreeSet::new();
    let walk = walkdir::WalkDir::new(tree).min_depth(1).into_iter();
    let walk = walk.filter_entry(|entry| {
        let path = relative(tree, entry.path());
        rules.decide(&path, entry.file_type().is_dir()).verdict == Verdict::Copy
    });
    for entry in walk.map(Result::unwrap) {
        let mut name = String::from_utf8(relative(tree, entry.path()).into()).unwrap();
        if entry.file_type().is_dir() {
            name.push('/');
        }
        copied.insert(name);
    }
    copied
}

/// Which files nothing protects, asking for each path alone.
fn rules_leave_unprotected(tree: &Path, rules: &Rules) -> BTreeSet<String> {
    walkdir::WalkDir::new(tree)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| relative(tree, entry.path()))
        .filter(|path| !rules.decide_deep(path, false).verdict.protects())
        .map(|path| String::from_utf8(path.into()).unwrap())
        .collect()
}

/// Tells by name what the two see differently.
fn compare(tree: &Path, text: &str) -> Result<(), String> {
    let rules = Rules::new(parse_file("rules", text.as_bytes()).unwrap()).unwrap();
    let (ours, theirs) = (rules_copy(tree, &rules), rsync_copies(tree, text));
    if ours != theirs {
        return Err(format!(
            "rules:\n{text}copied by instancesync: {ours:?}\ncopied by rsync: {theirs:?}"
        ));
    }
    let (ours, theirs) = (
        rules_leave_unprotected(tree, &rules),
        rsync_deletes(tree, text),
    );
    if ours != theirs {
        return Err(format!(
            "rules:\n{text}deleted by instancesync: {ours:?}\ndeleted by rsync: {theirs:?}"
        ));
    }
    Ok(())
}

/// Few letters and short names, so that random patterns hit random paths.
fn a_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => "[ab]\\.[cC]",
        1 => "\\.[ab]",
        1 => "[a\\-\\]! é,]{1,2}",
    ]
}

fn a_path() -> impl Strategy<Value = String> {
    (prop::collection::vec(a_name(), 1..4), any::<bool>()).prop_map(|(parts, is_directory)| {
        format!("{}{}", parts.join("/"), if is_directory { "/" } else { "" })
    })
}

/// One part of a pattern, of the kinds that mean the same to both.
fn a_part() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => a_name(),
        1 => Just("*".to_owned()),
        3 => "([ab?*]|\\*\\.|\\[ab\\]|\\[!a\\]|\\[\\^-b\\]|\\[\\]a\\]|\\[+-b\\]){1,3}",
    ]
    .prop_filter("stars in a row are their own kind", |part| {
        !part.contains("**")
    })
}

fn a_pattern() -> impl Strategy<Value = String> {
    let body = prop::collection::vec(a_part(), 1..4).prop_map(|parts| parts.join("/"));
    let lead = prop_oneof![3 => Just(""), 3 => Just("/"), 1 => Just("**/"), 1 => Just("**")];
    let tail = prop_oneof![
        5 => Just(""), 2 => Just("/"), 1 => Just("/*"), 1 => Just("/**"), 1 => Just("/***"),
        1 => Just("**a"), 1 => Just("**"),
    ];
    (lead, body, tail)
        .prop_map(|(lead, body, tail)| format!("{lead}{body}{tail}"))
        .prop_filter("more stars than the case is about", |pattern| {
            !pattern.trim_end_matches("/***").contains("***")
        })
}

fn some_rules() -> impl Strategy<Value = String> {
    let rule = (
        prop_oneof![3 => Just("- "), 2 => Just("+ "), 1 => Just("")],
        a_pattern(),
    )
        .prop_filter("a prefix of its own", |(sign, pattern)| {
            !(sign.is_empty() && pattern.starts_with(['-', '+', '!', '#', ';', ' ']))
        })
        .prop_map(|(sign, pattern)| format!("{sign}{pattern}\n"));
    prop::collection::vec(rule, 1..5).prop_map(|rules| rules.concat())
}

#[test]
fn agrees_with_rsync_on_random_trees() {
    let config = Config {
        cases: 25,
        failure_persistence: None,
        ..Config::default()
    };
    let inputs = (
        prop::collection::vec(a_path(), 10..60),
        prop::collection::vec(some_rules(), 3),
    );
    TestRunner::new(config)
        .run(&inputs, |(paths, rule_sets)| {
            let tree = tempfile::tempdir().unwrap();
            make_tree(tree.path(), &paths);
            for rules in &rule_sets {
                compare(tree.path(), rules).map_err(TestCaseError::fail)?;
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn agrees_with_rsync_on_the_documented_examples() {
    let tree = tempfile::tempdir().unwrap();
    let paths = [
        "etc/a.conf",
        "etc/b.txt",
        "etc/ssh/key",
        "etc/ssh/x.conf",
        "var/cache/a/x",
        "var/cache/b",
        "home/u/.cache/f",
        "home/u/node_modules/m/f",
        "a*b",
        "aXb",
        "[x]",
        "x",
        "dir",
        "sub/dir/f",
        "sub/dir/g/h",
        "empty/",
        "a\\b",
    ]
    .map(str::to_owned);
    make_tree(tree.path(), &paths);
    for rules in [
        "node_modules\n",
        "/var/cache/*\n",
        "+ */\n+ *.conf\n- *\n",
        "+ *.conf\n- *\n",
        "+ /etc/\n+ /etc/ssh/***\n- *\n",
        "dir/***\n",
        "dir/*\n",
        "dir/**\n",
        "dir/\n",
        "a\\*b*\n",
        "\\[x]*\n",
        "[[]x[]]\n",
        "[\\[]*\n",
        "a\\\\*\n",
        "# all\n; of it\n\n*\n",
        "u/.cache\n",
        "/u/.cache\n",
        "cache/**/x\n",
    ] {
        compare(tree.path(), rules).unwrap_or_else(|difference| panic!("{difference}"));
    }
}

/// The differences that `docs/patterns.md` admits. A line that fails here is a difference that
/// has gone: change the document with it.
#[test]
fn differs_from_rsync_where_the_documentation_says_so() {
    let tree = tempfile::tempdir().unwrap();
    let paths = ["a/b", "a/x/b", "x.c", "x.{c,h}", "p\\q", "pq", "b"].map(str::to_owned);
    make_tree(tree.path(), &paths);
    for rules in ["/a/**/b\n", "/**/b\n", "x.{c,h}\n", "p\\q\n"] {
        let compiled = Rules::new(parse_file("rules", rules.as_bytes()).unwrap()).unwrap();
        assert_ne!(
            rules_copy(tree.path(), &compiled),
            rsync_copies(tree.path(), rules),
            "{rules}"
        );
    }
}
