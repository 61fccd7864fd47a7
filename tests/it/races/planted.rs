//! What was put in the way before a run begins, on either side: links from a system to outside of
//! it where root will write, and private directories that are not ours. A fault ends the run or is
//! told; nothing outside changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use filetime::FileTime;
use instancesync::check::{CheckFacts, CheckOrder};
use instancesync::entry::{Metadata, Timestamp, Xattr};
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::facts::Facts;
use instancesync::fixup::{NewName, Task, gather};
use instancesync::fs::Dir;
use instancesync::fs::metadata::{Before, apply_metadata, change_mtime, read_metadata};
use instancesync::fs::staged::private_dir;
use instancesync::fs::xattrs::Object;
use instancesync::merger::Merger;
use instancesync::orders::{ConfirmOrder, Order, RollbackOrder, SwitchOrder, TargetOrder};
use instancesync::problem::Side;
use instancesync::relpath::{Name, RelPath};
use instancesync::switch::{Entrance, RunLogin};

use super::{ACCOUNT, Field, own};
use crate::staged::passes;
use crate::support::engine::Job;
use crate::support::places::put;
use crate::support::{Ability, can_run};

/// Makes something under the name of the private directory; the second path lies outside.
type Plant = fn(&Path, &Path);

const PLANTS: [(&str, Plant); 5] = [
    ("a link", |private, precious| {
        symlink(precious, private).unwrap();
    }),
    ("a link to a private directory", |private, precious| {
        symlink(precious.join("d0"), private).unwrap();
    }),
    ("a directory of the account", |private, _| {
        fs::create_dir_all(private.join("stage")).unwrap();
        own(private, ACCOUNT, 0o700);
    }),
    ("a directory that others write to", |private, _| {
        fs::create_dir_all(private.join("stage")).unwrap();
        own(private, 0, 0o777);
    }),
    ("a file", |private, _| fs::write(private, "7").unwrap()),
];

#[test]
fn a_private_directory_that_is_not_ours_is_not_used() {
    if !can_run(
        "a_private_directory_that_is_not_ours_is_not_used",
        &[Ability::Root],
    ) {
        return;
    }
    for (name, plant) in PLANTS {
        for staged in [false, true] {
            let field = Field::new();
            put(&field.source.join("etc/file"), "new");
            put(&field.target.join("etc/file"), "old");
            let private = field.target.join(".instancesync");
            plant(&private, &field.precious);
            let mut job = Job::new(&field.source, &field.target).deleting(u64::MAX);
            job.policy.staged = staged.then(Vec::new);
            let ran = job.run();
            assert!(ran.result.is_err(), "{name}: {ran:?}");
            let live = Dir::open_root(&field.target).unwrap();
            assert!(private_dir(&live, &RelPath::root()).is_err(), "{name}");
            for order in orders(&field.target) {
                drop(order.perform());
            }
            field.assert_outside_untouched(name);
            assert_eq!(
                fs::read(field.target.join("etc/file")).unwrap(),
                b"old",
                "{name}"
            );
        }
    }
}

/// Where root writes after the passes, or where that lies.
const LINKED: [&str; 14] = [
    "etc",
    "etc/ssh",
    "etc/systemd",
    "etc/systemd/system",
    "etc/fstab",
    "root",
    "root/.ssh",
    "root/.ssh/authorized_keys",
    "var",
    "var/lib/instancesync",
    "var/log/instancesync",
    "usr",
    "boot",
    "home/a",
];

/// A small system; `mark` tells one from the other.
fn system(root: &Path, mark: &str) {
    let rows = "root:x:0:0::/root:/bin/sh\n";
    for (path, text) in [
        ("etc/passwd", rows),
        ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/gshadow", "root:*::\n"),
        ("etc/fstab", "UUID=aaaa / ext4 defaults 0 1\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/ssh/sshd_config", "PermitRootLogin yes\n"),
        ("etc/systemd/system/x.service", "[Unit]\n"),
        (
            "root/.ssh/authorized_keys",
            "ssh-ed25519 AAAA instancesync:p1:n1:\n",
        ),
        ("var/lib/instancesync/originals/etc/fstab", "older\n"),
        ("var/log/instancesync/20261121T091519Z-p1.log", "older\n"),
        ("usr/bin/tool", "tool\n"),
        ("boot/vmlinuz", "kernel\n"),
        ("home/a/.ssh/authorized_keys", "ssh-ed25519 BBBB a\n"),
    ] {
        put(&root.join(path), text);
    }
    put(&root.join("etc/hostname"), mark);
    put(&root.join("etc/machine-id"), mark);
}

/// Puts a link to the same place outside where something is.
fn lead_out(root: &Path, path: &str, outside: &Path) {
    let here = root.join(path);
    match here.is_dir() {
        true => fs::remove_dir_all(&here).unwrap(),
        false => fs::remove_file(&here).unwrap(),
    }
    symlink(outside.join(path), &here).unwrap();
}

fn task(source: &Path, staged: bool) -> Task {
    let kept = [
        "/etc/ssh/***",
        "/boot/***",
        "/home/a/***",
        "/var/lib/instancesync/***",
    ];
    let rule = |at| Rule::new(Verdict::Keep, at, "test").because("the target's");
    Task {
        mergers: Merger::ALL.to_vec(),
        source: gather(&Dir::open_root(source).unwrap(), Side::Source, &Merger::ALL),
        source_facts: Facts::default(),
        target_facts: Facts::default(),
        rules: Rules::new(kept.map(rule).to_vec()).unwrap(),
        returning_pair: None,
        new_name: Some(NewName::Given("named".to_owned())),
        staged: staged.then(Vec::new),
        apart: Vec::new(),
        dry_run: false,
    }
}

