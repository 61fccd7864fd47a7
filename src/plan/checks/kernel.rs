//! Whether the source's programs get on with the kernel that the target keeps, or whether the
//! source's kernel can be made to boot there. Knows nothing of distributions.

use super::super::finding::{Found, found};
use super::super::input::PlanInput;
use crate::exclude::profile::KernelPolicy;
use crate::facts::{BootLoader, BootMode, Kernel, Libc, PlatformKind};

/// glibc from this version on, built for its own minimum, refuses kernels before
/// [`OLDEST_KERNEL`]: "FATAL: kernel too old" (release notes of glibc 2.26, for all
/// architectures).
const GLIBC_WITH_MINIMUM: (u32, u32) = (2, 26);
const OLDEST_KERNEL: (u32, u32) = (3, 2);

/// Returns the first two numbers of a version: `6.1` of `6.1.0-18-amd64`.
fn series(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Returns the kernel that the target runs, if the clone is to boot it.
fn kept_kernel<'a>(input: &PlanInput<'a>) -> Option<&'a str> {
    let running = input.target.kernels.running.as_deref();
    running.filter(|_| input.policies.kernel == KernelPolicy::Target)
}

pub(super) fn too_old(input: &PlanInput<'_>) -> Option<Found> {
    let Libc::Glibc(Some(libc)) = &input.source.libc else {
        return None;
    };
    let kernel = kept_kernel(input)?;
    if series(libc)? < GLIBC_WITH_MINIMUM || series(kernel)? >= OLDEST_KERNEL {
        return None;
    }
    let (major, minor) = OLDEST_KERNEL;
    found(
        format!("the source's glibc {libc} needs Linux {major}.{minor}, the target runs {kernel}"),
        "not one program of the clone would start",
        "boot a newer kernel on the target first",
    )
}

pub(super) fn other(input: &PlanInput<'_>) -> Option<Found> {
    let source = input.source.kernels.running.as_deref()?;
    let target = kept_kernel(input)?;
    if series(source) == series(target) {
        return None;
    }
    found(
        format!("the source runs Linux {source}, the target {target}, which stays"),
        "modules and tools that were built for the source's kernel will not load",
        "build such modules anew on the clone, or boot the same kernel on both",
    )
}

pub(super) fn without_modules(input: &PlanInput<'_>) -> Option<Found> {
    let is_foreign = input.target.boot.mode == BootMode::Container
        || input.target.platform.kind == PlatformKind::Container;
    let kernel = kept_kernel(input)?;
    let installed = &input.target.kernels.installed;
    let has_modules = installed
        .iter()
        .any(|found| found.version == kernel && found.has_modules);
    if has_modules || is_foreign || !input.target.is_live {
        return None;
    }
    found(
        format!("the target runs Linux {kernel}, of which it has no modules"),
        "an update has removed them, or it boots a kernel from elsewhere",
        "reboot the target into an installed kernel first; ignore it if none is",
    )
}

/// How the releases of kernels end that are built for one platform, and have few other drivers.
const TAILORED: [&str; 9] = [
    "cloud-amd64",
    "cloud-arm64",
    "-aws",
    "-azure",
    "-gcp",
    "-gke",
    "-kvm",
    "-oracle",
    "-virtual",
];
/// Without this flag the clone boots what the target boots.
const WITHOUT: &str = "leave --kernel source out: the clone boots the target's kernel then";

/// Returns the kernel that the source runs, if the clone is to boot it.
fn coming_kernel<'a>(input: &PlanInput<'a>) -> Option<&'a str> {
    let running = input.source.kernels.running.as_deref();
    running.filter(|_| input.policies.kernel == KernelPolicy::Source)
}

pub(super) fn needs_stage(input: &PlanInput<'_>) -> Option<Found> {
    coming_kernel(input)?;
    if input.is_staged && input.target.is_live {
        return None;
    }
    found(
        "the source's kernel can only come to a running target, with a stage",
        "its initramfs and the menu of the boot loader are made there before the switch",
        format!("clone onto the running target without --in-place, or {WITHOUT}"),
    )
}

pub(super) fn needs_grub(input: &PlanInput<'_>) -> Option<Found> {
    coming_kernel(input)?;
    let boot = &input.target.boot;
    let is_fine = boot.loader == BootLoader::Grub2 && boot.makes_menu;
    if is_fine && boot.mode != BootMode::Container {
        return None;
    }
    found(
        "the target does not boot by a menu that grub-mkconfig makes",
        "nothing else can be told of another kernel and fall back to the target's",
        WITHOUT,
    )
}

pub(super) fn needs_initramfs_tools(input: &PlanInput<'_>) -> Option<Found> {
    let kernel = coming_kernel(input)?;
    if input.source.boot.initramfs_tools {
        return None;
    }
    found(
        format!("the source has no initramfs-tools to make an initramfs of {kernel} with"),
        "its own one was made for its own disks",
        WITHOUT,
    )
}

pub(super) fn left_behind(input: &PlanInput<'_>) -> Option<Found> {
    let kernel = coming_kernel(input)?;
    let is_whole =
        |found: &&Kernel| found.version == kernel && found.has_image && found.has_modules;
    if input
        .target
        .kernels
        .installed
        .iter()
        .any(|found| is_whole(&found))
    {
        return None;
    }
    let has_it = input
        .source
        .kernels
        .installed
        .iter()
        .any(|found| is_whole(&found));
    let arrives = |path: String| input.contents_arrive(&path);
    let image = format!("/boot/vmlinuz-{kernel}");
    let modules = ["/lib", "/usr/lib"].map(|place| format!("{place}/modules/{kernel}"));
    let is_apart = input.one_file_system && input.inner_mounts().any(|mount| mount.path == "/boot");
    if has_it && !is_apart && arrives(image) && modules.into_iter().all(arrives) {
        return None;
    }
    found(
        format!("the source's kernel {kernel} would not come along whole"),
        "its image in /boot or its modules are missing, left out or on another file system",
        format!("boot a kernel that is installed, include /boot and /lib/modules, or {WITHOUT}"),
    )
}

pub(super) fn without_fallback(input: &PlanInput<'_>) -> Option<Found> {
    let kernel = coming_kernel(input)?;
    let installed = &input.target.kernels.installed;
    if installed
        .iter()
        .any(|found| found.has_image && found.has_modules)
    {
        return None;
    }
    found(
        "the target has no kernel with image and modules to fall back to",
        format!("if {kernel} does not come up there, nothing does"),
        "install a kernel on the target first",
    )
}

pub(super) fn for_elsewhere(input: &PlanInput<'_>) -> Option<Found> {
    let kernel = coming_kernel(input)?;
    let (source, target) = (input.source.platform.kind, input.target.platform.kind);
    if source == target || !TAILORED.iter().any(|end| kernel.ends_with(end)) {
        return None;
    }
    found(
        format!("the source's kernel {kernel} is made for its own platform"),
        "it may lack the drivers for the target's disks and network cards",
        "install a general kernel on the source and boot it, or have the console at hand",
    )
}
