//! The end of a run in words: what each pass did on each side, what did not arrive, and what
//! that means.

mod passes;

use super::{Outcome, ending, lines, units};
use crate::exit::ExitCode;
use crate::problem::ProblemKind;
use crate::report::{PRECEDENCE, Report};
use crate::settings::Detail;

/// LIMIT: problems that are listed on a screen; more would push the rest of the summary away.
const MAX_LISTED: usize = 20;

/// What a summary on a screen goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Whether there is a log, which has all problems.
    pub has_log: bool,
    /// Whether to tell what the time was spent on.
    pub tells_spent: bool,
}

/// Returns what a screen shows at the end; quiet screens get the problems only.
pub fn for_screen(outcome: &Outcome, detail: Detail, extent: Extent) -> String {
    let problems = problems(&outcome.report, extent.has_log);
    if detail == Detail::Quiet {
        return problems;
    }
    format!(
        "{}{problems}{}{}",
        passes::table(&outcome.report, extent.tells_spent),
        verdict(outcome),
        ending(outcome)
    )
}

/// Returns the summary without the list of problems, for a log that has them already.
pub fn whole(outcome: &Outcome) -> String {
    format!(
        "{}{}{}",
        passes::table(&outcome.report, true),
        verdict(outcome),
        ending(outcome)
    )
}

/// Returns what a whole system is now; a dry run has made nothing of it.
fn ending(outcome: &Outcome) -> String {
    match outcome.dry_run {
        true => String::new(),
        false => ending::text(&outcome.report),
    }
}

/// Returns rsync's speedup for the whole run: the tree's size over the link's traffic.
pub fn speedup(report: &Report) -> Option<f64> {
    let listed = report.passes.iter().map(|(_, stats)| stats.listed_bytes);
    let carried = report
        .passes
        .iter()
        .map(|(_, stats)| stats.sent_bytes + stats.received_bytes);
    let (listed, carried) = (listed.max()?, carried.sum::<u64>());
    (listed > 0 && carried > 0).then(|| listed as f64 / carried as f64)
}

fn problems(report: &Report, has_log: bool) -> String {
    let mut text = String::new();
    for problem in report.problems().iter().take(MAX_LISTED) {
        text.push_str(&format!("problem: {}\n", lines::problem(problem)));
    }
    let total = report.total_problem_count();
    if total > MAX_LISTED as u64 {
        let rest = units::counted(total - MAX_LISTED as u64, "more problem");
        let place = if has_log {
            "the log file has all of them"
        } else {
            "--log-file FILE keeps all of them"
        };
        text.push_str(&format!("and {rest}; {place}\n"));
    }
    text
}

/// Returns the last sentence: what the run came to.
fn verdict(outcome: &Outcome) -> String {
    let dry_run = if outcome.dry_run {
        "This was a dry run: nothing was changed.\n"
    } else {
        ""
    };
    if outcome.failure.is_some() {
        return dry_run.to_owned(); // The failure is told after it.
    }
    format!("{}\n{dry_run}", sentence(outcome))
}

fn sentence(outcome: &Outcome) -> String {
    let report = &outcome.report;
    let exit = outcome.exit();
    if exit == ExitCode::Complete {
        return if outcome.dry_run {
            "Nothing stands in the way.".into()
        } else {
            "Everything arrived.".into()
        };
    }
    let mut text = format!("{} (exit code {}):", heading(exit), exit.code());
    for (kind, _) in PRECEDENCE {
        let count = report.problem_count(kind);
        if count > 0 {
            text.push_str(&format!(
                "\n  {} {}",
                units::count(count),
                what_became(kind)
            ));
        }
    }
    text
}

fn heading(exit: ExitCode) -> &'static str {
    match exit {
        ExitCode::Churned => "Everything that held still arrived; the rest",
        ExitCode::DeleteLimit => "Everything arrived, but not everything was deleted",
        _ => "Not everything arrived",
    }
}

