//! The end of a clone of a whole system in words: what the target is now, how to undo it, and
//! what to do where the run ended early. 80 columns. Knows nothing of how it came about.

use std::time::Duration;

use super::page::Page;
use super::units;
use crate::monitor::{CheckOutcome, Stage};
use crate::report::{CloneCard, Report};
use crate::settings::Manner;

/// Returns the end in words; nothing for a directory tree, and before a plan was made.
pub fn text(report: &Report) -> String {
    let Some(card) = &report.card else {
        return String::new();
    };
    let end = End::of(report, card);
    let mut page = Page::default();
    page.gap();
    page.sentence("", &end.sentence(report, card));
    for step in end.steps(report, card) {
        page.sentence("  ", &step.what);
        // On a line of its own, to be copied as it is.
        page.sentence("    ", &step.command);
    }
    if end.is_clone() {
        describe(&mut page, report, card);
    }
    times(&mut page, report);
    page.into_text()
}

/// What the target is at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// What it was: nothing has been written.
    Untouched,
    /// What it was, with a part of the new system beside it.
    Staged,
    /// Nobody knows: the switch began and was not seen to end.
    Switching,
    /// The clone, not rebooted.
    Switched,
    /// The clone, not seen since it was told to reboot.
    Gone,
    /// The clone, seen again after its reboot.
    Seen,
    /// Nobody knows: it answered after the reboot, and was not seen to be the clone.
    Unseen,
    /// A mixture: the clone was written over it and not to its end.
    Mixture,
    /// The clone, written over it to its end, not rebooted.
    Overwritten,
}

impl End {
    fn of(report: &Report, card: &CloneCard) -> End {
        let furthest = report.timings.furthest();
        let reached = |stage: Stage| {
            let position = |stage| Stage::ALL.iter().position(|known| *known == stage);
            furthest.is_some_and(|furthest| position(furthest) >= position(stage))
        };
        match card.manner {
            _ if !reached(Stage::Transfer) => End::Untouched,
            Manner::Staged if reached(Stage::Verify) && !is_seen(report) => End::Unseen,
            _ if reached(Stage::Verify) => End::Seen,
            _ if reached(Stage::Reboot) => End::Gone,
            Manner::Staged if report.switched.is_some() => End::Switched,
            Manner::Staged if reached(Stage::Switch) => End::Switching,
            Manner::Staged => End::Staged,
            Manner::InPlace if reached(Stage::FixUp) && report.stopped_after.is_none() => {
                End::Overwritten
            }
            Manner::InPlace => End::Mixture,
        }
    }

    fn is_clone(self) -> bool {
        matches!(
            self,
            End::Switched | End::Gone | End::Seen | End::Overwritten
        )
    }

    fn sentence(self, report: &Report, card: &CloneCard) -> String {
        let target = name(card);
        match self {
            End::Untouched => "Nothing was changed on the target.".to_owned(),
            End::Staged if report.checks.iter().any(is_failed) => {
                "The new system did not pass its check, so it was not switched to. The target is \
                 what it was."
                    .to_owned()
            }
            End::Staged => {
                "The target is what it was. What has arrived of the new system lies beside it, in \
                 .instancesync."
                    .to_owned()
            }
            End::Switching => {
                "The switch was not seen to end. The target is either what it was or the clone; \
                 one that was cut is repaired by the next run and when the target starts."
                    .to_owned()
            }
            End::Switched if card.address.is_none() => format!("{target} is the clone now."),
            End::Switched => format!(
                "{target} is the clone now, and runs the programs of the old system until it \
                 reboots."
            ),
            End::Gone => format!("{target} is the clone now, but was not seen since its reboot."),
            End::Seen => format!("{target} is the clone now, and was seen again after its reboot."),
            End::Unseen => format!("{target} is up again, but was not seen to be the clone."),
            End::Mixture => {
                "The target is a mixture of both systems. Do not reboot it as it is.".to_owned()
            }
            End::Overwritten => format!("{target} is the clone now, and has not rebooted."),
        }
    }

