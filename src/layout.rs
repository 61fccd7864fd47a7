//! Where a staged clone builds on the target: which of its volumes get a stage of their own, and
//! which paths are on other file systems and stay what they are. Knows nothing of how a stage is
//! filled.

use crate::exclude::Rules;
use crate::facts::{Facts, Mount, MountKind};
use crate::relpath::RelPath;
use crate::source::Source;

/// What the kernel mounts at every boot: nothing lies below that could be carried.
const MOUNTED_AT_BOOT: [&[u8]; 4] = [b"proc", b"sys", b"dev", b"run"];

/// Where a staged clone builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Mount points of the target that get a stage of their own.
    pub volumes: Vec<RelPath>,
    /// Mount points of either machine that the clone does not enter, sorted.
    pub apart: Vec<RelPath>,
}

impl Layout {
    /// Finds them out. A volume is written to where it is a disk's, the rules let its contents
    /// arrive, and the source looks into a directory of that path.
    pub fn new(source: &Source, (from, onto): (&Facts, &Facts), rules: &Rules) -> Layout {
        let is_left_out = |(path, mount): &(RelPath, &Mount)| {
            mount.kind == MountKind::Bind || !enters(source, path)
        };
        let left_out = inner_mounts(from).filter(is_left_out);
        let left_out: Vec<RelPath> = left_out.map(|(path, _)| path).collect();
        let is_left_out = |path: &RelPath| left_out.iter().any(|out| path.below(out).is_some());
        let mut volumes = Vec::new();
        let mut apart = left_out.clone();
        for (path, mount) in inner_mounts(onto) {
            let is_written = is_disk(mount)
                && !is_left_out(&path)
                && !rules.leaves_alone(&path, true)
                && enters(source, &path);
            match is_written {
                true => volumes.push(path),
                false => apart.push(path),
            }
        }
        for list in [&mut volumes, &mut apart] {
            list.sort();
            list.dedup();
        }
        Layout { volumes, apart }
    }
}

fn is_disk(mount: &Mount) -> bool {
    mount.kind == MountKind::Disk && !mount.read_only && mount.features.unix_attributes
}

/// Returns what is mounted below the root of a machine, but what the kernel mounts itself.
fn inner_mounts(facts: &Facts) -> impl Iterator<Item = (RelPath, &Mount)> {
    let mounts = facts.storage.mounts.iter();
    mounts.filter_map(|mount| {
        let path = RelPath::new(mount.path.strip_prefix('/')?.as_bytes()).ok()?;
        let top = path.parts().next()?;
        (!MOUNTED_AT_BOOT.contains(&top)).then_some((path, mount))
    })
}

/// Tells whether the source looks into a directory.
fn enters(source: &Source, path: &RelPath) -> bool {
    let id = source.root.open_beneath(path).and_then(|dir| dir.id());
    id.is_ok_and(|id| source.devices().contains(&id.device))
}
