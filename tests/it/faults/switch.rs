//! A call that fails in a switch, a rollback, a repair or a discard: the target is one of the two
//! trees, at the latest after a repair, and whatever was asked for can be asked for again.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use instancesync::fs::Dir;
use instancesync::problem::Side;
use instancesync::switch::{Gate, Repaired, State, SwitchError, discard, repair, rollback, status};
use rustix::io::Errno;

use super::inject::{self, Census, Fault, Injection, Turn, can_inject, plan};
use crate::support::manifest::Manifest;
use crate::support::places::assert_none;
use crate::switch::{Place, places, strip_mtimes};

type Prepare = fn(&Place);
/// By a handle of the root that was opened before anything fails.
type Act = fn(&Place, &Dir) -> Result<(), SwitchError>;
/// The live tree without its times, and what lies beside it.
type Trees = (String, BTreeSet<PathBuf>);

fn trees(place: &Place) -> Trees {
    let (live, beside) = place.trees();
    (strip_mtimes(&live), beside)
}

/// A directory whose time could not be put back has another one.
fn without_times(tree: &str) -> String {
    let words = tree.split(' ').filter(|word| !word.starts_with("mtime="));
    words.collect::<Vec<_>>().join(" ")
}

/// What a case begins with and may end as.
struct Known {
    old: Trees,
    new: Trees,
}

fn count_calls(turn: &Turn, make: fn() -> Place, prepare: Prepare, act: Act) -> (Census, Known) {
    let place = make();
    prepare(&place);
    let old = trees(&place);
    let live = place.live();
    let injection = Injection::start(turn, Side::Target, None);
    let done = act(&place, &live);
    let census = injection.census();
    done.unwrap();
    let new = trees(&place);
    (census, Known { old, new })
}

/// Faults of a target on which nobody else removes anything.
fn faults(census: &Census) -> Vec<Fault> {
    let mut faults = plan(census);
    faults.retain(|fault| fault.errno != Errno::NOENT);
    faults
}

/// Lets `act` fail at its calls. `old` is what is live before it, `new` after.
fn fail_everywhere(prepare: Prepare, act: Act) {
    let turn = inject::turn();
    for make in places() {
        let (census, known) = count_calls(&turn, make, prepare, act);
        let mut complaints = Vec::new();
        let mut ends = BTreeSet::new();
        for fault in faults(&census) {
            let place = make();
            prepare(&place);
            let Some(done) = fail(&turn, &place, fault, act) else {
                continue;
            };
            let found = judge(&place, &known, done, &mut ends);
            complaints.extend(found.into_iter().map(|what| format!("{fault}: {what}")));
        }
        assert_none(&complaints, "complaints");
        assert!(ends.contains(&false), "nothing was ever taken back");
    }
}

/// Returns what is not as it should be after an act that ended as `done`.
fn judge(
    place: &Place,
    known: &Known,
    done: Result<(), SwitchError>,
    ends: &mut BTreeSet<bool>,
) -> Vec<String> {
    let mut found = Vec::new();
    let needs_repair = matches!(&done, Err(SwitchError::Stuck { .. }));
    let right_away = trees(place).0;
    if done.is_ok() && right_away != known.new.0 {
        found.push(format!("done, and is not the new tree:\n{right_away}"));
    }
    if done.is_err() && !needs_repair && right_away != known.old.0 {
        found.push(format!("{done:?}, and not the old tree:\n{right_away}"));
    }
    match repair(&place.live(), &Gate::open()) {
        Ok(Repaired::Nothing) => {}
        Ok(_) if needs_repair => {}
        other => found.push(format!("{done:?}, then a repair: {other:?}")),
    }
    let (tree, beside) = trees(place);
    let is_new = tree == known.new.0;
    ends.insert(is_new);
    if !is_new && tree != known.old.0 {
        found.push(format!("a mixture:\n{tree}"));
    }
    let kept = if is_new { &known.new.1 } else { &known.old.1 };
    if !beside.is_superset(kept) {
        found.push(format!("lost: {:?}", kept.difference(&beside)));
    }
    if let Err(error) = both_ways(place) {
        found.push(format!("{done:?}, then: {error:?}"));
    }
    found
}

