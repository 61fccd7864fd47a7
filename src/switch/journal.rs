//! The journal: what was where before a switch, written before anything moves, and the state of
//! the target that it tells. It lies where nothing is ever exchanged.
//!
//! Objects are told by their inodes alone: device numbers change with a boot, and both sides of
//! an exchange are on one volume. Knows nothing of how names are moved.

use serde::{Deserialize, Serialize};

use super::SwitchError;
use super::error::absolute;
use crate::entry::Metadata;
use crate::fs::reserve::with_reserve;
use crate::fs::staged::{CLONE_NAME, NEW_NAME, private_dir, read_note, remove_note, write_note};
use crate::fs::{Dir, FsError, usable_name};
use crate::relpath::{Name, RelPath};

/// The name of the note.
pub const JOURNAL_NAME: &[u8] = b"journal";
/// What a tree is called from the moment on in which it is removed. What cannot be removed stays
/// below such a name, where it is in nobody's way.
pub(super) const LEFT_PREFIX: &str = "left-";
/// Changes with the meaning of any field.
const VERSION: u32 = 1;
/// LIMIT: bytes of a journal that can be read again (`fs::owned`): some 100,000 names.
const MAX_LEN: usize = 15 << 20;

/// What is under way, or was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// The stage is taking its place.
    Switching,
    /// It has.
    Switched,
    /// What was replaced is taking its place again.
    RollingBack,
    /// What is not live is being removed.
    Discarding,
}

/// One name at the top of a volume. With both inodes it is exchanged, with one of them moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) name: Name,
    /// The inode of what is live before.
    pub(super) old: Option<u64>,
    /// The inode of what is live after.
    pub(super) new: Option<u64>,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) volume: RelPath,
    /// Names that stay where they are.
    pub(super) alone: Vec<Name>,
    pub(super) steps: Vec<Step>,
    /// Attributes of the top directory before; a mount point's own directory stays.
    pub(super) old_top: Metadata,
    /// Attributes that it gets.
    pub(super) new_top: Metadata,
}

/// The line of the run's key, which has to go when nobody uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLogin {
    /// The pair of source and target.
    pub pair: String,
    /// Home directory of the account, absolute on the clone.
    pub home: std::path::PathBuf,
    /// The account's number.
    pub uid: u32,
    /// How long after the first boot it may stay without a confirmation, in seconds.
    pub limit_s: u64,
}

/// What a clone has to show after its first boot, if the old system is not to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    /// How long it has for that, in seconds from the start of its guard.
    pub limit_s: u64,
    /// Who has to be content.
    pub witness: Witness,
    /// The release of the kernel that has to run, where another one is there to fall back to.
    #[serde(default)]
    pub kernel: Option<String>,
}

/// Who sees that a clone lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The source, which comes and confirms it.
    Source,
    /// The clone itself, because the source cannot come: its boot has ended, and it can be reached.
    Clone {
        /// The ports of its SSH server.
        ports: Vec<u16>,
        /// Whether there is to be a way to the rest of the world.
        wants_route: bool,
    },
}

/// How the source gets into the clone, by the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    /// Whether it may not get in any more.
    pub is_closed: bool,
    /// Where the clone's SSH server listens, if not where the target's does.
    pub ports: Vec<u16>,
}

/// What the journal keeps for those who come later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    /// The boot in which the switch happened.
    pub boot_id: String,
    /// The run's key on the clone.
    pub login: Option<RunLogin>,
    /// What the clone has to show; `None` where it stays, whatever becomes of it.
    pub probation: Option<Probation>,
    /// How the source gets in.
    #[serde(default)]
    pub entrance: Entrance,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) version: u32,
    pub(super) phase: Phase,
    /// Seconds since 1970.
    pub(super) switched_at_s: u64,
    pub(super) elapsed_us: u64,
    pub(super) names: u64,
    pub(super) memo: Memo,
    pub(super) parts: Vec<Part>,
}

/// The state of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// Nothing of us is there.
    Nothing,
    /// A stage is being filled, or was left by a run that was cut.
    Staging,
    /// A stage is ready.
    Staged,
    /// The stage took its place.
    Switched {
        /// When, in seconds since 1970.
        at_s: u64,
        /// How many names.
        names: u64,
        /// How long it took, in microseconds.
        elapsed_us: u64,
        /// The volumes besides `/`, absolute.
        volumes: Vec<String>,
        /// In which boot it was, whose key was used, what the clone has to show.
        #[serde(default)]
        memo: Box<Memo>,
    },
    /// A switch, or a rollback, was cut and is not repaired.
    Interrupted {
        /// Whether it was a rollback.
        rollback: bool,
    },
    /// A discard was cut, goes on, or could not remove everything.
    Discarding,
}

