//! A clean-up in words: what the machine is, what will be done and why, and how it ended.
//!
//! Lines of at most 80 columns where names allow it. Knows nothing of how anything is done.

use super::screen::{Screen, Stream};
use super::{escape, units};
use crate::cleanup::{
    Action, CleanupPlan, CleanupReport, CleanupWatcher, Ending, FileChange, PackagePlan, Release,
    SshdCheck, UndoReport,
};

/// LIMIT: columns of a line, for terminals that were never made wider.
const WIDTH: usize = 80;

/// Shows a clean-up on the screen as it goes on.
pub struct CleanupLines {
    screen: Screen,
    plans_to: Stream,
}

impl CleanupLines {
    /// Shows on `screen`. Plans go to stdout, or to stderr where that is to be JSON only.
    pub fn new(screen: &Screen, is_json: bool) -> CleanupLines {
        CleanupLines {
            screen: screen.clone(),
            plans_to: match is_json {
                true => Stream::Stderr,
                false => Stream::Stdout,
            },
        }
    }
}

impl CleanupWatcher for CleanupLines {
    fn planned(&self, report: &CleanupReport) {
        self.screen.write(self.plans_to, &plan(report));
    }

    fn undo_planned(&self, report: &UndoReport) {
        self.screen.write(self.plans_to, &undo_plan(report));
    }

    fn began(&self, step: &str) {
        self.screen.write(Stream::Stderr, &format!("{step}\n"));
    }
}

/// Returns what the machine is and what will be done.
pub fn plan(report: &CleanupReport) -> String {
    let mut text = Text::default();
    let machine = &report.machine;
    match machine.generation {
        Some(generation) => text.line(0, &format!("Amazon Linux {generation} in {}", report.root)),
        None => text.line(0, &format!("Not recognised: {}", report.root)),
    }
    for sentence in &machine.evidence {
        text.line(2, sentence);
    }
    if let Some(time) = &report.cleaned_before {
        text.line(2, &format!("cleaned before, at {time}"));
    }
    if !report.becomes.id.is_empty() {
        text.line(0, &format!("It becomes {}", release(&report.becomes)));
    }
    packages(&mut text, &report.plan.packages);
    files(&mut text, &report.plan.files);
    for problem in &report.problems {
        text.line(0, &format!("problem: {problem}"));
    }
    if !report.plan.is_empty() {
        afterwards(&mut text, &report.plan, &report.becomes);
    }
    text.0
}

fn release(release: &Release) -> String {
    format!("{} {}", release.id, release.major)
        .trim_end()
        .to_owned()
}

fn packages(text: &mut Text, plan: &PackagePlan) {
    if !plan.remove.is_empty() {
        text.heading("Packages to remove", plan.remove.len());
    }
    let mut reasons: Vec<&str> = Vec::new();
    for removal in &plan.remove {
        if !reasons.contains(&removal.reason.as_str()) {
            reasons.push(&removal.reason);
        }
    }
    for reason in reasons {
        text.line(2, &format!("{reason}:"));
        let of_reason = plan.remove.iter().filter(|it| it.reason == reason);
        for removal in of_reason {
            text.line(4, &removal.package);
        }
    }
    if !plan.kept.is_empty() {
        text.heading("Packages that stay (--force removes them)", plan.kept.len());
    }
    for kept in &plan.kept {
        text.line(2, &format!("{}: {}", kept.package, kept.because));
    }
    if !plan.broken.is_empty() {
        text.heading(
            "Missing until another package provides it",
            plan.broken.len(),
        );
    }
    for broken in &plan.broken {
        let packages = broken.packages.join(", ");
        text.line(2, &format!("{}, needed by {packages}", broken.capability));
    }
}

fn files(text: &mut Text, files: &[FileChange]) {
    if !files.is_empty() {
        text.heading("Files to change (copies are kept)", files.len());
    }
    for file in files {
        let word = match file.action {
            Action::Edit => "edit",
            Action::Remove => "remove",
            Action::Create => "create",
            Action::Replace => "replace",
            Action::Mask => "mask",
        };
        text.line(2, &format!("{word} {}", file.path));
        for reason in &file.reasons {
            text.line(6, reason);
        }
        for line in &file.lines {
            text.line(6, line);
        }
    }
}

fn afterwards(text: &mut Text, plan: &CleanupPlan, becomes: &Release) {
    text.heading("Afterwards", 0);
    let takes_release = plan.packages.broken.iter();
    let mut needs_release = takes_release.map(|broken| &broken.capability);
    if !plan.install.is_empty() {
        let names = plan.install.join(" ");
        text.line(
            2,
            &format!("Install the packages of {}: {names}", release(becomes)),
        );
    } else if needs_release.any(|capability| capability.starts_with("system-release")) {
        let of = match becomes.id.is_empty() {
            true => "what the machine becomes; --become rocky:9 or the like names them".to_owned(),
            false => release(becomes),
        };
        text.line(2, &format!("Install the release packages of {of}."));
    }
    for advice in &plan.advice {
        text.line(2, advice);
    }
    text.line(2, "Packages do not come back by --undo; files do.");
}

