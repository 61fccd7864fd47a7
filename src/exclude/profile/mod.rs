//! Profiles: named sets of rules with reasons, chosen by what is known about both machines.
//!
//! One TOML text is one [`Profile`]; a [`Catalog`] holds the shipped ones and those of the
//! person; [`Catalog::select`] picks what applies and puts its rules in order. The format is in
//! `docs/profiles.md`. Knows nothing of files: whoever reads them hands over their text.

mod catalog;
mod error;
mod placeholder;
mod select;
mod shipped;
mod text;
mod when;

use serde::{Deserialize, Serialize};

pub use catalog::Catalog;
pub use error::{ProfileError, ProfileFault};
pub use placeholder::PLACEHOLDERS;
pub use select::{AppliedProfile, MergeRule, SelectError, Selected, Selection};
pub use text::MAX_TEXT_LEN;
pub use when::Condition;

use super::Verdict;
use crate::facts::NetworkStack;
use crate::merger::Merger;

/// A named set of rules.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name, unique in a catalog: `network-netplan`.
    pub name: String,
    /// What it is about, in one line.
    pub summary: String,
    /// Where it belongs, which decides the order.
    pub group: Group,
    /// For an optional one: whether it applies without being asked for.
    pub is_default: bool,
    /// The network stack that it is about, so that the plan can say who uses it.
    pub stack: Option<NetworkStack>,
    /// When it applies: one of these is enough, none means always.
    pub conditions: Vec<Condition>,
    /// Its rules in the order written.
    pub rules: Vec<ProfileRule>,
    /// What `instancesync cleanup` makes of it; not looked at here.
    pub cleanup: Option<toml::Table>,
    /// Where its text is from: `profile core`, `/etc/instancesync/profiles.d/x.toml`.
    pub origin: String,
}

/// Some patterns with one verdict and one reason.
#[derive(Clone, Debug)]
pub struct ProfileRule {
    /// What it decides.
    pub verdict: Verdict,
    /// Its patterns as written, placeholders included.
    pub paths: Vec<PathPattern>,
    /// Why, in one clause.
    pub reason: String,
    /// Who makes one of both files; there exactly for `merge`.
    pub merger: Option<Merger>,
    /// When it applies, if not whenever its profile does.
    pub condition: Option<Condition>,
}

/// One pattern of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Its line in the profile, from 1.
    pub line: usize,
}

/// What a profile is about. The order is the one in which rules are tried: what the person
/// chose comes first, what is true of every machine last, so that the special decides before
/// the general.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Switched by `--with` and `--without`.
    Optional,
    /// A cloud, a hypervisor and their agents.
    Platform,
    /// A network stack.
    Network,
    /// A family of distributions.
    Family,
    /// Every machine.
    Core,
}

impl Group {
    /// Returns its name as profiles write it.
    pub fn word(self) -> &'static str {
        match self {
            Group::Optional => "optional",
            Group::Platform => "platform",
            Group::Network => "network",
            Group::Family => "family",
            Group::Core => "core",
        }
    }
}

/// What the person decided for the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policies {
    /// Whether two machines go on or one moves.
    pub identity: IdentityPolicy,
    /// Which host name the target has afterwards.
    pub hostname: HostnamePolicy,
    /// Which kernel the target boots afterwards.
    pub kernel: KernelPolicy,
}

/// Whether two machines go on or one moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityPolicy {
    /// Both go on: the target's machine-id, host keys and subscriptions stay its own.
    #[default]
    Clone,
    /// The source retires: they come along.
    Move,
}

/// Which host name the target has afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostnamePolicy {
    /// Its own.
    #[default]
    Target,
    /// The source's.
    Source,
    /// One that was given.
    Name,
}

/// Which kernel the target boots afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelPolicy {
    /// Its own.
    #[default]
    Target,
    /// The source's.
    Source,
}

#[cfg(test)]
mod tests;
