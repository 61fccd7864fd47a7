//! What the tests stand on: trees, edits, manifests, other copiers, the built binary.

pub mod attributes;
pub mod binary;
pub mod disk;
pub mod edit;
pub mod engine;
pub mod key_agent;
pub mod machine;
pub mod manifest;
pub mod names;
pub mod places;
pub mod processes;
pub mod proxy;
pub mod rng;
pub mod roots;
pub mod rpm;
pub mod rsync;
pub mod sabotage;
pub mod sshd;
pub mod tree;
pub mod vm;

use std::process::Command;
use std::time::Duration;

/// Returns why this test cannot run here, or `None`. Continuous integration has no excuse:
/// there a missing ability is a failure.
fn missing(abilities: &[Ability]) -> Option<String> {
    let reason = abilities.iter().find_map(Ability::why_missing)?;
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!in_ci, "this test has to run in CI, but {reason}");
    Some(reason)
}

/// Tells whether the test may run; prints the reason where it may not.
pub fn can_run(test: &str, abilities: &[Ability]) -> bool {
    match missing(abilities) {
        Some(reason) => {
            println!("skipped {test}: {reason}");
            false
        }
        None => true,
    }
}

/// Something that not every machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Owners, device nodes and `trusted.` attributes can be set.
    Root,
    /// rsync is installed.
    Rsync,
    /// An SSH server is installed.
    Sshd,
    /// rpm and rpmbuild are installed.
    Rpm,
    /// Machines can be made and booted.
    Machines,
    /// So can virtual ones, with disks and boot loaders of their own.
    VirtualMachines,
}

impl Ability {
    fn why_missing(&self) -> Option<String> {
        match self {
            Ability::Root => (!is_full_root())
                .then(|| "it needs root with device nodes and trusted attributes".to_owned()),
            Ability::Rsync => missing_program("rsync"),
            Ability::Sshd => ["/usr/sbin/sshd", "ssh-agent", "ssh-add"]
                .iter()
                .find_map(|program| missing_program(program)),
            Ability::Rpm => missing_program("rpm").or_else(|| missing_program("rpmbuild")),
            Ability::Machines => ["mmdebstrap", "systemd-nspawn", "ip", "mke2fs", "nsenter"]
                .iter()
                .find_map(|program| missing_program(program)),
            Ability::VirtualMachines => ["qemu-system-x86_64", "qemu-img", "sfdisk"]
                .iter()
                .find_map(|program| missing_program(program)),
        }
    }
}

fn is_full_root() -> bool {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let Ok(place) = tempfile::tempdir() else {
        return false;
    };
    let node = place.path().join("node");
    rustix::process::geteuid().is_root()
        && mknodat(
            CWD,
            &node,
            FileType::CharacterDevice,
            Mode::RUSR,
            makedev(1, 3),
        )
        .is_ok()
        && xattr::set(&node, "trusted.probe", b"1").is_ok()
}

fn missing_program(program: &str) -> Option<String> {
    // Both rsync and sshd answer an unknown question with an exit code; only spawning matters.
    match Command::new(program).arg("--version").output() {
        Ok(_) => None,
        Err(error) => Some(format!("{program} cannot be started: {error}")),
    }
}

/// Returns the seeds to test: `count` of them, or as many as the environment asks for with
/// `INSTANCESYNC_SEEDS` (a number, `=N` for the one seed N, or `N@M` for those from number M on).
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("INSTANCESYNC_SEEDS") {
        Ok(text) => match text.strip_prefix('=') {
            Some(seed) => vec![seed.parse().expect("a seed after '='")],
            None => {
                let (count, first) = text.split_once('@').unwrap_or((&text, "1"));
                let first: u64 = first.parse().expect("a seed after '@'");
                let count: u64 = count.parse().expect("a number of seeds");
                (first..first + count).collect()
            }
        },
        Err(_) => (1..=count).collect(),
    }
}

/// Returns how long what races is let race: a second, or as many as `INSTANCESYNC_SECONDS` says.
pub fn span() -> Duration {
    let seconds = std::env::var("INSTANCESYNC_SECONDS").ok();
    let seconds = seconds.map_or(1, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}
