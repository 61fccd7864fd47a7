//! The plan in words, for people: both machines, what blocks, what warns, what is kept, sent and
//! different, and in one last line whether it can go ahead. Knows nothing of how it was made.

use std::time::Duration;

use super::page::Page;
use super::units;
use crate::exclude::Verdict;
use crate::plan::{Finding, Level, Machine, Plan, Protection, Sent};
use crate::settings::Detail;

/// LIMIT: patterns that are shown for one reason: some fifty reasons have to stay readable, and
/// the data has all patterns.
const MAX_PATTERNS: usize = 2;
/// LIMIT: letters of a pattern that are shown.
const MAX_PATTERN_WIDTH: usize = 48;

/// Returns the plan as text, no line wider than 80 columns.
pub fn plan_text(plan: &Plan) -> String {
    let mut page = Page::default();
    page.sentence("source  ", &machine(&plan.source));
    page.sentence("target  ", &machine(&plan.target));
    for level in [Level::Blocker, Level::Warning, Level::Note] {
        for finding in plan.of_level(level) {
            add_finding(&mut page, finding);
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
            page.sentence("  - ", sentence);
        }
    }
    let blockers: Vec<&str> = plan
        .of_level(Level::Blocker)
        .map(|found| found.id)
        .collect();
    page.gap();
    if !blockers.is_empty() {
        // The findings may have scrolled away.
        page.sentence("Blocked by ", &format!("{}.", blockers.join(", ")));
    }
    page.sentence("", &verdict(plan));
    page.into_text()
}

fn add_finding(page: &mut Page, finding: &Finding) {
    let level = match finding.level {
        Level::Blocker => "blocker: ",
        Level::Warning => "warning: ",
        Level::Note => "note: ",
    };
    page.gap();
    page.sentence(level, &format!("{} [{}]", finding.what, finding.id));
    page.sentence("  why: ", &finding.why);
    page.sentence("  hint: ", &finding.hint);
}

/// Returns what stands against the plan and the last line; at `Quiet` only what blocks.
pub fn findings_text(plan: &Plan, detail: Detail) -> String {
    let mut page = Page::default();
    let levels: &[Level] = match detail {
        Detail::Quiet => &[Level::Blocker],
        _ => &[Level::Blocker, Level::Warning],
    };
    for finding in levels.iter().flat_map(|level| plan.of_level(*level)) {
        add_finding(&mut page, finding);
    }
    if detail > Detail::Quiet || plan.is_blocked() {
        page.gap();
        page.sentence("", &verdict(plan));
    }
    page.into_text()
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
        page.sentence("  - ", &format!("{why}: {}", names.join(", ")));
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
            page.sentence("  - ", &protection(group));
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
    page.sentence("  ", &text);
    for landing in &sent.landings {
        let text = format!(
            "onto {} ({}): {}, {}; {} free",
            landing.mount_point,
            landing.fs_type,
            entries(landing.entries),
            units::bytes(landing.allocated_bytes),
            units::bytes(landing.free_bytes)
        );
        page.sentence("  ", &text);
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
