//! What comes before anything changes: how far an earlier run came, the plan, the agreement. Knows
//! nothing of what is agreed to.

use std::time::SystemTime;

use super::Run;
use super::fixups::{Agreed, System};
use super::start::{Clear, Start, entrance_of, standing, start_of};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::monitor::{Event, Stage};
use crate::orders::TargetState;
use crate::plan::Plan;
use crate::preflight::Preflight;
use crate::report::CloneCard;
use crate::session::Session;
use crate::settings::{
    Detail, Manner, StopAfter, agreement, agreement_to, agreement_without_return,
};
use crate::switch::State;

/// Findings of the plan after which the run may not get in any more.
const CLOSING: [&str; 6] = [
    "ssh-listen-address",
    "ssh-root-login",
    "ssh-users",
    "ssh-no-keys",
    "ssh-keys-elsewhere",
    "ssh-other-account",
];

impl Run<'_> {
    /// Makes the plan of a whole system, shows it and has it agreed to. Nothing has changed before
    /// it, and nothing has when it fails. Returns nothing where the run ends with the plan.
    pub(super) fn prepare(
        &self,
        session: &Session,
        (pair, link_bytes_per_second): (&str, Option<u64>),
    ) -> Result<Option<Agreed>, Failure> {
        let settings = self.settings;
        let mut agreed = Agreed {
            start: Start::Anew(Clear::Nothing),
            rules: settings.rules.clone(),
            layout: Layout::default(),
            system: None,
            closes_login: false,
            ssh_ports: Vec::new(),
            clone_ports: Vec::new(),
            had_default_route: false,
            taken_back: None,
            began: SystemTime::now(),
            pair: pair.to_owned(),
            login: None,
            refusal: None,
        };
        if settings.manner == Manner::Staged && !settings.dry_run {
            let state = session.status(&settings.target_dir)?;
            agreed.start = start_of(&state, pair, self.wish())?;
            agreed.taken_back.clone_from(&state.taken_back);
            let machine = state.machine.as_ref();
            agreed.had_default_route = machine.is_some_and(|machine| machine.has_default_route);
            if !matches!(agreed.start, Start::Anew(_)) {
                let entrance = entrance_of(&state);
                (agreed.closes_login, agreed.ssh_ports) = (entrance.is_closed, entrance.ports);
                return self.resume(agreed, &state, pair);
            }
        }
        if settings.system.is_some() && !self.plan(session, &mut agreed, link_bytes_per_second)? {
            return agreed.conclude().map(|()| None);
        }
        if settings.output.detail > Detail::Quiet {
            self.estimate.tell(self.monitor, link_bytes_per_second);
        }
        Ok(Some(agreed))
    }

    /// Plans a whole system and takes down what was agreed to. Returns whether the run goes on.
    fn plan(
        &self,
        session: &Session,
        agreed: &mut Agreed,
        link_bytes_per_second: Option<u64>,
    ) -> Result<bool, Failure> {
        let settings = self.settings;
        let standing = standing(session, settings, &agreed.pair)?;
        let preflight = Preflight {
            settings,
            standing: &standing,
            source: self.source,
            monitor: self.monitor,
            stop: self.stop,
        };
        let prepared = preflight.prepare(session, link_bytes_per_second)?;
        agreed.refusal = self.agree(&prepared.plan, agreed.start)?;
        let facts = (&prepared.source, &prepared.target);
        if let Some(card) = CloneCard::new(settings, &prepared.plan, facts) {
            self.recorder.describe(card);
        }
        if settings.course.stop_after == Some(StopAfter::Plan) {
            self.recorder.stopped_after(Stage::Plan);
            return Ok(false);
        }
        if !settings.dry_run {
            self.record
                .begin(settings, &agreed.pair, self.audience.journal)?;
            self.record.set_facts(&prepared.source, &prepared.target);
            self.record.set_plan(&prepared.plan, &prepared.rules);
        }
        agreed.closes_login = finds(&prepared.plan, &CLOSING);
        if finds(&prepared.plan, &["ssh-port"])
            && let Some(server) = &prepared.source.access.ssh_server
        {
            agreed.ssh_ports.clone_from(&server.ports);
        }
        // Whose settings the clone has in the end is for the rules and the mergers to say.
        let servers = [&prepared.source, &prepared.target].map(|facts| &facts.access.ssh_server);
        let ports = servers
            .into_iter()
            .flatten()
            .flat_map(|server| &server.ports);
        agreed.clone_ports = ports.copied().collect();
        agreed.rules = prepared.rules;
        agreed.layout = prepared.layout;
        agreed.system = Some(System {
            selected: prepared.selected,
            source: prepared.source,
            target: prepared.target,
        });
        Ok(true)
    }

    /// Shows the plan and asks. A dry run goes on whatever stands against it, for it changes nothing;
    /// that is returned.
    fn agree(&self, plan: &Plan, start: Start) -> Result<Option<Failure>, Failure> {
        let settings = self.settings;
        self.audience.reader.read(plan, settings.asks_first);
        match (plan.refusal(), settings.asks_first, start) {
            (refusal, _, _) if settings.dry_run => return Ok(refusal),
            (Some(refusal), _, _) => return Err(refusal),
            (None, false, _) => {}
            (None, true, Start::Anew(Clear::Previous)) => {
                agreement_without_return(settings, self.audience.prompter)?;
            }
            (None, true, _) => agreement(settings, self.audience.prompter)?,
        }
        Ok(None)
    }

    /// Goes on where an earlier run came as far as the switch: what it needs of a plan was agreed
    /// to then. Returns nothing where the run ends with the plan.
    fn resume(
        &self,
        agreed: Agreed,
        state: &TargetState,
        pair: &str,
    ) -> Result<Option<Agreed>, Failure> {
        let hostname = state
            .machine
            .as_ref()
            .map(|machine| machine.hostname.clone());
        self.recorder
            .describe(CloneCard::resumed(self.settings, hostname));
        let what = match agreed.start {
            Start::Reboot => {
                "The target was switched to this clone already. It reboots into it now."
            }
            Start::Verify | Start::Anew(_) => {
                "The target runs as this clone already. It is looked at now, and confirmed."
            }
        };
        if self.settings.course.stop_after == Some(StopAfter::Plan) {
            self.notice(what);
            self.recorder.stopped_after(Stage::Plan);
            return Ok(None);
        }
        if self.settings.asks_first {
            agreement_to(what, self.audience.prompter)?;
        }
        self.record
            .begin(self.settings, pair, self.audience.journal)?;
        if let State::Switched {
            names, elapsed_us, ..
        } = state.clone
        {
            self.monitor.event(Event::Switched { elapsed_us, names });
        }
        Ok(Some(agreed))
    }
}

fn finds(plan: &Plan, ids: &[&str]) -> bool {
    plan.findings.iter().any(|found| ids.contains(&found.id))
}
