//! Mounts, swap, and what lies below them. Knows nothing of partitions.

use super::look::{Look, active_lines};
use super::mounts::{self, Uuids, device_name, unescape};
use crate::facts::{FILE_SYSTEM_TOOLS, Mount, Storage, Swap, VolumeTools};

/// Gathers all of it.
pub(super) fn gather(look: &Look) -> Storage {
    let mapped = mapped_kinds(look);
    let has = |kind: &str| mapped.iter().any(|uuid| uuid.starts_with(kind));
    let mdstat = look.text("/proc/mdstat").unwrap_or_default();
    // The key of an encrypted swap is new at every start: no volume to keep.
    let crypttab = look.text("/etc/crypttab").unwrap_or_default();
    let is_kept = |line: &str| !line.split([' ', '\t', ',']).any(|word| word == "swap");
    let mounts = mounts::gather(look);
    Storage {
        by_hand: by_hand(look, &mounts),
        mounts,
        swaps: swaps(look),
        lvm: has("LVM-"),
        raid: mdstat
            .lines()
            .any(|line| line.starts_with("md") && line.contains(" : ")),
        luks: has("CRYPT-LUKS") || active_lines(&crypttab).any(is_kept),
        tools: VolumeTools {
            lvm: has_tools(look, "lvm", "lvm2"),
            raid: has_tools(look, "mdadm", "mdadm"),
            luks: has_tools(look, "cryptsetup", "cryptroot"),
        },
        file_system_tools: FILE_SYSTEM_TOOLS
            .iter()
            .filter(|(_, program)| has_program(look, program))
            .map(|(fs_type, _)| (*fs_type).to_owned())
            .collect(),
    }
}

fn has_program(look: &Look, program: &str) -> bool {
    ["/sbin", "/bin", "/usr/sbin", "/usr/bin"]
        .iter()
        .any(|directory| look.exists(&format!("{directory}/{program}")))
}

/// Tells whether a program is there. Where initramfs-tools makes the images, its `hook` for the
/// program has to be there as well: with Debian's cryptsetup it is a package of its own.
fn has_tools(look: &Look, program: &str, hook: &str) -> bool {
    const HOOKS: &str = "/usr/share/initramfs-tools/hooks";
    has_program(look, program)
        && (!look.is_directory(HOOKS) || look.exists(&format!("{HOOKS}/{hook}")))
}

/// Returns data that lies where usually only something is mounted.
fn by_hand(look: &Look, mounts: &[Mount]) -> Vec<String> {
    let is_mounted = |path: &str| mounts.iter().any(|mount| mount.path == path);
    let holds_data = |path: &String| {
        // LIVE: a mount is never looked into: a file server that is gone never answers.
        !is_mounted(path) && (!look.is_directory(path) || !look.names(path).is_empty())
    };
    let in_directory = |directory: &str| {
        let names = match is_mounted(directory) {
            true => Vec::new(),
            false => look.names(directory),
        };
        let paths = names.into_iter().map(|name| format!("{directory}/{name}"));
        paths.filter(holds_data).collect::<Vec<_>>()
    };
    ["/mnt", "/media"]
        .into_iter()
        .flat_map(in_directory)
        .collect()
}

/// Returns what device-mapper says its volumes are: `LVM-…`, `CRYPT-LUKS2-…`.
fn mapped_kinds(look: &Look) -> Vec<String> {
    let names = look.names("/sys/block").into_iter();
    let volumes = names.filter(|name| name.starts_with("dm-"));
    volumes
        .filter_map(|name| look.word(&format!("/sys/block/{name}/dm/uuid")))
        .collect()
}

fn swaps(look: &Look) -> Vec<Swap> {
    let text = look.text("/proc/swaps").unwrap_or_default();
    let mut swaps: Vec<Swap> = text.lines().skip(1).filter_map(parse_active).collect();
    let uuids = Uuids::gather(look);
    let fstab = look.text("/etc/fstab").unwrap_or_default();
    for path in active_lines(&fstab).filter_map(parse_fstab) {
        let uuid = path
            .strip_prefix("UUID=")
            .map(|uuid| uuid.trim_matches('"'));
        let path = uuid.and_then(|uuid| uuids.device(uuid)).unwrap_or(path);
        let device = device_name(look, &path);
        let is_known = swaps.iter().any(|swap| {
            swap.path == path || (device.is_some() && device_name(look, &swap.path) == device)
        });
        if !is_known {
            swaps.push(Swap {
                is_file: path.starts_with('/') && !path.starts_with("/dev/"),
                active: false,
                path,
            });
        }
    }
    swaps
}

/// Reads `/swapfile file 1048572 0 -2`.
fn parse_active(line: &str) -> Option<Swap> {
    let mut words = line.split_whitespace();
    let path = unescape(words.next()?);
    let path = path.trim_end_matches(" (deleted)").to_owned();
    Some(Swap {
        is_file: words.next()? == "file",
        active: true,
        path,
    })
}

/// Returns the area of a line of fstab that is one.
fn parse_fstab(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let area = words.next()?;
    (words.nth(1)? == "swap").then(|| unescape(area))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_them_fail(text: String) {
            let _read = (parse_active(&text), parse_fstab(&text));
        }
    }
}
