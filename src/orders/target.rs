//! Orders about the switch, as the target carries them out: with the lock on its root, what was
//! cut repaired first, and the one-shot for the next boot in place while there is danger.
//!
//! Knows nothing of who gives them.

mod guard;
mod kernels;
mod loader;
mod package_locks;
mod rollback;
mod settle;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clone_note;
use crate::boot::{
    self, Booted, MachineState, Stillness, arm, boot_id, disarm_live, forget_booted, is_booted,
    live_tree, place_program, side_tree,
};
use crate::distro::gather;
use crate::exit::ExitCode;
use crate::facts::MountKind;
use crate::failure::Failure;
use crate::fs::reserve::place_reserve;
use crate::fs::staged::{CLONE_NAME, NEW_NAME, private_dir, remove_note, staged_for};
use crate::fs::{Dir, FsError, Root};
use crate::record::RecordCopy;
use crate::relpath::RelPath;
use crate::switch::{
    Entrance, Freed, Gate, Memo, Probation, Repaired, RunLogin, Scope, State, SwitchError,
    Switched, discard, memo, status, switch,
};
pub(super) use guard::see;
pub use guard::{TakenBack, guard};
pub(super) use loader::make_loader;
use package_locks::{PATIENCE, PackageLocks};
pub(super) use rollback::roll_back;
pub use rollback::{RollbackOrder, RolledBack};
use settle::{remove_run_key, settle, settle_units, still_running, waits_for_reboot};

/// How long another holder of the target's lock is waited for.
const LOCKING: Duration = Duration::from_secs(1);
/// The same before a switch: one that is under way waits for a package manager in it, and then
/// carries, syncs and exchanges.
const SWITCHING: Duration =
    PATIENCE.saturating_add(Duration::from_secs(if cfg!(test) { 1 } else { 120 }));

/// Which target, and whether something changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetOrder {
    /// The root directory of the target.
    pub root: PathBuf,
    /// Whether it is only looked whether it could be done.
    pub dry_run: bool,
}

/// How to switch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwitchOrder {
    /// The root directory of the target.
    pub root: PathBuf,
    /// The run's key on the clone, which goes by itself if nobody confirms in time.
    pub login: Option<RunLogin>,
    /// What the clone has to show after its boot, if it is to stay.
    pub probation: Option<Probation>,
    /// How the source gets into the clone, for a run that goes on later.
    pub entrance: Entrance,
    /// Whether the machine boots again right afterwards, whatever becomes of the link.
    pub reboots: bool,
}

/// What the source has seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfirmOrder {
    /// Which target.
    pub target: TargetOrder,
    /// How the clone came about, for the clone to keep.
    pub record: Option<RecordCopy>,
}

/// The state of a target and of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetState {
    /// The root directory.
    pub root: PathBuf,
    /// The state of the clone.
    #[serde(flatten)]
    pub clone: State,
    /// Whether the machine runs since before the switch, or since before a rollback of the clone
    /// that it runs; `None` where the root is not its own.
    pub needs_reboot: Option<bool>,
    /// The pair of source and target whose run began the stage; `None` where none has.
    pub staged_for: Option<String>,
    /// The first boot of the clone, while nobody has confirmed it.
    pub unconfirmed: Option<Booted>,
    /// A clone that did not show that it lives, and gave way to what it had replaced.
    pub taken_back: Option<TakenBack>,
    /// The machine, where the root is its own.
    pub machine: Option<MachineState>,
}

/// Switches, and has the machine boot where that is ordered. What was switched before stays so.
pub(super) fn switch_over(order: &SwitchOrder) -> Result<Switched, Failure> {
    let live = open(&order.root)?;
    let (switched, needs_reboot, locks) = exchange(&live, order)?;
    if order.reboots && needs_reboot && is_running(&order.root) {
        if let Some(locks) = locks {
            locks.keep();
        }
        reboot()?;
    }
    Ok(switched)
}

