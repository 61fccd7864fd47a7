//! What a run has to do on the target, step by step, over as many links as it takes: a step that
//! is done is off the list. Knows nothing of how a step is taken.

use std::collections::VecDeque;

use super::fixups::Agreed;
use super::hold_back;
use super::quiesce::Quiesced;
use super::start::Start;
use crate::exclude::Rules;
use crate::monitor::{Pass, PassStats, Stage};
use crate::settings::{CatchUp, Manner, Settings, StopAfter};
use crate::transfer::sender::{Deletes, PassPlan, Turn};

/// One step.
#[derive(Debug)]
pub(super) enum Step {
    /// Passes under one set of rules.
    Transfer(Leg),
    /// Files are made out of both machines'.
    FixUp,
    /// The stage proves that it can live.
    Check,
    /// The stage takes its place.
    Switch,
}

/// Passes under one set of rules.
#[derive(Debug)]
pub(super) struct Leg {
    /// The rules.
    pub(super) rules: Rules,
    /// The passes that are left.
    pub(super) passes: VecDeque<PassPlan>,
}

/// What is left to do.
pub(super) struct Route<'a> {
    /// In this order.
    pub(super) steps: VecDeque<Step>,
    /// Services that hold still, from the first pass of the end to the last.
    pub(super) quiesced: Option<Quiesced<'a>>,
    /// Whether the pre-switch hook was run.
    pub(super) is_hook_done: bool,
    /// Whether the switch was ordered, whatever came of it.
    pub(super) is_switch_ordered: bool,
    manner: Manner,
    catch_up: CatchUp,
    stop_after: Option<StopAfter>,
    /// What each timestamp pass has sent so far, in bytes.
    sent_bytes: Vec<u64>,
}

impl Route<'_> {
    /// Returns the way of a run from where it begins.
    pub(super) fn new<'a>(settings: &Settings, agreed: &Agreed) -> Route<'a> {
        let rules = &agreed.rules;
        let is_system = settings.system.is_some();
        let mut steps = VecDeque::new();
        match (settings.dry_run, settings.manner, is_system) {
            (true, _, _) => steps.push_back(leg(rules, look(settings))),
            (false, Manner::Staged, _) => steps.push_back(leg(rules, staged(settings))),
            (false, Manner::InPlace, false) => steps.push_back(leg(rules, in_place(settings))),
            (false, Manner::InPlace, true) => {
                let early = hold_back::rules(rules);
                steps.push_back(leg(&early, vec![early_pass()]));
                steps.push_back(leg(rules, in_place(settings)));
            }
        }
        if is_system {
            steps.push_back(Step::FixUp);
        }
        if settings.manner == Manner::Staged && !settings.dry_run {
            steps.extend([Step::Check, Step::Switch]);
        }
        if !matches!(agreed.start, Start::Anew(_)) {
            steps.clear();
        }
        Route {
            steps,
            quiesced: None,
            is_hook_done: false,
            is_switch_ordered: false,
            manner: settings.manner,
            catch_up: settings.catch_up,
            stop_after: settings.course.stop_after,
            sent_bytes: Vec::new(),
        }
    }

    /// Tells whether services hold still from this pass on: nothing that they write after it
    /// would arrive.
    pub(super) fn needs_quiet(&self, plan: PassPlan) -> bool {
        plan.turn == Turn::Last || (self.manner == Manner::Staged && plan.pass == Pass::Checksum)
    }

    /// Tells whether what is left is the switch alone.
    pub(super) fn is_switching(&self) -> bool {
        matches!(self.steps.front(), Some(Step::Switch))
    }

    /// Takes a pass that is done off the list, and puts another before the next where that
    /// catches up with the source.
    pub(super) fn pass_done(&mut self, done: PassPlan, stats: &PassStats) {
        let Some(Step::Transfer(leg)) = self.steps.front_mut() else {
            return;
        };
        leg.passes.pop_front();
        if done.pass != Pass::Timestamp || done.turn == Turn::Last {
            return;
        }
        self.sent_bytes.push(stats.body_bytes);
        let is_next_checksum = leg
            .passes
            .front()
            .is_some_and(|next| next.pass == Pass::Checksum);
        if is_next_checksum && self.catch_up.wants_another(&self.sent_bytes) {
            leg.passes.push_front(done);
        }
    }

    /// Takes a step that is done off the list, and all others where the run is to stop after it.
    /// Returns the stage after which it stops.
    pub(super) fn step_done(&mut self) -> Option<Stage> {
        let (stop, stage) = match self.steps.pop_front()? {
            Step::Transfer(_) if matches!(self.steps.front(), Some(Step::Transfer(_))) => {
                return None;
            }
            Step::Transfer(_) => (StopAfter::Transfer, Stage::Transfer),
            Step::FixUp => (StopAfter::FixUp, Stage::FixUp),
            Step::Check => (StopAfter::Check, Stage::Check),
            Step::Switch => (StopAfter::Switch, Stage::Switch),
        };
        if self.stop_after != Some(stop) {
            return None;
        }
        self.steps.clear();
        Some(stage)
    }
}

fn leg(rules: &Rules, passes: Vec<PassPlan>) -> Step {
    Step::Transfer(Leg {
        rules: rules.clone(),
        passes: passes.into(),
    })
}

fn early_pass() -> PassPlan {
    PassPlan {
        pass: Pass::Timestamp,
        deletes: Deletes::Never,
        turn: Turn::Early,
    }
}

/// The passes over what is written in place, the last one deleting.
fn in_place(settings: &Settings) -> Vec<PassPlan> {
    let passes = settings.passes.iter();
    let mut plans: Vec<PassPlan> = passes
        .map(|pass| PassPlan {
            pass: *pass,
            ..early_pass()
        })
        .collect();
    end(&mut plans, settings);
    plans
}

/// A dry run looks once, as closely as the run itself would.
fn look(settings: &Settings) -> Vec<PassPlan> {
    let plans = in_place(settings);
    plans.into_iter().next_back().into_iter().collect()
}

/// The passes into a stage: from the contents on it loses what the source does not have, and a
/// last short one sees what moved while contents were compared.
fn staged(settings: &Settings) -> Vec<PassPlan> {
    let mut plans = in_place(settings);
    for plan in &mut plans {
        plan.turn = Turn::Early;
        if plan.pass == Pass::Checksum {
            plan.deletes = Deletes::AtEnd;
        }
    }
    plans.push(early_pass());
    end(&mut plans, settings);
    plans
}

fn end(plans: &mut [PassPlan], settings: &Settings) {
    if let Some(last) = plans.last_mut() {
        last.turn = Turn::Last;
        if settings.deletion.is_some() {
            last.deletes = Deletes::AtEnd;
        }
    }
}
