//! Orders to the agent that are no transfer: one message down, one answer up. Knows nothing of what
//! they do.

use super::Session;
use crate::check::{CheckOrder, CheckReport};
use crate::cleanup;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::orders::{Answer, Order};
use crate::transfer::wire::message::{Down, Refusal, Up};

impl Session {
    /// Has `order` carried out on the target, without a question. WIRE[order]
    pub fn order(&self, order: &Order) -> Result<Answer, Failure> {
        let failed = |what: &str, error: &serde_json::Error| {
            Failure::new(ExitCode::Link, what).because(error)
        };
        let order =
            serde_json::to_vec(order).map_err(|error| failed("source: an order", &error))?;
        let sent = self.link.out.send_with(&Down::Order, &order);
        self.answer_to(sent, |message, body| match message {
            Up::Ordered(Ok(())) => Some(
                serde_json::from_slice(body)
                    .map_err(|error| failed("target: the answer to an order", &error)),
            ),
            Up::Ordered(Err(refusal)) => Some(Err(failure_of(refusal))),
            _ => None,
        })?
    }

    /// Has the target cleaned up.
    pub fn clean_up(&self, order: &cleanup::Order) -> Result<cleanup::Report, Failure> {
        match self.order(&Order::CleanUp(order.clone()))? {
            Answer::CleanUp(report) => Ok(report),
            _ => Err(misplaced()),
        }
    }

    /// Has the stage of a clone checked.
    pub fn check(&self, order: &CheckOrder) -> Result<CheckReport, Failure> {
        match self.order(&Order::Check(order.clone()))? {
            Answer::Checked(report) => Ok(report),
            _ => Err(misplaced()),
        }
    }
}

/// Returns the failure of an answer to something else.
pub fn misplaced() -> Failure {
    Failure::new(ExitCode::Link, "target: the answer to another order")
}

fn failure_of(refusal: Refusal) -> Failure {
    let exit = match refusal.is_refused {
        true => ExitCode::Refused,
        false => ExitCode::Failed,
    };
    let failure = Failure::new(exit, format!("target: {}", refusal.text));
    refusal.hints.into_iter().fold(failure, Failure::hint)
}
