//! The terminal that bars, lines and questions share: whoever writes moves the bars aside.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: what the person asked for.
    Stdout,
    /// Standard error: everything about it.
    Stderr,
}

/// The terminal. Cheap to clone.
#[derive(Clone)]
pub struct Screen {
    bars: MultiProgress,
    shows_bars: bool,
}

impl Screen {
    /// Makes it, with room for bars on stderr or without.
    pub fn new(shows_bars: bool) -> Screen {
        let target = if shows_bars {
            // LIMIT: above the rate of the ticker, which is what decides.
            ProgressDrawTarget::stderr_with_hz(20)
        } else {
            ProgressDrawTarget::hidden()
        };
        Screen {
            bars: MultiProgress::with_draw_target(target),
            shows_bars,
        }
    }

    /// Tells whether bars are drawn.
    pub fn shows_bars(&self) -> bool {
        self.shows_bars
    }

    /// Returns the place for bars.
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Runs `action` while the bars are out of the way.
    pub fn aside<Outcome>(&self, action: impl FnOnce() -> Outcome) -> Outcome {
        self.bars.suspend(action)
    }

    /// Writes text. A reader that went away is not an error, and there is nowhere to tell of
    /// any other.
    pub fn write(&self, stream: Stream, text: &str) {
        self.write_bytes(stream, text.as_bytes());
    }

    fn write_bytes(&self, stream: Stream, bytes: &[u8]) {
        let outcome = match stream {
            Stream::Stdout if !std::io::stdout().is_terminal() => write_to(stream, bytes),
            Stream::Stdout | Stream::Stderr => self.aside(|| write_to(stream, bytes)),
        };
        outcome.ok();
    }

    /// Returns a writer onto the screen, for whole lines.
    pub fn writer(&self, stream: Stream) -> ScreenWriter {
        ScreenWriter {
            screen: self.clone(),
            stream,
        }
    }
}

fn write_to(stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        Stream::Stderr => std::io::stderr().lock().write_all(bytes),
    }
}

/// Writes onto the screen; each call should hold whole lines.
pub struct ScreenWriter {
    screen: Screen,
    stream: Stream,
}

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.screen.write_bytes(self.stream, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