/// Returns how a clean-up ended.
pub fn ending(report: &CleanupReport) -> String {
    let mut text = Text::default();
    match report.ending {
        Ending::NothingToDo => text.line(0, "Nothing to do."),
        Ending::Planned => text.line(0, "This was a dry run: nothing was changed."),
        Ending::Done => {
            let removed = report.removed_packages.len() as u64;
            let done = format!(
                "Done: {} removed, {} changed.",
                units::counted(removed, "package"),
                units::counted(report.plan.files.len() as u64, "file"),
            );
            text.line(0, &done);
            if let Some(copies) = &report.copies {
                text.line(0, &format!("The files as they were are in {copies}."));
            }
            sshd(&mut text, &report.sshd);
        }
    }
    for problem in &report.problems {
        text.line(0, &format!("problem: {problem}"));
    }
    text.0
}

fn sshd(text: &mut Text, check: &SshdCheck) {
    match check {
        SshdCheck::Passed => text.line(0, "sshd -t finds nothing wrong."),
        SshdCheck::NotPossible => text.line(0, "sshd could not be asked whether it would start."),
        SshdCheck::Failed(complaint) => {
            text.line(0, &format!("WARNING: sshd would not start: {complaint}"));
        }
    }
}

/// Returns what an undo will do.
pub fn undo_plan(report: &UndoReport) -> String {
    let mut text = Text::default();
    if let Some(time) = &report.time {
        text.line(0, &format!("Clean-up of {time} in {}", report.root));
    }
    if !report.restored.is_empty() {
        text.heading("Files to restore", report.restored.len());
    }
    for path in &report.restored {
        text.line(2, path);
    }
    left(&mut text, report);
    if !report.packages.is_empty() {
        text.heading("Packages that do not come back", report.packages.len());
    }
    for package in &report.packages {
        text.line(2, package);
    }
    text.0
}

fn left(text: &mut Text, report: &UndoReport) {
    if !report.left.is_empty() {
        text.heading(
            "Files that stay as they are (--force restores them)",
            report.left.len(),
        );
    }
    for left in &report.left {
        text.line(2, &format!("{}: {}", left.path, left.because));
    }
}

/// Returns how an undo ended.
pub fn undo_ending(report: &UndoReport) -> String {
    let mut text = Text::default();
    match report.ending {
        Ending::NothingToDo => text.line(0, "There is no clean-up to take back."),
        Ending::Planned => text.line(0, "This was a dry run: nothing was changed."),
        Ending::Done => {
            let restored = report.restored.len() as u64;
            text.line(
                0,
                &format!("{} restored.", units::counted(restored, "file")),
            );
            left(&mut text, report);
            sshd(&mut text, &report.sshd);
        }
    }
    for problem in &report.problems {
        text.line(0, &format!("problem: {problem}"));
    }
    text.0
}

/// Lines in the making.
#[derive(Default)]
struct Text(String);

impl Text {
    fn heading(&mut self, words: &str, count: usize) {
        let count = match count {
            0 => String::new(),
            count => format!(" ({count})"),
        };
        self.0.push_str(&format!("\n{words}{count}:\n"));
    }

    /// Adds a line, folded between words; what follows is indented by two more.
    fn line(&mut self, indent: usize, words: &str) {
        let words = escape::text(words);
        let (mark, rest) = (" ".repeat(indent), " ".repeat(indent + 2));
        let mut line = mark;
        let mut is_empty = true;
        for word in words.split(' ') {
            if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.0.push_str(line.trim_end());
                self.0.push('\n');
                line = rest.clone();
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, ending, undo_ending, undo_plan};
    use crate::cleanup::{CleanupReport, Ending, Left, SshdCheck, UndoReport};

    #[test]
    fn tells_how_it_ended() {
        let mut report = CleanupReport {
            ending: Ending::Done,
            copies: Some("/var/lib/x".into()),
            removed_packages: vec!["a-1-1".into()],
            sshd: SshdCheck::Failed("line 2: bad".into()),
            problems: vec!["b-1-1: rpm kept it: \x1b[31mno".into()],
            ..CleanupReport::default()
        };
        assert_eq!(
            ending(&report),
            "Done: 1 package removed, 0 files changed.\n\
             The files as they were are in /var/lib/x.\n\
             WARNING: sshd would not start: line 2: bad\n\
             problem: b-1-1: rpm kept it: \\x1b[31mno\n"
        );
        report.ending = Ending::Planned;
        assert!(ending(&report).starts_with("This was a dry run"));
    }

    #[test]
    fn tells_what_an_undo_does_and_leaves() {
        let report = UndoReport {
            root: "/".into(),
            time: Some("20261121T091519Z".into()),
            restored: vec!["/etc/motd".into()],
            left: vec![Left {
                path: "/etc/x".into(),
                because: "it was changed since".into(),
            }],
            packages: vec!["a-1-1".into()],
            ending: Ending::Done,
            ..UndoReport::default()
        };
        assert_eq!(
            undo_plan(&report),
            "Clean-up of 20261121T091519Z in /\n\n\
             Files to restore (1):\n  /etc/motd\n\n\
             Files that stay as they are (--force restores them) (1):\n  \
             /etc/x: it was changed since\n\n\
             Packages that do not come back (1):\n  a-1-1\n"
        );
        let text = undo_ending(&report);
        assert!(text.starts_with("1 file restored.\n"), "{text}");
        assert!(text.contains("sshd could not be asked"), "{text}");
    }

    #[test]
    fn folds_lines_between_words() {
        let mut text = Text::default();
        text.line(2, &"word ".repeat(40));
        let lines: Vec<&str> = text.0.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= 80), "{lines:?}");
        assert!(lines[1].starts_with("    word"));
    }
}
