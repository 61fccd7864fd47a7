//! Profiles and explanations as text of at most 80 columns. Pure: the caller prints.

use std::fmt::Write;

use super::escape;
use crate::exclude::Verdict;
use crate::exclude::explain::Explanation;
use crate::exclude::profile::{Catalog, Group, Profile, ProfileRule};

const WIDTH: usize = 80;
const NAME_WIDTH: usize = 26;

/// Returns one line for each profile, by group, in the order in which their rules are tried.
pub fn list(catalog: &Catalog) -> String {
    let mut out = String::new();
    let mut group = None;
    for profile in catalog.in_order() {
        if group != Some(profile.group) {
            let gap = if out.is_empty() { "" } else { "\n" };
            line(&mut out, &format!("{gap}{}", heading(profile.group)));
            group = Some(profile.group);
        }
        let mut about = escape::text(&profile.summary);
        if profile.group == Group::Optional {
            about = format!("{}; {about}", switch(profile));
        }
        let name = format!("  {:<width$}", profile.name, width = NAME_WIDTH - 2);
        out.push_str(&wrapped(&name, &about));
    }
    out
}

/// Returns everything about one profile.
pub fn show(profile: &Profile) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!("{} ({})", profile.name, profile.group.word()),
    );
    out.push_str(&wrapped("  ", &escape::text(&profile.summary)));
    out.push_str(&wrapped("  from ", &escape::text(&profile.origin)));
    if profile.group == Group::Optional {
        line(&mut out, &format!("  {}", switch(profile)));
    }
    for rule in &profile.rules {
        line(&mut out, "");
        out.push_str(&show_rule(rule));
    }
    if profile.cleanup.is_some() {
        line(&mut out, "");
        line(&mut out, "  has a table for 'instancesync cleanup'");
    }
    out
}

/// Returns what `instancesync profiles check` says of a file that can be used.
pub fn checked(file: &str, profile: &Profile) -> String {
    let patterns: usize = profile.rules.iter().map(|rule| rule.paths.len()).sum();
    let text = format!(
        "profile {} of group {} with {patterns} patterns in {} rules",
        profile.name,
        profile.group.word(),
        profile.rules.len()
    );
    wrapped(&format!("{}: ", escape::text(file)), &text)
}

/// Returns what happens to each path and who decided.
pub fn explain(explanations: &[Explanation]) -> String {
    explanations.iter().map(explain_one).collect()
}

fn explain_one(explanation: &Explanation) -> String {
    let mut path = escape::name(explanation.path.as_bytes());
    if explanation.is_directory {
        path.push('/');
    }
    let mut out = wrapped(
        &format!("{:<6}", explanation.verdict.word()),
        &format!("/{path}"),
    );
    if explanation.is_elsewhere && explanation.verdict == Verdict::Copy {
        let why =
            "but it lies on another file system, and without --include-mount that stays behind";
        out.push_str(&wrapped("      ", why));
    }
    let Some(decider) = &explanation.decider else {
        line(&mut out, "      no rule matches, so it is copied");
        return out;
    };
    if let Some(parent) = &explanation.parent {
        let parent = escape::name(parent.as_bytes());
        out.push_str(&wrapped(
            "      ",
            &format!("decided by its directory /{parent}/"),
        ));
    }
    if !decider.reason.is_empty() {
        out.push_str(&wrapped("      ", &escape::text(&decider.reason)));
    }
    if let Some(merger) = decider.merger {
        out.push_str(&wrapped("      ", &format!("merger: {}", merger.word())));
    }
    let pattern = escape::text(&decider.pattern);
    let origin = escape::text(&decider.origin);
    let by = match &decider.profile {
        Some(profile) if !decider.origin.starts_with("profile ") => {
            format!("rule {pattern} of profile {profile} ({origin})")
        }
        _ => format!("rule {pattern} ({origin})"),
    };
    out.push_str(&wrapped("      ", &by));
    out
}

fn show_rule(rule: &ProfileRule) -> String {
    let mut head = format!("  {:<7}", rule.verdict.word());
    if let Some(merger) = rule.merger {
        // Writing to a String cannot fail.
        _ = write!(head, "{}: ", merger.word());
    }
    let mut out = wrapped(&head, &escape::text(&rule.reason));
    if rule.condition.is_some() {
        line(&mut out, "         only under a condition of its own");
    }
    for path in &rule.paths {
        out.push_str(&wrapped("         ", &escape::text(&path.text)));
    }
    out
}

fn heading(group: Group) -> &'static str {
    match group {
        Group::Optional => "Switched by --with and --without",
        Group::Platform => "Clouds, hypervisors and their agents",
        Group::Network => "Network stacks",
        Group::Family => "Families of distributions",
        Group::Core => "Every machine",
    }
}

