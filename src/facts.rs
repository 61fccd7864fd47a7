//! What is known about a machine before anything happens to it: one printable value, gathered on
//! the source and by the agent on the target, from which profiles, plan and screens decide.
//!
//! Only nouns; `distro` fills them in. What could not be found out is `None`, empty or
//! `Unknown`, never a guess.

mod distribution;
mod identity;
mod network;
mod platform;
mod software;
mod storage;

pub use distribution::{
    Boot, BootLoader, BootMode, Distribution, Family, Init, Kernel, Kernels, Libc, UsrLayout,
};
pub use identity::{Access, Identity, SshServer, Users};
pub use network::{
    Dns, DnsKind, Firewall, Interface, Network, NetworkStack, StackState, is_loopback,
};
pub use platform::{Agent, AgentState, AppArmor, Platform, PlatformKind, Security, SelinuxMode};
pub use software::{PackageManager, Packages, Service, ServiceKind, Services};
pub use storage::{FILE_SYSTEM_TOOLS, FsFeatures, Mount, MountKind, Storage, Swap, VolumeTools};

use serde::{Deserialize, Serialize};

/// Everything that is known about one machine.
///
/// Texts are what the machine says, with anything that is not UTF-8 replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// Whether this is the running system; `false` for a mounted root, of which nothing that
    /// runs is known.
    pub is_live: bool,
    /// Which Linux it is.
    pub distribution: Distribution,
    /// The processor's architecture as `uname -m` says it: `x86_64`, `aarch64`.
    pub architecture: Option<String>,
    /// The kernels that are there.
    pub kernels: Kernels,
    /// The C library.
    pub libc: Libc,
    /// How `/bin`, `/sbin` and `/lib` lie.
    pub usr_layout: UsrLayout,
    /// What runs as process 1.
    pub init: Init,
    /// How it boots.
    pub boot: Boot,
    /// File systems, swap and what lies below them.
    pub storage: Storage,
    /// Network stacks, interfaces, names.
    pub network: Network,
    /// SELinux and AppArmor.
    pub security: Security,
    /// Cloud or hypervisor, and their agents.
    pub platform: Platform,
    /// Packages and the state of their database.
    pub packages: Packages,
    /// Programs of which a clone has to know.
    pub services: Services,
    /// What makes this machine this one.
    pub identity: Identity,
    /// Who can log in and how.
    pub access: Access,
    /// The clock, in milliseconds since 1970; `None` for a mounted root.
    pub clock_ms: Option<i64>,
    /// What could not be read, one sentence each.
    pub unknown: Vec<String>,
}
