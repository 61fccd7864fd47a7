//! Modules of the kernels that a clone has installed since the switch: where `/boot` is the target's
//! own and stays, the next boot starts one of them also after a rollback. Knows nothing of boot
//! loaders.

use std::path::Path;

use rustix::io::Errno;

use super::failed;
use crate::boot::{live_tree, side_tree};
use crate::distro::gather_kernels;
use crate::entry::Kind;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::metadata::{Before, apply_metadata, read_metadata};
use crate::fs::reserve::with_reserve;
use crate::fs::staged::PREVIOUS_NAME;
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Root, Status, Tree, extents, status_of_fd, usable_name};
use crate::relpath::{Name, RelPath};

/// Where modules lie, be it through a link.
const MODULES: &[u8] = b"/lib/modules";
/// Where kernels lie.
const BOOT: &[u8] = b"boot";
/// What is brought has this name until it is whole.
const TEMP: &[u8] = b".instancesync-modules";

/// Brings the modules of every kernel of the system at `root` that has an image, and whose modules
/// what was replaced does not have, to what was replaced.
pub(super) fn bring_modules(root: &Path, live: &Dir, volumes: &[RelPath]) -> Result<(), Failure> {
    // With the source's kernel it was replaced as well, and comes back with its own kernels.
    let replaced = side_tree(live, volumes, PREVIOUS_NAME);
    if replaced.is_ok_and(|tree| has_boot(&tree)) {
        return Ok(());
    }
    let system = Root::open(root).map_err(|error| failed(&error))?;
    let kernels = gather_kernels(&system).map_err(|error| failed(&error))?;
    let bootable = kernels.installed.into_iter();
    let bootable = bootable.filter(|kernel| kernel.has_image && kernel.has_modules);
    for kernel in bootable {
        let bring = || {
            let previous = side_tree(live, volumes, PREVIOUS_NAME)?;
            bring(&kernel.version, &live_tree(live)?, &previous)
        };
        with_reserve(live, FsError::is_no_space, bring).map_err(|error| {
            let what = format!("target: take the modules of kernel {} back", kernel.version);
            Failure::new(ExitCode::Failed, what)
                .because(&error)
                .hint("nothing was changed; without them that kernel would not boot the old system")
        })?;
    }
    Ok(())
}

fn has_boot(tree: &Tree) -> bool {
    let names = || {
        let boot = RelPath::new(BOOT).ok()?;
        tree.open_beneath(&boot).ok()?.names().ok()
    };
    names().is_some_and(|names| !names.is_empty())
}

fn bring(version: &str, live: &Tree, previous: &Tree) -> Result<(), FsError> {
    let (from, _) = live.resolve(MODULES)?;
    let to = match previous.resolve(MODULES) {
        // A system without any modules: its kernel has all built in.
        Err(error) if error.is_missing() => {
            let (lib, _) = previous.resolve(b"/lib")?;
            let modules = usable_name(b"modules")?;
            previous.open_beneath(&lib)?.make_dir(&modules)?;
            lib.join(&modules)
        }
        found => found?.0,
    };
    let (from, to) = (live.open_beneath(&from)?, previous.open_beneath(&to)?);
    let (name, temp) = (usable_name(version.as_bytes())?, usable_name(TEMP)?);
    match to.status_of(&name) {
        Err(error) if error.is_missing() => {}
        found => return found.map(drop),
    }
    match to.remove_tree(&temp) {
        Err(error) if !error.is_missing() => return Err(error),
        _ => {}
    }
    bring_one(&from, &name, (&to, &temp))?;
    to.rename(&temp, &to, &name)
}

/// Brings a file as a link where that can be, and a directory with everything in it.
fn bring_one(from: &Dir, name: &Name, (to, new): (&Dir, &Name)) -> Result<(), FsError> {
    let status = from.status_of(name)?;
    if status.is_directory() {
        to.make_dir(new)?;
        let (below, made) = (from.open_dir(name)?, to.open_dir(new)?);
        for child in below.names()? {
            let child = usable_name(&child)?;
            bring_one(&below, &child, (&made, &child))?;
        }
        return dress(Object::open(&below), &status, Object::open(&made));
    }
    match from.link(name, to, new) {
        // Another volume, or too many names.
        Err(error) if matches!(error.errno, Errno::XDEV | Errno::MLINK | Errno::PERM) => {}
        result => return result,
    }
    if status.is_file() {
        let file = from.open_file(name)?;
        let status = status_of_fd(&file)?;
        let copy = to.create_file(new)?;
        extents::copy_contents(&file, &copy, status.size())?;
        return dress(Object::open(&file), &status, Object::open(&copy));
    }
    let text = from.link_text(name)?;
    to.make_special(new, &Kind::Symlink { text })
}

fn dress(from: Object<'_>, status: &Status, to: Object<'_>) -> Result<(), FsError> {
    let wanted = read_metadata(from, status)?;
    let refused = apply_metadata(to, false, &wanted, Before::Fresh);
    refused.into_iter().next().map_or(Ok(()), Err)
}
