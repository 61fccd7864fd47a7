//! Facts of machines: which distribution real release files mean, and what small roots are
//! taken for. Knows nothing of how the facts are found.

mod machines;

use instancesync::facts::{
    AppArmor, BootLoader, BootMode, Family, Init, Libc, NetworkStack, PackageManager, SelinuxMode,
    UsrLayout,
};

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

/// What a preset has to be taken for.
struct Expected {
    id: &'static str,
    family: Family,
    init: Init,
    loader: BootLoader,
    layout: UsrLayout,
    stacks: &'static [NetworkStack],
    manager: PackageManager,
    kernel: &'static str,
}

#[test]
fn presets_are_what_they_claim() {
    for (root, expected) in presets() {
        let id = expected.id;
        let facts = root.facts();
        assert_eq!(facts.distribution.id, id);
        assert_eq!(facts.distribution.family, expected.family, "{id}");
        assert_eq!(facts.init, expected.init, "{id}");
        assert_eq!(facts.boot.loader, expected.loader, "{id}");
        assert_eq!(facts.usr_layout, expected.layout, "{id}");
        assert_eq!(facts.network.in_charge, expected.stacks, "{id}");
        assert_eq!(facts.packages.manager, Some(expected.manager), "{id}");
        assert_eq!(facts.architecture.as_deref(), Some("x86_64"), "{id}");
        let kernels: Vec<_> = facts.kernels.installed.iter().collect();
        assert_eq!(kernels.len(), 1, "{id}: {kernels:?}");
        assert_eq!(kernels[0].version, expected.kernel, "{id}");
        assert!(
            kernels[0].has_image && kernels[0].has_modules,
            "{id}: {kernels:?}"
        );
        assert!(facts.identity.hostname.is_some(), "{id}");
        assert_eq!(facts.identity.host_keys.len(), 1, "{id}");
        assert!(facts.identity.root_uuid.is_some() && !facts.is_live, "{id}");
        assert_ne!(facts.libc, Libc::Unknown, "{id}");
        assert_eq!(facts.unknown, [""; 0], "{id}");
    }
}

fn presets() -> Vec<(SmallRoot, Expected)> {
    type Stacks = &'static [NetworkStack];
    let expected = |id, family, init, (loader, layout), stacks: Stacks, manager, kernel| Expected {
        id,
        family,
        init,
        loader,
        layout,
        stacks,
        manager,
        kernel,
    };
    use {
        BootLoader as Loader, NetworkStack as Stack, PackageManager as Manager, UsrLayout as Usr,
    };
    let grub_merged = (Loader::Grub2, Usr::Merged);
    vec![
        (
            SmallRoot::debian(),
            expected(
                "debian",
                Family::Debian,
                Init::Systemd,
                grub_merged,
                &[Stack::Ifupdown],
                Manager::Dpkg,
                "6.1.0-18-amd64",
            ),
        ),
        (
            SmallRoot::ubuntu(),
            expected(
                "ubuntu",
                Family::Debian,
                Init::Systemd,
                grub_merged,
                &[Stack::Netplan, Stack::SystemdNetworkd],
                Manager::Dpkg,
                "6.1.0-18-amd64",
            ),
        ),
        (
            SmallRoot::rocky(),
            expected(
                "rocky",
                Family::Rhel,
                Init::Systemd,
                grub_merged,
                &[Stack::NetworkManager],
                Manager::Rpm,
                "5.14.0-362.8.1.el9_3.x86_64",
            ),
        ),
        (
            SmallRoot::centos_6(),
            expected(
                "centos",
                Family::Rhel,
                Init::Upstart,
                (Loader::GrubLegacy, Usr::Split),
                &[Stack::NetworkScripts],
                Manager::Rpm,
                "2.6.32-754.el6.x86_64",
            ),
        ),
        (
            SmallRoot::amazon_2(),
            expected(
                "amzn",
                Family::Rhel,
                Init::Systemd,
                grub_merged,
                &[Stack::NetworkScripts],
                Manager::Rpm,
                "5.10.205-195.807.amzn2.x86_64",
            ),
        ),
        (
            SmallRoot::suse(),
            expected(
                "opensuse-leap",
                Family::Suse,
                Init::Systemd,
                grub_merged,
                &[Stack::Wicked],
                Manager::Rpm,
                "5.14.21-150500.53-default",
            ),
        ),
        (
            SmallRoot::arch(),
            expected(
                "arch",
                Family::Arch,
                Init::Systemd,
                (Loader::SystemdBoot, Usr::Merged),
                &[Stack::SystemdNetworkd],
                Manager::Pacman,
                "6.7.4-arch1-1",
            ),
        ),
        (
            SmallRoot::gentoo(),
            expected(
                "gentoo",
                Family::Gentoo,
                Init::Openrc,
                (Loader::Grub2, Usr::Split),
                &[Stack::OpenrcNetifrc],
                Manager::Portage,
                "6.6.13-gentoo-dist",
            ),
        ),
        (
            SmallRoot::alpine(),
            expected(
                "alpine",
                Family::Alpine,
                Init::Openrc,
                (Loader::Extlinux, Usr::Split),
                &[Stack::Ifupdown],
                Manager::Apk,
                "6.6.14-0-virt",
            ),
        ),
    ]
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
    for (root, _) in presets() {
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
