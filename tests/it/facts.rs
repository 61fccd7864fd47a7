//! Facts of machines: which distribution real release files mean, and what small roots are
//! taken for. Knows nothing of how the facts are found.

mod machines;

use instancesync::facts::{AppArmor, BootMode, Libc, SelinuxMode};

use crate::support::roots::SmallRoot;

/// One machine of the list in `tests/testdata/release`.
struct Released<'t> {
    heading: Vec<&'t str>,
    files: Vec<(&'t str, String)>,
}

fn released() -> Vec<Released<'static>> {
    let text = include_str!("../testdata/release/distributions.txt");
    let mut machines: Vec<Released> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("= ") {
            let heading = heading.split('|').map(str::trim).collect();
            let files = Vec::new();
            machines.push(Released { heading, files });
        } else if let Some(machine) = machines.last_mut() {
            match (line.strip_prefix("@ "), machine.files.last_mut()) {
                (Some(path), _) => machine.files.push((path, String::new())),
                (None, Some((_, text))) => text.extend([line, "\n"]),
                (None, None) => panic!("{line}: before a file"),
            }
        }
    }
    machines
}

#[test]
fn real_release_files_are_recognised() {
    let machines = released();
    assert!(machines.len() >= 60, "{}", machines.len());
    for machine in machines {
        let [id, version, family, origin, title] = machine.heading[..] else {
            panic!("{:?}", machine.heading);
        };
        let root = machine
            .files
            .iter()
            .fold(SmallRoot::new(), |root, (path, text)| root.file(path, text));
        let found = root.facts().distribution;
        let family_name = serde_json::to_string(&found.family).unwrap();
        assert_eq!(
            (found.id.as_str(), found.version.as_str()),
            (id, version),
            "{title}"
        );
        assert_eq!(family_name.trim_matches('"'), family, "{title}");
        assert_eq!(found.origin, origin, "{title}");
        assert_eq!(found.name.is_empty(), id.is_empty(), "{title}");
    }
}

/// The presets, and what they have to be taken for: id, family, init, boot loader, layout of
/// `/usr`, package manager, kernel; then the stacks in charge.
fn presets() -> Vec<(SmallRoot, &'static str, &'static [&'static str])> {
    vec![
        (
            SmallRoot::debian(),
            "debian debian systemd grub2 merged dpkg 6.1.0-18-amd64",
            &["ifupdown"],
        ),
        (
            SmallRoot::ubuntu(),
            "ubuntu debian systemd grub2 merged dpkg 6.1.0-18-amd64",
            &["netplan", "systemd-networkd"],
        ),
        (
            SmallRoot::rocky(),
            "rocky rhel systemd grub2 merged rpm 5.14.0-362.8.1.el9_3.x86_64",
            &["network-manager"],
        ),
        (
            SmallRoot::centos_6(),
            "centos rhel upstart grub-legacy split rpm 2.6.32-754.el6.x86_64",
            &["network-scripts"],
        ),
        (
            SmallRoot::amazon_2(),
            "amzn rhel systemd grub2 merged rpm 5.10.205-195.807.amzn2.x86_64",
            &["network-scripts"],
        ),
        (
            SmallRoot::suse(),
            "opensuse-leap suse systemd grub2 merged rpm 5.14.21-150500.53-default",
            &["wicked"],
        ),
        (
            SmallRoot::arch(),
            "arch arch systemd systemd-boot merged pacman 6.7.4-arch1-1",
            &["systemd-networkd"],
        ),
        (
            SmallRoot::gentoo(),
            "gentoo gentoo openrc grub2 split portage 6.6.13-gentoo-dist",
            &["openrc-netifrc"],
        ),
        (
            SmallRoot::alpine(),
            "alpine alpine openrc extlinux split apk 6.6.14-0-virt",
            &["ifupdown"],
        ),
    ]
}

/// Returns the word that the JSON has for a value.
fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap();
    value.as_str().unwrap().to_owned()
}

