//! What the target keeps in a stage, and fix-ups made there: the live tree stays as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::case::path;
use crate::support::roots::SmallRoot;
use crate::support::{Ability, can_run};
use instancesync::distro;
use instancesync::entry::Timestamp;
use instancesync::exclude::profile::{Catalog, Policies, Selection};
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::facts::Facts;
use instancesync::fixup::{
    Carry, CarryStats, CloneNote, NewName, Occasion, OwnerMap, Report, Task, astray, carry, gather,
};
use instancesync::fs::{Dir, Root, Staged};
use instancesync::merger::Merger;
use instancesync::problem::Side;
use instancesync::relpath::RelPath;
use tempfile::TempDir;
use walkdir::WalkDir;

/// A live tree with a stage in it.
struct Ground {
    place: TempDir,
    volumes: Vec<RelPath>,
    rules: Rules,
    apart: Vec<RelPath>,
    owners: OwnerMap,
    edited: Vec<RelPath>,
}

fn put(root: &Path, at: &str, contents: &str) {
    let file = root.join(at);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, contents).unwrap();
}

fn read(root: &Path, at: &str) -> String {
    std::fs::read_to_string(root.join(at)).unwrap_or_else(|error| format!("{at}: {error}"))
}

fn inode(path: PathBuf) -> Option<u64> {
    path.symlink_metadata().ok().map(|found| found.ino())
}

/// Everything below a root but what is private, with all that must not change. The number of
/// names is not in it.
fn look(root: &Path) -> BTreeMap<PathBuf, String> {
    let walk = WalkDir::new(root).into_iter();
    let walk = walk.filter_entry(|entry| entry.file_name() != ".instancesync");
    walk.map(|entry| {
        let entry = entry.unwrap();
        let (at, found) = (entry.path(), entry.path().symlink_metadata().unwrap());
        let attributes: Vec<_> = xattr::list(at).map(Iterator::collect).unwrap_or_default();
        let contents = match found.is_file() {
            true => std::fs::read(at).unwrap(),
            false => Vec::new(),
        };
        let owner = (found.ino(), found.uid(), found.gid(), found.mode());
        let times = (found.mtime(), found.mtime_nsec());
        let line = format!("{owner:?} {times:?} {attributes:?} {contents:?}");
        (at.strip_prefix(root).unwrap().to_owned(), line)
    })
    .collect()
}

impl Ground {
    fn new(rules: &[(Verdict, &str, &str)]) -> Ground {
        let rule = |(verdict, pattern, reason): &(Verdict, &str, &str)| {
            Rule::new(*verdict, *pattern, "test").because(*reason)
        };
        let ground = Ground {
            place: tempfile::tempdir().unwrap(),
            volumes: Vec::new(),
            rules: Rules::new(rules.iter().map(rule).collect()).unwrap(),
            apart: Vec::new(),
            owners: OwnerMap::default(),
            edited: Vec::new(),
        };
        ground.staged();
        ground
    }

    fn live(&self) -> &Path {
        self.place.path()
    }

    fn stage(&self) -> PathBuf {
        self.live().join(".instancesync/stage")
    }

    fn staged(&self) -> Staged {
        Staged::make(&Dir::open_root(self.live()).unwrap(), &self.volumes).unwrap()
    }

    fn has(&self, at: &str, contents: &str) {
        put(self.live(), at, contents);
    }

    fn stages(&self, at: &str, contents: &str) {
        put(&self.stage(), at, contents);
    }

    fn what(&self, occasion: Occasion) -> Carry<'_> {
        Carry {
            rules: &self.rules,
            apart: &self.apart,
            owners: &self.owners,
            edited: &self.edited,
            occasion,
        }
    }

    fn carry_on(&self, occasion: Occasion) -> CarryStats {
        let before = look(self.live());
        let (stats, problems) = carry(&self.staged(), &self.what(occasion));
        assert_eq!(problems, []);
        assert_eq!(look(self.live()), before, "the live tree changed");
        stats
    }

    fn carry(&self) -> CarryStats {
        self.carry_on(Occasion::BeforeFixUps)
    }

    /// Asserts that both trees have the same file under this name.
    #[track_caller]
    fn shares(&self, at: &str) {
        let own = inode(self.live().join(at));
        assert!(own.is_some(), "{at} is not there");
        assert_eq!(inode(self.stage().join(at)), own, "{at}");
    }

    #[track_caller]
    fn lacks(&self, at: &str) {
        assert_eq!(inode(self.stage().join(at)), None, "{at}");
    }
}

