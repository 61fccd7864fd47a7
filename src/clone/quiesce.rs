//! Programs of the source that hold still during the last pass: stopped right before it, started
//! again when it is over, however it ends. Knows nothing of what they write.

use std::process::{Command, Stdio};

use crate::monitor::{Event, Monitor};
use crate::problem::{Problem, ProblemKind, Side};

/// The ways to stop and start a service, the first that is there counts: the program, and
/// whether the verb comes before the name.
const MANAGERS: [(&str, bool); 3] = [
    ("systemctl", true),
    ("rc-service", false),
    ("service", false),
];

/// Services that are stopped; dropping it starts them again.
pub(super) struct Quiesced<'a> {
    /// The last that was stopped is the first to start.
    stopped: Vec<&'a str>,
    monitor: &'a dyn Monitor,
}

impl<'a> Quiesced<'a> {
    /// Stops `units` in their order. One that cannot be stopped is a problem: its files are copied
    /// all the same, but nobody should take the run for complete.
    pub(super) fn stop(units: &'a [String], monitor: &'a dyn Monitor) -> Quiesced<'a> {
        let mut quiesced = Quiesced {
            stopped: Vec::new(),
            monitor,
        };
        for unit in units {
            monitor.event(Event::Notice(format!("source: stopping {unit}")));
            match control("stop", unit) {
                Ok(()) => quiesced.stopped.push(unit),
                Err(cause) => monitor.event(Event::Problem(Problem {
                    side: Side::Source,
                    kind: ProblemKind::Failed,
                    path: unit.as_bytes().to_vec(),
                    operation: "stop the service".to_owned(),
                    cause,
                })),
            }
        }
        quiesced
    }
}

impl Drop for Quiesced<'_> {
    fn drop(&mut self) {
        for unit in self.stopped.drain(..).rev() {
            let text = match control("start", unit) {
                Ok(()) => format!("source: {unit} runs again"),
                Err(why) => format!("source: start {unit} yourself: {why}"),
            };
            self.monitor.event(Event::Notice(text));
        }
    }
}

/// Stops or starts one service; the error is what the program said.
fn control(verb: &str, unit: &str) -> Result<(), String> {
    for (program, is_verb_first) in MANAGERS {
        let words = match is_verb_first {
            true => [verb, unit],
            false => [unit, verb],
        };
        let output = Command::new(program)
            .args(words)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output();
        match output {
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
