//! The settings of the SSH server that can close the door: as `sshd -T` has them, else as its
//! files have them. Knows nothing of whether they would let somebody in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::command;
use super::look::Look;
use crate::facts::{Distribution, Family, SshServer};

/// LIMIT: how long `sshd -T` may take; it reads files only.
const LIMIT: Duration = Duration::from_secs(3);
/// LIMIT: files within files, as sshd itself has it.
const MAX_DEPTH: usize = 16;
/// LIMIT: files in all.
const MAX_FILES: usize = 200;

const CONFIG: &str = "/etc/ssh/sshd_config";
const PROGRAMS: [&str; 3] = ["/usr/sbin/sshd", "/sbin/sshd", "/usr/local/sbin/sshd"];

/// The settings as they count: names in lower case, each with its values in order.
type Values = BTreeMap<String, Vec<String>>;

/// Gathers the settings; `None` where there is no SSH server.
pub(super) fn gather(look: &Look, distribution: &Distribution) -> Option<SshServer> {
    let program = look.first(PROGRAMS);
    if let Some(program) = program.as_deref().filter(|_| look.is_live()) {
        // Older ones want to know who asks where the files have blocks that depend on it.
        let by_user = ["-T", "-C", "user=root,host=localhost,addr=127.0.0.1"];
        let answer = command::ask(program, &["-T"], LIMIT)
            .or_else(|| command::ask(program, &by_user, LIMIT));
        match answer {
            Some(answer) => return Some(settings(&effective(&answer), true)),
            None => look.note("sshd -T did not answer; the files are taken".to_owned()),
        }
    }
    let mut reading = Reading {
        look,
        values: Values::new(),
        file_count: 0,
    };
    let has_config = reading.read(CONFIG, 0);
    let mut values = reading.values;
    if !values.contains_key("permitrootlogin") && lets_root_in(distribution) {
        values.insert("permitrootlogin".to_owned(), vec!["yes".to_owned()]);
    }
    (program.is_some() || has_config).then(|| settings(&values, false))
}

/// Tells whether its OpenSSH is older than 7.0, which lets root in by password where nothing
/// is said, or is Red Hat's, which did so to RHEL 8.
fn lets_root_in(distribution: &Distribution) -> bool {
    let Ok(major) = distribution.major().parse::<u32>() else {
        return false;
    };
    match (distribution.family, distribution.id.as_str()) {
        (Family::Debian, "ubuntu") => major < 16,
        (Family::Debian, "debian" | "devuan") => major < 9,
        (Family::Rhel, "fedora") => major < 23,
        // Amazon Linux 1 counts by years.
        (Family::Rhel, "amzn") => (2010..2023).contains(&major),
        (Family::Rhel, _) => major < 9,
        (Family::Suse, _) => major < 12,
        _ => false,
    }
}

/// Reads what `sshd -T` says: a name and its values a line.
fn effective(answer: &str) -> Values {
    let mut values = Values::new();
    for (name, words) in answer.lines().filter_map(split_line) {
        values.entry(name).or_default().extend(words);
    }
    values
}

/// The files on their way to values.
struct Reading<'l, 'r> {
    look: &'l Look<'r>,
    values: Values,
    file_count: usize,
}

impl Reading<'_, '_> {
    /// Reads one file and those that it includes; `false` when it is not there.
    fn read(&mut self, path: &str, depth: usize) -> bool {
        if depth > MAX_DEPTH || self.file_count >= MAX_FILES {
            return false;
        }
        self.file_count += 1;
        let Some(text) = self.look.text(path) else {
            return false;
        };
        for (name, words) in text.lines().filter_map(split_line) {
            match name.as_str() {
                // What follows holds for some only, to the end of this file.
                "match" => break,
                "include" => words.iter().for_each(|word| self.include(word, depth)),
                _ => self.take(name, words),
            }
        }
        true
    }

    /// The first value counts; lists are added up.
    fn take(&mut self, name: String, words: Vec<String>) {
        const LISTS: [&str; 6] = [
            "port",
            "listenaddress",
            "allowusers",
            "denyusers",
            "allowgroups",
            "denygroups",
        ];
        match LISTS.contains(&name.as_str()) {
            true => self.values.entry(name).or_default().extend(words),
            false => _ = self.values.entry(name).or_insert(words),
        }
    }