    /// Returns what to do, the nearest first.
    fn steps(self, report: &Report, card: &CloneCard) -> Vec<Step> {
        let call = |what, command| Step::call(what, command, card);
        let again = Step::words(match report.stopped_after {
            Some(_) => "To go on: run the same command without --stop-after.",
            None => "To go on: run the same command again.",
        });
        let discard = call("To give up and free the room:", "discard");
        let status = |what| call(what, "status");
        let rollback = call("To bring the old system back:", "rollback");
        let keep = call("To free the room that the old system takes:", "discard");
        let reboot = Step::words(&format!("To run the clone: reboot {}.", name(card)));
        let console =
            Step::words("Look at its console: a machine that is slow to start only needs time.");
        let mut steps = match self {
            End::Untouched if report.stopped_after.is_none() => Vec::new(),
            End::Untouched | End::Mixture => vec![again],
            End::Staged => vec![again, discard],
            End::Switching => vec![status("To know which:"), again],
            End::Switched if card.address.is_none() => vec![rollback, keep],
            End::Switched => vec![reboot, rollback, keep],
            End::Gone if card.manner == Manner::Staged => vec![console, rollback],
            End::Gone => vec![console],
            End::Seen if card.manner == Manner::Staged => vec![rollback, keep],
            End::Unseen => vec![status("To know what it is:"), again],
            End::Overwritten if card.address.is_some() => vec![reboot],
            End::Seen | End::Overwritten => Vec::new(),
        };
        if card.left_amazon && self.is_clone() && self != End::Gone {
            let what = "To take away what belongs to Amazon:";
            steps.push(call(what, "cleanup amazon-ami"));
        }
        steps
    }
}

/// One thing to do: in words, and as a command where there is one.
struct Step {
    what: String,
    command: String,
}

impl Step {
    fn words(what: &str) -> Step {
        Step {
            what: what.to_owned(),
            command: String::new(),
        }
    }

    fn call(what: &str, command: &str, card: &CloneCard) -> Step {
        Step {
            command: format!("instancesync {command}{}", place(card)),
            ..Step::words(what)
        }
    }
}

fn is_failed(checked: &crate::report::Checked) -> bool {
    matches!(checked.outcome, CheckOutcome::Failed(_))
}

/// Tells whether what came up after the reboot was found to be the clone.
fn is_seen(report: &Report) -> bool {
    let mut looks = report.verified.iter();
    looks.any(|look| look.what == "clone" && look.is_good)
}

/// Returns what people call the clone.
fn name(card: &CloneCard) -> String {
    let place = card.address.as_deref().unwrap_or(&card.target_dir);
    match &card.hostname {
        Some(hostname) => format!("{hostname} ({place})"),
        None => place.to_owned(),
    }
}

/// Returns the flag that names the clone in a command.
fn place(card: &CloneCard) -> String {
    match &card.address {
        Some(address) => format!(" --target {address}"),
        None => format!(" --root {}", card.target_dir),
    }
}

/// Adds what the clone is.
fn describe(page: &mut Page, report: &Report, card: &CloneCard) {
    page.heading("The clone:");
    page.row("host name", card.hostname.as_deref().unwrap_or("unknown"));
    page.row("address", card.address.as_deref().unwrap_or("none"));
    if let Some(switched) = report.switched {
        let names = units::counted(switched.names, "name");
        let took = units::instant(switched.elapsed_us);
        page.row("switched in", &format!("{took}, {names}"));
    }
    if card.kept_groups > 0 {
        let groups = units::counted(card.kept_groups, "group");
        let text = format!("{groups} of paths: the plan lists them, result.json has each");
        page.row("its own still", &text);
    }
    let mut merged: Vec<_> = report.fix_ups.iter().map(|done| &done.path).collect();
    merged.sort_unstable();
    merged.dedup();
    let to_look_at = report.fix_ups.iter().filter(|done| done.is_warning).count();
    if !merged.is_empty() {
        let mut text = units::counted(merged.len() as u64, "file");
        if to_look_at > 0 {
            let warnings = units::counted(to_look_at as u64, "warning");
            text.push_str(&format!(", with {warnings} above"));
        }
        page.row("merged", &text);
    }
    let (good, bad): (Vec<_>, Vec<_>) = report.verified.iter().partition(|seen| seen.is_good);
    page.list("verified", good.iter().map(|seen| seen.what.clone()));
    for seen in bad {
        page.row("not verified", &format!("{}: {}", seen.what, seen.text));
    }
}

