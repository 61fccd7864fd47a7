//! A process of ours that undoes what may not outlive us, if we die before we can undo it
//! ourselves: even a `kill -9` leaves nothing held and nothing stopped. Knows nothing of what it is.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use super::own_program;

/// What the watcher is told when it has nothing to do.
const DONE: &str = "done";

/// A process that waits for our end, and knows what to do then.
#[derive(Debug)]
pub struct Watcher(Child);

impl Watcher {
    /// Starts it: `instancesync boot` with this flag. `None` where it cannot be started; then
    /// nobody watches.
    pub fn start(flag: &str) -> Option<Watcher> {
        // Ctrl-C, or the end of a terminal, is for us.
        let mut program = own_program(flag);
        let started = program.process_group(0).stdin(Stdio::piped()).spawn();
        started.ok().map(Watcher)
    }

    /// Tells it one thing more to do, in a line. One that has died hears nothing.
    pub fn tell(&mut self, duty: &str) {
        if let Some(input) = &mut self.0.stdin {
            drop(input.write_all(format!("{duty}\n").as_bytes()));
        }
    }

    /// Lets it off: everything is undone.
    pub fn let_off(mut self) {
        self.tell(DONE);
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// Waits, in the watcher, for the end of whoever has started it. Returns what is left to do: the
/// lines in their order, none if it was let off.
pub fn outlive() -> Vec<String> {
    let mut text = String::new();
    // An input that breaks has ended.
    drop(std::io::stdin().read_to_string(&mut text));
    let duties: Vec<String> = text.lines().map(str::to_owned).collect();
    match duties.last() {
        Some(last) if last == DONE => Vec::new(),
        _ => duties,
    }
}
