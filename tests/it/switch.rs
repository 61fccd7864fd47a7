//! The switch on real trees: there and back by manifest, and cut at every operation.
//!
//! Knows nothing of how stages are filled: they are made here.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::fs::Dir;
use instancesync::relpath::RelPath;
use instancesync::switch::{
    Freed, Gate, Memo, Repaired, Scope, State, SwitchError, Switched, discard, repair, rollback,
    status, switch,
};
use tempfile::TempDir;

use crate::support::binary::run;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::in_memory;
use crate::support::{Ability, can_run};

/// More operations than any of the trees here takes.
pub const MANY: u64 = 200;

/// A live tree with a stage beside it, on one volume or on two.
pub struct Place {
    dir: TempDir,
    /// Where the second is mounted, from the root.
    second: Option<&'static str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        for top in ["", ".instancesync/stage", ".instancesync/previous"] {
            self.unmount(top);
        }
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn private(top: &Path) -> PathBuf {
    let private = top.join(".instancesync");
    fs::create_dir_all(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    private
}

impl Place {
    pub fn one() -> Place {
        let place = Place {
            dir: in_memory(),
            second: None,
        };
        place.fill();
        place
    }

    pub fn two() -> Place {
        Place::with("home")
    }

    /// The second volume lies inside of a directory that is exchanged, and goes along with it.
    fn nested() -> Place {
        Place::with("var/log")
    }

    fn with(path: &'static str) -> Place {
        let dir = in_memory();
        let second = dir.path().join(path);
        fs::create_dir_all(&second).unwrap();
        rustix::mount::mount(
            "tmpfs",
            &second,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            c"size=4m",
        )
        .unwrap();
        let place = Place {
            dir,
            second: Some(path),
        };
        place.fill();
        put(&second.join("old-user/file"), "old");
        put(&second.join("both/file"), "old");
        fs::create_dir(second.join("lost+found")).unwrap();
        let stage = private(&second).join("stage");
        put(&stage.join("new-user/file"), "new");
        put(&stage.join("both/file"), "new");
        fs::set_permissions(&stage, fs::Permissions::from_mode(0o711)).unwrap();
        fs::create_dir_all(place.root().join(".instancesync/stage").join(path)).unwrap();
        place
    }

    /// Unmounts the second volume from below `top`, if it is there.
    fn unmount(&self, top: &str) {
        if let Some(second) = self.second {
            let path = self.root().join(top).join(second);
            rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).ok();
        }
    }

    /// Mounts the second volume where it belongs, as a boot does.
    pub fn boot(&self) {
        let Some(second) = self.second else { return };
        let live = self.root().join(second);
        for side in ["stage", "previous"] {
            let top = self.root().join(".instancesync").join(side);
            let moved = top.join(second);
            if moved.join(".instancesync").exists() {
                rustix::mount::mount_bind(&moved, &live).unwrap();
                self.unmount(top.to_str().unwrap());
            }
        }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    fn fill(&self) {
        let root = self.root();
        for name in ["etc", "usr", "var", "srv"] {
            put(&root.join(name).join("file"), "old");
        }
        put(&root.join("boot/kernel"), "the target's");
        put(&root.join("tmp/socket"), "the target's");
        put(&root.join("opt-gone/file"), "old");
        put(&root.join("becomes-link/file"), "old");
        symlink("usr/lib", root.join("lib")).unwrap();
        let stage = private(root).join("stage");
        for name in ["etc", "usr", "var", "srv"] {
            put(&stage.join(name).join("file"), "new");
        }
        fs::create_dir(stage.join("boot")).unwrap();
        fs::create_dir(stage.join("tmp")).unwrap();
        put(&stage.join("brand-new/file"), "new");
        symlink("srv", stage.join("becomes-link")).unwrap();
        put(&stage.join("lib/file"), "new");
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&stage, fs::Permissions::from_mode(0o751)).unwrap();
        let attribute = xattr::set(&stage, "user.new", b"1");
        attribute.unwrap();
        let old = filetime::FileTime::from_unix_time(1_000_000, 7);
        filetime::set_file_mtime(root, old).unwrap();
        let new = filetime::FileTime::from_unix_time(2_000_000, 9);
        filetime::set_file_mtime(&stage, new).unwrap();
    }

    pub fn live(&self) -> Dir {
        Dir::open_root(self.root()).unwrap()
    }

    pub fn volumes(&self) -> Vec<RelPath> {
        let second = self.second.iter();
        second
            .map(|path| RelPath::new(path.as_bytes()).unwrap())
            .collect()
    }

    pub fn switch(&self, gate: &Gate) -> Result<Switched, SwitchError> {
        self.switch_on(&self.live(), gate)
    }

    /// Switches by a handle of its root that is open already.
    pub fn switch_on(&self, live: &Dir, gate: &Gate) -> Result<Switched, SwitchError> {
        let scope = Scope {
            volumes: &self.volumes(),
            rules: &Rules::new(vec![
                Rule::new(Verdict::Keep, "/boot/***", "test"),
                Rule::new(Verdict::Skip, "/tmp/**", "test"),
                Rule::new(Verdict::Skip, "/.autorelabel", "test"),
            ])
            .unwrap(),
            apart: &[],
            edited: &[RelPath::new(b".autorelabel").unwrap()],
        };
        switch(live, &scope, Memo::default(), gate)
    }

    /// Returns what the live tree and the tree beside it are like, without our own directories.
    pub fn trees(&self) -> (String, BTreeSet<PathBuf>) {
        let mut live = String::new();
        let mut others = BTreeSet::new();
        for line in Manifest::of(self.root()).to_string().lines() {
            let path = line.split(' ').next().unwrap();
            match path.split_once(".instancesync") {
                None => live.extend([line, "\n"]),
                Some((top, rest)) => {
                    let mut rest = rest.split('/').skip(2);
                    let below: Vec<&str> = rest.by_ref().collect();
                    others.insert(Path::new(top).join(below.join("/")));
                }
            }
        }
        (live, others)
    }

    pub fn tree(&self) -> String {
        self.trees().0
    }
}

