//! Plans of pairs of small roots, as facts, shipped profiles and scan have it: everything is
//! reported in one run, and nothing in either root changes.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use instancesync::exclude::Rules;
use instancesync::exclude::profile::{Catalog, Policies, Selection};
use instancesync::fs::Dir;
use instancesync::monitor::Counters;
use instancesync::plan::{Level, Plan, PlanInput};
use instancesync::transfer::scan::{Extent, Scan};

use crate::support::manifest::{Manifest, diff};
use crate::support::roots::{ELF_X86_64, SmallRoot};

/// The key of a second machine.
const OTHER_HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB71Lwmx/g67vhbQVv1BMhz7ZLLt0iNQY8hLi7XrhTYe root@node7\n";

/// Makes the plan for two roots and checks that both are as before.
fn plan(source: &SmallRoot, target: &SmallRoot) -> Plan {
    let before = [source, target].map(|root| Manifest::of(root.path()));
    let (source_facts, target_facts) = (source.facts(), target.facts());
    let selected = Catalog::shipped()
        .unwrap()
        .select(&Selection {
            source: &source_facts,
            target: &target_facts,
            policies: Policies::default(),
            with: &[],
            without: &[],
        })
        .unwrap();
    let extent = extent(source, &selected.rules);
    let plan = Plan::make(&PlanInput {
        profiles: &selected.profiles,
        extent: Some(&extent),
        deletes: true,
        ..PlanInput::new(&source_facts, &target_facts, &selected.rules)
    });
    for (root, before) in [source, target].into_iter().zip(before) {
        let changed = diff(&before, &Manifest::of(root.path()));
        assert!(changed.is_empty(), "the plan changed {changed:?}");
    }
    plan
}

fn extent(source: &SmallRoot, rules: &Rules) -> Extent {
    let root = Dir::open_root(source.path()).unwrap();
    let scan = Scan {
        root: &root,
        rules,
        devices: [root.id().unwrap().device].into(),
        mount_points: &[],
        counters: &Counters::default(),
        stop: &AtomicBool::new(false),
    };
    scan.run().unwrap()
}

/// Makes another machine of the same kind.
fn another(root: SmallRoot) -> SmallRoot {
    root.file("/etc/hostname", "node7\n")
        .file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .file("/etc/ssh/ssh_host_ed25519_key.pub", OTHER_HOST_KEY)
}

fn ids(plan: &Plan, level: Level) -> BTreeSet<&'static str> {
    plan.of_level(level).map(|finding| finding.id).collect()
}

/// A pair of roots, and what blocks and warns between them.
type Row = (
    &'static str,
    SmallRoot,
    SmallRoot,
    &'static [&'static str],
    &'static [&'static str],
);

#[test]
fn two_machines_of_one_installer_have_nothing_between_them() {
    for (name, preset) in presets() {
        let plan = plan(&preset(), &another(preset()));
        assert_eq!(plan.findings, [], "{name}");
        assert!(plan.sent.unwrap().entries > 20, "{name}");
        assert!(plan.protected.len() > 20, "{name}");
    }
}

type Preset = fn() -> SmallRoot;

fn presets() -> [(&'static str, Preset); 7] {
    [
        ("debian", SmallRoot::debian),
        ("ubuntu", SmallRoot::ubuntu),
        ("rocky", SmallRoot::rocky),
        ("suse", SmallRoot::suse),
        ("arch", SmallRoot::arch),
        ("gentoo", SmallRoot::gentoo),
        ("alpine", SmallRoot::alpine),
    ]
}

#[test]
fn tells_everything_about_a_pair_at_once() {
    for (name, source, target, blockers, warnings) in rows() {
        let plan = plan(&source, &target);
        let expected: BTreeSet<&str> = blockers.iter().copied().collect();
        assert_eq!(ids(&plan, Level::Blocker), expected, "{name}");
        assert_eq!(plan.is_blocked(), !blockers.is_empty(), "{name}");
        let expected: BTreeSet<&str> = warnings.iter().copied().collect();
        assert_eq!(ids(&plan, Level::Warning), expected, "{name}");
    }
}

fn rows() -> Vec<Row> {
    [strangers(), relatives(), disks()]
        .into_iter()
        .flatten()
        .collect()
}

fn strangers() -> Vec<Row> {
    vec![(
        "nothing in common",
        SmallRoot::alpine(),
        another(SmallRoot::suse()),
        &[
            "network-stack-missing",
            "other-family",
            "other-init",
            "other-libc",
            "other-usr-layout",
        ],
        &["other-boot-loader"],
    )]
}

fn relatives() -> Vec<Row> {
    vec![
        (
            "another stack",
            SmallRoot::debian(),
            another(SmallRoot::ubuntu()),
            &["network-stack-missing"],
            &["dns-broken", "other-distribution", "target-agents-lost"],
        ),
        (
            "old and new",
            SmallRoot::centos_6(),
            another(SmallRoot::rocky()),
            &["network-stack-missing", "other-init", "other-usr-layout"],
            &[
                "other-boot-loader",
                "other-distribution",
                "other-kernel",
                "other-major-version",
                "selinux-differs",
            ],
        ),
        (
            "off Amazon",
            SmallRoot::amazon_2(),
            another(SmallRoot::rocky()),
            &["network-stack-missing", "selinux-policy-missing"],
            &[
                "ec2-instance-connect",
                "other-distribution",
                "other-kernel",
                "source-agents",
            ],
        ),
    ]
}

fn disks() -> Vec<Row> {
    let busy = SmallRoot::debian()
        .mount("/data", "xfs", "254:9", "/dev/vdb1")
        .mount("/srv/share", "nfs4", "0:50", "nas:/share")
        .file("/etc/ssh/sshd_config", "Port 2222\nPermitRootLogin no\n")
        .append(
            "/var/lib/dpkg/status",
            "\nPackage: nginx\nStatus: install ok half-configured\nVersion: 1\n",
        );
    let arm = another(SmallRoot::debian())
        .file("/usr/bin/dash", program_for_arm())
        .file(
            "/proc/self/mountinfo",
            "20 1 254:1 / / ro,relatime - vfat /dev/vda1 ro\n",
        );
    vec![(
        "disks and doors",
        busy,
        arm,
        &[
            "attributes-lost",
            "mount-left-out",
            "other-architecture",
            "target-read-only",
        ],
        &[
            "network-mounts",
            "ssh-port",
            "ssh-root-login",
            "unfinished-packages",
        ],
    )]
}

/// Returns the start of a program for aarch64.
fn program_for_arm() -> Vec<u8> {
    let mut program = ELF_X86_64.to_vec();
    program[18] = 183;
    program
}