impl Journal {
    /// Makes the journal of a switch at `at_s`.
    pub(super) fn new(phase: Phase, parts: Vec<Part>, memo: Memo, at_s: u64) -> Journal {
        let names = parts.iter().map(|part| part.steps.len() as u64).sum();
        Journal {
            version: VERSION,
            phase,
            switched_at_s: at_s,
            elapsed_us: 0,
            names,
            memo,
            parts,
        }
    }

    /// Returns the volumes, without the first.
    pub(super) fn volumes(&self) -> Vec<RelPath> {
        let all = self.parts.iter().map(|part| part.volume.clone());
        all.filter(|path| !path.is_root()).collect()
    }

    /// Returns the names of a volume that stayed.
    pub(super) fn alone_in(&self, volume: &RelPath) -> &[Name] {
        let part = self.parts.iter().find(|part| &part.volume == volume);
        part.map_or(&[], |part| &part.alone)
    }
}

fn own(name: &[u8]) -> Result<Name, SwitchError> {
    usable_name(name).map_err(failed)
}

fn failed(cause: FsError) -> SwitchError {
    SwitchError::Call {
        path: "/.instancesync".to_owned(),
        cause,
    }
}

/// Reads the journal; `None` where there is none.
pub(super) fn read(live: &Dir) -> Result<Option<Journal>, SwitchError> {
    let Some(text) = read_note(live, JOURNAL_NAME).map_err(failed)? else {
        return Ok(None);
    };
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_slice(&text).map_err(SwitchError::Journal)?;
    if version != VERSION {
        return Err(SwitchError::JournalVersion(version));
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(SwitchError::Journal)
}

/// Writes it, whole; on disk when the volume is synced.
pub(super) fn write(live: &Dir, journal: &Journal) -> Result<(), SwitchError> {
    let text = serde_json::to_vec(journal).map_err(SwitchError::Journal)?;
    if text.len() > MAX_LEN {
        return Err(SwitchError::TooManyNames);
    }
    let write = || write_note(live, JOURNAL_NAME, &text);
    with_reserve(live, FsError::is_no_space, write).map_err(failed)
}

/// Removes it.
pub(super) fn remove(live: &Dir) -> Result<(), SwitchError> {
    remove_note(live, JOURNAL_NAME).map_err(failed)
}

/// Returns what the journal keeps for those who come later, whatever is under way.
pub fn memo(live: &Dir) -> Result<Option<Memo>, SwitchError> {
    Ok(read(live)?.map(|journal| journal.memo))
}

/// Tells what state the target is in. Changes nothing.
pub fn status(live: &Dir) -> Result<State, SwitchError> {
    if let Some(journal) = read(live)? {
        return Ok(match journal.phase {
            Phase::Switching => State::Interrupted { rollback: false },
            Phase::RollingBack => State::Interrupted { rollback: true },
            Phase::Discarding => State::Discarding,
            Phase::Switched => State::Switched {
                at_s: journal.switched_at_s,
                names: journal.names,
                elapsed_us: journal.elapsed_us,
                volumes: journal.volumes().iter().map(absolute).collect(),
                memo: Box::new(journal.memo),
            },
        });
    }
    let private = match private_dir(live, &RelPath::root()) {
        Err(error) if error.is_missing() => return Ok(State::Nothing),
        result => result.map_err(failed)?,
    };
    match private.status_of(&own(NEW_NAME)?) {
        Err(error) if error.is_missing() => {
            let names = private.names().map_err(failed)?;
            let is_left = |name: &[u8]| name.starts_with(LEFT_PREFIX.as_bytes());
            return Ok(match names.iter().any(|name| is_left(name)) {
                true => State::Discarding,
                false => State::Nothing,
            });
        }
        result => result.map_err(failed)?,
    };
    match private.status_of(&own(CLONE_NAME)?) {
        Err(error) if error.is_missing() => Ok(State::Staging),
        result => result.map(|_| State::Staged).map_err(failed),
    }
}
