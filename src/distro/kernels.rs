//! The kernels of a machine: their images in `/boot` and their modules. Knows nothing of boot
//! loaders.

use std::collections::BTreeMap;

use super::look::Look;
use crate::facts::{Kernel, Kernels};

/// How the images of kernels begin, by the versions that follow.
const IMAGES: [&str; 6] = [
    "vmlinuz-", "vmlinux-", "kernel-", "Image-", "bzImage-", "image-",
];
/// Where modules lie.
const MODULES: [&str; 2] = ["/usr/lib/modules", "/lib/modules"];

/// Gathers them.
pub(super) fn gather(look: &Look) -> Kernels {
    let mut found: BTreeMap<String, Kernel> = BTreeMap::new();
    let mut flavours = Vec::new();
    let entry_directory = look.word("/etc/machine-id").map(|id| format!("/boot/{id}"));
    for name in look.names("/boot") {
        let version = IMAGES.iter().find_map(|start| name.strip_prefix(start));
        match version {
            Some(version) if is_version(version) => image(&mut found, version),
            Some(flavour) => flavours.push(flavour.to_owned()),
            None => {}
        }
    }
    // The layout of the boot loader specification: a directory a version.
    for version in entry_directory
        .iter()
        .flat_map(|directory| look.names(directory))
    {
        if is_version(&version) {
            image(&mut found, &version);
        }
    }
    for directory in MODULES {
        for version in look.names(directory) {
            let path = format!("{directory}/{version}");
            if is_version(&version) && has_modules(look, &path) {
                let kernel = entry(&mut found, &version);
                kernel.has_modules = true;
                kernel.has_image |= has_image(look, &path, &version, &flavours);
            }
        }
    }
    Kernels {
        running: look.word("/proc/sys/kernel/osrelease"),
        installed: found.into_values().collect(),
    }
}

fn entry<'f>(found: &'f mut BTreeMap<String, Kernel>, version: &str) -> &'f mut Kernel {
    found.entry(version.to_owned()).or_insert_with(|| Kernel {
        version: version.to_owned(),
        ..Kernel::default()
    })
}

fn image(found: &mut BTreeMap<String, Kernel>, version: &str) {
    entry(found, version).has_image = true;
}

/// Tells a version from a flavour (`linux`, `virt`), a rescue image and a signature.
fn is_version(text: &str) -> bool {
    let is_other = ["rescue", ".hmac", ".old", ".bak", ".sig"];
    text.starts_with(|letter: char| letter.is_ascii_digit())
        && text.contains('.')
        && !is_other.iter().any(|word| text.contains(word))
}

/// A directory without an index is what another package left behind.
fn has_modules(look: &Look, directory: &str) -> bool {
    ["modules.dep", "modules.order", "kernel"]
        .iter()
        .any(|name| look.exists(&format!("{directory}/{name}")))
}

/// Looks for an image whose name has no version: Arch's, Alpine's, the Raspberry Pi's.
fn has_image(look: &Look, directory: &str, version: &str, flavours: &[String]) -> bool {
    if look.exists(&format!("{directory}/vmlinuz")) {
        return true;
    }
    let base = look.word(&format!("{directory}/pkgbase"));
    let is_flavour = |flavour: &String| {
        base.as_ref() == Some(flavour) || version.ends_with(&format!("-{flavour}"))
    };
    let is_board = version.contains("-rpi") || version.contains("-v7") || version.contains("-v8");
    flavours.iter().any(is_flavour)
        || (is_board && look.any(&["/boot/firmware/kernel*", "/boot/kernel*"]))
}