/// Returns what was exchanged, whether the machine still runs what it was exchanged for, and the
/// locks that keep package managers off.
fn exchange(
    live: &Dir,
    order: &SwitchOrder,
) -> Result<(Switched, bool, Option<PackageLocks>), Failure> {
    // The agent before this one may still be switching, its link lost.
    lock_within(live, SWITCHING)?;
    settle(live)?;
    let state = status(live).map_err(|error| refused(&error))?;
    if let State::Switched {
        names, elapsed_us, ..
    } = state
    {
        let needs_reboot = waits_for_reboot(live, &state)?;
        return Ok((Switched { elapsed_us, names }, needs_reboot, None));
    }
    if is_running(&order.root) && waits_for_reboot(live, &state)? {
        return Err(still_running());
    }
    let covered = clone_note::ready(live, order.login.as_ref())?.ok_or_else(not_ready)?;
    // ORDER: before what is kept is carried, as they change it, and before they could be held.
    let locks = PackageLocks::take(live, PATIENCE)?;
    // From here on what the target keeps stands still, up to its boot as the clone.
    let stillness = (order.reboots && is_running(&order.root)).then(Stillness::hold);
    clone_note::carry(live, &covered)?;
    let place = || {
        place_program(live)?;
        arm(
            &side_tree(live, &covered.volumes, NEW_NAME)?,
            &covered.volumes,
        )?;
        arm(&live_tree(live)?, &covered.volumes)?;
        // A disk without room for it can be switched nevertheless.
        drop(place_reserve(live));
        Ok(())
    };
    let scope = Scope {
        volumes: &covered.volumes,
        rules: &covered.rules,
        apart: &covered.apart,
        edited: &covered.edited,
    };
    let memo = Memo {
        boot_id: boot_id(),
        login: order.login.clone(),
        probation: order.probation.clone(),
        entrance: order.entrance.clone(),
    };
    // ORDER: what is known of another clone must not be taken for this one's.
    forget_booted(live)?;
    forget(live, guard::TAKEN_BACK_NAME)?;
    let placed = place().map_err(|error| failed(&error));
    let done = placed.and_then(|()| {
        let switched = switch(live, &scope, memo, &Gate::open());
        switched.map_err(|error| refused(&error))
    });
    // Best effort: whatever is left, the next boot or the next order takes it out.
    drop(settle_units(live, &covered.volumes));
    let switched = done?;
    if let Some(stillness) = stillness {
        stillness.keep();
    }
    Ok((switched, true, Some(locks)))
}

/// Frees what is not live.
pub(super) fn discard_rest(order: &TargetOrder) -> Result<Freed, Failure> {
    let live = open(&order.root)?;
    lock(&live)?;
    let memo = memo(&live).map_err(|error| refused(&error))?;
    let is_taken_back = !order.dry_run && settle(&live)? != Repaired::Nothing;
    let state = status(&live).map_err(|error| refused(&error))?;
    if is_running(&order.root) && waits_for_reboot(&live, &state)? {
        return Err(still_running());
    }
    if order.dry_run {
        return match state {
            State::Interrupted { .. } => Err(refused(&SwitchError::UnderWay)),
            _ => Ok(Freed::default()),
        };
    }
    // A key that was confirmed is gone; a run of the same pair may have another by now.
    if is_taken_back || is_booted(&live)?.is_some() {
        remove_run_key(&order.root, memo.as_ref())?;
    }
    disarm_live(&live).map_err(|error| failed(&error))?;
    forget(&live, guard::TAKEN_BACK_NAME)?;
    let volumes = volumes_with_stages(&live, &order.root);
    discard(&live, &volumes, &Gate::open()).map_err(|error| refused(&error))
}

/// Repairs what was cut, and tells what state the target is in then. A stage stays.
pub(super) fn repair_cut(order: &TargetOrder) -> Result<TargetState, Failure> {
    let live = open(&order.root)?;
    lock(&live)?;
    if !order.dry_run {
        settle(&live)?;
    }
    look(order)
}

/// Tells what state the target is in.
pub(super) fn look(order: &TargetOrder) -> Result<TargetState, Failure> {
    let live = open(&order.root)?;
    let clone = status(&live).map_err(|error| refused(&error))?;
    let is_running = is_running(&order.root);
    let needs_reboot = waits_for_reboot(&live, &clone)?;
    let taken_back = match clone {
        State::Switched { .. } => None,
        _ => guard::taken_back(&live)?,
    };
    Ok(TargetState {
        root: order.root.clone(),
        clone,
        needs_reboot: is_running.then_some(needs_reboot),
        staged_for: staged_for(&live).map_err(|error| failed(&error))?,
        unconfirmed: is_booted(&live)?,
        taken_back,
        machine: is_running.then(MachineState::read),
    })
}

