//! What keeps a machine running: a thread that starts it, again after each reboot, and the
//! processes in it. Knows nothing of disks and networks.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::script;
use crate::support::binary::Outcome;

/// What systemd-nspawn ends with when the machine wants to boot again.
const REBOOT: i32 = 133;
/// LIMIT: how long services may take to stop when the machine is switched off.
const OFF_PATIENCE: Duration = Duration::from_secs(60);
/// LIMIT: a program that takes longer hangs; clones take seconds.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(300);

/// A machine that is on. It has to be ended by [`Power::off`] or [`Power::cut`].
pub(super) struct Power {
    state: Arc<State>,
    supervisor: JoinHandle<()>,
}

struct State {
    namespace: String,
    // The process that boot-machine became; none between two boots and after the end.
    process: Mutex<Option<Pid>>,
    boots: AtomicUsize,
    ends: AtomicBool,
}

impl Power {
    pub(super) fn on(image: &Path, namespace: &str, switch: &str) -> Power {
        let state = Arc::new(State {
            namespace: namespace.to_owned(),
            process: Mutex::new(None),
            boots: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        });
        let (image, switch) = (image.to_owned(), switch.to_owned());
        let supervised = Arc::clone(&state);
        let supervisor = thread::spawn(move || supervise(&supervised, &image, &switch));
        Power { state, supervisor }
    }

    pub(super) fn boots(&self) -> usize {
        self.state.boots.load(Ordering::Relaxed)
    }

    /// Its first process, as this machine numbers it.
    pub(super) fn first_process(&self) -> Option<Pid> {
        self.processes()
            .into_iter()
            .find(|process| is_first(*process))
    }

    /// Its processes that have this word on their command lines.
    pub(super) fn processes_with(&self, word: &[u8]) -> Vec<Pid> {
        let has_word = |process: &Pid| {
            let process = process.as_raw_pid();
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|part| part == word)
        };
        self.processes().into_iter().filter(has_word).collect()
    }

    /// All of its processes, told by the network that they are in.
    fn processes(&self) -> Vec<Pid> {
        let namespace = Path::new("/run/netns").join(&self.state.namespace);
        let Ok(number) = fs::metadata(namespace).map(|namespace| namespace.ino()) else {
            return Vec::new();
        };
        let entries = fs::read_dir("/proc").into_iter().flatten();
        let numbers =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let own = numbers.filter(|process| {
            let network = fs::metadata(format!("/proc/{process}/ns/net"));
            network.is_ok_and(|network| network.ino() == number)
        });
        own.filter_map(Pid::from_raw).collect()
    }

    /// Its root while it runs.
    pub(super) fn root(&self) -> Option<PathBuf> {
        let first = self.first_process()?.as_raw_pid();
        Some(PathBuf::from(format!("/proc/{first}/root")))
    }

    /// Waits for the end of a machine that was told to go off.
    pub(super) fn off(self) {
        self.state.ends.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + OFF_PATIENCE;
        while !self.supervisor.is_finished() {
            assert!(Instant::now() < deadline, "a machine does not go off");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends everything in it at once.
    pub(super) fn cut(self) {
        self.state.ends.store(true, Ordering::Relaxed);
        while !self.supervisor.is_finished() {
            // All that runs in the machine goes with it (scripts/lib/boot-machine).
            self.state.kill();
            thread::sleep(Duration::from_millis(10));
        }
        self.supervisor.join().ok();
    }
}

impl State {
    fn kill(&self) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = *process {
            // Gone already is as good.
            kill_process(process, Signal::KILL).ok();
        }
    }
}

/// Where the console of the machine with this disk is written.
pub(super) fn log_of(image: &Path) -> PathBuf {
    image.with_extension("console")
}

fn supervise(state: &State, image: &Path, switch: &str) {
    while !state.ends.load(Ordering::Relaxed) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log_of(image));
        let log = log.unwrap();
        let mut child = script("boot-machine")
            .arg(image)
            .args([&state.namespace, switch])
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        let put = |process| {
            *state.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
        };
        put(Some(Pid::from_child(&child)));
        state.boots.fetch_add(1, Ordering::Relaxed);
        // It stays a zombie until it is waited for: its number cannot be another's meanwhile.
        while has_not_ended(&child) {
            thread::sleep(Duration::from_millis(10));
        }
        put(None);
        if child.wait().unwrap().code() != Some(REBOOT) {
            break;
        }
    }
}

fn has_not_ended(child: &Child) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(
        waitid(WaitId::Pid(Pid::from_child(child)), options),
        Ok(None)
    )
}

/// Tells whether a process has the number 1 in the innermost namespace that it is in.
fn is_first(process: Pid) -> bool {
    let process = process.as_raw_pid();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| {
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        numbers.len() > 1 && numbers.last() == Some(&"1")
    })
}

/// A program that runs within a machine.
pub struct Started {
    // nsenter; the program is its only child.
    child: Child,
    place: TempDir,
}

impl Started {
    pub(super) fn new(mut command: Command) -> Started {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(place.path().join(name)).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let child = command.spawn().unwrap();
        Started { child, place }
    }

    /// Tells whether it is still running.
    pub fn is_running(&self) -> bool {
        has_not_ended(&self.child)
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        let parent = self.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        for word in children.unwrap_or_default().split_whitespace() {
            if let Some(process) = word.parse().ok().and_then(Pid::from_raw) {
                // Gone already is as good.
                kill_process(process, signal).ok();
            }
        }
    }

    /// Waits for its end; one that hangs is killed and fails the test.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        let deadline = Instant::now() + PROGRAM_PATIENCE;
        while self.is_running() {
            if Instant::now() > deadline {
                self.signal(Signal::KILL);
                panic!("it hangs: {:#?}", self.outcome(None));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let status = self.child.wait().unwrap();
        let code = status.code().filter(|_| status.signal().is_none());
        self.outcome(code)
    }

    /// What it has said so far.
    pub fn outcome(&self, code: Option<i32>) -> Outcome {
        let text = |name: &str| {
            let bytes = fs::read(self.place.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Outcome {
            code,
            stdout: text("stdout"),
            stderr: text("stderr"),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
