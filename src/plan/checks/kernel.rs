//! Whether the source's programs get on with the kernel that the target keeps. Knows nothing of
//! distributions.

use super::super::finding::{Found, found};
use super::super::input::PlanInput;
use crate::exclude::profile::KernelPolicy;
use crate::facts::{BootMode, Libc, PlatformKind};

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
