//! What the agent is ordered to do on its machine besides transfers, and what it answers. Knows
//! nothing of the wire.

mod clone_note;
mod digests;
mod target;

use serde::{Deserialize, Serialize};

use crate::check;
use crate::cleanup;
use crate::failure::Failure;
use crate::loader::{LoaderOrder, LoaderReport};
use crate::prompter::NobodyThere;
use crate::switch::{Freed, Switched};
pub use digests::{DigestOrder, Digested, digest_of};
pub use target::{
    ConfirmOrder, RollbackOrder, RolledBack, SwitchOrder, TakenBack, TargetOrder, TargetState,
    guard,
};

/// One order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Clean up a machine that left Amazon.
    CleanUp(cleanup::Order),
    /// Let the stage take its place.
    Switch(SwitchOrder),
    /// Put back what the switch replaced.
    Rollback(RollbackOrder),
    /// Free what was replaced, or the stage where nothing was.
    Discard(TargetOrder),
    /// Complete or take back a switch or rollback that was cut, and nothing more. Answered like
    /// `Status`.
    Repair(TargetOrder),
    /// Tell what state the target is in.
    Status(TargetOrder),
    /// The source has reached the clone, which is on probation no more. Answered like `Status`.
    See(TargetOrder),
    /// Boot the machine again, in 2 s.
    Reboot {
        /// Whether the source comes back with the run's key; else that goes now.
        returns: bool,
    },
    /// The source has seen the clone: what waits for that may go.
    Confirm(ConfirmOrder),
    /// Check the stage of a clone.
    Check(check::CheckOrder),
    /// Read files and tell what they are by their contents.
    Digests(DigestOrder),
    /// Make in the stage what a clone with the source's kernel boots by.
    Loader(LoaderOrder),
}

/// What came of an order; each has its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// Of a clean-up.
    CleanUp(cleanup::Report),
    /// Of a switch.
    Switched(Switched),
    /// Of a rollback.
    RolledBack(RolledBack),
    /// Of a discard.
    Discarded(Freed),
    /// Of a look.
    Status(Box<TargetState>),
    /// Of what has nothing to tell.
    Done,
    /// Of a confirmation: why the record of the run is not kept there, if it is not.
    Confirmed(Option<String>),
    /// Of a check.
    Checked(check::CheckReport),
    /// Of reading files, in their order; `None` for one that is not there.
    Digests(Vec<Option<Digested>>),
    /// Of making what the clone boots by.
    LoaderMade(LoaderReport),
}

impl Order {
    /// Tells whether the machine boots again after it.
    pub fn reboots(&self) -> bool {
        match self {
            Order::Switch(order) => order.reboots,
            order => matches!(order, Order::Reboot { .. }),
        }
    }

    /// Tells whether somebody takes the run's key out after the boot that follows it: the source,
    /// which comes back with it, or the clone after a switch.
    pub fn leaves_key(&self) -> bool {
        match self {
            Order::Reboot { returns } => *returns,
            order => order.reboots(),
        }
    }

    /// Carries it out, without a question.
    pub fn perform(&self) -> Result<Answer, Failure> {
        match self {
            Order::CleanUp(order) => {
                cleanup::perform(order, &NobodyThere, &cleanup::Unwatched).map(Answer::CleanUp)
            }
            Order::Switch(order) => target::switch_over(order).map(Answer::Switched),
            Order::Rollback(order) => target::roll_back(order).map(Answer::RolledBack),
            Order::Discard(order) => target::discard_rest(order).map(Answer::Discarded),
            Order::Repair(order) => target::repair_cut(order).map(Box::new).map(Answer::Status),
            Order::Status(order) => target::look(order).map(Box::new).map(Answer::Status),
            Order::See(order) => target::see(order).map(Box::new).map(Answer::Status),
            Order::Reboot { .. } => target::reboot().map(|()| Answer::Done),
            Order::Confirm(order) => target::confirm(order).map(Answer::Confirmed),
            Order::Check(order) => check::perform(order).map(Answer::Checked),
            Order::Digests(order) => digests::perform(order).map(Answer::Digests),
            Order::Loader(order) => target::make_loader(order).map(Answer::LoaderMade),
        }
    }
}
