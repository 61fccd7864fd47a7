//! Programs of the machine: started without a shell, in the C locale, for a limited time.
//!
//! Where the root is not `/` they are those of that root, by `chroot`, or the ones of this
//! machine that take a root. Knows nothing of what they say.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// LIMIT: what one program may print, in bytes. The names of all files of a large installation
/// are some 50 MB.
const MAX_OUTPUT: u64 = 512 << 20;
/// How much is read at once, in bytes: what a pipe holds.
const PART_LEN: usize = 64 << 10;
/// LIMIT: how much of the complaints of a program is shown, in bytes.
const MAX_COMPLAINT: usize = 2000;
/// LIMIT: how long nothing may come of a program that has ended before nothing more is waited for. A
/// service that a script of a package has started holds its output for as long as it lives.
const SILENCE: Duration = Duration::from_secs(5);
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there, or cannot run.
    #[error("{program} cannot be started")]
    Start {
        /// Which.
        program: String,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// It took too long and was ended.
    #[error("{program} did not end within {seconds} s")]
    Slow {
        /// Which.
        program: String,
        /// What it was given.
        seconds: u64,
    },
    /// It said more than anybody reads.
    #[error("{program} prints without end")]
    Endless {
        /// Which.
        program: String,
    },
}

/// What a program did.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Whether it ended with exit code 0.
    pub is_success: bool,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, as text.
    pub stderr: String,
}

impl Output {
    /// Returns what it complained of, shortened; its exit code where it said nothing.
    pub fn complaint(&self) -> String {
        let text = self.stderr.trim();
        match text.char_indices().nth(MAX_COMPLAINT) {
            Some((end, _)) => format!("{} ...", &text[..end]),
            None if text.is_empty() => "it gave no reason".to_owned(),
            None => text.to_owned(),
        }
    }
}

/// Starts programs. A trait, so that tests can play them.
pub trait Programs {
    /// Runs `command` (program and arguments) to its end, for `limit` at most.
    fn run(&self, command: &[OsString], limit: Duration) -> Result<Output, ProgramError>;
}

/// The programs of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Programs for ThisMachine {
    fn run(&self, command: &[OsString], limit: Duration) -> Result<Output, ProgramError> {
        let (program, arguments) = match command.split_first() {
            Some((program, arguments)) => (program.clone(), arguments),
            None => (OsString::new(), command),
        };
        let name = program.to_string_lossy().into_owned();
        let failed = |cause| ProgramError::Start {
            program: name.clone(),
            cause,
        };
        let mut child = Command::new(&program)
            .args(arguments)
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C"), ("HOME", "/")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at the terminal must not end the removal of a package half way.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().map(read_all);
        let stderr = child.stderr.take().map(read_all);
        let Some(is_success) = wait(&mut child, limit).map_err(failed)? else {
            return Err(ProgramError::Slow {
                program: name,
                seconds: limit.as_secs(),
            });
        };
        let stdout = collect(stdout).map_err(failed)?;
        let stderr = collect(stderr).map_err(failed)?;
        if stdout.len() as u64 >= MAX_OUTPUT {
            return Err(ProgramError::Endless { program: name });
        }
        Ok(Output {
            is_success,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }
}

type Reading = Receiver<std::io::Result<Vec<u8>>>;

/// Reads in a thread of its own, which ends with the stream.
fn read_all(stream: impl Read + Send + 'static) -> Reading {
    let (parts, reading) = channel();
    std::thread::spawn(move || {
        let mut stream = stream.take(MAX_OUTPUT);
        let mut buffer = vec![0u8; PART_LEN];
        loop {
            let part = match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_over = part.is_err();
            if parts.send(part).is_err() || is_over {
                return;
            }
        }
    });
    reading
}

/// Returns what was read, to the end of the stream or until nothing more comes.
fn collect(reading: Option<Reading>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(reading) = reading else {
        return Ok(bytes);
    };
    loop {
        match reading.recv_timeout(SILENCE) {
            Ok(part) => bytes.append(&mut part?),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(bytes),
        }
    }
}

/// Waits for the end; `None` when it was ended by us. Its children end with it.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<bool>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= end {
            let group = i32::try_from(child.id())
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            if let Some(group) = group {
                let signal = rustix::process::Signal::KILL;
                // It may have ended this moment.
                rustix::process::kill_process_group(group, signal).ok();
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{ProgramError, Programs, ThisMachine};

    fn run(words: &[&str], limit: u64) -> Result<super::Output, ProgramError> {
        let words: Vec<_> = words.iter().map(Into::into).collect();
        ThisMachine.run(&words, Duration::from_millis(limit))
    }

    #[test]
    fn says_what_a_program_said() {
        let output = run(&["sh", "-c", "echo $LC_ALL; echo no >&2; exit 3"], 10_000).unwrap();
        assert!(!output.is_success);
        assert_eq!(output.stdout, b"C\n");
        assert_eq!(output.complaint(), "no");
    }

    #[test]
    fn ends_what_takes_too_long_with_its_children() {
        let error = run(&["sh", "-c", "sleep 100 & sleep 100"], 100).unwrap_err();
        assert!(matches!(error, ProgramError::Slow { .. }), "{error}");
    }

    #[test]
    fn a_service_that_a_program_leaves_behind_holds_up_nobody() {
        let began = Instant::now();
        let output = run(&["sh", "-c", "echo done; sleep 30 &"], 60_000).unwrap();
        assert!(output.is_success);
        assert_eq!(output.stdout, b"done\n");
        assert!(began.elapsed() < Duration::from_secs(25));
    }

    #[test]
    fn names_a_program_that_is_missing() {
        let error = run(&["instancesync-no-such-program"], 1000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "instancesync-no-such-program cannot be started"
        );
    }
}
