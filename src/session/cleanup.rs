//! A clean-up of the other machine: an order to the agent, one report. Knows nothing of what is
//! cleaned.

use super::{Session, lost};
use crate::cleanup::{Order, Report};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::transfer::wire::message::{Down, Refusal, Up};

impl Session {
    /// Has `order` carried out on the target, without a question. WIRE[clean-up]
    pub fn clean_up(&self, order: &Order) -> Result<Report, Failure> {
        let failed = |what: &str, error: &serde_json::Error| {
            Failure::new(ExitCode::Link, what).because(error)
        };
        let order = serde_json::to_vec(order)
            .map_err(|error| failed("source: the order to clean up", &error))?;
        let sent = self.link.out.send_with(&Down::CleanUp, &order);
        sent.map_err(|error| lost(&error.into()))?;
        let answer = self.answer(|message, body| match message {
            Up::CleanedUp(Ok(())) => Some(
                serde_json::from_slice(body)
                    .map_err(|error| failed("target: the report of the clean-up", &error)),
            ),
            Up::CleanedUp(Err(refusal)) => Some(Err(failure_of(refusal))),
            _ => None,
        });
        answer.map_err(|error| lost(&error))?
    }
}

fn failure_of(refusal: Refusal) -> Failure {
    let exit = match refusal.is_refused {
        true => ExitCode::Refused,
        false => ExitCode::Failed,
    };
    let failure = Failure::new(exit, format!("target: {}", refusal.text));
    refusal.hints.into_iter().fold(failure, Failure::hint)
}
