//! Questions on the terminal, with the bars out of the way. Ctrl-C ends a question without an
//! answer, and the terminal shows again what is typed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc::{Receiver, channel};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::escape;
use super::screen::Screen;
use crate::interrupt::Interrupt;
use crate::prompter::Prompter;

const TERMINAL: &str = "/dev/tty";

/// Asks at the controlling terminal.
pub struct TerminalPrompter {
    screen: Screen,
    interrupt: Interrupt,
    terminal: File,
    modes: Termios,
}

impl TerminalPrompter {
    /// Opens the terminal; `None` where the process has none.
    pub fn open(screen: &Screen, interrupt: &Interrupt) -> Option<TerminalPrompter> {
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .open(TERMINAL)
            .ok()?;
        Some(TerminalPrompter {
            screen: screen.clone(),
            interrupt: interrupt.clone(),
            modes: tcgetattr(&terminal).ok()?,
            terminal,
        })
    }

    /// Reads in a thread of its own, as a read from a terminal cannot be called off: when the
    /// run is interrupted the thread is left behind and the terminal's modes are put right.
    fn ask<Answer: Send + 'static>(
        &self,
        prompt: &str,
        read: impl FnOnce(&mut File) -> Option<Answer> + Send + 'static,
    ) -> Option<Answer> {
        if self.interrupt.is_raised() {
            return None;
        }
        let prompt = escape::lines(prompt);
        self.screen.aside(|| {
            let mut terminal = self.terminal.try_clone().ok()?;
            terminal.write_all(prompt.as_bytes()).ok()?;
            let (sender, answers) = channel();
            let interrupted = sender.clone();
            let _subscription = self.interrupt.subscribe(move || {
                interrupted.send(None).ok(); // The question may be answered already.
            });
            std::thread::Builder::new()
                .name("question".into())
                .spawn(move || sender.send(read(&mut terminal)))
                .ok()?;
            self.answer(&answers)
        })
    }

    fn answer<Answer>(&self, answers: &Receiver<Option<Answer>>) -> Option<Answer> {
        let answer = answers.recv().ok().flatten();
        if answer.is_none() {
            // The next line of output must not continue the question, nor echo stay off.
            tcsetattr(&self.terminal, OptionalActions::Now, &self.modes).ok();
            (&self.terminal).write_all(b"\n").ok();
        }
        answer
    }
}

impl Prompter for TerminalPrompter {
    fn confirm(&self, text: &str) -> Option<bool> {
        let mut prompt = format!("{text} [y/N] ");
        loop {
            let answer = self.ask(&prompt, read_line)?;
            match answer.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => return Some(true),
                "" | "n" | "no" => return Some(false),
                _ => prompt = "Please answer yes or no [y/N] ".into(),
            }
        }
    }

    fn secret(&self, prompt: &str) -> Option<Zeroizing<String>> {
        // rpassword wipes its own buffers; the prompt is written here, escaped.
        self.ask(prompt, |_| {
            rpassword::read_password().ok().map(Zeroizing::new)
        })
    }

    fn line(&self, prompt: &str) -> Option<String> {
        self.ask(prompt, read_line)
    }
}

/// Reads one line; `None` at the end of input. A terminal hands out one line at a time, so
/// nothing that was typed ahead is lost in the buffer.
fn read_line(terminal: &mut File) -> Option<String> {
    let mut line = String::new();
    let length = BufReader::new(terminal).read_line(&mut line).ok()?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    (length > 0).then(|| line.to_owned())
}
