//! The clean-up of Amazon Linux on roots with a real RPM database: what goes, what stays, that
//! a second run does nothing, that undo restores, that a dry run and a refusal change nothing.

mod machines;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use instancesync::cleanup::{
    self, CleanupReport, CleanupSettings, Ending, Order, Release, Report, UndoReport, Unwatched,
};
use instancesync::exit::ExitCode;
use instancesync::failure::Failure;
use instancesync::prompter::NobodyThere;
use instancesync::session::Session;
use instancesync::transfer::wire::link::LinkSettings;
use instancesync::ui::cleanup as words;
use machines::{AL1, AL2, AL2023, Machine};

use crate::support::manifest::Manifest;
use crate::support::rpm::{installed, make_root};
use crate::support::{Ability, can_run};

const NEEDS: &[Ability] = &[Ability::Root, Ability::Rpm];

fn settings(root: &Path) -> CleanupSettings {
    CleanupSettings {
        root: root.to_owned(),
        become_release: None,
        dry_run: false,
        yes: true,
        force: false,
    }
}

fn clean(settings: &CleanupSettings) -> Result<CleanupReport, Failure> {
    cleanup::run(settings, &NobodyThere, &Unwatched)
}

fn undo(settings: &CleanupSettings) -> UndoReport {
    cleanup::undo(settings, &NobodyThere, &Unwatched).unwrap()
}

/// Returns a line for each path with everything about it, but the database and the copies,
/// which answering a question may touch, and the times of directories.
fn lines(root: &Path) -> BTreeSet<String> {
    let manifest = Manifest::of(root).to_string();
    let lines = manifest.lines().filter(|line| {
        !["./var/lib/rpm", "./var/lib/instancesync", "./ "]
            .iter()
            .any(|start| line.starts_with(start))
    });
    lines
        .map(|line| match line.contains(" type=directory") {
            true => {
                let fields = line.split(' ').filter(|field| !field.starts_with("mtime="));
                fields.collect::<Vec<_>>().join(" ")
            }
            false => line.to_owned(),
        })
        .collect()
}

/// Returns the lines without those of some paths.
fn without(lines: &BTreeSet<String>, paths: &[&str]) -> BTreeSet<String> {
    let is_meant = |line: &&String| {
        !paths
            .iter()
            .any(|path| line.starts_with(&format!(".{path} ")))
    };
    lines.iter().filter(is_meant).cloned().collect()
}

#[track_caller]
fn assert_same(before: &BTreeSet<String>, after: &BTreeSet<String>, context: &str) {
    let missing: Vec<_> = before.difference(after).collect();
    let new: Vec<_> = after.difference(before).collect();
    assert!(
        missing.is_empty() && new.is_empty(),
        "{context}: missing {missing:#?}, new {new:#?}"
    );
}

fn text_of(root: &Path, path: &str) -> Option<String> {
    let path = root.join(path.trim_start_matches('/'));
    match fs::read_link(&path) {
        Ok(target) => Some(format!("-> {}", target.display())),
        Err(_) => fs::read_to_string(&path).ok(),
    }
}

/// The agent runs in this process here; tests/it/system.rs orders over a real sshd.
#[test]
fn an_order_over_the_wire_does_the_same() {
    if !can_run("an_order_over_the_wire_does_the_same", NEEDS) {
        return;
    }
    let place = Place::of(&AL2);
    let session = Session::in_process(LinkSettings::default()).unwrap();
    let order = |dry_run, undo| {
        let settings = CleanupSettings {
            dry_run,
            become_release: Some(Release::parse("centos:7")),
            ..settings(&place.root)
        };
        session.clean_up(&Order { undo, settings })
    };
    let before = lines(&place.root);
    let planned = order(true, false).unwrap();
    let Report::Cleanup(planned) = planned else {
        panic!("no plan: {planned:?}")
    };
    assert_same(&before, &lines(&place.root), "the plan");
    let done = order(false, false).unwrap();
    let Report::Cleanup(done) = done else {
        panic!("not done: {done:?}")
    };
    assert_eq!((done.ending, &done.plan), (Ending::Done, &planned.plan));
    assert!(
        matches!(order(false, true), Ok(Report::Undo(undone)) if undone.ending == Ending::Done)
    );
    let nowhere = Order {
        undo: false,
        settings: settings(Path::new("/nonexistent")),
    };
    let failure = session.clean_up(&nowhere).unwrap_err();
    assert!(failure.what.starts_with("target: "), "{failure}");
    session.close();
}

struct Place {
    _scratch: tempfile::TempDir,
    root: PathBuf,
}

impl Place {
    fn of(machine: &Machine) -> Place {
        let scratch = tempfile::tempdir().unwrap();
        let root = make_root(&machine.recipe, scratch.path());
        let config = root.join("etc/ssh/sshd_config");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        xattr::set(&config, "user.note", b"mine").unwrap();
        Place {
            _scratch: scratch,
            root,
        }
    }
}

