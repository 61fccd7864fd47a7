//! A switch or a rollback on its way: all names change sides, or none. Knows nothing of which
//! names these are.

use std::time::Instant;

use super::choose::{in_order, is_boot};
use super::journal::{self, Journal, Phase, Step};
use super::volume::Volume;
use super::{Gate, SwitchError, Switched};
use crate::fs::Dir;
use crate::fs::staged::{NEW_NAME, PREVIOUS_NAME};

/// What is needed for it.
pub(super) struct Motion<'a> {
    live: &'a Dir,
    /// In the order of the parts of the journal.
    volumes: Vec<Volume>,
    journal: Journal,
    gate: &'a Gate,
    /// Whether the journal on the disk may say by now that all is done.
    may_be_told: bool,
}

impl<'a> Motion<'a> {
    /// Prepares what `journal` says; `volumes` are in the order of its parts.
    pub(super) fn new(
        live: &'a Dir,
        volumes: Vec<Volume>,
        journal: Journal,
        gate: &'a Gate,
    ) -> Motion<'a> {
        Motion {
            live,
            volumes,
            journal,
            gate,
            may_be_told: false,
        }
    }

    /// Does it; what fails is taken back.
    pub(super) fn go(mut self) -> Result<Switched, SwitchError> {
        self.gate.pass()?;
        journal::write(self.live, &self.journal)?;
        let moved = self.exchange().and_then(|elapsed_us| {
            if self.journal.phase == Phase::Switching {
                self.journal.elapsed_us = elapsed_us;
            }
            self.finish()?;
            Ok(elapsed_us)
        });
        match moved {
            Ok(elapsed_us) => Ok(Switched {
                elapsed_us,
                names: self.step_count(),
            }),
            Err(SwitchError::Cut) => Err(SwitchError::Cut),
            Err(failed) => match self.take_back() {
                Ok(()) => Err(failed),
                Err(SwitchError::Cut) => Err(SwitchError::Cut),
                Err(cause) => Err(SwitchError::Stuck {
                    failed: failed.to_string(),
                    cause: Box::new(cause),
                }),
            },
        }
    }

    fn step_count(&self) -> u64 {
        let parts = self.journal.parts.iter();
        parts.map(|part| part.steps.len() as u64).sum()
    }

    /// Lets every name change sides, and returns how many microseconds that took.
    fn exchange(&self) -> Result<u64, SwitchError> {
        let steps = self.steps_in_order();
        self.sync()?;
        let start = Instant::now();
        let mut before = None;
        for (index, step) in steps {
            if let Some(volume) = self.volumes.get(index) {
                self.gate.pass()?;
                if crosses(&mut before, (index, volume), step) {
                    self.sync()?;
                }
                volume.swap(&step.name)?;
            }
        }
        Ok(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn steps_in_order(&self) -> Vec<(usize, &Step)> {
        in_order(
            &self.journal.parts,
            self.journal.phase == Phase::RollingBack,
        )
    }

    /// Tells whether every name has changed sides.
    pub(super) fn is_all_done(&self) -> Result<bool, SwitchError> {
        for (volume, step) in self.steps() {
            volume.settle(&step.name, [step.old, step.new])?;
            if !is_done(volume, step)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does what is left to do when every name has changed sides.
    pub(super) fn finish(&mut self) -> Result<(), SwitchError> {
        let parts = || self.volumes.iter().zip(&self.journal.parts);
        for (volume, part) in parts() {
            self.gate.pass()?;
            volume.dress(&part.new_top, &part.old_top)?;
        }
        // ORDER: the other names of the trees say that all is done, so the exchanges have to be
        // on disk first.
        self.sync()?;
        let (from, to) = self.sides();
        for volume in &self.volumes {
            self.gate.pass()?;
            volume.rename_side(from, to)?;
        }
        self.sync()?;
        self.gate.pass()?;
        self.may_be_told = true;
        match self.journal.phase {
            Phase::RollingBack => journal::remove(self.live)?,
            _ => self.write_as(Phase::Switched)?,
        }
        self.sync()
    }

    /// Returns what the trees beside the live ones are called before and after.
    fn sides(&self) -> (&'static [u8], &'static [u8]) {
        match self.journal.phase {
            Phase::RollingBack => (PREVIOUS_NAME, NEW_NAME),
            _ => (NEW_NAME, PREVIOUS_NAME),
        }
    }

    /// Lets every name that has changed sides change back.
    pub(super) fn take_back(&mut self) -> Result<(), SwitchError> {
        if self.may_be_told {
            // ORDER: from the first name on that changes back, it is under way again.
            journal::write(self.live, &self.journal)?;
            // A disk that cannot sync is most likely why: that must not keep the names apart.
            drop(self.sync());
        }
        let (to, from) = self.sides();
        for volume in &self.volumes {
            self.gate.pass()?;
            volume.rename_side(from, to)?;
        }
        let mut steps = self.steps_in_order();
        steps.reverse();
        let mut before = None;
        for (index, step) in steps {
            if let Some(volume) = self.volumes.get(index) {
                self.gate.pass()?;
                if crosses(&mut before, (index, volume), step) {
                    drop(self.sync());
                }
                volume.settle(&step.name, [step.old, step.new])?;
                if is_done(volume, step)? {
                    volume.swap(&step.name)?;
                }
            }
        }
        for (volume, part) in self.volumes.iter().zip(&self.journal.parts) {
            self.gate.pass()?;
            volume.dress(&part.old_top, &part.new_top)?;
        }
        self.sync()?;
        self.gate.pass()?;
        match self.journal.phase {
            Phase::RollingBack => self.write_as(Phase::Switched)?,
            _ => journal::remove(self.live)?,
        }
        self.sync()
    }

    fn write_as(&mut self, phase: Phase) -> Result<(), SwitchError> {
        let journal = Journal {
            phase,
            ..self.journal.clone()
        };
        journal::write(self.live, &journal)
    }

    fn steps(&self) -> impl Iterator<Item = (&Volume, &Step)> {
        let parts = self.volumes.iter().zip(&self.journal.parts);
        parts.flat_map(|(volume, part)| part.steps.iter().map(move |step| (volume, step)))
    }

    fn sync(&self) -> Result<(), SwitchError> {
        self.volumes.iter().try_for_each(Volume::sync)
    }
}

/// Tells whether what the machine boots by begins or ends with a step, and lies on another volume
/// than what is before it. ORDER: which of two disks has its names first is anybody's guess, so
/// the one has to be synced before the other is touched.
fn crosses(
    before: &mut Option<(usize, bool)>,
    (index, volume): (usize, &Volume),
    step: &Step,
) -> bool {
    let boots = is_boot(&volume.path().join(&step.name));
    let last = before.replace((index, boots));
    last.is_some_and(|(last, booted)| last != index && booted != boots)
}

/// Tells whether a name has changed sides, by what lies beside the live tree: nobody else writes
/// there, while programs may have replaced the live one meanwhile.
fn is_done(volume: &Volume, step: &Step) -> Result<bool, SwitchError> {
    let beside = volume.inode_beside(&step.name)?;
    Ok(match step.new {
        Some(_) => beside != step.new,
        None => beside.is_some(),
    })
}
