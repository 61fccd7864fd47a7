//! A call that fails while a stage is made into a clone: when what the target keeps is carried, when
//! both machines' files become one, when the one-shot for the next boot is put in, when the stage is
//! looked at. The live tree stays as it is, what failed is told, and done again it completes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use instancesync::boot::{arm, disarm, live_tree, side_tree};
use instancesync::check::{CheckFacts, check};
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::facts::Facts;
use instancesync::fixup::{Carry, CloneNote, NewName, Occasion, OwnerMap, Task, carry, gather};
use instancesync::fs::staged::NEW_NAME;
use instancesync::fs::{Dir, Staged};
use instancesync::merger::Merger;
use instancesync::problem::Side;
use rustix::io::Errno;
use walkdir::WalkDir;

use super::inject::{self, Census, Fault, Injection, Turn, can_inject, plan};
use crate::support::places::{assert_none, in_memory, put};
use crate::support::{Ability, can_run};

const MERGERS: [Merger; 4] = [
    Merger::Fstab,
    Merger::Hosts,
    Merger::Accounts,
    Merger::AuthorizedKeys,
];
const MERGED: [&str; 4] = [
    "/etc/fstab",
    "/etc/hosts",
    "/etc/{passwd,group,shadow}",
    "/root/.ssh/authorized_keys",
];
const KEPT: [&str; 5] = [
    "/boot/***",
    "/etc/hostname",
    "/etc/machine-id",
    "/etc/ssh/key_*",
    "/var/lib/ntp/***",
];
const SOURCE: [(&str, &str); 8] = [
    ("etc/fstab", "UUID=s / ext4 defaults 0 1\n"),
    ("etc/hosts", "127.0.0.1 localhost\n10.0.0.1 db\n"),
    (
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nredis:x:101:101::/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nredis:x:101:\n"),
    ("etc/shadow", "root:source:1::::::\nredis:!:1::::::\n"),
    ("root/.ssh/authorized_keys", "ssh-ed25519 AAAASOURCE s\n"),
    ("etc/machine-id", "11111111111111111111111111111111\n"),
    ("usr/bin/tool", "the source's tool"),
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
    ("etc/ssh/key_rsa", "key"),
    ("var/lib/ntp/drift", "1.0"),
    ("var/lib/ntp/deep/er", "2.0"),
];

/// A target with a stage that the passes have just filled.
pub struct Ground {
    place: tempfile::TempDir,
}

impl Ground {
    pub fn new() -> Ground {
        let ground = Ground { place: in_memory() };
        fill(ground.live(), &TARGET);
        let ntp = ground.live().join("var/lib/ntp");
        for path in [ntp.join("drift"), ntp.clone()] {
            std::os::unix::fs::chown(path, Some(101), Some(101)).unwrap();
        }
        symlink("deep/er", ntp.join("link")).unwrap();
        fs::create_dir_all(ground.live().join("etc/systemd/system")).unwrap();
        Staged::make(&ground.open(), &[]).unwrap();
        let rules = rules();
        for (at, contents) in SOURCE {
            let path = path(at);
            if !rules.decide_deep(&path, false).verdict.protects() {
                put(&ground.stage().join(at), contents);
            }
        }
        fs::create_dir_all(ground.stage().join("etc/systemd/system")).unwrap();
        ground
    }

    pub fn live(&self) -> &Path {
        self.place.path()
    }

    fn stage(&self) -> PathBuf {
        self.live().join(".instancesync/stage")
    }

    fn open(&self) -> Dir {
        Dir::open_root(self.live()).unwrap()
    }
}

fn path(text: &str) -> instancesync::relpath::RelPath {
    instancesync::relpath::RelPath::new(text.as_bytes()).unwrap()
}

fn fill(root: &Path, files: &[(&str, &str)]) {
    for (at, contents) in files {
        put(&root.join(at), contents);
    }
}

fn rules() -> Rules {
    let rule = |verdict| move |at: &&str| Rule::new(verdict, *at, "test").because("why");
    let keep = KEPT.iter().map(rule(Verdict::Keep));
    let merge = MERGED.iter().map(rule(Verdict::Merge));
    let own = Rule::new(Verdict::Skip, "/var/lib/instancesync/***", "test").because("own");
    Rules::new(std::iter::once(own).chain(keep).chain(merge).collect()).unwrap()
}

pub fn task() -> Task {
    let source = in_memory();
    fill(source.path(), &SOURCE);
    let root = Dir::open_root(source.path()).unwrap();
    Task {
        mergers: MERGERS.to_vec(),
        source: gather(&root, Side::Source, &MERGERS),
        source_facts: Facts::default(),
        target_facts: Facts::default(),
        rules: rules(),
        returning_pair: None,
        new_name: Some(NewName::Given("named".to_owned())),
        staged: Some(Vec::new()),
        apart: Vec::new(),
        dry_run: false,
    }
}

/// Everything below a root but what is private: owners, modes, contents, and which names are one
/// file of another tree; with times where they must not move.
pub fn look(root: &Path, with_times: bool) -> BTreeMap<PathBuf, String> {
    let walk = WalkDir::new(root).into_iter();
    // An original that is kept although it need not be does no harm.
    let is_ours =
        |name: &std::ffi::OsStr| [".instancesync", "originals"].contains(&name.to_str().unwrap());
    let walk = walk.filter_entry(move |entry| !is_ours(entry.file_name()));
    walk.map(|entry| {
        let entry = entry.unwrap();
        let found = entry.path().symlink_metadata().unwrap();
        let contents = match found.is_file() {
            true => String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned(),
            false => String::new(),
        };
        let owner = (found.mode(), found.uid(), found.gid());
        let time = with_times.then(|| (found.mtime(), found.mtime_nsec()));
        let at = entry.path().strip_prefix(root).unwrap().to_owned();
        (at, format!("{owner:?} {time:?} {contents}"))
    })
    .collect()
}

/// Returns the first of the differences between two trees.
pub fn differ(
    wanted: &BTreeMap<PathBuf, String>,
    found: &BTreeMap<PathBuf, String>,
) -> Option<String> {
    let paths = wanted.keys().chain(found.keys());
    let mut paths = paths.filter(|path| wanted.get(*path) != found.get(*path));
    paths.next().map(|path| {
        let (wanted, found) = (wanted.get(path), found.get(path));
        format!("{}: {found:?} instead of {wanted:?}", path.display())
    })
}

/// What an act came to: what it told, or why it failed.
type Told = Result<Vec<String>, String>;
type Prepare = fn(&Ground);
/// By a handle of the root that was opened before anything fails.
type Act<'a> = &'a dyn Fn(&Ground, &Dir) -> Told;

/// Lets an act fail at its calls, and has it done again.
fn fail_everywhere(prepare: Prepare, act: Act<'_>, has_times: bool) -> usize {
    let turn = inject::turn();
    let ground = Ground::new();
    prepare(&ground);
    let live = ground.open();
    let injection = Injection::start(&turn, Side::Target, None);
    let told = act(&ground, &live);
    let census = injection.census();
    assert_eq!(told, Ok(Vec::new()));
    let done = look(&ground.stage(), false);
    let mut complaints = Vec::new();
    let faults = faults(&census);
    for fault in &faults {
        let ground = Ground::new();
        prepare(&ground);
        let found = try_one(&turn, &ground, (*fault, act), (&done, has_times));
        complaints.extend(found.into_iter().map(|what| format!("{fault}: {what}")));
    }
    assert_none(&complaints, "complaints");
    faults.len()
}

fn try_one(
    turn: &Turn,
    ground: &Ground,
    (fault, act): (Fault, Act<'_>),
    (done, has_times): (&BTreeMap<PathBuf, String>, bool),
) -> Vec<String> {
    let (live, root) = (look(ground.live(), has_times), ground.open());
    let injection = Injection::start(turn, Side::Target, Some(fault));
    let told = act(ground, &root);
    if !injection.end() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let Some(change) = differ(&live, &look(ground.live(), has_times)) {
        found.push(format!("the live tree: {change}"));
    }
    let wrong = differ(done, &look(&ground.stage(), false));
    if told == Ok(Vec::new())
        && let Some(wrong) = wrong
    {
        found.push(format!("not told: {wrong}"));
    }
    // ORDER: no note says that a stage is ready whose fix-ups have ended with an error.
    let is_ready = CloneNote::read(&root).unwrap().is_some();
    if told.is_err() && is_ready {
        found.push(format!("ready in spite of {told:?}"));
    }
    match act(ground, &root) {
        Ok(problems) if problems.is_empty() => {}
        again => found.push(format!("{told:?}, then again: {again:?}")),
    }
    if let Some(wrong) = differ(done, &look(&ground.stage(), false)) {
        // A directory that could neither get its attributes nor go again has those of the next pass.
        let is_bare = fault.lasts && wrong.contains("Some(\"(16832, 0, 0) None \") instead");
        if !is_bare {
            found.push(format!("{told:?}, after another time: {wrong}"));
        }
    }
    found
}

/// Faults of a target on which nobody else removes anything, puts a link in its place, or holds the
/// lock for ever: that is waited for for minutes.
pub fn faults(census: &Census) -> Vec<Fault> {
    let mut faults = plan(census);
    faults.retain(|fault| ![Errno::NOENT, Errno::LOOP].contains(&fault.errno));
    faults.retain(|fault| !(fault.lasts && fault.errno == Errno::WOULDBLOCK));
    faults
}

fn can(test: &str) -> bool {
    can_run(test, &[Ability::Root]) && can_inject(test)
}

pub fn fix_up(ground: &Ground, task: &Task) -> Told {
    let done = task.perform(ground.live());
    let report = done.map_err(|error| error.to_string())?;
    let problems = report.problems.iter();
    Ok(problems.map(|problem| format!("{problem:?}")).collect())
}

#[test]
fn a_call_that_fails_in_the_fix_ups_is_told_and_done_again() {
    let test = "a_call_that_fails_in_the_fix_ups_is_told_and_done_again";
    if !can(test) {
        return;
    }
    let task = task();
    let perform = |ground: &Ground, _: &Dir| fix_up(ground, &task);
    let count = fail_everywhere(|_| {}, &perform, true);
    println!("{count} faults");
}

#[test]
fn a_call_that_fails_while_kept_paths_are_carried_is_told_and_done_again() {
    let test = "a_call_that_fails_while_kept_paths_are_carried_is_told_and_done_again";
    if !can(test) {
        return;
    }
    let again = |_: &Ground, live: &Dir| carry_on(live, Occasion::BeforeSwitch);
    let count = fail_everywhere(grow_old, &again, true);
    println!("{count} faults");
}

/// What was carried before is another now, and some of it gone.
fn grow_old(ground: &Ground) {
    carry_on(&ground.open(), Occasion::BeforeFixUps).unwrap();
    let live = ground.live();
    for at in ["etc/hostname", "etc/ssh/key_new"] {
        put(&live.join("new"), "newer");
        fs::rename(live.join("new"), live.join(at)).unwrap();
    }
    fs::remove_file(live.join("etc/ssh/key_rsa")).unwrap();
    fs::remove_dir_all(live.join("var/lib/ntp/deep")).unwrap();
    let stage = ground.stage().join("var/lib/ntp");
    fs::remove_file(stage.join("drift")).unwrap();
    put(&stage.join("drift/in/the/way"), "x");
}

fn carry_on(live: &Dir, occasion: Occasion) -> Told {
    let staged = Staged::open(live, &[]).map_err(|error| error.to_string())?;
    let owners = OwnerMap {
        uids: [(101, 102)].into(),
        gids: [(101, 102)].into(),
    };
    let what = Carry {
        rules: &rules(),
        apart: &[],
        owners: &owners,
        edited: &[],
        occasion,
    };
    let (_, problems) = carry(&staged, &what);
    Ok(problems
        .iter()
        .map(|problem| format!("{problem:?}"))
        .collect())
}

/// The one-shot lies in both trees; what failed half-way is taken out without a trace.
#[test]
fn a_call_that_fails_while_the_one_shot_is_put_in_leaves_no_trace() {
    let test = "a_call_that_fails_while_the_one_shot_is_put_in_leaves_no_trace";
    if !can(test) {
        return;
    }
    let turn = inject::turn();
    let arm_both = |live: &Dir| {
        arm(&side_tree(live, &[], NEW_NAME)?, &[])?;
        arm(&live_tree(live)?, &[])
    };
    let disarm_both = |live: &Dir| {
        disarm(&side_tree(live, &[], NEW_NAME)?)?;
        disarm(&live_tree(live)?)
    };
    let ground = Ground::new();
    let injection = Injection::start(&turn, Side::Target, None);
    assert!(arm_both(&ground.open()).unwrap());
    let putting_in = injection.census();
    let injection = Injection::start(&turn, Side::Target, None);
    disarm_both(&ground.open()).unwrap();
    let taking_out = injection.census();
    let mut complaints = Vec::new();
    let puts_in = faults(&putting_in).into_iter().map(|fault| (fault, true));
    let takes_out = faults(&taking_out).into_iter().map(|fault| (fault, false));
    for (fault, puts_in) in puts_in.chain(takes_out) {
        let ground = Ground::new();
        let before = [look(ground.live(), false), look(&ground.stage(), false)];
        let live = ground.open();
        if !puts_in {
            arm_both(&live).unwrap();
        }
        let injection = Injection::start(&turn, Side::Target, Some(fault));
        let told = match puts_in {
            true => arm_both(&live).map(drop),
            false => disarm_both(&live),
        };
        if !injection.end() {
            continue;
        }
        let is_armed = [ground.live(), &ground.stage()].map(|root| {
            root.join("etc/systemd/system/instancesync-boot.service")
                .exists()
        });
        if puts_in && told.is_ok() && is_armed != [true; 2] {
            complaints.push(format!("{fault}: armed {is_armed:?} and not told"));
        }
        if let Err(error) = arm_both(&live).and_then(|_| disarm_both(&live)) {
            complaints.push(format!("{fault}: {told:?}, then {error}"));
        }
        let after = [look(ground.live(), false), look(&ground.stage(), false)];
        for (before, after) in before.iter().zip(&after) {
            let trace = differ(before, after);
            complaints.extend(trace.map(|what| format!("{fault}: {told:?}, then {what}")));
        }
    }
    assert_none(&complaints, "complaints");
}

/// What cannot be looked at has not passed.
#[test]
fn a_call_that_fails_in_a_check_is_never_taken_for_a_stage_that_can_live() {
    let test = "a_call_that_fails_in_a_check_is_never_taken_for_a_stage_that_can_live";
    if !can(test) {
        return;
    }
    let turn = inject::turn();
    let ground = Ground::new();
    // A kernel whose modules the clone has lost.
    for at in ["boot/vmlinuz-6.1.0", "lib/modules/6.1.0/modules.dep"] {
        put(&ground.live().join(at), "");
    }
    assert_eq!(fix_up(&ground, &task()), Ok(Vec::new()));
    drop(fs::remove_dir_all(ground.stage().join("lib/modules")));
    let live = ground.open();
    let look_at = || {
        let staged = Staged::open(&live, &[]).map_err(|error| error.to_string())?;
        let facts = CheckFacts {
            pair: Some("pair".to_owned()),
        };
        let report = check(ground.live(), &staged, &facts);
        let failed = report.failures().map(|(checked, _)| checked.id.clone());
        Ok::<_, String>(failed.collect::<Vec<_>>())
    };
    let injection = Injection::start(&turn, Side::Target, None);
    // No program is in this stage: the checks that run one have failed, and the others looked.
    let honest = look_at().unwrap();
    let census = injection.census();
    assert!(honest.iter().any(|id| id == "kernel"), "{honest:?}");
    let before = [look(ground.live(), true), look(&ground.stage(), true)];
    for fault in faults(&census) {
        let injection = Injection::start(&turn, Side::Target, Some(fault));
        let told = look_at();
        drop(injection);
        if let Ok(told) = told {
            let forgiven = honest.iter().find(|id| !told.contains(id));
            assert_eq!(forgiven, None, "{fault}: {told:?}");
        }
    }
    let after = [look(ground.live(), true), look(&ground.stage(), true)];
    assert_eq!(before, after, "a check has changed something");
}