fn cleans_repeats_and_undoes(machine: &Machine) {
    let place = Place::of(machine);
    let settings = settings(&place.root);
    let before = lines(&place.root);
    let packages_before = installed(&place.root);

    let report = clean(&settings).unwrap();
    assert_eq!(report.exit(), ExitCode::Complete, "{report:#?}");
    assert_eq!(report.ending, Ending::Done);
    let generation = report.machine.generation.map(|it| it.to_string());
    assert_eq!(generation.as_deref(), Some(machine.generation));
    assert_eq!(report.plan.install, machine.install);
    let after = installed(&place.root);
    let removed: Vec<_> = packages_before
        .iter()
        .filter(|name| !after.contains(name))
        .collect();
    assert_eq!(removed, machine.removed);
    let mut kept: Vec<&str> = report
        .plan
        .packages
        .kept
        .iter()
        .filter_map(|kept| kept.package.rsplitn(3, '-').nth(2))
        .collect();
    kept.sort_unstable();
    assert_eq!(kept, machine.kept, "{:#?}", report.plan.packages.kept);
    for path in machine.gone {
        assert_eq!(text_of(&place.root, path), None, "{path} is still there");
    }
    for (path, text) in machine.texts {
        assert_eq!(text_of(&place.root, path).as_deref(), Some(*text), "{path}");
    }
    let config = place.root.join("etc/ssh/sshd_config");
    assert_eq!(
        config.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(xattr::get(&config, "user.note").unwrap().unwrap(), b"mine");

    let cleaned = lines(&place.root);
    let again = clean(&settings).unwrap();
    assert_eq!(again.ending, Ending::NothingToDo, "{:#?}", again.plan);
    assert_eq!(again.exit(), ExitCode::Complete);
    assert_eq!(words::ending(&again), "Nothing to do.\n");
    assert_same(&cleaned, &lines(&place.root), "second run");
    assert_eq!(installed(&place.root), after);

    let forced = CleanupSettings {
        force: true,
        ..settings
    };
    let undone = undo(&forced);
    assert_eq!(undone.exit(), ExitCode::Complete, "{undone:#?}");
    assert_eq!(undone.packages.len(), machine.removed.len());
    let expected = without(&before, machine.lost);
    let empty_directories = |lines: &BTreeSet<String>| -> BTreeSet<String> {
        let lines = lines
            .iter()
            .filter(|line| !line.contains(" type=directory"));
        lines.cloned().collect()
    };
    assert_same(
        &empty_directories(&expected),
        &empty_directories(&lines(&place.root)),
        "undo",
    );
    assert_eq!(undo(&forced).ending, Ending::NothingToDo);
}

#[test]
fn amazon_linux_1_is_cleaned_once_and_undone() {
    if can_run("amazon_linux_1_is_cleaned_once_and_undone", NEEDS) {
        cleans_repeats_and_undoes(&AL1);
    }
}

#[test]
fn amazon_linux_2_is_cleaned_once_and_undone() {
    if can_run("amazon_linux_2_is_cleaned_once_and_undone", NEEDS) {
        cleans_repeats_and_undoes(&AL2);
    }
}

#[test]
fn amazon_linux_2023_is_cleaned_once_and_undone() {
    if can_run("amazon_linux_2023_is_cleaned_once_and_undone", NEEDS) {
        cleans_repeats_and_undoes(&AL2023);
    }
}

#[test]
fn without_consent_and_in_a_dry_run_nothing_changes() {
    if !can_run("without_consent_and_in_a_dry_run_nothing_changes", NEEDS) {
        return;
    }
    let place = Place::of(&AL2);
    let before = lines(&place.root);
    let packages = installed(&place.root);
    let unasked = CleanupSettings {
        yes: false,
        ..settings(&place.root)
    };
    let failure = clean(&unasked).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused, "{failure:?}");
    let dry = CleanupSettings {
        dry_run: true,
        ..settings(&place.root)
    };
    let report = clean(&dry).unwrap();
    assert_eq!(report.ending, Ending::Planned);
    assert!(!report.plan.is_empty());
    assert_same(&before, &lines(&place.root), "dry run");
    assert_eq!(installed(&place.root), packages);
    assert!(!place.root.join("var/lib/instancesync").exists());
    assert_eq!(undo(&settings(&place.root)).ending, Ending::NothingToDo);
}

