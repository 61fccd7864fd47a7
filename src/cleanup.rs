//! `instancesync cleanup amazon-ami`: takes from a machine what makes sense on EC2 only.
//!
//! The story: recognise, plan, show, ask, keep copies, change, report; or take the newest
//! clean-up back. What is Amazon's is data (`profiles/amazon-ami.toml`). Works on a root
//! directory with the programs that are there, without network. Knows nothing of clones.

mod apply;
mod draft;
mod edits;
mod keep_copy;
mod packages;
mod profile;
pub(crate) mod programs;
mod recognise;
mod rpm;
mod sshd;
mod steps;
mod survey;
mod tree;
mod undo;

pub use draft::{Action, FileChange};
pub use packages::{Broken, Kept, PackagePlan, Removal};
pub use profile::Generation;
pub use recognise::{Recognition, Release};
pub use sshd::SshdCheck;
pub use undo::Left;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::FsError;
use crate::prompter::Prompter;
use crate::settings::confirm;

use apply::Work;
use profile::CleanupProfile;
use programs::ThisMachine;
use survey::Survey;
use tree::Tree;
use undo::UndoPlan;

/// What the person wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CleanupSettings {
    /// The root directory to clean.
    pub root: PathBuf,
    /// What the machine becomes; what its release files say where `None`.
    pub become_release: Option<Release>,
    /// Whether nothing is changed.
    pub dry_run: bool,
    /// Whether nothing is asked.
    pub yes: bool,
    /// Whether it goes on where nothing was recognised, and over protected packages.
    pub force: bool,
}

/// Sees what happens. All methods are called from one thread.
pub trait CleanupWatcher {
    /// The plan is made; nothing was asked yet.
    fn planned(&self, report: &CleanupReport);
    /// The plan of an undo is made; nothing was asked yet.
    fn undo_planned(&self, report: &UndoReport);
    /// Something begins that may take a while: "removing packages".
    fn began(&self, step: &str);
}

/// How it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Nothing was changed: it was a dry run, or the question is still open.
    #[default]
    Planned,
    /// Nothing had to be done.
    NothingToDo,
    /// It was done; problems say what failed.
    Done,
}

/// Everything that will be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CleanupPlan {
    /// The packages.
    pub packages: PackagePlan,
    /// The files, sorted by path.
    pub files: Vec<FileChange>,
    /// The packages to install afterwards, from the repositories of what the machine becomes;
    /// empty where nobody knows what that is.
    pub install: Vec<String>,
    /// What else to know or to do, one sentence each.
    pub advice: Vec<String>,
}

impl CleanupPlan {
    /// Tells whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.packages.remove.is_empty() && self.files.is_empty()
    }
}

/// A clean-up, planned or done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CleanupReport {
    /// The root directory.
    pub root: String,
    /// What the machine is.
    pub machine: Recognition,
    /// When it was cleaned before: `20261121T091519Z`.
    pub cleaned_before: Option<String>,
    /// What the machine becomes.
    pub becomes: Release,
    /// What will be done, or was.
    pub plan: CleanupPlan,
    /// How it ended.
    pub ending: Ending,
    /// Where the copies lie, from the root.
    pub copies: Option<String>,
    /// The packages that are gone.
    pub removed_packages: Vec<String>,
    /// What sshd says afterwards.
    pub sshd: SshdCheck,
    /// What failed.
    pub problems: Vec<String>,
}

/// An undo, planned or done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UndoReport {
    /// The root directory.
    pub root: String,
    /// When the clean-up was that is taken back; `None` where there is none.
    pub time: Option<String>,
    /// Where its copies lie, from the root.
    pub copies: Option<String>,
    /// The files that are restored, sorted.
    pub restored: Vec<String>,
    /// The files that are not.
    pub left: Vec<Left>,
    /// The packages that do not come back.
    pub packages: Vec<String>,
    /// How it ended.
    pub ending: Ending,
    /// What sshd says afterwards.
    pub sshd: SshdCheck,
    /// What else failed.
    pub problems: Vec<String>,
}

impl CleanupReport {
    /// Returns the code that the process ends with.
    pub fn exit(&self) -> ExitCode {
        exit(self.problems.is_empty())
    }
}

impl UndoReport {
    /// Returns the code that the process ends with.
    pub fn exit(&self) -> ExitCode {
        let is_whole = self.left.is_empty() && self.problems.is_empty();
        exit(is_whole && !matches!(self.sshd, SshdCheck::Failed(_)))
    }
}

fn exit(is_complete: bool) -> ExitCode {
    match is_complete {
        true => ExitCode::Complete,
        false => ExitCode::SomeFailed,
    }
}

/// What is to be done, as one machine tells it to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Whether the newest clean-up is taken back.
    pub undo: bool,
    /// The rest.
    pub settings: CleanupSettings,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum Report {
    /// A clean-up.
    Cleanup(Box<CleanupReport>),
    /// An undo.
    Undo(UndoReport),
}

