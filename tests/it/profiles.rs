//! The shipped profiles: what they decide about every class of paths, row by row, and that no
//! rule of them is without effect.
//!
//! The rows are in tests/testdata/verdicts.txt, which explains itself.

use std::collections::BTreeSet;
use std::path::Path;

use instancesync::exclude::explain::{Explanation, explain};
use instancesync::exclude::profile::{
    Catalog, HostnamePolicy, IdentityPolicy, KernelPolicy, PLACEHOLDERS, Policies, Selected,
    Selection,
};
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::facts::{
    Agent, AgentState, Facts, Family, Kernel, Mount, MountKind, PlatformKind, Swap,
};
use instancesync::relpath::RelPath;
use serde::de::DeserializeOwned;

/// One line of the table.
struct Row {
    line: usize,
    path: RelPath,
    is_directory: bool,
    facts: String,
    policies: String,
    verdict: String,
    profile: Option<String>,
}

fn text_of(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn rows() -> Vec<Row> {
    let text = text_of("tests/testdata/verdicts.txt");
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let line_number = index + 1;
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [path, kind, facts, policies, verdict, profile] = columns[..] else {
                panic!("line {line_number} has {} columns", columns.len());
            };
            assert!(matches!(kind, "file" | "dir"), "line {line_number}: {kind}");
            Row {
                line: line_number,
                path: RelPath::new(&unescape(path.strip_prefix('/').unwrap())).unwrap(),
                is_directory: kind == "dir",
                facts: facts.to_owned(),
                policies: policies.to_owned(),
                verdict: verdict.to_owned(),
                profile: (profile != "-").then(|| profile.to_owned()),
            }
        })
        .collect()
}

/// Replaces `\xNN` by the byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

/// Reads a word as the profiles do.
fn word<T: DeserializeOwned>(word: &str) -> T {
    serde_json::from_value(serde_json::Value::from(word)).unwrap()
}

/// The agents that a machine of a platform has.
fn agents(platform: PlatformKind) -> &'static [Agent] {
    match platform {
        PlatformKind::Amazon => &[
            Agent::AmazonSsm,
            Agent::AwsTools,
            Agent::CloudInit,
            Agent::Ec2InstanceConnect,
        ],
        PlatformKind::Azure => &[Agent::CloudInit, Agent::HypervDaemons, Agent::Waagent],
        PlatformKind::Google => &[Agent::GoogleGuest],
        PlatformKind::DigitalOcean => &[Agent::DropletAgent],
        PlatformKind::Rackspace => &[Agent::NovaAgent, Agent::XenGuest],
        PlatformKind::Xen => &[Agent::XenGuest],
        PlatformKind::Vmware => &[Agent::VmwareTools],
        PlatformKind::HyperV => &[Agent::HypervDaemons],
        _ => &[],
    }
}

fn machine(id: &str, platform: &str, machine_id: &str) -> Facts {
    let mut facts = Facts::default();
    facts.distribution.id = id.to_owned();
    facts.distribution.family = if id == "amzn" { Family::Rhel } else { word(id) };
    facts.platform.kind = word(platform);
    facts.identity.machine_id = Some(machine_id.to_owned());
    let agents = agents(facts.platform.kind).iter();
    facts.platform.agents = agents
        .map(|agent| AgentState {
            agent: *agent,
            enabled_units: Vec::new(),
            evidence: String::new(),
        })
        .collect();
    facts
}

fn mount(path: &str, kind: MountKind) -> Mount {
    Mount {
        path: path.to_owned(),
        kind,
        ..Mount::default()
    }
}

