//! What a plan is made from, and the questions about paths that its checks ask of it. Knows
//! nothing of the checks.

use crate::exclude::profile::{AppliedProfile, Policies};
use crate::exclude::{Rules, Verdict};
use crate::facts::{Facts, Mount, MountKind};
use crate::relpath::RelPath;
use crate::transfer::scan::Extent;

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    /// The source.
    pub source: &'a Facts,
    /// The target. For a directory that is another root, the facts of that root.
    pub target: &'a Facts,
    /// The directory that is copied, absolute.
    pub source_dir: &'a str,
    /// Where it goes, absolute as the target's facts see it.
    pub target_dir: &'a str,
    /// Whether what only the target has is removed.
    pub deletes: bool,
    /// Whether the clone is built beside the running system and then exchanged with it.
    pub is_staged: bool,
    /// Ids of blockers that the person accepts.
    pub accepted: &'a [String],
    /// What becomes of what makes a machine this one.
    pub policies: Policies,
    /// The name that the clone gets under [`HostnamePolicy::Name`](crate::exclude::profile::HostnamePolicy).
    pub given_name: Option<&'a str>,
    /// The profiles in force.
    pub profiles: &'a [AppliedProfile],
    /// All rules: those of the command line, then those of the profiles.
    pub rules: &'a Rules,
    /// Mount points of the source that are copied as well, absolute.
    pub included_mounts: &'a [String],
    /// Whether the user said that other file systems are to stay out.
    pub one_file_system: bool,
    /// How much there is; `None` where the source was not measured.
    pub extent: Option<&'a Extent>,
    /// What the target has already, for each of its file systems; may be empty.
    pub target_room: &'a [TargetRoom],
    /// Directories of the target in which everything stays its own and is linked into the stage,
    /// absolute; the larger of what its programs may write to until the reboot.
    pub linked: &'a [String],
    /// The account of the target that the run logs in as; `None` where it needs no login.
    pub login_user: Option<&'a str>,
    /// What the link was found to carry.
    pub link_bytes_per_second: Option<u64>,
    /// The source's clock when the target was asked for its own, in milliseconds since 1970.
    /// Without it the clocks are taken from the facts.
    pub source_clock_ms: Option<i64>,
    /// What earlier runs have left on the target.
    pub standing: &'a Standing,
}

/// What earlier runs have left on a target that is to be staged onto.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing that stands in the way.
    #[default]
    Free,
    /// The system that the last switch has replaced: it goes before anything is staged.
    Replaced,
    /// The clone of this very source, not yet rebooted into or not yet seen.
    Cloned,
    /// What a run is refused for, in words.
    Occupied(String),
}

/// What one file system of the target has already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetRoom {
    /// Its mount point, absolute as the target's facts see it.
    pub mount_point: String,
    /// Bytes of what rules keep there.
    pub kept_bytes: u64,
    /// Inodes of what rules keep there.
    pub kept_inodes: u64,
    /// Bytes of what an earlier run left and nothing else holds: a stage is continued or removed,
    /// and what a switch replaced is removed before anything is staged.
    pub left_bytes: u64,
    /// Its inodes.
    pub left_inodes: u64,
}

impl<'a> PlanInput<'a> {
    /// Returns the input for a clone of the whole system in place, not measured, with the
    /// default policies.
    pub fn new(source: &'a Facts, target: &'a Facts, rules: &'a Rules) -> PlanInput<'a> {
        PlanInput {
            source,
            target,
            source_dir: "/",
            target_dir: "/",
            deletes: false,
            is_staged: false,
            accepted: &[],
            policies: Policies::default(),
            given_name: None,
            profiles: &[],
            rules,
            included_mounts: &[],
            one_file_system: false,
            extent: None,
            target_room: &[],
            linked: &[],
            login_user: None,
            link_bytes_per_second: None,
            source_clock_ms: None,
            standing: &Standing::Free,
        }
    }

    /// Tells whether a whole system becomes a whole system.
    pub fn is_whole_system(&self) -> bool {
        self.source_dir == "/" && self.target_dir == "/"
    }

    /// Returns the verdict about a path of the source, absolute; skipped where it is not below
    /// the directory that is copied.
    pub(super) fn verdict(&self, path: &str, is_directory: bool) -> Verdict {
        match below(self.source_dir, path) {
            // What no rule can name is protected by none.
            Some(rest) => match RelPath::new(rest.trim_end_matches('/').as_bytes()) {
                Ok(rest) => self.rules.decide_deep(&rest, is_directory).verdict,
                Err(_) => Verdict::Copy,
            },
            None => Verdict::Skip,
        }
    }

    /// Tells whether the rules let a file of the source arrive.
    pub(super) fn arrives(&self, path: &str) -> bool {
        self.verdict(path, false) == Verdict::Copy
    }

    /// Tells whether the rules let what lies in a directory arrive, or the file of that path.
    /// `/mnt/**` says nothing of `/mnt` itself, so a name in it is asked for too.
    pub(super) fn contents_arrive(&self, path: &str) -> bool {
        self.verdict(path, true) == Verdict::Copy && self.arrives(&join(path, "any-name"))
    }

    /// Returns the mounts of the source below the directory that is copied.
    pub(super) fn inner_mounts(&self) -> impl Iterator<Item = &'a Mount> {
        let (mounts, start) = (&self.source.storage.mounts, self.source_dir);
        mounts
            .iter()
            .filter(move |mount| below(start, &mount.path).is_some_and(|rest| !rest.is_empty()))
    }

