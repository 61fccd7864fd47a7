//! Whether bytes and inodes suffice on every file system of the target.
//!
//! Counted is what files occupy, not how long they are. A stage lies beside what is there and
//! must fit into what is free. In place the target's own files make way one by one, so only what
//! can never fit blocks. Knows nothing of how it was measured.

use super::super::finding::{Found, found};
use super::super::input::{PlanInput, TargetRoom, join};
use super::super::wording::list;
use crate::facts::Mount;
use crate::units;

/// LIMIT: bytes that stay free: a machine that boots writes logs and caches.
const RESERVED_BYTES: u64 = 256 << 20;
/// LIMIT: the same on a small file system, as one part in so many.
const RESERVED_PART: u64 = 50;

/// What one file system of the target is asked to hold.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Demand<'a> {
    /// Its first mount; further ones of the same device count as this one.
    pub(in crate::plan) mount: &'a Mount,
    /// Names that land on it.
    pub(in crate::plan) entries: u64,
    /// Bytes that they occupy on the source.
    pub(in crate::plan) bytes: u64,
    inodes: u64,
    largest_bytes: u64,
    room: TargetRoom,
}

/// Returns what each file system of the target is asked to hold; nothing without an extent.
pub(in crate::plan) fn demands<'a>(input: &PlanInput<'a>) -> Vec<Demand<'a>> {
    let mut demands: Vec<Demand<'a>> = Vec::new();
    let portions = input.extent.map_or(&[][..], |extent| &extent.portions);
    for portion in portions {
        let below = String::from_utf8_lossy(portion.mount_point.as_bytes());
        let path = join(input.target_dir, &below);
        let Some(mount) = input.target.storage.mount_of(&path) else {
            continue;
        };
        let index = demands
            .iter()
            .position(|demand| is_one_device(demand.mount, mount))
            .unwrap_or_else(|| {
                demands.push(Demand {
                    mount,
                    entries: 0,
                    bytes: 0,
                    inodes: 0,
                    largest_bytes: 0,
                    room: TargetRoom::default(),
                });
                demands.len() - 1
            });
        if let Some(demand) = demands.get_mut(index) {
            demand.entries += portion.entries;
            demand.bytes = demand.bytes.saturating_add(portion.allocated_bytes);
            demand.inodes += portion.inodes;
            demand.largest_bytes = demand.largest_bytes.max(portion.largest_bytes);
        }
    }
    for demand in &mut demands {
        demand.add_room(input);
    }
    demands
}

/// Subvolumes of one file system share its room.
fn is_one_device(first: &Mount, second: &Mount) -> bool {
    first.path == second.path || (!first.device.is_empty() && first.device == second.device)
}

impl Demand<'_> {
    fn add_room(&mut self, input: &PlanInput<'_>) {
        for room in input.target_room {
            let mount = input.target.storage.mount_of(&room.mount_point);
            if mount.is_some_and(|mount| is_one_device(mount, self.mount)) {
                self.room.kept_bytes += room.kept_bytes;
                self.room.kept_inodes += room.kept_inodes;
                self.room.left_bytes += room.left_bytes;
                self.room.left_inodes += room.left_inodes;
            }
        }
    }

    fn reserved_bytes(&self) -> u64 {
        RESERVED_BYTES.min(self.mount.total_bytes / RESERVED_PART)
    }

    /// Returns the bytes that are to be written, with the reserve.
    fn bytes_to_come(&self) -> u64 {
        self.bytes.saturating_add(self.reserved_bytes())
    }

    /// Returns what is missing, as a sentence.
    fn bytes_missing(&self, is_staged: bool) -> Option<String> {
        let (path, free) = (&self.mount.path, self.mount.free_bytes);
        let needed = self.bytes_to_come();
        if is_staged {
            let left = self.room.left_bytes;
            return (needed > free.saturating_add(left)).then(|| {
                format!(
                    "{path} needs {} for the stage and has {} free{}",
                    units::bytes(needed),
                    units::bytes(free),
                    in_what_is_left(left, units::bytes)
                )
            });
        }
        // One file at a time lies there twice, the new one beside the old.
        let whole = self
            .bytes
            .saturating_add(self.room.kept_bytes)
            .saturating_add(self.largest_bytes)
            .saturating_add(self.reserved_bytes());
        let total = self.mount.total_bytes;
        (whole > total).then(|| {
            format!(
                "{path} needs {} and has {} in all",
                units::bytes(whole),
                units::bytes(total)
            )
        })
    }

    fn inodes_missing(&self, is_staged: bool) -> Option<String> {
        let (path, total) = (&self.mount.path, self.mount.total_inodes);
        let (needed, available, left, kind) = if is_staged {
            let (free, left) = (self.mount.free_inodes, self.room.left_inodes);
            (self.inodes, free, left, "free")
        } else {
            (self.inodes + self.room.kept_inodes, total, 0, "in all")
        };
        // A file system without a fixed number says zero.
        (total > 0 && needed > available.saturating_add(left)).then(|| {
            format!(
                "{path} needs {} and has {} {kind}{}",
                units::counted(needed, "inode"),
                units::count(available),
                in_what_is_left(left, units::count)
            )
        })
    }
}

/// Returns the end of a sentence about free room.
fn in_what_is_left(left: u64, text: impl Fn(u64) -> String) -> String {
    match left {
        0 => String::new(),
        left => format!(" and {} in what an earlier run left", text(left)),
    }
}

pub(super) fn no_room(input: &PlanInput<'_>) -> Option<Found> {
    let missing: Vec<String> = demands(input)
        .iter()
        .filter_map(|demand| demand.bytes_missing(input.is_staged))
        .collect();
    if missing.is_empty() {
        return None;
    }
    found(
        format!("on the target {}", list(&missing)),
        "the run would end in the middle with a full disk",
        "enlarge it, or leave something out with --exclude",
    )
}

pub(super) fn no_inodes(input: &PlanInput<'_>) -> Option<Found> {
    let missing: Vec<String> = demands(input)
        .iter()
        .filter_map(|demand| demand.inodes_missing(input.is_staged))
        .collect();
    if missing.is_empty() {
        return None;
    }
    found(
        format!("on the target {}", list(&missing)),
        "no more files could be made there, however many bytes are free",
        "make its file system anew with more inodes, or leave something out",
    )
}

pub(super) fn size_unknown(input: &PlanInput<'_>) -> Option<Found> {
    let reason = if input.extent.is_none() {
        "the source was not measured"
    } else if demands(input).is_empty() {
        "the file systems of the target are unknown"
    } else {
        return None;
    };
    found(
        reason,
        "nobody can tell whether the target has the room",
        "compare df on both machines yourself",
    )
}

pub(super) fn tight(input: &PlanInput<'_>) -> Option<Found> {
    if input.is_staged || no_room(input).is_some() {
        return None;
    }
    let tight: Vec<String> = demands(input)
        .iter()
        .filter(|demand| demand.bytes_to_come() > demand.mount.free_bytes)
        .map(|demand| {
            format!(
                "{} takes up to {} and has {} free",
                demand.mount.path,
                units::bytes(demand.bytes_to_come()),
                units::bytes(demand.mount.free_bytes)
            )
        })
        .collect();
    if tight.is_empty() {
        return None;
    }
    found(
        format!("on the target {}", list(&tight)),
        "it fits only as far as the source's files replace the target's",
        "free some room there if it was not cloned from this source before",
    )
}
