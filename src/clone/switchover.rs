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
use crate::settings::Resume;
use crate::switch::{Memo, RunLogin, State};

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the passes, when room was made for them.
    Anew(Clear),
    /// With the reboot: the run before came as far as the switch.
    Reboot,
    /// With the verification: the run before did not see the clone come back.
    Verify,
}

/// What has to go from the target, or be repaired there, before a stage can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clear {
    /// Nothing: what lies in the stage is continued.
    Nothing,
    /// A stage that is not wanted.
    Stage,
    /// The system that the last switch replaced.
    Previous,
    /// A switch that was cut.
    Cut,
}

impl Run<'_> {
    /// Finds out how far an earlier run of this `pair` came. Changes nothing.
    pub(super) fn take_up(&self, state: &TargetState, pair: &str) -> Result<Start, Failure> {
        let is_waiting = state.needs_reboot == Some(true);
        Ok(match &state.clone {
            State::Switched { memo, .. } => {
                // Onto a directory of this machine nobody logs in.
                let is_ours = memo.login.as_ref().is_none_or(|login| login.pair == pair);
                return self.after_a_switch(state, memo, (is_ours, is_waiting));
            }
            _ if is_waiting => return Err(waits("what a rollback has brought back")),
            State::Nothing => Start::Anew(Clear::Nothing),
            State::Staging | State::Staged => match self.settings.course.resume {
                Resume::Never => Start::Anew(Clear::Stage),
                // Among ours would stay what the rules of its run protect.
                Resume::Auto if state.staged_for.as_ref().is_some_and(|other| other != pair) => {
                    Start::Anew(Clear::Stage)
                }
                Resume::Auto => Start::Anew(Clear::Nothing),
            },
            State::Discarding => Start::Anew(Clear::Stage),
            State::Interrupted { .. } => Start::Anew(Clear::Cut),
        })
    }

    fn after_a_switch(
        &self,
        state: &TargetState,
        memo: &Memo,
        (is_ours, is_waiting): (bool, bool),
    ) -> Result<Start, Failure> {
        if is_waiting {
            return match is_ours && self.reboots().is_some() {
                true => Ok(Start::Reboot),
                false => Err(waits("a clone")),
            };
        }
        let limit_s = memo.login.as_ref().map_or(0, |login| login.limit_s);
        let uptime_s = state
            .machine
            .as_ref()
            .map_or(u64::MAX, |machine| machine.uptime_s);
        // Later than that nobody waits for it, and a clone of then is none of now.
        let is_expected = state.unconfirmed.is_some() && uptime_s < limit_s;
        match (is_expected, is_ours) {
            (true, true) => Ok(Start::Verify),
            (true, false) => Err(Failure::new(
                ExitCode::Refused,
                "target: it has just become the clone of another run, which is to see it first",
            )
            .hint("wait for that run to end")),
            (false, _) => Ok(Start::Anew(Clear::Previous)),
        }
    }

    /// Makes room on the target for this run, and tells where it begins.
    pub(super) fn make_room(&self, session: &Session, agreed: &mut Agreed) -> Result<(), Failure> {
        let root = &*self.settings.target_dir;
        match agreed.start {
            Start::Reboot => self.notice("target: it was switched to the clone already"),
            Start::Verify => self.notice("target: it is the clone already, and is verified now"),
            Start::Anew(Clear::Nothing) => {}
            Start::Anew(Clear::Stage) => {
                self.notice("target: removing what an earlier run has staged");
                session.discard(root)?;
            }
            Start::Anew(Clear::Previous) => {
                self.notice("target: removing the system that the last switch replaced");
                session.discard(root)?;
            }
            Start::Anew(Clear::Cut) => {
                self.notice("target: repairing a switch that was cut");
                let state = session.repair(root)?;
                agreed.start = self.take_up(&state, agreed.pair.as_deref().unwrap_or_default())?;
                return self.make_room(session, agreed);
            }
        }
        Ok(())
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

fn waits(what: &str) -> Failure {
    Failure::new(
        ExitCode::Refused,
        format!("target: it waits for the reboot into {what}"),
    )
    .hint("reboot it, or take a switch back with 'instancesync rollback --target ...'")
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
