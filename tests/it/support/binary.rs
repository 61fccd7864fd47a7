//! The built instancesync, run as a person runs it: a process with arguments and nothing else.
//!
//! Each run has a home directory of its own and no environment of the tester's. Knows nothing
//! of what a run should do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::key_agent::KeyAgent;
use crate::support::sshd::Sshd;

/// LIMIT: a run that takes longer hangs; the largest test trees take seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code, or `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Outcome {
    /// Returns the events of a run with `--json` that have this name. Other lines may be between
    /// them, where both streams were one.
    pub fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let lines = self.stdout.lines();
        let events = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.filter(|event| event["event"] == name).collect()
    }
}

/// A started run.
pub struct Run {
    child: Child,
    // Holds its home directory and what it prints until it is collected.
    place: TempDir,
}

/// Runs instancesync with `arguments` to its end.
pub fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Outcome {
    start(arguments).wait()
}

/// Runs instancesync with `arguments` as another user, who must be able to reach all it needs.
pub fn run_as<S: AsRef<OsStr>>(user: u32, arguments: &[S]) -> Outcome {
    let mut command = Command::new("/proc/self/fd/0");
    // The program may lie where only root can go: it is handed over open.
    command.stdin(File::open(program()).expect("open instancesync"));
    command.uid(user).gid(user).env_clear();
    launch(command, arguments).wait()
}

/// Starts instancesync with `arguments`.
pub fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Run {
    start_beside(arguments, None)
}

/// Starts instancesync with `arguments`, and with an ssh-agent if there is one.
pub fn start_beside<S: AsRef<OsStr>>(arguments: &[S], agent: Option<&KeyAgent>) -> Run {
    let mut command = Command::new(program());
    command.stdin(Stdio::null());
    command.env_clear();
    command.envs(agent.map(|agent| ("SSH_AUTH_SOCK", agent.socket())));
    launch(command, arguments)
}

fn launch<S: AsRef<OsStr>>(mut command: Command, arguments: &[S]) -> Run {
    let place = tempfile::tempdir().expect("temporary directory");
    let file = |name: &str| File::create(place.path().join(name)).expect("create output file");
    let child = command
        .args(arguments)
        .env("HOME", place.path())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("INSTANCESYNC_STATE_DIR", place.path().join("records"))
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .expect("start instancesync");
    Run { child, place }
}

/// The binary of this build, or the one that INSTANCESYNC_BINARY names.
pub fn program() -> OsString {
    std::env::var_os("INSTANCESYNC_BINARY")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_instancesync").into())
}

impl Run {
    /// Tells whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("ask for the state").is_none()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill instancesync");
    }

    /// Sends it a signal, as a person or the system does.
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_child(&self.child);
        kill_process(process, signal).expect("signal instancesync");
    }

    /// Waits for the end; a run that hangs is killed and fails the test.
    pub fn wait(mut self) -> Outcome {
        let start = Instant::now();
        while self.is_running() {
            if start.elapsed() > PATIENCE {
                self.kill();
                panic!("instancesync hangs: {:?}", self.outcome(None));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let code = self.child.wait().expect("wait for instancesync").code();
        self.outcome(code)
    }

    fn outcome(&self, code: Option<i32>) -> Outcome {
        let text = |name: &str| {
            let bytes = std::fs::read(self.place.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Outcome {
            code,
            stdout: text("stdout"),
            stderr: text("stderr"),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A test that failed meanwhile leaves no process; it has ended already as a rule.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the arguments that copy `source` to the directory `target` of this machine.
pub fn to_directory(source: &Path, target: &Path) -> Vec<OsString> {
    words(&[
        "--to".as_ref(),
        target.as_os_str(),
        "--source".as_ref(),
        source.as_os_str(),
        "--yes".as_ref(),
    ])
}

/// Returns the arguments that copy `source` to `target` on the machine behind `sshd`.
pub fn over_ssh(sshd: &Sshd, source: &Path, target: &Path) -> Vec<OsString> {
    over_ssh_by(&sshd.address(), sshd, source, target)
}

/// Does so by another address that leads there.
pub fn over_ssh_by(address: &str, sshd: &Sshd, source: &Path, target: &Path) -> Vec<OsString> {
    let rest = words(&[
        "--source".as_ref(),
        source.as_os_str(),
        "--target-dir".as_ref(),
        target.as_os_str(),
        "--yes".as_ref(),
    ]);
    [login(address, sshd), rest].concat()
}

/// Returns the arguments that reach the machine behind `sshd`.
pub fn login(address: &str, sshd: &Sshd) -> Vec<OsString> {
    words(&[
        "--target".as_ref(),
        address.as_ref(),
        "--identity".as_ref(),
        sshd.identity_file().as_os_str(),
        "--known-hosts".as_ref(),
        sshd.known_hosts_file().as_os_str(),
    ])
}

fn words(words: &[&OsStr]) -> Vec<OsString> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
