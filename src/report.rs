//! What happened in a run: what each pass did, what did not arrive, and the exit code of it.
//!
//! Grows with nothing but bounded lists. Knows nothing of screens: `ui` prints it.

mod card;
mod timings;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::exit::ExitCode;
use crate::monitor::{CheckOutcome, Counters, Event, Monitor, Pass, PassStats, Stage};
use crate::problem::{Problem, ProblemKind};

pub use card::CloneCard;
pub use timings::Timings;

/// LIMIT: problems that are kept with their paths; the rest is counted. A few MiB at most,
/// and more than anyone reads; the log file and the JSON events have all of them.
const MAX_KEPT_PROBLEMS: usize = 10_000;
/// LIMIT: merged files, checks and looks at the clone that are kept, of each kind. A run has some
/// hundred.
const MAX_KEPT_LINES: usize = 10_000;

/// Classes of trouble, the one that decides the exit code first: wrong data outweighs
/// missing data, and a cause that the person can remove (room) outweighs its consequences.
pub const PRECEDENCE: [(ProblemKind, ExitCode); 6] = [
    (ProblemKind::Mismatch, ExitCode::Mismatch),
    (ProblemKind::NoSpace, ExitCode::NoSpace),
    (ProblemKind::Failed, ExitCode::SomeFailed),
    (ProblemKind::DeleteLimit, ExitCode::DeleteLimit),
    (ProblemKind::Changed, ExitCode::Churned),
    (ProblemKind::Vanished, ExitCode::Churned),
];

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What each pass did, in the order in which they ended.
    pub passes: Vec<(Pass, PassStats)>,
    /// How long each stage took.
    pub timings: Timings,
    /// The files that were made out of both machines'.
    pub fix_ups: Vec<FixedUp>,
    /// What the checks of the staged system found.
    pub checks: Vec<Checked>,
    /// The switch, if there was one.
    pub switched: Option<Switched>,
    /// What was seen of the clone after its switch.
    pub verified: Vec<Verified>,
    /// The stage after which the run ended because it was told to.
    pub stopped_after: Option<Stage>,
    /// What the clone of a whole system is, once that is known.
    pub card: Option<CloneCard>,
    kept_problems: Vec<Problem>,
    problem_counts: [u64; PRECEDENCE.len()],
}

/// A file that was made out of both machines', or a word about one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedUp {
    /// The path below the root, raw bytes.
    pub path: Vec<u8>,
    /// Who made it.
    pub merger: &'static str,
    /// Whether a person should look at it.
    pub is_warning: bool,
    /// What was done and why.
    pub text: String,
}

/// One check of the staged system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its name, for programs.
    pub id: String,
    /// What was checked.
    pub what: String,
    /// What was found.
    pub outcome: CheckOutcome,
}

/// The switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switched {
    /// How long the target was neither the one system nor the other, in microseconds.
    pub elapsed_us: u64,
    /// How many names were exchanged or moved.
    pub names: u64,
}

/// One look at the clone after its switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be.
    pub is_good: bool,
    /// What was found.
    pub text: String,
}

impl Report {
    /// Takes in what an event says that happened at `now`; most say nothing that lasts.
    pub fn record(&mut self, event: &Event, now: Instant) {
        match event {
            Event::StageStarted(stage) => self.timings.begin(*stage, now),
            Event::FixUp {
                path,
                merger,
                is_warning,
                text,
            } => push(&mut self.fix_ups, || FixedUp {
                path: path.clone(),
                merger,
                is_warning: *is_warning,
                text: text.clone(),
            }),
            Event::Checked { id, what, outcome } => push(&mut self.checks, || Checked {
                id: id.clone(),
                what: what.clone(),
                outcome: outcome.clone(),
            }),
            Event::Switched { elapsed_us, names } => {
                self.switched = Some(Switched {
                    elapsed_us: *elapsed_us,
                    names: *names,
                });
            }
            Event::Verified {
                what,
                is_good,
                text,
            } => push(&mut self.verified, || Verified {
                what: what.clone(),
                is_good: *is_good,
                text: text.clone(),
            }),
            Event::Problem(problem) => self.add_problem(problem.clone()),
            Event::PassEnded(pass, stats) => self.passes.push((*pass, stats.clone())),
            Event::Estimate { .. }
            | Event::PassStarted(_)
            | Event::Item { .. }
            | Event::Waiting { .. }
            | Event::Notice(_)
            | Event::Reconnecting { .. } => {}
        }
    }

    /// Counts a problem, and keeps it while there is room.
    pub fn add_problem(&mut self, problem: Problem) {
        self.problem_counts[index(problem.kind)] += 1;
        if self.kept_problems.len() < MAX_KEPT_PROBLEMS {
            self.kept_problems.push(problem);
        }
    }

