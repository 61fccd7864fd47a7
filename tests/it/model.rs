//! Random histories against the whole engine: a source and a target that grow by random steps,
//! passes that are cut anywhere, further steps between the passes, random rules. In the end the
//! target is the source but for what the rules say, and what they protect is what it was.
//!
//! INSTANCESYNC_MODEL=N asks for so many histories of each kind, N@M for those from number M on.

pub mod steps;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::monitor::Pass;
use instancesync::problem::Problem;
use instancesync::relpath::RelPath;
use instancesync::transfer::sender::{Deletes, PassPlan, Turn};
use instancesync::transfer::wire::message::Up;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::support::engine::{AT_REST, Job, Ran, cut_after, open_tap};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::in_memory;
use crate::support::{Ability, can_run};
use steps::{Ground, Step, any_step};

/// Patterns over the names of the steps.
const PATTERNS: [&str; 12] = [
    "a", "/a", "/b/*", "/b/**", "/c/***", "*.log", "c/", "/usr/a", "a/b", "/a/**/c", "b/", "/*/a",
];

/// A run that is cut.
#[derive(Clone, Debug)]
struct Cut {
    /// Before which frame, and whether of the way down.
    frame: u16,
    is_down: bool,
    /// What the source does before it.
    steps: Vec<Step>,
}

/// One history.
#[derive(Clone, Debug)]
struct History {
    source: Vec<Step>,
    target: Vec<Step>,
    /// Whether the target begins as a copy of the source.
    begins_equal: bool,
    rules: Vec<(u8, Verdict)>,
    deletes: bool,
    is_staged: bool,
    /// Whether contents are compared in the last pass; else no change hides.
    checksum: bool,
    cuts: Vec<Cut>,
    /// What happens before the last run, and before its later passes.
    between: [Vec<Step>; 3],
}

fn any_history() -> impl Strategy<Value = History> {
    let steps = |count| vec(any_step(), 0..count);
    let verdict = prop_oneof![
        3 => Just(Verdict::Skip),
        2 => Just(Verdict::Keep),
        2 => Just(Verdict::Copy),
    ];
    let rules = prop_oneof![
        1 => Just(Vec::new()),
        2 => vec((0..PATTERNS.len() as u8, verdict), 1..4),
    ];
    let cut = (0..60u16, any::<bool>(), steps(6)).prop_map(|(frame, is_down, steps)| Cut {
        frame,
        is_down,
        steps,
    });
    let trees = (steps(40), steps(20), any::<bool>());
    let ways = (rules, any::<bool>(), any::<bool>(), any::<bool>());
    let course = (vec(cut, 0..3), [steps(8), steps(8), steps(8)]);
    (trees, ways, course).prop_map(|(trees, ways, course)| History {
        source: trees.0,
        target: trees.1,
        begins_equal: trees.2,
        rules: ways.0,
        deletes: ways.1,
        is_staged: ways.2,
        checksum: ways.3,
        cuts: course.0,
        between: course.1,
    })
}

/// Paths that were there at any time, and whether as a directory.
type Ever = Arc<Mutex<BTreeSet<(String, bool)>>>;

/// The two trees of a history.
struct Stand {
    place: tempfile::TempDir,
    ever: Ever,
    rules: Rules,
    history: History,
}

impl Stand {
    fn new(history: &History) -> Stand {
        let rule = |(pattern, verdict): &(u8, Verdict)| {
            Rule::new(*verdict, PATTERNS[usize::from(*pattern)], "model").because("why")
        };
        let stand = Stand {
            place: in_memory(),
            ever: Ever::default(),
            rules: Rules::new(history.rules.iter().map(rule).collect()).unwrap(),
            history: history.clone(),
        };
        fs::create_dir(stand.source()).unwrap();
        stand.change_source(&history.source, 0);
        match history.begins_equal {
            true => {
                Job::new(&stand.source(), &stand.target()).run().stats();
            }
            false => fs::create_dir(stand.target()).unwrap(),
        }
        let target = Ground {
            root: &stand.target(),
            may_hide: history.checksum,
            epoch: 500_000_000,
        };
        target.take(&history.target);
        note(&stand.ever, &stand.target());
        stand
    }

    fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.place.path().join("target")
    }

    fn copy(&self) -> PathBuf {
        match self.history.is_staged {
            true => self.target().join(".instancesync/stage"),
            false => self.target(),
        }
    }

    fn change_source(&self, steps: &[Step], round: i64) {
        change(
            self.source(),
            &self.ever,
            self.history.checksum,
            steps,
            round,
        );
    }

    fn was(&self, path: &str, is_directory: bool) -> bool {
        let ever = self.ever.lock().unwrap();
        ever.contains(&(path.to_owned(), is_directory))
    }

    fn is_copied(&self, path: &str, is_directory: bool) -> bool {
        let path = RelPath::new(path.as_bytes()).unwrap();
        self.rules.decide_deep(&path, is_directory).verdict == Verdict::Copy
    }

    /// Early passes and a last one, in which nothing hides.
    fn job<'a>(&self, paths: (&'a PathBuf, &'a PathBuf)) -> Job<'a> {
        let mut job = Job::new(paths.0, paths.1);
        if self.history.deletes || self.history.is_staged {
            job = job.deleting(u64::MAX);
        }
        if self.history.is_staged {
            job.policy.staged = Some(Vec::new());
        }
        let deletes = match job.policy.delete_limit {
            Some(_) => Deletes::AtEnd,
            None => Deletes::Never,
        };
        let last = match self.history.checksum {
            true => Pass::Checksum,
            false => Pass::Timestamp,
        };
        let plan = |pass, turn| PassPlan {
            pass,
            deletes,
            turn,
        };
        job.plans = vec![
            plan(Pass::Timestamp, Turn::Early),
            plan(Pass::Timestamp, Turn::Early),
            plan(last, Turn::Last),
        ];
        job.rules = self.rules.clone();
        job
    }

    fn run_cut(&self, cut: &Cut) {
        let paths = (self.source(), self.target());
        let mut job = self.job((&paths.0, &paths.1));
        let tap = cut_after(u64::from(cut.frame));
        (job.down, job.up) = match cut.is_down {
            true => (tap, open_tap()),
            false => (open_tap(), tap),
        };
        job.run();
    }

    /// Runs to the end, with steps before the later passes.
    fn run_through(&self) -> Ran {
        let paths = (self.source(), self.target());
        let mut job = self.job((&paths.0, &paths.1));
        let [_, second, third] = self.history.between.clone();
        let mut waiting = vec![third, second];
        let (source, may_hide) = (self.source(), self.history.checksum);
        let ever = Arc::clone(&self.ever);
        job.up = Box::new(move |frame| {
            if let Ok(Up::PassDone(_)) = frame.message()
                && let Some(steps) = waiting.pop()
            {
                let round = 20 + waiting.len() as i64;
                change(source.clone(), &ever, may_hide, &steps, round);
            }
            true
        });
        job.run()
    }
}

fn change(root: PathBuf, ever: &Ever, may_hide: bool, steps: &[Step], round: i64) {
    let source = Ground {
        root: &root,
        may_hide,
        epoch: 1_500_000_000 + round * 100_000,
    };
    source.take(steps);
    note(ever, &root);
}

fn note(ever: &Ever, root: &Path) {
    let found = manifest(root);
    let paths = found.paths().into_iter();
    let paths = paths.map(|path| (path.to_owned(), found.is_directory(path)));
    ever.lock().unwrap().extend(paths);
}

fn manifest(root: &Path) -> Manifest {
    match root.exists() {
        true => Manifest::without(root, ".instancesync"),
        false => Manifest::nothing(),
    }
}

/// Returns what is not as it should be after a whole history.
fn live_through(history: &History, rest: Duration) -> Vec<String> {
    let stand = Stand::new(history);
    let before = manifest(&stand.target());
    for (round, cut) in history.cuts.iter().enumerate() {
        stand.change_source(&cut.steps, 1 + round as i64);
        stand.run_cut(cut);
    }
    stand.change_source(&history.between[0], 10);
    thread::sleep(rest);
    let half_way = manifest(&stand.copy());
    let ran = stand.run_through();
    if let Err(error) = &ran.result {
        return vec![format!("the run: {error}")];
    }
    let ends = Ends {
        source: manifest(&stand.source()),
        half_way,
        after: manifest(&stand.copy()),
        problems: &ran.problems,
    };
    let mut found = ends.judge(&stand);
    let protected = |manifest: Manifest| {
        manifest.keep(|path, is_directory| match history.is_staged {
            true => true,
            false => !path.is_empty() && !stand.is_copied(path, is_directory),
        })
    };
    // Only a stage leaves the time of the root alone.
    let changed = diff(&protected(before), &protected(manifest(&stand.target())));
    let ours = |line: &String| line.starts_with("./: mtime");
    found.extend(
        changed
            .into_iter()
            .filter(|line| !ours(line))
            .map(|line| format!("protected: {line}")),
    );
    if !history.is_staged && stand.target().join(".instancesync").exists() {
        found.push("something of ours stays".to_owned());
    }
    found.extend(nothing_is_left_to_do(&stand, &found, &ran));
    found
}

/// Runs once more, where nothing stood in the way.
fn nothing_is_left_to_do(stand: &Stand, found: &[String], ran: &Ran) -> Option<String> {
    if !found.is_empty() || !ran.problems.is_empty() || stand.history.is_staged {
        return None;
    }
    let paths = (stand.source(), stand.target());
    let again = stand.job((&paths.0, &paths.1)).run();
    let Ok(passes) = &again.result else {
        return Some(format!("again: {again:?}"));
    };
    let is_idle = passes
        .iter()
        .all(|stats| stats.equal_entries == stats.listed_entries && stats.deleted_entries == 0);
    (!is_idle || !again.problems.is_empty()).then(|| format!("again there is work: {again:?}"))
}

