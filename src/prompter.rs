//! Questions to the person at the terminal. Who implements it decides how; nobody else prompts.

use zeroize::Zeroizing;

/// Asks the person. Each answer is `None` where nobody can answer: no terminal, `--yes`, or
/// end of input.
pub trait Prompter: Send + Sync {
    /// Tells whether anybody can answer.
    fn is_attended(&self) -> bool {
        true
    }
    /// Shows `text` and asks a yes-or-no question; no is the default.
    fn confirm(&self, text: &str) -> Option<bool>;
    /// Asks for a secret without echo.
    fn secret(&self, prompt: &str) -> Option<Zeroizing<String>>;
    /// Asks for a line with echo.
    fn line(&self, prompt: &str) -> Option<String>;
}

/// Nobody is there: every question stays open.
pub struct NobodyThere;

impl Prompter for NobodyThere {
    fn is_attended(&self) -> bool {
        false
    }

    fn confirm(&self, _text: &str) -> Option<bool> {
        None
    }

    fn secret(&self, _prompt: &str) -> Option<Zeroizing<String>> {
        None
    }

    fn line(&self, _prompt: &str) -> Option<String> {
        None
    }
}
