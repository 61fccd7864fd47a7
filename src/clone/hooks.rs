//! The person's own commands on the source: before the checksum pass, and when the clone was seen
//! again. What one prints becomes notices. Knows nothing of what a command does.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::monitor::{Event, Monitor};
use crate::problem::{Problem, ProblemKind, Side};
use crate::settings::{Settings, Target};

/// LIMIT: lines of one hook that become notices; one that prints more should write a file.
const MAX_LINES: usize = 1000;
/// LIMIT: bytes of one line; a longer one goes on in the next notice.
const MAX_LINE_LEN: u64 = 1000;
/// How often it is looked whether a silent hook has ended or is to be stopped.
const LOOK: Duration = Duration::from_millis(50);
/// How long a hook may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(5);
/// How long the last output of a hook that has ended is waited for: what it has left running in
/// the background may hold its output open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why a hook did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub(super) enum HookError {
    /// It was not even started.
    #[error("/bin/sh could not be started")]
    Start(#[source] std::io::Error),
    /// It ended with something else than 0.
    #[error("it ended with {0}")]
    Ended(ExitStatus),
    /// The run was stopped meanwhile, and the hook with it.
    #[error("it was stopped with the run")]
    Stopped,
}

/// One of the two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    PreSwitch,
    PostBoot,
}

impl Moment {
    /// Returns the word that the command finds in its environment.
    fn word(self) -> &'static str {
        match self {
            Moment::PreSwitch => "pre-switch",
            Moment::PostBoot => "post-boot",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Moment::PreSwitch => "--pre-switch-hook",
            Moment::PostBoot => "--post-boot-hook",
        }
    }
}

/// Runs the hook before the checksum pass, if there is one; the run must end where it fails.
pub(super) fn pre_switch(
    settings: &Settings,
    monitor: &dyn Monitor,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let Some(command) = &settings.course.hooks.pre_switch else {
        return Ok(());
    };
    run(command, (Moment::PreSwitch, settings), monitor, interrupt).map_err(|error| {
        let exit = match error {
            HookError::Stopped => ExitCode::Interrupted,
            HookError::Start(_) | HookError::Ended(_) => ExitCode::Failed,
        };
        let what = format!("source: {}", Moment::PreSwitch.flag());
        Failure::new(exit, what)
            .because(&error)
            .hint("what it printed is above, each line behind its name")
            .hint("run the same command again when it can succeed: it continues")
    })
}

/// Runs the hook after the clone was seen again, if there is one; that it fails is a problem.
pub(super) fn post_boot(settings: &Settings, monitor: &dyn Monitor, interrupt: &Interrupt) {
    let Some(command) = &settings.course.hooks.post_boot else {
        return;
    };
    let ran = run(command, (Moment::PostBoot, settings), monitor, interrupt);
    if let Err(error) = ran {
        let failure = Failure::of(ExitCode::Failed, &error);
        monitor.event(Event::Problem(Problem {
            side: Side::Source,
            kind: ProblemKind::Failed,
            path: Moment::PostBoot.flag().into(),
            operation: "run the command".to_owned(),
            cause: failure.to_string(),
        }));
    }
}

fn run(
    command: &str,
    (moment, settings): (Moment, &Settings),
    monitor: &dyn Monitor,
    interrupt: &Interrupt,
) -> Result<(), HookError> {
    let say = |text: String| monitor.event(Event::Notice(text));
    say(format!("source: running {}", moment.flag()));
    let (child, lines) = start(command, moment, settings).map_err(HookError::Start)?;
    let group = Group::of(&child);
    // ORDER: a process that ends on the spot takes the hook along, or it would go on unseen.
    let _at_the_end = interrupt.at_the_end(move || group.send(Signal::TERM));
    let mut printed = Printed::new(moment, &say);
    let status = follow(child, group, (&lines, &mut printed), interrupt)?;
    printed.end();
    match status.success() {
        true => Ok(()),
        false => Err(HookError::Ended(status)),
    }
}

/// Starts the command in a process group of its own: Ctrl-C is for us, who end it in order.
fn start(
    command: &str,
    moment: Moment,
    settings: &Settings,
) -> std::io::Result<(Child, Receiver<String>)> {
    let (output, input) = std::io::pipe()?;
    let target = match &settings.target {
        Target::Machine { address, .. } => address.into(),
        Target::Directory(directory) => directory.clone().into_os_string(),
    };
    let child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("INSTANCESYNC_TARGET", target)
        .env("INSTANCESYNC_STAGE", moment.word())
        .env_remove("INSTANCESYNC_PASSWORD")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .spawn()?;
    let (sender, lines) = sync_channel(16);
    std::thread::Builder::new()
        .name("hook".into())
        .spawn(move || read_lines(output, &sender))?;
    Ok((child, lines))
}

/// Hands over line by line until the output ends or nobody listens any more.
fn read_lines(output: PipeReader, sender: &SyncSender<String>) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE_LEN)
            .read_until(b'\n', &mut line);
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        if !matches!(read, Ok(1..)) || sender.send(text).is_err() {
            return;
        }
    }
}

