//! Kernel modules to load or to leave: the source's files, and those that only the target has.
//! Knows nothing of the hardware.

use std::collections::BTreeSet;

use super::block::{lines, words};
use super::glob::fits_any;
use super::{Case, Change, File, Level, Object, path, quoted};
use crate::relpath::RelPath;

pub(super) const WANTED: &[&str] = &[
    "etc/modules",
    "etc/modules-load.d/*",
    "etc/modprobe.d/*",
    "etc/modprobe.conf",
];
/// Files of a platform, not of the administrator.
const PLATFORM_FILES: [&str; 2] = ["gce-blacklist.conf", "blacklist-azure*.conf"];
/// Drivers of disks and network cards of virtual machines.
const DRIVERS: [&str; 14] = [
    "virtio*", "xen*", "nvme*", "hv_*", "vmw*", "vmxnet*", "ena", "gve", "mlx*", "e1000*",
    "ixgbe*", "ahci", "sd_mod", "ata_piix",
];

pub(super) fn merge(case: &mut Case<'_>) {
    let is_ours = |path: &&RelPath| {
        let text = path.as_bytes();
        let directories = [&b"etc/modules-load.d/"[..], b"etc/modprobe.d/"];
        matches!(text, b"etc/modules" | b"etc/modprobe.conf")
            || directories
                .iter()
                .any(|directory| text.starts_with(directory))
    };
    let paths: Vec<&RelPath> = case.paths().into_iter().filter(is_ours).collect();
    for path in paths {
        warn_of_drivers(case, path);
        merge_one(case, path);
    }
}

fn merge_one(case: &mut Case<'_>, at: &RelPath) {
    let (source, target) = (case.source(at), case.target(at));
    let name = at.split().map(|(_, name)| name);
    let is_of_platform = name.is_some_and(|name| fits_any(&PLATFORM_FILES, name.as_bytes()));
    if is_of_platform {
        return case.propose_target(at, Level::Info, "of a platform: as on the target");
    }
    if source.is_none() {
        return case.propose_target(at, Level::Info, "what only the target has stays");
    }
    let both = source
        .and_then(Object::file)
        .zip(target.and_then(Object::file));
    let change = match both {
        Some((source, target)) if *at == path("etc/modules") => {
            Change::Write(source.with(union(source, target)))
        }
        _ => Object::as_change(source),
    };
    case.propose(at, change, Level::Info, "the source's modules");
}

/// Returns the source's list with the modules that only the target loads.
fn union(source: &File, target: &File) -> Vec<u8> {
    let mut contents = source.contents.clone();
    let mut known: BTreeSet<&[u8]> = lines(&source.contents)
        .filter_map(|line| words(line).next())
        .collect();
    for line in lines(&target.contents) {
        let module = words(line).next();
        let Some(module) = module.filter(|module| !module.starts_with(b"#")) else {
            continue;
        };
        if known.insert(module) {
            if !contents.is_empty() && !contents.ends_with(b"\n") {
                contents.push(b'\n');
            }
            contents.extend_from_slice(line);
            contents.push(b'\n');
        }
    }
    contents
}

/// Warns of a driver that the source leaves out and the target may need.
fn warn_of_drivers(case: &mut Case<'_>, path: &RelPath) {
    let Some(file) = case.source_file(path) else {
        return;
    };
    for line in lines(&file.contents) {
        let mut fields = words(line);
        let is_ban = matches!(fields.next(), Some(b"blacklist" | b"install"));
        let driver = fields.next().filter(|_| is_ban);
        if driver.is_some_and(|driver| fits_any(&DRIVERS, driver)) {
            let what = format!("{}: the target may need that driver", quoted(line));
            case.note(path, Level::Warning, what);
        }
    }
}
