//! Orders about the switch, as the target carries them out: with the lock on its root, what was
//! cut repaired first, and the one-shot for the next boot in place while there is danger.
//!
//! Knows nothing of who gives them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clone_note;
use crate::boot::{
    self, BOOTED_NAME, Booted, MachineState, arm, boot_id, disarm, is_booted, live_tree,
    place_program, side_tree,
};
use crate::distro::gather;
use crate::exit::ExitCode;
use crate::facts::MountKind;
use crate::failure::Failure;
use crate::fixup::CLONE_NOTE_NAME;
use crate::fs::staged::{NEW_NAME, PREVIOUS_NAME, private_dir, remove_note, staged_for};
use crate::fs::{Dir, FsError, Root, usable_name};
use crate::relpath::RelPath;
use crate::switch::{
    Freed, Gate, Memo, Repaired, RunLogin, Scope, State, SwitchError, Switched, discard, repair,
    rollback, status, switch,
};

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
    /// Whether the machine boots again right afterwards, whatever becomes of the link.
    pub reboots: bool,
}

/// How to go back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RollbackOrder {
    /// Which target.
    pub target: TargetOrder,
    /// Whether the key of the run stays in the target's file, for a run that goes on.
    pub keeps_key: bool,
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

/// The state of a target and of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TargetState {
    /// The root directory.
    pub root: PathBuf,
    /// The state of the clone.
    #[serde(flatten)]
    pub clone: State,
    /// Whether the machine runs since before the switch; `None` where the root is not its own.
    pub needs_reboot: Option<bool>,
    /// The pair of source and target whose run began the stage; `None` where none has.
    pub staged_for: Option<String>,
    /// The first boot of the clone, while nobody has confirmed it.
    pub unconfirmed: Option<Booted>,
    /// The machine, where the root is its own.
    pub machine: Option<MachineState>,
}

/// Switches, and has the machine boot where that is ordered. What was switched before stays so.
pub(super) fn switch_over(order: &SwitchOrder) -> Result<Switched, Failure> {
    let (switched, needs_reboot) = exchange(order)?;
    if order.reboots && needs_reboot && is_running(&order.root) {
        reboot()?;
    }
    Ok(switched)
}

/// Returns what was exchanged, and whether the machine still runs what it was exchanged for.
fn exchange(order: &SwitchOrder) -> Result<(Switched, bool), Failure> {
    let live = open(&order.root)?;
    lock(&live)?;
    settle(&live)?;
    let state = status(&live).map_err(|error| refused(&error))?;
    if let State::Switched {
        names,
        elapsed_us,
        memo,
        ..
    } = state
    {
        return Ok((Switched { elapsed_us, names }, memo.boot_id == boot_id()));
    }
    let covered = clone_note::ready(&live, order.login.as_ref())?.ok_or_else(not_ready)?;
    clone_note::carry(&live, &covered)?;
    let place = || {
        place_program(&live)?;
        arm(
            &side_tree(&live, &covered.volumes, NEW_NAME)?,
            &covered.volumes,
        )?;
        arm(&live_tree(&live)?, &covered.volumes).map(drop)
    };
    let scope = Scope {
        volumes: &covered.volumes,
        rules: &covered.rules,
        apart: &covered.apart,
    };
    let memo = Memo {
        boot_id: boot_id(),
        login: order.login.clone(),
    };
    let placed = place().map_err(|error| failed(&error));
    let done = placed.and_then(|()| {
        let switched = switch(&live, &scope, memo, &Gate::open());
        switched.map_err(|error| refused(&error))
    });
    // Best effort: whatever is left, the next boot or the next order takes it out.
    drop(settle_units(&live, &covered.volumes));
    done.map(|switched| (switched, true))
}

