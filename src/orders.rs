//! What the agent is ordered to do on its machine besides transfers, and what it answers. Knows
//! nothing of the wire.

use serde::{Deserialize, Serialize};

use crate::check;
use crate::cleanup;
use crate::failure::Failure;
use crate::prompter::NobodyThere;

/// One order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Clean up a machine that left Amazon.
    CleanUp(cleanup::Order),
    /// Check the stage of a clone.
    Check(check::CheckOrder),
}

/// What came of an order; each has its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Of a clean-up.
    CleanUp(cleanup::Report),
    /// Of a check.
    Checked(check::CheckReport),
}

impl Order {
    /// Carries it out, without a question.
    pub fn perform(&self) -> Result<Answer, Failure> {
        match self {
            Order::CleanUp(order) => {
                cleanup::perform(order, &NobodyThere, &cleanup::Unwatched).map(Answer::CleanUp)
            }
            Order::Check(order) => check::perform(order).map(Answer::Checked),
        }
    }
}
