//! A copy in which one file-system call fails: no panic, no wrong contents under a final name,
//! nothing amiss that is not reported, the right exit code; and the next run completes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use filetime::FileTime;
use instancesync::exit::ExitCode;
use instancesync::problem::{Problem, Side};
use instancesync::report::Report;
use instancesync::transfer::TransferError;
use instancesync::transfer::wire::message::{FailureClass, Up};
use rustix::io::Errno;

use super::inject::{
    self, Census, Fault, Injection, TARGET_THREAD, Turn, can_inject, plan, plan_renames,
};
use super::trees::Trees;
use crate::staged;
use crate::support::engine::{Job, Ran, open_tap};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{Places, assert_none, in_memory, put};
use crate::support::{Ability, can_run};

/// What a directory was being asked when all below it was given up.
const GIVES_UP_ALL_BELOW: &[&str] = &[
    "open directory",
    "read directory",
    "make directory",
    "stat",
    "list xattrs",
    "read xattr",
];

/// How the target is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    InPlace,
    Staged,
    /// In place, in two passes between which directories get other names.
    Renaming,
}

/// One target and what is done to it.
struct Case<'a> {
    trees: &'a Trees,
    way: Way,
    target: PathBuf,
}

impl Case<'_> {
    fn job(&self) -> Job<'_> {
        let mut job = Job::new(&self.trees.source, &self.target).deleting(u64::MAX);
        job.agent_thread = TARGET_THREAD;
        match self.way {
            Way::InPlace => {}
            Way::Staged => {
                job.policy.staged = Some(Vec::new());
                job.plans = staged::passes();
            }
            Way::Renaming => {
                job.plans = staged::passes();
                let (source, mut is_first) = (self.trees.source.clone(), true);
                job.up = Box::new(move |frame| {
                    if let (true, Ok(Up::PassDone(_))) = (is_first, frame.message()) {
                        is_first = false;
                        rename(&source, RENAMES);
                    }
                    true
                });
            }
        }
        job
    }

    /// The same again, on a source that stands still.
    fn again(&self) -> Job<'_> {
        let mut job = self.job();
        job.up = open_tap();
        job
    }

    /// The copy.
    fn copy(&self) -> PathBuf {
        match self.way {
            Way::InPlace | Way::Renaming => self.target.clone(),
            Way::Staged => self.target.join(".instancesync/stage"),
        }
    }

    fn manifest(&self) -> Manifest {
        let copy = self.copy();
        match copy.exists() {
            true => Manifest::without(&copy, ".instancesync"),
            false => Manifest::nothing(),
        }
    }
}

/// Directories that get other names, and back again: one with large files, and one with names of a
/// file that has others elsewhere.
const RENAMES: [(&str, &str); 3] = [
    ("large", "moved"),
    ("links", "new/links"),
    ("becomes-directory", "etc/directory"),
];

/// Gives them their new names, and directories around them the times that they had.
fn rename(source: &Path, names: [(&str, &str); 3]) {
    let around = ["", "new", "etc"].map(|path| source.join(path));
    let times = around
        .each_ref()
        .map(|path| FileTime::from_last_modification_time(&path.metadata().unwrap()));
    for (from, to) in names {
        std::fs::rename(source.join(from), source.join(to)).unwrap();
    }
    for (path, time) in around.iter().zip(times) {
        filetime::set_file_mtime(path, time).unwrap();
    }
}

/// What both trees are like.
struct Known {
    /// The source at the end.
    source: Manifest,
    /// The source at the beginning.
    begin: Manifest,
    old: Manifest,
}

