//! Edits applied to real trees: what stood there is kept, nothing outside is touched.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::case::path;
use crate::support::{Ability, can_run};
use instancesync::fixup::{
    Change, Edit, File, Level, Object, Originals, Outcome, OwnerMap, apply, change_owners, gather,
    owners_of,
};
use instancesync::fs::{Dir, Tree};
use instancesync::merger::Merger;
use instancesync::problem::Side;
use tempfile::TempDir;

const ORIGINALS: &str = "var/lib/instancesync/originals";

fn edit(at: &str, change: Change) -> Edit {
    Edit {
        merger: Merger::Hosts,
        path: path(at),
        change,
        level: Level::Info,
        reason: "a test".to_owned(),
    }
}

fn own(contents: &str) -> Change {
    Change::Write(File {
        contents: contents.as_bytes().to_vec(),
        mode: 0o640,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    })
}

fn put(root: &Path, at: &str, contents: &str) {
    let file = root.join(at);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, contents).unwrap();
}

fn read(root: &Path, at: &str) -> String {
    std::fs::read_to_string(root.join(at)).unwrap()
}

fn apply_to(root: &TempDir, edits: &[Edit]) -> Vec<Outcome> {
    let tree = Tree::from(Dir::open_root(root.path()).unwrap());
    apply(&tree, edits, Originals::Edited)
        .into_iter()
        .map(|applied| applied.outcome)
        .collect()
}

#[test]
fn replaces_keeps_the_original_and_then_has_nothing_to_do() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "etc/a", "old");
    symlink("old", root.path().join("etc/link")).unwrap();
    put(root.path(), "etc/gone", "gone");
    drop(xattr::set(root.path().join("etc/a"), "user.kept", b"1"));
    let edits = [
        edit("etc/a", own("new")),
        edit("etc/link", Change::Link(b"new".to_vec())),
        edit("etc/gone", Change::Remove),
        edit("etc/never", Change::Remove),
        edit("no/such/directory", Change::Remove),
    ];
    use Outcome::{Changed, Unchanged};
    let outcomes = apply_to(&root, &edits);
    assert_eq!(outcomes, [Changed, Changed, Changed, Unchanged, Unchanged]);
    assert!(
        apply_to(&root, &edits)
            .iter()
            .all(|outcome| *outcome == Unchanged)
    );
    assert_eq!(read(root.path(), "etc/a"), "new");
    let mode = root.path().join("etc/a").metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o640);
    if let Ok(Some(value)) = xattr::get(root.path().join(ORIGINALS).join("etc/a"), "user.kept") {
        assert_eq!(value, b"1");
        assert_eq!(
            xattr::get(root.path().join("etc/a"), "user.kept").unwrap(),
            Some(value)
        );
    }
    let link = |at: &str| std::fs::read_link(root.path().join(at)).unwrap();
    assert_eq!(link("etc/link"), Path::new("new"));
    assert_eq!(link(&format!("{ORIGINALS}/etc/link")), Path::new("old"));
    assert_eq!(read(root.path(), &format!("{ORIGINALS}/etc/gone")), "gone");
    // A later run has another opinion: the first original stays the original.
    assert_eq!(apply_to(&root, &[edit("etc/a", own("newer"))]), [Changed]);
    assert_eq!(read(root.path(), &format!("{ORIGINALS}/etc/a")), "old");
    let originals = root.path().join(ORIGINALS).metadata().unwrap();
    assert_eq!(originals.mode() & 0o777, 0o700);
    let names = std::fs::read_dir(root.path().join("etc")).unwrap().count();
    assert_eq!(names, 2, "no temp is left");
}

#[test]
fn goes_through_no_link() {
    let outside = tempfile::tempdir().unwrap();
    put(outside.path(), "passwd", "outside");
    let root = tempfile::tempdir().unwrap();
    symlink(outside.path(), root.path().join("etc")).unwrap();
    std::fs::create_dir(root.path().join("root")).unwrap();
    symlink(outside.path().join("passwd"), root.path().join("root/file")).unwrap();
    put(root.path(), "directory/x", "x");
    let outcomes = apply_to(
        &root,
        &[
            edit("etc/passwd", own("trapped")),
            edit("etc/new", Change::Link(b"x".to_vec())),
            edit("etc/passwd", Change::Remove),
            edit("directory", own("no file")),
            edit("directory", Change::Remove),
            edit("root/file", own("mine")),
        ],
    );
    let (last, refused) = outcomes.split_last().unwrap();
    for outcome in refused {
        let Outcome::Failed(problem) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(problem.side, Side::Target);
    }
    assert_eq!(*last, Outcome::Changed, "the link itself is replaced");
    assert_eq!(read(outside.path(), "passwd"), "outside");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(read(root.path(), "root/file"), "mine");
    assert_eq!(read(root.path(), "directory/x"), "x");
}

