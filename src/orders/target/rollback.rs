//! The way back, as the target goes it. Knows nothing of who orders it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::kernels::bring_modules;
use super::package_locks::{PATIENCE, PackageLocks};
use super::settle::{note_rollback, remove_run_key, settle, settle_units};
use super::{TargetOrder, failed, is_running, lock, open, reboot, refused, relative};
use crate::boot::{Stillness, arm, boot_id, forget_booted, live_tree, place_program, side_tree};
use crate::failure::Failure;
use crate::fs::reserve::{remove_reserve, with_reserve};
use crate::fs::staged::PREVIOUS_NAME;
use crate::fs::{Dir, FsError};
use crate::relpath::RelPath;
use crate::switch::{Gate, Memo, Repaired, State, SwitchError, Switched, memo, rollback, status};

/// How to go back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RollbackOrder {
    /// Which target.
    pub target: TargetOrder,
    /// Whether the machine boots again right afterwards, where it runs the clone.
    pub reboots: bool,
}

/// A rollback that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RolledBack {
    /// How many names were put back. 0 where a cut switch was taken back instead.
    pub names: u64,
    /// From the first exchange to the last, in microseconds.
    pub elapsed_us: u64,
    /// Whether the machine runs what is no longer live.
    pub needs_reboot: bool,
}

/// Puts back what was replaced, or takes back what was cut.
pub(in crate::orders) fn roll_back(order: &RollbackOrder) -> Result<RolledBack, Failure> {
    let root = &order.target.root;
    let live = open(root)?;
    lock(&live)?;
    let before = status(&live).map_err(|error| refused(&error))?;
    if order.target.dry_run {
        return would_roll_back(&before, root);
    }
    let cut = memo(&live).map_err(|error| refused(&error))?;
    let repaired = settle(&live)?;
    let state = status(&live).map_err(|error| refused(&error))?;
    let State::Switched { memo, volumes, .. } = state else {
        return match repaired {
            Repaired::Nothing => Err(refused(&SwitchError::NotSwitched)),
            // What was cut is gone: that is what was asked for.
            Repaired::Completed | Repaired::TakenBack => {
                remove_run_key(root, cut.as_ref())?;
                if order.reboots && is_running(root) {
                    reboot()?;
                }
                Ok(RolledBack {
                    names: 0,
                    elapsed_us: 0,
                    needs_reboot: is_running(root),
                })
            }
        };
    };
    let locks = PackageLocks::take(&live, PATIENCE)?;
    let volumes = relative(&volumes);
    let way = (order.reboots, Some(locks));
    let back = go_back(root, &live, (&memo, &volumes), way, || {})?;
    if order.reboots && back.done.needs_reboot {
        reboot()?;
    }
    back.tidied.map(|()| back.done)
}

/// What came of a way back.
pub(super) struct Back {
    /// What was done.
    pub(super) done: RolledBack,
    /// Whether notes, units and key are gone as well.
    pub(super) tidied: Result<(), Failure>,
}

/// Puts back what was replaced. Where the machine `reboots` right afterwards, nothing of the clone
/// that runs writes any more, and `at_rest` is called then.
pub(super) fn go_back(
    root: &Path,
    live: &Dir,
    (memo, volumes): (&Memo, &[RelPath]),
    (reboots, locks): (bool, Option<PackageLocks>),
    at_rest: impl FnOnce(),
) -> Result<Back, Failure> {
    let has_booted = memo.boot_id != boot_id();
    // What the clone's programs have in memory must not come into the tree that comes back.
    let stillness = (reboots && has_booted && is_running(root)).then(Stillness::hold);
    // ORDER: before anything is written: who has filled the disk would fill the reserve as well.
    at_rest();
    if has_booted {
        note_rollback(live)?;
    }
    let done = exchange_back(root, live, volumes)?;
    // ORDER: before anything else can fail: they would write into what is live now.
    if let Some(stillness) = stillness {
        stillness.keep();
        if let Some(locks) = locks {
            locks.keep();
        }
    }
    Ok(Back {
        done: RolledBack {
            names: done.names,
            elapsed_us: done.elapsed_us,
            needs_reboot: is_running(root) && has_booted,
        },
        tidied: tidy_up(root, live, (memo, volumes)),
    })
}

fn tidy_up(root: &Path, live: &Dir, (memo, volumes): (&Memo, &[RelPath])) -> Result<(), Failure> {
    // ORDER: its room is for what follows.
    drop(remove_reserve(live));
    let key_removed = remove_run_key(root, Some(memo));
    let settled = settle_units(live, volumes);
    // ORDER: a guard takes a clone with a one-shot and without a note for one that nobody noted.
    let forgotten = forget_booted(live);
    let synced = live.sync_file_system().map_err(|error| failed(&error));
    key_removed.and(settled).and(forgotten).and(synced)
}

fn exchange_back(root: &Path, live: &Dir, volumes: &[RelPath]) -> Result<Switched, Failure> {
    bring_modules(root, live, volumes)?;
    let place = || {
        place_program(live)?;
        arm(&side_tree(live, volumes, PREVIOUS_NAME)?, volumes)?;
        arm(&live_tree(live)?, volumes).map(drop)
    };
    let placed = with_reserve(live, FsError::is_no_space, place).map_err(|error| failed(&error));
    let done = placed.and_then(|()| rollback(live, &Gate::open()).map_err(|error| refused(&error)));
    if done.is_err() {
        drop(settle_units(live, volumes));
    }
    done
}

fn would_roll_back(state: &State, root: &Path) -> Result<RolledBack, Failure> {
    let (names, needs_reboot) = match state {
        State::Switched { names, memo, .. } => (*names, memo.boot_id != boot_id()),
        State::Interrupted { .. } => (0, true),
        State::Discarding => return Err(refused(&SwitchError::Discarding)),
        State::Nothing | State::Staging | State::Staged => {
            return Err(refused(&SwitchError::NotSwitched));
        }
    };
    Ok(RolledBack {
        names,
        elapsed_us: 0,
        needs_reboot: needs_reboot && is_running(root),
    })
}
