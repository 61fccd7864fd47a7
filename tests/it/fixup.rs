//! The mergers of a whole-system clone: tables of before and after, what must never come out, and
//! edits applied to real trees.

#[path = "fixup/accounts.rs"]
mod accounts;
#[path = "fixup/application.rs"]
mod application;
#[path = "fixup/case.rs"]
mod case;
#[path = "fixup/properties.rs"]
mod properties;
#[path = "fixup/staged.rs"]
mod staged;

use std::path::{Path, PathBuf};

use case::{Case, applied, print};
use instancesync::merger::Merger;

const AFTER: &str = "\n=== after\n";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/fixup")
}

fn cases() -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(directory()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "case")
        })
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_case_comes_out_as_written() {
    let mut wrong = Vec::new();
    for (path, text) in cases() {
        let (before, expected) = text.split_once(AFTER).unwrap_or((text.trim_end(), ""));
        let found = print(&Case::parse(before).merge());
        if std::env::var("INSTANCESYNC_GOLDEN").is_ok_and(|value| value == "write") {
            std::fs::write(&path, format!("{before}{AFTER}{found}")).unwrap();
        } else if found != expected {
            wrong.push(format!(
                "{}: expected\n{expected}\nfound\n{found}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn merging_what_came_out_changes_nothing() {
    for (path, text) in cases() {
        let case = Case::parse(text.split(AFTER).next().unwrap());
        let merged = case.merge();
        let after = case.after(&merged);
        let again = after.merge();
        let unchanged = applied(&after.versions.target, &again.edits);
        assert_eq!(unchanged, after.versions.target, "{}", path.display());
        assert!(again.owners.is_empty(), "{}", path.display());
    }
}

#[test]
fn every_merger_has_a_case_or_nothing_to_do() {
    let used: Vec<Merger> = cases()
        .iter()
        .flat_map(|(_, text)| Case::parse(text.split(AFTER).next().unwrap()).mergers)
        .collect();
    let idle = [Merger::ResolvConf, Merger::Storage, Merger::Initramfs];
    for merger in Merger::ALL {
        assert_ne!(used.contains(&merger), idle.contains(&merger), "{merger}");
    }
}
