//! The plan: every check finds what it is there for and nothing else, all in one run; its text,
//! its data, and its document.
//!
//! Knows nothing of how facts are gathered, but for the pairs of small roots.

mod cases;
mod pair;
mod roots;

use std::collections::BTreeSet;

use instancesync::exclude::Verdict;
use instancesync::exclude::profile::{AppliedProfile, Group};
use instancesync::exit::ExitCode;
use instancesync::facts::{MountKind, NetworkStack};
use instancesync::plan::{CHECKS, Level, Plan, Scope, mount_points};
use instancesync::relpath::RelPath;
use instancesync::ui::plan_text;

use pair::{GIB, Pair, disk, portion};

#[test]
fn nothing_stands_between_two_machines_of_one_installer() {
    let plan = Pair::fresh().plan();
    assert_eq!(plan.findings, []);
    assert!(!plan.is_blocked());
}

#[test]
fn each_check_finds_its_case_and_lets_the_near_miss_go() {
    for case in cases::all() {
        let mut bent = Pair::fresh();
        (case.trigger)(&mut bent);
        let plan = bent.plan();
        let finding = plan.findings.iter().find(|finding| finding.id == case.id);
        let Some(finding) = finding else {
            panic!("{} found nothing, but {:?}", case.id, bent.ids());
        };
        assert_eq!(plan.is_blocked(), has_blocker(&plan), "{}", case.id);
        for text in [&finding.what, &finding.why, &finding.hint] {
            assert!(
                text.len() > 10 && !text.ends_with('.'),
                "{}: {text}",
                case.id
            );
        }
        let mut fine = Pair::fresh();
        (case.near_miss)(&mut fine);
        assert!(!fine.ids().contains(&case.id), "{} is too strict", case.id);
    }
}

fn has_blocker(plan: &Plan) -> bool {
    plan.of_level(Level::Blocker).count() > 0
}

#[test]
fn each_check_has_a_case_and_an_id_of_its_own() {
    let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len());
    let cases: BTreeSet<&str> = cases::all().iter().map(|case| case.id).collect();
    assert_eq!(cases, unique);
}

#[test]
fn every_check_is_in_the_document_with_its_level_and_pitfalls() {
    let document = include_str!("../../docs/plan.md");
    let rows: BTreeSet<String> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter(|line| line.matches('|').count() == 5)
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            format!("{} {} {}", cells[1].trim_matches('`'), cells[2], cells[3])
        })
        .collect();
    let checks: BTreeSet<String> = CHECKS
        .iter()
        .map(|check| {
            let level = format!("{:?}", check.level).to_lowercase();
            let scope = match check.scope {
                Scope::Always => "*",
                Scope::WholeSystem => "",
            };
            let pitfalls = check.pitfalls.iter().map(|number| format!("P{number:02}"));
            let pitfalls: Vec<String> = pitfalls.collect();
            format!("{} {level}{scope} {}", check.id, pitfalls.join(" "))
        })
        .collect();
    assert_eq!(rows, checks);
}

