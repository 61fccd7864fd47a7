//! A clean-up of the other machine: an order to the agent, one report. Knows nothing of what is
//! cleaned.

use super::Session;
use crate::cleanup::{Order, Report};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::transfer::TransferError;
use crate::transfer::wire::frame::FrameError;
use crate::transfer::wire::message::{Down, Up};

impl Session {
    /// Has `order` carried out on the target, without a question. WIRE[clean-up]
    pub fn clean_up(&self, order: &Order) -> Result<Report, Failure> {
        let lost = |error: TransferError| Failure::of(ExitCode::Link, &error);
        let failed = |what: &str, error: &serde_json::Error| {
            Failure::new(ExitCode::Link, what).because(error)
        };
        let order = serde_json::to_vec(order)
            .map_err(|error| failed("source: the order to clean up", &error))?;
        self.give(&order).map_err(lost)?;
        loop {
            let frame = self.link.next().map_err(|error| lost(error.into()))?;
            let message = frame
                .message()
                .map_err(|error: FrameError| lost(error.into()))?;
            match message {
                Up::CleanedUp(Ok(())) => {
                    return serde_json::from_slice(frame.body())
                        .map_err(|error| failed("target: the report of the clean-up", &error));
                }
                Up::CleanedUp(Err(refusal)) => {
                    let exit = match refusal.is_refused {
                        true => ExitCode::Refused,
                        false => ExitCode::Failed,
                    };
                    let failure = Failure::new(exit, format!("target: {}", refusal.text));
                    return Err(refusal.hints.into_iter().fold(failure, Failure::hint));
                }
                _ => {} // A heartbeat.
            }
        }
    }

    fn give(&self, order: &[u8]) -> Result<(), TransferError> {
        let mut frame = self.link.out.builder(&Down::CleanUp, order.len())?;
        frame.body().extend_from_slice(order);
        Ok(self.link.out.send_built(frame)?)
    }
}
