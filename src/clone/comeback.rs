//! The target reboots into the clone, and is seen again: waited for, looked at, confirmed. Knows
//! nothing of how a machine reboots.

use std::time::{Duration, Instant};

use super::{Run, hooks};
use crate::boot::MachineState;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{Event, Stage};
use crate::orders::TargetState;
use crate::session::{Access, Session};
use crate::settings::{Manner, Reboot};
use crate::switch::State;

/// How long between two attempts to reach the clone.
const PAUSE: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Returns how long the reboot may take, if the run has one.
    pub(super) fn reboots(&self) -> Option<Duration> {
        let (course, report) = (&self.settings.course, self.recorder.report());
        let is_fine = matches!(report.exit_code(), ExitCode::Complete | ExitCode::Churned);
        match course.reboot {
            Reboot::Within(limit) if course.stop_after.is_none() && !self.settings.dry_run => {
                // In place a loss has not stopped the run yet, but it must not reboot anything.
                is_fine.then_some(limit)
            }
            _ => None,
        }
    }

    /// Has the target reboot, where it was not ordered to yet, and waits until it runs anew.
    ///
    /// Whatever becomes of links meanwhile: what the target says of itself decides.
    pub(super) fn come_back(
        &self,
        access: &mut Access<'_>,
        session: Session,
        (limit, mut is_ordered): (Duration, bool),
    ) -> Result<Session, Failure> {
        self.monitor.event(Event::StageStarted(Stage::Reboot));
        let before = match self.settings.manner {
            Manner::Staged => None,
            Manner::InPlace => Some(boot_of(&session.status(&self.settings.target_dir)?)),
        };
        self.monitor.event(Event::Waiting {
            what: "the target to come back".to_owned(),
            limit,
        });
        let until = Instant::now() + limit;
        let (mut session, mut last) = (Some(session), None);
        while Instant::now() < until {
            match session.take().map_or_else(|| access.try_open(), Ok) {
                Ok(session) => {
                    let state = session.status(&self.settings.target_dir);
                    if state.is_ok_and(|state| is_back(&state, before.as_deref())) {
                        return Ok(session);
                    }
                    // Else it is still on its way down.
                    is_ordered = is_ordered || session.reboot().is_ok();
                    session.close();
                }
                Err(failure) => last = Some(failure),
            }
            self.pause(PAUSE)?;
        }
        Err(self.lost(last, limit))
    }

    fn lost(&self, last: Option<Failure>, limit: Duration) -> Failure {
        let minutes = limit.as_secs().div_ceil(60);
        let what = format!("the target was not seen again within {minutes} min of its reboot");
        let mut failure = Failure::new(ExitCode::Link, what);
        if let Some(last) = last {
            failure.chain.push(last.to_string());
        }
        let again = "if it only takes longer, run the same command again: it verifies the clone";
        match self.settings.manner {
            Manner::Staged => failure
                .hint(again)
                .hint("on its console '/.instancesync/instancesync rollback --reboot' brings the replaced system back"),
            Manner::InPlace => failure.hint(again),
        }
    }

    /// Looks whether the target is what it should be now, and confirms it.
    pub(super) fn verify(&self, session: &Session) -> Result<(), Failure> {
        self.monitor.event(Event::StageStarted(Stage::Verify));
        let root = &*self.settings.target_dir;
        let state = session.status(root)?;
        if self.settings.manner == Manner::Staged {
            if !matches!(state.clone, State::Switched { .. }) {
                let what = "the target has come back as it was before the switch";
                return Err(Failure::new(ExitCode::Failed, what)
                    .hint("its journal says why: journalctl -u instancesync-boot")
                    .hint("run the same command again: it continues with the stage"));
            }
            self.verified("clone", true, "the target runs from the clone");
        }
        self.tell_machine(&state.machine.unwrap_or_default());
        if self.settings.manner == Manner::Staged {
            session.confirm(root)?;
        }
        hooks::post_boot(self.settings, self.monitor, self.interrupt);
        Ok(())
    }

    fn tell_machine(&self, machine: &MachineState) {
        let here = MachineState::read();
        let failed = machine.failed_units.iter();
        let failed: Vec<&str> = failed
            .filter(|unit| !here.failed_units.contains(unit))
            .map(String::as_str)
            .collect();
        match failed.is_empty() {
            true => self.verified("services", true, "nothing failed that runs on the source"),
            false => {
                let text = format!("failed on the clone alone: {}", failed.join(", "));
                self.verified("services", false, &text);
            }
        }
        let text = format!("it calls itself {}", machine.hostname);
        self.verified("name", true, &text);
        match machine.missing_mounts.is_empty() {
            true => self.verified("mounts", true, "everything that fstab names is mounted"),
            false => {
                let text = format!("not mounted: {}", machine.missing_mounts.join(", "));
                self.verified("mounts", false, &text);
            }
        }
        if !machine.addresses.is_empty() {
            self.verified("addresses", true, &machine.addresses.join(", "));
        }
    }

    fn verified(&self, what: &str, is_good: bool, text: &str) {
        self.monitor.event(Event::Verified {
            what: what.to_owned(),
            is_good,
            text: text.to_owned(),
        });
    }
}

/// Tells whether a machine has booted since the switch, or since the boot `before` it.
fn is_back(state: &TargetState, before: Option<&str>) -> bool {
    match before {
        Some(before) => boot_of(state) != before,
        None => state.needs_reboot != Some(true),
    }
}

/// Returns the id of the boot in which a machine is; empty where the root is not its own.
fn boot_of(state: &TargetState) -> String {
    let machine = state.machine.as_ref();
    machine.map_or(String::new(), |machine| machine.boot_id.clone())
}
