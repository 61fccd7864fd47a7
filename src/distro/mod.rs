//! Fills in the facts of a machine: one small file for each subject, each of which reads a few
//! files through a root and never fails. Where the root is the running system, `sshd -T`
//! is asked as well.
//!
//! Changes nothing. Knows nothing of what the facts are good for.

mod access;
mod agents;
mod assignments;
mod command;
mod identity;
mod jobs;
mod kernels;
mod look;
mod machine;
mod mounts;
mod network;
mod os_release;
mod packages;
mod platform;
mod processes;
mod release_files;
mod security;
mod services;
mod sshd;
mod stacks;
mod storage;
mod units;

use std::time::{SystemTime, UNIX_EPOCH};

pub use assignments::Assignments;
pub(crate) use command::ask;
use look::Look;
use processes::Processes;
use units::Units;

use crate::facts::{Distribution, Facts, Kernels, PlatformKind};
use crate::fs::Root;

/// Gathers what is known about the system below `root`; what is not is told in `unknown`.
pub fn gather(root: &Root) -> Facts {
    let look = Look::new(root);
    let distribution = distribution(&look);
    let units = Units::gather(&look);
    let processes = Processes::gather(&look);
    let storage = storage::gather(&look);
    let agents = agents::gather(&look, &units);
    let platform = platform::gather(&look, &storage.mounts, agents);
    let root_mount = storage.mounts.iter().find(|mount| mount.path == "/");
    Facts {
        is_live: look.is_live(),
        architecture: machine::architecture(&look),
        kernels: kernels::gather(&look),
        libc: machine::libc(&look),
        usr_layout: machine::usr_layout(&look),
        init: machine::init(&look),
        boot: machine::boot(&look, platform.kind == PlatformKind::Container),
        network: network::gather(&look, &units),
        security: security::gather(&look),
        packages: packages::gather(&look, distribution.family, &processes),
        services: services::gather(&look, &units, &processes),
        identity: identity::gather(&look, root_mount),
        access: access::gather(&look, &distribution),
        clock_ms: look.is_live().then(clock_ms).flatten(),
        distribution,
        platform,
        storage,
        unknown: look.into_unknown(),
    }
}

/// Gathers only what is known about its kernels. Starts no program. Fails where something of that
/// cannot be looked at: a kernel may be missing then.
pub fn gather_kernels(root: &Root) -> crate::fs::Result<Kernels> {
    // What was asked before is another's concern.
    drop(root.take_unseen());
    let kernels = kernels::gather(&Look::new(root));
    match root.take_unseen() {
        Some(error) => Err(error),
        None => Ok(kernels),
    }
}

fn clock_ms() -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(now.as_millis()).ok()
}

/// Asks os-release, then the older files.
fn distribution(look: &Look) -> Distribution {
    let modern = os_release::PATHS
        .into_iter()
        .find_map(|path| os_release::parse(&look.text(path)?, path));
    let older = || {
        release_files::FILES.iter().find_map(|file| {
            let found = (file.parse)(&look.text(file.path)?)?;
            Some(release_files::distribution(found, file.path))
        })
    };
    modern.or_else(older).unwrap_or_else(|| {
        look.note("no release file names the distribution".to_owned());
        Distribution::default()
    })
}