    fn include(&mut self, pattern: &str, depth: usize) {
        let pattern = match pattern.starts_with('/') {
            true => pattern.to_owned(),
            false => format!("/etc/ssh/{pattern}"),
        };
        let Some((directory, name)) = pattern.rsplit_once('/') else {
            return;
        };
        let Some((start, end)) = name.split_once('*') else {
            self.read(&pattern, depth + 1);
            return;
        };
        for found in self.look.names(directory) {
            let fits = found.len() >= start.len() + end.len()
                && found.starts_with(start)
                && found.ends_with(end)
                && !found.starts_with('.');
            if fits {
                self.read(&format!("{directory}/{found}"), depth + 1);
            }
        }
    }
}

/// Returns the name in lower case and the values of a line; `None` for a comment.
fn split_line(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find([' ', '\t', '=']).unwrap_or(line.len());
    let (name, rest) = line.split_at_checked(end)?;
    let rest = rest.trim_start().trim_start_matches('=').trim_start();
    Some((name.to_ascii_lowercase(), words(rest)))
}

/// Splits values at blanks; quotes hold one together, and a comment ends them.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

/// Makes facts of values; what is not set is what OpenSSH takes then.
fn settings(values: &Values, effective: bool) -> SshServer {
    let list = |name: &str| values.get(name).cloned().unwrap_or_default();
    let first = |name: &str| values.get(name).and_then(|words| words.first());
    let is_yes = |name: &str| first(name).is_none_or(|word| word.eq_ignore_ascii_case("yes"));
    let ports = list("port")
        .into_iter()
        .filter_map(|port| port.parse().ok());
    let mut ports: Vec<u16> = ports.collect();
    if ports.is_empty() {
        ports.push(22);
    }
    ports.sort_unstable();
    ports.dedup();
    let any = ["0.0.0.0", "[::]", "::", "0.0.0.0:22", "[::]:22"];
    let mut listen_addresses = list("listenaddress");
    let is_any = |address: &String| {
        any.contains(&address.as_str())
            || address.starts_with("[::]:")
            || address.starts_with("0.0.0.0:")
    };
    listen_addresses.retain(|address| !is_any(address));
    let permit_root_login = match first("permitrootlogin").map(|word| word.to_ascii_lowercase()) {
        // Its older name.
        Some(word) if word == "without-password" => "prohibit-password".to_owned(),
        Some(word) => word,
        None => "prohibit-password".to_owned(),
    };
    let mut authorized_keys_files = list("authorizedkeysfile");
    if authorized_keys_files.is_empty() {
        authorized_keys_files = [".ssh/authorized_keys", ".ssh/authorized_keys2"]
            .map(str::to_owned)
            .to_vec();
    }
    SshServer {
        effective,
        ports,
        listen_addresses,
        permit_root_login,
        password_authentication: is_yes("passwordauthentication"),
        pubkey_authentication: is_yes("pubkeyauthentication"),
        allow_users: list("allowusers"),
        deny_users: list("denyusers"),
        allow_groups: list("allowgroups"),
        deny_groups: list("denygroups"),
        authorized_keys_files,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_split_as_sshd_splits_them() {
        for (line, name, values) in [
            ("Port 22", "port", vec!["22"]),
            ("  PermitRootLogin=no", "permitrootlogin", vec!["no"]),
            (
                "AllowUsers a  b\t\"c d\" # e",
                "allowusers",
                vec!["a", "b", "c d"],
            ),
            ("Banner \"never closed", "banner", vec!["never closed"]),
            ("UsePAM", "usepam", vec![]),
        ] {
            let (found, words) = split_line(line).unwrap();
            assert_eq!(
                (found.as_str(), words),
                (name, values.iter().map(|v| (*v).to_owned()).collect())
            );
        }
        assert_eq!(split_line("# Port 22"), None);
    }

    #[test]
    fn the_answer_of_the_server_is_read() {
        let answer = "port 2222\nport 22\nlistenaddress [::]:22\nlistenaddress 192.0.2.1:22\n\
            permitrootlogin without-password\npasswordauthentication no\nallowusers a\nallowusers b\n\
            authorizedkeysfile .ssh/authorized_keys /etc/keys/%u\n";
        let found = settings(&effective(answer), true);
        assert_eq!(found.ports, [22, 2222]);
        assert_eq!(found.listen_addresses, ["192.0.2.1:22"]);
        assert_eq!(found.permit_root_login, "prohibit-password");
        assert!(!found.password_authentication && found.pubkey_authentication);
        assert_eq!(found.allow_users, ["a", "b"]);
        assert_eq!(found.authorized_keys_files.len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(bytes: Vec<u8>) {
            let text = String::from_utf8_lossy(&bytes);
            let _read = settings(&effective(&text), true);
        }
    }
}
