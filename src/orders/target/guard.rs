//! The guard of a clone that boots: until somebody has seen that it lives it is on probation, and
//! when the time is over the system that it replaced comes back.
//!
//! Runs on the target from early in the boot on. Knows nothing of the source.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::package_locks::{PATIENCE, PackageLocks};
use super::rollback::go_back;
use super::settle::remove_run_key;
use super::{TargetOrder, TargetState, failed, lock, lock_within, open, refused, relative};
use crate::boot::{
    Booted, MachineState, boot_id, disarm_live, is_armed, is_booted, keep_booted, listens,
    live_tree, note_boot,
};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::reserve::with_reserve;
use crate::fs::staged::{read_note, write_note};
use crate::fs::{Dir, FsError, usable_name};
use crate::loader;
use crate::relpath::RelPath;
use crate::switch::{Memo, Probation, State, Witness, status};

/// The note of a clone that was taken back; it goes with the next switch and with a discard.
pub(super) const TAKEN_BACK_NAME: &[u8] = b"taken-back";
/// How often it is looked whether somebody confirmed the clone.
const LOOKING: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 5 });
/// How long the source waits for the guard, which may be at work on the clone itself.
const SEEING: Duration = Duration::from_secs(10);
/// The file that has SELinux set all labels anew at a boot.
const RELABEL_NAME: &[u8] = b".autorelabel";
/// LIMIT: boots of a clone without a confirmation: one that panics or is reset again and again
/// never comes to the end of its time.
const MOST_BOOTS: u32 = 3;

/// A clone that gave way to the system that it had replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TakenBack {
    /// When, in seconds since 1970.
    pub at_s: u64,
    /// What did not come.
    pub why: String,
    /// How the machine was at that moment.
    pub machine: MachineState,
}

impl TakenBack {
    /// Returns one of this moment, with a look at the machine.
    fn now(why: String) -> TakenBack {
        let now = jiff::Timestamp::now().as_second();
        TakenBack {
            at_s: u64::try_from(now).unwrap_or_default(),
            why,
            machine: MachineState::read(),
        }
    }
}

/// What the guard finds in one look.
pub(super) enum Look {
    /// Somebody confirmed the clone, or it is none any more.
    Over,
    /// It has found by itself that it lives.
    Well,
    /// It has time yet.
    Waits,
    /// It is on probation no more, or never was: only the run's key has its time.
    Settled,
    /// It has none any more; why.
    Lost(String),
}

/// Waits until the clone is confirmed or has shown that it lives, and takes it back if neither
/// comes in time; the run's key goes when its own time is over. Returns whether the machine has
/// to boot again.
pub fn guard(root: &Path) -> Result<bool, Failure> {
    let began = Instant::now();
    loop {
        if let Some(reboots) = step(root, began.elapsed())? {
            return Ok(reboots);
        }
        std::thread::sleep(LOOKING);
    }
}

/// Returns the boots of a clone that nobody has confirmed, and whether they are noted. One that is not
/// counts too: something was in the way, a volume that does not mount or a full disk. ORDER: who
/// confirms a clone or takes it back takes the one-shot out before the note.
fn unconfirmed(live: &Dir, memo: &Memo) -> Result<Option<(Booted, bool)>, Failure> {
    let noted = is_booted(live)?;
    if noted.is_some() || memo.boot_id == boot_id() {
        return Ok(noted.map(|booted| (booted, true)));
    }
    let is_armed = live_tree(live).and_then(|tree| is_armed(&tree));
    let is_armed = is_armed.map_err(|error| failed(&error))?;
    Ok(is_armed.then(|| (Booted::first(), false)))
}

/// Notes a boot that is not, if nobody is at work on the clone.
fn note_missed_boot(live: &Dir, memo: &Memo) -> Result<(), Failure> {
    let is_missed = || unconfirmed(live, memo).map(|found| matches!(found, Some((_, false))));
    // RACE: somebody may have confirmed it before the lock was had.
    if is_missed()? && lock(live).is_ok() && is_missed()? {
        drop(note_boot(live));
    }
    Ok(())
}

/// Takes one look, and does what follows. Returns whether the machine has to boot again, once
/// there is nothing more to look at.
pub(super) fn step(root: &Path, elapsed: Duration) -> Result<Option<bool>, Failure> {
    let live = open(root)?;
    let (memo, volumes) = match status(&live).map_err(|error| refused(&error))? {
        State::Switched { memo, volumes, .. } => (memo, volumes),
        // Somebody is at work on it.
        State::Interrupted { .. } => return Ok(None),
        _ => return Ok(Some(false)),
    };
    note_missed_boot(&live, &memo)?;
    let found = look(&live, &memo, elapsed)?;
    follow(root, &live, (&memo, &relative(&volumes)), (found, elapsed))
}

/// Does what follows from a look.
pub(super) fn follow(
    root: &Path,
    live: &Dir,
    (memo, volumes): (&Memo, &[RelPath]),
    (found, elapsed): (Look, Duration),
) -> Result<Option<bool>, Failure> {
    match found {
        Look::Over => Ok(Some(false)),
        Look::Waits => Ok(None),
        Look::Settled if elapsed < key_limit(memo) => Ok(None),
        // RACE: the next look tells.
        found if lock(live).is_err() || is_overtaken(live, memo, &found)? => Ok(None),
        Look::Settled => {
            remove_run_key(root, Some(memo))?;
            disarm_live(live).map_err(|error| failed(&error))?;
            Ok(Some(false))
        }
        Look::Well => note_well(live, memo).map(|()| None),
        Look::Lost(why) => {
            let taken_back = TakenBack::now(why);
            // Who waits for ever with a package in hand does not keep the old system away.
            let locks = PackageLocks::take(live, PATIENCE).ok();
            // A note is no reason to stay.
            let note = || drop(note_taken_back(live, &taken_back));
            let back = go_back(root, live, (memo, volumes), (true, locks), note)?;
            // What is left over is in nobody's way.
            drop(back.tidied);
            Ok(Some(back.done.needs_reboot))
        }
    }
}

