//! The program: parses, chooses how to talk, listens for signals, calls, exits.

use std::io::Write;
use std::process::ExitCode as ProcessExit;
use std::sync::Arc;

use clap::CommandFactory;
use instancesync::agent::{self, Door, HeldKey};
use instancesync::cli::{self, CleanupCommand, Cli, CloneArguments, Command};
use instancesync::commands::{Answer, Surroundings};
use instancesync::exit::ExitCode;
use instancesync::failure::Failure;
use instancesync::interrupt::{Interrupt, InterruptCause};
use instancesync::report::Recorder;
use instancesync::settings::{Environment, OutputSettings, Settings};
use instancesync::ui::{self, Outcome, Questions, Screen, Stream, Ui};
use instancesync::{clone, commands};
use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ProcessExit {
    keep_memory_private();
    allow_open_files();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            error.print().ok(); // A reader that went away needs no help text.
            return ProcessExit::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match cli.command {
        None => Ok(run_clone(cli.clone)),
        Some(Command::Agent { channels }) => run_agent(channels).map(|()| ExitCode::Complete),
        Some(Command::Facts(arguments)) => {
            answer(false, |around| commands::facts(arguments, around))
        }
        Some(Command::Plan(arguments)) => answer(arguments.clone.safety.yes, |around| {
            commands::plan(*arguments, around)
        }),
        Some(Command::Explain(arguments)) => answer(arguments.clone.safety.yes, |around| {
            commands::explain(*arguments, around)
        }),
        Some(Command::Profiles { command }) => answer(false, |_| commands::profiles(command)),
        Some(Command::Cleanup {
            command: CleanupCommand::AmazonAmi(arguments),
        }) => answer(arguments.yes, |around| {
            commands::clean_up(arguments, around)
        }),
        Some(Command::Status(arguments)) => {
            answer(false, |around| commands::status(arguments, around))
        }
        Some(Command::Rollback(arguments)) => answer(arguments.change.yes, |around| {
            commands::roll_back(arguments, around)
        }),
        Some(Command::Confirm(arguments)) => {
            answer(arguments.yes, |around| commands::confirm(arguments, around))
        }
        Some(Command::Discard(arguments)) => {
            answer(arguments.yes, |around| commands::discard(arguments, around))
        }
        Some(Command::Boot(arguments)) => commands::boot(&arguments).map(|()| ExitCode::Complete),
        Some(Command::Completions { shell }) => print_completions(shell),
        Some(Command::Man { output: None }) => print_man_page(),
        Some(Command::Man { output: Some(dir) }) => write_man_pages(&dir),
    };
    let exit = outcome.unwrap_or_else(|failure| tell(&failure));
    ProcessExit::from(exit.code())
}

/// Nothing of this process goes into a core file, where a password or key could be found, and
/// nobody but root looks into it or its environment. Programs that it starts are not concerned.
fn keep_memory_private() {
    // Best effort: a kernel that refuses leaves what every other program has.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap_or(());
}

/// LIMIT: open files, of which this program never needs as many. More than that would not be
/// good for programs that it starts: some close whatever might be open, one by one.
const MOST_OPEN: u64 = 4096;

/// Lets both sides have more files open than a login has by default.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(MOST_OPEN, |most| most.min(MOST_OPEN));
    if limit.current.is_some_and(|current| current < most) {
        limit.current = Some(most);
        // Best effort: what there is does for all but the busiest moments.
        setrlimit(Resource::Nofile, limit).unwrap_or(());
    }
}

fn run_clone(arguments: CloneArguments) -> ExitCode {
    let environment = Environment::read();
    let output = OutputSettings::new(&arguments.output, &arguments.safety, &environment);
    let questions = questions(arguments.safety.yes);
    let dry_run = arguments.safety.dry_run;
    let interrupt = Interrupt::default();
    let ui = match Ui::start(&output, questions, &interrupt) {
        Ok(ui) => ui,
        Err(failure) => return tell(&failure),
    };
    let stopping = "stopping and cleaning up; press Ctrl-C again to stop at once\n";
    if let Err(failure) = listen_for_signals(&interrupt, ui.screen(), stopping) {
        return tell(&failure);
    }
    let recorder = Arc::new(Recorder::new(ui.monitor()));
    let (prompter, reader, journal) = (ui.prompter(), ui.reader(), ui.journal());
    let result =
        Settings::resolve(arguments, &environment, prompter.as_ref()).and_then(|settings| {
            let audience = clone::Audience {
                reader: reader.as_ref(),
                prompter: prompter.as_ref(),
                journal: journal.as_ref(),
            };
            clone::run(&settings, &recorder, audience, &interrupt)
        });
    let (report, failure) = match result {
        Ok(report) => (report, None),
        Err(failure) => (recorder.report(), Some(failure)),
    };
    let outcome = Outcome {
        report,
        failure: failure.map(|failure| match interrupt.cause() {
            Some(_) => stopped_or(failure, &interrupt)
                .hint("the same command continues where this run stopped"),
            None => failure,
        }),
        dry_run,
    };
    ui.finish(&outcome);
    outcome.exit()
}