#[test]
fn a_trap_among_the_originals_stops_the_edit() {
    let outside = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "etc/a", "old");
    std::fs::create_dir_all(root.path().join("var/lib/instancesync")).unwrap();
    symlink(outside.path(), root.path().join(ORIGINALS)).unwrap();
    let outcomes = apply_to(&root, &[edit("etc/a", own("new"))]);
    assert!(matches!(outcomes[..], [Outcome::Failed(_)]));
    assert_eq!(read(root.path(), "etc/a"), "old");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn makes_the_directories_that_are_missing() {
    if !can_run("makes_the_directories_that_are_missing", &[Ability::Root]) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut keys = own("key");
    if let Change::Write(file) = &mut keys {
        (file.uid, file.gid) = (1234, 1235);
    }
    let edits = [
        edit("home/u/.ssh/authorized_keys", keys),
        edit(
            "etc/systemd/system/x.d/y",
            Change::Link(b"/dev/null".to_vec()),
        ),
    ];
    assert_eq!(
        apply_to(&root, &edits),
        [Outcome::Changed, Outcome::Changed]
    );
    let look = |at: &str| {
        let found = root.path().join(at).metadata().unwrap();
        (found.mode() & 0o777, found.uid(), found.gid())
    };
    assert_eq!(look("home/u/.ssh"), (0o700, 1234, 1235));
    assert_eq!(look("home/u/.ssh/authorized_keys"), (0o640, 1234, 1235));
    assert_eq!(look("etc/systemd/system/x.d"), (0o755, 0, 0));
}

#[test]
fn gathers_files_and_links_and_follows_none() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "etc/fstab", "x\n");
    put(root.path(), "home/u/.ssh/authorized_keys", "key\n");
    put(root.path(), "etc/ssh/sshd_config.d/a.conf", "Port 22\n");
    put(root.path(), "etc/ssh/sshd_config.d/sub/b.conf", "Port 22\n");
    let wants = root
        .path()
        .join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    symlink("/lib/x", wants.join("ssh.service")).unwrap();
    symlink("/etc", root.path().join("etc/systemd/system/trap.wants")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("etc/passwd"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let dir = Dir::open_root(root.path()).unwrap();
    let gathered = gather(&dir, Side::Target, &Merger::ALL);
    assert_eq!(gathered.problems, []);
    let found: Vec<String> = gathered
        .objects
        .keys()
        .map(|at| String::from_utf8_lossy(at.as_bytes()).into_owned())
        .collect();
    assert_eq!(
        found,
        [
            "etc/fstab",
            "etc/ssh/sshd_config.d/a.conf",
            "etc/systemd/system/multi-user.target.wants/ssh.service",
            "etc/systemd/system/trap.wants",
            "home/u/.ssh/authorized_keys",
        ]
    );
    let link = path("etc/systemd/system/trap.wants");
    assert_eq!(gathered.objects[&link], Object::Link(b"/etc".to_vec()));
}

#[test]
fn changes_owners_once_and_follows_no_link() {
    if !can_run("changes_owners_once_and_follows_no_link", &[Ability::Root]) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    put(root.path(), "kept/dir/a", "a");
    put(root.path(), "other/b", "b");
    std::fs::hard_link(at("kept/dir/a"), at("kept/second")).unwrap();
    symlink("../other/b", at("kept/link")).unwrap();
    for name in ["kept/dir", "kept/dir/a", "other/b"] {
        std::os::unix::fs::chown(at(name), Some(101), Some(201)).unwrap();
    }
    std::os::unix::fs::lchown(at("kept/link"), Some(102), Some(0)).unwrap();
    std::fs::set_permissions(at("kept/dir/a"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    let dir = Dir::open_root(root.path()).unwrap();
    let kept = [path("kept"), path("not/there")];
    let (owners, problems) = owners_of(&dir, &kept);
    assert_eq!(problems, []);
    assert_eq!(owners.uids, [0, 101, 102].into());
    assert_eq!(owners.gids, [0, 201].into());
    let map = OwnerMap {
        uids: [(101, 102), (102, 103)].into(),
        gids: [(201, 202)].into(),
    };
    assert_eq!(change_owners(&dir, &kept, &map), (3, Vec::new()));
    let look = |name: &str| {
        let found = at(name).symlink_metadata().unwrap();
        (found.uid(), found.gid())
    };
    assert_eq!(look("kept"), (0, 0));
    assert_eq!(look("kept/dir"), (102, 202));
    assert_eq!(
        look("kept/second"),
        (102, 202),
        "a second name changes it once"
    );
    assert_eq!(look("kept/link"), (103, 0));
    assert_eq!(look("other/b"), (101, 201));
    assert_eq!(at("kept/dir/a").metadata().unwrap().mode() & 0o7777, 0o4755);
}