fn switch(profile: &Profile) -> &'static str {
    if profile.is_default { "on" } else { "off" }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Returns `text` behind `head`, broken between words, or within one that is too long; further
/// lines are indented as far.
fn wrapped(head: &str, text: &str) -> String {
    // A head may be a long name; then the text begins on the next line.
    let indent = if head.chars().count() > WIDTH / 2 {
        6
    } else {
        head.chars().count()
    };
    let lines = break_lines(text, WIDTH - indent);
    let mut out = head.to_owned();
    if indent != head.chars().count() {
        out = format!("{}\n{}", head.trim_end(), " ".repeat(indent));
    }
    let gap = format!("\n{}", " ".repeat(indent));
    out.push_str(&lines.join(&gap));
    out.push('\n');
    out
}

/// Breaks `text` into lines of at most `room` letters.
fn break_lines(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut current, mut used) = (String::new(), 0);
    for word in text.split(' ') {
        let mut letters: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + letters.len() > room {
            lines.push(std::mem::take(&mut current));
            used = 0;
        }
        if used > 0 {
            current.push(' ');
            used += 1;
        }
        while letters.len() > room {
            lines.push(letters.drain(..room).collect());
        }
        used += letters.len();
        current.extend(letters);
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::{checked, explain, list, show, wrapped};
    use crate::exclude::explain::explain as explain_path;
    use crate::exclude::profile::{Catalog, Policies, Selection};
    use crate::exclude::{Rule, Rules, Verdict};
    use crate::facts::Facts;
    use crate::relpath::RelPath;

    fn assert_narrow(text: &str) {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }

    #[test]
    fn shipped_profiles_fit_a_terminal() {
        let catalog = Catalog::shipped().unwrap();
        assert_narrow(&list(&catalog));
        for profile in catalog.in_order() {
            assert!(list(&catalog).contains(&profile.name));
            let shown = show(profile);
            assert_narrow(&shown);
            for path in profile.rules.iter().flat_map(|rule| &rule.paths) {
                let head: String = path.text.chars().take(60).collect();
                assert!(shown.contains(&head), "{head}");
            }
        }
    }

    #[test]
    fn words_are_wrapped_and_long_ones_broken() {
        assert_eq!(wrapped("ab ", "c d"), "ab c d\n");
        let text = format!("{} {}", "x".repeat(70), "y".repeat(170));
        let lines: Vec<usize> = wrapped("abc ", &text).lines().map(str::len).collect();
        assert_eq!(lines, [74, 80, 80, 22]);
        let head = "h".repeat(60);
        assert_eq!(wrapped(&head, "t"), format!("{head}\n      t\n"));
    }

    #[test]
    fn explanations_name_verdict_rule_reason_and_profile() {
        let mut catalog = Catalog::empty();
        let text = "name = \"mine\"\nsummary = \"s\"\ngroup = \"core\"\n[[rule]]\n\
                    verdict = \"merge\"\nmerger = \"hosts\"\npaths = [\"/etc/hosts\"]\n\
                    reason = \"names of both\"\n[[rule]]\nverdict = \"skip\"\n\
                    paths = [\"/proc/***\"]\nreason = \"made anew\"\n";
        catalog.add(text, "/x/m.toml").unwrap();
        let facts = Facts::default();
        let selection = Selection {
            source: &facts,
            target: &facts,
            policies: Policies::default(),
            with: &[],
            without: &[],
        };
        let selected = catalog.select(&selection).unwrap();
        let mut all = vec![Rule::new(Verdict::Skip, "*.tmp", "--exclude")];
        all.extend(selected.rules.list().iter().cloned());
        let rules = Rules::new(all).unwrap();
        let said: Vec<_> = [&b"etc/hosts"[..], b"proc/1/stat", b"a\x1b\n.tmp", b"home/x"]
            .iter()
            .map(|path| explain_path(&rules, &selected, &RelPath::new(path).unwrap(), false))
            .collect();
        let text = explain(&said);
        assert_narrow(&text);
        assert_eq!(
            text,
            "merge /etc/hosts\n      names of both\n      merger: hosts\n      \
             rule /etc/hosts of profile mine (/x/m.toml:7)\n\
             skip  /proc/1/stat\n      decided by its directory /proc/\n      made anew\n      \
             rule /proc/*** of profile mine (/x/m.toml:11)\n\
             skip  /a\\x1b\\x0a.tmp\n      rule *.tmp (--exclude)\n\
             copy  /home/x\n      no rule matches, so it is copied\n"
        );
        let profile = catalog.get("mine").unwrap();
        assert_eq!(
            checked("/x/m.toml", profile),
            "/x/m.toml: profile mine of group core with 2 patterns in 2 rules\n"
        );
    }
}