pub fn places() -> Vec<fn() -> Place> {
    match can_run("two volumes", &[Ability::Root]) {
        true => vec![Place::one, Place::two, Place::nested],
        false => vec![Place::one],
    }
}

#[test]
fn there_and_back_gives_the_same_tree() {
    for make in places() {
        let place = make();
        let before = Manifest::of(place.root());
        let old = place.tree();
        let switched = place.switch(&Gate::open()).unwrap();
        assert!(switched.names >= 7, "{switched:?}");
        assert_eq!(fs::read(place.root().join("etc/file")).unwrap(), b"new");
        assert_eq!(
            fs::read(place.root().join("boot/kernel")).unwrap(),
            b"the target's"
        );
        assert!(place.root().join("tmp/socket").exists());
        assert!(!place.root().join("opt-gone").exists());
        let mode = place.root().metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o751);
        assert!(matches!(
            status(&place.live()).unwrap(),
            State::Switched { .. }
        ));
        let back = rollback(&place.live(), &Gate::open()).unwrap();
        assert_eq!(back.names, switched.names);
        assert_eq!(place.tree(), old);
        // The private directory's own time moved, the trees did not.
        let differences: Vec<String> = diff(&before, &Manifest::of(place.root()))
            .into_iter()
            .filter(|text| !text.contains(".instancesync: mtime"))
            .collect();
        assert!(differences.is_empty(), "{differences:#?}");
        place.switch(&Gate::open()).unwrap();
    }
}

#[test]
fn what_the_fix_ups_made_at_the_top_moves_whatever_rules_say() {
    let place = Place::one();
    put(&place.root().join(".instancesync/stage/.autorelabel"), "");
    place.switch(&Gate::open()).unwrap();
    assert!(place.root().join(".autorelabel").exists());
    rollback(&place.live(), &Gate::open()).unwrap();
    assert!(!place.root().join(".autorelabel").exists());
}

