//! The end of a run in words: what each pass did on each side, what did not arrive, and what
//! that means.

use std::time::Duration;

use super::{Outcome, ending, lines, units};
use crate::exit::ExitCode;
use crate::monitor::{Pass, PassStats};
use crate::problem::ProblemKind;
use crate::report::{PRECEDENCE, Report};
use crate::settings::Detail;

/// LIMIT: problems that are listed on a screen; more would push the rest of the summary away.
const MAX_LISTED: usize = 20;
/// Columns of the screen for labels and for each cell, where there are up to two passes, and where
/// there are more: 34 + 2 * 20 and 32 + 4 * 12 are 80 at most.
const WIDE: (usize, usize) = (34, 20);
const NARROW: (usize, usize) = (32, 12);

/// Returns what a screen shows at the end; quiet screens get the problems only.
pub fn for_screen(outcome: &Outcome, detail: Detail, has_log: bool) -> String {
    let problems = problems(&outcome.report, has_log);
    if detail == Detail::Quiet {
        return problems;
    }
    format!(
        "{}{problems}{}{}",
        passes(&outcome.report),
        verdict(outcome),
        ending(outcome)
    )
}

/// Returns the summary without the list of problems, for a log that has them already.
pub fn whole(outcome: &Outcome) -> String {
    format!(
        "{}{}{}",
        passes(&outcome.report),
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

/// What one cell of the table shows of the stats.
type Cell = fn(&PassStats) -> String;

/// The rows: label and cell. A row whose cells all show [`NOTHING`] is left out.
const ROWS: [(&str, Cell); 16] = [
    ("source: entries listed", |stats| {
        count(stats.listed_entries)
    }),
    ("source: bytes in files", |stats| bytes(stats.listed_bytes)),
    ("source: contents sent", |stats| bytes(stats.body_bytes)),
    ("source: put on the link", |stats| bytes(stats.sent_bytes)),
    ("source: taken from the link", |stats| {
        bytes(stats.received_bytes)
    }),
    ("source: vanished meanwhile", |stats| {
        count(stats.vanished_entries)
    }),
    ("source: never held still", |stats| {
        count(stats.changed_files)
    }),
    ("target: equal already", |stats| count(stats.equal_entries)),
    ("target: files landed", |stats| count(stats.landed_files)),
    ("target: others made", |stats| count(stats.made_entries)),
    ("target: hard links made", |stats| {
        count(stats.linked_entries)
    }),
    ("target: attributes changed only", |stats| {
        count(stats.attribute_entries)
    }),
    ("target: deleted", |stats| count(stats.deleted_entries)),
    ("both: failed", |stats| count(stats.failed_entries)),
    ("time", |stats| {
        units::duration(Duration::from_millis(stats.elapsed_ms))
    }),
    ("contents sent a second", rate),
];

const NOTHING: &str = "-";

fn count(number: u64) -> String {
    if number == 0 {
        NOTHING.into()
    } else {
        units::count(number)
    }
}

fn bytes(amount: u64) -> String {
    if amount == 0 {
        NOTHING.into()
    } else {
        units::bytes(amount)
    }
}

fn rate(stats: &PassStats) -> String {
    let time = Duration::from_millis(stats.elapsed_ms);
    let rate = stats.body_bytes as f64 / time.as_secs_f64().max(0.001);
    match stats.body_bytes {
        0 => NOTHING.into(),
        _ => units::rate(rate),
    }
}

/// Returns the table: a column for each pass or group of passes, its rows by side.
fn passes(report: &Report) -> String {
    let mut table = String::new();
    if report.passes.is_empty() {
        return table;
    }
    let (columns, widths) = match report.passes.len() {
        0..=2 => (columns(report), WIDE),
        _ => (grouped_columns(report), NARROW),
    };
    let names = columns.iter().map(|(name, _)| name.clone());
    push_row(&mut table, widths, "", names);
    for (label, cell) in ROWS {
        let cells: Vec<_> = columns.iter().map(|(_, stats)| cell(stats)).collect();
        if cells.iter().any(|cell| cell != NOTHING) {
            push_row(&mut table, widths, label, cells.into_iter());
        }
    }
    if let Some(speedup) = speedup(report) {
        table.push_str(&format!(
            "speedup {speedup:.1} (bytes in the source's files for each byte on the link)\n"
        ));
    }
    table
}

fn columns(report: &Report) -> Vec<(String, PassStats)> {
    let column = |(pass, stats): &(Pass, PassStats)| (pass.to_string(), stats.clone());
    report.passes.iter().map(column).collect()
}

/// Returns one column each for the first pass, those that catch up, the checksum pass and what
/// follows it: more columns than these do not fit beside each other.
fn grouped_columns(report: &Report) -> Vec<(String, PassStats)> {
    let is_checksum = |(pass, _): &(Pass, PassStats)| *pass == Pass::Checksum;
    let checksum = report.passes.iter().position(is_checksum);
    let (early, late) = report
        .passes
        .split_at(checksum.unwrap_or(report.passes.len()));
    let (first, further) = early.split_at(early.len().min(1));
    let (checksum, last) = late.split_at(late.len().min(1));
    let further_name = format!("{} further", further.len());
    let groups = [
        ("timestamp", first),
        (&*further_name, further),
        ("checksum", checksum),
        ("last", last),
    ];
    let groups = groups.into_iter().filter(|(_, group)| !group.is_empty());
    groups
        .map(|(name, group)| (name.to_owned(), sum(group)))
        .collect()
}

fn sum(passes: &[(Pass, PassStats)]) -> PassStats {
    let mut sum = PassStats::default();
    for (_, stats) in passes {
        sum.add(stats);
    }
    sum
}

fn push_row(
    table: &mut String,
    (label_width, column_width): (usize, usize),
    label: &str,
    cells: impl Iterator<Item = String>,
) {
    let mut row = format!("{label:label_width$}");
    for cell in cells {
        row.push_str(&format!("{cell:>column_width$}"));
    }
    table.push_str(row.trim_end());
    table.push('\n');
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
    if outcome.failure.is_some() {
        return String::new(); // The failure is told after it.
    }
    let dry_run = if outcome.dry_run {
        "This was a dry run: nothing was changed.\n"
    } else {
        ""
    };
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
    use super::for_screen;
    use crate::exit::ExitCode;
    use crate::failure::Failure;
    use crate::monitor::{Pass, PassStats};
    use crate::problem::{Problem, ProblemKind, Side};
    use crate::report::Report;
    use crate::settings::Detail;
    use crate::ui::Outcome;

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
        insta::assert_snapshot!(for_screen(&outcome(), Detail::Normal, false));
    }

    #[test]
    fn many_passes_fit_the_screen() {
        let mut outcome = outcome();
        let stats = outcome.report.passes[0].1.clone();
        let timestamp = (Pass::Timestamp, stats);
        let further = [timestamp.clone(), timestamp.clone(), timestamp.clone()];
        outcome.report.passes.splice(1..1, further);
        outcome.report.passes.push(timestamp);
        let text = for_screen(&outcome, Detail::Normal, false);
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
        insta::assert_snapshot!(for_screen(&outcome, Detail::Normal, true));
        let quiet = for_screen(&outcome, Detail::Quiet, true);
        assert_eq!(quiet.lines().count(), 21);
        assert!(quiet.ends_with("the log file has all of them\n"));
    }

    #[test]
    fn a_failure_and_a_dry_run_have_their_own_ends() {
        let mut dry = outcome();
        dry.report.passes.clear();
        dry.dry_run = true;
        assert_eq!(
            for_screen(&dry, Detail::Normal, false),
            "Nothing stands in the way.\nThis was a dry run: nothing was changed.\n"
        );
        dry.failure = Some(Failure::new(ExitCode::Link, "no"));
        assert_eq!(for_screen(&dry, Detail::Normal, false), "");
    }
}
