//! The steps of a run, taken one after the other over one link: passes, fix-ups, the check, the
//! switch. Each can be taken again over another link. Knows nothing of how a link is made.

use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use super::ending::Trouble;
use super::fixups::Agreed;
use super::quiesce::Quiesced;
use super::route::{Route, Step};
use super::{Run, hooks};
use crate::exclude::Rules;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{Event, Stage};
use crate::session::Session;
use crate::settings::{DeleteLimit, Manner, Target};
use crate::transfer::TransferError;
use crate::transfer::sender::{PassPlan, Sender};
use crate::transfer::wire::message::Policy;

impl<'r> Run<'r> {
    /// Takes the steps that are left, and tells the agent where one fails.
    pub(super) fn proceed(
        &self,
        session: &mut Session,
        agreed: &Agreed,
        route: &mut Route<'r>,
    ) -> Result<(), Trouble> {
        let done = self.take_steps(session, agreed, route);
        // The agent tidies up and then takes the request for the key; a lost link ends both.
        match &done {
            Err(trouble) if !trouble.is_without_link() => {
                session.part(match trouble {
                    Trouble::Transfer(TransferError::Stopped) => "stopped by the source",
                    _ => "given up by the source",
                });
            }
            _ => {}
        }
        done
    }

    fn take_steps(
        &self,
        session: &Session,
        agreed: &Agreed,
        route: &mut Route<'r>,
    ) -> Result<(), Trouble> {
        while let Some(step) = route.steps.front() {
            self.go_on()?;
            match step {
                Step::Transfer(leg) => {
                    let rules = leg.rules.clone();
                    self.transfer(session, agreed, (&rules, route))?;
                }
                Step::FixUp => {
                    self.check_complete()?;
                    self.fix_up(session, agreed)?;
                    self.make_loader(session, agreed)?;
                }
                Step::Check => {
                    self.check_complete()?;
                    self.check(session, agreed)?;
                }
                Step::Switch => {
                    self.switch(session, (agreed, &mut route.is_switch_ordered))?;
                }
            }
            if let Some(stage) = route.step_done() {
                self.recorder.stopped_after(stage);
            }
        }
        Ok(())
    }

    /// Fails where the person or the system asked to stop.
    pub(super) fn go_on(&self) -> Result<(), TransferError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(TransferError::Stopped),
            false => Ok(()),
        }
    }

    /// A stage from which something is missing is never switched to.
    fn check_complete(&self) -> Result<(), Failure> {
        let exit = self.recorder.report().exit_code();
        let is_fine = matches!(exit, ExitCode::Complete | ExitCode::Churned);
        if self.settings.manner == Manner::InPlace || is_fine {
            return Ok(());
        }
        let what = "not everything arrived, so nothing was switched: the target runs as before";
        Err(Failure::new(exit, what)
            .hint("repair what is listed, or leave it out with --exclude, and run the same command again: it continues"))
    }

    /// Runs the passes that are left of a leg; what is done is taken off the list.
    fn transfer(
        &self,
        session: &Session,
        agreed: &Agreed,
        (rules, route): (&Rules, &mut Route<'r>),
    ) -> Result<(), Trouble> {
        self.monitor.event(Event::StageStarted(Stage::Transfer));
        let target = match &self.settings.target {
            Target::Directory(path) => path,
            Target::Machine { .. } => &self.settings.target_dir,
        };
        let target = target.as_os_str().as_bytes().to_vec();
        let (tree, policy) = (self.source.tree(rules), self.policy(agreed));
        let sender = Sender::begin(
            &session.link,
            tree,
            (target, policy),
            self.monitor,
            self.stop,
        )?;
        while let Some(plan) = next_pass(route) {
            self.go_on()?;
            self.hold_still(plan, route)?;
            let stats = sender.pass(plan)?;
            route.pass_done(plan, &stats);
        }
        sender.finish()?;
        drop(route.quiesced.take());
        Ok(())
    }

    fn policy(&self, agreed: &Agreed) -> Policy {
        let settings = self.settings;
        let is_staged = settings.manner == Manner::Staged && !settings.dry_run;
        Policy {
            dry_run: settings.dry_run,
            items: settings.output.wants_items(),
            delete_limit: settings.deletion.map(|limit| match limit {
                DeleteLimit::Unlimited => u64::MAX,
                DeleteLimit::AtMost(count) => count,
            }),
            staged: is_staged.then(|| agreed.layout.volumes.clone()),
            fsync: settings.fsync,
            patch_in_place: settings.patch_in_place,
            pair: Some(agreed.pair.clone()),
        }
    }

    /// Stops services before the passes of the end, and runs the person's command.
    fn hold_still(&self, plan: PassPlan, route: &mut Route<'r>) -> Result<(), Failure> {
        if self.settings.dry_run || !route.needs_quiet(plan) {
            return Ok(());
        }
        if route.quiesced.is_none() {
            let units = &*self.settings.quiesce;
            route.quiesced = Some(Quiesced::stop(units, self.monitor, self.interrupt));
        }
        if !route.is_hook_done {
            hooks::pre_switch(self.settings, self.monitor, self.interrupt)?;
            route.is_hook_done = true;
        }
        Ok(())
    }
}

fn next_pass(route: &Route<'_>) -> Option<PassPlan> {
    match route.steps.front() {
        Some(Step::Transfer(leg)) => leg.passes.front().copied(),
        _ => None,
    }
}
