//! Bars on a terminal: how far the pass is, what it sends, which path it is at.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use super::plan::{findings_text, plan_text};
use super::progress::Progress;
use super::screen::{Screen, Stream};
use super::summary::Extent;
use super::{Outcome, Sink, escape, lines, plain, summary, units};
use crate::monitor::{Event, Stage};
use crate::plan::Plan;
use crate::settings::Detail;

/// Steps of the bar: finer than any terminal is wide.
const STEPS: u64 = 1000;
/// Width of a terminal that does not tell.
const DEFAULT_WIDTH: usize = 80;

/// Draws bars, and prints lines above them.
pub struct Terminal {
    screen: Screen,
    extent: Extent,
    drawing: Mutex<Drawing>,
}

struct Drawing {
    stage: Option<Stage>,
    /// One bar with several lines: they are drawn together or not at all.
    bar: ProgressBar,
}

impl Terminal {
    /// Makes one; nothing is drawn before something happens.
    pub fn new(screen: &Screen, extent: Extent) -> Terminal {
        let bar = ProgressBar::new(STEPS)
            .with_style(style("{spinner} {msg}"))
            .with_message("starting");
        Terminal {
            drawing: Mutex::new(Drawing {
                stage: None,
                bar: screen.bars().add(bar),
            }),
            screen: screen.clone(),
            extent,
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

    fn plan(&self, plan: &Plan, whole: bool) {
        let text = if whole {
            plan_text(plan)
        } else {
            findings_text(plan, Detail::Normal)
        };
        self.screen.write(Stream::Stderr, &text);
    }

    fn tick(&self, progress: &Progress) {
        self.drawing().draw(progress, width());
    }

    fn finish(&self, outcome: &Outcome) {
        self.drawing().bar.finish_and_clear();
        self.screen.bars().clear().ok(); // A terminal that went away has nothing to clear.
        let text = summary::for_screen(outcome, Detail::Normal, self.extent);
        self.screen.write(Stream::Stderr, &text);
    }
}

impl Drawing {
    fn draw(&self, progress: &Progress, width: usize) {
        if let Some(waiting) = &progress.waiting {
            let line = format!("waiting for {}", plain::waited(waiting));
            self.show("{spinner} {msg}", &[line], width);
            return;
        }
        let (template, lines) = match (progress.pass, progress.fraction, self.stage) {
            (Some(pass), Some(fraction), _) => {
                self.bar.set_prefix(pass.to_string());
                self.bar.set_position((fraction * STEPS as f64) as u64);
                ("{prefix} [{bar:24}] {msg}", lines_of_pass(progress, width))
            }
            (Some(pass), None, _) => {
                self.bar.set_prefix(pass.to_string());
                ("{prefix} {spinner} {msg}", lines_of_pass(progress, width))
            }
            (None, _, Some(stage)) => {
                let mut lines = vec![lines::stage(stage).to_owned()];
                if progress.scanned_entries > 0 && stage == Stage::Transfer {
                    lines.push(format!("  {}", plain::scanned(progress)));
                }
                ("{spinner} {msg}", lines)
            }
            (None, _, None) => return,
        };
        self.show(template, &lines, width);
    }

    fn show(&self, template: &str, lines: &[String], width: usize) {
        let shown = width.saturating_sub(1);
        let lines = lines
            .iter()
            .map(|line| line.chars().take(shown).collect::<String>());
        self.bar.set_style(style(template));
        self.bar.set_message(lines.collect::<Vec<_>>().join("\n"));
        self.bar.tick();
    }
}

/// Returns the lines beside and below the bar: how far and how long, what is done, what was
/// sent, where it is.
fn lines_of_pass(progress: &Progress, width: usize) -> Vec<String> {
    let path = escape::name(&progress.current_path);
    let mut head = Vec::new();
    if let Some(fraction) = progress.fraction {
        head.push(format!("{:.0}%", (fraction * 100.0).floor()));
    }
    if let Some(remaining) = progress.remaining {
        head.push(format!("about {} to go", units::estimate(remaining)));
    }
    let mut lines = vec![
        head.join(", "),
        format!("  {}", plain::settled(progress)),
        format!("  {}", plain::sent(progress)),
        format!("  {}", escape::shorten(&path, width.saturating_sub(4))),
    ];
    if !progress.has_total {
        lines.insert(2, format!("  {}", plain::scanned(progress)));
    }
    lines
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{lines_of_pass, style};
    use crate::monitor::Pass;
    use crate::ui::progress::Progress;

    #[test]
    fn tells_how_far_what_and_where() {
        let mut progress = Progress {
            pass: Some(Pass::Checksum),
            has_total: true,
            scanned_entries: 2_000_000,
            scanned_bytes: 48 << 30,
            settled_entries: 1_234_567,
            settled_bytes: 31 << 30,
            body_bytes: 812 << 20,
            bytes_per_second: 21e6,
            fraction: Some(0.999),
            remaining: Some(Duration::from_secs(100)),
            current_path: b"srv/www/a\x1b[31mb/index.html".to_vec(),
            ..Progress::default()
        };
        assert_eq!(
            lines_of_pass(&progress, 30),
            [
                "99%, about 2 min to go",
                "  1,234,567 of 2,000,000 entries, 31.0 GiB of 48.0 GiB",
                "  sent 812 MiB at 20.0 MiB/s",
                "  …www/a\\x1b[31mb/index.html",
            ]
        );
        progress.has_total = false;
        progress.fraction = None;
        progress.remaining = None;
        let lines = lines_of_pass(&progress, 30);
        assert_eq!(lines[0], "");
        assert!(lines[2].starts_with("  so far 2,000,000 entries"));
    }

    #[test]
    fn the_templates_are_sound() {
        for template in [
            "{spinner} {msg}",
            "{prefix} {spinner} {msg}",
            "{prefix} [{bar:24}] {msg}",
        ] {
            assert!(indicatif::ProgressStyle::with_template(template).is_ok());
            style(template);
        }
    }
}
