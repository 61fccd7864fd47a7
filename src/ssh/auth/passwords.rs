//! Logging in by password: as such, or as the answer to what the target asks.
//!
//! Knows nothing of keys.

use russh::client::{KeyboardInteractiveAuthResponse, Prompt};
use zeroize::Zeroizing;

use super::super::clean::clean_text;
use super::super::error::SshError;
use super::{ASK_LIMIT, Login, Outcome};

/// How many keyboard-interactive rounds are played before it counts as refused.
const ROUND_LIMIT: u32 = 10;

impl Login<'_> {
    pub(super) async fn try_passwords(&mut self) -> Result<Outcome, SshError> {
        if let Some(password) = &self.settings.password {
            let outcome = self.try_password(password).await?;
            self.password_refused = matches!(outcome, Outcome::Refused);
            if !self.password_refused {
                return Ok(outcome);
            }
        }
        while self.asked < ASK_LIMIT {
            let prompt = format!("Password of {} on the target: ", self.user);
            let Some(password) = self.asker.secret(prompt).await else {
                if self.settings.password.is_none() {
                    self.tried.push("password: none given".to_owned());
                }
                break;
            };
            self.asked += 1;
            let outcome = self.try_password(&password).await?;
            if !matches!(outcome, Outcome::Refused) {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Refused)
    }

    async fn try_password(&mut self, password: &Zeroizing<String>) -> Result<Outcome, SshError> {
        // The library wipes its copy after use.
        let result = self
            .handle
            .authenticate_password(self.user, password.as_str())
            .await;
        let outcome = self.judge(result)?;
        self.note("password", &outcome);
        Ok(outcome)
    }

    /// Keyboard-interactive: the target asks, often for the same password.
    pub(super) async fn try_questions(&mut self) -> Result<Outcome, SshError> {
        let mut given = self
            .settings
            .password
            .clone()
            .filter(|_| !self.password_refused);
        loop {
            let before = (given.is_some(), self.asked);
            let outcome = self.play_rounds(&mut given).await?;
            // A target that refuses without a question would do so again.
            let was_asked = before != (given.is_some(), self.asked);
            if !matches!(outcome, Outcome::Refused) || !was_asked || self.asked >= ASK_LIMIT {
                return Ok(outcome);
            }
        }
    }

    /// A question that stays without an answer ends the login: the library waits for the answer and
    /// hears of nothing else (0.65.1).
    fn unanswered(&mut self, why: &str) -> SshError {
        self.tried.push(format!("keyboard-interactive: {why}"));
        self.refused()
    }

    /// Answers what the target asks until it decides.
    async fn play_rounds(
        &mut self,
        given: &mut Option<Zeroizing<String>>,
    ) -> Result<Outcome, SshError> {
        let mut response = self
            .handle
            .authenticate_keyboard_interactive_start(self.user, None)
            .await;
        for _ in 0..ROUND_LIMIT {
            let (instructions, prompts) = match response {
                Ok(KeyboardInteractiveAuthResponse::InfoRequest {
                    instructions,
                    prompts,
                    ..
                }) => (instructions, prompts),
                Ok(KeyboardInteractiveAuthResponse::Success) => {
                    self.note("keyboard-interactive", &Outcome::Accepted);
                    return Ok(Outcome::Accepted);
                }
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                }) => {
                    let outcome = self.note_refusal(remaining_methods, partial_success)?;
                    self.note("keyboard-interactive", &outcome);
                    return Ok(outcome);
                }
                Err(_) => return Err(self.ended()),
            };
            let mut answers = Vec::new();
            for prompt in &prompts {
                let Some(answer) = self.answer(&instructions, prompt, given).await else {
                    return Err(self.unanswered("nobody to answer"));
                };
                answers.push(answer.as_str().to_owned());
            }
            response = self
                .handle
                .authenticate_keyboard_interactive_respond(answers)
                .await;
        }
        Err(self.unanswered("it asks without end"))
    }

    async fn answer(
        &mut self,
        instructions: &str,
        prompt: &Prompt,
        given: &mut Option<Zeroizing<String>>,
    ) -> Option<Zeroizing<String>> {
        if is_password_prompt(prompt)
            && let Some(password) = given.take()
        {
            return Some(password);
        }
        let mut text = clean_text(instructions.as_bytes());
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&clean_text(prompt.prompt.as_bytes()));
        text.push(' ');
        let answer = if prompt.echo {
            self.asker.line(text).await.map(Zeroizing::new)
        } else {
            self.asker.secret(text).await
        };
        self.asked += u32::from(answer.is_some());
        answer
    }
}

fn is_password_prompt(prompt: &Prompt) -> bool {
    !prompt.echo && prompt.prompt.to_lowercase().contains("password")
}
