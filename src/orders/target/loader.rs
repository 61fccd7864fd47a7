//! The order to make what a clone with the source's kernel boots by. Knows nothing of how images
//! and menus are made.

use super::{clone_note, failed, lock_within, not_ready, open};
use crate::cleanup::programs::{Programs, ThisMachine};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::Staged;
use crate::loader::{self, Kernels, LoaderOrder, LoaderReport, Workshop};
use std::time::Duration;

/// Makes it in the stage. Done again it makes it anew.
pub(in crate::orders) fn make_loader(order: &LoaderOrder) -> Result<LoaderReport, Failure> {
    if !super::is_running(&order.root) {
        let what = "target: only a running machine can make what it boots by";
        return Err(Failure::new(ExitCode::Refused, what).hint("leave --kernel source away"));
    }
    make_with(order, &ThisMachine)
}

fn make_with(order: &LoaderOrder, programs: &dyn Programs) -> Result<LoaderReport, Failure> {
    let live = open(&order.root)?;
    lock_within(&live, Duration::from_secs(super::SWITCHING_S))?;
    let mut note = clone_note::read(&live)?.ok_or_else(not_ready)?;
    let staged = Staged::open(&live, &note.volumes).map_err(|error| failed(&error))?;
    let kernels = Kernels::of(staged.stage(), &note.rules).map_err(|error| failed(&error))?;
    // ORDER: what is made here is known to be ours before the target's files are carried.
    loader::prepare(&staged).map_err(|error| failed(&error))?;
    let made = loader::made(&staged, &kernels).map_err(|error| failed(&error))?;
    note.edited.extend(made);
    note.edited.sort();
    note.edited.dedup();
    note.write(&live).map_err(|error| failed(&error))?;
    clone_note::carry(&live, &note)?;
    // The target's own kernels are in the stage now, too.
    let kernels = Kernels::of(staged.stage(), &note.rules).map_err(|error| failed(&error))?;
    let workshop = Workshop {
        root: &order.root,
        staged: &staged,
        programs,
    };
    loader::make(&staged, &kernels, order, &workshop)
}
