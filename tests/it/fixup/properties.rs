//! What holds for any bytes: no panic, merging twice is merging once, no way to lose the machine.

use std::collections::BTreeSet;

use super::case::{Case, applied, path};
use instancesync::facts::{Init, Interface};
use instancesync::fixup::{File, Object, Objects, Owners};
use instancesync::merger::Merger;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

/// Lines that mean something to one of the mergers, on either machine.
const FSTAB: &[&str] = &[
    "UUID=1 / ext4 defaults 0 1",
    "/dev/vda1 / xfs",
    "UUID=2 /boot ext4 defaults 0 2",
    "/dev/sdb none swap sw 0 0",
    "nas:/a /a nfs rw 0 0",
    "nas:/a /b/ nfs4 fg",
    "#",
    "# note",
    "//x/y /c cifs",
    "tmpfs /tmp tmpfs size=1G",
    "tmpfs /x tmpfs uid=a",
    "/d /e none bind",
    "a b",
    "UUID=3 /data ext4",
    "nas:/usr /usr nfs",
    "# >>> instancesync: x",
    "# <<< instancesync",
    " # <<< instancesync",
    "# instancesync: why",
    "x /sp\\040ace xfs",
    " >>> instancesync",
    "proc /proc proc defaults 0 0",
    "\\0 \\057 x",
];
const HOSTS: &[&str] = &[
    "127.0.0.1 localhost one",
    "127.0.1.1 web1 shop",
    "10.0.0.5 web1 db",
    "10.0.0.9 x y z # c",
    "10.0.0.8 X",
    "::1 localhost ip6-localhost",
    "ff02::1 all",
    "# c",
    "",
    "1.2.3.4",
    "fresh",
    "# >>> instancesync: x",
    "# <<< instancesync",
    "10.0.0.9 fresh two",
];
const KEYS: &[&str] = &[
    "ssh-ed25519 AAAA a",
    "ssh-ed25519 AAAA b",
    "no-pty ssh-ed25519 AAAA",
    "ssh-rsa BBBB",
    "command=\"a b\" ssh-rsa CCCC x",
    "ssh-rsa DDDD instancesync:p1:n:",
    "# c",
    "ssh-rsa EEEE x instancesync:p2:n:f",
    "from=\"x ssh-rsa FFFF",
    "ssh-rsa",
];
const PASSWD: &[&str] = &[
    "root:x:0:0::/root:/bin/sh",
    "root:h:0:0::/:/bin/sh",
    "a:x:100:100::/:/x",
    "b:x:101:101::/:/x",
    "b:x:100:101::/:/x",
    "c:x:102:100::/:/x",
    "sshd:x:103:65534::/:/x",
    "d:x:1000:1000::/:/x",
    "a:x:bad",
    "+",
    "+@x::::::",
    "-y",
    "# c",
    "e:x:999:999::/:/x",
    "f:x:100:999::/:/x",
];
const SHADOW: &[&str] = &[
    "root:h:1::::::",
    "a:!:1::::::",
    "b:*:1::::::",
    "c:!!h:1::::::",
    "root:short",
    "sshd:!:::::::",
];
const GROUP: &[&str] = &[
    "root:x:0:",
    "a:x:100:",
    "b:x:101:a,c",
    "c:x:100:",
    "sshd:x:104:",
    "nogroup:x:65534:",
    "e:x:999:b",
    "+:::",
    "bad:x",
    "c:x:102",
    "ssh_keys:x:101:",
    "d:x:1000:",
];
const GSHADOW: &[&str] = &["root:*::", "a:!::", "b:!:a:a,c", "sshd:!::", "bad"];
const RANGES: &[&str] = &["a:100000:65536", "b:165536:65536", "d:100000:1", "x"];
const SSHD: &[&str] = &[
    "Port 22",
    "HostKey /etc/ssh/a",
    "HostKey=/etc/ssh/b",
    "ListenAddress 10.0.0.5",
    "ListenAddress 127.0.0.1:22",
    "ListenAddress [::1]:22",
    "AuthorizedKeysCommand /opt/x %u",
    "AuthorizedKeysCommandUser x",
    "Match User a",
    "# instancesync: x",
    "\"",
    "HostKey \"/a b\"",
];
const OTHERS: &[&str] = &[
    "SELINUX=enforcing",
    "SELINUX=disabled",
    "SELINUXTYPE=x",
    "loop",
    "virtio_net",
    "# c",
    "",
    "Name: grub-pc/install_devices",
    "Value: /dev/vda",
    "Name: x/y",
    "blacklist virtio_net",
];
const FILES: &[(&str, &[&str])] = &[
    ("etc/fstab", FSTAB),
    ("etc/hosts", HOSTS),
    ("root/.ssh/authorized_keys", KEYS),
    ("etc/passwd", PASSWD),
    ("etc/shadow", SHADOW),
    ("etc/group", GROUP),
    ("etc/gshadow", GSHADOW),
    ("etc/subuid", RANGES),
    ("etc/ssh/sshd_config", SSHD),
    ("etc/ssh/sshd_config.d/x.conf", SSHD),
    ("etc/selinux/config", OTHERS),
    ("etc/modules", OTHERS),
    ("etc/modprobe.d/x.conf", OTHERS),
    ("var/cache/debconf/config.dat", OTHERS),
    (
        "lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
        SSHD,
    ),
];
const LINKS: &[&str] = &[
    "etc/systemd/system/multi-user.target.wants/NetworkManager.service",
    "etc/systemd/system/multi-user.target.wants/ssh.service",
    "etc/systemd/system/ssh.service",
    "etc/systemd/system/NetworkManager.service",
    "etc/systemd/system/x.service",
    "etc/rc2.d/S01networking",
    "etc/rc2.d/K01networking",
    "etc/runlevels/boot/net.eth0",
    "etc/systemd/system/qemu-guest-agent.service",
    "etc/systemd/system/cloud-init.service",
    "etc/systemd/system/multi-user.target.wants/qemu-guest-agent.service",
    "etc/systemd/system/ssh.service.d/ec2-instance-connect.conf",
];

