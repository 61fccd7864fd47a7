//! What happens to one name at the top of a volume, and in which order names go. Pure.

use super::Scope;
use super::error::{SwitchError, absolute};
use super::journal::{Part, Step};
use crate::fs::stage::STAGE_NAME;
use crate::relpath::{Name, RelPath};

/// Made by the file system itself, of no use anywhere else.
const LOST_AND_FOUND: &[u8] = b"lost+found";
/// What the machine boots by.
const BOOT: &[u8] = b"boot";

/// One side of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) inode: u64,
    pub(super) is_directory: bool,
    /// Something else is mounted there, or it is another subvolume.
    pub(super) is_mount: bool,
    /// A directory in which nothing lies.
    pub(super) is_empty: bool,
}

/// Both sides of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) live: Option<Found>,
    /// In the tree that is not live.
    pub(super) side: Option<Found>,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It stays on both sides.
    Alone,
    /// The sides change places.
    Moves,
}

impl Seen {
    /// Returns the step of the journal for it.
    pub(super) fn step(&self, name: Name) -> Step {
        Step {
            name,
            old: self.live.map(|found| found.inode),
            new: self.side.map(|found| found.inode),
        }
    }

    /// Names of one file: exchanging them would change nothing.
    fn is_one_file(&self) -> bool {
        match (self.live, self.side) {
            (Some(live), Some(side)) => !live.is_mount && live.inode == side.inode,
            _ => false,
        }
    }
}

/// Decides about a name in a switch.
pub(super) fn choose(
    seen: &Seen,
    path: &RelPath,
    scope: &Scope<'_>,
) -> Result<Choice, SwitchError> {
    if is_never_moved(path) || seen.is_one_file() || is_protected(seen, path, scope) {
        return Ok(Choice::Alone);
    }
    refuse_mounted_side(seen, path)?;
    let stays_empty = seen.side.is_none_or(|side| side.is_empty);
    let is_left_to_target =
        scope.rules.leaves_alone(path, true) || scope.apart.iter().any(|apart| apart == path);
    match seen.live {
        Some(live) if live.is_mount && (stays_empty || is_left_to_target) => Ok(Choice::Alone),
        Some(live) if live.is_mount => Err(SwitchError::Covered {
            path: absolute(path),
        }),
        Some(live) if live.is_directory && stays_empty && is_left_to_target => Ok(Choice::Alone),
        _ => Ok(Choice::Moves),
    }
}

/// Decides about a name in a rollback, where `alone` were left alone by the switch. What programs
/// of the clone made since goes with it.
pub(super) fn choose_back(
    seen: &Seen,
    path: &RelPath,
    alone: &[Name],
) -> Result<Choice, SwitchError> {
    let was_alone = path.split().is_some_and(|(_, name)| alone.contains(&name));
    if was_alone || is_never_moved(path) || seen.is_one_file() {
        return Ok(Choice::Alone);
    }
    refuse_mounted_side(seen, path)?;
    match (seen.live, seen.side) {
        // It cannot be moved, and is in nobody's way.
        (Some(live), None) if live.is_mount => Ok(Choice::Alone),
        (Some(live), Some(_)) if live.is_mount => Err(SwitchError::MountPoint {
            path: absolute(path),
        }),
        _ => Ok(Choice::Moves),
    }
}

fn is_never_moved(path: &RelPath) -> bool {
    path.split()
        .is_none_or(|(_, name)| [STAGE_NAME, LOST_AND_FOUND].contains(&name.as_bytes()))
}

fn is_protected(seen: &Seen, path: &RelPath, scope: &Scope<'_>) -> bool {
    if scope.edited.contains(path) {
        return false;
    }
    let sides = [seen.live, seen.side].into_iter().flatten();
    let protects = |is_directory| {
        let decision = scope.rules.decide_deep(path, is_directory);
        decision.verdict.protects()
    };
    sides.map(|found| found.is_directory).any(protects)
}

fn refuse_mounted_side(seen: &Seen, path: &RelPath) -> Result<(), SwitchError> {
    match seen.side {
        Some(side) if side.is_mount => Err(SwitchError::MountPoint {
            path: format!("{} of the other tree", absolute(path)),
        }),
        _ => Ok(()),
    }
}

/// Returns all steps, each with the index of its part. ORDER: data first; what programs are
/// loaded from last and close together, for while only one of them is new, nothing starts.
///
/// ORDER: what the machine boots by goes after all else, and comes back before it: the kernel
/// that is booted after a power cut then has its modules, as the clone has those of both.
pub(super) fn in_order<'a>(parts: &'a [Part], is_back: bool) -> Vec<(usize, &'a Step)> {
    let each = parts.iter().enumerate();
    let mut steps: Vec<(i8, usize, &'a Step)> = each
        .flat_map(|(index, part)| {
            let ranked = move |step: &'a Step| {
                let path = part.volume.join(&step.name);
                (rank(&path, is_back), index, step)
            };
            let steps: &[Step] = &part.steps;
            steps.iter().map(ranked)
        })
        .collect();
    steps.sort_by_key(|(rank, _, _)| *rank);
    let steps = steps.into_iter();
    steps.map(|(_, index, step)| (index, step)).collect()
}

/// Tells whether the machine boots by a name.
pub(super) fn is_boot(path: &RelPath) -> bool {
    path.parts().next() == Some(BOOT)
}

/// Returns the place of a path among all: data, `/var`, `/etc`, programs and libraries, `/boot`. On
/// a file system of its own the menu goes after the kernels that it names.
fn rank(path: &RelPath, is_back: bool) -> i8 {
    let mut parts = path.parts();
    match parts.next().unwrap_or_default() {
        BOOT => {
            let is_loader = parts.next().is_some_and(|name| name.starts_with(b"grub"));
            let rank = if is_loader { 5 } else { 4 };
            if is_back { -rank } else { rank }
        }
        b"var" => 1,
        b"etc" => 2,
        b"usr" | b"bin" | b"sbin" => 3,
        name if name.starts_with(b"lib") => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
