//! How a large file ends on the target: published, asked for once more, or reported. Knows
//! nothing of how its bytes were written.

use std::sync::{Arc, Mutex};

use super::TransferError;
use super::large::{BasisPlan, LargeLanding, Verified};
use super::settle::OpenListing;
use super::target::{TargetPass, lock};
use super::wire::message::{Digest, Outcome, WantId};
use crate::entry::Entry;
use crate::fs::{FsError, Result};
use crate::problem::{Problem, ProblemKind, Side};

impl TargetPass<'_> {
    /// Ends one large file: publishes it, or says why not.
    pub fn end_large(
        &self,
        want: WantId,
        outcome: &Outcome,
        digest: &Digest,
    ) -> std::result::Result<(), TransferError> {
        let open = self
            .tracker
            .get(want.seq)
            .filter(|open| open.answer(want.index));
        let open = open.ok_or(TransferError::Protocol("a file that nobody asked for"))?;
        let landing = self.landing(&open, want);
        lock(&self.large).remove(&want);
        let mut landing = lock(&landing);
        if landing.plan.needs_sums() {
            self.budget.end(want);
        }
        let landed = match outcome {
            Outcome::Whole {
                size,
                mtime,
                churned,
            } => {
                self.note_churn(&open, want.index, *churned);
                landing.publish(self, *size, *mtime, digest)
            }
            Outcome::Same => self.publish_same(&open, &mut landing, want.index, digest),
            Outcome::Differs => {
                self.would_land(&open, want.index);
                Ok(Verified::Equal)
            }
            Outcome::Failed {
                kind,
                operation,
                cause,
            } => {
                self.source_failed(&open, want.index, *kind, (operation, cause));
                landing.discard();
                if landing.has_torn && self.is_left_as_it_is(*kind) {
                    self.report_torn(&open, want.index);
                }
                Ok(Verified::Equal)
            }
        };
        let again = self.conclude(&open, &mut landing, want.index, landed);
        if again {
            return self.want_again(&open, want.index, landing.has_torn);
        }
        self.settle_one(&open);
        Ok(())
    }

    /// Tells whether no later pass of the run makes up for a file that ended in `kind`: it lists a
    /// file that has changed again, and removes one that is gone if it removes anything.
    fn is_left_as_it_is(&self, kind: ProblemKind) -> bool {
        let is_gone = kind == ProblemKind::Vanished;
        self.is_last || (is_gone && self.tree.policy.delete_limit.is_none())
    }

    fn report_torn(&self, open: &OpenListing, index: u32) {
        if let Some(entry) = open.entry(index) {
            self.problem(Problem {
                side: Side::Target,
                kind: ProblemKind::Failed,
                path: open.path_of(entry).as_bytes().to_vec(),
                operation: "patch in place".to_owned(),
                cause: "the source's could not be read to its end: what is there is neither the old file nor the new one"
                    .to_owned(),
            });
        }
    }

    /// Nothing was sent: what is there is what was read. A partial file may be complete so.
    fn publish_same(
        &self,
        open: &Arc<OpenListing>,
        landing: &mut LargeLanding,
        index: u32,
        digest: &Digest,
    ) -> Result<Verified> {
        match (landing.plan, open.entry(index)) {
            (BasisPlan::Partial { grid }, Some(entry)) => {
                landing.publish(self, grid.size, entry.metadata.mtime, digest)
            }
            // LIVE: another file has taken the name on the target since it was compared.
            (plan, Some(entry)) if !self.is_still(open, entry, plan)? => Ok(Verified::Differs),
            // The sums alone are too short to swear by.
            (BasisPlan::Existing { .. }, _) if !landing.basis_is(digest) => Ok(Verified::Differs),
            _ => self
                .contents_are_same(open, index)
                .map(|()| Verified::Equal),
        }
    }

    fn is_still(&self, open: &OpenListing, entry: &Entry, plan: BasisPlan) -> Result<bool> {
        if self.open(&open.directory.path)?.is_none() {
            return Ok(true);
        }
        let found = self.find_again(open, entry)?;
        let found = found.ok_or_else(|| FsError::missing("stat"))?;
        Ok(plan.id().is_none_or(|id| id == found.id) && found.kind == entry.kind)
    }

    /// Reports what went wrong; tells whether to ask again.
    fn conclude(
        &self,
        open: &Arc<OpenListing>,
        landing: &mut LargeLanding,
        index: u32,
        landed: Result<Verified>,
    ) -> bool {
        let Some(entry) = open.entry(index) else {
            return false;
        };
        let path = open.path_of(entry);
        let failed = match landed {
            Ok(Verified::Equal) => false,
            Ok(Verified::Differs) if !landing.is_second_attempt => {
                landing.discard();
                return true;
            }
            Ok(Verified::Differs) => {
                self.problem(Problem {
                    side: Side::Target,
                    kind: ProblemKind::Mismatch,
                    path: path.as_bytes().to_vec(),
                    operation: "verify".to_owned(),
                    cause: "what landed is not what was read".to_owned(),
                });
                true
            }
            Err(error) => {
                self.failed(&path, &error);
                true
            }
        };
        landing.discard();
        if failed {
            self.leader_failed(open, index);
        }
        false
    }

    /// Finds the landing that bytes belong to.
    pub fn landing_of(
        &self,
        want: WantId,
    ) -> std::result::Result<Arc<Mutex<LargeLanding>>, TransferError> {
        let open = self
            .tracker
            .get(want.seq)
            .filter(|open| open.is_wanted(want.index));
        let open = open.ok_or(TransferError::Protocol("bytes that nobody asked for"))?;
        Ok(self.landing(&open, want))
    }

    /// Returns the landing of a wanted file; for a small one that has grown it begins here.
    fn landing(&self, open: &Arc<OpenListing>, want: WantId) -> Arc<Mutex<LargeLanding>> {
        let mut large = lock(&self.large);
        let landing = large.entry(want).or_insert_with(|| {
            let open = Arc::clone(open);
            Arc::new(Mutex::new(LargeLanding::new(
                open,
                want.index,
                BasisPlan::Nothing,
                &self.tree.key,
            )))
        });
        Arc::clone(landing)
    }
}
