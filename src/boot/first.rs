//! What the program does when the machine boots: it repairs what was cut, notes the first boot of
//! a clone, and takes the run's key out if nobody confirms the clone in time.
//!
//! Runs before most of the system. Knows nothing of who confirms.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::machine::boot_id;
use super::{disarm, live_tree};
use crate::authorized_keys::{self, Account, Which};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::staged::{read_note, write_note};
use crate::fs::{Dir, FsError, Tree, usable_name};
use crate::switch::{Gate, Repaired, RunLogin, State, memo, repair, status};

/// The note of the first boot after a switch; it goes when the clone is confirmed.
pub const BOOTED_NAME: &[u8] = b"booted";
/// How often it is looked whether somebody confirmed the clone.
const LOOKING: Duration = Duration::from_secs(5);

/// The first boot after a switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// The kernel's id of it.
    pub boot_id: String,
    /// When, in seconds since 1970.
    pub at_s: u64,
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
            if is_booted(&live)?.is_none() {
                note_boot(&live)?;
            }
            memo.login.is_some()
        }
        _ => {
            // Nobody will confirm what is not the clone.
            if let Some(login) = cut.and_then(|memo| memo.login) {
                remove_key(root, &login).map_err(|error| failed(&error))?;
            }
            false
        }
    };
    if !stays_armed {
        let disarmed = live_tree(&live).and_then(|tree| disarm(&tree));
        disarmed.map_err(|error| failed(&error))?;
    }
    Ok(repaired == Repaired::TakenBack)
}

/// Waits until the clone is confirmed; if it is not in time, takes the run's key out.
pub fn watch_key(root: &Path) -> Result<(), Failure> {
    let live = open(root)?;
    let state = status(&live).map_err(|error| Failure::of(ExitCode::Failed, &error))?;
    let State::Switched { memo, .. } = state else {
        return Ok(());
    };
    if let Some(login) = memo.login {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(login.limit_s) {
            if is_booted(&live)?.is_none() {
                return Ok(());
            }
            std::thread::sleep(LOOKING);
        }
        remove_key(root, &login).map_err(|error| failed(&error))?;
    }
    let disarmed = live_tree(&live).and_then(|tree| disarm(&tree));
    disarmed.map_err(|error| failed(&error))
}

/// Takes the run's key out of the account's file below `root`. Links of the clone on the way to its
/// home directory lead where they would lead inside.
pub(crate) fn remove_key(root: &Path, login: &RunLogin) -> Result<(), FsError> {
    let tree = Tree::from(Dir::open_root(root)?);
    let (home, _) = tree.resolve(login.home.as_os_str().as_bytes())?;
    let home = root.join(OsStr::from_bytes(home.as_bytes()));
    let account = Account {
        home: &home,
        uid: login.uid,
    };
    authorized_keys::remove(account, Which::Pair(&login.pair))
}

/// Returns the first boot of the clone, while nobody confirmed it.
pub fn is_booted(live: &Dir) -> Result<Option<Booted>, Failure> {
    let read = || read_note(live, &usable_name(BOOTED_NAME)?);
    let note = read().map_err(|error| failed(&error))?;
    // A note that makes no sense is one nevertheless.
    let unknown = || Booted {
        boot_id: String::new(),
        at_s: 0,
    };
    Ok(note.map(|note| serde_json::from_slice(&note).unwrap_or_else(|_| unknown())))
}

fn note_boot(live: &Dir) -> Result<(), Failure> {
    let now = jiff::Timestamp::now().as_second();
    let booted = Booted {
        boot_id: boot_id(),
        at_s: u64::try_from(now).unwrap_or_default(),
    };
    let text = serde_json::to_vec(&booted)
        .map_err(|error| Failure::new(ExitCode::Failed, "target: a note").because(&error))?;
    let write = || write_note(live, &usable_name(BOOTED_NAME)?, &text);
    write().map_err(|error| failed(&error))
}

fn open(root: &Path) -> Result<Dir, Failure> {
    Dir::open_root(root).map_err(|error| failed(&error))
}

fn failed(error: &FsError) -> Failure {
    Failure::new(ExitCode::Failed, "target: the boot after a switch").because(error)
}