    /// Tells whether a mount of the source is copied.
    pub(super) fn enters(&self, mount: &Mount) -> bool {
        self.included_mounts.contains(&mount.path)
    }

    /// Returns each pair of a source file system and a target file system that receives some of
    /// it, as far as rules let it.
    pub(super) fn landings(&self) -> Vec<(&'a Mount, &'a Mount)> {
        let (source, target) = (&self.source.storage, &self.target.storage);
        let entered = self.inner_mounts().filter(|mount| self.enters(mount));
        let mut pairs: Vec<_> = source
            .mount_of(self.source_dir)
            .into_iter()
            .map(|mount| (mount, self.source_dir))
            .chain(entered.map(|mount| (mount, &*mount.path)))
            .filter(|(_, path)| self.contents_arrive(path))
            .filter_map(|(mount, path)| Some((mount, target.mount_of(&self.target_path(path)?)?)))
            .collect();
        for (mount, path) in inner_targets(self.target, self.target_dir) {
            if self.is_known_empty(path) {
                continue;
            }
            let path = join(self.source_dir, path);
            let origin = source
                .mount_of(&path)
                .filter(|origin| self.is_copied(origin));
            if let Some(origin) = origin.filter(|_| self.contents_arrive(&path)) {
                pairs.push((origin, mount));
            }
        }
        pairs
    }

    /// Tells whether the scan found nothing, or an empty directory, to land at a mount point.
    fn is_known_empty(&self, mount_point: &str) -> bool {
        let portions = self.extent.map_or(&[][..], |extent| &extent.portions);
        portions
            .iter()
            .filter(|portion| portion.mount_point.as_bytes() == mount_point.as_bytes())
            .any(|portion| portion.entries <= 1)
    }

    fn is_copied(&self, mount: &Mount) -> bool {
        let own = self.source.storage.mount_of(self.source_dir);
        self.enters(mount) || own.is_some_and(|own| own.path == mount.path)
    }

    /// Returns where a path of the source comes to lie.
    pub(super) fn target_path(&self, source_path: &str) -> Option<String> {
        below(self.source_dir, source_path).map(|rest| join(self.target_dir, rest))
    }

    /// Returns how far the target's clock is ahead of the source's, in milliseconds.
    pub(super) fn clock_skew_ms(&self) -> Option<i64> {
        let source = self.source_clock_ms.or(self.source.clock_ms)?;
        Some(self.target.clock_ms?.saturating_sub(source))
    }
}

/// Tells whether a mount shows data of its machine that no other mount shows. A type that nobody
/// knows may be a disk's.
pub(super) fn has_own_data(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Disk | MountKind::Unknown)
}

/// Returns where further file systems of the target begin below `target_dir`, for
/// [`Scan::mount_points`](crate::transfer::scan::Scan).
pub fn mount_points(target: &Facts, target_dir: &str) -> Vec<RelPath> {
    let mut points: Vec<RelPath> = inner_targets(target, target_dir)
        .filter_map(|(_, path)| RelPath::new(path.as_bytes()).ok())
        .collect();
    points.sort();
    points.dedup();
    points
}

/// Returns the mounts of the target below `target_dir` that can hold copied files, with their
/// paths there. What the kernel makes, images and FUSE hold none.
fn inner_targets<'a>(
    target: &'a Facts,
    target_dir: &str,
) -> impl Iterator<Item = (&'a Mount, &'a str)> {
    let mounts = target.storage.mounts.iter();
    mounts
        .filter(|mount| {
            matches!(
                mount.kind,
                MountKind::Disk | MountKind::Bind | MountKind::Network | MountKind::Unknown
            )
        })
        .filter_map(move |mount| Some((mount, below(target_dir, &mount.path)?)))
        .filter(|(_, path)| !path.is_empty())
}

/// Returns the part of `path` below `directory`, without a slash in front; empty for the same.
pub(super) fn below<'p>(directory: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(directory.trim_end_matches('/'))?;
    match rest.strip_prefix('/') {
        Some(rest) => Some(rest),
        None => rest.is_empty().then_some(rest),
    }
}

/// Returns `rest` below `directory`.
pub(super) fn join(directory: &str, rest: &str) -> String {
    match (directory.trim_end_matches('/'), rest) {
        ("", "") => "/".to_owned(),
        (directory, "") => directory.to_owned(),
        (directory, rest) => format!("{directory}/{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{below, join};

    #[test]
    fn paths_come_apart_and_together() {
        for (directory, path, rest) in [
            ("/", "/", Some("")),
            ("/", "/a/b", Some("a/b")),
            ("/srv", "/srv", Some("")),
            ("/srv", "/srv/a", Some("a")),
            ("/srv", "/srvx", None),
            ("/srv", "/", None),
        ] {
            assert_eq!(below(directory, path), rest, "{directory} {path}");
            if let Some(rest) = rest {
                assert_eq!(join(directory, rest), path);
            }
        }
    }
}