fn contents(lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        9 => select(lines).prop_map(|line| line.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..12),
        1 => vec(select(&b" \t:#=/,\\\"\n0a"[..]), 0..12),
    ];
    (vec(line, 0..12), any::<bool>()).prop_map(|(lines, ends)| {
        let mut contents = lines.join(&b'\n');
        contents.extend(ends.then_some(b'\n'));
        contents
    })
}

fn objects() -> impl Strategy<Value = Objects> {
    let files: Vec<_> = FILES
        .iter()
        .map(|(at, lines)| {
            let file = contents(lines).prop_map(|contents| {
                let (mode, uid, gid) = (0o644, 0, 0);
                Some(Object::File(File {
                    contents,
                    mode,
                    uid,
                    gid,
                }))
            });
            prop_oneof![6 => file, 1 => Just(None)].prop_map(|object| (path(at), object))
        })
        .collect();
    let links: Vec<_> = LINKS
        .iter()
        .map(|at| {
            let link = select(&["/dev/null", "/lib/x", "../x"][..]);
            let link = link.prop_map(|text| Some(Object::Link(text.as_bytes().to_vec())));
            prop_oneof![1 => link, 2 => Just(None)].prop_map(|object| (path(at), object))
        })
        .collect();
    (files, links).prop_map(|(files, links)| {
        let both = files.into_iter().chain(links);
        both.filter_map(|(at, object)| Some((at, object?)))
            .collect()
    })
}

fn case() -> impl Strategy<Value = Case> {
    let kept = vec(select(&[0u32, 42, 100, 101, 102, 103, 999, 1000][..]), 0..6);
    let parts = (objects(), objects(), kept.clone(), kept, any::<bool>());
    parts.prop_map(|(source, target, uids, gids, is_systemd)| {
        let mut case = Case {
            mergers: Merger::ALL.to_vec(),
            ..Case::default()
        };
        (case.versions.source, case.versions.target) = (source, target);
        case.kept = Owners {
            uids: uids.into_iter().collect(),
            gids: gids.into_iter().collect(),
        };
        case.source.init = if is_systemd {
            Init::Systemd
        } else {
            Init::Openrc
        };
        case.source.identity.hostname = Some("web1".to_owned());
        case.target.identity.hostname = Some("fresh".to_owned());
        case.source.network.interfaces.push(Interface {
            addresses: vec!["10.0.0.5".to_owned()],
            ..Interface::default()
        });
        case
    })
}

