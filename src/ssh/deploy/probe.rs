//! What the target is, and where the agent can lie there: one shell script and its answer.
//!
//! Knows nothing of uploads.

use super::super::clean::clean_text;
use super::super::connection::Connection;
use super::{AgentImage, DeployError};

/// Room beside the program itself, for the file system's own needs.
const SPARE_KIB: usize = 1024;
const SCRIPT: &str = include_str!("probe.sh");

/// What the target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// `uname -m`.
    pub machine: String,
    /// The name of the account.
    pub user: String,
    /// Its number.
    pub uid: u32,
    /// Its home directory; may be empty.
    pub home: String,
    /// Whether the agent has to be started through `sudo -n`.
    pub uses_sudo: bool,
    /// The private directory that was made for the agent.
    pub place: String,
}

/// Asks the target what it is and has a place made for the agent.
pub(super) fn look(
    connection: &Connection,
    image: &AgentImage<'_>,
) -> Result<TargetFacts, DeployError> {
    let script = make_script(image)?;
    let output = connection.run("exec sh -s", script.as_bytes())?;
    let text = String::from_utf8_lossy(&output.stdout);
    match Answer::parse(&text, &mark("begin", image.id), &mark("end", image.id)) {
        Some(answer) => answer.judge(image.id),
        None => {
            let mut words = clean_text(text.trim().as_bytes());
            if words.is_empty() {
                words = output.stderr;
            }
            Err(DeployError::NoShell { words })
        }
    }
}

fn mark(which: &str, id: &str) -> String {
    format!("@instancesync-probe-{which}-{id}@")
}

fn directory_name(id: &str) -> String {
    format!(".instancesync-agent-{id}")
}

fn make_script(image: &AgentImage<'_>) -> Result<String, DeployError> {
    let is_plain = |word: &str, extra: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    if !is_plain(image.id, "-_") {
        return Err(DeployError::Unquotable(image.id.to_owned()));
    }
    if let Some(odd) = image.parents.iter().find(|word| !is_plain(word, "/._-")) {
        return Err(DeployError::Unquotable((*odd).to_owned()));
    }
    let needed_kib = image.binary.len().div_ceil(1024) + SPARE_KIB;
    Ok(SCRIPT
        .replace("@NAME@", &directory_name(image.id))
        .replace("@NEEDED_KIB@", &needed_kib.to_string())
        .replace("@PARENTS@", &image.parents.join(" "))
        .replace("@BEGIN@", &mark("begin", image.id))
        .replace("@END@", &mark("end", image.id)))
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    missing: String,
    system: String,
    machine: String,
    user: String,
    uid: Option<u32>,
    home: String,
    is_root: bool,
    place: Option<String>,
    tried: Vec<String>,
    is_full: bool,
}

impl Answer {
    /// Reads the lines between the marks; `None` when the marks are not there.
    fn parse(text: &str, begin: &str, end: &str) -> Option<Answer> {
        let (_noise, rest) = text.split_once(begin)?;
        let (lines, _noise) = rest.split_once(end)?;
        let mut answer = Answer::default();
        for line in lines.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = clean_text(value.trim().as_bytes());
            match key {
                "missing" => answer.missing = value,
                "system" => answer.system = value,
                "machine" => answer.machine = value,
                "user" => answer.user = value,
                "uid" => answer.uid = value.parse().ok(),
                "home" => answer.home = value,
                "root" => answer.is_root = value == "yes",
                "place" => answer.place = Some(value),
                "tried" => answer.tried.push(value),
                "full" => {
                    answer.is_full = true;
                    answer.tried.push(value);
                }
                _ => {}
            }
        }
        Some(answer)
    }

    fn judge(self, id: &str) -> Result<TargetFacts, DeployError> {
        // ORDER: the deepest reason first; a target that is no Linux also lacks the rest.
        if !self.system.is_empty() && self.system != "Linux" {
            return Err(DeployError::NotLinux(self.system));
        }
        if !self.missing.is_empty() {
            return Err(DeployError::MissingTools(self.missing));
        }
        if !is_our_machine(&self.machine) {
            return Err(DeployError::WrongMachine {
                target: self.machine,
                ours: std::env::consts::ARCH.to_owned(),
            });
        }
        if !self.is_root {
            return Err(DeployError::NotRoot { user: self.user });
        }
        let suffix = format!("/{}", directory_name(id));
        match (self.place, self.uid) {
            (Some(place), Some(uid)) if is_plain_path(&place) && place.ends_with(&suffix) => {
                Ok(TargetFacts {
                    machine: self.machine,
                    user: self.user,
                    uid,
                    home: self.home,
                    uses_sudo: uid != 0,
                    place,
                })
            }
            _ if self.is_full => Err(DeployError::NoRoom { tried: self.tried }),
            _ => Err(DeployError::NoPlace { tried: self.tried }),
        }
    }
}