#[test]
fn a_volume_that_went_along_with_the_directory_around_it_is_found() {
    if !can_run("a nested volume", &[Ability::Root]) {
        return;
    }
    let place = Place::nested();
    let at = |path: &str| place.root().join(path);
    place.switch(&Gate::open()).unwrap();
    let moved = ".instancesync/previous/var/log";
    assert!(at(moved).join("new-user").exists(), "it was switched");
    assert_eq!(fs::read_dir(at("var/log")).unwrap().count(), 0);
    rollback(&place.live(), &Gate::open()).unwrap();
    assert_eq!(fs::read(at("var/log/both/file")).unwrap(), b"old");
    place.switch(&Gate::open()).unwrap();
    place.boot();
    assert_eq!(fs::read(at("var/log/both/file")).unwrap(), b"new");
    rollback(&place.live(), &Gate::open()).unwrap();
    place.boot();
    assert_eq!(fs::read(at("var/log/both/file")).unwrap(), b"old");
}

#[test]
fn what_the_clone_makes_at_the_top_goes_back_with_it() {
    let place = Place::one();
    let old = place.tree();
    place.switch(&Gate::open()).unwrap();
    put(&place.root().join("made-since/file"), "x");
    fs::remove_dir_all(place.root().join("brand-new")).unwrap();
    fs::remove_dir_all(place.root().join("srv")).unwrap();
    put(&place.root().join("boot/kernel"), "a newer one");
    rollback(&place.live(), &Gate::open()).unwrap();
    let tree = place.tree();
    assert!(tree.contains("./srv/file") && !tree.contains("made-since"));
    let boot = |tree: &str| tree.lines().filter(|line| line.contains("boot")).count();
    assert_eq!(boot(&tree), boot(&old), "kept is kept, whatever is in it");
    assert!(place.root().join(".instancesync/stage/made-since").exists());
}

/// Cuts `act` at every operation and repairs; the tree must be `old` or `new`.
fn cut_everywhere(
    make: fn() -> Place,
    prepare: impl Fn(&Place),
    act: impl Fn(&Place, &Gate) -> Result<Switched, SwitchError>,
) {
    let whole = make();
    prepare(&whole);
    let (old, old_side) = whole.trees();
    act(&whole, &Gate::open()).unwrap();
    let (new, new_side) = whole.trees();
    let without_stamps = |text: &str| strip_mtimes(text);
    let mut seen = BTreeSet::new();
    for count in 0.. {
        assert!(count < MANY, "it never ends");
        let place = make();
        prepare(&place);
        let cut = act(&place, &Gate::cut_after(count));
        if cut.is_ok() {
            break;
        }
        // The repair is cut as well, at every operation, until it gets through.
        for again in 0.. {
            assert!(again < MANY, "a repair never ends");
            if repair(&place.live(), &Gate::cut_after(again)).is_ok() {
                break;
            }
        }
        let (tree, side) = place.trees();
        let tree = without_stamps(&tree);
        let is_old = tree == without_stamps(&old);
        let is_new = tree == without_stamps(&new);
        assert!(is_old || is_new, "cut after {count}: a mixture\n{tree}");
        assert!(
            side.is_superset(if is_old { &old_side } else { &new_side }),
            "cut after {count}: {side:?}"
        );
        seen.insert(is_new);
        let again = repair(&place.live(), &Gate::open()).unwrap();
        assert_eq!(again, Repaired::Nothing, "cut after {count}");
        assert_eq!(without_stamps(&place.trees().0), tree);
        // Whatever it is now, both ways are open.
        if let State::Switched { .. } = status(&place.live()).unwrap() {
            rollback(&place.live(), &Gate::open()).unwrap();
        }
        place.switch(&Gate::open()).unwrap();
        assert_eq!(fs::read(place.root().join("etc/file")).unwrap(), b"new");
    }
    assert_eq!(seen.len(), 2, "both ends were seen");
}