const NONE: CarryStats = CarryStats {
    linked_count: 0,
    copied_count: 0,
    directory_count: 0,
    removed_count: 0,
    renumbered_count: 0,
};
const KEEP: Verdict = Verdict::Keep;
const SKIP: Verdict = Verdict::Skip;

const CARRIED: [&str; 9] = [
    "left/out/deep/a",
    "srv/x.bak",
    "var/lib/instancesync/state",
    "etc/ssh/key_rsa",
    "etc/netplan/deep/a",
    "only/here/a",
    "etc/conflict",
    "etc/fstab",
    "mixed/apart/data",
];
const NOT_CARRIED: [&str; 7] = [
    "srv/x",
    "cache/c",
    "etc/ssh/config",
    "boot/kernel",
    "tmp/socket",
    "swapfile",
    "apart/data",
];

/// A target with one of everything, and a stage in which the source's files lie.
fn full_ground() -> Ground {
    let mut ground = Ground::new(&[
        (SKIP, "/left/out", ""),
        (SKIP, "*.bak", ""),
        (SKIP, "/var/lib/instancesync/***", "own"),
        (SKIP, "/cache/**", "a profile's"),
        (KEEP, "/etc/ssh/key_*", "why"),
        (KEEP, "/etc/netplan/***", "why"),
        (KEEP, "/only/here/***", "why"),
        (KEEP, "/etc/conflict", "why"),
        (Verdict::Merge, "/etc/fstab", "why"),
        (KEEP, "/boot/***", "why"),
        (SKIP, "/tmp/**", "why"),
        (KEEP, "/swapfile", "why"),
    ]);
    for at in CARRIED.iter().chain(&NOT_CARRIED) {
        ground.has(at, at);
    }
    symlink("nowhere", ground.live().join("etc/netplan/link")).unwrap();
    std::os::unix::net::UnixListener::bind(ground.live().join("etc/netplan/socket")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o2711);
    std::fs::set_permissions(ground.live().join("only"), mode).unwrap();
    for at in [
        "etc/ssh/config",
        "etc/conflict/is/a/directory",
        "etc/netplan/stale",
        "srv/x",
    ] {
        ground.stages(at, "the source's");
    }
    std::fs::create_dir_all(ground.stage().join("tmp")).unwrap();
    std::fs::create_dir_all(ground.stage().join("mixed/apart")).unwrap();
    ground.apart = vec![path("apart"), path("mixed/apart"), path("not/there")];
    ground
}

#[test]
fn what_the_target_keeps_gets_further_names_and_the_rest_does_not() {
    let ground = full_ground();
    let old = filetime::FileTime::from_unix_time(1_000_000, 7);
    filetime::set_file_mtime(ground.stage().join("etc/ssh"), old).unwrap();
    filetime::set_file_mtime(ground.live().join("only/here"), old).unwrap();
    let stats = ground.carry();
    assert_eq!((stats.copied_count, stats.renumbered_count), (0, 0));
    let more = ["etc/netplan/link", "etc/netplan/socket"];
    for at in CARRIED.iter().chain(&more) {
        ground.shares(at);
    }
    for at in ["cache", "boot", "tmp/socket", "swapfile", "apart", "not"] {
        ground.lacks(at);
    }
    ground.lacks("etc/netplan/stale");
    for at in ["srv/x", "etc/ssh/config"] {
        assert_eq!(read(&ground.stage(), at), "the source's");
    }
    let status = |at: &str| ground.stage().join(at).metadata().unwrap();
    assert_eq!(status("only").mode() & 0o7777, 0o2711);
    let time = (
        status("only/here").mtime(),
        status("only/here").mtime_nsec(),
    );
    assert_eq!(time, (1_000_000, 7));
    assert_eq!(
        status("etc/ssh").mtime(),
        1_000_000,
        "a directory of the source keeps its time"
    );
    assert_eq!(ground.carry(), NONE, "again");
    let again = ground.carry_on(Occasion::BeforeSwitch);
    assert_eq!(again, NONE, "before the switch");
}

