//! The stage proves that it can live: before the switch its own programs are run in it and what a
//! boot and a login need is looked for. A stage that fails is not switched to.
//!
//! Changes nothing, in the stage as on the running target. Knows nothing of what happens next.

mod looks;
mod room;
mod runs;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fixup::CloneNote;
use crate::fs::{Dir, FsError, Staged, Status, Tree, extents};
use crate::relpath::RelPath;

/// The order to check the stage of a system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckOrder {
    /// The root of the target.
    pub root: PathBuf,
    /// Mount points with stages of their own.
    pub volumes: Vec<RelPath>,
    /// What the source knows.
    pub facts: CheckFacts,
}

/// What the source knows that the check has to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFacts {
    /// The pair whose key has to let the source in after the reboot; `None` where nobody comes
    /// back with a key.
    pub pair: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// All checks, in the order in which they were made.
    pub results: Vec<Checked>,
}

impl CheckReport {
    /// Tells whether nothing speaks against the switch.
    pub fn is_passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// Returns the checks that failed, each with the reason and what to do.
    pub fn failures(&self) -> impl Iterator<Item = (&Checked, &str)> {
        self.results
            .iter()
            .filter_map(|checked| match &checked.outcome {
                CheckOutcome::Failed(text) => Some((checked, text.as_str())),
                CheckOutcome::Passed | CheckOutcome::NotApplicable(_) => None,
            })
    }
}

/// How programs begin (elf.h, ELFMAG).
const ELF: &[u8; 4] = b"\x7fELF";

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Its name in events and documents: `sshd`.
    pub id: String,
    /// What was asked, as a fragment: "the SSH server accepts its configuration".
    pub what: String,
    /// How it ended.
    pub outcome: CheckOutcome,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// As it should be.
    Passed,
    /// The clone would not live; why, and what to do.
    Failed(String),
    /// There is nothing to check here, or no means, and the clone can live nevertheless; why.
    NotApplicable(String),
}

/// Performs an order on this machine.
pub fn perform(order: &CheckOrder) -> Result<CheckReport, Failure> {
    let failed = |error: &FsError| {
        Failure::new(ExitCode::Failed, "target: open the stage to check it").because(error)
    };
    let live = Dir::open_root(&order.root).map_err(|error| failed(&error))?;
    let staged = Staged::open(&live, &order.volumes).map_err(|error| failed(&error))?;
    Ok(check(&order.root, &staged, &order.facts))
}

/// Checks the stage of the system below `root`.
pub fn check(root: &Path, staged: &Staged, source: &CheckFacts) -> CheckReport {
    let stage = Stage {
        root,
        staged,
        source,
        unseen: RefCell::default(),
    };
    let mut report = CheckReport::default();
    let mut note = |id: &str, what: &str, outcome: CheckOutcome| {
        let outcome = stage.or_unseen(outcome);
        let is_passed = outcome == CheckOutcome::Passed;
        report.results.push(Checked {
            id: id.to_owned(),
            what: what.to_owned(),
            outcome,
        });
        is_passed
    };
    note("init", "there is an init to start", stage.init());
    let runs = note(
        "loader",
        "programs start: loader, C library, shell",
        stage.shell(),
    );
    note("init-runs", "the init starts", stage.init_runs(runs));
    note(
        "sshd",
        "the SSH server accepts its keys and configuration",
        stage.sshd(runs),
    );
    note(
        "packages",
        "the package manager starts",
        stage.packages(runs),
    );
    note(
        "root-shell",
        "root has a row and a shell that is there",
        stage.root_shell(),
    );
    note(
        "run-key",
        "the source gets in after the reboot",
        stage.run_key(),
    );
    note(
        "machine-id",
        "the file of the machine's id is there",
        stage.machine_id(),
    );
    note("fstab", "the root in fstab is the target's", stage.fstab());
    note(
        "kernel",
        "the kernels to boot find their modules",
        stage.kernel(),
    );
    note(
        "kept",
        "what the target keeps is in the clone",
        stage.kept(),
    );
    report
}

/// A stage under examination.
struct Stage<'a> {
    root: &'a Path,
    staged: &'a Staged,
    source: &'a CheckFacts,
    /// Why something could not be looked at, in the check that is being made.
    unseen: RefCell<Option<FsError>>,
}

impl Stage<'_> {
    /// Takes what is not there for nothing, and remembers any other error.
    fn seen<T>(&self, found: crate::fs::Result<T>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(error) if error.is_gone() => None,
            Err(error) => {
                self.unseen.borrow_mut().get_or_insert(error);
                None
            }
        }
    }

    /// Lets a check fail whose answer is not known: a disk that errs proves nothing.
    fn or_unseen(&self, outcome: CheckOutcome) -> CheckOutcome {
        match (self.unseen.take(), outcome) {
            (Some(error), CheckOutcome::Passed | CheckOutcome::NotApplicable(_)) => {
                let cause = error.cause();
                failed(format!(
                    "it cannot be looked at ({error}: {cause}): see to the target's disk"
                ))
            }
            (_, outcome) => outcome,
        }
    }

    fn tree(&self) -> &Tree {
        self.staged.stage()
    }

    /// Returns what an absolute path of the clone leads to.
    fn look(&self, path: &str) -> Option<(RelPath, Status)> {
        self.seen(self.tree().resolve(path.as_bytes()))
    }

    /// Returns where a program of the clone is; `None` where the kernel starts none under that path.
    fn program(&self, path: &str) -> Option<RelPath> {
        let (found, status) = self.look(path)?;
        let may_start = status.is_file() && status.mode() & 0o111 != 0;
        (may_start && self.seen(self.has_head(&found))?).then_some(found)
    }

    /// Tells whether a file begins as programs and scripts do: a text without `#!` is started by
    /// shells, not by the kernel.
    fn has_head(&self, path: &RelPath) -> crate::fs::Result<bool> {
        let Some((parent, name)) = path.split() else {
            return Ok(false);
        };
        let file = self.tree().open_beneath(&parent)?.open_file(&name)?;
        let mut head = [0; ELF.len()];
        extents::read_at(&file, &mut head, 0)?;
        Ok(head == *ELF || head.starts_with(b"#!"))
    }

    /// Returns the first of `paths` that is a program of the clone.
    fn first_program<'p>(&self, paths: &[&'p str]) -> Option<&'p str> {
        let mut paths = paths.iter();
        paths.find(|path| self.program(path).is_some()).copied()
    }

    /// Tells whether the running target has one of `paths`, which is then nothing unusual.
    fn live_has(&self, paths: &[&str]) -> bool {
        let live = self.live();
        let has = |path: &&str| self.seen(live.as_ref()?.resolve(path.as_bytes()));
        paths.iter().any(|path| has(path).is_some())
    }

    /// Returns the running target's tree.
    fn live(&self) -> Option<Tree> {
        let live = self.staged.live().open_beneath(&RelPath::root());
        self.seen(live).map(Tree::from)
    }

    fn note(&self) -> crate::fs::Result<Option<CloneNote>> {
        CloneNote::read(self.staged.live())
    }
}

fn failed(text: impl Into<String>) -> CheckOutcome {
    CheckOutcome::Failed(text.into())
}

fn not_applicable(text: impl Into<String>) -> CheckOutcome {
    CheckOutcome::NotApplicable(text.into())
}
