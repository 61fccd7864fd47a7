//! The state of a target, and what a rollback or a discard does, in words of at most 80 columns.
//!
//! Knows nothing of how anything is done.

use std::time::Duration;

use super::page::Page;
use super::units;
use crate::boot::{Booted, MachineState};
use crate::orders::{RolledBack, TargetState};
use crate::switch::{Freed, State};

/// Returns the state of a target as a page.
pub fn status(state: &TargetState) -> String {
    let mut page = Page::default();
    page.heading("clone");
    page.row("root", &state.root.display().to_string());
    page.row("state", &state_words(&state.clone));
    if let State::Switched {
        names,
        elapsed_us,
        volumes,
        ..
    } = &state.clone
    {
        page.row(
            "exchanged",
            &format!(
                "{} names in {}",
                units::count(*names),
                milliseconds(*elapsed_us)
            ),
        );
        page.list(
            "volumes",
            std::iter::once("/".to_owned()).chain(volumes.iter().cloned()),
        );
    }
    if state.needs_reboot == Some(true) {
        let text = match &state.clone {
            State::Switched { .. } => "not yet: the programs that run are still the old ones",
            _ => "not yet: the programs that run are those of a clone that was rolled back",
        };
        page.row("reboot", text);
    }
    if let Some(booted) = &state.unconfirmed {
        let text = format!("at {}; no source has confirmed it yet", time(booted.at_s));
        page.row("first boot", &text);
        show_probation(&mut page, &state.clone, booted);
    }
    if let Some(taken_back) = &state.taken_back {
        let text = format!("at {}: {}", time(taken_back.at_s), taken_back.why);
        page.row("taken back", &text);
    }
    page.row("next", next(&state.clone));
    if let Some(taken_back) = &state.taken_back {
        page.heading("the clone when it was taken back");
        show_machine(&mut page, &taken_back.machine);
    }
    if let Some(machine) = &state.machine {
        page.heading("machine");
        show_machine(&mut page, machine);
    }
    page.into_text()
}

fn show_probation(page: &mut Page, state: &State, booted: &Booted) {
    let State::Switched { memo, .. } = state else {
        return;
    };
    if let Some(probation) = memo.probation.as_ref().filter(|_| !booted.is_well) {
        let limit = units::duration(Duration::from_secs(probation.limit_s));
        let text = format!(
            "{limit} after a boot the old system takes its place again; 'instancesync confirm' \
             keeps the clone"
        );
        page.row("probation", &text);
    }
}

fn state_words(state: &State) -> String {
    match state {
        State::Nothing => "nothing of instancesync is here".to_owned(),
        State::Staging => "a clone is being staged, or was left by a run that was cut".to_owned(),
        State::Staged => "a clone is staged and was not switched to".to_owned(),
        State::Switched { at_s, .. } => format!("switched at {}", time(*at_s)),
        State::Interrupted { rollback: false } => "a switch was cut in the middle".to_owned(),
        State::Interrupted { rollback: true } => "a rollback was cut in the middle".to_owned(),
        State::Discarding => "what is not needed is being discarded".to_owned(),
    }
}

fn next(state: &State) -> &'static str {
    match state {
        State::Nothing => "",
        State::Staging | State::Staged => {
            "the command of the run goes on with it; 'instancesync discard' frees it"
        }
        State::Switched { .. } => {
            "'instancesync rollback' puts the old system back; 'instancesync discard' frees it"
        }
        State::Interrupted { .. } => "'instancesync rollback' repairs it; so does the next boot",
        State::Discarding => "'instancesync discard' goes on with it",
    }
}

