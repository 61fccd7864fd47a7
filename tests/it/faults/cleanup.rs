//! A call that fails, or a program that is killed, in the clean-up of Amazon Linux and in its undo. A
//! failure before the first change has changed nothing; later every file is the old or the new one,
//! what failed is told, undo brings every file back, and the clean-up can be given again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use instancesync::cleanup::{
    self, CleanupReport, CleanupSettings, Ending, Release, UndoReport, Unwatched,
};
use instancesync::failure::Failure;
use instancesync::fs::gate::watch;
use instancesync::problem::Side;
use instancesync::prompter::NobodyThere;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::io::Errno;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::fixups::faults;
use super::inject::{self, Census, Injection, Turn, WRITING, can_inject, is_writing};
use crate::support::places::{assert_none, bring, in_memory, put};
use crate::support::{Ability, can_run, seeds};

/// A text that begins with `-> ` makes a link.
const FILES: [(&str, &str); 12] = [
    ("usr/lib/os-release", "ID=amzn\nVERSION_ID=2\n"),
    ("etc/os-release", "-> ../usr/lib/os-release"),
    ("etc/system-release", "Amazon Linux release 2 (Karoo)\n"),
    ("etc/yum.conf", "[main]\nreleasever=latest\n"),
    ("etc/yum.repos.d/amzn2-core.repo", "[core]\n"),
    (
        "etc/ssh/sshd_config",
        "Port 22\nAuthorizedKeysCommand /usr/bin/eic_keys %u\n",
    ),
    ("etc/motd", "-> /var/lib/update-motd/motd"),
    ("etc/sysconfig/network", "own\n"),
    ("usr/lib/systemd/system/ecs.service", "[Unit]\n"),
    (
        "etc/systemd/system/multi-user.target.wants/ecs.service",
        "-> /usr/lib/systemd/system/ecs.service",
    ),
    ("etc/cloud/cloud.cfg", "datasource_list: [ Ec2, None ]\n"),
    ("etc/cloud/cloud.cfg.d/05.cfg", "own\n"),
];
/// Name, version, release, architecture and files. The first two go.
const PACKAGES: &str = "\
    system-release 2 1.amzn2 noarch /usr/lib/os-release /etc/system-release\n\
    aws-cfn-bootstrap 2 1.amzn2 noarch /opt/cfn\n\
    glibc 2 1.amzn2 noarch /lib/libc\n";
/// An rpm whose database is a file of such lines.
const RPM: &str = r#"#!/bin/sh
db=/var/lib/rpm/Packages
if [ "$1" = -qa ]; then
    while read -r name version release arch files; do
        printf '%s\037%s\037%s\037%s\037Amazon\035\035\035' $name $version $release $arch
        printf '%s\037' $files
        printf '\036'
    done <$db
elif [ "$2" != --test ]; then
    left=
    while read -r name version release arch files; do
        case " $* " in
        *" $name-$version-$release.$arch "*) rm -f $files ;;
        *) left="$left$name $version $release $arch $files
" ;;
        esac
    done <$db
    printf '%s' "$left" >$db
fi
"#;

/// Makes roots, on one file system, so that they can share the programs.
struct Ground {
    place: TempDir,
}

impl Ground {
    fn new() -> Ground {
        let ground = Ground { place: in_memory() };
        for program in ["/bin/sh", "/bin/rm"] {
            bring(&ground.place.path().join("programs"), program);
        }
        ground
    }

