//! The edits of the clean-up, each from text to text. A text that needs nothing comes back
//! equal, so that a second run finds nothing to do. Pure; knows nothing of files.

use super::profile::Patterns;

/// What EC2 Instance Connect calls its programs and its user.
const INSTANCE_CONNECT: [&str; 3] = ["/eic_", "ec2-instance-connect", "/opt/aws/"];
/// The clock of EC2.
const EC2_CLOCK: &str = "169.254.169.123";
const EC2_CONSOLE: &str = "ec2-console";
/// What grub2-mkconfig of EL 7 wants besides a console (convert2rhel sets the same two).
const GRUB_LINES: [(&str, &str); 2] = [
    (
        "GRUB_DISTRIBUTOR",
        "\"$(sed 's, release .*$,,g' /etc/system-release)\"",
    ),
    ("GRUB_DISABLE_SUBMENU", "true"),
];

/// Applies `change` to every line; `None` drops it.
fn each_line(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    text.split_inclusive('\n')
        .filter_map(|line| {
            let (bare, end) = match line.strip_suffix('\n') {
                Some(bare) => (bare, "\n"),
                None => (line, ""),
            };
            change(bare).map(|changed| changed + end)
        })
        .collect()
}

/// Splits `key = value`; `None` for comments, headings and the rest.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';', '[']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    Some((key.trim(), value.trim()))
}

/// Drops `releasever=` where only Amazon's repositories know the value.
pub fn releasever_line(text: &str, amazon: &Patterns) -> String {
    each_line(text, |line| match assignment(line) {
        Some(("releasever", value)) if amazon.is_match(value) => None,
        _ => Some(line.to_owned()),
    })
}

/// What becomes of a file that is the value of `$releasever`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// It is not Amazon's.
    Stays,
    /// Nobody knows a better value.
    Goes,
    /// It gets this text.
    Becomes(String),
}

/// Decides about a file that is the value of `$releasever`. `major` is that of the release that
/// the machine becomes.
pub fn releasever_variable(text: &str, amazon: &Patterns, major: Option<&str>) -> Variable {
    let value = text.trim();
    match major {
        _ if !amazon.is_match(value) => Variable::Stays,
        Some(major) => Variable::Becomes(format!("{major}\n")),
        None => Variable::Goes,
    }
}

/// Gives GRUB a console that it knows, and what grub2-mkconfig of EL wants besides. A file
/// without Amazon's terminal is somebody else's and stays.
pub fn grub_console(text: &str) -> String {
    let is_terminal = |key: &str| {
        [
            "GRUB_TERMINAL",
            "GRUB_TERMINAL_OUTPUT",
            "GRUB_TERMINAL_INPUT",
        ]
        .contains(&key)
    };
    let fixed = each_line(text, |line| match assignment(line) {
        Some((key, value)) if is_terminal(key) && value.contains(EC2_CONSOLE) => {
            Some(line.replace(EC2_CONSOLE, "console"))
        }
        _ => Some(line.to_owned()),
    });
    if fixed == text {
        return fixed;
    }
    let mut fixed = closed(fixed);
    for (key, value) in GRUB_LINES {
        let mut lines = fixed.lines().filter_map(assignment);
        if !lines.any(|(present, _)| present == key) {
            fixed.push_str(&format!("{key}={value}\n"));
        }
    }
    fixed
}

/// Makes the last line end.
fn closed(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Turns the lines by which sshd asks EC2 Instance Connect for keys into comments.
pub fn sshd_keys_command(text: &str) -> String {
    each_line(text, |line| {
        let mut words = line.trim_start().split([' ', '\t', '=']);
        let keyword = words.next().unwrap_or("").to_ascii_lowercase();
        let is_keyword =
            ["authorizedkeyscommand", "authorizedkeyscommanduser"].contains(&keyword.as_str());
        let is_amazon = INSTANCE_CONNECT.iter().any(|mark| line.contains(mark));
        Some(commented(line, is_keyword && is_amazon))
    })
}

/// Turns the lines that name the clock of EC2 into comments.
pub fn time_source(text: &str) -> String {
    each_line(text, |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_source = matches!(words.first(), Some(&("server" | "pool" | "peer")));
        Some(commented(line, is_source && words.contains(&EC2_CLOCK)))
    })
}

fn commented(line: &str, is_wanted: bool) -> String {
    let mark = if is_wanted { "#" } else { "" };
    format!("{mark}{line}")
}

/// Returns the `datasource_list` of a configuration of cloud-init; `None` where it has none.
pub fn datasource_list(text: &str) -> Option<Vec<String>> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix("datasource_list:"))?;
    let word = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
    let inline = rest.split('#').next().unwrap_or("").trim();
    if let Some(list) = inline.strip_prefix('[') {
        // A list may go on over the next lines.
        let joined: Vec<&str> = std::iter::once(list).chain(lines).collect();
        let joined = joined.join(" ");
        let list = joined.split(']').next().unwrap_or("");
        let names = list.split(',').map(word);
        return Some(names.filter(|name| !name.is_empty()).collect());
    }
    let items = lines.map_while(|line| line.trim_start().strip_prefix("- "));
    Some(items.map(word).collect())
}

/// Returns the configuration of cloud-init that looks at `sources` only.
pub fn cloud_init_sources(sources: &[String]) -> String {
    format!(
        "# Written by instancesync cleanup: this machine has left EC2.\n\
         datasource_list: [ {} ]\n",
        sources.join(", ")
    )
}

/// Returns the lines that differ, in order: `- old` and `+ new`.
pub fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let missing_in = |lines: &str, other: &str, sign: char| -> Vec<String> {
        let mut others: Vec<&str> = other.lines().collect();
        let mut missing = Vec::new();
        for line in lines.lines() {
            match others.iter().position(|present| *present == line) {
                Some(at) => {
                    others.remove(at);
                }
                None => missing.push(format!("{sign} {line}")),
            }
        }
        missing
    };
    let mut changed = missing_in(before, after, '-');
    changed.extend(missing_in(after, before, '+'));
    changed
}

#[cfg(test)]
mod tests;
