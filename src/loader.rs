//! What a clone with the source's kernel boots by, made in its stage: initramfs images by the
//! clone's own tools, and the menu by the target's GRUB, whose installed core has to read it.
//!
//! Programs see the stage in a mount name space of their own: nothing of the running target
//! changes. Knows nothing of the switch.

mod grubenv;
mod menu;
mod programs;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::boot::live_tree;
use crate::entry::{Metadata, Timestamp};
use crate::exclude::{Rules, Verdict};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::metadata::{Before, apply_metadata};
use crate::fs::owned::{OwnedFile, read_owned, replace_owned};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, Staged, Tree, usable_name};
use crate::relpath::RelPath;
use grubenv::{GrubEnv, NEXT, SAVED};
use menu::MenuEntry;
pub use programs::Workshop;

/// Where GRUB's files are below `/boot`, by distribution.
const PLACES: [&str; 2] = ["boot/grub", "boot/grub2"];
const MENU_NAME: &[u8] = b"grub.cfg";
const ENVIRONMENT_NAME: &[u8] = b"grubenv";
/// Lets GRUB boot what its environment says; later settings of the directory win.
const SETTINGS: &str = "etc/default/grub.d/zz-instancesync.cfg";
const SETTINGS_TEXT: &str = "# Written by instancesync: the clone boots the entry that is saved in \
                             GRUB's environment,\n# see grub-set-default(8).\nGRUB_DEFAULT=saved\n";
/// Of the environment: the entry that becomes the saved one when its kernel has shown that it
/// runs. Nobody else knows the name.
const PROVEN: &str = "instancesync_entry";
/// A kernel that panics starts the machine anew after so many seconds, and the loader takes the
/// target's kernel then.
const PANIC: &str = "panic=60";

/// The order to make it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoaderOrder {
    /// The root of the target.
    pub root: PathBuf,
    /// The release of the source's kernel that the clone is to boot.
    pub kernel: String,
    /// Whether somebody looks at the first boot: until then the kernel is tried once.
    pub is_watched: bool,
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderReport {
    /// Releases of the kernels that came along and have an initramfs for the target now.
    pub images: Vec<String>,
    /// The release of the target's kernel that is booted where the source's does not come up.
    pub fallback: String,
    /// Whether the source's kernel is tried once at first. GRUB cannot note that where it cannot
    /// write to the file system of its environment.
    pub is_tried: bool,
}

/// Which kernels a stage has, by their images and modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernels {
    /// Those that came along.
    pub source: Vec<String>,
    /// Those that the target keeps.
    pub target: Vec<String>,
}

impl Kernels {
    /// Looks at the stage of a clone by `rules`.
    pub fn of(stage: &Tree, rules: &Rules) -> Result<Kernels> {
        let boot = path("boot");
        let mut kernels = Kernels::default();
        let mut names = stage.open_beneath(&boot)?.names()?;
        names.sort();
        for name in names {
            let text = String::from_utf8_lossy(&name);
            let Some(release) = text.strip_prefix("vmlinuz-") else {
                continue;
            };
            let image = boot.join(&usable_name(&name)?);
            let modules = format!("/lib/modules/{release}");
            if stage.resolve(modules.as_bytes()).is_err() {
                continue;
            }
            let list = match rules.decide_deep(&image, false).verdict {
                Verdict::Copy => &mut kernels.source,
                _ => &mut kernels.target,
            };
            list.push(release.to_owned());
        }
        Ok(kernels)
    }
}

/// Returns what is made in the stage and must not be taken from the target again.
pub fn made(staged: &Staged, kernels: &Kernels) -> Result<Vec<RelPath>> {
    let images = kernels.source.iter().map(|release| image_of(release));
    let place = place(&live_tree(staged.live())?);
    let own = [MENU_NAME, ENVIRONMENT_NAME].map(|name| Ok(place.join(&usable_name(name)?)));
    let own = own.into_iter().collect::<Result<Vec<RelPath>>>()?;
    Ok(images.chain(own).chain([path(SETTINGS)]).collect())
}

/// Returns where GRUB's files are in a tree.
fn place(tree: &Tree) -> RelPath {
    let mut places = PLACES.iter().map(|place| path(place));
    let found = places.find(|place| tree.open_beneath(place).is_ok());
    found.unwrap_or_else(|| path(PLACES[0]))
}