fn questions(is_agreed: bool) -> Questions {
    match is_agreed {
        true => Questions::Forbidden,
        false => Questions::Allowed,
    }
}

/// Runs a subcommand, with a person to ask where there is one who has not agreed to all, and prints
/// what it has to say.
fn answer(
    is_agreed: bool,
    command: impl FnOnce(&Surroundings) -> Result<Answer, Failure>,
) -> Result<ExitCode, Failure> {
    let environment = Environment::read();
    let interrupt = Interrupt::default();
    let output = OutputSettings::for_answers(&environment);
    let ui = Ui::start(&output, questions(is_agreed), &interrupt)?;
    let stopping = "stopping, unless it changes something at this moment; press Ctrl-C again to stop at once\n";
    listen_for_signals(&interrupt, ui.screen(), stopping)?;
    let around = Surroundings {
        environment,
        prompter: ui.prompter(),
        monitor: ui.monitor(),
        screen: ui.screen().clone(),
        interrupt: interrupt.clone(),
    };
    let answer = command(&around);
    ui.close();
    let answer = answer.map_err(|failure| stopped_or(failure, &interrupt))?;
    match print(answer.text.as_bytes()) {
        ExitCode::Complete => Ok(answer.exit),
        failed => Ok(failed),
    }
}

/// Whatever failed after the person or the system asked to stop failed because of that.
fn stopped_or(failure: Failure, interrupt: &Interrupt) -> Failure {
    match interrupt.cause() {
        Some(cause) => Failure::interrupted(cause),
        None => failure,
    }
}

/// A machine that goes down ends its programs first: the agent leaves no key behind then either.
fn run_agent(takes_channels: bool) -> Result<(), Failure> {
    let key = Arc::new(HeldKey::default());
    let door = Arc::new(Door::default());
    let (held, open_door) = (Arc::clone(&key), Arc::clone(&door));
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|cause| no_signals(&cause))?;
    let listen = move || {
        if signals.forever().next().is_some() {
            open_door.close();
            held.take_out();
            std::process::exit(InterruptCause::Terminated.exit().code().into());
        }
    };
    spawn_listener(listen)?;
    agent::run(&key, takes_channels.then_some(&door))
}

/// The first signal asks the run to stop and to clean up, the second ends it on the spot.
fn listen_for_signals(
    interrupt: &Interrupt,
    screen: &Screen,
    stopping: &'static str,
) -> Result<(), Failure> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|cause| no_signals(&cause))?;
    let interrupt = interrupt.clone();
    let screen = screen.clone();
    let listen = move || {
        for signal in &mut signals {
            let cause = match signal {
                SIGINT => InterruptCause::CtrlC,
                _ => InterruptCause::Terminated,
            };
            if interrupt.is_raised() {
                interrupt.end();
                std::process::exit(cause.exit().code().into());
            }
            interrupt.raise(cause);
            screen.write(Stream::Stderr, stopping);
        }
    };
    spawn_listener(listen)
}

fn spawn_listener(listen: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(listen)
        .map(drop)
        .map_err(|cause| no_signals(&cause))
}

fn no_signals(cause: &std::io::Error) -> Failure {
    Failure::new(ExitCode::Failed, "signals cannot be received").because(cause)
}

fn print_completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    Ok(print(&script))
}

fn print_man_page() -> Result<ExitCode, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|cause| Failure::new(ExitCode::Failed, "manual page").because(&cause))?;
    Ok(print(&page))
}

fn write_man_pages(directory: &std::path::Path) -> Result<ExitCode, Failure> {
    clap_mangen::generate_to(Cli::command(), directory).map_err(|cause| {
        let what = format!("manual pages in {}", directory.display());
        Failure::new(ExitCode::Failed, what).because(&cause)
    })?;
    Ok(ExitCode::Complete)
}

/// Prints to stdout; a reader that went away has seen what it wanted.
fn print(bytes: &[u8]) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_or_else(
            |cause| match cause.kind() {
                std::io::ErrorKind::BrokenPipe => ExitCode::Complete,
                _ => ExitCode::Failed,
            },
            |()| ExitCode::Complete,
        )
}

fn tell(failure: &Failure) -> ExitCode {
    let text = ui::failure_text(failure);
    // Where nobody listens the exit code still says it.
    std::io::stderr().write_all(text.as_bytes()).ok();
    failure.exit
}