/// Whatever it is now, it can be switched there and back.
fn both_ways(place: &Place) -> Result<(), SwitchError> {
    if let State::Switched { .. } = status(&place.live())? {
        rollback(&place.live(), &Gate::open())?;
    }
    place.switch(&Gate::open())?;
    assert_eq!(fs::read(place.root().join("etc/file")).unwrap(), b"new");
    rollback(&place.live(), &Gate::open())?;
    assert_eq!(fs::read(place.root().join("etc/file")).unwrap(), b"old");
    Ok(())
}

fn switch(place: &Place, live: &Dir) -> Result<(), SwitchError> {
    place.switch_on(live, &Gate::open()).map(drop)
}

fn roll_back(_place: &Place, live: &Dir) -> Result<(), SwitchError> {
    rollback(live, &Gate::open()).map(drop)
}

fn clear(place: &Place, live: &Dir) -> Result<(), SwitchError> {
    discard(live, &place.volumes(), &Gate::open()).map(drop)
}

fn mend(_place: &Place, live: &Dir) -> Result<(), SwitchError> {
    repair(live, &Gate::open()).map(drop)
}

/// Lets one act fail; `None` where the fault did not happen.
fn fail(turn: &Turn, place: &Place, fault: Fault, act: Act) -> Option<Result<(), SwitchError>> {
    let live = place.live();
    let injection = Injection::start(turn, Side::Target, Some(fault));
    let done = act(place, &live);
    injection.end().then_some(done)
}

#[test]
fn a_call_that_fails_in_a_switch_leaves_one_tree_or_the_other() {
    if can_inject("a_call_that_fails_in_a_switch_leaves_one_tree_or_the_other") {
        fail_everywhere(|_| {}, switch);
    }
}

#[test]
fn a_call_that_fails_in_a_rollback_leaves_one_tree_or_the_other() {
    if can_inject("a_call_that_fails_in_a_rollback_leaves_one_tree_or_the_other") {
        fail_everywhere(|place| switch(place, &place.live()).unwrap(), roll_back);
    }
}

/// After a power cut in the middle of the names, and one when all have changed sides.
#[test]
fn a_call_that_fails_in_a_repair_leaves_it_to_the_next() {
    if !can_inject("a_call_that_fails_in_a_repair_leaves_it_to_the_next") {
        return;
    }
    let cuts: [Prepare; 2] = [
        |place| drop(place.switch(&Gate::cut_after(6)).unwrap_err()),
        |place| drop(place.switch(&Gate::cut_after(10)).unwrap_err()),
    ];
    let turn = inject::turn();
    for prepare in cuts {
        let make = Place::one;
        let (census, known) = count_calls(&turn, make, prepare, mend);
        for fault in faults(&census) {
            let place = make();
            prepare(&place);
            let Some(done) = fail(&turn, &place, fault, mend) else {
                continue;
            };
            if let Err(error) = mend(&place, &place.live()) {
                panic!("{fault}: {done:?}, then {error:?}");
            }
            assert_eq!(trees(&place).0, known.new.0, "{fault}: {done:?}");
            both_ways(&place).unwrap();
        }
    }
}

#[test]
fn a_call_that_fails_in_a_discard_leaves_the_live_tree_and_the_rest_to_the_next() {
    let test = "a_call_that_fails_in_a_discard_leaves_the_live_tree_and_the_rest_to_the_next";
    if !can_inject(test) {
        return;
    }
    let turn = inject::turn();
    for make in places() {
        let prepare = |place: &Place| {
            switch(place, &place.live()).unwrap();
            // Before it, discarding is refused.
            place.boot();
        };
        let (census, _) = count_calls(&turn, make, prepare, clear);
        for fault in faults(&census) {
            let place = make();
            prepare(&place);
            let live = place.tree();
            let Some(done) = fail(&turn, &place, fault, clear) else {
                continue;
            };
            assert_eq!(
                without_times(&place.tree()),
                without_times(&live),
                "{fault}"
            );
            clear(&place, &place.live())
                .unwrap_or_else(|error| panic!("{fault}: {done:?}, {error:?}"));
            let left = Manifest::of(place.root()).to_string();
            let (left, live) = (without_times(&left), without_times(&live));
            assert_eq!(left, live, "{fault}: {done:?}");
        }
    }
}
