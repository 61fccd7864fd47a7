//! Programs of the source that hold still during the last pass: stopped right before it, started
//! again when it is over, however it ends. Knows nothing of what they write.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::boot::{Watcher, outlive};
use crate::fs::memory::MemoryFile;
use crate::interrupt::{Interrupt, Subscription};
use crate::monitor::{Event, Monitor};
use crate::problem::{Problem, ProblemKind, Side};

/// The ways to stop and start a service, the first that is there counts: the program, whether
/// the verb comes before the name, and the verb that asks whether it runs.
const MANAGERS: [(&str, bool, &str); 3] = [
    ("systemctl", true, "is-active"),
    ("rc-service", false, "status"),
    ("service", false, "status"),
];
/// How `status` ends for a service that does not run (LSB, OpenRC).
const NOT_RUNNING: i32 = 3;

/// Services that are stopped; dropping it starts them again, and so does a process that ends on
/// the spot. If it is killed, its watcher does.
pub(super) struct Quiesced<'a> {
    stopped: Arc<Stopped>,
    monitor: &'a dyn Monitor,
    _at_the_end: Subscription,
}

/// The last that was stopped is the first to start.
#[derive(Default)]
struct Stopped(Mutex<Units>);

#[derive(Default)]
struct Units {
    names: Vec<String>,
    watcher: Option<Watcher>,
}

impl<'a> Quiesced<'a> {
    /// Stops `units` in their order. One that cannot be stopped is a problem: its files are copied
    /// all the same, but nobody should take the run for complete. One that does not run is not
    /// started afterwards either.
    pub(super) fn stop(
        units: &'a [String],
        monitor: &'a dyn Monitor,
        interrupt: &Interrupt,
    ) -> Quiesced<'a> {
        let stopped = Arc::new(Stopped::default());
        let at_the_end = Arc::clone(&stopped);
        let quiesced = Quiesced {
            stopped,
            monitor,
            _at_the_end: interrupt.at_the_end(move || at_the_end.start(|_, _| {})),
        };
        for unit in units {
            monitor.event(Event::Notice(format!("source: stopping {unit}")));
            // ORDER: noted before it is stopped, for one that stops only half starts again too.
            if runs(unit) {
                quiesced.stopped.add(unit);
            }
            if let Err(cause) = control("stop", unit) {
                quiesced.failed(unit, "stop the service", cause);
            }
        }
        quiesced
    }

    fn failed(&self, unit: &str, operation: &str, cause: String) {
        self.monitor.event(Event::Problem(Problem {
            side: Side::Source,
            kind: ProblemKind::Failed,
            path: unit.as_bytes().to_vec(),
            operation: operation.to_owned(),
            cause,
        }));
    }
}

impl Drop for Quiesced<'_> {
    fn drop(&mut self) {
        self.stopped.start(|unit, started| match started {
            Ok(()) => {
                let text = format!("source: {unit} runs again");
                self.monitor.event(Event::Notice(text));
            }
            Err(cause) => self.failed(unit, "start the service again: do it yourself", cause),
        });
    }
}

impl Stopped {
    fn add(&self, unit: &str) {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if units.watcher.is_none() {
            units.watcher = Watcher::start("--start-units");
        }
        if let Some(watcher) = &mut units.watcher {
            watcher.tell(unit);
        }
        units.names.push(unit.to_owned());
    }

    /// Starts all, once, and tells how each went. Who comes second waits until all run.
    fn start(&self, tell: impl Fn(&str, Result<(), String>)) {
        let mut units = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(unit) = units.names.pop() {
            tell(&unit, control("start", &unit));
        }
        if let Some(watcher) = units.watcher.take() {
            watcher.let_off();
        }
    }
}

/// Waits for the end of whoever has stopped services, and starts them again.
pub fn start_after_stopper() {
    for unit in outlive().iter().rev() {
        // Nobody is there any more who could be told.
        drop(control("start", unit));
    }
}

/// Tells whether a service runs. Where that is not known it is taken to run: one too many that
/// runs is better than one too few.
fn runs(unit: &str) -> bool {
    let asked = MANAGERS.iter().find_map(|(program, is_verb_first, verb)| {
        let output = call(program, words(*is_verb_first, verb, unit)).ok()?;
        Some((output, *verb == "is-active"))
    });
    let Some((output, is_systemd)) = asked else {
        return true;
    };
    match is_systemd {
        // It says more than its code: a unit that is about to run does not count as active.
        true => {
            let state = String::from_utf8_lossy(&output.stdout);
            !["inactive", "failed", "unknown", "deactivating"].contains(&state.trim())
        }
        false => output.status.code() != Some(NOT_RUNNING),
    }
}

/// Stops or starts one service; the error is what the program said.
fn control(verb: &str, unit: &str) -> Result<(), String> {
    for (program, is_verb_first, _) in MANAGERS {
        match call(program, words(is_verb_first, verb, unit)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.to_string()),
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let last = said.lines().last().unwrap_or("it failed");
                return Err(last.trim().to_owned());
            }
        }
    }
    Err("there is neither systemctl, rc-service nor service".to_owned())
}

fn words<'w>(is_verb_first: bool, verb: &'w str, unit: &'w str) -> [&'w str; 2] {
    match is_verb_first {
        true => [verb, unit],
        false => [unit, verb],
    }
}

/// Calls a program in a group of its own: Ctrl-C is for us, not for a service half stopped. A
/// service that it leaves behind may have its output open for ever, so nobody waits for the end of
/// that; where the kernel has no files in memory it is not heard.
fn call(program: &str, words: [&str; 2]) -> std::io::Result<Output> {
    let said = [MemoryFile::new().ok(), MemoryFile::new().ok()];
    let [stdout, stderr] = said.each_ref().map(|file| match file {
        Some(file) => file.handle().map(Stdio::from),
        None => Ok(Stdio::null()),
    });
    let status = Command::new(program)
        .args(words)
        .env("LC_ALL", "C")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(stdout?)
        .stderr(stderr?)
        .status()?;
    let [stdout, stderr] = said.map(|file| file.map_or(Ok(Vec::new()), MemoryFile::read));
    Ok(Output {
        status,
        stdout: stdout?,
        stderr: stderr?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::call;

    #[test]
    fn a_service_that_has_its_output_open_is_not_waited_for() {
        let began = Instant::now();
        let output = call("sh", ["-c", "echo up; echo slowly >&2; sleep 20 & exit 3"]).unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.stdout, b"up\n");
        assert_eq!(output.stderr, b"slowly\n");
    }
}