fn inject_everywhere(way: Way) {
    let turn = inject::turn();
    let trees = Trees::new();
    let begin = Manifest::of(&trees.source);
    let census = count_calls(&turn, &trees, way);
    let known = Known {
        source: Manifest::of(&trees.source),
        begin,
        old: Manifest::of(&trees.old),
    };
    let mut faults = plan(&census);
    faults.extend(plan_renames());
    let (mut hits, mut complaints) = (0, Vec::new());
    for (number, fault) in faults.iter().enumerate() {
        let case = Case {
            trees: &trees,
            way,
            target: trees.target(&format!("target-{number}")),
        };
        go_back(&trees);
        if let Some(found) = try_one(&turn, &case, &known, fault) {
            hits += 1;
            complaints.extend(found.into_iter().map(|what| format!("{fault}: {what}")));
        }
        std::fs::remove_dir_all(&case.target).unwrap();
    }
    let calls: u64 = census.values().sum();
    println!("{hits} faults in {calls} calls of {} kinds", census.len());
    assert_none(&complaints, "complaints");
    assert!(hits * 10 > faults.len() * 8, "{hits} of {}", faults.len());
    let after = diff(&known.source, &Manifest::of(&trees.source));
    assert_none(&after, "the source has changed");
}

/// Gives directories that were renamed their first names.
fn go_back(trees: &Trees) {
    let names = RENAMES.map(|(from, to)| (to, from));
    if trees.source.join(names[0].0).exists() {
        rename(&trees.source, names);
    }
}

fn count_calls(turn: &Turn, trees: &Trees, way: Way) -> Census {
    let case = Case {
        trees,
        way,
        target: trees.target("counted"),
    };
    let injection = Injection::start(turn, Side::Source, None);
    let ran = case.job().run();
    let census = injection.census();
    assert_eq!((ran.problems, ran.result.is_ok()), (Vec::new(), true));
    census
}

/// Returns what is not as it should be; `None` where the fault did not happen.
fn try_one(turn: &Turn, case: &Case<'_>, known: &Known, fault: &Fault) -> Option<Vec<String>> {
    let injection = Injection::start(turn, Side::Source, Some(*fault));
    let ran = case.job().run();
    let is_hit = injection.end();
    if case.way == Way::Renaming && case.trees.source.join(RENAMES[0].0).exists() {
        rename(&case.trees.source, RENAMES);
    }
    if !is_hit {
        return None;
    }
    let copy = case.manifest();
    let wrong = diff(&known.source, &copy);
    let changed = diff(&known.old, &copy);
    let mut found = neither_old_nor_new(&wrong, &changed);
    if case.way == Way::Renaming {
        // What the source had when the first pass ended is as good.
        let of_begin = neither_old_nor_new(&diff(&known.begin, &copy), &changed);
        found.retain(|line| of_begin.contains(line));
    }
    if case.way == Way::InPlace && fault.side == Side::Target {
        found.extend(lost(&wrong, &changed));
    }
    found.extend(untold(&ran, &wrong, &known.source, fault));
    found.extend(changed_live(case, known));
    let again = case.again().run();
    if again.result.is_err() || !again.problems.is_empty() {
        let told: Vec<String> = again.problems.iter().map(words).collect();
        found.push(format!("the next run: {:?}; {told:?}", again.result.err()));
    }
    let mut wrong = diff(&known.source, &case.manifest());
    wrong.retain(|line| !may_lose_holes(fault, line));
    found.extend(
        wrong
            .iter()
            .map(|line| format!("after the next run: {line}")),
    );
    if case.way != Way::Staged && case.target.join(".instancesync").exists() {
        found.push("something of ours stays".to_owned());
    }
    Some(found)
}

fn changed_live(case: &Case<'_>, known: &Known) -> Vec<String> {
    if case.way != Way::Staged {
        return Vec::new();
    }
    let live = Manifest::without(&case.target, ".instancesync");
    let mut wrong = diff(&known.old, &live);
    // Making our directory fails after it was made: its parent's time has moved.
    wrong.retain(|text| !text.starts_with("./: mtime"));
    wrong
        .iter()
        .map(|line| format!("the live tree: {line}"))
        .collect()
}