#[test]
fn a_directory_that_the_source_fills_is_not_left_alone() {
    let ground = Ground::new(&[(Verdict::Copy, "/srv/ours", ""), (SKIP, "/srv/*", "")]);
    ground.has("srv/own", "x");
    ground.carry();
    ground.lacks("srv");
    ground.stages("srv/ours", "the source's");
    ground.carry();
    ground.shares("srv/own");
}

#[test]
fn what_was_left_out_beside_exceptions_comes_along_and_is_missed() {
    let ground = Ground::new(&[
        (Verdict::Copy, "/srv/**/", ""),
        (Verdict::Copy, "/srv/**/*.conf", ""),
        (SKIP, "/srv/**", ""),
    ]);
    ground.has("srv/www/logo.png", "x");
    ground.stages("srv/www/site.conf", "the source's");
    ground.carry();
    ground.shares("srv/www/logo.png");
    let later = Timestamp {
        seconds: i64::MAX,
        nanoseconds: 0,
    };
    let missed = || {
        astray(
            &ground.staged(),
            &ground.what(Occasion::BeforeSwitch),
            later,
        )
    };
    assert_eq!(missed(), []);
    std::fs::remove_file(ground.stage().join("srv/www/logo.png")).unwrap();
    assert_eq!(missed(), [path("srv/www/logo.png")]);
}

#[test]
fn what_changed_meanwhile_is_carried_again() {
    let mut ground = Ground::new(&[
        (KEEP, "/etc/key_*", "why"),
        (KEEP, "/var/log/own/***", "why"),
        (Verdict::Merge, "/etc/merged", "why"),
    ]);
    for at in [
        "etc/key_a",
        "etc/key_b",
        "etc/edited",
        "etc/merged",
        "var/log/own/a",
    ] {
        ground.has(at, at);
    }
    ground.has("var/log/own/gone/x", "x");
    ground.stages("etc/hosts", "x");
    ground.carry();
    let renamed = |at: &str| {
        ground.has("new", "new");
        std::fs::rename(ground.live().join("new"), ground.live().join(at)).unwrap();
    };
    for at in ["etc/key_a", "etc/merged", "var/log/own/a"] {
        renamed(at);
    }
    std::fs::remove_file(ground.live().join("etc/key_b")).unwrap();
    std::fs::remove_dir_all(ground.live().join("var/log/own/gone")).unwrap();
    ground.has("var/log/own/b", "b");
    // A merger wrote something for the target.
    let edited = ground.stage().join("var/log/own/edited");
    std::fs::write(&edited, "made of both").unwrap();
    ground.edited = vec![path("var/log/own/edited")];
    let stats = ground.carry_on(Occasion::BeforeSwitch);
    assert_eq!((stats.linked_count, stats.removed_count), (3, 2));
    for at in ["etc/key_a", "var/log/own/a", "var/log/own/b"] {
        ground.shares(at);
    }
    ground.lacks("etc/key_b");
    ground.lacks("var/log/own/gone");
    assert_eq!(
        read(&ground.stage(), "etc/merged"),
        "etc/merged",
        "not before the switch"
    );
    assert_eq!(read(&ground.stage(), "var/log/own/edited"), "made of both");
    assert_eq!(ground.carry_on(Occasion::BeforeSwitch), NONE);
}

