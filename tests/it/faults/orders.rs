//! A call that fails while an order about a finished stage is carried out, with all that goes around
//! the exchange of names: the program for the next boot, the one-shot, kept paths, notes. The live
//! tree is the old or the new one, at the latest after a repair, and the order can be given again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use instancesync::failure::Failure;
use instancesync::orders::{Answer, ConfirmOrder, Order, RollbackOrder, SwitchOrder, TargetOrder};
use instancesync::problem::Side;
use instancesync::switch::Entrance;
use rustix::io::Errno;

use super::fixups::{Ground, differ, faults, fix_up, look, task};
use super::inject::{self, Fault, Injection, can_inject};
use crate::support::places::{assert_none, put};
use crate::support::{Ability, can_run, seeds};

type Make = fn(&Path) -> Order;

fn target(root: &Path) -> TargetOrder {
    TargetOrder {
        root: root.to_owned(),
        dry_run: false,
    }
}

fn switch(root: &Path) -> Order {
    Order::Switch(SwitchOrder {
        root: root.to_owned(),
        login: None,
        probation: None,
        entrance: Entrance::default(),
        reboots: false,
    })
}

fn rollback(root: &Path) -> Order {
    Order::Rollback(RollbackOrder {
        target: target(root),
        reboots: false,
    })
}

fn confirm(root: &Path) -> Order {
    Order::Confirm(ConfirmOrder {
        target: target(root),
        record: None,
    })
}

fn repair(root: &Path) -> Order {
    Order::Repair(target(root))
}

fn discard(root: &Path) -> Order {
    Order::Discard(target(root))
}

/// A target with a stage that is ready, after the orders `before`. It has a kernel that the clone
/// has no modules of, for a rollback to bring.
fn ground(before: &[Make]) -> Ground {
    let ground = Ground::new();
    assert_eq!(fix_up(&ground, &task()), Ok(Vec::new()));
    for order in before {
        give(*order, &ground).unwrap();
    }
    ground
}

/// Another test that starts a program may hold the lock for a moment.
fn give(order: Make, ground: &Ground) -> Result<Answer, Failure> {
    let give = || order(ground.live()).perform();
    let is_locked = |done: &Result<Answer, Failure>| matches!(done, Err(failure) if failure.to_string().contains("another run"));
    let done = give();
    match is_locked(&done) {
        true => give(),
        false => done,
    }
}

/// The live tree, without what is there while there is danger.
fn at_peace(ground: &Ground) -> BTreeMap<PathBuf, String> {
    without_danger(look(ground.live(), false))
}