/// What a line of a comparison is about: a path, and what of it differs.
fn subject(line: &str) -> (&str, &str) {
    let (path, rest) = line.split_once(": ").unwrap();
    (path, rest.split(" is ").next().unwrap())
}

/// Returns contents with a name that are neither the old ones nor the source's.
fn neither_old_nor_new(from_source: &[String], from_old: &[String]) -> Vec<String> {
    let old: BTreeSet<_> = from_old.iter().map(|line| subject(line)).collect();
    let is_foreign = |line: &&String| {
        let (path, what) = subject(line);
        let is_content = ["type", "blake3", "text", "size"].contains(&what);
        let is_made_up = old.contains(&(path, "only in the copy"));
        (is_content && (is_made_up || old.contains(&(path, what))))
            || (what == "only in the copy" && is_made_up)
    };
    let foreign = from_source.iter().filter(is_foreign);
    foreign
        .map(|line| format!("neither old nor new: {line}"))
        .collect()
}

/// Returns names of both trees that have nothing any more.
fn lost(from_source: &[String], from_old: &[String]) -> Vec<String> {
    let is_missing = |line: &&String| line.ends_with("missing in the copy");
    let lost = from_source.iter().filter(is_missing);
    let lost = lost.filter(|line| from_old.contains(line));
    lost.map(|line| format!("lost: {line}")).collect()
}

/// Returns what is amiss without having been told, and a wrong exit code.
fn untold(ran: &Ran, wrong: &[String], source: &Manifest, fault: &Fault) -> Vec<String> {
    let told: Vec<String> = ran.problems.iter().map(words).collect();
    match &ran.result {
        Ok(_) => {
            let is_untold = |line: &&String| {
                let covers = |problem| covers(problem, line, source);
                !may_lose_holes(fault, line) && !ran.problems.iter().any(covers)
            };
            let stays = |name: &str| {
                let extra = format!("./{name}: only in the copy");
                wrong.contains(&extra) && !is_untold(&&extra)
            };
            // A name that stays is one of the same file.
            let is_untold = |line: &&String| is_untold(line) && !has_more_names(line, stays);
            let untold = wrong.iter().filter(is_untold);
            let mut found: Vec<String> = untold
                .map(|line| format!("not told: {line}; told: {told:?}"))
                .collect();
            let mut report = Report::default();
            for problem in &ran.problems {
                report.add_problem(problem.clone());
            }
            let code = report.exit_code();
            if code != ExitCode::Complete && !allowed_codes(fault).contains(&code) {
                found.push(format!("exit code {code:?}; told: {told:?}"));
            }
            found
        }
        Err(TransferError::Root(_, error)) if error.errno == fault.errno => Vec::new(),
        Err(TransferError::Peer { text, class })
            if !text.is_empty() && (*class != FailureClass::NoSpace || is_space_errno(fault)) =>
        {
            Vec::new()
        }
        Err(error) => vec![format!("ended by {error:?}; told: {told:?}")],
    }
}

/// Tells whether a line is about a file that has all its names, and others that stay.
fn has_more_names(line: &str, stays: impl Fn(&str) -> bool) -> bool {
    let names = line.split_once(": linked is ").map(|(_, names)| names);
    let Some((found, wanted)) = names.and_then(|names| names.split_once(" instead of ")) else {
        return false;
    };
    let (found, wanted) = (found.split(' '), wanted.split(' ').collect::<Vec<_>>());
    let found: Vec<_> = found.collect();
    let mut more = found.iter().filter(|name| !wanted.contains(name));
    wanted.iter().all(|name| found.contains(name)) && more.all(|name| stays(name))
}

/// A file system that does not tell its holes is given none.
fn may_lose_holes(fault: &Fault, line: &str) -> bool {
    fault.call == "seek" && line.contains(": holes are lost: ")
}

fn words(problem: &Problem) -> String {
    let path = String::from_utf8_lossy(&problem.path);
    let Problem {
        side,
        kind,
        operation,
        cause,
        ..
    } = problem;
    format!("{side} {kind:?} {path}: {operation}: {cause}")
}

