//! File systems, swap and volumes: what would silently stay behind, and what cannot be held.
//! Knows nothing of sizes.

use super::super::finding::{Found, found};
use super::super::input::{PlanInput, has_own_data};
use super::super::wording::list;
use crate::exclude::Verdict;
use crate::facts::{FILE_SYSTEM_TOOLS, FsFeatures, Mount, MountKind, Storage};

pub(super) fn mount_left_out(input: &PlanInput<'_>) -> Option<Found> {
    if input.one_file_system {
        return None;
    }
    let left_out: Vec<&Mount> = input
        .inner_mounts()
        .filter(|mount| has_own_data(mount))
        .filter(|mount| !input.enters(mount) && input.contents_arrive(&mount.path))
        .collect();
    if left_out.is_empty() {
        return None;
    }
    let names: Vec<String> = left_out
        .iter()
        .map(|mount| format!("{} ({})", mount.path, mount.fs_type))
        .collect();
    let flags: Vec<String> = left_out
        .iter()
        .map(|mount| format!("--include-mount {}", mount.path))
        .collect();
    found(
        format!("the source's {} would be left out", list(&names)),
        "a clone stays on the file system of its directory unless told otherwise",
        format!(
            "say {} to copy, --exclude or --one-file-system to leave out",
            flags.join(" ")
        ),
    )
}

pub(super) fn data_left_behind(input: &PlanInput<'_>) -> Option<Found> {
    let stays = |path: &&String| input.verdict(path, true) == Verdict::Skip;
    let by_hand = input.source.storage.by_hand.iter();
    let names: Vec<&str> = by_hand.filter(stays).map(String::as_str).collect();
    if names.is_empty() {
        return None;
    }
    let mut flags: Vec<&str> = Vec::new();
    for (directory, flag) in [
        ("/mnt/", "--include '/mnt/***'"),
        ("/media/", "--include '/media/***'"),
    ] {
        if names.iter().any(|path| path.starts_with(directory)) {
            flags.push(flag);
        }
    }
    found(
        format!("the source's {} would stay behind", list(&names)),
        "it is no mount, but lies where rules expect what is mounted by hand",
        format!("move it, or say {} to copy it", flags.join(" ")),
    )
}

pub(super) fn attributes_lost(input: &PlanInput<'_>) -> Option<Found> {
    let mut lost: Vec<String> = Vec::new();
    for (source, target) in input.landings() {
        // Nothing is known of a type that nobody knows.
        if [source.kind, target.kind].contains(&MountKind::Unknown) {
            continue;
        }
        let missing = missing(source.features, target.features);
        if !missing.is_empty() {
            lost.push(format!(
                "{} ({}) cannot hold {} of the source's {} ({})",
                target.path,
                target.fs_type,
                list(&missing),
                source.path,
                source.fs_type
            ));
        }
    }
    lost.dedup();
    if lost.is_empty() {
        return None;
    }
    found(
        format!("on the target {}", list(&lost)),
        "files would arrive without their rights, labels or capabilities",
        "mount a file system of the source's type there, with the same options",
    )
}

fn missing(source: FsFeatures, target: FsFeatures) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for (needed, given, name) in [
        (
            source.unix_attributes,
            target.unix_attributes,
            "owners and modes",
        ),
        (source.xattrs, target.xattrs, "extended attributes"),
        (source.acls, target.acls, "ACLs"),
    ] {
        if needed && !given {
            missing.push(name);
        }
    }
    missing
}

type HasVolumes = fn(&Storage) -> bool;

/// What lies below file systems: how it is called, whether a machine has it, and whether it has
/// the tools for it.
const VOLUMES: [(&str, HasVolumes, HasVolumes); 3] = [
    ("LVM", |storage| storage.lvm, |storage| storage.tools.lvm),
    (
        "software RAID",
        |storage| storage.raid,
        |storage| storage.tools.raid,
    ),
    ("LUKS", |storage| storage.luks, |storage| storage.tools.luks),
];

