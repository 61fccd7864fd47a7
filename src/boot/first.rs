//! What the program does when the machine boots: it repairs what was cut, and notes the boots of a
//! clone that nobody has confirmed yet.
//!
//! Runs before most of the system. Knows nothing of who confirms, and of what becomes of a clone
//! that nobody does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disarm_live;
use super::machine::boot_id;
use crate::authorized_keys::{self, Account, Which};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::reserve::remove_reserve;
use crate::fs::staged::{read_note, remove_note, write_note};
use crate::fs::{Dir, FsError, Tree};
use crate::switch::{Gate, Repaired, RunLogin, State, memo, repair, status};

/// The note of the boots after a switch; it goes when the clone is confirmed.
pub const BOOTED_NAME: &[u8] = b"booted";
/// The boots after a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// The kernel's id of the last one.
    pub boot_id: String,
    /// When the first was, in seconds since 1970.
    pub at_s: u64,
    /// How often the clone has booted by now.
    pub boots: u32,
    /// Whether it has found by itself that it lives.
    pub is_well: bool,
}

impl Booted {
    /// Returns the note of the first boot, which is this one.
    pub fn first() -> Booted {
        let now = jiff::Timestamp::now().as_second();
        Booted {
            boot_id: boot_id(),
            at_s: u64::try_from(now).unwrap_or_default(),
            boots: 1,
            is_well: false,
        }
    }
}

/// Does what a boot has to do. Returns whether the machine has to boot again: a mixture that was
/// taken back must not go on running.
pub fn boot(root: &Path) -> Result<bool, Failure> {
    let live = open(root)?;
    live.lock().map_err(|error| failed(&error))?;
    let cut = memo(&live).map_err(|error| Failure::of(ExitCode::Failed, &error))?;
    let repaired =
        repair(&live, &Gate::open()).map_err(|error| Failure::of(ExitCode::Failed, &error))?;
    let state = status(&live).map_err(|error| Failure::of(ExitCode::Failed, &error))?;
    let stays_armed = match state {
        State::Switched { memo, .. } if memo.boot_id == boot_id() => true,
        State::Switched { memo, .. } => {
            // The guard counts it also where a full disk has no room for the note; what is set
            // aside is for the way back, when nothing writes any more that could take it.
            drop(note_boot(&live));
            memo.login.is_some() || memo.probation.is_some()
        }
        _ => {
            forget_booted(&live)?;
            // Nobody will confirm what is not the clone.
            if let Some(login) = cut.and_then(|memo| memo.login) {
                remove_key(root, &login).map_err(|error| failed(&error))?;
            }
            // It is only room.
            drop(remove_reserve(&live));
            false
        }
    };
    if !stays_armed {
        disarm_live(&live).map_err(|error| failed(&error))?;
    }
    Ok(repaired == Repaired::TakenBack)
}

/// Takes the run's key out of the account's file below `root`. Links of the clone on the way to its
/// home directory lead where they would lead inside.
pub(crate) fn remove_key(root: &Path, login: &RunLogin) -> Result<(), FsError> {
    let tree = Tree::from(Dir::open_root(root)?);
    let remove = || {
        let (home, _) = tree.resolve(login.home.as_os_str().as_bytes())?;
        let account = Account {
            home: &root.join(OsStr::from_bytes(home.as_bytes())),
            uid: login.uid,
        };
        authorized_keys::remove(account, Which::Pair(&login.pair))
    };
    match remove() {
        // A clone without that home directory has no key in it.
        Err(error) if error.is_gone() => Ok(()),
        result => result,
    }
}

/// Returns the first boot of the clone, while nobody confirmed it.
pub fn is_booted(live: &Dir) -> Result<Option<Booted>, Failure> {
    let note = read_note(live, BOOTED_NAME).map_err(|error| failed(&error))?;
    // A note that makes no sense is one nevertheless.
    Ok(note.map(|note| serde_json::from_slice(&note).unwrap_or_default()))
}

/// Notes a boot of a clone, once each.
pub fn note_boot(live: &Dir) -> Result<(), Failure> {
    let booted = match is_booted(live)? {
        None => Booted::first(),
        Some(before) if before.boot_id == boot_id() => return Ok(()),
        Some(before) => Booted {
            boot_id: boot_id(),
            boots: before.boots.saturating_add(1),
            ..before
        },
    };
    keep_booted(live, &booted)
}

/// Forgets the boots of a clone: it was confirmed, or is none any more.
pub fn forget_booted(live: &Dir) -> Result<(), Failure> {
    remove_note(live, BOOTED_NAME).map_err(|error| failed(&error))
}

/// Notes how far a clone is that nobody has confirmed.
pub fn keep_booted(live: &Dir, booted: &Booted) -> Result<(), Failure> {
    let text = serde_json::to_vec(booted).map_err(|error| {
        Failure::new(ExitCode::Failed, "target: a note cannot be written").because(&error)
    })?;
    write_note(live, BOOTED_NAME, &text).map_err(|error| failed(&error))
}

fn open(root: &Path) -> Result<Dir, Failure> {
    Dir::open_root(root).map_err(|error| failed(&error))
}

fn failed(error: &FsError) -> Failure {
    Failure::new(ExitCode::Failed, "target: the boot after a switch").because(error)
}