/// What the script lets through as well: the path becomes part of later commands.
fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && path
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._@%+:,-".contains(c))
}

/// Compares with what `uname -m` calls the architecture that this program was built for.
fn is_our_machine(machine: &str) -> bool {
    match std::env::consts::ARCH {
        "x86_64" => matches!(machine, "x86_64" | "amd64"),
        "aarch64" => matches!(machine, "aarch64" | "arm64"),
        other => machine == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &str) -> Answer {
        let text = format!("motd\nmissing=none of this\n<b>\n{lines}\n<e>\nbye\n");
        Answer::parse(&text, "<b>", "<e>").unwrap()
    }

    fn good() -> String {
        format!(
            "missing=\nsystem=Linux\nmachine={}\nuid=0\nuser=root\nhome=/root\nroot=yes\n\
             tried=/run: Read-only file system\nplace=/tmp/.instancesync-agent-x1",
            std::env::consts::ARCH
        )
    }

    #[test]
    fn understands_a_good_answer_in_noise() {
        let facts = parse(&good()).judge("x1").unwrap();
        assert_eq!((facts.user.as_str(), facts.uid), ("root", 0));
        assert_eq!(facts.place, "/tmp/.instancesync-agent-x1");
        assert!(!facts.uses_sudo);
    }

    #[test]
    fn each_obstacle_has_its_own_error() {
        let judge = |from: &str, to: &str| {
            let text = good().replace(from, to);
            assert_ne!(text, good(), "{from}");
            let error = parse(&text).judge("x1").unwrap_err();
            assert!(error.hint().is_some());
            error
        };
        let arch = format!("machine={}", std::env::consts::ARCH);
        assert!(matches!(
            judge("Linux", "FreeBSD"),
            DeployError::NotLinux(_)
        ));
        assert!(matches!(
            judge("missing=", "missing= cksum"),
            DeployError::MissingTools(_)
        ));
        assert!(matches!(
            judge(&arch, "machine=riscv64"),
            DeployError::WrongMachine { .. }
        ));
        assert!(matches!(
            judge("root=yes", "root=no"),
            DeployError::NotRoot { .. }
        ));
        assert!(matches!(
            judge("place=", "tried="),
            DeployError::NoPlace { .. }
        ));
        assert!(matches!(
            judge("place=", "full="),
            DeployError::NoRoom { .. }
        ));
    }

    #[test]
    fn a_place_that_is_not_the_expected_one_is_refused() {
        for place in [
            "/tmp/x y/.instancesync-agent-x1",
            "/tmp/;x/.instancesync-agent-x1",
            "/tmp",
            "/",
        ] {
            let text = good().replace("/tmp/.instancesync-agent-x1", place);
            assert!(parse(&text).judge("x1").is_err(), "{place}");
        }
    }

    #[test]
    fn without_marks_there_is_no_answer() {
        assert_eq!(
            Answer::parse("This account is not available.", "<b>", "<e>"),
            None
        );
    }

    #[test]
    fn only_plain_ids_reach_the_script() {
        let image = |id| AgentImage {
            binary: b"",
            id,
            arguments: &[],
            magic: b"",
            parents: &["/run"],
        };
        assert!(!make_script(&image("a-1")).unwrap().contains("@NAME@"));
        for id in ["", "a b", "../x", "$(id)"] {
            assert!(make_script(&image(id)).is_err(), "{id:?}");
        }
    }
}
