//! The target reboots into the clone, and is seen again: waited for, looked at, confirmed. Knows
//! nothing of how a machine reboots.

use std::time::{Duration, Instant};

use super::Run;
use super::fixups::Agreed;
use super::refusals::Refusals;
use super::start::Start;
use crate::boot::MachineState;
use crate::exclude::profile::IdentityPolicy;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{Event, Stage};
use crate::orders::{TakenBack, TargetState};
use crate::problem::{Problem, ProblemKind, Side};
use crate::session::{Access, Session};
use crate::settings::{Manner, Reboot};
use crate::switch::State;

/// How long between two attempts to reach the clone.
const PAUSE: Duration = Duration::from_secs(2);
/// How long the services of the clone may take to start before they are looked at as they are.
const SETTLING: Duration = Duration::from_secs(60);
const CONSOLE: &str = "on its console '/.instancesync/instancesync rollback --reboot' brings the \
                       replaced system back";

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
    /// Whatever becomes of links meanwhile: what the target says of itself decides. Returns
    /// nothing where the clone answers and lets the run in no more, as the plan had said.
    pub(super) fn come_back(
        &self,
        access: &mut Access<'_>,
        session: Session,
        (agreed, limit): (&Agreed, Duration),
    ) -> Result<Option<Session>, Failure> {
        self.monitor.event(Event::StageStarted(Stage::Reboot));
        let before = match self.settings.manner {
            Manner::Staged => None,
            Manner::InPlace => Some(boot_of(&session.status(&self.settings.target_dir)?)),
        };
        self.expect_clone(access, agreed);
        self.monitor.event(Event::Waiting {
            what: "the target to come back".to_owned(),
            limit,
        });
        // A switch has ordered it with itself.
        let mut is_ordered = before.is_none() && matches!(agreed.start, Start::Anew(_));
        let boot = (before.as_deref(), &mut is_ordered);
        let came = self.wait_for_boot(access, session, (agreed, limit), boot);
        // In place nothing on the target takes the key out when it has booted.
        if came.is_err() && before.is_some() && is_ordered && !agreed.closes_login {
            access.leave_key();
        }
        came
    }

    /// Looks for the target where it is once it is the clone, and under the host keys that it has then.
    pub(super) fn expect_clone(&self, access: &mut Access<'_>, agreed: &Agreed) {
        access.expect_port(&agreed.ssh_ports);
        let system = self.settings.system.as_ref();
        if system.is_some_and(|system| system.policies.identity == IdentityPolicy::Move) {
            access.expect_own_host_keys();
        }
    }

    /// Waits until the target has booted since the boot `before`, and orders that if nobody has.
    fn wait_for_boot(
        &self,
        access: &mut Access<'_>,
        session: Session,
        (agreed, limit): (&Agreed, Duration),
        (before, is_ordered): (Option<&str>, &mut bool),
    ) -> Result<Option<Session>, Failure> {
        let until = Instant::now() + limit;
        let (mut session, mut last) = (Some(session), None);
        let mut refusals = Refusals::default();
        while Instant::now() < until {
            match session.take().map_or_else(|| access.try_open(), Ok) {
                Ok(session) => {
                    let state = session.status(&self.settings.target_dir);
                    if state.is_ok_and(|state| is_back(&state, before)) {
                        return Ok(Some(session));
                    }
                    // Else it is still on its way down. A staged clone takes the key out itself.
                    let returns = before.is_none() || !agreed.closes_login;
                    *is_ordered = *is_ordered || session.reboot(returns).is_ok();
                    session.close();
                    refusals = Refusals::default();
                }
                Err(unreached) => {
                    refusals.note(&unreached);
                    last = Some(unreached.failure);
                }
            }
            if refusals.are_enough() {
                return self.seen_from_outside(agreed, last).map(|()| None);
            }
            self.pause(refusals.pause(PAUSE))?;
        }
        Err(self.lost(last, limit))
    }

    /// The clone answers with the host key that it should have, and lets nobody in.
    fn seen_from_outside(&self, agreed: &Agreed, last: Option<Failure>) -> Result<(), Failure> {
        self.monitor.event(Event::StageStarted(Stage::Verify));
        if agreed.closes_login {
            let text = "it answers with its host key; as the plan said, this login is closed now";
            self.verified("clone", true, text);
            return Ok(());
        }
        let what = "the target is up again, but refuses the login that it had accepted before";
        let mut failure = Failure::new(ExitCode::Link, what);
        failure.chain.extend(last.map(|last| last.to_string()));
        Err(failure
            .hint("log in as one of the source's accounts and say 'instancesync confirm' there, or the old system comes back")
            .hint(CONSOLE))
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
            Manner::Staged => failure.hint(again).hint(CONSOLE),
            Manner::InPlace => failure.hint(again),
        }
    }

    /// Looks whether the target is what it should be now, and confirms it.
    pub(super) fn verify(&self, session: &Session, agreed: &Agreed) -> Result<(), Failure> {
        self.monitor.event(Event::StageStarted(Stage::Verify));
        if self.settings.manner == Manner::Staged {
            let state = session.see(&self.settings.target_dir)?;
            if !matches!(state.clone, State::Switched { .. }) {
                return Err(came_back(state.taken_back.as_ref()));
            }
            self.verified("clone", true, "the target runs from the clone");
        }
        let state = self.settled(session)?;
        self.tell_machine(&state.machine.unwrap_or_default(), agreed);
        self.compare_sample(session, agreed)?;
        if self.settings.manner == Manner::Staged {
            let record = self.record.copy();
            if let Some(cause) = session.confirm(&self.settings.target_dir, record)? {
                self.notice(&format!(
                    "target: the record of this run is not kept: {cause}"
                ));
            }
        }
        Ok(())
    }

    /// Returns the state of the target when its boot has come to an end, or takes too long.
    fn settled(&self, session: &Session) -> Result<TargetState, Failure> {
        let until = Instant::now() + SETTLING;
        loop {
            let state = session.status(&self.settings.target_dir)?;
            let machine = state.machine.as_ref();
            let system = machine.and_then(|machine| machine.system_state.as_deref());
            if !matches!(system, Some("initializing" | "starting")) || Instant::now() > until {
                return Ok(state);
            }
            self.pause(PAUSE)?;
        }
    }

    fn tell_machine(&self, machine: &MachineState, agreed: &Agreed) {
        let here = MachineState::read();
        let failed = machine.failed_units.iter();
        let failed: Vec<&str> = failed
            .filter(|unit| !here.failed_units.contains(unit))
            .map(String::as_str)
            .collect();
        match failed.is_empty() {
            true => self.verified(
                "services",
                true,
                "no service failed that runs on the source",
            ),
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
        if agreed.had_default_route && !machine.has_default_route {
            self.verified(
                "routes",
                false,
                "no default route; it had one before the switch",
            );
        }
    }

    /// Tells one look at the clone. What is not as it should be decides the exit code.
    pub(super) fn verified(&self, what: &str, is_good: bool, text: &str) {
        if !is_good {
            self.monitor.event(Event::Problem(Problem {
                side: Side::Target,
                kind: ProblemKind::Failed,
                path: what.as_bytes().to_vec(),
                operation: "verify the clone".to_owned(),
                cause: text.to_owned(),
            }));
        }
        self.monitor.event(Event::Verified {
            what: what.to_owned(),
            is_good,
            text: text.to_owned(),
        });
    }
}

/// Returns the failure of a target that is what it was before the switch.
pub(super) fn came_back(taken_back: Option<&TakenBack>) -> Failure {
    let what = "the target has come back as it was before the switch";
    let mut failure = Failure::new(ExitCode::Failed, what);
    match taken_back {
        Some(taken_back) => failure
            .chain
            .push(format!("the clone was taken back: {}", taken_back.why)),
        None => failure = failure.hint("its journal says why: journalctl -u instancesync-boot"),
    }
    failure
        .hint("'instancesync status --target ...' tells how the clone was then")
        .hint("run the same command again: it continues with the stage")
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
