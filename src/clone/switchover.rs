//! From the stage to the switch: what a run finds on the target when it begins, the check of the
//! stage, and the moment in which it takes its place. Knows nothing of how either is done.

use super::Run;
use super::ending::Trouble;
use super::fixups::Agreed;
use crate::check::{CheckReport, Outcome};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{CheckOutcome, Event, Stage};
use crate::orders::{Place, Status};
use crate::session::Session;
use crate::settings::{Manner, Resume};
use crate::switch::State;

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
        let place = self.place(agreed);
        let mut status = session.status(&place)?;
        if let State::Interrupted { .. } = status.state {
            self.notice("target: an earlier run was cut in the middle of the switch: repairing it");
            session.repair(&place)?;
            status = session.status(&place)?;
        }
        match &status.state {
            State::Staging | State::Staged if self.settings.course.resume == Resume::Never => {
                self.notice("target: removing what an earlier run has staged");
                session.discard(&place)?;
            }
            State::Switched { memo, .. } => {
                let is_ours = memo.login.as_ref().map(|login| &login.pair) == agreed.pair.as_ref();
                return self.after_a_switch(session, (&place, &status), is_ours);
            }
            State::Discarding => {
                session.discard(&place)?;
            }
            State::Nothing | State::Staging | State::Staged | State::Interrupted { .. } => {}
        }
        Ok(Start::Anew)
    }

    fn after_a_switch(
        &self,
        session: &Session,
        (place, status): (&Place, &Status),
        is_ours: bool,
    ) -> Result<Start, Failure> {
        if status.has_rebooted {
            if is_ours && !status.is_confirmed {
                self.notice("target: it is the clone already, and is verified now");
                return Ok(Start::Verify);
            }
            self.notice("target: removing the system that the last switch replaced");
            session.discard(place)?;
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

    /// Names the system on the target.
    pub(super) fn place(&self, agreed: &Agreed) -> Place {
        Place {
            root: self.settings.target_dir.clone(),
            volumes: agreed.layout.volumes.clone(),
        }
    }

    /// Has the stage prove that it can live; where it cannot, nothing of the target has changed.
    pub(super) fn check(&self, session: &Session, agreed: &Agreed) -> Result<(), Trouble> {
        self.monitor.event(Event::StageStarted(Stage::Check));
        let report = session.check(&self.place(agreed), agreed.pair.clone())?;
        for checked in &report.results {
            self.monitor.event(Event::Checked {
                id: checked.id.clone(),
                what: checked.what.clone(),
                outcome: match &checked.outcome {
                    Outcome::Passed => CheckOutcome::Passed,
                    Outcome::Failed(text) => CheckOutcome::Failed(text.clone()),
                    Outcome::NotApplicable(why) => CheckOutcome::NotApplicable(why.clone()),
                },
            });
        }
        refuse_unfit(&report).map_err(Trouble::from)
    }

    /// Lets the stage take its place. Again over a new link it finds out that it has.
    pub(super) fn switch(&self, session: &Session, agreed: &Agreed) -> Result<(), Trouble> {
        self.monitor.event(Event::StageStarted(Stage::Switch));
        let place = self.place(agreed);
        let status = session.status(&place)?;
        if let State::Switched { .. } = status.state {
            return Ok(());
        }
        let switched = session.switch(&place, agreed.pair.clone())?;
        self.monitor.event(Event::Switched {
            elapsed_us: switched.elapsed_us,
            names: switched.names,
        });
        Ok(())
    }
}

fn refuse_unfit(report: &CheckReport) -> Result<(), Failure> {
    let failed = report
        .results
        .iter()
        .filter_map(|checked| match &checked.outcome {
            Outcome::Failed(text) => Some((checked.id.as_str(), text)),
            Outcome::Passed | Outcome::NotApplicable(_) => None,
        });
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = failed.iter().map(|(id, _)| *id).collect();
    let what = format!(
        "the staged clone would not live, so it was not switched to: {}",
        ids.join(", ")
    );
    Err(Failure::new(ExitCode::Refused, what)
        .hint("the target runs as before; put the source right and run the same command again"))
}
