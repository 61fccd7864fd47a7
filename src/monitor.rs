//! What the engine tells whoever watches: live counters and events. The engine never prints.

mod spent;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

pub use spent::Spent;

/// One way over the whole tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// Compares type, size, mtime, owner, mode and xattrs.
    Timestamp,
    /// Compares the contents of every regular file as well.
    Checksum,
}

impl std::fmt::Display for Pass {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Pass::Timestamp => "timestamp pass",
            Pass::Checksum => "checksum pass",
        })
    }
}

/// Counters that move while a run works; read them at any time. Reset at the start of a pass
/// where the name does not say otherwise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries that the estimate's scan has seen (whole run).
    pub scanned_entries: AtomicU64,
    /// Bytes of regular files that the scan has seen (whole run).
    pub scanned_bytes: AtomicU64,
    /// Whether the scan has ended, so that the two above are totals.
    pub scan_complete: AtomicBool,
    /// Entries that are done in this pass: found equal, landed or failed.
    pub settled_entries: AtomicU64,
    /// Their bytes.
    pub settled_bytes: AtomicU64,
    /// Bytes of contents sent in this pass, before compression.
    pub body_bytes: AtomicU64,
    /// Bytes sent on the link in this pass, framing included.
    pub wire_bytes: AtomicU64,
    /// The path that was touched last, raw bytes below the root.
    pub current_path: Mutex<Vec<u8>>,
}

impl Counters {
    /// Adds to one of the counters.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Notes the path that is being worked on.
    pub fn set_current_path(&self, path: &[u8]) {
        if let Ok(mut current) = self.current_path.try_lock() {
            current.clear();
            current.extend_from_slice(path);
        }
    }

    /// Sets what counts one pass to zero.
    pub fn start_pass(&self) {
        for counter in [
            &self.settled_entries,
            &self.settled_bytes,
            &self.body_bytes,
            &self.wire_bytes,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// What one pass did. The unit is the last word of each name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassStats {
    /// Entries that the source listed.
    pub listed_entries: u64,
    /// Entries that were equal already.
    pub equal_entries: u64,
    /// Regular files whose contents landed (new or changed).
    pub landed_files: u64,
    /// Directories, symbolic links, devices and pipes that were made.
    pub made_entries: u64,
    /// Names that were linked to a file that was there.
    pub linked_entries: u64,
    /// Entries of which only attributes were changed.
    pub attribute_entries: u64,
    /// Entries that were deleted on the target.
    pub deleted_entries: u64,
    /// Bytes of regular files that the source listed.
    pub listed_bytes: u64,
    /// Bytes of contents that were sent, before compression.
    pub body_bytes: u64,
    /// Bytes that the source put on the link.
    pub sent_bytes: u64,
    /// Bytes that the source took from the link.
    pub received_bytes: u64,
    /// Entries that vanished before they were read.
    pub vanished_entries: u64,
    /// Files that never held still.
    pub changed_files: u64,
    /// Entries that failed.
    pub failed_entries: u64,
    /// Wall time in milliseconds.
    pub elapsed_ms: u64,
    /// What the source's threads spent it on.
    pub source_spent: Spent,
    /// What the target's threads spent it on.
    pub target_spent: Spent,
}

impl PassStats {
    /// Adds what another pass did.
    pub fn add(&mut self, other: &PassStats) {
        for (sum, more) in [
            (&mut self.listed_entries, other.listed_entries),
            (&mut self.equal_entries, other.equal_entries),
            (&mut self.landed_files, other.landed_files),
            (&mut self.made_entries, other.made_entries),
            (&mut self.linked_entries, other.linked_entries),
            (&mut self.attribute_entries, other.attribute_entries),
            (&mut self.deleted_entries, other.deleted_entries),
            (&mut self.listed_bytes, other.listed_bytes),
            (&mut self.body_bytes, other.body_bytes),
            (&mut self.sent_bytes, other.sent_bytes),
            (&mut self.received_bytes, other.received_bytes),
            (&mut self.vanished_entries, other.vanished_entries),
            (&mut self.changed_files, other.changed_files),
            (&mut self.failed_entries, other.failed_entries),
            (&mut self.elapsed_ms, other.elapsed_ms),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.source_spent.add(&other.source_spent);
        self.target_spent.add(&other.target_spent);
    }
}

/// The stage a run is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Opening the SSH connection and logging in.
    Connect,
    /// Sending the agent and starting it.
    Agent,
    /// Looking at both machines.
    Plan,
    /// Copying.
    Transfer,
    /// Making files out of both machines'.
    FixUp,
    /// Having the staged system prove that it can live.
    Check,
    /// Exchanging the old system and the new one.
    Switch,
    /// Rebooting the target and waiting for it.
    Reboot,
    /// Looking whether the clone is what it should be.
    Verify,
    /// Removing the run's key and the agent.
    CleanUp,
}

impl Stage {
    /// Every stage, in the order of a run.
    pub const ALL: [Stage; 10] = [
        Stage::Connect,
        Stage::Agent,
        Stage::Plan,
        Stage::Transfer,
        Stage::FixUp,
        Stage::Check,
        Stage::Switch,
        Stage::Reboot,
        Stage::Verify,
        Stage::CleanUp,
    ];

    /// Returns the word of it, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Connect => "connect",
            Stage::Agent => "agent",
            Stage::Plan => "plan",
            Stage::Transfer => "transfer",
            Stage::FixUp => "fix_up",
            Stage::Check => "check",
            Stage::Switch => "switch",
            Stage::Reboot => "reboot",
            Stage::Verify => "verify",
            Stage::CleanUp => "clean_up",
        }
    }
}