fn show_machine(page: &mut Page, machine: &MachineState) {
    page.row("host name", &machine.hostname);
    let uptime = Duration::from_secs(machine.uptime_s);
    page.row("up for", &units::duration(uptime));
    page.row("boot id", &machine.boot_id);
    page.row(
        "systemd",
        machine.system_state.as_deref().unwrap_or_default(),
    );
    page.list("failed units", machine.failed_units.iter().cloned());
    page.list("not mounted", machine.missing_mounts.iter().cloned());
    page.list("addresses", machine.addresses.iter().cloned());
    if !machine.has_default_route {
        page.row("default route", "none");
    }
}

/// Returns what a rollback would do.
pub fn would_roll_back(state: &TargetState, planned: &RolledBack) -> String {
    let mut page = Page::default();
    match state.clone {
        State::Interrupted { .. } => page.sentence(
            "",
            "A switch or a rollback was cut here. It is repaired: the old system is put back, \
             or stays.",
        ),
        _ => page.sentence(
            "",
            &format!(
                "This puts back the system that the clone replaced: {}. What changed on the \
                 clone since is kept beside it until it is discarded.",
                units::counted(planned.names, "name")
            ),
        ),
    }
    if planned.needs_reboot {
        page.sentence("", "The machine has to reboot afterwards.");
    }
    page.into_text()
}

/// Returns what a rollback did.
pub fn rolled_back(done: &RolledBack, reboots: bool) -> String {
    let mut page = Page::default();
    match done.names {
        0 => page.sentence("", "What was cut is repaired: the old system is in place."),
        names => page.sentence(
            "",
            &format!(
                "The old system is back: {} in {}.",
                units::counted(names, "name"),
                milliseconds(done.elapsed_us)
            ),
        ),
    }
    match (done.needs_reboot, reboots) {
        (true, true) => page.sentence("", "The machine reboots now."),
        (true, false) => page.sentence(
            "",
            "Reboot the machine: the programs that run are still those of the clone.",
        ),
        (false, _) => {}
    }
    page.sentence("", "'instancesync discard' frees the clone.");
    page.into_text()
}

/// Returns what a confirmation would do.
pub fn would_confirm(state: &TargetState) -> String {
    let mut page = Page::default();
    let text = match state.unconfirmed {
        Some(_) => {
            "The clone stays, whatever becomes of it. The system that it replaced is kept beside \
             it until it is discarded."
        }
        None => "The clone is confirmed already: nothing takes it back by itself.",
    };
    page.sentence("", text);
    page.into_text()
}

/// Returns what a confirmation did.
pub fn confirmed() -> &'static str {
    "The clone stays. 'instancesync rollback' still brings the old system back.\n"
}

/// Returns what a discard would do.
pub fn would_discard(state: &TargetState) -> String {
    let mut page = Page::default();
    let text = match state.clone {
        State::Nothing => "Nothing of instancesync is here; there is nothing to discard.",
        State::Staging | State::Staged => {
            "This removes the clone that is staged. The system that runs stays as it is."
        }
        State::Switched { .. } => {
            "This removes the system that the clone replaced. After that there is no rollback."
        }
        State::Interrupted { .. } => "A switch was cut here; it has to be repaired first.",
        State::Discarding => "This goes on with a discard that was cut.",
    };
    page.sentence("", text);
    page.into_text()
}

/// Returns what a discard did.
pub fn discarded(freed: &Freed) -> String {
    let mut page = Page::default();
    let entries = match freed.entries {
        1 => "1 entry".to_owned(),
        count => format!("{} entries", units::count(count)),
    };
    page.sentence(
        "",
        &format!("Freed {} in {entries}.", units::bytes(freed.bytes)),
    );
    if freed.left_count > 0 {
        let text = format!(
            "{} could not be removed, and will be tried again by the next discard:",
            units::counted(freed.left_count, "name")
        );
        page.sentence("", &text);
        for left in &freed.left {
            page.row("", &format!("{}: {}", left.path, left.cause));
        }
    }
    page.into_text()
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{} ms", microseconds / 1000, microseconds / 100 % 10)
}

fn time(at_s: u64) -> String {
    let seconds = i64::try_from(at_s).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(seconds);
    time.map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