/// Puts into the stage what only this machine's GRUB reads: then its directory is one that the
/// switch exchanges, and what the target has in it is carried.
pub fn prepare(staged: &Staged) -> Result<()> {
    let live = live_tree(staged.live())?;
    let place = place(&live);
    let environment = environment(&live, &place)?;
    write(staged.stage(), &place, ENVIRONMENT_NAME, &environment)?;
    let settings = OwnedFile {
        contents: SETTINGS_TEXT.into(),
        metadata: readable(),
    };
    let Some((directory, name)) = path(SETTINGS).split() else {
        return Ok(());
    };
    write(staged.stage(), &directory, name.as_bytes(), &settings)
}

/// Links into the stage what the target keeps at the top of a `/boot` of its own: it stays where it
/// is, but GRUB's menu is made of what lies in the stage.
pub fn show_kept(staged: &Staged, rules: &Rules) -> Result<()> {
    let boot = path("boot");
    let (live, stage) = (
        staged.live().open_beneath(&boot)?,
        staged.stage().open_beneath(&boot)?,
    );
    for name in live.names()? {
        let name = usable_name(&name)?;
        let decision = rules.decide_deep(&boot.join(&name), false);
        let is_kept = decision.verdict == Verdict::Keep && !live.status_of(&name)?.is_directory();
        match stage.status_of(&name) {
            Err(error) if error.is_missing() && is_kept => live.link(&name, &stage, &name)?,
            _ => {}
        }
    }
    Ok(())
}

fn environment(tree: &Tree, place: &RelPath) -> Result<OwnedFile> {
    let found = read_owned(&tree.open_beneath(place)?, &usable_name(ENVIRONMENT_NAME)?)?;
    Ok(found.unwrap_or_else(|| OwnedFile {
        contents: GrubEnv::default().block().unwrap_or_default(),
        metadata: readable(),
    }))
}

fn readable() -> Metadata {
    Metadata {
        mode: 0o644,
        mtime: now(),
        ..Metadata::default()
    }
}

/// Makes images and menu with the programs of `workshop`, and says which kernel boots.
pub fn make(
    staged: &Staged,
    kernels: &Kernels,
    order: &LoaderOrder,
    workshop: &Workshop<'_>,
) -> std::result::Result<LoaderReport, Failure> {
    let wanted = &order.kernel;
    if !kernels.source.contains(wanted) && !kernels.target.contains(wanted) {
        let what = format!("the source's kernel {wanted} has not come along with its modules");
        return Err(refused(what));
    }
    make_images(staged, kernels, workshop)?;
    let menu = make_menu(kernels, wanted, workshop)?;
    let fallback = fallback(kernels, wanted);
    let entries = menu::entries(&menu);
    let pair = (find(&entries, wanted)?, find(&entries, fallback)?);
    let live = live_tree(staged.live()).map_err(failed)?;
    let place = place(&live);
    let is_tried = order.is_watched && fallback != wanted && workshop.can_write(&place);
    let mut environment = environment(&live, &place).map_err(failed)?;
    let mut variables = GrubEnv::parse(&environment.contents);
    choose(&mut variables, pair, is_tried);
    environment.contents = variables.block().ok_or_else(|| {
        let what = "target: GRUB's environment has no room for the entry to boot";
        Failure::new(ExitCode::Failed, what).hint("see 'grub-editenv list' on the target")
    })?;
    let write = || {
        let menu = as_before(&live, &place, menu.into_bytes())?;
        write(staged.stage(), &place, MENU_NAME, &menu)?;
        write(staged.stage(), &place, ENVIRONMENT_NAME, &environment)
    };
    write().map_err(failed)?;
    Ok(LoaderReport {
        images: kernels.source.clone(),
        fallback: fallback.to_owned(),
        is_tried,
    })
}

fn make_images(
    staged: &Staged,
    kernels: &Kernels,
    workshop: &Workshop<'_>,
) -> std::result::Result<(), Failure> {
    for release in &kernels.source {
        workshop.make_image(release)?;
        if !is_filled(staged.stage(), &image_of(release)) {
            let what = format!("target: the initramfs of {release} was not made");
            return Err(Failure::new(ExitCode::Failed, what));
        }
    }
    Ok(())
}

fn make_menu(
    kernels: &Kernels,
    wanted: &str,
    workshop: &Workshop<'_>,
) -> std::result::Result<String, Failure> {
    let menu = workshop.make_menu()?;
    if !menu::asks_environment(&menu) {
        let what = "the menu that GRUB made does not boot what is saved";
        return Err(refused(format!("{what}, as /{SETTINGS} wants")));
    }
    Ok(
        match kernels.source.iter().any(|release| release == wanted) {
            true => menu::with_word(&menu, wanted, PANIC),
            false => menu,
        },
    )
}