/// What a check of the staged system found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It is as it has to be.
    Passed,
    /// It is not, and this is what is wrong: the switch does not take place.
    Failed(String),
    /// There is nothing to check, and this is why.
    NotApplicable(String),
}

impl CheckOutcome {
    /// Returns the word of it, for programs.
    pub fn word(&self) -> &'static str {
        match self {
            CheckOutcome::Passed => "passed",
            CheckOutcome::Failed(_) => "failed",
            CheckOutcome::NotApplicable(_) => "not_applicable",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A stage began.
    StageStarted(Stage),
    /// How much there is to look at, and how fast the link was found to be (bytes a second).
    Estimate {
        /// Entries in the tree.
        entries: u64,
        /// Bytes of regular files in it.
        bytes: u64,
        /// What the link carried while the agent was sent; `None` without a link.
        link_bytes_per_second: Option<u64>,
    },
    /// A pass began.
    PassStarted(Pass),
    /// An entry is changed (or would be, in a dry run).
    Item {
        /// Eleven columns as `rsync -i` prints them, e.g. `>f+++++++++`, `*deleting  `.
        change: String,
        /// The path below the root, raw bytes.
        path: Vec<u8>,
    },
    /// A file is made out of both machines' (or would be, in a dry run), or something about one
    /// should be known.
    FixUp {
        /// The path below the root, raw bytes.
        path: Vec<u8>,
        /// Who made it: the name of a merger.
        merger: &'static str,
        /// Whether a person should look at it.
        is_warning: bool,
        /// What was done and why.
        text: String,
    },
    /// One check of the staged system came to its end.
    Checked {
        /// Names the check, for programs.
        id: String,
        /// What was checked, for people.
        what: String,
        /// What was found.
        outcome: CheckOutcome,
    },
    /// The old system and the new one were exchanged.
    Switched {
        /// How long the target was neither the one nor the other, in microseconds.
        elapsed_us: u64,
        /// How many names were exchanged, moved in or moved out.
        names: u64,
    },
    /// The run waits for something, from now on until the next stage or verification.
    Waiting {
        /// What for: "the clone to come back".
        what: String,
        /// How long it waits at most.
        limit: Duration,
    },
    /// Something about the clone was looked at after its switch.
    Verified {
        /// What was looked at.
        what: String,
        /// Whether it is as it should be.
        is_good: bool,
        /// What was found.
        text: String,
    },
    /// Something did not fully make it.
    Problem(Problem),
    /// Something worth a line.
    Notice(String),
    /// A pass ended.
    PassEnded(Pass, PassStats),
    /// The link was lost; another attempt follows after the wait.
    Reconnecting {
        /// Which attempt, from 1.
        attempt: u32,
        /// How long until it.
        wait: Duration,
        /// What was lost.
        cause: String,
    },
}

/// Receives what happens. Called from many threads.
pub trait Monitor: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
    /// Returns the live counters.
    fn counters(&self) -> &Counters;
}

/// Keeps everything, for tests and for the report.
#[derive(Debug, Default)]
pub struct RecordingMonitor {
    events: Mutex<Vec<Event>>,
    counters: Counters,
}

impl RecordingMonitor {
    /// Returns the problems so far.
    pub fn problems(&self) -> Vec<Problem> {
        self.events()
            .into_iter()
            .filter_map(|event| {
                if let Event::Problem(problem) = event {
                    Some(problem)
                } else {
                    None
                }
            })
            .collect()
    }

    /// Returns all events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events
            .lock()
            .map(|events| events.clone())
            .unwrap_or_default()
    }
}

impl Monitor for RecordingMonitor {
    fn event(&self, event: Event) {
        if let Ok(mut events) = self.events.lock() {
            events.push(event);
        }
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}