/// What there is when a history has ended.
struct Ends<'a> {
    source: Manifest,
    half_way: Manifest,
    after: Manifest,
    problems: &'a [Problem],
}

impl Ends<'_> {
    fn judge(self, stand: &Stand) -> Vec<String> {
        let copied =
            |path: &str, is_directory| path.is_empty() || stand.is_copied(path, is_directory);
        let wanted = self.source.keep(copied);
        let got = self.after.keep(copied);
        let deletes = stand.history.deletes || stand.history.is_staged;
        let in_the_way: Vec<String> = self
            .problems
            .iter()
            .map(|problem| String::from_utf8(problem.path.clone()).unwrap())
            .filter(|path| !is_free(path, &self.after, stand, deletes))
            .collect();
        let excused = |path: &str| {
            let is_below = |way: &String| Path::new(path).starts_with(way);
            in_the_way.iter().any(is_below)
        };
        let mut found = Vec::new();
        for line in diff(&wanted, &got) {
            let (path, what) = line.trim_start_matches("./").split_once(": ").unwrap();
            let is_extra = what == "only in the copy";
            let holds = || got_below(&self.after, path, |path, is_dir| !copied(path, is_dir));
            let was_there = || stand.was(path, true) || stand.was(path, false);
            let stays = is_extra && (holds() || !deletes && was_there());
            let is_there = is_extra || what == "missing in the copy";
            if is_there && !excused(path) && !stays {
                found.push(line);
            }
        }
        // What stays may share its inode with what was copied.
        let in_both = |path: &str, _| wanted.has(path) && got.has(path) && !excused(path);
        found.extend(diff(&wanted.keep(in_both), &got.keep(in_both)));
        if !deletes {
            let lost = diff(&self.half_way, &self.after).into_iter();
            let lost = lost.filter(|line| line.ends_with("missing in the copy"));
            found.extend(lost);
        }
        let is_excused = |problem: &Problem| excused(std::str::from_utf8(&problem.path).unwrap());
        let unexcused = self.problems.iter().filter(|problem| !is_excused(problem));
        found.extend(unexcused.map(|problem| format!("a problem: {problem:?}")));
        found
    }
}

/// Tells whether nothing on the target has ever kept the source's entry from its name.
fn is_free(path: &str, after: &Manifest, stand: &Stand, deletes: bool) -> bool {
    let stays = |path: &str, is_dir: bool| !stand.is_copied(path, is_dir);
    let is_protected = after.has(path) && stays(path, after.is_directory(path));
    let was_both = stand.was(path, true) && stand.was(path, false);
    let is_filled = was_both && (!deletes || got_below(after, path, stays));
    !is_protected && !is_filled
}

/// Tells whether something below a directory is such.
fn got_below(manifest: &Manifest, path: &str, is_such: impl Fn(&str, bool) -> bool) -> bool {
    let paths = manifest.paths();
    let mut below = paths
        .iter()
        .filter(|other| other.starts_with(&format!("{path}/")));
    below.any(|other| is_such(other, manifest.is_directory(other)))
}

/// Lives through as many histories as asked for, several at a time.
fn live_through_many(test: &str, count: u64, threads: usize, rest: Duration) {
    if !can_run(test, &[Ability::Root]) {
        return;
    }
    let asked = std::env::var("INSTANCESYNC_MODEL").unwrap_or_else(|_| count.to_string());
    let (count, first) = asked.split_once('@').unwrap_or((&asked, "1"));
    let number = |text: &str| -> u64 { text.parse().expect("a number of histories") };
    let end = number(first) + number(count);
    let next = AtomicU64::new(number(first));
    let work = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                seed if seed < end => live_one(seed, rest),
                _ => break,
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        assert!(ends.iter().all(Result::is_ok), "{test}: see above");
    });
}

/// Lives through the history of a seed; one that ends badly is made as short as it can be.
fn live_one(seed: u64, rest: Duration) {
    let config = ProptestConfig {
        cases: 1,
        failure_persistence: None,
        max_shrink_time: 120_000,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    };
    let mut start = [0; 32];
    start[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &start);
    let ended = TestRunner::new_with_rng(config, rng).run(&any_history(), |history| {
        let found = live_through(&history, rest);
        prop_assert!(found.is_empty(), "{}", found.join("\n"));
        Ok(())
    });
    if let Err(error) = ended {
        panic!("history {seed} (INSTANCESYNC_MODEL=1@{seed}): {error}");
    }
}

#[test]
fn every_history_ends_as_the_source_minus_the_rules() {
    let test = "every_history_ends_as_the_source_minus_the_rules";
    live_through_many(test, 400, 4, Duration::ZERO);
}

/// So later passes of the last run trust what the first has seen.
#[test]
fn a_history_of_a_source_at_rest_ends_the_same() {
    let test = "a_history_of_a_source_at_rest_ends_the_same";
    live_through_many(test, 48, 24, AT_REST);
}
