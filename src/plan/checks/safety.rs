//! Whether this is the machine that is meant, and whether it can be written at all.
//!
//! Which of the marks of a machine count alone is decided here, see [`same_machine`]. Knows
//! nothing of what is copied.

use super::super::finding::{Found, found};
use super::super::input::{PlanInput, Standing};
use super::super::wording::list;
use crate::facts::{BootMode, Facts, Identity, MountKind, PlatformKind, ServiceKind};

/// LIMIT: seconds after which an installation is no longer called fresh. A target is usually
/// made on the day of the move; a month forgives a project that was put off.
const FRESH_S: u64 = 30 * 86_400;
/// LIMIT: seconds between two ages that are one installation: reading them takes a moment.
const SAME_AGE_S: u64 = 3600;
/// Accounts of people that images of clouds bring.
const ACCOUNTS_OF_IMAGES: [&str; 16] = [
    "admin",
    "almalinux",
    "alpine",
    "arch",
    "azureuser",
    "centos",
    "cloud-user",
    "debian",
    "ec2-user",
    "fedora",
    "gentoo",
    "opc",
    "opensuse",
    "rocky",
    "ubuntu",
    "vagrant",
];

pub(super) fn target_not_root(input: &PlanInput<'_>) -> Option<Found> {
    let user_id = input.target.access.user_id.filter(|id| *id != 0)?;
    found(
        format!("on the target the agent runs as user {user_id}, not as root"),
        "owners, devices and the files of others can be set by root only",
        "log in as root, or give the account sudo without a password",
    )
}

pub(super) fn source_not_root(input: &PlanInput<'_>) -> Option<Found> {
    let user_id = input.source.access.user_id.filter(|id| *id != 0)?;
    found(
        format!("on the source the program runs as user {user_id}, not as root"),
        "what only root may read would be missing on the clone",
        "start it as root on the source, or with sudo",
    )
}

pub(super) fn target_occupied(input: &PlanInput<'_>) -> Option<Found> {
    let Standing::Occupied(why) = input.standing else {
        return None;
    };
    found(
        why.clone(),
        "a run is refused until that is over",
        "see what is there with 'instancesync status --target HOST'",
    )
}

pub(super) fn target_cloned(input: &PlanInput<'_>) -> Option<Found> {
    if *input.standing != Standing::Cloned {
        return None;
    }
    found(
        "the target was switched to the clone of this machine already",
        "a run copies nothing: it reboots the target where that is to be done, looks at it and confirms it",
        "go on with it, or take it back first with 'instancesync rollback --target HOST'",
    )
}

pub(super) fn previous_goes(input: &PlanInput<'_>) -> Option<Found> {
    if *input.standing != Standing::Replaced {
        return None;
    }
    found(
        "the target still has the system that the last switch has replaced",
        "a run removes it first: from then on 'instancesync rollback' can only bring back the one that \
         runs now",
        "roll back first if you want that system again",
    )
}

/// Refuses to copy a machine onto itself. What counts, decided by what images of clouds share:
///
/// - Equal boot ids of two running systems are one running kernel: they count alone, unless both
///   are containers on it that differ in machine-id and host keys.
/// - Different boot ids are two running kernels: whatever else is equal came from one image.
/// - Without boot ids two equal marks of three count (machine-id, host keys, UUID of the root
///   file system), for each alone is what every copy of an image has.
/// - A mounted root is never the running source; that directories do not overlap is checked where
///   paths are.
pub(super) fn same_machine(input: &PlanInput<'_>) -> Option<Found> {
    if !(input.source.is_live && input.target.is_live) {
        return None;
    }
    let (source, target) = (&input.source.identity, &input.target.identity);
    let marks = marks_shared(source, target);
    let evidence = match (&source.boot_id, &target.boot_id) {
        (Some(own), Some(other)) if own != other => return None,
        (Some(_), Some(_)) => {
            let are_containers = is_container(input.source) && is_container(input.target);
            if are_containers && identity_shared(source, target).is_empty() {
                return None;
            }
            vec!["boot id"]
        }
        _ if marks.len() < 2 => return None,
        _ => marks,
    };
    found(
        format!(
            "source and target are the same machine: equal {}",
            list(&evidence)
        ),
        "it would be overwritten with itself while it is read",
        "give the address of the machine that is to be overwritten",
    )
}

/// Returns the marks that both machines have, by name.
fn marks_shared(source: &Identity, target: &Identity) -> Vec<&'static str> {
    let mut marks = identity_shared(source, target);
    if source.root_uuid.is_some() && source.root_uuid == target.root_uuid {
        marks.push("UUID of the root file system");
    }
    marks
}

