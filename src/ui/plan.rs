//! The plan in words, for people: both machines, what blocks, what warns, what is kept, sent and
//! different, and in one last line whether it can go ahead. Knows nothing of how it was made.

use std::time::Duration;

use super::{escape, units};
use crate::exclude::Verdict;
use crate::plan::{Finding, Level, Machine, Plan, Protection, Sent};

/// LIMIT: columns of the narrowest terminal that is still in use.
const WIDTH: usize = 80;
/// LIMIT: patterns that are shown for one reason: some fifty reasons have to stay readable, and
/// the data has all patterns.
const MAX_PATTERNS: usize = 2;
/// LIMIT: letters of a pattern that are shown.
const MAX_PATTERN_WIDTH: usize = 48;

/// Returns the plan as text, no line wider than 80 columns.
pub fn plan_text(plan: &Plan) -> String {
    let mut page = Page::default();
    page.line("source  ", &machine(&plan.source));
    page.line("target  ", &machine(&plan.target));
    for level in [Level::Blocker, Level::Warning, Level::Note] {
        for finding in plan.of_level(level) {
            page.finding(finding);
        }
    }
    profiles(&mut page, plan);
    protections(&mut page, plan);
    if let Some(measured) = &plan.sent {
        sent(&mut page, measured);
    }
    if !plan.differences.is_empty() {
        page.heading("Not the same on the clone:");
        for sentence in &plan.differences {
            page.line("  - ", sentence);
        }
    }
    let blockers: Vec<&str> = plan
        .of_level(Level::Blocker)
        .map(|found| found.id)
        .collect();
    if !blockers.is_empty() {
        // The findings may have scrolled away.
        page.heading(&format!("Blocked by {}.", blockers.join(", ")));
    } else {
        page.text.push('\n');
    }
    page.line("", &verdict(plan));
    page.text
}

fn machine(machine: &Machine) -> String {
    let mut words = vec![machine.distribution.clone()];
    words.extend(machine.architecture.clone());
    match &machine.kernel {
        Some(kernel) => words.push(format!("Linux {kernel}")),
        None if machine.is_live => {}
        None => words.push("not running".to_owned()),
    }
    let name = machine.hostname.as_deref().unwrap_or("no name");
    format!("{name}: {}", words.join(", "))
}

/// Lists the profiles by why they are in force: many are so for one reason.
fn profiles(page: &mut Page, plan: &Plan) {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for profile in &plan.profiles {
        match reasons.iter_mut().find(|(why, _)| *why == profile.why) {
            Some((_, names)) => names.push(&profile.name),
            None => reasons.push((&profile.why, vec![&profile.name])),
        }
    }
    if !reasons.is_empty() {
        page.heading("Profiles in force ('instancesync profiles show NAME' tells of one):");
    }
    for (why, names) in reasons {
        page.line("  - ", &format!("{why}: {}", names.join(", ")));
    }
}

fn protections(page: &mut Page, plan: &Plan) {
    for (heading, verdict) in [
        ("Kept as the target has it:", Verdict::Keep),
        ("Merged from both:", Verdict::Merge),
        ("Neither copied nor deleted:", Verdict::Skip),
    ] {
        let mut groups = plan.protected.iter();
        if groups.any(|group| group.verdict == verdict) {
            page.heading(heading);
        }
        let groups = plan.protected.iter();
        for group in groups.filter(|group| group.verdict == verdict) {
            page.line("  - ", &protection(group));
        }
    }
}

fn protection(group: &Protection) -> String {
    let patterns = &group.patterns;
    let shown: Vec<String> = patterns
        .iter()
        .take(MAX_PATTERNS)
        .map(|pattern| start_of(pattern))
        .collect();
    let mut text = format!("{}: {}", group.reason, shown.join(" "));
    if patterns.len() > shown.len() {
        text.push_str(&format!(" and {} more", patterns.len() - shown.len()));
    }
    text
}

/// Returns the start of a pattern that is too long for a list.
fn start_of(pattern: &str) -> String {
    let start: String = pattern.chars().take(MAX_PATTERN_WIDTH).collect();
    if start.len() < pattern.len() {
        start + "…"
    } else {
        start
    }
}

fn sent(page: &mut Page, sent: &Sent) {
    page.heading("Sent, at most:");
    let mut text = format!(
        "{}, {} in files that occupy {}",
        entries(sent.entries),
        units::bytes(sent.apparent_bytes),
        units::bytes(sent.allocated_bytes)
    );
    if let (Some(rate), Some(seconds)) = (sent.link_bytes_per_second, sent.seconds) {
        text.push_str(&format!(
            "; {} at {}",
            units::estimate(Duration::from_secs(seconds)),
            units::rate(rate as f64)
        ));
    }
    page.line("  ", &text);
    for landing in &sent.landings {
        let text = format!(
            "onto {} ({}): {}, {}; {} free",
            landing.mount_point,
            landing.fs_type,
            entries(landing.entries),
            units::bytes(landing.allocated_bytes),
            units::bytes(landing.free_bytes)
        );
        page.line("  ", &text);
    }
}

fn entries(number: u64) -> String {
    if number == 1 {
        "1 entry".to_owned()
    } else {
        format!("{} entries", units::count(number))
    }
}

fn verdict(plan: &Plan) -> String {
    let count = |level, noun| units::counted(plan.of_level(level).count() as u64, noun);
    let warnings = count(Level::Warning, "warning");
    if plan.is_blocked() {
        let blockers = count(Level::Blocker, "blocker");
        format!("It cannot go ahead: {blockers}, {warnings}.")
    } else {
        format!("It can go ahead: nothing blocks, {warnings}.")
    }
}

/// Text that is made safe and wrapped line by line.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.line("", text);
    }

    fn finding(&mut self, finding: &Finding) {
        let level = match finding.level {
            Level::Blocker => "blocker: ",
            Level::Warning => "warning: ",
            Level::Note => "note: ",
        };
        self.text.push('\n');
        self.line(level, &format!("{} [{}]", finding.what, finding.id));
        self.line("  why: ", &finding.why);
        self.line("  hint: ", &finding.hint);
    }

    /// Adds a text behind `label`, wrapped; further lines stand below its beginning.
    fn line(&mut self, label: &str, text: &str) {
        let mut line = label.to_owned();
        let mut is_empty = true;
        let indent = " ".repeat(label.len());
        let widest = WIDTH - indent.len();
        let text = escape::text(text);
        for word in text.split(' ').flat_map(|word| pieces(word, widest)) {
            let width = line.chars().count() + usize::from(!is_empty) + word.chars().count();
            if width > WIDTH && !is_empty {
                self.push(&line);
                line.clone_from(&indent);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(&word);
            is_empty = false;
        }
        self.push(&line);
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// Cuts a word that no line holds into pieces that one does.
fn pieces(word: &str, widest: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    if letters.len() <= widest {
        return vec![word.to_owned()];
    }
    letters
        .chunks(widest)
        .map(|piece| piece.iter().collect())
        .collect()
}