fn hold(check: impl Fn(&Case)) {
    let config = Config {
        cases: 1000,
        failure_persistence: None,
        ..Config::default()
    };
    let run = TestRunner::new(config).run(&case(), |case| {
        check(&case);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

fn text(objects: &Objects, at: &str) -> Option<Vec<u8>> {
    let file = objects.get(&path(at)).and_then(|object| object.file());
    file.map(|file| file.contents.clone())
}

fn lines(contents: &[u8]) -> Vec<&[u8]> {
    contents.split(|byte| *byte == b'\n').collect()
}

#[test]
fn merging_twice_is_merging_once() {
    hold(|case| {
        let merged = case.merge();
        let after = case.after(&merged);
        let again = after.merge();
        let twice = applied(&after.versions.target, &again.edits);
        for (at, object) in &twice {
            let once = after.versions.target.get(at);
            let show = |object: Option<&Object>| {
                let contents = object.and_then(|object| object.file());
                contents.map(|file| String::from_utf8_lossy(&file.contents).into_owned())
            };
            assert_eq!(
                once,
                Some(object),
                "{at:?}: {:?}, then {:?}",
                show(once),
                show(Some(object))
            );
        }
        assert_eq!(twice.len(), after.versions.target.len());
        assert!(again.owners.is_empty(), "{:?}", again.owners);
    });
}

#[test]
fn no_line_of_the_source_can_stop_the_boot() {
    hold(|case| {
        let after = applied(&case.versions.target, &case.merge().edits);
        let (Some(merged), own) = (
            text(&after, "etc/fstab"),
            text(&case.versions.target, "etc/fstab"),
        ) else {
            return;
        };
        let own = own.unwrap_or_default();
        let own: BTreeSet<&[u8]> = lines(&own).into_iter().collect();
        for line in lines(&merged) {
            let trimmed = line.trim_ascii();
            let text = String::from_utf8_lossy(line);
            let is_safe = trimmed.is_empty()
                || trimmed.starts_with(b"#")
                || text.contains("nofail")
                || text == "tmpfs /tmp tmpfs size=1G"
                || text == "proc /proc proc defaults 0 0";
            assert!(own.contains(line) || is_safe, "{text}");
        }
    });
}

#[test]
fn root_stays_and_the_source_s_rows_with_it() {
    hold(|case| {
        let after = applied(&case.versions.target, &case.merge().edits);
        let is_root =
            |line: &[u8]| line.starts_with(b"root:") && line.split(|b| *b == b':').count() == 7;
        let has_root = |objects: &Objects| {
            text(objects, "etc/passwd")
                .is_some_and(|passwd| lines(&passwd).into_iter().any(is_root))
        };
        assert!(has_root(&after) || !has_root(&case.versions.target));
        let after = text(&after, "etc/passwd").unwrap_or_default();
        let source = text(&case.versions.source, "etc/passwd").unwrap_or_default();
        let is_taken = after.starts_with(b"root") && has_root(&case.versions.source);
        let kept = text(&case.versions.target, "etc/passwd").unwrap_or_default() == after;
        let has_all = lines(&source)
            .iter()
            .all(|line| lines(&after).contains(line) || line.is_empty());
        assert!(kept || has_all || !is_taken);
    });
}

#[test]
fn no_key_of_a_run_is_left() {
    hold(|case| {
        let after = applied(&case.versions.target, &case.merge().edits);
        let keys = text(&after, "root/.ssh/authorized_keys").unwrap_or_default();
        for line in lines(&keys) {
            let line = String::from_utf8_lossy(line);
            assert!(line != "ssh-rsa DDDD instancesync:p1:n:", "{line}");
            assert!(line != "ssh-rsa EEEE x instancesync:p2:n:f", "{line}");
        }
    });
}