#[test]
fn modules_of_a_kernel_that_was_installed_meanwhile_come_along() {
    let ground = Ground::new(&[
        (KEEP, "/usr/lib/modules/6.1/***", "why"),
        (Verdict::Copy, "/usr/lib/modules/6.3", ""),
        (SKIP, "/lib/modules/*", "why"),
        (SKIP, "/usr/lib/modules/*", "why"),
    ]);
    ground.has("usr/lib/modules/6.1/modules.dep", "x");
    symlink("usr/lib", ground.live().join("lib")).unwrap();
    symlink("usr/lib", ground.stage().join("lib")).unwrap();
    ground.stages("usr/lib/os-release", "x");
    ground.carry();
    ground.has("usr/lib/modules/6.2/kernel/a.ko", "x");
    ground.has("usr/lib/modules/6.3/kernel/a.ko", "x");
    let stats = ground.carry_on(Occasion::BeforeSwitch);
    assert_eq!(stats.linked_count, 1);
    ground.shares("usr/lib/modules/6.1/modules.dep");
    ground.shares("usr/lib/modules/6.2/kernel/a.ko");
    ground.lacks("usr/lib/modules/6.3");
    std::fs::remove_dir_all(ground.live().join("usr/lib/modules/6.2")).unwrap();
    assert_eq!(
        ground.carry_on(Occasion::BeforeSwitch).removed_count,
        1,
        "it was removed again"
    );
    ground.lacks("usr/lib/modules/6.2");
}

#[test]
fn files_that_get_another_owner_are_copies() {
    if !can_run("files_that_get_another_owner_are_copies", &[Ability::Root]) {
        return;
    }
    let mut ground = Ground::new(&[(KEEP, "/var/lib/own/***", "why"), (SKIP, "/mine/x", "")]);
    let at = |name: &str| ground.live().join(name);
    for name in ["var/lib/own/file", "var/lib/own/other", "mine/x"] {
        ground.has(name, name);
        std::os::unix::fs::chown(at(name), Some(101), Some(201)).unwrap();
    }
    std::fs::set_permissions(
        at("var/lib/own/file"),
        std::fs::Permissions::from_mode(0o4750),
    )
    .unwrap();
    xattr::set(at("var/lib/own/file"), "user.kept", b"1").unwrap();
    std::fs::hard_link(at("var/lib/own/file"), at("var/lib/own/second")).unwrap();
    symlink("x", at("var/lib/own/link")).unwrap();
    std::os::unix::fs::lchown(at("var/lib/own/link"), Some(101), Some(0)).unwrap();
    std::os::unix::fs::chown(at("var/lib/own"), Some(101), Some(201)).unwrap();
    std::os::unix::fs::chown(at("var/lib/own/other"), Some(0), Some(0)).unwrap();
    ground.carry();
    ground.shares("var/lib/own/file");
    ground.owners = OwnerMap {
        uids: [(101, 102), (102, 103)].into(),
        gids: [(201, 202)].into(),
    };
    let stats = ground.carry();
    assert_eq!((stats.copied_count, stats.renumbered_count), (3, 4));
    let owner = |name: &str| {
        let found = ground.stage().join(name).symlink_metadata().unwrap();
        (found.uid(), found.gid())
    };
    for name in ["var/lib/own", "var/lib/own/file", "var/lib/own/second"] {
        assert_eq!(owner(name), (102, 202), "{name}");
    }
    assert_eq!(owner("var/lib/own/link"), (102, 0));
    assert_eq!(
        owner("mine/x"),
        (101, 201),
        "the person's own are not the accounts' business"
    );
    ground.shares("var/lib/own/other");
    let file = ground.stage().join("var/lib/own/file");
    let found = file.metadata().unwrap();
    assert_eq!(found.mode() & 0o7777, 0o4750);
    assert_eq!(xattr::get(&file, "user.kept").unwrap(), Some(b"1".to_vec()));
    assert_eq!(
        inode(ground.stage().join("var/lib/own/second")),
        Some(found.ino())
    );
    assert_eq!(ground.carry(), NONE, "again");
    std::fs::write(ground.live().join("var/lib/own/file"), "another").unwrap();
    let stats = ground.carry_on(Occasion::BeforeSwitch);
    assert!(stats.copied_count > 0);
    assert_eq!(read(&ground.stage(), "var/lib/own/file"), "another");
    ground.owners = OwnerMap::default();
    ground.carry();
    ground.shares("var/lib/own/file");
}