/// Returns the target's kernel that boots where `wanted` does not: the one that runs, if it has
/// one more.
fn fallback<'k>(kernels: &'k Kernels, wanted: &'k str) -> &'k str {
    let running = running_kernel();
    let others = || kernels.target.iter().filter(|release| *release != wanted);
    let found = others().find(|release| **release == running);
    found
        .or_else(|| others().next_back())
        .map_or(wanted, String::as_str)
}

/// Returns the release of the kernel that runs.
pub fn running_kernel() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

/// Returns a new menu with the attributes of the old one.
fn as_before(live: &Tree, place: &RelPath, contents: Vec<u8>) -> Result<OwnedFile> {
    let old = read_owned(&live.open_beneath(place)?, &usable_name(MENU_NAME)?)?;
    let metadata = old.map_or_else(readable, |old| old.metadata);
    Ok(OwnedFile {
        contents,
        metadata: Metadata {
            mtime: now(),
            ..metadata
        },
    })
}

fn now() -> Timestamp {
    Timestamp {
        seconds: jiff::Timestamp::now().as_second(),
        nanoseconds: 0,
    }
}

/// Has `entry` booted: once at first where it `is_tried`, else always.
fn choose(variables: &mut GrubEnv, (entry, fallback): (&str, &str), is_tried: bool) {
    let saved = if is_tried { fallback } else { entry };
    variables.set(SAVED, Some(saved));
    variables.set(NEXT, is_tried.then_some(entry));
    variables.set(PROVEN, is_tried.then_some(entry));
}

/// Lets the kernel that was tried be booted from now on. Does nothing where none was.
pub fn settle(live: &Dir) -> Result<()> {
    let tree = live_tree(live)?;
    let place = place(&tree);
    let directory = match tree.open_beneath(&place) {
        Err(error) if error.is_gone() => return Ok(()),
        result => result?,
    };
    let name = usable_name(ENVIRONMENT_NAME)?;
    let Some(mut environment) = read_owned(&directory, &name)? else {
        return Ok(());
    };
    let mut variables = GrubEnv::parse(&environment.contents);
    let Some(entry) = variables.get(PROVEN).map(str::to_owned) else {
        return Ok(());
    };
    choose(&mut variables, (&entry, &entry), false);
    let Some(block) = variables.block() else {
        return Ok(());
    };
    environment.contents = block;
    replace_owned(&directory, &name, &environment)
}

/// Returns the id of the first entry of a kernel. For the newest that is the one which always is
/// the newest's.
fn find<'e>(entries: &'e [MenuEntry], kernel: &str) -> std::result::Result<&'e str, Failure> {
    let mut entries = entries.iter();
    let found = entries.find(|entry| entry.kernel == kernel);
    found.map(|entry| entry.id.as_str()).ok_or_else(|| {
        refused(format!(
            "the menu that GRUB made has no entry for Linux {kernel}"
        ))
        .hint("look at /etc/default/grub and /etc/grub.d on the target")
    })
}

fn image_of(release: &str) -> RelPath {
    path(&format!("boot/initrd.img-{release}"))
}

fn is_filled(tree: &Tree, path: &RelPath) -> bool {
    let status = || {
        let (parent, name) = path.split()?;
        tree.open_beneath(&parent).ok()?.status_of(&name).ok()
    };
    status().is_some_and(|status| status.is_file() && status.size() > 0)
}

/// Writes a file of the stage, in a directory that is made where it is missing.
fn write(tree: &Tree, directory: &RelPath, name: &[u8], file: &OwnedFile) -> Result<()> {
    let opened = match (tree.open_beneath(directory), directory.split()) {
        (Err(error), Some((parent, last))) if error.is_missing() => {
            let parent = tree.open_beneath(&parent)?;
            parent.make_dir(&last)?;
            let made = parent.open_dir(&last)?;
            let wanted = Metadata {
                mode: 0o755,
                ..readable()
            };
            let refused = apply_metadata(Object::open(&made), false, &wanted, Before::Fresh);
            refused.into_iter().next().map_or(Ok(made), Err)
        }
        (result, _) => result,
    };
    replace_owned(&opened?, &usable_name(name)?, file)
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap_or_default()
}

fn failed(error: FsError) -> Failure {
    Failure::new(ExitCode::Failed, "target: what the clone boots by").because(&error)
}

fn refused(what: String) -> Failure {
    Failure::new(ExitCode::Refused, format!("target: {what}"))
        .hint("nothing was switched; with --kernel target the clone boots the target's kernel")
}
