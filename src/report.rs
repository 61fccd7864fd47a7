//! What happened in a run: what each pass did, what did not arrive, and the exit code of it.
//!
//! Grows with nothing but a bounded list of problems. Knows nothing of screens: `ui` prints it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exit::ExitCode;
use crate::monitor::{Counters, Event, Monitor, Pass, PassStats};
use crate::problem::{Problem, ProblemKind};

/// LIMIT: problems that are kept with their paths; the rest is counted. A few MiB at most,
/// and more than anyone reads; the log file and the JSON events have all of them.
const MAX_KEPT_PROBLEMS: usize = 10_000;

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
    kept_problems: Vec<Problem>,
    problem_counts: [u64; PRECEDENCE.len()],
}

impl Report {
    /// Takes in what an event says; most say nothing that lasts.
    pub fn record(&mut self, event: &Event) {
        match event {
            Event::Problem(problem) => self.add_problem(problem.clone()),
            Event::PassEnded(pass, stats) => self.passes.push((*pass, stats.clone())),
            Event::StageStarted(_)
            | Event::Estimate { .. }
            | Event::PassStarted(_)
            | Event::Item { .. }
            | Event::FixUp { .. }
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

    /// Returns the report of what was told so far.
    pub fn report(&self) -> Report {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for Recorder {
    fn event(&self, event: Event) {
        self.locked().record(&event);
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