/// Makes both machines of the column `facts`: `SOURCE[:PLATFORM]>TARGET[:PLATFORM]`, or one word
/// for both.
fn machines(column: &str) -> (Facts, Facts) {
    let (source, target) = column.split_once('>').unwrap_or((column, column));
    let make = |text: &str, machine_id| {
        let (id, platform) = text.split_once(':').unwrap_or((text, "qemu"));
        machine(id, platform, machine_id)
    };
    let (mut source, mut target) = (make(source, "50ce"), make(target, "7a59"));
    for path in ["/opt/swap file", "/srv/{swap}"] {
        source.storage.swaps.push(Swap {
            path: path.to_owned(),
            is_file: true,
            active: true,
        });
    }
    source.storage.mounts = vec![
        mount("/", MountKind::Disk),
        mount("/srv/nfs", MountKind::Network),
        mount("/snap/core/123", MountKind::Image),
        mount("/home", MountKind::Disk),
    ];
    target.kernels.running = Some("6.1.0-18-amd64".to_owned());
    for (version, has_image) in [
        ("6.1.0-18-amd64", true),
        ("6.1.0-20-amd64", true),
        ("5.10", false),
    ] {
        target.kernels.installed.push(Kernel {
            version: version.to_owned(),
            has_image,
            has_modules: true,
        });
    }
    (source, target)
}

/// Chooses the profiles for two columns of the table.
fn select(catalog: &Catalog, facts: &str, column: &str) -> Selected {
    let (source, target) = machines(facts);
    let mut policies = Policies::default();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for setting in column.split(',').filter(|setting| *setting != "-") {
        match setting.split_once('=').unwrap() {
            ("identity", value) => policies.identity = word::<IdentityPolicy>(value),
            ("hostname", value) => policies.hostname = word::<HostnamePolicy>(value),
            ("kernel", value) => policies.kernel = word::<KernelPolicy>(value),
            ("with", value) => with.push(value.to_owned()),
            ("without", value) => without.push(value.to_owned()),
            (name, _) => panic!("no such setting: {name}"),
        }
    }
    let selection = Selection {
        source: &source,
        target: &target,
        policies,
        with: &with,
        without: &without,
    };
    catalog.select(&selection).unwrap()
}

/// Every row with what is decided about it.
fn decided(catalog: &Catalog) -> Vec<(Row, Explanation)> {
    let mut chosen: Vec<(String, Selected)> = Vec::new();
    let mut decided = Vec::new();
    for row in rows() {
        let key = format!("{} {}", row.facts, row.policies);
        if !chosen.iter().any(|(known, _)| *known == key) {
            chosen.push((key.clone(), select(catalog, &row.facts, &row.policies)));
        }
        let (_, selected) = chosen.iter().find(|(known, _)| *known == key).unwrap();
        let explained = explain(&selected.rules, selected, &row.path, row.is_directory);
        decided.push((row, explained));
    }
    decided
}