fn without_danger(mut found: BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, String> {
    found.retain(|path, _| {
        let path = path.to_string_lossy();
        !path.contains("instancesync-") && !path.ends_with("sysinit.target.wants")
    });
    found
}

/// Returns what is not as it should be; `None` where the fault did not happen.
fn try_one(
    turn: &inject::Turn,
    (before, order): (&[Make], Make),
    fault: Fault,
    new: &BTreeMap<PathBuf, String>,
) -> Option<Vec<String>> {
    let ground = ground(before);
    let (old, armed) = (at_peace(&ground), look(ground.live(), false));
    let (complete, new) = (new, &without_danger(new.clone()));
    let injection = Injection::start(turn, Side::Target, Some(fault));
    let told = order(ground.live()).perform();
    if !injection.end() {
        return None;
    }
    let mut found = Vec::new();
    let told = told.map(drop).map_err(|failure| failure.to_string());
    let (from_old, from_new) = (
        differ(&old, &at_peace(&ground)),
        differ(new, &at_peace(&ground)),
    );
    if let (Ok(()), Some(wrong)) = (&told, &from_new) {
        found.push(format!("done, and {wrong}"));
    }
    if let Err(failure) = give(repair, &ground) {
        found.push(format!("{told:?}, then a repair: {failure}"));
    }
    let (old_left, new_left) = (
        differ(&old, &at_peace(&ground)),
        differ(new, &at_peace(&ground)),
    );
    if let (Some(from_old_now), Some(from_new_now)) = (&old_left, &new_left) {
        found.push(format!(
            "{told:?}: a mixture ({from_old:?}): {from_old_now}; {from_new_now}"
        ));
    }
    // A clone that is not confirmed keeps what guards it.
    if let (None, true, Some(wrong)) = (
        &old_left,
        new_left.is_some(),
        differ(&armed, &look(ground.live(), false)),
    ) {
        found.push(format!("{told:?}, not done, and {wrong}"));
    }
    let again = give(order, &ground);
    // What is done already is refused.
    if let (Err(failure), true) = (&again, new_left.is_some()) {
        found.push(format!("{told:?}, then again: {failure}"));
    }
    // With nothing left of what is there while there is danger.
    if let Some(wrong) = differ(complete, &look(ground.live(), false)) {
        found.push(format!("{told:?}, after another time: {wrong}"));
    }
    Some(found)
}

/// Lets an order fail at its calls, after others that have gone through.
fn fail_everywhere(before: &[Make], order: Make) {
    let turn = inject::turn();
    let here = ground(before);
    let injection = Injection::start(&turn, Side::Target, None);
    let done = order(here.live()).perform();
    let census = injection.census();
    done.unwrap();
    let new = look(here.live(), false);
    let mut faults = faults(&census);
    // The program that is placed is this large test: each errno only where all is asked for.
    let is_all = seeds(1).len() > 1;
    faults.retain(|fault| is_all || fault.errno == Errno::IO);
    let (mut hits, mut complaints) = (0, Vec::new());
    for fault in &faults {
        if let Some(found) = try_one(&turn, (before, order), *fault, &new) {
            hits += 1;
            complaints.extend(found.into_iter().map(|what| format!("{fault}: {what}")));
        }
    }
    println!("{hits} faults of {}", faults.len());
    assert_none(&complaints, "complaints");
    assert!(hits > 20, "{hits} of {}", faults.len());
}

fn can(test: &str) -> bool {
    can_run(test, &[Ability::Root]) && can_inject(test)
}

#[test]
fn a_call_that_fails_in_the_order_to_switch_leaves_one_tree_or_the_other() {
    if can("a_call_that_fails_in_the_order_to_switch_leaves_one_tree_or_the_other") {
        fail_everywhere(&[], switch);
    }
}

#[test]
fn a_call_that_fails_in_the_order_to_roll_back_leaves_one_tree_or_the_other() {
    if can("a_call_that_fails_in_the_order_to_roll_back_leaves_one_tree_or_the_other") {
        fail_everywhere(&[switch], rollback);
    }
}

#[test]
fn a_call_that_fails_in_the_order_to_discard_leaves_the_live_tree() {
    if can("a_call_that_fails_in_the_order_to_discard_leaves_the_live_tree") {
        fail_everywhere(&[switch, confirm], discard);
    }
}

/// A rollback that cannot see which kernels there are brings no modules for them.
#[test]
fn a_rollback_brings_the_modules_of_every_kernel_or_is_told() {
    let test = "a_rollback_brings_the_modules_of_every_kernel_or_is_told";
    if !can(test) {
        return;
    }
    let turn = inject::turn();
    let make = || {
        let ground = ground(&[switch]);
        for at in ["boot/vmlinuz-6.1.0", "usr/lib/modules/6.1.0/modules.dep"] {
            put(&ground.live().join(at), "");
        }
        std::fs::create_dir_all(ground.live().join("lib")).unwrap();
        std::os::unix::fs::symlink("../usr/lib/modules", ground.live().join("lib/modules"))
            .unwrap();
        std::fs::create_dir_all(ground.live().join(".instancesync/previous/lib")).unwrap();
        ground
    };
    let modules = |ground: &Ground| ground.live().join("lib/modules/6.1.0/modules.dep").exists();
    let here = make();
    let injection = Injection::start(&turn, Side::Target, None);
    rollback(here.live()).perform().unwrap();
    let census = injection.census();
    assert!(modules(&here));
    let reads = [
        "openat2",
        "openat",
        "statat",
        "getdents64",
        "fstat",
        "readlinkat",
        "read",
    ];
    for ((side, call), count) in census {
        // Every one of the first calls: that is where kernels are looked for.
        for nth in 0..count.min(30) * u64::from(reads.contains(&call)) {
            let ground = make();
            let fault = Fault {
                side,
                call,
                nth,
                errno: Errno::IO,
                lasts: false,
                no_exchange: false,
            };
            let injection = Injection::start(&turn, Side::Target, Some(fault));
            let told = rollback(ground.live()).perform();
            drop(injection);
            assert!(told.is_err() || modules(&ground), "{fault}: {told:?}");
        }
    }
}