/// Trees that are made one after the other differ in their times only.
pub fn strip_mtimes(text: &str) -> String {
    let words = text
        .split(' ')
        .map(|word| match word.starts_with("mtime=") {
            // What the test set itself is compared.
            true if word.starts_with("mtime=1000000") || word.starts_with("mtime=2000000") => word,
            true => "mtime",
            false => word,
        });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_switch_that_is_cut_is_one_or_the_other() {
    for make in places() {
        cut_everywhere(make, |_| {}, |place, gate| place.switch(gate));
    }
}

#[test]
fn a_rollback_that_is_cut_is_one_or_the_other() {
    let prepare = |place: &Place| {
        place.switch(&Gate::open()).unwrap();
        put(&place.root().join("made-since/file"), "x");
        let time = filetime::FileTime::from_unix_time(2_000_000, 9);
        filetime::set_file_mtime(place.root(), time).unwrap();
    };
    for make in places() {
        cut_everywhere(make, prepare, |place, gate| rollback(&place.live(), gate));
    }
}

/// A file system without an exchange takes three renames for one name.
#[test]
fn an_exchange_that_was_cut_between_its_renames_is_taken_back() {
    for renames in [1, 2] {
        let place = Place::one();
        let old = place.tree();
        // The journal is written, nothing has moved.
        place.switch(&Gate::cut_after(1)).unwrap_err();
        let stage = place.root().join(".instancesync/stage");
        let live = place.root().join("etc");
        fs::rename(&live, stage.join(".instancesync-aside")).unwrap();
        if renames == 2 {
            fs::rename(stage.join("etc"), &live).unwrap();
        }
        let repaired = repair(&place.live(), &Gate::open()).unwrap();
        assert_eq!(repaired, Repaired::TakenBack);
        assert_eq!(place.tree(), old, "after {renames}");
        assert_eq!(fs::read(stage.join("etc/file")).unwrap(), b"new");
        place.switch(&Gate::open()).unwrap();
    }
}

#[test]
fn what_fails_in_the_middle_is_taken_back() {
    for make in places() {
        let mut failures = 0;
        for count in 0..MANY {
            let place = make();
            let before = Manifest::of(place.root());
            match place.switch(&Gate::fail_after(count)) {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, SwitchError::Call { .. }), "{error:?}"),
            }
            failures += 1;
            let differences: Vec<String> = diff(&before, &Manifest::of(place.root()))
                .into_iter()
                .filter(|text| !text.contains(".instancesync: mtime"))
                .collect();
            assert!(differences.is_empty(), "{count}: {differences:#?}");
            assert_eq!(
                repair(&place.live(), &Gate::open()).unwrap(),
                Repaired::Nothing
            );
        }
        assert!(failures > 10, "{failures}");
    }
}

#[test]
fn nothing_moves_where_something_is_in_the_way() {
    let refused = |place: &Place| {
        let before = place.tree();
        let error = place.switch(&Gate::open()).unwrap_err();
        assert!(error.is_refusal(), "{error}");
        assert_eq!(place.tree(), before);
        error
    };
    let place = Place::one();
    fs::create_dir(place.root().join(".instancesync/previous")).unwrap();
    assert!(matches!(refused(&place), SwitchError::InTheWay { .. }));
    let place = Place::one();
    fs::rename(
        place.root().join(".instancesync/stage"),
        place.root().join(".instancesync/else"),
    )
    .unwrap();
    assert!(matches!(refused(&place), SwitchError::NothingStaged { .. }));
    let place = Place::one();
    place.switch(&Gate::open()).unwrap();
    assert!(matches!(refused(&place), SwitchError::AlreadySwitched));
    let place = Place::one();
    place.switch(&Gate::cut_after(3)).unwrap_err();
    assert!(matches!(refused(&place), SwitchError::UnderWay));
    let place = Place::one();
    let error = rollback(&place.live(), &Gate::open()).unwrap_err();
    assert!(matches!(error, SwitchError::NotSwitched));
    put(
        &place.root().join(".instancesync/journal"),
        "{\"version\":9}",
    );
    assert!(matches!(refused(&place), SwitchError::JournalVersion(9)));
    put(&place.root().join(".instancesync/journal"), "\0");
    assert!(matches!(refused(&place), SwitchError::Journal(_)));
}

