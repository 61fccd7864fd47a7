//! The record of a clone of a whole system, on the source: a log, what stage it is in, and at its
//! end everything that came of it; and the lock against a second run of the same pair.
//!
//! It stands in front of the other monitors. A record that cannot be written is told once and
//! never ends a run. Knows nothing of how a clone is done.

mod copy;
mod lock;
mod outcome;
mod shelf;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use self::lock::RunLock;
use self::outcome::Known;
use self::shelf::Shelf;
use crate::exclude::Rules;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::monitor::{Counters, Event, Monitor, Stage};
use crate::plan::Plan;
use crate::report::Recorder;
use crate::settings::{Manner, Settings, Target};

pub use copy::RecordCopy;

/// Version of the two files as data. Fields are added without a new one.
const RECORD_VERSION: u32 = 1;

/// Who writes everything that happens into the log of a run.
pub trait Journal: Send + Sync {
    /// Writes what was told so far into the file, and everything from now on.
    fn keep(&self, log: File);
}

/// Passes everything on to the recorder, and keeps the record.
pub struct RunRecord {
    recorder: Arc<Recorder>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    known: Known,
    /// Where the run has its files; `None` before it began and where none can be written.
    shelf: Option<Shelf>,
    state: Option<State>,
    /// Held until the end of the run.
    lock: Option<RunLock>,
}

/// What `state.json` holds.
#[derive(Clone, Debug, Serialize)]
struct State {
    version: u32,
    program: &'static str,
    run: String,
    pair: String,
    pid: u32,
    source_dir: PathBuf,
    target: String,
    target_dir: PathBuf,
    manner: Manner,
    /// Times are in UTC, RFC 3339.
    began: String,
    /// The stage that goes on, or the last before the end.
    stage: Option<&'static str>,
    /// Since when.
    since: String,
    /// When the run ended, and how; a run that was killed has neither.
    ended: Option<String>,
    exit: Option<u8>,
}

impl RunRecord {
    /// Makes a record in front of `recorder`; nothing is written before [`RunRecord::begin`].
    pub fn new(recorder: Arc<Recorder>) -> RunRecord {
        RunRecord {
            recorder,
            kept: Mutex::default(),
        }
    }

    /// Takes the lock of the pair and begins to write. Fails only where another run holds it.
    pub fn begin(
        &self,
        settings: &Settings,
        pair: &str,
        journal: &dyn Journal,
    ) -> Result<(), Failure> {
        let now = Timestamp::now();
        let target = match &settings.target {
            Target::Machine { address, .. } => address.clone(),
            Target::Directory(_) => settings.target.to_string(),
        };
        match RunLock::take(&settings.records.locks, pair, &target)? {
            Ok(lock) => self.kept().lock = Some(lock),
            Err(cause) => self.cannot("lock", &cause),
        }
        let (shelf, log) = match Shelf::make(&settings.records, now, pair) {
            Ok(made) => made,
            Err(cause) => {
                self.cannot("record", &cause);
                return Ok(());
            }
        };
        journal.keep(log);
        self.event(Event::Notice(format!(
            "the record of this run is in {} and {}",
            shelf.log.display(),
            shelf.directory.display()
        )));
        let state = State {
            version: RECORD_VERSION,
            program: env!("CARGO_PKG_VERSION"),
            run: shelf.run.clone(),
            pair: pair.to_owned(),
            pid: std::process::id(),
            source_dir: settings.source.clone(),
            target,
            target_dir: settings.target_dir.clone(),
            manner: settings.manner,
            began: now.to_string(),
            stage: self.recorder.stage().map(Stage::word),
            since: now.to_string(),
            ended: None,
            exit: None,
        };
        {
            let mut kept = self.kept();
            kept.shelf = Some(shelf);
            kept.state = Some(state);
        }
        self.write_state();
        Ok(())
    }

    /// Keeps the facts of both machines.
    pub fn set_facts(&self, source: &Facts, target: &Facts) {
        self.kept().known.facts = Some((source.clone(), target.clone()));
    }

    /// Keeps the plan that was agreed to, and the rules of the run.
    pub fn set_plan(&self, plan: &Plan, rules: &Rules) {
        let mut kept = self.kept();
        kept.known.plan = Some(plan.clone());
        kept.known.rules = rules.list().to_vec();
    }

    /// Returns the record so far, for the clone; `None` where none is kept.
    pub fn copy(&self) -> Option<RecordCopy> {
        let shelf = self.kept().shelf.clone()?;
        let copy = RecordCopy::of(&shelf);
        copy.inspect_err(|cause| self.cannot("copy for the target", cause))
            .ok()
    }

    /// Writes what came of the run and lets go of the lock. `failure` is what ended it before its
    /// time.
    pub fn finish(&self, failure: Option<&Failure>, interrupt: &Interrupt) {
        let now = Timestamp::now();
        let report = self.recorder.report();
        // What a run that is stopped fails with is not why it ended.
        let stopped = interrupt.cause().map(Failure::interrupted);
        let failure = failure.map(|failure| stopped.as_ref().unwrap_or(failure));
        let exit = failure.map_or_else(|| report.exit_code(), |failure| failure.exit);
        let written = {
            let mut kept = self.kept();
            let Kept {
                known,
                shelf: Some(shelf),
                state: Some(state),
                ..
            } = &mut *kept
            else {
                kept.lock = None;
                return;
            };
            (state.ended, state.exit) = (Some(now.to_string()), Some(exit.code()));
            let outcome = outcome::Outcome::new(state, known, (&report, failure));
            shelf.write("result.json", &outcome)
        };
        if let Err(cause) = written {
            self.cannot("result", &cause);
        }
        self.write_state();
        self.kept().lock = None;
    }

    fn write_state(&self) {
        let written = {
            let kept = self.kept();
            match (&kept.shelf, &kept.state) {
                (Some(shelf), Some(state)) => shelf.write("state.json", state),
                _ => Ok(()),
            }
        };
        if let Err(cause) = written {
            // Once: what cannot be written now cannot be written at the next stage either.
            self.kept().shelf = None;
            self.cannot("state", &cause);
        }
    }

    fn cannot(&self, what: &str, cause: &std::io::Error) {
        self.recorder.event(Event::Notice(format!(
            "source: the {what} of this run cannot be kept: {cause}"
        )));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for RunRecord {
    fn event(&self, event: Event) {
        let begun = match event {
            Event::StageStarted(stage) => Some(stage),
            _ => None,
        };
        self.recorder.event(event);
        if let Some(stage) = begun {
            if let Some(state) = &mut self.kept().state {
                (state.stage, state.since) = (Some(stage.word()), Timestamp::now().to_string());
            }
            self.write_state();
        }
    }

    fn counters(&self) -> &Counters {
        self.recorder.counters()
    }
}

/// Names the pair of this machine and one of its own directories, the same in every run.
pub fn pair_here(directory: &std::path::Path) -> String {
    let digest = blake3::hash(directory.as_os_str().as_encoded_bytes()).to_hex();
    digest.as_str().get(..16).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