/// Waits for the end of the command, telling what it prints, and ends it where the run is stopped.
fn follow(
    mut child: Child,
    group: Group,
    (lines, printed): (&Receiver<String>, &mut Printed<'_>),
    interrupt: &Interrupt,
) -> Result<ExitStatus, HookError> {
    let mut told_to_end: Option<Instant> = None;
    let status = loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => printed.add(line),
            Err(RecvTimeoutError::Timeout) => {}
            // It has closed its output and may work on.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
        if let Some(status) = child.try_wait().map_err(HookError::Start)? {
            break status;
        }
        match told_to_end {
            None if interrupt.is_raised() => {
                group.send(Signal::TERM);
                told_to_end = Some(Instant::now());
            }
            Some(since) if since.elapsed() > ENDING => group.send(Signal::KILL),
            _ => {}
        }
    };
    let until = Instant::now() + LAST_WORDS;
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        printed.add(line);
    }
    match told_to_end {
        Some(_) => Err(HookError::Stopped),
        None => Ok(status),
    }
}

/// The process group of a hook.
#[derive(Clone, Copy)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    }

    /// Sends a signal to all of it; a group that has ended needs none.
    fn send(self, signal: Signal) {
        if let Some(group) = self.0 {
            kill_process_group(group, signal).unwrap_or_default();
        }
    }
}

/// What a hook has printed so far.
struct Printed<'a> {
    moment: Moment,
    say: &'a dyn Fn(String),
    lines: usize,
}

impl<'a> Printed<'a> {
    fn new(moment: Moment, say: &'a dyn Fn(String)) -> Printed<'a> {
        Printed {
            moment,
            say,
            lines: 0,
        }
    }

    fn add(&mut self, line: String) {
        self.lines += 1;
        if self.lines <= MAX_LINES {
            (self.say)(format!("{}: {line}", self.moment.word()));
        }
    }

    fn end(self) {
        if self.lines > MAX_LINES {
            let more = self.lines - MAX_LINES;
            (self.say)(format!("{}: and {more} more lines", self.moment.word()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{MAX_LINES, post_boot, pre_switch};
    use crate::cli;
    use crate::exit::ExitCode;
    use crate::interrupt::{Interrupt, InterruptCause};
    use crate::monitor::{Event, RecordingMonitor};
    use crate::prompter::NobodyThere;
    use crate::settings::{Environment, Settings};

    fn settings(hook: &str, command: &str) -> Settings {
        let words = ["instancesync", "--target=root@h", "--yes", hook, command];
        let cli = cli::parse(words).unwrap();
        Settings::resolve(cli.clone, &Environment::default(), &NobodyThere).unwrap()
    }

    fn notices(monitor: &RecordingMonitor) -> Vec<String> {
        let notice = |event| match event {
            Event::Notice(text) => Some(text),
            _ => None,
        };
        monitor.events().into_iter().filter_map(notice).collect()
    }

    #[test]
    fn what_it_prints_becomes_notices() {
        let monitor = RecordingMonitor::default();
        let command = "echo to $INSTANCESYNC_TARGET; printf '%s' \"$INSTANCESYNC_STAGE\" >&2";
        let settings = settings("--pre-switch-hook", command);
        pre_switch(&settings, &monitor, &Interrupt::default()).unwrap();
        assert_eq!(
            notices(&monitor),
            [
                "source: running --pre-switch-hook",
                "pre-switch: to root@h",
                "pre-switch: pre-switch",
            ]
        );
    }

    #[test]
    fn one_that_fails_ends_the_run_or_is_a_problem() {
        let monitor = RecordingMonitor::default();
        let before = settings("--pre-switch-hook", "exit 3");
        let failure = pre_switch(&before, &monitor, &Interrupt::default()).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Failed);
        assert_eq!(
            failure.to_string(),
            "source: --pre-switch-hook: it ended with exit status: 3"
        );
        let after = settings("--post-boot-hook", "kill -9 $$");
        post_boot(&after, &monitor, &Interrupt::default());
        let problems = monitor.problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].cause.contains("signal: 9"), "{problems:?}");
        post_boot(&before, &monitor, &Interrupt::default());
        assert_eq!(monitor.problems().len(), 1, "no such hook, no problem");
    }

    #[test]
    fn ctrl_c_ends_it_with_all_that_it_started() {
        let monitor = RecordingMonitor::default();
        let interrupt = Interrupt::default();
        let settings = settings("--pre-switch-hook", "sleep 600 & echo here; wait");
        let began = Instant::now();
        let failure = std::thread::scope(|scope| {
            let running = scope.spawn(|| pre_switch(&settings, &monitor, &interrupt));
            while notices(&monitor).len() < 2 {
                std::thread::sleep(Duration::from_millis(5));
            }
            interrupt.raise(InterruptCause::CtrlC);
            running.join().unwrap().unwrap_err()
        });
        assert_eq!(failure.exit, ExitCode::Interrupted);
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn what_it_leaves_in_the_background_is_not_waited_for() {
        let monitor = RecordingMonitor::default();
        let settings = settings("--pre-switch-hook", "sleep 20 & echo started");
        let began = Instant::now();
        pre_switch(&settings, &monitor, &Interrupt::default()).unwrap();
        assert!(began.elapsed() < Duration::from_secs(15));
        assert_eq!(notices(&monitor).len(), 2);
    }

    #[test]
    fn more_lines_than_anyone_reads_are_counted() {
        let monitor = RecordingMonitor::default();
        let settings = settings("--pre-switch-hook", "seq 1 1003");
        pre_switch(&settings, &monitor, &Interrupt::default()).unwrap();
        let notices = notices(&monitor);
        assert_eq!(notices.len(), MAX_LINES + 2);
        assert_eq!(notices.last().unwrap(), "pre-switch: and 3 more lines");
    }
}