/// All that may be ordered about a stage, in the order of a clone.
fn orders(root: &Path) -> Vec<Order> {
    let target = TargetOrder {
        root: root.to_owned(),
        dry_run: false,
    };
    let switch = Order::Switch(SwitchOrder {
        root: root.to_owned(),
        login: Some(RunLogin {
            pair: "p1".to_owned(),
            home: PathBuf::from("/root"),
            uid: 0,
            limit_s: 0,
        }),
        probation: None,
        entrance: Entrance::default(),
        reboots: false,
    });
    let check = Order::Check(CheckOrder {
        root: root.to_owned(),
        volumes: Vec::new(),
        facts: CheckFacts::default(),
    });
    let rollback = Order::Rollback(RollbackOrder {
        target: target.clone(),
        reboots: false,
    });
    let confirm = Order::Confirm(ConfirmOrder {
        target: target.clone(),
        record: None,
    });
    let [repair, status, discard] =
        [Order::Repair, Order::Status, Order::Discard].map(|order| order(target.clone()));
    vec![
        check,
        switch.clone(),
        repair,
        status,
        rollback,
        switch,
        confirm,
        discard,
    ]
}

#[test]
fn links_of_a_system_lead_no_write_outside() {
    if !can_run("links_of_a_system_lead_no_write_outside", &[Ability::Root]) {
        return;
    }
    let mut done = 0;
    for path in LINKED {
        for (on_source, on_target) in [(true, false), (false, true), (true, true)] {
            for staged in [true, false] {
                let context = format!("{path}, {on_source} {on_target}, staged {staged}");
                let mut field = Field::new();
                system(&field.precious, "outside");
                field.look_outside();
                system(&field.source, "source");
                system(&field.target, "target");
                for (is_linked, root) in [(on_source, &field.source), (on_target, &field.target)] {
                    if is_linked {
                        lead_out(root, path, &field.precious);
                    }
                }
                let task = task(&field.source, staged);
                let mut job = Job::new(&field.source, &field.target).deleting(u64::MAX);
                job.policy.staged = staged.then(Vec::new);
                job.rules = task.rules.clone();
                if staged {
                    job.plans = passes();
                }
                job.run().result.unwrap();
                field.assert_outside_untouched(&context);
                perform(&task, &field.target);
                field.assert_outside_untouched(&format!("{context}: fix-ups"));
                if staged {
                    for order in orders(&field.target) {
                        done += u32::from(order.perform().is_ok());
                        field.assert_outside_untouched(&format!("{context}: {order:?}"));
                    }
                }
            }
        }
    }
    assert!(done > 200, "only {done} orders were carried out");
}

/// Another test that starts a program may hold its lock for a moment.
fn perform(task: &Task, root: &Path) {
    while task.perform(root).is_err_and(|error| error.is_locked()) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The calls themselves: the races above find nothing where a second look at the inode makes up
/// for a link that was followed.
#[test]
fn no_call_on_a_leaf_follows_the_link_that_took_its_name() {
    let test = "no_call_on_a_leaf_follows_the_link_that_took_its_name";
    if !can_run(test, &[Ability::Root]) {
        return;
    }
    let field = Field::new();
    let dir = Dir::open_root(&field.target).unwrap();
    let [file, below, free] =
        ["file", "below", "free"].map(|name| Name::new(name.as_bytes()).unwrap());
    symlink(field.precious.join("d0/f0"), field.target.join("file")).unwrap();
    symlink(field.precious.join("d0"), field.target.join("below")).unwrap();
    let old = FileTime::from_unix_time(1_000_000_000, 0);
    filetime::set_symlink_file_times(field.target.join("file"), old, old).unwrap();
    assert!(dir.open_file(&file).is_err(), "read");
    assert!(dir.reopen_file(&file).is_err(), "written");
    assert!(dir.create_file(&file).is_err(), "created");
    assert!(dir.open_dir(&below).is_err(), "entered");
    assert!(dir.open_beneath(&RelPath::new(b"below").unwrap()).is_err());
    assert!(
        dir.open_beneath(&RelPath::new(b"below/sub").unwrap())
            .is_err()
    );
    assert!(dir.make_dir(&file).is_err(), "made");
    let status = dir.status_of(&file).unwrap();
    assert_eq!(status.kind(), None, "looked at");
    let leaf = Object::Leaf(&dir, &file);
    assert_eq!(read_metadata(leaf, &status).unwrap().xattrs, []);
    let wanted = Metadata {
        mode: 0o4777,
        uid: ACCOUNT,
        gid: ACCOUNT,
        mtime: Timestamp {
            seconds: 77,
            nanoseconds: 7,
        },
        xattrs: vec![Xattr {
            name: b"trusted.new".to_vec(),
            value: b"given".to_vec(),
        }],
    };
    // A link has no mode of its own; the rest it gets itself.
    assert!(apply_metadata(leaf, true, &wanted, Before::Unknown).is_empty());
    field.assert_outside_untouched("attributes");
    let given = dir.status_of(&file).unwrap();
    assert_eq!((given.uid(), given.mtime().seconds), (ACCOUNT, 77));
    assert_eq!(read_metadata(leaf, &given).unwrap().xattrs.len(), 1);
    change_mtime(
        leaf,
        Timestamp {
            seconds: 78,
            nanoseconds: 0,
        },
    )
    .unwrap();
    dir.link(&file, &dir, &free).unwrap();
    assert_eq!(dir.status_of(&free).unwrap().id(), given.id(), "linked");
    dir.rename(&free, &dir, &below).unwrap();
    dir.remove_tree(&below).unwrap();
    dir.remove_file(&file).unwrap();
    field.assert_outside_untouched("all calls");
}