    /// Makes a root, in place of the one before.
    fn root(&self) -> PathBuf {
        let root = self.place.path().join("root");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        let programs = self.place.path().join("programs");
        for entry in WalkDir::new(&programs) {
            let entry = entry.unwrap();
            let to = root.join(entry.path().strip_prefix(&programs).unwrap());
            match entry.file_type().is_dir() {
                true => fs::create_dir_all(to).unwrap(),
                false => fs::hard_link(entry.path(), to).unwrap(),
            }
        }
        for (at, text) in FILES {
            let at = root.join(at);
            match text.strip_prefix("-> ") {
                Some(to) => {
                    fs::create_dir_all(at.parent().unwrap()).unwrap();
                    symlink(to, at).unwrap();
                }
                None => put(&at, text),
            }
        }
        put(&root.join("var/lib/rpm/Packages"), PACKAGES);
        for (at, script) in [("usr/bin/rpm", RPM), ("usr/sbin/sshd", "#!/bin/sh\n")] {
            put(&root.join(at), script);
            fs::set_permissions(root.join(at), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let config = root.join("etc/ssh/sshd_config");
        put(&root.join("usr/bin/eic_keys"), "");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        xattr::set(&config, "trusted.note", b"mine").unwrap();
        for (at, _) in FILES {
            let long_ago = Timespec {
                tv_sec: 1_000_000_000,
                tv_nsec: 7,
            };
            let times = Timestamps {
                last_access: long_ago,
                last_modification: long_ago,
            };
            utimensat(CWD, root.join(at), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        root
    }
}

fn settings(root: &Path) -> CleanupSettings {
    CleanupSettings {
        root: root.to_owned(),
        become_release: Some(Release::parse("centos:7")),
        dry_run: false,
        yes: true,
        force: false,
    }
}

fn clean(root: &Path) -> Result<CleanupReport, Failure> {
    cleanup::run(&settings(root), &NobodyThere, &Unwatched)
}

fn undo(root: &Path) -> Result<UndoReport, Failure> {
    cleanup::undo(&settings(root), &NobodyThere, &Unwatched)
}

/// What somebody was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// Nothing has changed.
    Failed(String),
    /// It was done, but for these.
    Done(Vec<String>),
}

impl Told {
    fn of_cleanup(done: Result<CleanupReport, Failure>) -> Told {
        match done {
            Ok(report) => Told::Done(report.problems),
            Err(failure) => Told::Failed(failure.to_string()),
        }
    }

    fn of_undo(done: Result<UndoReport, Failure>) -> Told {
        match done {
            Ok(report) => {
                let left = report
                    .left
                    .iter()
                    .map(|left| format!("{}: {}", left.path, left.because));
                Told::Done(left.chain(report.problems).collect())
            }
            Err(failure) => Told::Failed(failure.to_string()),
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self, Told::Done(problems) if problems.is_empty())
    }
}

type Files = BTreeMap<PathBuf, String>;

/// Every file that is neither a program nor of the database, nor a copy.
fn look(root: &Path, with_times: bool) -> Files {
    let mut files = Files::new();
    for entry in ["etc", "usr/lib"]
        .iter()
        .flat_map(|top| WalkDir::new(root.join(top)))
    {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        if found.is_dir() {
            continue;
        }
        let contents = match found.is_symlink() {
            true => format!("-> {}", fs::read_link(entry.path()).unwrap().display()),
            false => fs::read_to_string(entry.path()).unwrap(),
        };
        let note = xattr::get(entry.path(), "trusted.note").unwrap();
        let rights = (found.mode(), found.uid(), found.gid(), note);
        let time = with_times.then(|| (found.mtime(), found.mtime_nsec()));
        let at = entry.path().strip_prefix(root).unwrap().to_owned();
        files.insert(at, format!("{rights:?} {time:?} {contents}"));
    }
    files
}

fn differ(wanted: &Files, found: &Files) -> Vec<String> {
    let mut paths: Vec<_> = wanted.keys().chain(found.keys()).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| wanted.get(*path) != found.get(*path));
    let show = |path: &PathBuf| {
        format!(
            "{}: {:?} instead of {:?}",
            path.display(),
            found.get(path),
            wanted.get(path)
        )
    };
    paths.into_iter().map(show).collect()
}

/// What the files are before and after, without a fault.
struct Known {
    /// With their times.
    old: Files,
    old_rough: Files,
    new: Files,
}

/// Returns what is neither old nor new. What a package has taken along may be missing, if that is told.
fn odd(known: &Known, root: &Path, told: Option<&Told>) -> Vec<String> {
    let found = look(root, false);
    let paths = known
        .old_rough
        .keys()
        .chain(known.new.keys())
        .chain(found.keys());
    let is_odd = |path: &&PathBuf| {
        // What is written here has another name first. It may stay when something is cut off.
        if path.to_string_lossy().contains(".instancesync-") {
            return false;
        }
        let now = found.get(*path);
        let is_told = match told {
            Some(told) => format!("{told:?}").contains(path.to_str().unwrap()),
            None => true,
        };
        let is_taken = now.is_none() && is_told && PACKAGES.contains(path.to_str().unwrap());
        now != known.old_rough.get(*path) && now != known.new.get(*path) && !is_taken
    };
    let mut odd: Vec<String> = paths
        .filter(is_odd)
        .map(|path| format!("{}: {:?}", path.display(), found.get(path)))
        .collect();
    odd.dedup();
    odd
}

/// Runs something without a fault. A program that another test starts holds a lock for as long as its
/// start takes.
fn calmly(run: impl Fn() -> Told) -> Told {
    let is_locked =
        |told: &Told| matches!(told, Told::Failed(what) if what.contains("lock the copies"));
    let mut told = run();
    for _ in 0..20 {
        if !is_locked(&told) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
        told = run();
    }
    told
}

fn clean_calmly(root: &Path) -> Told {
    calmly(|| Told::of_cleanup(clean(root)))
}

/// Takes back until there is nothing more to take back.
fn undo_calmly(root: &Path) -> Vec<Told> {
    let mut all = Vec::new();
    loop {
        let told = calmly(|| Told::of_undo(undo(root)));
        let is_over = !told.is_whole()
            || matches!(undo(root), Ok(report) if report.ending == Ending::NothingToDo);
        all.push(told);
        if is_over || all.len() > 4 {
            return all;
        }
    }
}

/// What has to hold however a clean-up has ended: `told` is `None` where it was killed.
fn afterwards(known: &Known, root: &Path, told: Option<&Told>, undoes_first: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut note = |when: &str, what: Vec<String>| {
        found.extend(
            what.into_iter()
                .take(3)
                .map(|what| format!("{told:?}, {when}: {what}")),
        );
    };
    if let Some(Told::Failed(_)) = told {
        note("failed", differ(&known.old, &look(root, true)));
    }
    if told.is_some_and(Told::is_whole) {
        note("not told", differ(&known.new, &look(root, false)));
    }
    note("half-way", odd(known, root, told));
    let has_changed = !differ(&known.old, &look(root, true)).is_empty();
    let take_back = || {
        let all = undo_calmly(root);
        let whole = all.iter().all(Told::is_whole);
        let mut what = differ(&known.old, &look(root, true));
        if !whole {
            what.push(format!("{all:?}"));
        }
        what
    };
    if undoes_first && has_changed {
        note("undone", take_back());
    }
    let again = clean_calmly(root);
    if !again.is_whole() {
        note("again", vec![format!("{again:?}")]);
    }
    note("after another time", differ(&known.new, &look(root, false)));
    let last = clean(root);
    if !matches!(&last, Ok(report) if report.ending == Ending::NothingToDo) {
        note(
            "a third time",
            vec![format!("{:?}", last.map(|report| report.plan))],
        );
    }
    note("undone at last", take_back());
    found
}

fn know(ground: &Ground, turn: &Turn) -> (Known, Census, Census) {
    let root = ground.root();
    let (old, old_rough) = (look(&root, true), look(&root, false));
    let injection = Injection::start(turn, Side::Target, None);
    let told = Told::of_cleanup(clean(&root));
    let cleaning = injection.census();
    assert_eq!(told, Told::Done(Vec::new()));
    let new = look(&root, false);
    assert!(differ(&old, &look(&root, true)).len() >= 7, "{new:#?}");
    let injection = Injection::start(turn, Side::Target, None);
    let told = Told::of_undo(undo(&root));
    let undoing = injection.census();
    assert_eq!(told, Told::Done(Vec::new()));
    assert_eq!(differ(&old, &look(&root, true)), Vec::<String>::new());
    (
        Known {
            old,
            old_rough,
            new,
        },
        cleaning,
        undoing,
    )
}

fn can(test: &str) -> bool {
    can_run(test, &[Ability::Root]) && can_inject(test)
}

#[test]
fn a_call_that_fails_in_a_clean_up_is_told_undone_and_done_again() {
    let test = "a_call_that_fails_in_a_clean_up_is_told_undone_and_done_again";
    if !can(test) {
        return;
    }
    let turn = inject::turn();
    let ground = Ground::new();
    let (known, census, _) = know(&ground, &turn);
    let (mut hits, mut complaints) = (0, Vec::new());
    for (fault, undoes_first) in faults(&census)
        .into_iter()
        .zip([true, false].into_iter().cycle())
    {
        let root = ground.root();
        let injection = Injection::start(&turn, Side::Target, Some(fault));
        let told = Told::of_cleanup(clean(&root));
        if !injection.end() {
            continue;
        }
        hits += 1;
        let found = afterwards(&known, &root, Some(&told), undoes_first);
        complaints.extend(found.into_iter().map(|what| format!("{fault}: {what}")));
    }
    println!("{hits} faults");
    assert_none(&complaints, "complaints");
    assert!(hits > 100, "{hits}");
}

#[test]
fn a_call_that_fails_in_the_undo_of_a_clean_up_is_told_and_done_again() {
    let test = "a_call_that_fails_in_the_undo_of_a_clean_up_is_told_and_done_again";
    if !can(test) {
        return;
    }
    let turn = inject::turn();
    let ground = Ground::new();
    let (known, _, census) = know(&ground, &turn);
    let (mut hits, mut complaints) = (0, Vec::new());
    // Each time a whole clean-up goes before: each errno only where all is asked for.
    let is_all = seeds(1).len() > 1;
    let faults = faults(&census).into_iter();
    for fault in faults.filter(|fault| is_all || fault.errno == Errno::IO) {
        let root = ground.root();
        assert!(clean_calmly(&root).is_whole());
        let injection = Injection::start(&turn, Side::Target, Some(fault));
        let told = Told::of_undo(undo(&root));
        if !injection.end() {
            continue;
        }
        hits += 1;
        let found = look(&root, true);
        let mut note = |when: &str, what: Vec<String>| {
            let what = what.into_iter().take(3);
            complaints.extend(what.map(|what| format!("{fault}: {told:?}, {when}: {what}")));
        };
        if told.is_whole() {
            note("not told", differ(&known.old, &found));
        }
        if let Told::Failed(_) = told {
            note("failed", differ(&known.new, &look(&root, false)));
        }
        note("half-way", odd(&known, &root, None));
        let again = undo_calmly(&root);
        note("again", differ(&known.old, &look(&root, true)));
        if !again.iter().all(Told::is_whole) {
            note("again", vec![format!("{again:?}")]);
        }
    }
    println!("{hits} faults");
    assert_none(&complaints, "complaints");
    assert!(hits > 30, "{hits}");
}

/// Returns every fourth call that changes something, or all of them where all is asked for.
fn moments(census: &Census) -> impl Iterator<Item = u64> {
    let step = if seeds(1).len() > 1 { 1 } else { 4 };
    (0..census[&(Side::Target, WRITING)]).step_by(step)
}

/// Runs something until it is about to make its `nth` call that changes something; as if it were killed
/// there. Tells whether there was such a call.
fn cut(nth: u64, run: impl Fn()) -> bool {
    struct Cut;
    let thread = std::thread::current().id();
    let mut left = nth;
    let watched = watch(Box::new(move |call| {
        if is_writing(call) && std::thread::current().id() == thread {
            if left == 0 {
                resume_unwind(Box::new(Cut));
            }
            left -= 1;
        }
        Ok(())
    }));
    let ended = catch_unwind(AssertUnwindSafe(run));
    drop(watched);
    match ended {
        Ok(()) => false,
        Err(cause) if cause.is::<Cut>() => true,
        Err(cause) => resume_unwind(cause),
    }
}

/// Gives what a killed process has left another process's name.
fn age(root: &Path) {
    let ours = format!(".instancesync-{}", std::process::id());
    for entry in WalkDir::new(root) {
        let entry = entry.unwrap();
        if entry.file_name() == &ours[..] {
            fs::rename(entry.path(), entry.path().with_file_name(".instancesync-1")).unwrap();
        }
    }
}

#[test]
fn a_clean_up_that_is_killed_at_any_step_is_undone_and_done_again() {
    let test = "a_clean_up_that_is_killed_at_any_step_is_undone_and_done_again";
    if !can(test) {
        return;
    }
    let turn = inject::turn();
    let ground = Ground::new();
    let (known, census, _) = know(&ground, &turn);
    let (mut cuts, mut complaints) = (0, Vec::new());
    for nth in moments(&census) {
        for undoes_first in [true, false] {
            let root = ground.root();
            cuts += u32::from(cut(nth, || drop(clean(&root))));
            age(&root);
            let found = afterwards(&known, &root, None, undoes_first);
            complaints.extend(found.into_iter().map(|what| format!("cut {nth}: {what}")));
        }
    }
    println!("{cuts} cuts");
    assert_none(&complaints, "complaints");
    assert!(cuts > 50, "{cuts}");
}

#[test]
fn an_undo_that_is_killed_at_any_step_goes_on_the_next_time() {
    let test = "an_undo_that_is_killed_at_any_step_goes_on_the_next_time";
    if !can(test) {
        return;
    }
    let turn = inject::turn();
    let ground = Ground::new();
    let (known, _, census) = know(&ground, &turn);
    let mut complaints = Vec::new();
    for nth in moments(&census) {
        let root = ground.root();
        assert!(clean_calmly(&root).is_whole());
        assert!(cut(nth, || drop(undo(&root))), "cut {nth}");
        age(&root);
        complaints.extend(odd(&known, &root, None));
        let again = undo_calmly(&root);
        if !again.iter().all(Told::is_whole) {
            complaints.push(format!("cut {nth}: {again:?}"));
        }
        let differences = differ(&known.old, &look(&root, true)).into_iter();
        complaints.extend(differences.map(|what| format!("cut {nth}: {what}")));
    }
    assert_none(&complaints, "complaints");
}