#[test]
fn a_discard_leaves_nothing_of_ours() {
    for make in places() {
        let place = make();
        place.switch(&Gate::open()).unwrap();
        place.boot();
        let live = place.tree();
        let freed = discard(&place.live(), &[], &Gate::open()).unwrap();
        assert!(freed.entries >= 10 && freed.bytes > 0, "{freed:?}");
        assert_eq!(Manifest::of(place.root()).to_string(), live);
        assert_eq!(status(&place.live()).unwrap(), State::Nothing);
        assert_eq!(
            discard(&place.live(), &[], &Gate::open()).unwrap(),
            Freed::default()
        );
    }
}

/// Runs `chattr`; tells whether the file system has such flags.
fn change_flags(flag: &str, path: &Path) -> bool {
    let status = Command::new("chattr").arg(flag).arg(path).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn a_discard_removes_what_was_immutable_and_leaves_other_names_so() {
    let place = Place::one();
    let (kept, other) = (place.root().join("boot/kept"), "srv/kept");
    put(&kept, "x");
    fs::hard_link(&kept, place.root().join(other)).unwrap();
    if !can_run("flags", &[Ability::Root]) || !change_flags("+a", &place.root().join("var/file")) {
        return;
    }
    assert!(change_flags("+i", &kept));
    put(&place.root().join("usr/deep/file"), "x");
    assert!(change_flags("+i", &place.root().join("usr/deep")));
    place.switch(&Gate::open()).unwrap();
    let freed = discard(&place.live(), &[], &Gate::open()).unwrap();
    assert_eq!(freed.left, vec![]);
    assert!(!place.root().join(".instancesync").exists());
    assert!(fs::remove_file(&kept).is_err(), "it is immutable still");
    assert!(change_flags("-i", &kept));
}

#[test]
fn what_a_discard_cannot_remove_is_told_and_in_nobodys_way() {
    if !can_run("a busy directory", &[Ability::Root]) {
        return;
    }
    // A mount in what was replaced stands for a swap file in use: it cannot be removed.
    let place = Place::nested();
    place.switch(&Gate::open()).unwrap();
    let volumes = place.volumes();
    let freed = discard(&place.live(), &volumes, &Gate::open()).unwrap();
    let left: Vec<&str> = freed.left.iter().map(|left| &*left.path).collect();
    assert_eq!(left, ["/.instancesync/left-0/var/log"]);
    assert!(freed.left_count == 1 && freed.entries > 10, "{freed:?}");
    assert_eq!(status(&place.live()).unwrap(), State::Discarding);
    instancesync::fs::Staged::make(&place.live(), &[]).unwrap();
    assert_eq!(status(&place.live()).unwrap(), State::Staging);
    discard(&place.live(), &[], &Gate::open()).unwrap();
    let inside = place.root().join(".instancesync/left-0/var/log");
    rustix::mount::unmount(inside, rustix::mount::UnmountFlags::DETACH).unwrap();
    let freed = discard(&place.live(), &[], &Gate::open()).unwrap();
    assert_eq!((freed.left_count, freed.entries > 2), (0, true));
    assert!(!place.root().join(".instancesync").exists());
}

#[test]
fn the_commands_ask_first_and_say_what_they_did() {
    let place = Place::one();
    place.switch(&Gate::open()).unwrap();
    let live = place.tree();
    let run = |words: &[&str]| {
        let root = ["--root", place.root().to_str().unwrap()];
        run(&[words, &root].concat())
    };
    let told = run(&["status", "--json"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let state: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(state["state"], "switched", "{state}");
    for words in [&["rollback"][..], &["discard"]] {
        assert_eq!(run(words).code, Some(3), "nobody is there to ask");
    }
    for words in [&["rollback", "--dry-run"][..], &["discard", "--dry-run"]] {
        assert_eq!(run(words).code, Some(0), "{words:?}");
    }
    assert_eq!(place.tree(), live);
    let back = run(&["rollback", "--yes"]);
    assert!(
        back.stdout.starts_with("The old system is back"),
        "{}",
        back.stdout
    );
    assert_eq!(fs::read(place.root().join("etc/file")).unwrap(), b"old");
    let again = run(&["rollback", "--yes"]);
    assert_eq!(again.code, Some(3));
    assert!(
        again.stderr.contains("nothing to go back to"),
        "{}",
        again.stderr
    );
    assert_eq!(run(&["discard", "--yes"]).code, Some(0));
    assert!(!place.root().join(".instancesync").exists());
}

#[test]
fn a_discard_that_was_cut_goes_on() {
    for make in places() {
        for is_switched in [false, true] {
            let whole = make();
            if is_switched {
                whole.switch(&Gate::open()).unwrap();
            }
            for count in 0.. {
                assert!(count < MANY);
                let place = make();
                if is_switched {
                    place.switch(&Gate::open()).unwrap();
                    place.boot();
                }
                let live = place.tree();
                let volumes = place.volumes();
                if discard(&place.live(), &volumes, &Gate::cut_after(count)).is_ok() {
                    break;
                }
                if count > 0 {
                    let error = rollback(&place.live(), &Gate::open()).unwrap_err();
                    assert!(error.is_refusal(), "{error}");
                    place.switch(&Gate::open()).unwrap_err();
                }
                discard(&place.live(), &volumes, &Gate::open()).unwrap();
                assert_eq!(Manifest::of(place.root()).to_string(), live, "{count}");
            }
        }
    }
}

/// Writes a program of the shell.
fn put_script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What watches over a clone may fail, and is started again until it has ended well. The boot does not
/// wait for it.
#[test]
fn the_script_of_every_init_starts_the_guard_again_until_it_is_over() {
    for (script, start) in [
        ("src/boot/sysv.sh", "set -- start; . ./script"),
        ("src/boot/openrc.sh", ". ./script; start"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let text = fs::read_to_string(shipped).unwrap();
        let ours = at("ours").display().to_string();
        assert!(text.contains("/.instancesync/instancesync"), "{script}");
        fs::write(
            at("script"),
            text.replace("/.instancesync/instancesync", &ours),
        )
        .unwrap();
        put_script(
            &at("ours"),
            "echo \"$*\" >>calls; [ $# = 1 ] || [ $(wc -l <calls) -ge 4 ] && touch over$#",
        );
        put_script(&at("sleep"), "echo sleep \"$@\" >>pauses");
        let path = format!("{}:/usr/bin:/bin", place.path().display());
        let run = |command: &str| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", command]).current_dir(place.path());
            assert!(
                shell.env("PATH", &path).status().unwrap().success(),
                "{script}"
            );
        };
        run(start);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !at("over2").exists() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let calls = fs::read_to_string(at("calls")).unwrap();
        assert_eq!(
            calls, "boot\nboot --watch\nboot --watch\nboot --watch\n",
            "{script}"
        );
        let pauses = fs::read_to_string(at("pauses")).unwrap();
        assert_eq!(pauses, "sleep 10\nsleep 10\n", "{script}");
        // Without the program there is nothing to start.
        fs::remove_file(at("ours")).unwrap();
        run(start);
        assert_eq!(fs::read_to_string(at("calls")).unwrap(), calls, "{script}");
    }
}
