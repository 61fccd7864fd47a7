//! Whether sshd would start: asked before and after, as nobody gets in when it does not.
//!
//! Knows nothing of what was changed.

use std::ffi::OsString;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::programs::Programs;
use super::tree::Tree;

const SSHD: &str = "/usr/sbin/sshd";
/// LIMIT: reading keys and configuration takes milliseconds.
const CHECKING: Duration = Duration::from_secs(30);

/// What `sshd -t` said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SshdCheck {
    /// It is not there, or cannot run in this root.
    #[default]
    NotPossible,
    /// It would start.
    Passed,
    /// It would not start, for this reason.
    Failed(String),
}

/// Asks the sshd of the root.
pub fn check(tree: &Tree, programs: &dyn Programs) -> SshdCheck {
    if !tree.has_file(SSHD) {
        return SshdCheck::NotPossible;
    }
    let mut command: Vec<OsString> = Vec::new();
    if !tree.is_live() {
        command.extend(["chroot".into(), tree.path().as_os_str().to_owned()]);
    }
    command.extend([SSHD.into(), "-t".into()]);
    match programs.run(&command, CHECKING) {
        Ok(output) if output.is_success => SshdCheck::Passed,
        // chroot itself could not start it: another architecture, or no libraries.
        Ok(output) if output.stderr.starts_with("chroot:") => SshdCheck::NotPossible,
        Ok(output) => SshdCheck::Failed(output.complaint()),
        Err(_) => SshdCheck::NotPossible,
    }
}

/// Tells whether a file belongs to the configuration of sshd.
pub fn is_of_sshd(path: &str) -> bool {
    let is_drop_in = path.contains("/ssh") && path.contains(".service.d/");
    path.starts_with("/etc/ssh/") || is_drop_in
}

/// Returns the programs that a configuration or drop-in has sshd ask for keys.
pub fn keys_commands(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line
                .split([' ', '\t', '"', '\'', '='])
                .filter(|word| !word.is_empty());
            words.find(|word| word.eq_ignore_ascii_case("AuthorizedKeysCommand"))?;
            words
                .next()
                .filter(|word| word.starts_with('/'))
                .map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{is_of_sshd, keys_commands};

    #[test]
    fn finds_the_programs_that_sshd_asks() {
        let drop_in = "[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D -o \
                       \"AuthorizedKeysCommand /opt/aws/bin/eic_run_authorized_keys %%u %%f\" -o \
                       \"AuthorizedKeysCommandUser ec2-instance-connect\"\n";
        let program = "/opt/aws/bin/eic_run_authorized_keys";
        assert_eq!(keys_commands(drop_in), [program]);
        assert_eq!(
            keys_commands(&format!("authorizedkeyscommand {program} %u\n")),
            [program]
        );
        for text in [
            "#AuthorizedKeysCommand /a\n",
            "AuthorizedKeysCommand none\n",
            "AuthorizedKeysCommandUser nobody\n",
        ] {
            assert!(keys_commands(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn knows_the_files_of_sshd() {
        for (path, expected) in [
            ("/etc/ssh/sshd_config", true),
            ("/usr/lib/systemd/system/sshd.service.d/x.conf", true),
            ("/etc/sysconfig/sshd", false),
            ("/usr/lib/systemd/system/chronyd.service.d/x.conf", false),
        ] {
            assert_eq!(is_of_sshd(path), expected, "{path}");
        }
    }
}
