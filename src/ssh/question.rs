//! Questions from the thread of a connection to the thread that opens it, which has the person.
//!
//! Knows nothing of SSH.

use std::sync::mpsc;

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::prompter::Prompter;

/// A question on its way, with the place for its answer.
pub(super) enum Question {
    Confirm(String, oneshot::Sender<Option<bool>>),
    Secret(String, oneshot::Sender<Option<Zeroizing<String>>>),
    Line(String, oneshot::Sender<Option<String>>),
}

impl Question {
    /// Puts it to the person and sends the answer back.
    pub fn answer_by(self, prompter: &dyn Prompter) {
        // Nobody waits for the answer any more when the connection broke meanwhile.
        match self {
            Question::Confirm(text, answer) => {
                answer.send(prompter.confirm(&text)).unwrap_or_default();
            }
            Question::Secret(text, answer) => {
                answer.send(prompter.secret(&text)).unwrap_or_default();
            }
            Question::Line(text, answer) => {
                answer.send(prompter.line(&text)).unwrap_or_default();
            }
        }
    }
}

/// What the thread of a connection tells the one that opens it.
pub(super) enum Event<T> {
    Question(Question),
    Opened(T),
}

/// Asks from within the thread of a connection. Without anybody there, every answer is `None`.
pub(super) struct Asker<T>(pub mpsc::Sender<Event<T>>);

impl<T> Clone for Asker<T> {
    fn clone(&self) -> Self {
        Asker(self.0.clone())
    }
}

impl<T> Asker<T> {
    pub async fn confirm(&self, text: String) -> Option<bool> {
        self.ask(|answer| Question::Confirm(text, answer)).await
    }

    pub async fn secret(&self, prompt: String) -> Option<Zeroizing<String>> {
        self.ask(|answer| Question::Secret(prompt, answer)).await
    }

    pub async fn line(&self, prompt: String) -> Option<String> {
        self.ask(|answer| Question::Line(prompt, answer)).await
    }

    async fn ask<A>(
        &self,
        question: impl FnOnce(oneshot::Sender<Option<A>>) -> Question,
    ) -> Option<A> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Event::Question(question(answer))).ok()?;
        answered.await.ok()?
    }
}