fn is_space_errno(fault: &Fault) -> bool {
    [Errno::NOSPC, Errno::DQUOT].contains(&fault.errno)
}

fn allowed_codes(fault: &Fault) -> Vec<ExitCode> {
    let is_gone = [Errno::NOENT, Errno::LOOP].contains(&fault.errno);
    match fault.side {
        // What follows from it on the target is a failure of its own.
        Side::Source if is_gone => vec![ExitCode::Churned, ExitCode::SomeFailed],
        Side::Target if is_space_errno(fault) => vec![ExitCode::NoSpace, ExitCode::SomeFailed],
        _ => vec![ExitCode::SomeFailed],
    }
}

/// Tells whether a problem says that this line of a comparison is to be expected.
fn covers(problem: &Problem, line: &str, source: &Manifest) -> bool {
    let (path, what) = subject(line);
    let path = path.trim_start_matches("./");
    let told = std::str::from_utf8(&problem.path).unwrap();
    let gives_up = |call: &&str| problem.operation.starts_with(call);
    let is_about_all = GIVES_UP_ALL_BELOW.iter().any(gives_up);
    let covers = |path: &str| {
        let is_below = told.is_empty() || Path::new(path).starts_with(told);
        // What cannot be replaced or removed stays, and so do extras where not all was read.
        let may_stay = what == "only in the copy"
            && (is_below
                || Path::new(told).starts_with(path)
                || problem.side == Side::Source && is_in_same_directory(path, told));
        path == told || (is_below && is_about_all) || may_stay
    };
    // What has several names is told of one of them.
    let names = source.group_of(path);
    covers(path) || names.iter().any(|name| covers(name))
}

fn is_in_same_directory(path: &str, told: &str) -> bool {
    let directory = Path::new(told).parent();
    directory.is_some_and(|directory| Path::new(path).starts_with(directory))
}

#[test]
fn a_call_that_fails_in_a_copy_does_no_harm() {
    let test = "a_call_that_fails_in_a_copy_does_no_harm";
    if can_run(test, &[Ability::Root]) && can_inject(test) {
        inject_everywhere(Way::InPlace);
    }
}

#[test]
fn a_call_that_fails_in_a_staged_copy_does_no_harm() {
    let test = "a_call_that_fails_in_a_staged_copy_does_no_harm";
    if can_run(test, &[Ability::Root]) && can_inject(test) {
        inject_everywhere(Way::Staged);
    }
}

#[test]
fn a_call_that_fails_where_directories_are_renamed_does_no_harm() {
    let test = "a_call_that_fails_where_directories_are_renamed_does_no_harm";
    if can_run(test, &[Ability::Root]) && can_inject(test) {
        inject_everywhere(Way::Renaming);
    }
}

/// What failed may have got some of its way: a name that landed with one attribute too few.
#[test]
fn what_lands_beside_a_failure_is_written_to_the_disk() {
    let test = "what_lands_beside_a_failure_is_written_to_the_disk";
    if !can_inject(test) {
        return;
    }
    let turn = inject::turn();
    let places = Places::within(in_memory());
    for name in ["a", "b", "c"] {
        put(&places.source.join(name), name);
    }
    let job = || {
        let mut job = Job::new(&places.source, &places.ours);
        job.agent_thread = TARGET_THREAD;
        job
    };
    job().run().stats();
    put(&places.source.join("b"), "another b");
    let fault = Fault {
        side: Side::Target,
        call: "fchmod",
        nth: 0,
        errno: Errno::PERM,
        lasts: true,
        no_exchange: false,
    };
    let injection = Injection::start(&turn, Side::Source, Some(fault));
    let ran = job().run();
    let census = injection.census();
    assert!(!ran.problems.is_empty(), "{ran:?}");
    assert!(census.contains_key(&(Side::Target, "syncfs")), "{census:?}");
}
