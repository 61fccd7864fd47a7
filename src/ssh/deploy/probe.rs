//! What the target is, and where the agent can lie there: one shell script and its answer. The
//! shell then waits for one line more.
//!
//! Knows nothing of uploads.

use std::io::Write;

use super::super::clean::clean_text;
use super::super::error::SshError;
use super::super::process::{Process, ProcessEnd};
use super::{AgentImage, DeployError, NOISE_BYTES, NoiseError, START_LIMIT, skip_noise, why_not};

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
    /// Whether `gzip -dc` works.
    pub has_gzip: bool,
    /// Whether an earlier run of the pair has left its key ([`AgentImage::key_mark`]).
    pub has_left_key: bool,
}

/// LIMIT: bytes of an answer; it has some twenty lines.
const ANSWER_BYTES: usize = 64 * 1024;

/// A shell that has answered and waits for the line with the next step, if there is one to take.
pub(super) struct Shell {
    pub process: Process,
    pub target: TargetFacts,
    /// Whether it waits no more but became the agent, from a copy of the program that is installed
    /// there.
    pub is_agent: bool,
    /// What the login shell printed.
    pub noise: Vec<u8>,
}

/// Asks the target, by a shell there, what it is and has a place made for the agent. Where the program
/// is installed whose checksum and size are `expected`, that is started from there.
pub(super) fn look(
    mut process: Process,
    image: &AgentImage<'_>,
    expected: &str,
    is_far: bool,
) -> Result<Shell, DeployError> {
    let script = make_script(image, expected, is_far)?;
    // A shell that is gone is explained by what it says.
    let written = process.input.write_all(script.as_bytes());
    written
        .and_then(|()| process.input.flush())
        .unwrap_or_default();
    process.output.set_silence_limit(Some(START_LIMIT));
    let mut skip = |mark: String, limit| {
        skip_noise(&mut process.output, mark.as_bytes(), limit)
            .map_err(|error| no_shell(&process.end, &error))
    };
    let noise = skip(mark("begin", image.id), NOISE_BYTES)?;
    let answer = skip(mark("end", image.id), ANSWER_BYTES)?;
    // The line with the mark ends after it; what the agent says begins after that.
    skip("\n".to_owned(), 1)?;
    let answer = Answer::parse(&String::from_utf8_lossy(&answer));
    Ok(Shell {
        process,
        is_agent: answer.is_installed,
        target: answer.judge(image.id)?,
        noise,
    })
}

/// Explains a shell that did not answer by what came instead.
fn no_shell(end: &ProcessEnd, error: &NoiseError) -> DeployError {
    if let Some(loss) = error.loss() {
        return SshError::Lost(loss.clone()).into();
    }
    let mut words = clean_text(error.noise().trim_ascii());
    if words.is_empty() {
        words = why_not(end, error);
    }
    end.abort();
    DeployError::NoShell { words }
}

fn mark(which: &str, id: &str) -> String {
    format!("@instancesync-probe-{which}-{id}@")
}

fn directory_name(id: &str) -> String {
    format!(".instancesync-agent-{id}")
}

fn make_script(
    image: &AgentImage<'_>,
    expected: &str,
    is_far: bool,
) -> Result<String, DeployError> {
    let is_plain = |word: &str, extra: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    for (word, extra) in [(image.id, "-_"), (image.key_mark, "-_:")] {
        if !is_plain(word, extra) {
            return Err(DeployError::Unquotable(word.to_owned()));
        }
    }
    if let Some(odd) = image.parents.iter().find(|word| !is_plain(word, "/._-")) {
        return Err(DeployError::Unquotable((*odd).to_owned()));
    }
    let needed_kib = image.binary.len().div_ceil(1024) + SPARE_KIB;
    Ok(SCRIPT
        .replace("@NAME@", &directory_name(image.id))
        .replace("@NEEDED_KIB@", &needed_kib.to_string())
        .replace("@EXPECTED@", expected)
        .replace("@KEY_MARK@", image.key_mark)
        .replace("@ARGUMENTS@", &image.command_line(is_far)?)
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
    has_gzip: bool,
    has_left_key: bool,
    is_installed: bool,
}

impl Answer {
    /// Reads the lines between the marks.
    fn parse(lines: &str) -> Answer {
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
                "installed" => answer.is_installed = value == "yes",
                "left-key" => answer.has_left_key = value == "yes",
                "gzip" => answer.has_gzip = value == "yes",
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
        answer
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
                    has_gzip: self.has_gzip,
                    has_left_key: self.has_left_key,
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
        Answer::parse(&format!("\n{lines}\n"))
    }

    fn good() -> String {
        format!(
            "missing=\nsystem=Linux\nmachine={}\nuid=0\nuser=root\nhome=/root\nroot=yes\n\
             tried=/run: Read-only file system\nplace=/tmp/.instancesync-agent-x1",
            std::env::consts::ARCH
        )
    }

    #[test]
    fn understands_a_good_answer() {
        let facts = parse(&good()).judge("x1").unwrap();
        assert_eq!((facts.user.as_str(), facts.uid), ("root", 0));
        assert_eq!(facts.place, "/tmp/.instancesync-agent-x1");
        assert!(!facts.uses_sudo && !facts.has_left_key);
        let facts = parse(&format!("{}\nleft-key=yes", good())).judge("x1");
        assert!(facts.unwrap().has_left_key);
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
    fn only_plain_ids_reach_the_script() {
        let image = |id| AgentImage {
            binary: b"",
            id,
            key_mark: "mark:",
            arguments: &[],
            far_arguments: &[],
            magic: b"",
            parents: &["/run"],
        };
        let script = make_script(&image("a-1"), "1 2", false).unwrap();
        assert!(!script.contains("@NAME@") && !script.contains("@KEY_MARK@"));
        for id in ["", "a b", "../x", "$(id)"] {
            assert!(make_script(&image(id), "1 2", false).is_err(), "{id:?}");
        }
    }
}
