//! What a person or a program sees of a run: bars, lines, JSON events, a log file, questions.
//!
//! One `Watch` takes the engine's events and counters and fans them out to sinks; a ticker
//! thread shows them the progress. Knows nothing of how a clone is done.

pub mod cleanup;
mod ending;
pub mod escape;
mod facts;
mod items;
pub mod json;
mod lines;
mod logfile;
mod page;
mod plain;
mod plan;
pub mod profiles;
mod progress;
mod prompt;
mod screen;
mod summary;
pub mod switch;
mod terminal;
mod watch;

use std::io::IsTerminal;
use std::sync::Arc;

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::monitor::{Event, Monitor};
use crate::plan::{Plan, Reader};
use crate::prompter::{NobodyThere, Prompter};
use crate::record::Journal;
use crate::report::Report;
use crate::settings::{Detail, OutputFormat, OutputSettings};
use crate::units;
pub use cleanup::CleanupLines;
pub use facts::facts_text;
use logfile::LaterLog;
pub use plan::plan_text;
use progress::Progress;
use prompt::TerminalPrompter;
pub use screen::{Screen, Stream};
use watch::{Ticker, Watch};

/// Whether the person may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Questions {
    /// If there is a terminal.
    Allowed,
    /// Not even then (`--yes`).
    Forbidden,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What happened up to the end.
    pub report: Report,
    /// What ended it before its time.
    pub failure: Option<Failure>,
    /// Whether nothing was changed because nothing was meant to be.
    pub dry_run: bool,
}

impl Outcome {
    /// Returns the code that the process ends with.
    pub fn exit(&self) -> ExitCode {
        match &self.failure {
            Some(failure) => failure.exit,
            None => self.report.exit_code(),
        }
    }
}

impl Journal for LaterLog {
    fn keep(&self, log: std::fs::File) {
        self.open(log);
    }
}

/// Takes what happens to one place: a terminal, a file, a program.
trait Sink: Send + Sync {
    /// Takes an event.
    fn event(&self, event: &Event);
    /// Takes the plan: the whole of it, or what stands against it.
    fn plan(&self, plan: &Plan, whole: bool);
    /// Takes the progress, a few times a second.
    fn tick(&self, progress: &Progress);
    /// Takes the end.
    fn finish(&self, outcome: &Outcome);
}

/// Everything that shows a run.
pub struct Ui {
    screen: Screen,
    watch: Arc<Watch>,
    ticker: Ticker,
    prompter: Arc<dyn Prompter>,
    run_log: Arc<LaterLog>,
}

impl Ui {
    /// Opens what the settings ask for; the log file is what can fail.
    pub fn start(
        settings: &OutputSettings,
        questions: Questions,
        interrupt: &Interrupt,
    ) -> Result<Ui, Failure> {
        let screen = Screen::new(bars_are_shown(settings));
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        let log = match &settings.log_file {
            Some(path) => Some(logfile::open(path)?),
            None => None,
        };
        if let Some(log) = &log {
            sinks.push(Box::new(plain::Plain::log(Box::new(log.clone()))));
        }
        let run_log = LaterLog::default();
        sinks.push(Box::new(plain::Plain::log(Box::new(run_log.clone()))));
        logfile::start_trace(settings.detail, &screen, log);
        match settings.format {
            OutputFormat::Json => sinks.push(Box::new(json::Json::stdout(settings.wants_items()))),
            OutputFormat::Human => push_human_sinks(&mut sinks, settings, &screen),
        }
        let watch = Arc::new(Watch::new(sinks));
        Ok(Ui {
            prompter: prompter(questions, &screen, interrupt),
            ticker: Ticker::start(Arc::clone(&watch)),
            run_log: Arc::new(run_log),
            screen,
            watch,
        })
    }

    /// Returns what the engine reports to.
    pub fn monitor(&self) -> Arc<dyn Monitor> {
        self.watch.clone()
    }

    /// Returns who writes the log of a run's record.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.run_log.clone()
    }

    /// Returns who is shown the plan.
    pub fn reader(&self) -> Arc<dyn Reader> {
        self.watch.clone()
    }

    /// Returns who asks the person.
    pub fn prompter(&self) -> Arc<dyn Prompter> {
        Arc::clone(&self.prompter)
    }

    /// Returns the terminal, for lines that are not about the run.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Ends the progress of what was no run.
    pub fn close(self) {
        self.ticker.stop();
    }

    /// Ends the progress and shows how the run ended.
    pub fn finish(self, outcome: &Outcome) {
        self.ticker.stop();
        self.watch.finish(outcome);
        if let Some(failure) = &outcome.failure {
            self.screen.write(Stream::Stderr, &failure_text(failure));
        }
    }
}

/// Returns the lines that tell of a failure.
pub fn failure_text(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", escape::lines(&failure.to_string()));
    for hint in &failure.hints {
        text.push_str(&format!("hint: {}\n", escape::text(hint)));
    }
    text
}

fn push_human_sinks(sinks: &mut Vec<Box<dyn Sink>>, settings: &OutputSettings, screen: &Screen) {
    if settings.items_to_stdout {
        sinks.push(Box::new(items::ItemList::new(screen, Stream::Stdout)));
    } else if settings.detail >= Detail::Items {
        sinks.push(Box::new(items::ItemList::new(screen, Stream::Stderr)));
    }
    let extent = summary::Extent {
        has_log: settings.log_file.is_some(),
        tells_spent: settings.detail >= Detail::Trace,
    };
    if screen.shows_bars() {
        sinks.push(Box::new(terminal::Terminal::new(screen, extent)));
    } else {
        let writer = Box::new(screen.writer(Stream::Stderr));
        sinks.push(Box::new(plain::Plain::screen(
            writer,
            settings.detail,
            extent,
        )));
    }
}

fn bars_are_shown(settings: &OutputSettings) -> bool {
    settings.format == OutputFormat::Human
        && settings.detail > Detail::Quiet
        && settings.redraws
        && std::io::stderr().is_terminal()
}

fn prompter(questions: Questions, screen: &Screen, interrupt: &Interrupt) -> Arc<dyn Prompter> {
    let is_attended = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    match questions {
        Questions::Allowed if is_attended => TerminalPrompter::open(screen, interrupt)
            .map_or(Arc::new(NobodyThere), |prompter| Arc::new(prompter) as _),
        Questions::Allowed | Questions::Forbidden => Arc::new(NobodyThere),
    }
}