    /// Returns how many problems of one class there were.
    pub fn problem_count(&self, kind: ProblemKind) -> u64 {
        self.problem_counts[index(kind)]
    }

    /// Returns how many problems there were.
    pub fn total_problem_count(&self) -> u64 {
        self.problem_counts.iter().sum()
    }

    /// Returns the problems with their paths, in the order of their classes and paths; at
    /// most 10 000 of them.
    pub fn problems(&self) -> Vec<&Problem> {
        let mut problems: Vec<_> = self.kept_problems.iter().collect();
        problems.sort_by_key(|problem| (index(problem.kind), &problem.path));
        problems
    }

    /// Returns the code for a run that went through: that of its worst problem.
    pub fn exit_code(&self) -> ExitCode {
        PRECEDENCE
            .iter()
            .find(|(kind, _)| self.problem_count(*kind) > 0)
            .map_or(ExitCode::Complete, |(_, exit)| *exit)
    }
}

/// Adds a line while there is room.
fn push<Line>(lines: &mut Vec<Line>, line: impl FnOnce() -> Line) {
    if lines.len() < MAX_KEPT_LINES {
        lines.push(line());
    }
}

fn index(kind: ProblemKind) -> usize {
    match kind {
        ProblemKind::Mismatch => 0,
        ProblemKind::NoSpace => 1,
        ProblemKind::Failed => 2,
        ProblemKind::DeleteLimit => 3,
        ProblemKind::Changed => 4,
        ProblemKind::Vanished => 5,
    }
}

/// Passes everything on to another monitor, and keeps the report.
pub struct Recorder {
    inner: Arc<dyn Monitor>,
    report: Mutex<Report>,
}

impl Recorder {
    /// Makes a recorder in front of `inner`.
    pub fn new(inner: Arc<dyn Monitor>) -> Recorder {
        Recorder {
            inner,
            report: Mutex::default(),
        }
    }

    /// Returns the report of what was told so far, the stage that is going on ended.
    pub fn report(&self) -> Report {
        let mut report = self.locked().clone();
        report.timings.end(Instant::now());
        report
    }

    /// Returns the stage that the run is in.
    pub fn stage(&self) -> Option<Stage> {
        self.locked().timings.current()
    }

    /// Keeps what the clone of a whole system is.
    pub fn describe(&self, card: CloneCard) {
        self.locked().card = Some(card);
    }

    /// Notes that the run ends after this stage because it was told to.
    pub fn stopped_after(&self, stage: Stage) {
        self.locked().stopped_after = Some(stage);
    }

    fn locked(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for Recorder {
    fn event(&self, event: Event) {
        self.locked().record(&event, Instant::now());
        self.inner.event(event);
    }

    fn counters(&self) -> &Counters {
        self.inner.counters()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{MAX_KEPT_PROBLEMS, PRECEDENCE, Recorder, Report, index};
    use crate::exit::ExitCode;
    use crate::monitor::{Event, Monitor, Pass, PassStats, RecordingMonitor};
    use crate::problem::{Problem, ProblemKind, Side};

    fn problem(kind: ProblemKind) -> Problem {
        Problem {
            side: Side::Source,
            kind,
            path: b"a".to_vec(),
            operation: "open".into(),
            cause: "Permission denied".into(),
        }
    }

    #[test]
    fn the_worst_problem_decides_the_exit_code() {
        let mut report = Report::default();
        assert_eq!(report.exit_code(), ExitCode::Complete);
        for (position, (kind, exit)) in PRECEDENCE.iter().enumerate().rev() {
            assert_eq!(index(*kind), position);
            report.add_problem(problem(*kind));
            assert_eq!(report.exit_code(), *exit);
        }
    }

    #[test]
    fn counts_more_problems_than_it_keeps() {
        let mut report = Report::default();
        for _ in 0..MAX_KEPT_PROBLEMS + 5 {
            report.add_problem(problem(ProblemKind::Vanished));
        }
        assert_eq!(report.problems().len(), MAX_KEPT_PROBLEMS);
        assert_eq!(report.total_problem_count(), MAX_KEPT_PROBLEMS as u64 + 5);
    }

    #[test]
    fn records_and_passes_on() {
        let inner = Arc::new(RecordingMonitor::default());
        let recorder = Recorder::new(inner.clone());
        recorder.event(Event::Problem(problem(ProblemKind::Failed)));
        recorder.event(Event::PassEnded(Pass::Checksum, PassStats::default()));
        assert_eq!(recorder.report().passes.len(), 1);
        assert_eq!(recorder.report().exit_code(), ExitCode::SomeFailed);
        assert_eq!(inner.events().len(), 2);
    }
}