#[test]
fn further_volumes_have_their_part_of_the_stage() {
    let mut ground = Ground::new(&[(KEEP, "/data/x/own/***", "why"), (KEEP, "*.key", "why")]);
    for at in ["data/x/own/a", "data/x/b.key", "data/top.key"] {
        ground.has(at, at);
    }
    ground.volumes = vec![path("data")];
    ground.staged();
    ground.carry();
    let part = ground.live().join("data/.instancesync/stage");
    let live = ground.live().join("data");
    for at in ["x/own/a", "x/b.key"] {
        assert_eq!(inode(part.join(at)), inode(live.join(at)), "{at}");
    }
    assert!(
        !part.join("top.key").exists(),
        "the switch leaves it where it is"
    );
    ground.lacks("data/x");
    assert_eq!(ground.carry(), NONE);
}

#[test]
fn a_link_on_the_way_is_a_problem_and_stays() {
    let ground = Ground::new(&[(KEEP, "/lib/own", "why")]);
    ground.has("lib/own", "x");
    ground.stages("usr/lib/a", "x");
    symlink("usr/lib", ground.stage().join("lib")).unwrap();
    let (_, problems) = carry(&ground.staged(), &ground.what(Occasion::BeforeFixUps));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, b"lib/own");
    assert!(ground.stage().join("lib").is_symlink());
    assert!(ground.stage().join("usr/lib/a").exists());
}

#[test]
fn what_must_not_be_linked_is_copied() {
    let name = "what_must_not_be_linked_is_copied";
    if !can_run(name, &[Ability::Root]) {
        return;
    }
    let ground = Ground::new(&[(KEEP, "/etc/own", "why")]);
    ground.has("etc/own", "mine");
    let file = ground.live().join("etc/own");
    let change = |flag: &str| {
        let run = Command::new("chattr").arg(flag).arg(&file).status();
        run.is_ok_and(|status| status.success())
    };
    if !change("+i") {
        println!("skipped {name}: nothing can be made immutable here");
        return;
    }
    let stats = ground.carry();
    let again = ground.carry();
    assert!(change("-i"), "take the flag away");
    assert_eq!((stats.linked_count, stats.copied_count), (0, 1));
    assert_eq!(again, NONE);
    assert_eq!(read(&ground.stage(), "etc/own"), "mine");
    assert_eq!(ground.carry().linked_count, 1, "now it can be linked");
    ground.shares("etc/own");
}