fn identity_shared(source: &Identity, target: &Identity) -> Vec<&'static str> {
    let mut marks = Vec::new();
    if source.machine_id.is_some() && source.machine_id == target.machine_id {
        marks.push("machine-id");
    }
    if source
        .host_keys
        .iter()
        .any(|key| target.host_keys.contains(key))
    {
        marks.push("SSH host key");
    }
    marks
}

pub(super) fn shared_identity(input: &PlanInput<'_>) -> Option<Found> {
    if same_machine(input).is_some() {
        return None;
    }
    let marks = identity_shared(&input.source.identity, &input.target.identity);
    if marks.is_empty() {
        return None;
    }
    found(
        format!("source and target have the same {}", list(&marks)),
        "they came from one image, so DHCP and SSH cannot tell them apart",
        "check the address; give the target an identity of its own before the clone",
    )
}

pub(super) fn run_in_progress(input: &PlanInput<'_>) -> Option<Found> {
    let side = if input.target.identity.is_locked {
        "target"
    } else if input.source.identity.is_locked {
        "source"
    } else {
        return None;
    };
    found(
        format!("another run of instancesync writes to the {side}"),
        "two runs would undo each other's work",
        "wait for it to end, or stop it",
    )
}

pub(super) fn target_read_only(input: &PlanInput<'_>) -> Option<Found> {
    let mut paths: Vec<&str> = input
        .landings()
        .into_iter()
        .map(|(_, mount)| mount)
        .filter(|mount| mount.read_only && mount.kind != MountKind::Image)
        .map(|mount| &*mount.path)
        .collect();
    paths.dedup();
    if paths.is_empty() {
        return None;
    }
    let options: Vec<String> = paths
        .iter()
        .map(|path| format!("mount -o remount,rw {path}"))
        .collect();
    found(
        format!("on the target {} is mounted read-only", list(&paths)),
        "nothing can be written there",
        format!("on the target: {}", options.join("; ")),
    )
}

fn is_container(facts: &Facts) -> bool {
    facts.platform.kind == PlatformKind::Container || facts.boot.mode == BootMode::Container
}

pub(super) fn target_container(input: &PlanInput<'_>) -> Option<Found> {
    if !(input.target.is_live && is_container(input.target)) {
        return None;
    }
    found(
        "the target is a container",
        "kernel, network and devices are its machine's and cannot be taken over",
        "take a machine or a virtual machine, or copy single directories with --source",
    )
}

pub(super) fn target_diskless(input: &PlanInput<'_>) -> Option<Found> {
    let root = input.target.storage.mount_of("/")?;
    let is_volatile = matches!(
        root.kind,
        MountKind::Pseudo | MountKind::Overlay | MountKind::Image
    );
    if !is_volatile || !input.target.is_live || is_container(input.target) {
        return None;
    }
    found(
        format!(
            "the target's root is {}: it runs from memory or from an image",
            root.fs_type
        ),
        "what is written there is gone after a reboot",
        "install the target to a disk first",
    )
}

pub(super) fn target_not_fresh(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (input.source, input.target);
    let mut signs = Vec::new();
    let people: Vec<&String> = target
        .access
        .users
        .people
        .iter()
        .filter(|name| !ACCOUNTS_OF_IMAGES.contains(&name.as_str()))
        .filter(|name| !source.access.users.people.contains(name))
        .collect();
    if !people.is_empty() {
        signs.push(format!("accounts of {}", list(&people)));
    }
    let databases: Vec<&String> = target
        .services
        .found
        .iter()
        .filter(|service| service.kind == ServiceKind::Database && service.running)
        .map(|service| &service.name)
        .filter(|name| !source.services.found.iter().any(|own| own.name == **name))
        .collect();
    if !databases.is_empty() {
        signs.push(format!("a running {}", list(&databases)));
    }
    if let Some(age_s) = target.identity.age_s.filter(|age| *age > FRESH_S) {
        // A target that was cloned before is as old as the source.
        let own = source.identity.age_s;
        if own.is_none_or(|own| own.abs_diff(age_s) > SAME_AGE_S) {
            signs.push(format!("an installation of {} days ago", age_s / 86_400));
        }
    }
    if signs.is_empty() {
        return None;
    }
    found(
        format!("the target does not look fresh: it has {}", list(&signs)),
        "what it holds is replaced by what the source holds",
        "make sure that this is the machine you mean, and save what is on it",
    )
}
