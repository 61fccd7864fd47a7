//! Which packages go, over small made-up databases.

use std::convert::Infallible;

use super::{Choice, Graph, Package, PackagePlan, trim_parentheses, words};
use crate::cleanup::profile::{CleanupProfile, Generation};
use crate::cleanup::rpm::OpenNeed;

const CHOICE: Choice = Choice {
    generation: Some(Generation::Two),
    stays_amazon: false,
    is_forced: false,
};

/// Reads `name: needs, needs; provides, /files`.
fn packages(lines: &[&str]) -> Vec<Package> {
    let items = |text: &str| -> Vec<String> {
        let items = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        items.map(str::to_owned).collect()
    };
    let package = |line: &&str| {
        let (name, rest) = line.split_once(':').unwrap_or((line, ""));
        let (needs, provides) = rest.split_once(';').unwrap_or((rest, ""));
        let (files, mut provides): (Vec<_>, Vec<_>) = items(provides)
            .into_iter()
            .partition(|it| it.starts_with('/'));
        provides.push(name.to_owned());
        Package {
            name: name.to_owned(),
            version: "1".into(),
            release: "1".into(),
            requires: items(needs),
            provides,
            files,
            ..Package::default()
        }
    };
    lines.iter().map(package).collect()
}

fn choose(lines: &[&str], choice: Choice, needs: &[OpenNeed]) -> PackagePlan {
    let packages = packages(lines);
    let profile = CleanupProfile::shipped().unwrap();
    let graph = Graph::new(&packages, &profile);
    let ask = |ids: &[String]| {
        let missing = |need: &&OpenNeed| ids.contains(&format!("{}-1-1", need.capability));
        Ok::<_, Infallible>(needs.iter().filter(missing).cloned().collect())
    };
    let Ok(plan) = graph.choose(&profile, choice, ask);
    plan
}

fn removed(plan: &PackagePlan) -> Vec<&str> {
    let names = plan.remove.iter().map(|removal| &removal.package[..]);
    names.map(|id| id.trim_end_matches("-1-1")).collect()
}

#[test]
fn removes_by_the_names_that_are_there() {
    let lines = ["system-release", "awscli", "vim: awscli", "aws-own-thing"];
    let plan = choose(&lines, CHOICE, &[]);
    assert_eq!(removed(&plan), ["system-release", "awscli"]);
    assert!(plan.kept.is_empty());
}

#[test]
fn keeps_what_sshd_stands_on_however_far_away() {
    let lines = [
        "openssh-server: libwrap",
        "tcp: libodd; libwrap",
        "docker: ; libodd",
        "awscli",
    ];
    let plan = choose(&lines, CHOICE, &[]);
    assert_eq!(removed(&plan), ["awscli"]);
    assert_eq!(plan.kept[0].package, "docker-1-1");
    assert_eq!(plan.kept[0].because, "tcp needs libodd");
    let forced = Choice {
        is_forced: true,
        ..CHOICE
    };
    assert_eq!(removed(&choose(&lines, forced, &[])), ["docker", "awscli"]);
}

#[test]
fn another_provider_is_enough_but_two_that_go_are_not() {
    let lines = [
        "glibc: glibc-langpack",
        "glibc-all-langpacks: ; glibc-langpack",
        "glibc-minimal-langpack: ; glibc-langpack",
    ];
    assert!(removed(&choose(&lines, CHOICE, &[])).is_empty());
    let lines = [&lines[..], &["glibc-langpack-en: ; glibc-langpack"]].concat();
    assert_eq!(
        removed(&choose(&lines, CHOICE, &[])),
        ["glibc-all-langpacks", "glibc-minimal-langpack"]
    );
}

#[test]
fn a_release_package_goes_unless_more_than_its_name_is_needed() {
    let lines = ["yum: setup", "setup: system-release", "system-release"];
    assert_eq!(removed(&choose(&lines, CHOICE, &[])), ["system-release"]);
    let lines = [
        "yum: setup",
        "setup: system-release, /etc/odd",
        "system-release: ; /etc/odd",
    ];
    let plan = choose(&lines, CHOICE, &[]);
    assert!(removed(&plan).is_empty());
    assert_eq!(plan.kept[0].because, "setup needs /etc/odd");
}

#[test]
fn the_owner_of_init_stays() {
    let choice = Choice {
        generation: Some(Generation::One),
        ..CHOICE
    };
    let plan = choose(&["sysvinit: ; /sbin/init", "sysvinit-tools"], choice, &[]);
    assert_eq!(removed(&plan), ["sysvinit-tools"]);
    assert_eq!(plan.kept[0].because, "it owns /sbin/init");
}

#[test]
fn a_path_is_the_same_on_both_sides_of_the_link() {
    let lines = ["openssh-server: /sbin/odd", "docker: ; /usr/sbin/odd"];
    let plan = choose(&lines, CHOICE, &[]);
    assert_eq!(plan.kept[0].because, "openssh-server needs /sbin/odd");
}

#[test]
fn rpm_has_the_last_word() {
    // The graph sees a provider; rpm knows that its version is too old.
    let lines = [
        "openssh-server: awscli",
        "awscli",
        "old: ; awscli",
        "docker",
    ];
    let need = |package: &str| OpenNeed {
        capability: "awscli".into(),
        package: package.into(),
    };
    let plan = choose(&lines, CHOICE, &[need("openssh-server-1-1")]);
    assert_eq!(removed(&plan), ["docker"]);
    assert_eq!(plan.kept[0].package, "awscli-1-1");
    let plan = choose(&lines, CHOICE, &[need("vim-1-1")]);
    assert_eq!(removed(&plan), ["awscli", "docker"]);
    assert_eq!(plan.broken[0].packages, ["vim-1-1"]);
}

#[test]
fn release_and_foreign_generations_stay_where_they_belong() {
    let lines = ["system-release", "awscli", "perl-IO-Zlib", "docker"];
    let stays = Choice {
        stays_amazon: true,
        ..CHOICE
    };
    assert_eq!(removed(&choose(&lines, stays, &[])), ["awscli"]);
    let unknown = Choice {
        generation: None,
        ..CHOICE
    };
    assert_eq!(removed(&choose(&lines, unknown, &[])).len(), 4);
}

#[test]
fn a_rich_requirement_counts_as_all_its_words() {
    assert_eq!(
        words("(libc.so.6(GLIBC_2.4)(64bit) if (foo or bar >= 2))"),
        [
            "libc.so.6(GLIBC_2.4)(64bit)",
            "if",
            "foo",
            "or",
            "bar",
            ">=",
            "2"
        ]
    );
    assert_eq!(words("libc.so.6(X)"), ["libc.so.6(X)"]);
    assert!(words("rpmlib(PayloadIsXz)").is_empty());
    assert_eq!(trim_parentheses("((a(b)))"), "a(b)");
}
