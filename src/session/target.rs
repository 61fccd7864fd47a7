//! The switch of a staged clone and what belongs to it, ordered from the agent. Knows nothing of
//! how any of it is done.

use std::path::Path;

use super::Session;
use super::orders::misplaced;
use crate::failure::Failure;
use crate::loader::{LoaderOrder, LoaderReport};
use crate::orders::{
    Answer, ConfirmOrder, DigestOrder, Digested, Order, SwitchOrder, TargetOrder, TargetState,
};
use crate::record::RecordCopy;
use crate::relpath::RelPath;
use crate::switch::{Freed, Switched};

fn order_for(root: &Path) -> TargetOrder {
    TargetOrder {
        root: root.to_owned(),
        dry_run: false,
    }
}

impl Session {
    /// Asks for the state of the system below `root` (absolute, on the target).
    pub fn status(&self, root: &Path) -> Result<TargetState, Failure> {
        match self.order(&Order::Status(order_for(root)))? {
            Answer::Status(state) => Ok(*state),
            _ => Err(misplaced()),
        }
    }

    /// Has a switch or rollback that was cut completed or taken back, whichever it is, and asks for
    /// the state then. What is staged stays.
    pub fn repair(&self, root: &Path) -> Result<TargetState, Failure> {
        match self.order(&Order::Repair(order_for(root)))? {
            Answer::Status(state) => Ok(*state),
            _ => Err(misplaced()),
        }
    }

    /// Lets the stage take its place, and has the machine boot right afterwards where it `reboots`.
    pub fn switch(&self, order: SwitchOrder) -> Result<Switched, Failure> {
        match self.order(&Order::Switch(order))? {
            Answer::Switched(switched) => Ok(switched),
            _ => Err(misplaced()),
        }
    }

    /// Has files below `root` read, and returns what each is by its contents.
    pub fn digests(
        &self,
        root: &Path,
        paths: &[RelPath],
    ) -> Result<Vec<Option<Digested>>, Failure> {
        let order = DigestOrder {
            root: root.to_owned(),
            paths: paths.to_vec(),
        };
        match self.order(&Order::Digests(order))? {
            Answer::Digests(found) if found.len() == paths.len() => Ok(found),
            _ => Err(misplaced()),
        }
    }

    /// Has made in the stage what a clone with the source's kernel boots by. Takes minutes.
    pub fn make_loader(&self, order: LoaderOrder) -> Result<LoaderReport, Failure> {
        match self.order(&Order::Loader(order))? {
            Answer::LoaderMade(report) => Ok(report),
            _ => Err(misplaced()),
        }
    }

    /// Frees what a switch replaced, or the stage where nothing was switched.
    pub fn discard(&self, root: &Path) -> Result<Freed, Failure> {
        match self.order(&Order::Discard(order_for(root)))? {
            Answer::Discarded(freed) => Ok(freed),
            _ => Err(misplaced()),
        }
    }

    /// Has the machine boot again, a moment after the answer. Where the source does not return with
    /// the run's key, that goes before.
    pub fn reboot(&self, returns: bool) -> Result<(), Failure> {
        self.order(&Order::Reboot { returns }).map(drop)
    }

    /// Says that the clone was reached: it stays, whatever becomes of the link. Returns its state.
    pub fn see(&self, root: &Path) -> Result<TargetState, Failure> {
        match self.order(&Order::See(order_for(root)))? {
            Answer::Status(state) => Ok(*state),
            _ => Err(misplaced()),
        }
    }

    /// Says that the clone was seen: what waits for that may go.
    ///
    /// The clone keeps `record`; returns why not, if it does not.
    pub fn confirm(
        &self,
        root: &Path,
        record: Option<RecordCopy>,
    ) -> Result<Option<String>, Failure> {
        let order = ConfirmOrder {
            target: order_for(root),
            record,
        };
        match self.order(&Order::Confirm(order))? {
            Answer::Confirmed(kept) => Ok(kept),
            _ => Err(misplaced()),
        }
    }
}