/// Removes what waits for somebody to see the clone, and the run's key. The way back stays. Returns
/// why the record is not kept, if it is not.
pub(super) fn confirm(order: &ConfirmOrder) -> Result<Option<String>, Failure> {
    let root = &order.target.root;
    let live = open(root)?;
    lock(&live)?;
    let memo = memo(&live).map_err(|error| refused(&error))?;
    remove_run_key(root, memo.as_ref())?;
    crate::loader::settle(&live).map_err(|error| failed(&error))?;
    // ORDER: a guard that starts anew takes a clone with a one-shot and without a note for one
    // that nobody has confirmed.
    disarm_live(&live).map_err(|error| failed(&error))?;
    forget_booted(&live)?;
    forget(&live, CLONE_NAME)?;
    forget(&live, guard::TAKEN_BACK_NAME)?;
    let kept = order.record.as_ref().map(|record| record.place(root));
    live.sync_file_system().map_err(|error| failed(&error))?;
    Ok(kept.and_then(Result::err).map(|error| error.to_string()))
}

/// Boots the machine again.
pub(super) fn reboot() -> Result<(), Failure> {
    boot::reboot_soon()
        .map_err(|error| Failure::new(ExitCode::Failed, "target: reboot").because(&error))
}

/// Returns the mount points below the root that have private directories. Asks only file systems
/// of this machine.
fn volumes_with_stages(live: &Dir, root: &Path) -> Vec<RelPath> {
    let Ok(machine) = Root::open(Path::new("/")) else {
        return Vec::new();
    };
    let mounts = gather(&machine).storage.mounts.into_iter();
    let near = mounts.filter(|mount| {
        let kinds = [MountKind::Disk, MountKind::Bind, MountKind::Overlay];
        kinds.contains(&mount.kind) || mount.fs_type == "tmpfs"
    });
    let below = near.filter_map(|mount| {
        let path = Path::new(&mount.path).strip_prefix(root).ok()?;
        RelPath::new(path.as_os_str().as_encoded_bytes()).ok()
    });
    below
        .filter(|path| !path.is_root() && private_dir(live, path).is_ok())
        .collect()
}

fn relative(volumes: &[String]) -> Vec<RelPath> {
    let below = volumes.iter().map(|path| path.trim_start_matches('/'));
    below
        .filter_map(|path| RelPath::new(path.as_bytes()).ok())
        .collect()
}

/// Tells whether a root is that of the running machine.
fn is_running(root: &Path) -> bool {
    Root::open(root).is_ok_and(|root| root.is_live())
}

fn open(root: &Path) -> Result<Dir, Failure> {
    Dir::open_root(root).map_err(|error| {
        let what = format!("target: {}", root.display());
        Failure::new(ExitCode::Failed, what).because(&error)
    })
}

/// Keeps others off.
fn lock(live: &Dir) -> Result<(), Failure> {
    lock_within(live, LOCKING)
}

fn lock_within(live: &Dir, limit: Duration) -> Result<(), Failure> {
    live.lock_within(limit).map_err(|error| {
        if !error.is_locked() {
            return failed(&error);
        }
        let what = "target: another run of instancesync works on it";
        Failure::new(ExitCode::Refused, what).hint("try again when it has ended")
    })
}

fn forget(live: &Dir, name: &[u8]) -> Result<(), Failure> {
    remove_note(live, name).map_err(|error| failed(&error))
}

fn not_ready() -> Failure {
    Failure::new(
        ExitCode::Refused,
        "target: no clone is ready to be switched to",
    )
    .hint("stage one with 'instancesync --target HOST'")
}

fn failed(error: &FsError) -> Failure {
    Failure::new(ExitCode::Failed, "target: the switch cannot be prepared").because(error)
}

fn refused(error: &SwitchError) -> Failure {
    let exit = match error.is_refusal() {
        true => ExitCode::Refused,
        false => ExitCode::Failed,
    };
    Failure::of(exit, error).maybe_hint(error.hint())
}

#[cfg(test)]
mod tests;