/// Returns the names of those for which `is_meant` says so.
fn volumes(is_meant: impl Fn(HasVolumes, HasVolumes) -> bool) -> Vec<&'static str> {
    let meant = VOLUMES
        .iter()
        .filter(|(_, has, has_tools)| is_meant(*has, *has_tools));
    meant.map(|(name, ..)| *name).collect()
}

pub(super) fn volumes_unsupported(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.storage, &input.target.storage);
    let volumes = volumes(|has, has_tools| has(target) && !has_tools(source));
    if volumes.is_empty() {
        return None;
    }
    found(
        format!(
            "the target's disks use {}, for which the source has no tools",
            list(&volumes)
        ),
        "the clone has the source's programs: its next initramfs would not find the root",
        "install the tools for it on the source, and what puts them into the initramfs",
    )
}

pub(super) fn file_system_tools_missing(input: &PlanInput<'_>) -> Option<Found> {
    let tools = &input.source.storage.file_system_tools;
    let mounts = input.target.storage.mounts.iter();
    let mut missing: Vec<&str> = mounts
        .map(|mount| &*mount.fs_type)
        .filter(|fs_type| FILE_SYSTEM_TOOLS.iter().any(|(of, _)| of == fs_type))
        .filter(|fs_type| !tools.iter().any(|tool| tool == fs_type))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return None;
    }
    let missing = list(&missing);
    found(
        format!("the target has {missing}, for which the source has no tools"),
        "the clone boots, but nothing on it can check, repair or grow its file systems",
        format!("install the tools for {missing} on the source, or on the clone afterwards"),
    )
}

pub(super) fn volumes_left_behind(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.storage, &input.target.storage);
    let volumes = volumes(|has, _| has(source) && !has(target));
    if volumes.is_empty() {
        return None;
    }
    found(
        format!(
            "the source's disks use {}, the target's do not",
            list(&volumes)
        ),
        "files are copied, not volumes: the clone lies on the target's plain disks",
        "set up the target's disks the same way first if that matters",
    )
}

pub(super) fn swap_missing(input: &PlanInput<'_>) -> Option<Found> {
    let has_swap = |storage: &Storage| !storage.swaps.is_empty();
    if !has_swap(&input.source.storage) || has_swap(&input.target.storage) {
        return None;
    }
    let paths: Vec<&str> = input
        .source
        .storage
        .swaps
        .iter()
        .map(|swap| &*swap.path)
        .collect();
    found(
        format!(
            "the source swaps to {}, the target has no swap",
            list(&paths)
        ),
        "swap is not copied, so the clone has less memory to use",
        "make swap on the target and name it in its /etc/fstab",
    )
}

pub(super) fn network_mounts(input: &PlanInput<'_>) -> Option<Found> {
    let mounts: Vec<String> = input
        .inner_mounts()
        .filter(|mount| matches!(mount.kind, MountKind::Network | MountKind::Fuse))
        .filter(|mount| input.verdict(&mount.path, true) == Verdict::Copy)
        .map(|mount| format!("{} ({}, {})", mount.path, mount.fs_type, mount.source))
        .collect();
    if mounts.is_empty() {
        return None;
    }
    found(
        format!("the source mounts {}", list(&mounts)),
        "what lies there is not copied, and a line for it can hold up the boot",
        "see that the target may reach it, and mount it with _netdev,nofail",
    )
}

pub(super) fn mount_merged(input: &PlanInput<'_>) -> Option<Found> {
    let merged: Vec<String> = input
        .inner_mounts()
        .filter(|mount| input.enters(mount))
        .filter_map(|mount| {
            let path = input.target_path(&mount.path)?;
            let place = input.target.storage.mount_of(&path)?;
            (place.path != path).then(|| format!("{} onto {}", mount.path, place.path))
        })
        .collect();
    if merged.is_empty() {
        return None;
    }
    found(
        format!(
            "file systems of the source become directories of the target: {}",
            list(&merged)
        ),
        "the target has no file system of its own there",
        "mount one there first if it is to have one",
    )
}