#[test]
fn one_run_reports_everything() {
    let mut pair = Pair::fresh();
    // These are about what is not there, or about machines that are otherwise alike.
    let alone = [
        "same-machine",
        "shared-identity",
        "target-diskless",
        "other-distribution",
        "other-major-version",
        "other-minor-version",
        "unknown-distribution",
        "other-boot-mode",
        "kernel-without-modules",
        "kernel-needs-stage",
        "kernel-needs-grub",
        "kernel-needs-initramfs-tools",
        "kernel-left-behind",
        "kernel-without-fallback",
        "kernel-for-elsewhere",
        "selinux-differs",
        "size-unknown",
        "room-tight",
        "network-unknown",
        "network-stack-doubled",
        "mount-merged",
        "doubled-identities",
        "same-name",
        "target-occupied",
        "target-cloned",
    ];
    let mut expected = BTreeSet::new();
    for case in cases::all() {
        if !alone.contains(&case.id) {
            (case.trigger)(&mut pair);
            expected.insert(case.id);
        }
    }
    // An old kernel is another one too, and here it has no modules.
    let old = "2.6.32-754.el6.x86_64";
    pair.target.kernels.running = Some(old.to_owned());
    // Two stacks in charge: one is missing on the source, one is not started.
    let stacks = [NetworkStack::SystemdNetworkd, NetworkStack::NetworkManager];
    pair.target.network.in_charge = stacks.to_vec();
    let found: BTreeSet<&str> = pair.ids().into_iter().collect();
    assert!(found.is_superset(&expected), "{:?}", &expected - &found);
    let levels: Vec<Level> = pair.plan().findings.iter().map(|f| f.level).collect();
    assert!(levels.is_sorted(), "blockers come first");
    let text = plan_text(&pair.plan());
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

#[test]
fn a_directory_is_only_asked_what_concerns_it() {
    let asked: BTreeSet<&str> = CHECKS
        .iter()
        .filter(|check| check.scope == Scope::Always)
        .map(|check| check.id)
        .collect();
    for case in cases::all() {
        let mut pair = Pair::fresh();
        (case.trigger)(&mut pair);
        pair.source_dir = "/srv";
        let found: BTreeSet<&str> = pair.ids().into_iter().collect();
        assert!(found.is_subset(&asked), "{}: {found:?}", case.id);
    }
}

#[test]
fn decides_by_the_right_marks_whether_two_machines_are_one() {
    let same = "same-machine";
    let shared = "shared-identity";
    type Bend = fn(&mut Pair);
    let table: [(&str, Bend, &[&str]); 6] = [
        ("one kernel", one_kernel, &[same]),
        (
            "two containers on one kernel",
            |p| {
                one_kernel(p);
                for facts in [&mut p.source, &mut p.target] {
                    facts.platform.kind = instancesync::facts::PlatformKind::Container;
                }
            },
            &["target-container"],
        ),
        (
            "two instances of one image",
            |p| {
                let own = p.source.identity.clone();
                p.target.identity.machine_id = own.machine_id;
                p.target.identity.host_keys = own.host_keys;
            },
            &[shared],
        ),
        (
            "without boot ids, one mark",
            |p| {
                p.target.identity.boot_id = None;
            },
            &[],
        ),
        (
            "without boot ids, two marks",
            |p| {
                p.target.identity.boot_id = None;
                p.target.identity.machine_id = p.source.identity.machine_id.clone();
            },
            &[same],
        ),
        (
            "a mounted copy",
            |p| {
                let own = p.source.identity.clone();
                p.target.is_live = false;
                p.target.identity.boot_id = None;
                p.target.identity.machine_id = own.machine_id;
            },
            &[shared],
        ),
    ];
    for (name, bend, expected) in table {
        let mut pair = Pair::fresh();
        bend(&mut pair);
        assert_eq!(pair.ids(), expected, "{name}");
    }
}

fn one_kernel(pair: &mut Pair) {
    pair.target.identity.boot_id = pair.source.identity.boot_id.clone();
}

#[test]
fn room_is_counted_for_each_device_of_the_target() {
    let mut pair = Pair::fresh();
    let mounts = &mut pair.target.storage.mounts;
    for path in ["/home", "/var"] {
        let mut subvolume = disk(path, "btrfs", "0:33");
        subvolume.total_bytes = 20 * GIB;
        mounts.push(subvolume);
    }
    let portions = &mut pair.extent.as_mut().unwrap().portions;
    portions.push(portion("home", 12 * GIB, 1000));
    portions.push(portion("var", 12 * GIB, 1000));
    let plan = pair.plan();
    let room = plan.findings.iter().find(|f| f.id == "no-room").unwrap();
    assert_eq!(
        room.what,
        "on the target /home needs 24.5 GiB and has 20.0 GiB in all"
    );
    let landings = plan.sent.unwrap().landings;
    let landings: Vec<_> = landings
        .iter()
        .map(|landing| (&*landing.mount_point, landing.allocated_bytes / GIB))
        .collect();
    assert_eq!(landings, [("/", 5), ("/home", 24)]);
}

#[test]
fn what_is_left_out_on_purpose_is_told_among_the_differences() {
    let mut pair = Pair::fresh();
    pair.source
        .storage
        .mounts
        .push(disk("/home", "ext4", "254:2"));
    assert_eq!(pair.ids(), ["mount-left-out"]);
    pair.one_file_system = true;
    assert_eq!(pair.ids(), [""; 0]);
    let differences = pair.plan().differences.join("\n");
    assert!(differences.contains("/home"), "{differences}");
}

#[test]
fn what_holds_nothing_of_the_copy_is_not_asked_to() {
    let mut pair = Pair::fresh();
    let mounts = &mut pair.target.storage.mounts;
    mounts.push(pair::mount("/snap/core", "squashfs", MountKind::Image));
    mounts.push(pair::mount("/proc", "proc", MountKind::Pseudo));
    let mut stick = disk("/usb", "vfat", "8:1");
    stick.features.unix_attributes = false;
    stick.read_only = true;
    mounts.push(stick);
    let points = mount_points(&pair.target, "/");
    assert_eq!(points, [RelPath::new(b"usb").unwrap()]);
    let portions = &mut pair.extent.as_mut().unwrap().portions;
    portions.push(portion("usb", 0, 0));
    assert_eq!(pair.ids(), [""; 0]);
    pair.extent.as_mut().unwrap().portions[1].entries = 2;
    assert_eq!(pair.ids(), ["target-read-only", "attributes-lost"]);
}

#[test]
fn a_refusal_has_exit_code_3_and_a_hint_for_each_blocker() {
    assert!(Pair::fresh().plan().refusal().is_none());
    let refusal = typical().plan().refusal().unwrap();
    assert_eq!(refusal.exit, ExitCode::Refused);
    assert_eq!(refusal.hints.len(), 4);
    assert_eq!(
        refusal.to_string(),
        "refusing to start: other-architecture, network-stack-missing, mount-left-out and no-room"
    );
}

/// A pair with a bit of everything, and names that are not nice.
fn typical() -> Pair {
    let mut pair = Pair::fresh();
    for case in cases::all() {
        let shown = [
            "other-architecture",
            "mount-left-out",
            "no-room",
            "network-stack-missing",
            "other-kernel",
            "running-databases",
            "ssh-port",
            "mount-merged",
        ];
        if shown.contains(&case.id) {
            (case.trigger)(&mut pair);
        }
    }
    let odd = "/srv/\u{1b}[2J\nname that goes on and on/".to_owned() + &"long/".repeat(30);
    let share = pair::mount(&odd, "nfs4", MountKind::Network);
    pair.source.storage.mounts.push(share);
    for pattern in ["/boot/**", "/etc/fstab", "/etc/machine-id", "/etc/hostname"] {
        pair.keep(pattern);
    }
    pair.rules.push((Verdict::Merge, "/etc/hosts"));
    pair.rules.push((Verdict::Skip, "/proc/*"));
    pair.rules.push((Verdict::Skip, "/sys/*"));
    pair.profiles = vec![AppliedProfile {
        name: "core".to_owned(),
        summary: "what no clone takes over".to_owned(),
        why: "always".to_owned(),
        group: Group::Core,
        origin: "profile core".to_owned(),
    }];
    pair
}

#[test]
fn the_text_says_everything_in_80_columns() {
    let text = plan_text(&typical().plan());
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_text_of_a_plan_that_can_go_ahead_says_so_last() {
    let text = plan_text(&Pair::fresh().plan());
    insta::assert_snapshot!(text);
}

#[test]
fn the_data_says_the_same() {
    let data = serde_json::to_string_pretty(&typical().plan()).unwrap();
    insta::assert_snapshot!(data);
}
