//! Bars on a terminal: how far the pass is, what it sends, which path it is at.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use super::progress::Progress;
use super::screen::{Screen, Stream};
use super::{Outcome, Sink, escape, lines, plain, summary, units};
use crate::monitor::{Event, Stage};
use crate::settings::Detail;

/// Steps of the bar: finer than any terminal is wide.
const STEPS: u64 = 1000;
/// Width of a terminal that does not tell.
const DEFAULT_WIDTH: usize = 80;

/// Draws bars, and prints lines above them.
pub struct Terminal {
    screen: Screen,
    has_log: bool,
    drawing: Mutex<Drawing>,
}

struct Drawing {
    stage: Option<Stage>,
    head: ProgressBar,
    flow: ProgressBar,
    path: ProgressBar,
}

impl Terminal {
    /// Makes one; nothing is drawn before something happens.
    pub fn new(screen: &Screen, has_log: bool) -> Terminal {
        let line = || {
            let bar = ProgressBar::new(STEPS).with_style(style("{wide_msg}"));
            screen.bars().add(bar)
        };
        Terminal {
            drawing: Mutex::new(Drawing {
                stage: None,
                head: line(),
                flow: line(),
                path: line(),
            }),
            screen: screen.clone(),
            has_log,
        }
    }

    fn drawing(&self) -> MutexGuard<'_, Drawing> {
        self.drawing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Terminal {
    fn event(&self, event: &Event) {
        if let Event::StageStarted(stage) = event {
            self.drawing().stage = Some(*stage);
            return; // The head of the bars says it; a line for it would stay for ever.
        }
        let (detail, line) = lines::event(event);
        if detail <= Detail::Normal && !matches!(event, Event::PassStarted(_)) {
            self.screen.write(Stream::Stderr, &format!("{line}\n"));
        }
    }

    fn tick(&self, progress: &Progress) {
        self.drawing().draw(progress, width());
    }

    fn finish(&self, outcome: &Outcome) {
        {
            let drawing = self.drawing();
            for bar in [&drawing.head, &drawing.flow, &drawing.path] {
                bar.finish_and_clear();
            }
        }
        self.screen.bars().clear().ok(); // A terminal that went away has nothing to clear.
        let text = summary::for_screen(outcome, Detail::Normal, self.has_log);
        self.screen.write(Stream::Stderr, &text);
    }
}

impl Drawing {
    fn draw(&self, progress: &Progress, width: usize) {
        let Some(pass) = progress.pass else {
            let Some(stage) = self.stage else { return };
            let mut text = lines::stage(stage).to_owned();
            if progress.scanned_entries > 0 {
                text = format!("{text}: {}", plain::scanned(progress));
            }
            self.head.set_style(style("{spinner} {wide_msg}"));
            self.head.set_message(text);
            self.head.tick();
            self.flow.set_message("");
            self.path.set_message("");
            return;
        };
        let entries = units::count(progress.settled_entries);
        let bytes = units::bytes(progress.settled_bytes);
        self.head.set_prefix(pass.to_string());
        if let Some(fraction) = progress.fraction {
            self.head
                .set_style(style("{prefix} [{bar:20}] {percent:>2}% {wide_msg}"));
            self.head.set_position((fraction * STEPS as f64) as u64);
            self.head.set_message(format!(
                "{entries} of {} entries, {bytes} of {}",
                units::count(progress.scanned_entries),
                units::bytes(progress.scanned_bytes)
            ));
        } else {
            self.head.set_style(style("{prefix} {spinner} {wide_msg}"));
            self.head.set_message(format!(
                "{entries} entries, {bytes} ({})",
                plain::scanned(progress)
            ));
            self.head.tick();
        }
        self.flow
            .set_message(format!("  {}", plain::sent(progress)));
        let path = escape::name(&progress.current_path);
        let path = escape::shorten(&path, width.saturating_sub(3));
        self.path.set_message(format!("  {path}"));
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are fixed; a mistake in one shows the default bar.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
        .unwrap_or(DEFAULT_WIDTH)
}