#[test]
fn presets_are_what_they_claim() {
    for (root, expected, stacks) in presets() {
        let facts = root.facts();
        let kernels = &facts.kernels.installed;
        let found = [
            facts.distribution.id.clone(),
            word(facts.distribution.family),
            word(facts.init),
            word(facts.boot.loader),
            word(facts.usr_layout),
            word(facts.packages.manager),
            kernels[0].version.clone(),
        ];
        assert_eq!(found.join(" "), expected);
        let in_charge: Vec<_> = facts.network.in_charge.iter().map(word).collect();
        assert_eq!(in_charge, stacks, "{expected}");
        assert_eq!(kernels.len(), 1, "{expected}: {kernels:?}");
        assert!(
            kernels[0].has_image && kernels[0].has_modules,
            "{kernels:?}"
        );
        assert_eq!(facts.architecture.as_deref(), Some("x86_64"), "{expected}");
        assert_eq!(facts.identity.host_keys.len(), 1, "{expected}");
        assert!(facts.identity.hostname.is_some(), "{expected}");
        assert!(facts.identity.root_uuid.is_some(), "{expected}");
        assert!(!facts.is_live, "{expected}");
        assert_ne!(facts.libc, Libc::Unknown, "{expected}");
        assert_eq!(facts.unknown, [""; 0], "{expected}");
    }
}

#[test]
fn details_of_the_presets_are_found() {
    let debian = SmallRoot::debian().facts();
    assert_eq!(debian.packages.installed, Some(2));
    assert_eq!(debian.boot.mode, BootMode::Bios);
    assert_eq!(debian.storage.mounts[0].path, "/");
    assert!(debian.storage.mounts[0].total_bytes > 0);
    assert!(
        debian
            .storage
            .mount_of("/tmp/x")
            .is_some_and(|mount| mount.path == "/tmp")
    );
    let swap = &debian.storage.swaps;
    assert!(
        swap.len() == 1 && swap[0].active && swap[0].is_file,
        "{swap:?}"
    );
    assert_eq!(debian.access.users.people, ["admin"]);
    assert_eq!(debian.access.users.root_groups, ["root", "wheel"]);
    assert_eq!(debian.network.dns.servers, ["192.0.2.53"]);
    assert_eq!(debian.clock_ms, None);
    assert_eq!(SmallRoot::arch().facts().boot.mode, BootMode::Uefi);
    assert_eq!(SmallRoot::alpine().facts().libc, Libc::Musl);
    let centos = SmallRoot::centos_6().facts();
    assert_eq!(centos.libc, Libc::Glibc(Some("2.12".to_owned())));
    assert_eq!(centos.identity.hostname.as_deref(), Some("source-centos"));
    let security = SmallRoot::rocky().facts().security;
    assert_eq!(security.selinux, SelinuxMode::Enforcing);
    assert_eq!(security.selinux_policy.as_deref(), Some("targeted"));
    assert_eq!(security.apparmor, AppArmor::Absent);
    let security = centos.security;
    assert_eq!(security.selinux, SelinuxMode::Disabled);
    assert_eq!(security.selinux_configured, SelinuxMode::Disabled);
}

#[test]
fn facts_survive_json() {
    for (root, ..) in presets() {
        let facts = root.facts();
        let text = serde_json::to_string(&facts).unwrap();
        let read: instancesync::facts::Facts = serde_json::from_str(&text).unwrap();
        assert_eq!(read, facts);
    }
}

#[test]
fn gathering_writes_nothing() {
    let root = SmallRoot::ubuntu();
    let before = listing(&root);
    let _facts = root.facts();
    assert_eq!(listing(&root), before);
}

/// Every path with its times: what a write, and a read of the careless kind, would change.
fn listing(root: &SmallRoot) -> Vec<String> {
    walkdir::WalkDir::new(root.path())
        .sort_by_file_name()
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let status = entry.path().symlink_metadata().unwrap();
            let accessed = status.is_file().then(|| status.accessed().unwrap());
            format!(
                "{:?} {:?} {accessed:?}",
                entry.path(),
                status.modified().unwrap()
            )
        })
        .collect()
}

#[test]
fn the_running_system_is_known() {
    let root = instancesync::fs::Root::open(std::path::Path::new("/")).unwrap();
    let facts = instancesync::distro::gather(&root);
    assert!(facts.is_live && facts.clock_ms.is_some());
    assert!(facts.architecture.is_some() && facts.kernels.running.is_some());
    assert_eq!(facts.storage.mounts[0].path, "/");
    assert!(facts.identity.boot_id.is_some());
}

#[test]
fn the_page_for_people_shows_what_is_known() {
    let mut facts = SmallRoot::amazon_2().dir("/var/lib/mysql").facts();
    // What is the test machine's own.
    facts.identity.age_s = Some(3 * 86_400);
    facts.access.user_id = Some(0);
    for mount in &mut facts.storage.mounts {
        (mount.total_bytes, mount.free_bytes) = (40 << 30, 12 << 30);
        (mount.total_inodes, mount.free_inodes) = (2_621_440, 2_000_000);
    }
    insta::assert_snapshot!(instancesync::ui::facts_text(&facts));
}
