//! Whether the source's programs can live on the target.
//!
//! The clone has the source's programs and libraries and the target's kernel, boot files and
//! configuration of disks and network. So what both must share blocks (architecture, layout,
//! libc, init, family), and what only makes the kept parts strangers warns (another distribution
//! or version of one family). Knows nothing of kernels.

use super::super::finding::{Found, found};
use super::super::input::PlanInput;
use super::super::wording::version;
use crate::facts::{Distribution, Family, Init, Libc, UsrLayout};

/// RHEL and what is rebuilt from it: one major version is one system under several names.
const REBUILDS: [&str; 6] = ["rhel", "centos", "rocky", "almalinux", "ol", "scientific"];
const SAME_IMAGE: &str = "install the source's distribution on the target";

pub(super) fn other_architecture(input: &PlanInput<'_>) -> Option<Found> {
    let source = input.source.architecture.as_deref()?;
    let target = input.target.architecture.as_deref()?;
    if architecture(source) == architecture(target) {
        return None;
    }
    found(
        format!("the source is {source}, the target {target}"),
        "no program of the source would start there",
        format!("take a target with {source}"),
    )
}

/// Returns one name for what has several.
fn architecture(name: &str) -> &str {
    match name {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "i386" | "i486" | "i586" => "i686",
        name => name,
    }
}

pub(super) fn other_usr_layout(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (input.source.usr_layout, input.target.usr_layout);
    if source == target || [source, target].contains(&UsrLayout::Unknown) {
        return None;
    }
    let has_links = if source == UsrLayout::Merged {
        "source"
    } else {
        "target"
    };
    found(
        format!("/bin, /sbin and /lib are links into /usr on the {has_links} only"),
        "while they change their kind the target has no /bin and no loader",
        format!("{SAME_IMAGE}, or bring both to one layout (package usrmerge)"),
    )
}

pub(super) fn other_libc(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (libc(&input.source.libc)?, libc(&input.target.libc)?);
    if source == target {
        return None;
    }
    found(
        format!("the source's programs stand on {source}, the target's on {target}"),
        "what the target keeps for boot and network would not start any more",
        SAME_IMAGE,
    )
}

fn libc(libc: &Libc) -> Option<&'static str> {
    match libc {
        Libc::Glibc(_) => Some("glibc"),
        Libc::Musl => Some("musl"),
        Libc::Unknown => None,
    }
}

pub(super) fn other_init(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (init(input.source.init)?, init(input.target.init)?);
    if source == target {
        return None;
    }
    found(
        format!("the source starts with {source}, the target with {target}"),
        "services that the target keeps, its network among them, would not be started",
        SAME_IMAGE,
    )
}

fn init(init: Init) -> Option<&'static str> {
    match init {
        Init::Systemd => Some("systemd"),
        Init::Openrc => Some("OpenRC"),
        Init::Sysvinit => Some("System V init"),
        Init::Upstart => Some("Upstart"),
        Init::Unknown => None,
    }
}

/// Returns both distributions where both families are known.
fn both<'a>(input: &PlanInput<'a>) -> Option<(&'a Distribution, &'a Distribution)> {
    let (source, target) = (&input.source.distribution, &input.target.distribution);
    let is_known = ![source.family, target.family].contains(&Family::Unknown);
    is_known.then_some((source, target))
}

/// Returns both distributions where they are of one family.
fn relatives<'a>(input: &PlanInput<'a>) -> Option<(&'a Distribution, &'a Distribution)> {
    both(input).filter(|(source, target)| source.family == target.family)
}

/// Tells whether the versions of both count the same thing.
fn count_alike(source: &Distribution, target: &Distribution) -> bool {
    let is_rebuild = |distribution: &Distribution| REBUILDS.contains(&&*distribution.id);
    source.id == target.id || (is_rebuild(source) && is_rebuild(target))
}

fn named(distribution: &Distribution) -> String {
    let name = if distribution.name.is_empty() {
        &distribution.id
    } else {
        &distribution.name
    };
    if name.is_empty() {
        "an unknown distribution".to_owned()
    } else {
        name.clone()
    }
}

pub(super) fn other_family(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = both(input)?;
    if source.family == target.family {
        return None;
    }
    found(
        format!(
            "the source is {}, the target {}: another family",
            named(source),
            named(target)
        ),
        "boot files, network and packages are laid out differently in each family",
        SAME_IMAGE,
    )
}

pub(super) fn unknown_distribution(input: &PlanInput<'_>) -> Option<Found> {
    let side = if input.source.distribution.family == Family::Unknown {
        "source"
    } else if input.target.distribution.family == Family::Unknown {
        "target"
    } else {
        return None;
    };
    found(
        format!("the family of the {side}'s distribution is unknown"),
        "no profile of a family applies, and nobody can tell whether both fit",
        "read what is kept below, and keep more with profiles of your own",
    )
}

pub(super) fn other_distribution(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = relatives(input)?;
    if source.id == target.id {
        return None;
    }
    found(
        format!(
            "the source is {}, the target {}",
            named(source),
            named(target)
        ),
        "the clone's packages know nothing of the kernel and boot loader that stay",
        SAME_IMAGE,
    )
}

pub(super) fn other_major_version(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = relatives(input)?;
    if !count_alike(source, target) || source.major() == target.major() {
        return None;
    }
    found(
        format!(
            "the source has version {}, the target {}",
            version(&source.version),
            version(&target.version)
        ),
        "kernel and boot files stay as the target's version made them",
        "install the source's version on the target, or expect to update its kernel",
    )
}

pub(super) fn other_minor_version(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = relatives(input)?;
    let is_same_major = source.id == target.id && source.major() == target.major();
    if !is_same_major || source.version == target.version {
        return None;
    }
    found(
        format!(
            "the source has version {}, the target {}",
            version(&source.version),
            version(&target.version)
        ),
        "kernel and boot files of the target may be of another point release",
        "update both first if the clone has to be exact",
    )
}
