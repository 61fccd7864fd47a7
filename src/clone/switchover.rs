//! From the stage to the switch: what a run finds on the target when it begins, the check of the
//! stage, and the moment in which it takes its place. Knows nothing of how either is done.

use super::Run;
use super::ending::Trouble;
use super::fixups::Agreed;
use crate::check::{CheckFacts, CheckOrder, CheckOutcome, CheckReport};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{self, Event, Stage};
use crate::orders::TargetState;
use crate::session::Session;
use crate::settings::{Manner, Resume};
use crate::switch::{RunLogin, State};

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the passes; what lies in the stage is continued.
    Anew,
    /// With the reboot: the run before came as far as the switch.
    Reboot,
    /// With the verification: the run before did not see the clone come back.
    Verify,
}

impl Run<'_> {
    /// Finds out how far an earlier run of the same pair came, and makes room for this one.
    pub(super) fn take_up(&self, session: &Session, agreed: &Agreed) -> Result<Start, Failure> {
        if self.settings.manner == Manner::InPlace || self.settings.dry_run {
            return Ok(Start::Anew);
        }
        let root = &*self.settings.target_dir;
        let state = session.status(root)?;
        match &state.clone {
            State::Staging | State::Staged if self.settings.course.resume == Resume::Never => {
                self.notice("target: removing what an earlier run has staged");
                session.discard(root)?;
            }
            State::Switched { memo, .. } => {
                let is_ours = memo.login.as_ref().map(|login| &login.pair) == agreed.pair.as_ref();
                return self.after_a_switch(session, &state, is_ours);
            }
            // It repairs first what was cut in the middle of a switch.
            State::Interrupted { .. } | State::Discarding => session.discard(root)?,
            State::Nothing | State::Staging | State::Staged => {}
        }
        Ok(Start::Anew)
    }

    fn after_a_switch(
        &self,
        session: &Session,
        state: &TargetState,
        is_ours: bool,
    ) -> Result<Start, Failure> {
        if state.needs_reboot != Some(true) {
            if is_ours && state.unconfirmed.is_some() {
                self.notice("target: it is the clone already, and is verified now");
                return Ok(Start::Verify);
            }
            self.notice("target: removing the system that the last switch replaced");
            session.discard(&self.settings.target_dir)?;
            return Ok(Start::Anew);
        }
        if is_ours {
            self.notice("target: it was switched to the clone already");
            return Ok(Start::Reboot);
        }
        Err(Failure::new(
            ExitCode::Refused,
            "target: it waits for the reboot into a clone of another run",
        )
        .hint("reboot it, or take that switch back with 'instancesync rollback --target ...'"))
    }

    /// Says something about the state of the run.
    pub(super) fn notice(&self, text: &str) {
        self.monitor.event(Event::Notice(text.to_owned()));
    }

    /// Has the stage prove that it can live; where it cannot, nothing of the target has changed.
    pub(super) fn check(&self, session: &Session, agreed: &Agreed) -> Result<(), Trouble> {
        self.monitor.event(Event::StageStarted(Stage::Check));
        let report = session.check(&CheckOrder {
            root: self.settings.target_dir.clone(),
            volumes: agreed.layout.volumes.clone(),
            facts: CheckFacts {
                pair: agreed.login.as_ref().map(|login| login.pair.clone()),
            },
        })?;
        for checked in &report.results {
            self.monitor.event(Event::Checked {
                id: checked.id.clone(),
                what: checked.what.clone(),
                outcome: match &checked.outcome {
                    CheckOutcome::Passed => monitor::CheckOutcome::Passed,
                    CheckOutcome::Failed(text) => monitor::CheckOutcome::Failed(text.clone()),
                    CheckOutcome::NotApplicable(why) => {
                        monitor::CheckOutcome::NotApplicable(why.clone())
                    }
                },
            });
        }
        Ok(refuse_unfit(&report)?)
    }

    /// Lets the stage take its place. Again over a new link it finds out that it has.
    pub(super) fn switch(
        &self,
        session: &Session,
        login: Option<&RunLogin>,
    ) -> Result<(), Trouble> {
        self.monitor.event(Event::StageStarted(Stage::Switch));
        let reboots = self.reboots().is_some();
        let switched = session.switch(&self.settings.target_dir, (login.cloned(), reboots))?;
        self.monitor.event(Event::Switched {
            elapsed_us: switched.elapsed_us,
            names: switched.names,
        });
        Ok(())
    }
}

fn refuse_unfit(report: &CheckReport) -> Result<(), Failure> {
    let ids: Vec<&str> = report
        .failures()
        .map(|(checked, _)| checked.id.as_str())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the staged clone would not live, so it was not switched to: {}",
        ids.join(", ")
    );
    Err(Failure::new(ExitCode::Refused, what)
        .hint("the target runs as before; see to it and run the same command again: it continues"))
}