impl Report {
    /// Returns the code that the process ends with.
    pub fn exit(&self) -> ExitCode {
        match self {
            Report::Cleanup(report) => report.exit(),
            Report::Undo(report) => report.exit(),
        }
    }

    /// Returns how it ended.
    pub fn ending(&self) -> Ending {
        match self {
            Report::Cleanup(report) => report.ending,
            Report::Undo(report) => report.ending,
        }
    }

    /// Shows its plan.
    pub fn show(&self, watcher: &dyn CleanupWatcher) {
        match self {
            Report::Cleanup(report) => watcher.planned(report),
            Report::Undo(report) => watcher.undo_planned(report),
        }
    }
}

/// Does what is ordered, after asking.
pub fn perform(
    order: &Order,
    prompter: &dyn Prompter,
    watcher: &dyn CleanupWatcher,
) -> Result<Report, Failure> {
    let settings = &order.settings;
    Ok(match order.undo {
        true => Report::Undo(undo(settings, prompter, watcher)?),
        false => Report::Cleanup(Box::new(run(settings, prompter, watcher)?)),
    })
}

/// Nobody watches.
pub struct Unwatched;

impl CleanupWatcher for Unwatched {
    fn planned(&self, _report: &CleanupReport) {}

    fn undo_planned(&self, _report: &UndoReport) {}

    fn began(&self, _step: &str) {}
}

/// Cleans a root, after asking.
pub fn run(
    settings: &CleanupSettings,
    prompter: &dyn Prompter,
    watcher: &dyn CleanupWatcher,
) -> Result<CleanupReport, Failure> {
    let tree = open(settings)?;
    let profile =
        CleanupProfile::shipped().map_err(|error| Failure::of(ExitCode::Failed, &error))?;
    let survey = Survey::make(&tree, &profile, &ThisMachine, settings)?;
    let mut report = survey.report(&tree);
    watcher.planned(&report);
    if report.plan.is_empty() {
        report.ending = Ending::NothingToDo;
        return Ok(report);
    }
    if settings.dry_run {
        return Ok(report);
    }
    confirm(settings.yes, prompter, "Clean this machine up?")?;
    let work = Work {
        tree: &tree,
        programs: &ThisMachine,
        rpm: survey.rpm.as_ref(),
        profile: &profile,
        generation: survey.machine.generation,
        changes: &survey.changes,
        packages: survey.plan.packages.ids(),
    };
    let done = apply::apply(&work, &|step| watcher.began(step))
        .map_err(|error| in_root(settings, "cannot keep copies of what would change", &error))?;
    report.ending = Ending::Done;
    report.copies = Some(done.copies);
    report.removed_packages = done.packages;
    report.sshd = done.sshd;
    report.problems.extend(done.problems);
    Ok(report)
}

/// Takes the newest clean-up of a root back, after asking.
pub fn undo(
    settings: &CleanupSettings,
    prompter: &dyn Prompter,
    watcher: &dyn CleanupWatcher,
) -> Result<UndoReport, Failure> {
    let tree = open(settings)?;
    let failed = |error: FsError| in_root(settings, "cannot undo", &error);
    let root = settings.root.display().to_string();
    let mut report = UndoReport {
        root,
        ..UndoReport::default()
    };
    let Some(mut plan) = UndoPlan::make(&tree, settings.force).map_err(failed)? else {
        report.ending = Ending::NothingToDo;
        return Ok(report);
    };
    report.time = Some(plan.time().to_owned());
    report.copies = Some(plan.copies().to_owned());
    report.packages = plan.packages().to_vec();
    report.restored = plan.restore.iter().map(|file| file.path.clone()).collect();
    report.left.clone_from(&plan.left);
    watcher.undo_planned(&report);
    if settings.dry_run {
        return Ok(report);
    }
    confirm(settings.yes, prompter, "Take this clean-up back?")?;
    let _lock = keep_copy::lock(&tree).map_err(failed)?;
    let done = plan.apply(&tree);
    report.restored = done.restored;
    report.problems = done.problems;
    report.left.clone_from(&plan.left);
    report.ending = Ending::Done;
    report.sshd = sshd::check(&tree, &ThisMachine);
    report.problems.extend(tree.take_troubles());
    Ok(report)
}

fn open(settings: &CleanupSettings) -> Result<Tree, Failure> {
    if !settings.dry_run && !rustix::process::geteuid().is_root() {
        return Err(Failure::new(ExitCode::Refused, "the clean-up needs root")
            .hint("run it as root, or look at it with --dry-run"));
    }
    // Programs get the root as an argument; their working directory may be another one.
    let path = std::path::absolute(&settings.root).unwrap_or_else(|_| settings.root.clone());
    Tree::open(&path).map_err(|error| in_root(settings, "cannot be cleaned", &error))
}

fn in_root(settings: &CleanupSettings, what: &str, error: &FsError) -> Failure {
    let what = format!("root {}: {what}", settings.root.display());
    Failure::new(ExitCode::Failed, what).because(error)
}
