//! The network that machines share: a switch, and a wire from it to each.
//!
//! Every machine has a network namespace. The switch is a third one with a bridge, so that the
//! wire of one machine stays up while the other reboots, and so that the tester has an address
//! of his own. Knows nothing of what runs in the namespaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::{must, outcome};
use crate::support::sshd::make_key;

/// Machines are booted by one test at a time: several would only be in each other's way.
static TURN: Mutex<()> = Mutex::new(());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A switch and the namespaces around it. Dropping it removes them.
pub struct Network {
    prefix: String,
    // Images lie here: on a real disk, which `/tmp` need not be.
    place: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Network {
    /// Waits for its turn and makes a switch with the tester's address, 192.0.2.254 (RFC 5737).
    pub fn new() -> Network {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let network = Network {
            prefix: format!("isync-{}-{count}", std::process::id()),
            place: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            _turn: turn,
        };
        remove_forgotten();
        make_key(&network.identity());
        let switch = network.add_namespace("switch");
        // An address of its own: it would change with each port, and who had asked for it wait.
        ip(&[
            "-netns",
            &switch,
            "link",
            "add",
            "bridge",
            "address",
            "02:00:00:00:00:fe",
            "type",
            "bridge",
        ]);
        ip(&[
            "-netns",
            &switch,
            "address",
            "add",
            "192.0.2.254/24",
            "dev",
            "bridge",
        ]);
        ip(&["-netns", &switch, "link", "set", "bridge", "up"]);
        network
    }

    /// Where disks and keys lie.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// The tester's private key.
    pub fn identity(&self) -> PathBuf {
        self.place().join("identity")
    }

    /// The tester's public key, a line.
    pub fn public_key(&self) -> String {
        fs::read_to_string(self.place().join("identity.pub")).unwrap()
    }

    /// Takes the cable of a machine out, without its interface noticing.
    pub fn unplug(&self, machine: &str) {
        self.set_port(machine, &["nomaster"]);
    }

    /// Puts it in again.
    pub fn plug(&self, machine: &str) {
        self.set_port(machine, &["master", "bridge"]);
    }

    /// A machine between two boots has no cable, and gets one that is in.
    fn set_port(&self, machine: &str, words: &[&str]) {
        let (switch, port) = (self.switch(), format!("port-{machine}"));
        let set = ["-netns", &switch, "link", "set", &port];
        let outcome = outcome(Command::new("ip").args(set).args(words));
        let is_off = outcome.stderr.contains("Cannot find device");
        assert!(is_off || outcome.code == Some(0), "{port}: {outcome:#?}");
    }

    /// A program of this machine, run where the tester's address is.
    pub fn beside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.switch()]).args(words);
        command
    }

    /// The namespace of a machine, or of the switch.
    pub(super) fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    pub(super) fn switch(&self) -> String {
        self.namespace("switch")
    }

    /// Adds the wire of a virtual machine, whose emulator runs beside the switch.
    pub fn add_tap(&self, machine: &str) {
        let (switch, port) = (self.switch(), format!("port-{machine}"));
        ip(&["-netns", &switch, "tuntap", "add", &port, "mode", "tap"]);
        ip(&[
            "-netns", &switch, "link", "set", &port, "master", "bridge", "up",
        ]);
    }

    pub(super) fn add_namespace(&self, name: &str) -> String {
        let namespace = self.namespace(name);
        ip(&["netns", "add", &namespace]);
        namespace
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&format!("{}-", self.prefix));
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    must(Command::new("ip").args(words));
}

fn namespaces() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("isync-")).collect()
}

/// Removes namespaces and control groups whose names begin so.
fn remove(prefix: &str) {
    for name in namespaces() {
        if name.starts_with(prefix) {
            // What is in use goes with its last process.
            Command::new("ip")
                .args(["netns", "delete", &name])
                .status()
                .ok();
            remove_groups(&name);
        }
    }
}

/// Removes what tests left that were killed.
fn remove_forgotten() {
    for name in namespaces() {
        let process = name.split('-').nth(1).unwrap_or_default().to_owned();
        if !process.is_empty() && !Path::new("/proc").join(&process).exists() {
            remove(&format!("isync-{process}-"));
        }
    }
}

fn remove_groups(name: &str) {
    for groups in ["", "systemd", "unified"] {
        let top = Path::new("/sys/fs/cgroup").join(groups).join(name);
        // A group goes after those below it; its files are not files.
        let below = walkdir::WalkDir::new(&top).contents_first(true).into_iter();
        let groups = below.flatten().filter(|entry| entry.file_type().is_dir());
        groups.for_each(|entry| {
            fs::remove_dir(entry.path()).ok();
        });
    }
}
