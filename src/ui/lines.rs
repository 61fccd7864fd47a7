//! Events as one line of English each, for terminals, pipes and log files alike.

use super::{escape, units};
use crate::monitor::{CheckOutcome, Event, PassStats, Stage};
use crate::problem::{Problem, ProblemKind};
use crate::settings::Detail;

/// Returns the line for an event and from which detail on it is shown. Problems belong to the
/// summary (and are told at once to a log), items to their list.
pub fn event(event: &Event) -> (Detail, String) {
    match event {
        Event::StageStarted(stage) => (Detail::Normal, self::stage(*stage).into()),
        Event::Estimate {
            entries,
            bytes,
            link_bytes_per_second,
        } => (
            Detail::Normal,
            estimate(*entries, *bytes, *link_bytes_per_second),
        ),
        Event::PassStarted(pass) => (Detail::Normal, format!("{pass} begins")),
        Event::Item { change, path } => (Detail::Trace, super::items::line(change, path)),
        Event::FixUp {
            path,
            merger,
            is_warning,
            text,
        } => (Detail::Normal, fix_up((path, merger), *is_warning, text)),
        Event::Checked { what, outcome, .. } => checked(what, outcome),
        Event::Switched { elapsed_us, names } => (Detail::Normal, switched(*elapsed_us, *names)),
        Event::Waiting { what, limit } => (
            Detail::Normal,
            format!(
                "waiting for {}, at most {}",
                escape::text(what),
                units::duration(*limit)
            ),
        ),
        Event::Verified {
            what,
            is_good,
            text,
        } => (Detail::Normal, verified(what, *is_good, text)),
        Event::Problem(problem) => (
            Detail::Trace,
            format!("problem: {}", self::problem(problem)),
        ),
        Event::Notice(text) => (Detail::Normal, escape::lines(text)),
        Event::PassEnded(pass, stats) => (
            Detail::Normal,
            format!("{pass} done: {}", pass_stats(stats)),
        ),
        Event::Reconnecting {
            attempt,
            wait,
            cause,
        } => (
            Detail::Normal,
            format!(
                "link lost ({}); attempt {attempt} to connect again in {}",
                escape::text(cause),
                units::duration(*wait)
            ),
        ),
    }
}

fn fix_up((path, merger): (&[u8], &str), is_warning: bool, text: &str) -> String {
    let (path, text) = (escape::name(path), escape::text(text));
    let look = if is_warning { "warning: " } else { "" };
    format!("{merger}: {look}/{path}: {text}")
}

/// What failed is told to everybody, what passed to logs and those who want to see it all.
fn checked(what: &str, outcome: &CheckOutcome) -> (Detail, String) {
    let what = escape::text(what);
    match outcome {
        CheckOutcome::Passed => (Detail::Trace, format!("check passed: {what}")),
        CheckOutcome::Failed(text) => (
            Detail::Quiet,
            format!("check failed: {what}: {}", escape::text(text)),
        ),
        CheckOutcome::NotApplicable(why) => (
            Detail::Trace,
            format!("check left out: {what}: {}", escape::text(why)),
        ),
    }
}

fn switched(elapsed_us: u64, names: u64) -> String {
    let names = units::counted(names, "name");
    format!("switched {names} in {}", units::instant(elapsed_us))
}

/// Returns one line for what was seen of the clone.
pub fn verified(what: &str, is_good: bool, text: &str) -> String {
    let (what, text) = (escape::text(what), escape::text(text));
    let word = if is_good { "verified" } else { "not verified" };
    match text.is_empty() {
        true => format!("{word}: {what}"),
        false => format!("{word}: {what}: {text}"),
    }
}

/// Returns what a stage does.
pub fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connecting to the target",
        Stage::Agent => "starting the agent on the target",
        Stage::Plan => "looking at both machines",
        Stage::Transfer => "copying",
        Stage::FixUp => "making files out of both machines'",
        Stage::Check => "checking that the new system can live",
        Stage::Switch => "switching to the new system",
        Stage::Reboot => "rebooting the target",
        Stage::Verify => "looking at the clone",
        Stage::CleanUp => "cleaning up on the target",
    }
}

fn estimate(entries: u64, bytes: u64, link_bytes_per_second: Option<u64>) -> String {
    let mut text = format!(
        "the source has {} with {}",
        if entries == 1 {
            "1 entry".into()
        } else {
            format!("{} entries", units::count(entries))
        },
        units::bytes(bytes)
    );
    if let Some(rate) = link_bytes_per_second.filter(|rate| *rate > 0) {
        let time = std::time::Duration::from_secs(bytes / rate);
        text.push_str(&format!(
            "; sending all of it at {} would take about {}",
            units::rate(rate as f64),
            units::estimate(time)
        ));
    }
    text
}