/// Puts back what was replaced, or takes back what was cut.
pub(super) fn roll_back(order: &RollbackOrder) -> Result<RolledBack, Failure> {
    let root = &order.target.root;
    let live = open(root)?;
    lock(&live)?;
    let before = status(&live).map_err(|error| refused(&error))?;
    if order.target.dry_run {
        return would_roll_back(&before, root);
    }
    let repaired = settle(&live)?;
    let state = status(&live).map_err(|error| refused(&error))?;
    let State::Switched { memo, volumes, .. } = state else {
        return match repaired {
            Repaired::Nothing => Err(refused(&SwitchError::NotSwitched)),
            // What was cut is gone: that is what was asked for.
            Repaired::Completed | Repaired::TakenBack => Ok(RolledBack {
                names: 0,
                elapsed_us: 0,
                needs_reboot: is_running(root),
            }),
        };
    };
    let volumes = relative(&volumes);
    let place = || {
        place_program(&live)?;
        arm(&side_tree(&live, &volumes, PREVIOUS_NAME)?, &volumes)?;
        arm(&live_tree(&live)?, &volumes).map(drop)
    };
    let placed = place().map_err(|error| failed(&error));
    let done =
        placed.and_then(|()| rollback(&live, &Gate::open()).map_err(|error| refused(&error)));
    let done = match done {
        Ok(done) => done,
        Err(failure) => {
            drop(settle_units(&live, &volumes));
            return Err(failure);
        }
    };
    forget(&live, BOOTED_NAME)?;
    settle_units(&live, &volumes)?;
    if let Some(login) = memo.login.filter(|_| !order.keeps_key) {
        boot::remove_key(root, &login).map_err(|error| failed(&error))?;
    }
    live.sync_file_system().map_err(|error| failed(&error))?;
    Ok(RolledBack {
        names: done.names,
        elapsed_us: done.elapsed_us,
        needs_reboot: is_running(root) && memo.boot_id != boot_id(),
    })
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

/// Frees what is not live.
pub(super) fn discard_rest(order: &TargetOrder) -> Result<Freed, Failure> {
    let live = open(&order.root)?;
    lock(&live)?;
    if !order.dry_run {
        settle(&live)?;
    }
    let state = status(&live).map_err(|error| refused(&error))?;
    if let State::Switched { memo, .. } = &state
        && is_running(&order.root)
        && memo.boot_id == boot_id()
    {
        let what = "target: its programs still run from what would be discarded";
        return Err(Failure::new(ExitCode::Refused, what).hint("reboot it first"));
    }
    if order.dry_run {
        return match state {
            State::Interrupted { .. } => Err(refused(&SwitchError::UnderWay)),
            _ => Ok(Freed::default()),
        };
    }
    let disarmed = live_tree(&live).and_then(|tree| disarm(&tree));
    disarmed.map_err(|error| failed(&error))?;
    let volumes = volumes_with_stages(&live, &order.root);
    discard(&live, &volumes, &Gate::open()).map_err(|error| refused(&error))
}

/// Tells what state the target is in.
pub(super) fn look(order: &TargetOrder) -> Result<TargetState, Failure> {
    let live = open(&order.root)?;
    let clone = status(&live).map_err(|error| refused(&error))?;
    let is_running = is_running(&order.root);
    let needs_reboot = match &clone {
        State::Switched { memo, .. } => memo.boot_id == boot_id(),
        _ => false,
    };
    Ok(TargetState {
        root: order.root.clone(),
        clone,
        needs_reboot: is_running.then_some(needs_reboot),
        staged_for: staged_for(&live).map_err(|error| failed(&error))?,
        unconfirmed: is_booted(&live)?,
        machine: is_running.then(MachineState::read),
    })
}

/// Removes what waits for somebody to see the clone. The way back stays.
pub(super) fn confirm(order: &TargetOrder) -> Result<(), Failure> {
    let live = open(&order.root)?;
    lock(&live)?;
    forget(&live, BOOTED_NAME)?;
    forget(&live, CLONE_NOTE_NAME)?;
    let disarmed = live_tree(&live).and_then(|tree| disarm(&tree));
    disarmed.map_err(|error| failed(&error))?;
    live.sync_file_system().map_err(|error| failed(&error))
}

/// Boots the machine again.
pub(super) fn reboot() -> Result<(), Failure> {
    boot::reboot_soon()
        .map_err(|error| Failure::new(ExitCode::Failed, "target: reboot").because(&error))
}

/// Repairs what was cut, and takes out a one-shot that nobody needs.
fn settle(live: &Dir) -> Result<Repaired, Failure> {
    let repaired = repair(live, &Gate::open()).map_err(|error| refused(&error))?;
    if repaired != Repaired::Nothing {
        live.sync_file_system().map_err(|error| failed(&error))?;
    }
    let volumes = match status(live).map_err(|error| refused(&error))? {
        State::Switched { volumes, .. } => relative(&volumes),
        // One that makes no sense tells nothing; who needs it will say so.
        _ => clone_note::read(live)
            .ok()
            .flatten()
            .map_or(Vec::new(), |covered| covered.volumes),
    };
    settle_units(live, &volumes)?;
    Ok(repaired)
}

/// Takes the one-shot out of every tree that does not need it: what was replaced never does, the
/// live one only between the switch and its confirmation, and whatever is cut keeps both.
fn settle_units(live: &Dir, volumes: &[RelPath]) -> Result<(), Failure> {
    let state = status(live).map_err(|error| refused(&error))?;
    let take = || match state {
        State::Interrupted { .. } => Ok(()),
        State::Switched { .. } => disarm_side(live, volumes, PREVIOUS_NAME),
        State::Nothing | State::Staging | State::Staged | State::Discarding => {
            disarm(&live_tree(live)?)?;
            disarm_side(live, volumes, NEW_NAME)
        }
    };
    take().map_err(|error| failed(&error))
}

fn disarm_side(live: &Dir, volumes: &[RelPath], side: &[u8]) -> Result<(), FsError> {
    match side_tree(live, volumes, side) {
        Err(error) if error.is_missing() => Ok(()),
        tree => disarm(&tree?),
    }
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

fn lock(live: &Dir) -> Result<(), Failure> {
    live.lock().map_err(|error| match error.is_locked() {
        true => {
            let what = "target: another run of instancesync works on it";
            Failure::new(ExitCode::Refused, what).hint("try again when it has ended")
        }
        false => failed(&error),
    })
}

fn forget(live: &Dir, name: &[u8]) -> Result<(), Failure> {
    let forget = || remove_note(live, &usable_name(name)?);
    forget().map_err(|error| failed(&error))
}

fn not_ready() -> Failure {
    Failure::new(
        ExitCode::Refused,
        "target: no clone is ready to be switched to",
    )
    .hint("stage one with 'instancesync --target'")
}

fn failed(error: &FsError) -> Failure {
    Failure::new(ExitCode::Failed, "target: prepare the switch").because(error)
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