#[test]
fn what_is_mounted_without_a_stage_leaves_its_mount_point() {
    let name = "what_is_mounted_without_a_stage_leaves_its_mount_point";
    if !can_run(name, &[Ability::Root]) {
        return;
    }
    // Mounts are made in a name space of its own: the test runs itself there.
    const INSIDE: &str = "INSTANCESYNC_TEST_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_none() {
        let own = std::env::current_exe().unwrap();
        let run = Command::new("unshare")
            .args(["-m", "--"])
            .arg(own)
            .args(["--exact", &format!("fixup::staged::{name}"), "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        assert!(run.status.success(), "{run:?}");
        assert!(
            String::from_utf8_lossy(&run.stdout).contains("1 passed"),
            "{run:?}"
        );
        return;
    }
    let mut ground = Ground::new(&[
        (KEEP, "/var/lib/own/***", "why"),
        (KEEP, "/srv/data/here/own", "why"),
        (SKIP, "*.bak", ""),
    ]);
    let mount = |at: &str| {
        let at = ground.live().join(at);
        std::fs::create_dir_all(&at).unwrap();
        let run = Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(at)
            .status();
        assert!(run.unwrap().success());
    };
    for at in ["var/lib/own/mounted", "srv/data", "apart", "var/cache"] {
        mount(at);
    }
    for at in [
        "var/lib/own/mounted/a",
        "var/lib/own/b",
        "srv/data/here/own",
        "apart/x",
    ] {
        ground.has(at, at);
    }
    ground.has("var/cache/x.bak", "on another volume");
    ground.apart = vec![path("apart"), path("var/cache")];
    ground.carry();
    ground.shares("var/lib/own/b");
    for at in ["var/lib/own/mounted", "srv/data", "var/cache"] {
        let names = std::fs::read_dir(ground.stage().join(at)).unwrap();
        assert_eq!(names.count(), 0, "{at} is an empty mount point");
    }
    ground.lacks("apart");
    assert_eq!(ground.carry(), NONE);
}

const MERGED: [&str; 5] = [
    "/etc/fstab",
    "/etc/hosts",
    "/etc/{passwd,group,shadow,gshadow}",
    "/root/.ssh/authorized_keys",
    "/etc/systemd/system/*.wants/ssh.service",
];
const MERGERS: [Merger; 6] = [
    Merger::Fstab,
    Merger::Hosts,
    Merger::Accounts,
    Merger::AuthorizedKeys,
    Merger::Sshd,
    Merger::NetworkUnits,
];
const SOURCE: [(&str, &str); 11] = [
    (
        "etc/fstab",
        "UUID=s / ext4 defaults 0 1\nnas:/x /mnt/nas nfs defaults 0 0\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost\n10.0.0.1 db\n"),
    (
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nredis:x:101:101::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nredis:x:101:\n"),
    ("etc/shadow", "root:source:1::::::\nredis:!:1::::::\n"),
    ("root/.ssh/authorized_keys", "ssh-ed25519 AAAASOURCE s\n"),
    ("etc/machine-id", "11111111111111111111111111111111\n"),
    (
        "etc/ssh/sshd_config",
        "HostKey /etc/ssh/ssh_host_none\nPort 22\n",
    ),
    ("etc/hostname", "source\n"),
    ("usr/bin/tool", "the source's tool"),
    ("srv/site/index", "the source's site"),
];
const TARGET: [(&str, &str); 11] = [
    ("etc/fstab", "UUID=t / ext4 defaults 0 1\n"),
    ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 target\n"),
    (
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nntp:x:101:101::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nntp:x:101:\n"),
    ("etc/shadow", "root:target:1::::::\nntp:!:1::::::\n"),
    ("root/.ssh/authorized_keys", "ssh-ed25519 AAAATARGET t\n"),
    ("etc/machine-id", "22222222222222222222222222222222\n"),
    ("etc/hostname", "target\n"),
    ("etc/ssh/ssh_host_rsa_key", "key"),
    ("var/lib/ntp/drift", "1.0"),
    ("srv/own/data", "not in the clone"),
];
const KEPT: [&str; 4] = [
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/ssh/ssh_host_*",
    "/var/lib/ntp/***",
];

fn rules() -> Rules {
    let own = Rule::new(SKIP, "/var/lib/instancesync/***", "test").because("own");
    let keep = KEPT
        .iter()
        .map(|at| Rule::new(KEEP, *at, "test").because("why"));
    let merge = MERGED
        .iter()
        .map(|at| Rule::new(Verdict::Merge, *at, "test").because("why"));
    Rules::new(std::iter::once(own).chain(keep).chain(merge).collect()).unwrap()
}

fn fill(root: &Path, files: &[(&str, &str)]) {
    for (at, contents) in files {
        put(root, at, contents);
    }
    if root.join("var/lib/ntp").exists() {
        for at in ["var/lib/ntp", "var/lib/ntp/drift"] {
            std::os::unix::fs::chown(root.join(at), Some(101), Some(101)).unwrap();
        }
    }
}

/// Brings what the passes bring: files of the source that no rule protects.
fn pass(to: &Path, files: &[(&str, &str)]) {
    let rules = rules();
    for (at, contents) in files {
        if !rules.decide_deep(&path(at), false).verdict.protects() {
            put(to, at, contents);
        }
    }
}

fn task(source: &Path, staged: Option<Vec<RelPath>>) -> Task {
    Task {
        mergers: MERGERS.to_vec(),
        source: gather(&Dir::open_root(source).unwrap(), Side::Source, &MERGERS),
        source_facts: Facts::default(),
        target_facts: Facts::default(),
        rules: rules(),
        returning_pair: None,
        new_name: Some(NewName::Given("named".to_owned())),
        staged,
        apart: Vec::new(),
        dry_run: false,
    }
}

/// Performs a task.
pub fn perform(task: &Task, root: &Path) -> Report {
    task.perform(root).unwrap()
}

/// Contents, owners and modes, without what was there before.
fn outcome(root: &Path) -> BTreeMap<PathBuf, String> {
    let walk = WalkDir::new(root).into_iter().filter_entry(|entry| {
        let name = entry.file_name();
        name != ".instancesync" && name != "originals"
    });
    walk.map(|entry| {
        let entry = entry.unwrap();
        let found = entry.path().symlink_metadata().unwrap();
        let contents = match found.is_file() {
            true => read(
                root,
                entry.path().strip_prefix(root).unwrap().to_str().unwrap(),
            ),
            false => String::new(),
        };
        let line = format!(
            "{:o} {}:{} {contents}",
            found.mode(),
            found.uid(),
            found.gid()
        );
        (entry.path().strip_prefix(root).unwrap().to_owned(), line)
    })
    .collect()
}

#[test]
fn a_stage_ends_as_a_clone_in_place_does_and_the_live_tree_stays() {
    if !can_run("a_stage_ends_as_a_clone_in_place_does", &[Ability::Root]) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    fill(source.path(), &SOURCE);
    let place = tempfile::tempdir().unwrap();
    fill(place.path(), &TARGET);
    pass(place.path(), &SOURCE);
    std::fs::remove_dir_all(place.path().join("srv/own")).unwrap();
    let in_place = perform(&task(source.path(), None), place.path());

    let ground = Ground::new(&[]);
    fill(ground.live(), &TARGET);
    std::fs::set_permissions(
        ground.stage(),
        ground.live().metadata().unwrap().permissions(),
    )
    .unwrap();
    pass(&ground.stage(), &SOURCE);
    let before = look(ground.live());
    let staged = task(source.path(), Some(Vec::new()));
    let report = perform(&staged, ground.live());
    assert_eq!(report.problems, []);
    assert_eq!(report.owner_changes, in_place.owner_changes);
    assert!(
        report.owner_changes > 0,
        "the case has no account with another number"
    );
    assert_eq!(look(ground.live()), before, "the live tree changed");
    assert_eq!(outcome(&ground.stage()), outcome(place.path()));
    assert_eq!(read(&ground.stage(), "etc/hostname"), "named\n");
    ground.shares("etc/ssh/ssh_host_rsa_key");
    let originals = ground.stage().join("var/lib/instancesync/originals");
    assert_eq!(read(&originals, "etc/hostname"), "target\n");
    assert_eq!(read(&originals, "etc/shadow"), TARGET[4].1);
    assert!(
        !originals.join("etc/ssh/sshd_config").exists(),
        "the target had none"
    );

    let changed_at = |at: &str| {
        let found = ground.live().join(".instancesync").join(at);
        let found = found.metadata().unwrap();
        (found.ctime(), found.ctime_nsec())
    };
    let live = Dir::open_root(ground.live()).unwrap();
    let carried_at = CloneNote::read(&live).unwrap().unwrap().carried_at;
    let carried_at = (carried_at.seconds, i64::from(carried_at.nanoseconds));
    assert!(carried_at <= changed_at("stage/etc/hostname"));
    assert!(
        changed_at("stage/etc/hostname") <= changed_at("clone"),
        "ready before it was made"
    );

    let made = look(&ground.stage());
    let again = perform(&staged, ground.live());
    assert_eq!(
        (again.edits, again.problems, again.owner_changes),
        (vec![], vec![], 0)
    );
    assert_eq!(look(&ground.stage()), made, "again");

    let note = CloneNote::read(&live).unwrap().unwrap();
    assert!(note.edited.contains(&path("etc/hostname")));
    let (stats, problems) = carry(&ground.staged(), &note.refresh());
    assert_eq!((stats, problems), (NONE, vec![]));
    assert_eq!(look(&ground.stage()), made, "before the switch");
}

#[test]
fn what_is_no_longer_edited_is_the_targets_own_again() {
    if !can_run(
        "what_is_no_longer_edited_is_the_targets_own_again",
        &[Ability::Root],
    ) {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    fill(source.path(), &SOURCE);
    let ground = Ground::new(&[]);
    fill(ground.live(), &TARGET);
    let perform = || {
        let task = Task {
            new_name: None,
            ..task(source.path(), Some(Vec::new()))
        };
        perform(&task, ground.live())
    };
    perform();
    assert_ne!(
        inode(ground.stage().join("etc/hosts")),
        inode(ground.live().join("etc/hosts"))
    );
    put(
        source.path(),
        "etc/hosts",
        "127.0.0.1 localhost\n127.0.1.1 target\n",
    );
    perform();
    ground.shares("etc/hosts");
}

#[test]
fn a_target_with_selinux_gets_labels_at_its_next_boot() {
    let source = tempfile::tempdir().unwrap();
    let config = "SELINUX=enforcing\nSELINUXTYPE=targeted\n";
    put(source.path(), "etc/selinux/config", config);
    let ground = Ground::new(&[]);
    let labels = || {
        let task = Task {
            target_facts: distro::gather(&Root::open(ground.live()).unwrap()),
            ..task(source.path(), Some(Vec::new()))
        };
        let report = perform(&task, ground.live());
        assert_eq!(report.problems, []);
        ground.stage().join(".autorelabel").exists()
    };
    ground.stages("etc/selinux/config", config);
    ground.stages("etc/selinux/targeted/policy/policy.33", "x");
    assert!(!labels(), "the target has none");
    ground.has("etc/selinux/config", "SELINUX=permissive\n");
    assert!(labels());
    std::fs::remove_file(ground.stage().join(".autorelabel")).unwrap();
    std::fs::remove_dir_all(ground.stage().join("etc/selinux/targeted")).unwrap();
    assert!(!labels(), "there is no policy");
}

#[test]
fn cloud_init_that_only_the_source_has_is_off_by_the_shipped_rules() {
    let units = [
        "cloud-init-local",
        "cloud-init-main",
        "cloud-init",
        "cloud-final",
    ];
    let source = SmallRoot::debian().files(&["/usr/bin/cloud-init", "/etc/cloud/cloud.cfg"]);
    let ground = Ground::new(&[]);
    ground.has("etc/hostname", "target\n");
    for unit in units {
        ground.stages(&format!("usr/lib/systemd/system/{unit}.service"), "x");
    }
    let (facts, target) = (source.facts(), Facts::default());
    let selection = Selection {
        source: &facts,
        target: &target,
        policies: Policies::default(),
        with: &[],
        without: &[],
    };
    let selected = Catalog::shipped().unwrap().select(&selection).unwrap();
    let task = Task {
        mergers: vec![Merger::Agents],
        source_facts: facts,
        rules: selected.rules,
        new_name: None,
        ..task(source.path(), Some(Vec::new()))
    };
    let report = perform(&task, ground.live());
    assert_eq!(report.problems, []);
    let off = ground.stage().join("etc/cloud/cloud-init.disabled");
    assert!(off.is_file(), "{:?}", report.edits);
    for unit in units {
        let mask = format!("etc/systemd/system/{unit}.service");
        let mask = std::fs::read_link(ground.stage().join(mask));
        assert_eq!(mask.ok().as_deref(), Some(Path::new("/dev/null")), "{unit}");
    }
}

#[test]
fn an_agent_that_is_still_at_work_is_waited_for() {
    let source = tempfile::tempdir().unwrap();
    fill(source.path(), &SOURCE);
    let ground = Ground::new(&[]);
    fill(ground.live(), &TARGET);
    let before = Dir::open_root(ground.live()).unwrap();
    before
        .lock_within(std::time::Duration::from_secs(10))
        .unwrap();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        drop(before);
    });
    perform(&task(source.path(), Some(Vec::new())), ground.live());
    ends.join().unwrap();
}