/// Tells whether somebody has confirmed the clone since the look, or the source has reached it.
fn is_overtaken(live: &Dir, memo: &Memo, found: &Look) -> Result<bool, Failure> {
    let booted = unconfirmed(live, memo)?;
    Ok(booted.is_none_or(|(booted, _)| booted.is_well && matches!(found, Look::Lost(_))))
}

/// Returns how long the run's key stays.
fn key_limit(memo: &Memo) -> Duration {
    Duration::from_secs(memo.login.as_ref().map_or(0, |login| login.limit_s))
}

fn look(live: &Dir, memo: &Memo, elapsed: Duration) -> Result<Look, Failure> {
    let Some((booted, _)) = unconfirmed(live, memo)? else {
        return Ok(Look::Over);
    };
    if let Some(wrong) = prove_kernel(live, memo)?.filter(|_| !booted.is_well) {
        return Ok(Look::Lost(wrong));
    }
    Ok(match &memo.probation {
        // A boot that sets labels anew takes its time, and ends in another one.
        Some(_) if !booted.is_well && is_relabelling(live) => Look::Waits,
        Some(probation) if !booted.is_well => judge(probation, &booted, elapsed),
        _ => Look::Settled,
    })
}

fn is_relabelling(live: &Dir) -> bool {
    let status = || live.status_of(&usable_name(RELABEL_NAME)?);
    status().is_ok()
}

fn judge(probation: &Probation, booted: &Booted, elapsed: Duration) -> Look {
    let awaited = match &probation.witness {
        Witness::Source => "the source did not confirm it",
        Witness::Clone { ports, wants_route } if is_well(ports, *wants_route) => return Look::Well,
        Witness::Clone { .. } => "it could not be reached",
    };
    if booted.boots > MOST_BOOTS {
        let boots = booted.boots - 1;
        return Look::Lost(format!("it booted {boots} times, and {awaited}"));
    }
    if elapsed < Duration::from_secs(probation.limit_s) {
        return Look::Waits;
    }
    let limit_s = probation.limit_s;
    Look::Lost(format!(
        "{awaited} within {limit_s} s from the start of its guard"
    ))
}

/// Tells whether the boot has come to an end, and somebody can come in.
fn is_well(ports: &[u16], wants_route: bool) -> bool {
    // Where no SSH server is known nobody can come in by one.
    if !ports.is_empty() && !listens(ports) {
        return false;
    }
    let machine = MachineState::read();
    let system = machine.system_state.as_deref();
    let has_booted = matches!(system, None | Some("running" | "degraded"));
    has_booted && (machine.has_default_route || !wants_route)
}

/// Lets the kernel that was tried boot from now on, as it came as far as this. Returns what is wrong
/// where another one runs: it did not come up, and the loader has fallen back.
fn prove_kernel(live: &Dir, memo: &Memo) -> Result<Option<String>, Failure> {
    let probation = memo.probation.as_ref();
    let Some(wanted) = probation.and_then(|probation| probation.kernel.as_ref()) else {
        return Ok(None);
    };
    let running = loader::running_kernel();
    if *wanted != running && memo.boot_id != boot_id() {
        let wrong = format!("Linux {wanted} did not come up, {running} was booted");
        return Ok(Some(wrong));
    }
    let settled = loader::settle(live).map(|()| None);
    settled.map_err(|error| failed(&error))
}

/// Ends the probation of a clone; the run's key keeps its own time.
fn note_well(live: &Dir, memo: &Memo) -> Result<(), Failure> {
    let Some((booted, _)) = unconfirmed(live, memo)? else {
        return Ok(());
    };
    keep_booted(
        live,
        &Booted {
            is_well: true,
            ..booted
        },
    )
}

/// The source has reached the clone: it stays, whatever becomes of the link. Returns its state.
pub(in crate::orders) fn see(order: &TargetOrder) -> Result<TargetState, Failure> {
    let live = open(&order.root)?;
    lock_within(&live, SEEING)?;
    if let State::Switched { memo, .. } = status(&live).map_err(|error| refused(&error))? {
        if let Some(wrong) = prove_kernel(&live, &memo)? {
            let what = format!("target: the clone gives way to the old system: {wrong}");
            return Err(Failure::new(ExitCode::Failed, what)
                .hint("its console has told why; --kernel target takes the target's kernel"));
        }
        note_well(&live, &memo)?;
    }
    super::look(order)
}

fn note_taken_back(live: &Dir, taken_back: &TakenBack) -> Result<(), Failure> {
    let text = serde_json::to_vec(taken_back).map_err(|error| {
        Failure::new(ExitCode::Failed, "target: a note cannot be written").because(&error)
    })?;
    let write = || write_note(live, TAKEN_BACK_NAME, &text);
    with_reserve(live, FsError::is_no_space, write).map_err(|error| failed(&error))
}

/// Returns what is known of a clone that gave way. A note that makes no sense tells nothing.
pub(super) fn taken_back(live: &Dir) -> Result<Option<TakenBack>, Failure> {
    let note = read_note(live, TAKEN_BACK_NAME).map_err(|error| failed(&error))?;
    Ok(note.and_then(|note| serde_json::from_slice(&note).ok()))
}