#[test]
fn the_plan_reads_well_and_is_data() {
    if !can_run("the_plan_reads_well_and_is_data", NEEDS) {
        return;
    }
    let place = Place::of(&AL2);
    let dry = CleanupSettings {
        dry_run: true,
        ..settings(&place.root)
    };
    let mut report = clean(&dry).unwrap();
    report.root = "/".into();
    let text = words::plan(&report);
    for line in text.lines() {
        let is_long = line.chars().count() > 80;
        // A name, or a line of a file, has the length that it has.
        assert!(!is_long || !line.trim_start().contains(' '), "{line}");
    }
    insta::assert_snapshot!(text);
    let data: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(data["machine"]["generation"], "2");
    assert_eq!(data["ending"], "planned");
    let files = data["plan"]["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["action"] == "mask"));
}

#[test]
fn protected_packages_go_by_force_only() {
    if !can_run("protected_packages_go_by_force_only", NEEDS) {
        return;
    }
    let place = Place::of(&AL1);
    let forced = CleanupSettings {
        force: true,
        ..settings(&place.root)
    };
    let report = clean(&forced).unwrap();
    assert!(report.plan.packages.kept.is_empty());
    let left = installed(&place.root);
    for name in AL1.kept {
        assert!(!left.iter().any(|present| present == name), "{name}");
    }
    let needs = &report.plan.packages.broken;
    assert!(needs.iter().any(|need| need.capability == "perl-Net-Odd"));
}

#[test]
fn undo_leaves_what_would_stop_sshd_and_what_changed_since() {
    if !can_run(
        "undo_leaves_what_would_stop_sshd_and_what_changed_since",
        NEEDS,
    ) {
        return;
    }
    let place = Place::of(&AL2);
    let settings = settings(&place.root);
    clean(&settings).unwrap();
    let grub = place.root.join("etc/default/grub");
    fs::write(&grub, "GRUB_TIMEOUT=9\n").unwrap();
    // As if the clean-up had been killed between the packages and what is put back.
    fs::remove_file(place.root.join("usr/lib/os-release")).unwrap();
    let report = undo(&settings);
    assert_eq!(report.exit(), ExitCode::SomeFailed);
    let left: Vec<_> = report.left.iter().map(|left| &left.path[..]).collect();
    assert_eq!(
        left,
        [
            "/etc/default/grub",
            "/etc/ssh/sshd_config",
            "/usr/lib/systemd/system/sshd.service.d/ec2-instance-connect.conf",
        ],
        "{report:#?}"
    );
    assert_eq!(fs::read_to_string(&grub).unwrap(), "GRUB_TIMEOUT=9\n");
    assert!(
        text_of(&place.root, "/etc/yum.repos.d/amzn2-core.repo").is_some(),
        "the rest is restored"
    );
    assert!(text_of(&place.root, "/usr/lib/os-release").is_some());
    let forced = CleanupSettings {
        force: true,
        ..settings
    };
    assert_eq!(undo(&forced).restored.len(), 3);
    assert!(fs::read_to_string(&grub).unwrap().contains("ec2-console"));
}

#[test]
fn undo_ends_where_directories_have_gone() {
    if !can_run("undo_ends_where_directories_have_gone", NEEDS) {
        return;
    }
    let place = Place::of(&AL2);
    let settings = settings(&place.root);
    clean(&settings).unwrap();
    let forced = CleanupSettings {
        force: true,
        ..settings
    };
    // In one lies only what the clean-up has made, in the other what it has removed.
    for directory in ["etc/cloud/cloud.cfg.d", "etc/yum.repos.d"] {
        fs::remove_dir_all(place.root.join(directory)).unwrap();
    }
    let undone = undo(&forced);
    assert_eq!(undone.exit(), ExitCode::Complete, "{undone:#?}");
    assert!(text_of(&place.root, "/etc/yum.repos.d/amzn2-core.repo").is_some());
    let made = place.root.join("etc/yum.repos.d").metadata().unwrap();
    assert_eq!(made.permissions().mode() & 0o7777, 0o755);
    assert!(!place.root.join("etc/cloud/cloud.cfg.d").exists());
    assert_eq!(undo(&forced).ending, Ending::NothingToDo);
}

#[test]
fn a_machine_that_stays_amazon_linux_loses_its_agents_only() {
    if !can_run(
        "a_machine_that_stays_amazon_linux_loses_its_agents_only",
        NEEDS,
    ) {
        return;
    }
    let place = Place::of(&AL2);
    let stays = CleanupSettings {
        become_release: Some(Release::parse("amzn:2")),
        ..settings(&place.root)
    };
    let report = clean(&stays).unwrap();
    assert_eq!(report.exit(), ExitCode::Complete, "{report:#?}");
    let left = installed(&place.root);
    for (name, stays) in [
        ("system-release", true),
        ("docker", true),
        ("amazon-ssm-agent", false),
        ("ec2-instance-connect", false),
    ] {
        let is_there = left.iter().any(|present| present == name);
        assert_eq!(is_there, stays, "{name}");
    }
    let repository = "/etc/yum.repos.d/amzn2-core.repo";
    assert!(text_of(&place.root, repository).is_some());
}

#[test]
fn another_distribution_is_refused_untouched() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    for (path, text) in [
        ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        ("etc/issue", "Amazon Linux AMI release 2018.03\n"),
        ("etc/yum.repos.d/amzn-main.repo", "[amzn-main]\n"),
    ] {
        crate::support::places::put(&root.join(path), text);
    }
    let before = lines(root);
    let dry = CleanupSettings {
        dry_run: true,
        ..settings(root)
    };
    let failure = clean(&dry).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    let text = failure.to_string();
    assert!(text.contains("is not Amazon Linux"), "{text}");
    assert!(text.contains("debian 12"), "{text}");
    let forced = CleanupSettings { force: true, ..dry };
    let report = clean(&forced).unwrap();
    assert_eq!(report.plan.files.len(), 1, "{:#?}", report.plan);
    assert_same(&before, &lines(root), "refused");
}