/// Adds how long each stage took.
fn times(page: &mut Page, report: &Report) {
    let ended = report.timings.ended();
    let took = |(stage, took): &(Stage, Duration)| {
        let word = stage.word().replace('_', "-");
        format!("{word} {}", units::duration(*took))
    };
    page.heading("Time:");
    page.list("by stage", ended.iter().map(took));
    let whole = ended.iter().map(|(_, took)| *took).sum();
    page.row("in all", &units::duration(whole));
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{End, text};
    use crate::monitor::{CheckOutcome, Event, Stage};
    use crate::report::{CloneCard, Report, Switched};
    use crate::settings::Manner;

    fn card() -> CloneCard {
        CloneCard {
            address: Some("root@192.0.2.7".into()),
            target_dir: "/".into(),
            hostname: Some("web2".into()),
            manner: Manner::Staged,
            reboots: true,
            kept_groups: 41,
            left_amazon: true,
        }
    }

    /// A run that got so far, one second for each stage.
    fn report_until(last: Stage, card: CloneCard) -> Report {
        let mut report = Report::default();
        report.card = Some(card);
        let mut now = Instant::now();
        for stage in Stage::ALL {
            report.record(&Event::StageStarted(stage), now);
            now += Duration::from_millis(1500);
            if stage == last {
                break;
            }
        }
        report.timings.end(now);
        report
    }

    fn switched(mut report: Report) -> Report {
        report.switched = Some(Switched {
            elapsed_us: 3410,
            names: 17,
        });
        report
    }

    fn seen(mut report: Report, is_good: bool) -> Report {
        let look = Event::Verified {
            what: "clone".into(),
            is_good,
            text: "the target runs from the clone".into(),
        };
        report.record(&look, Instant::now());
        report
    }

    fn assert_fits(text: &str) {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "more than 80 columns: {line}");
        }
    }

    #[test]
    fn tells_what_the_clone_is_and_how_to_undo_it() {
        let mut report = seen(switched(report_until(Stage::CleanUp, card())), true);
        let now = Instant::now();
        for path in ["etc/fstab", "etc/passwd", "etc/fstab"] {
            let done = Event::FixUp {
                path: path.into(),
                merger: "fstab",
                is_warning: path == "etc/passwd",
                text: "both".into(),
            };
            report.record(&done, now);
        }
        for (what, is_good) in [("host name", true), ("address", true), ("services", false)] {
            let seen = Event::Verified {
                what: what.into(),
                is_good,
                text: "nginx.service has failed".into(),
            };
            report.record(&seen, now);
        }
        let text = text(&report);
        assert_fits(&text);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_run_that_ended_early_says_what_the_target_is_and_what_to_do() {
        let mut shown = String::new();
        for (stage, is_switched) in [
            (Stage::Plan, false),
            (Stage::Transfer, false),
            (Stage::Switch, false),
            (Stage::Switch, true),
            (Stage::Reboot, true),
            (Stage::Verify, true),
        ] {
            let mut report = report_until(stage, card());
            if is_switched {
                report = switched(report);
            }
            let text = text(&report);
            assert_fits(&text);
            let without_times = text.split("\nTime:").next().unwrap();
            let without_clone = without_times.split("\nThe clone:").next().unwrap();
            shown.push_str(&format!("{stage:?}, {is_switched}:{without_clone}\n"));
        }
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn what_the_target_is_follows_from_how_far_the_run_got() {
        let in_place = CloneCard {
            manner: Manner::InPlace,
            ..card()
        };
        let end = |report: &Report| End::of(report, report.card.as_ref().unwrap());
        for (stage, staged, written) in [
            (Stage::Connect, End::Untouched, End::Untouched),
            (Stage::Plan, End::Untouched, End::Untouched),
            (Stage::Transfer, End::Staged, End::Mixture),
            (Stage::FixUp, End::Staged, End::Overwritten),
            (Stage::Reboot, End::Gone, End::Gone),
            (Stage::Verify, End::Unseen, End::Seen),
        ] {
            assert_eq!(end(&report_until(stage, card())), staged, "{stage:?}");
            assert_eq!(
                end(&report_until(stage, in_place.clone())),
                written,
                "{stage:?}"
            );
        }
        for (is_good, expected) in [(true, End::Seen), (false, End::Unseen)] {
            let report = seen(report_until(Stage::CleanUp, card()), is_good);
            assert_eq!(end(&report), expected, "it is the clone: {is_good}");
        }
        let mut stopped = report_until(Stage::FixUp, in_place);
        stopped.stopped_after = Some(Stage::FixUp);
        assert_eq!(end(&stopped), End::Mixture);
    }

    #[test]
    fn a_failed_check_is_named_as_the_reason() {
        let mut report = report_until(Stage::Check, card());
        let failed = Event::Checked {
            id: "sshd".into(),
            what: "the SSH server starts".into(),
            outcome: CheckOutcome::Failed("line 3".into()),
        };
        report.record(&failed, Instant::now());
        assert!(text(&report).contains("did not pass its check"));
    }

    #[test]
    fn a_directory_tree_has_no_such_end() {
        assert_eq!(text(&Report::default()), "");
    }

    #[test]
    fn an_image_is_named_by_its_directory() {
        let image = CloneCard {
            address: None,
            target_dir: "/mnt/image".into(),
            ..card()
        };
        let text = text(&switched(report_until(Stage::Switch, image)));
        assert!(
            text.contains("instancesync rollback --root /mnt/image"),
            "{text}"
        );
        assert!(!text.contains("reboot"), "{text}");
    }
}