#[test]
fn every_class_of_paths_has_its_verdict() {
    let catalog = Catalog::shipped().unwrap();
    let mut wrong = Vec::new();
    let decided = decided(&catalog);
    for (row, explained) in &decided {
        let decider = explained.decider.as_ref();
        let profile = decider.and_then(|decider| decider.profile.as_deref());
        let verdict = explained.verdict.word();
        if verdict != row.verdict || profile != row.profile.as_deref() {
            wrong.push(format!(
                "line {}: {:?} is {verdict} by {}",
                row.line,
                row.path,
                profile.unwrap_or("-")
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(decided.len() > 300, "{} rows", decided.len());
}

#[test]
fn every_shipped_pattern_decides_something_and_not_everything() {
    let catalog = Catalog::shipped().unwrap();
    let mut idle = BTreeSet::new();
    for profile in catalog.in_order() {
        for path in profile.rules.iter().flat_map(|rule| &rule.paths) {
            idle.insert((
                format!("{}:{}", profile.origin, path.line),
                path.text.clone(),
            ));
        }
    }
    for (row, explained) in decided(&catalog) {
        let Some(decider) = explained.decider else {
            continue;
        };
        idle.retain(|(origin, text)| {
            *origin != decider.origin || !may_stand_for(text, &decider.pattern)
        });
        let path = explained.parent.unwrap_or(row.path);
        assert!(
            near_misses(&path)
                .iter()
                .any(|near| !matches(&decider.pattern, near)),
            "{} matches all that is near {path:?}",
            decider.pattern
        );
    }
    let idle: Vec<String> = idle
        .iter()
        .map(|(at, text)| format!("{at}: {text}"))
        .collect();
    assert!(
        idle.is_empty(),
        "decide about no row of verdicts.txt, or are hidden by rules before them:\n{}\n",
        idle.join("\n")
    );
}

/// Tells whether a pattern of a profile can have become this one by filling its placeholder.
fn may_stand_for(written: &str, filled: &str) -> bool {
    let has_placeholder = PLACEHOLDERS
        .iter()
        .any(|(name, _)| written.contains(&format!("${{{name}}}")));
    has_placeholder || written == filled
}

fn matches(pattern: &str, path: &RelPath) -> bool {
    let rules = Rules::new(vec![Rule::new(Verdict::Skip, pattern, "test")]).unwrap();
    rules.decide(path, true).rule.is_some()
}

/// Paths that differ a little: in the beginning or the end of the last part or of the one before.
fn near_misses(path: &RelPath) -> Vec<RelPath> {
    let parts: Vec<&[u8]> = path.parts().collect();
    let mut near = Vec::new();
    for changed in parts.len().saturating_sub(2)..parts.len() {
        for at_start in [false, true] {
            let mut other: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
            let place = if at_start { 0 } else { other[changed].len() };
            other[changed].insert(place, b'~');
            near.push(RelPath::new(&other.join(&b'/')).unwrap());
        }
    }
    near
}

/// Else a look for what the target keeps is one at the whole tree.
#[test]
fn what_is_kept_is_found_without_looking_everywhere() {
    let catalog = Catalog::shipped().unwrap();
    let profiles = catalog.in_order().into_iter();
    for rule in profiles.flat_map(|profile| &profile.rules) {
        let is_kept = matches!(rule.verdict, Verdict::Keep | Verdict::Merge);
        // A placeholder in front stands for whole paths.
        let paths = rule.paths.iter().map(|path| &path.text);
        for path in paths.filter(|path| is_kept && !path.starts_with('$')) {
            let rule = Rule::new(rule.verdict, path, "test");
            for beginning in rule.beginnings() {
                let depth = beginning.depth.name_count;
                assert!(!beginning.path.is_root() || depth == 1, "{path}");
            }
        }
    }
}

#[test]
fn names_with_cloud_init_are_copied_wherever_packages_put_them() {
    let catalog = Catalog::shipped().unwrap();
    for facts in [
        "debian",
        "rhel:openstack",
        "amzn:amazon>rhel:qemu",
        "suse:azure>suse:google",
    ] {
        let selected = select(&catalog, facts, "-");
        for path in [
            "usr/bin/cloud-init",
            "usr/lib/python3/dist-packages/cloudinit/cmd/main.py",
            "usr/lib/systemd/system/cloud-init.service",
            "lib/systemd/system/cloud-init-local.service",
            "usr/share/doc/cloud-init/README",
            "var/lib/dpkg/info/cloud-init.list",
            "usr/lib/udev/rules.d/66-azure-ephemeral.rules",
            "home/ann/cloud-init/notes",
        ] {
            let path = RelPath::new(path.as_bytes()).unwrap();
            let explained = explain(&selected.rules, &selected, &path, false);
            assert_eq!(explained.verdict, Verdict::Copy, "{facts} {path:?}");
        }
    }
}

#[test]
fn the_network_of_every_stack_stays_on_every_family() {
    let catalog = Catalog::shipped().unwrap();
    for family in [
        "debian", "rhel", "suse", "arch", "gentoo", "alpine", "unknown",
    ] {
        let selected = select(&catalog, family, "-");
        let names: Vec<&str> = selected.profiles.iter().map(|p| p.name.as_str()).collect();
        let stacks = catalog.names(instancesync::exclude::profile::Group::Network);
        assert!(stacks.len() >= 10);
        for stack in stacks {
            assert!(names.contains(&stack), "{stack} on {family}");
        }
    }
}

#[test]
fn the_document_lists_the_shipped_profiles_and_placeholders() {
    let document = text_of("docs/profiles.md");
    let catalog = Catalog::shipped().unwrap();
    let shipped: BTreeSet<&str> = catalog.in_order().iter().map(|p| p.name.as_str()).collect();
    let (_, list) = document.split_once("## Shipped profiles").unwrap();
    let listed: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| Some(line.split_once('`')?.0))
        .collect();
    assert_eq!(listed, shipped);
    for (name, _) in PLACEHOLDERS {
        assert!(document.contains(&format!("`${{{name}}}`")), "{name}");
    }
}