fn what_became(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Mismatch => "not equal to what was read on the source",
        ProblemKind::NoSpace => "without room on the target",
        ProblemKind::Failed => "failed",
        ProblemKind::DeleteLimit => "kept because of --max-delete",
        ProblemKind::Changed => "changed each time while being read",
        ProblemKind::Vanished => "vanished from the source meanwhile",
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, for_screen};
    use crate::exit::ExitCode;
    use crate::failure::Failure;
    use crate::monitor::{Pass, PassStats, Spent};
    use crate::problem::{Problem, ProblemKind, Side};
    use crate::report::Report;
    use crate::settings::Detail;
    use crate::ui::Outcome;

    const WITH_LOG: Extent = Extent {
        has_log: true,
        tells_spent: false,
    };

    fn outcome() -> Outcome {
        let mut report = Report::default();
        let first = PassStats {
            listed_entries: 123_456,
            listed_bytes: 5 << 30,
            equal_entries: 120_000,
            landed_files: 3000,
            made_entries: 400,
            linked_entries: 20,
            attribute_entries: 36,
            body_bytes: 812 << 20,
            sent_bytes: 240 << 20,
            received_bytes: 1 << 20,
            elapsed_ms: 41_300,
            source_spent: Spent {
                walk_ms: 1800,
                read_ms: 20_400,
                hash_ms: 3100,
                link_ms: 38_000,
                ..Spent::default()
            },
            target_spent: Spent {
                compare_ms: 7200,
                write_ms: 35_000,
                idle_ms: 61_000,
                ..Spent::default()
            },
            ..PassStats::default()
        };
        let second = PassStats {
            listed_entries: 123_456,
            listed_bytes: 5 << 30,
            equal_entries: 123_455,
            vanished_entries: 1,
            sent_bytes: 3 << 20,
            received_bytes: 2 << 20,
            elapsed_ms: 9400,
            ..PassStats::default()
        };
        report.passes = vec![(Pass::Timestamp, first), (Pass::Checksum, second)];
        Outcome {
            report,
            failure: None,
            dry_run: false,
        }
    }

    fn problem(kind: ProblemKind, path: &str) -> Problem {
        Problem {
            side: Side::Source,
            kind,
            path: path.into(),
            operation: "open".into(),
            cause: "Permission denied".into(),
        }
    }

    #[test]
    fn tells_what_each_pass_did() {
        insta::assert_snapshot!(for_screen(&outcome(), Detail::Normal, Extent::default()));
        let spent = Extent {
            tells_spent: true,
            ..Extent::default()
        };
        let traced = for_screen(&outcome(), Detail::Normal, spent);
        insta::assert_snapshot!("tells_what_the_time_was_spent_on", traced);
    }

    #[test]
    fn many_passes_fit_the_screen() {
        let mut outcome = outcome();
        let stats = outcome.report.passes[0].1.clone();
        let timestamp = (Pass::Timestamp, stats);
        let further = [timestamp.clone(), timestamp.clone(), timestamp.clone()];
        outcome.report.passes.splice(1..1, further);
        outcome.report.passes.push(timestamp);
        let text = for_screen(&outcome, Detail::Normal, Extent::default());
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn lists_problems_up_to_a_limit() {
        let mut outcome = outcome();
        outcome
            .report
            .add_problem(problem(ProblemKind::Vanished, "tmp/x"));
        for number in 0..30 {
            let path = format!("srv/{number:02}");
            outcome
                .report
                .add_problem(problem(ProblemKind::Failed, &path));
        }
        outcome.report.passes.clear();
        insta::assert_snapshot!(for_screen(&outcome, Detail::Normal, WITH_LOG));
        let quiet = for_screen(&outcome, Detail::Quiet, WITH_LOG);
        assert_eq!(quiet.lines().count(), 21);
        assert!(quiet.ends_with("the log file has all of them\n"));
    }

    #[test]
    fn a_failure_and_a_dry_run_have_their_own_ends() {
        let mut dry = outcome();
        dry.report.passes.clear();
        dry.dry_run = true;
        assert_eq!(
            for_screen(&dry, Detail::Normal, Extent::default()),
            "Nothing stands in the way.\nThis was a dry run: nothing was changed.\n"
        );
        dry.failure = Some(Failure::new(ExitCode::Link, "no"));
        assert_eq!(
            for_screen(&dry, Detail::Normal, Extent::default()),
            "This was a dry run: nothing was changed.\n"
        );
    }
}
