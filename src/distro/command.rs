//! Asks a program of the running system: no shell, no input, English, a limit in time and in
//! what it may say. Knows nothing of the programs.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// LIMIT: bytes of an answer that are taken.
const MAX_ANSWER: u64 = 1 << 20;
/// How often a program is asked whether it has ended.
const TICK: Duration = Duration::from_millis(2);

/// Runs a program and returns what it writes when it succeeds in time.
pub(crate) fn ask(program: &str, arguments: &[&str], limit: Duration) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = child.stdout.take()?;
    // Read beside the waiting: a full pipe would keep the program from ending.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.take(MAX_ANSWER).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    if !ends_well(&mut child, limit) {
        // Not joined: a child of the program may hold the pipe open for as long as it likes.
        return None;
    }
    let bytes = reader.join().ok()?.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn ends_well(child: &mut Child, limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if start.elapsed() < limit => std::thread::sleep(TICK),
            Ok(None) | Err(_) => {
                // One that is gone already cannot be killed; nothing else can fail here.
                drop(child.kill());
                drop(child.wait());
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_time_is_taken() {
        let limit = Duration::from_secs(20);
        let answer = ask("/bin/sh", &["-c", "echo $LC_ALL $HOME; cat"], limit);
        assert_eq!(answer.as_deref(), Some("C\n"));
        assert_eq!(ask("/bin/sh", &["-c", "echo x; exit 1"], limit), None);
        assert_eq!(ask("/no/such/program", &[], limit), None);
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let start = Instant::now();
        assert_eq!(ask("/bin/sleep", &["60"], Duration::from_millis(50)), None);
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