/// Returns the gist of what a pass did.
pub fn pass_stats(stats: &PassStats) -> String {
    let mut parts = vec![format!("{} looked at", units::count(stats.listed_entries))];
    let changes = [
        (stats.landed_files, "files sent"),
        (stats.made_entries, "made"),
        (stats.linked_entries, "linked"),
        (stats.attribute_entries, "changed in attributes only"),
        (stats.deleted_entries, "deleted"),
        (stats.vanished_entries, "vanished"),
        (stats.changed_files, "never held still"),
        (stats.failed_entries, "failed"),
    ];
    for (count, what) in changes.iter().filter(|(count, _)| *count > 0) {
        parts.push(format!("{} {what}", units::count(*count)));
    }
    format!(
        "{} in {}",
        parts.join(", "),
        units::duration(std::time::Duration::from_millis(stats.elapsed_ms))
    )
}

/// Returns one problem: side, path, operation, cause.
pub fn problem(problem: &Problem) -> String {
    let path: &[u8] = if problem.path.is_empty() {
        b"./"
    } else {
        &problem.path
    };
    let word = match problem.kind {
        ProblemKind::Vanished => "vanished: ",
        ProblemKind::Changed => "never held still: ",
        ProblemKind::Mismatch => "differs: ",
        ProblemKind::DeleteLimit => "not deleted: ",
        ProblemKind::Failed | ProblemKind::NoSpace => "",
    };
    let mut text = format!("{}: {}: {word}", problem.side, escape::name(path));
    let reason = [&problem.operation, &problem.cause];
    let reason: Vec<_> = reason
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| escape::text(part))
        .collect();
    text.push_str(&reason.join(": "));
    text.trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{event, problem};
    use crate::monitor::{CheckOutcome, Event};
    use crate::problem::{Problem, ProblemKind, Side};
    use crate::settings::Detail;

    #[test]
    fn names_side_path_operation_and_cause() {
        let mut one = Problem {
            side: Side::Target,
            kind: ProblemKind::Failed,
            path: b"srv/a\n".to_vec(),
            operation: "set xattr user.x".into(),
            cause: "Operation not supported".into(),
        };
        assert_eq!(
            problem(&one),
            "target: srv/a\\x0a: set xattr user.x: Operation not supported"
        );
        one.kind = ProblemKind::Vanished;
        one.operation.clear();
        one.cause.clear();
        assert_eq!(problem(&one), "target: srv/a\\x0a: vanished");
    }

    #[test]
    fn a_notice_keeps_its_lines_and_nothing_else_that_moves_the_cursor() {
        let (_, text) = event(&Event::Notice("*****\n\x1b[2J keep out\n*****".into()));
        assert_eq!(text, "*****\n\\x1b[2J keep out\n*****");
    }

    #[test]
    fn only_a_check_that_fails_is_told_to_everybody() {
        let shown = |outcome| {
            event(&Event::Checked {
                id: "sshd".into(),
                what: "the SSH server starts".into(),
                outcome,
            })
        };
        assert_eq!(
            shown(CheckOutcome::Failed("line 3\n".into())),
            (
                Detail::Quiet,
                "check failed: the SSH server starts: line 3\\x0a".into()
            )
        );
        assert_eq!(
            shown(CheckOutcome::Passed),
            (Detail::Trace, "check passed: the SSH server starts".into())
        );
        assert_eq!(
            shown(CheckOutcome::NotApplicable("there is none".into())).1,
            "check left out: the SSH server starts: there is none"
        );
    }

    #[test]
    fn the_way_to_the_clone_reads_well() {
        let shown = |told| event(&told).1;
        let looked = |is_good, text: &str| Event::Verified {
            what: "services".into(),
            is_good,
            text: text.into(),
        };
        assert_eq!(
            shown(Event::Switched {
                elapsed_us: 3_410,
                names: 17,
            }),
            "switched 17 names in 3.4 ms"
        );
        assert_eq!(
            shown(Event::Waiting {
                what: "the clone to come back".into(),
                limit: std::time::Duration::from_secs(600),
            }),
            "waiting for the clone to come back, at most 10 min 00 s"
        );
        assert_eq!(shown(looked(true, "")), "verified: services");
        assert_eq!(
            shown(looked(false, "nginx.service failed")),
            "not verified: services: nginx.service failed"
        );
    }

    #[test]
    fn estimates_only_with_a_rate() {
        let shown = |rate| {
            event(&Event::Estimate {
                entries: 1,
                bytes: 3 << 30,
                link_bytes_per_second: rate,
            })
        };
        assert_eq!(
            shown(None),
            (
                Detail::Normal,
                "the source has 1 entry with 3.00 GiB".into()
            )
        );
        assert_eq!(
            shown(Some(30 << 20)).1,
            "the source has 1 entry with 3.00 GiB; \
             sending all of it at 30.0 MiB/s would take about 2 min"
        );
    }
}
