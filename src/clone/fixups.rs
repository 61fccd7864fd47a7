//! What follows the passes of a whole system: files that are made out of both machines'. Knows
//! nothing of how one is merged.

use std::time::SystemTime;

use super::Run;
use super::start::Start;
use crate::exclude::Rules;
use crate::exclude::profile::{HostnamePolicy, Selected};
use crate::facts::Facts;
use crate::failure::Failure;
use crate::fixup::{Level, NewName, Report, Task, gather};
use crate::layout::Layout;
use crate::merger::Merger;
use crate::monitor::{Event, Stage};
use crate::orders::TakenBack;
use crate::problem::Side;
use crate::session::Session;
use crate::settings::{Manner, SystemSettings};
use crate::switch::RunLogin;
use crate::transfer::TransferError;

/// What was agreed to before anything changed.
#[derive(Debug)]
pub(super) struct Agreed {
    /// Where the run begins.
    pub(super) start: Start,
    /// The rules of the run.
    pub(super) rules: Rules,
    /// Where a stage is built.
    pub(super) layout: Layout,
    /// What is known for a clone of a whole system.
    pub(super) system: Option<System>,
    /// Whether the plan said that the run may not get into the clone.
    pub(super) closes_login: bool,
    /// Where the clone's SSH server listens, if not where the target's does.
    pub(super) ssh_ports: Vec<u16>,
    /// Where the clone's SSH server may listen; none where no server is known.
    pub(super) clone_ports: Vec<u16>,
    /// Whether the target had a way to the rest of the world.
    pub(super) had_default_route: bool,
    /// What was known, when the run began, of a clone that had given way before.
    pub(super) taken_back: Option<TakenBack>,
    /// When the run began to look at the source.
    pub(super) began: SystemTime,
    /// Names the pair of source and target in the key's line.
    pub(super) pair: String,
    /// The run's key on the target.
    pub(super) login: Option<RunLogin>,
    /// What blocks, for the end of a dry run: it has gone on all the same.
    pub(super) refusal: Option<Failure>,
}

impl Agreed {
    /// Ends a run that went through: a dry run whose plan blocks has the exit code of the real one.
    pub(super) fn conclude(self) -> Result<(), Failure> {
        self.refusal.map_or(Ok(()), Err)
    }
}

/// Both machines as they were before anything changed, and what follows from that.
#[derive(Debug)]
pub(super) struct System {
    /// What the profiles say.
    pub(super) selected: Selected,
    /// The source.
    pub(super) source: Facts,
    /// The target.
    pub(super) target: Facts,
}

impl Run<'_> {
    /// Has the target make the files that are neither machine's own. Again over a new link it
    /// changes nothing that is made already.
    pub(super) fn fix_up(&self, session: &Session, agreed: &Agreed) -> Result<(), TransferError> {
        let Some(system) = &agreed.system else {
            return Ok(());
        };
        self.monitor.event(Event::StageStarted(Stage::FixUp));
        // However the SSH server's settings came there, it has to start with them.
        let named = system.selected.merges.iter().map(|rule| rule.merger);
        let mut mergers: Vec<Merger> = named.chain([Merger::Sshd, Merger::Agents]).collect();
        mergers.sort();
        mergers.dedup();
        let wanted = self.settings.system.as_ref();
        let is_staged = self.settings.manner == Manner::Staged;
        let task = Task {
            // LIVE: the source's files of now, as new as the last pass.
            source: gather(&self.source.root, Side::Source, &mergers),
            mergers,
            source_facts: system.source.clone(),
            target_facts: system.target.clone(),
            rules: agreed.rules.clone(),
            returning_pair: Some(agreed.pair.clone()),
            new_name: wanted.and_then(|wanted| new_name(wanted, &system.source)),
            staged: is_staged.then(|| agreed.layout.volumes.clone()),
            apart: agreed.layout.apart.clone(),
            dry_run: self.settings.dry_run,
        };
        let report = session.fix_up(&self.settings.target_dir, &task)?;
        self.tell_fix_ups(report);
        Ok(())
    }

    fn tell_fix_ups(&self, report: Report) {
        let edits = report.edits.into_iter();
        let edits = edits.map(|done| (done.merger, done.path, done.level, done.reason));
        let notes = report.notes.into_iter();
        let notes = notes.map(|note| (note.merger, note.path, note.level, note.text));
        for (merger, path, level, text) in edits.chain(notes) {
            self.monitor.event(Event::FixUp {
                path: path.as_bytes().to_vec(),
                merger: merger.word(),
                is_warning: level == Level::Warning,
                text,
            });
        }
        if report.owner_changes > 0 {
            let count = report.owner_changes;
            let text = format!("target: {count} kept files belong to renumbered accounts now");
            self.monitor.event(Event::Notice(text));
        }
        for problem in report.problems {
            self.monitor.event(Event::Problem(problem));
        }
    }
}

/// Returns the clone's name, where it is not the target's.
fn new_name(system: &SystemSettings, source: &Facts) -> Option<NewName> {
    match system.policies.hostname {
        HostnamePolicy::Target => None,
        HostnamePolicy::Source => source.identity.hostname.clone().map(NewName::OfSource),
        HostnamePolicy::Name => system.hostname.clone().map(NewName::Given),
    }
}
