//! What a clone of a whole system is called and where it is found, for the end of the report.
//! Knows nothing of how it came about.

use crate::exclude::Verdict;
use crate::exclude::profile::HostnamePolicy;
use crate::facts::{Facts, PlatformKind};
use crate::plan::Plan;
use crate::settings::{Manner, Reboot, Settings, SystemSettings, Target};

/// What a clone of a whole system is called and where it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneCard {
    /// The target as it was written, `None` for a directory of this machine.
    pub address: Option<String>,
    /// The target directory as it was written.
    pub target_dir: String,
    /// The host name that the clone has.
    pub hostname: Option<String>,
    /// Whether it was staged.
    pub manner: Manner,
    /// Whether the target was to reboot.
    pub reboots: bool,
    /// For how many reasons something is the target's own still.
    pub kept_groups: u64,
    /// Whether a system of Amazon's has come to a machine elsewhere.
    pub left_amazon: bool,
}

impl CloneCard {
    /// Describes the clone of a whole system that these settings and this plan make; `None` for a
    /// directory tree.
    pub fn new(
        settings: &Settings,
        plan: &Plan,
        (source, target): (&Facts, &Facts),
    ) -> Option<CloneCard> {
        let system = settings.system.as_ref()?;
        let is_amazon = |facts: &Facts| {
            facts.platform.kind == PlatformKind::Amazon || facts.distribution.id == "amzn"
        };
        let kept = plan.protected.iter();
        let kept = kept.filter(|group| group.verdict == Verdict::Keep).count();
        Some(CloneCard {
            address: address(settings),
            target_dir: settings.target_dir.display().to_string(),
            hostname: hostname(system, (source, target)),
            manner: settings.manner,
            reboots: settings.course.reboot != Reboot::Never,
            kept_groups: kept as u64,
            left_amazon: is_amazon(source) && target.platform.kind != PlatformKind::Amazon,
        })
    }

    /// Describes the clone that an earlier run has made and that calls itself `hostname`.
    pub fn resumed(settings: &Settings, hostname: Option<String>) -> CloneCard {
        CloneCard {
            address: address(settings),
            target_dir: settings.target_dir.display().to_string(),
            hostname,
            manner: settings.manner,
            reboots: settings.course.reboot != Reboot::Never,
            kept_groups: 0,
            left_amazon: false,
        }
    }
}

fn address(settings: &Settings) -> Option<String> {
    match &settings.target {
        Target::Machine { address, .. } => Some(address.clone()),
        Target::Directory(_) => None,
    }
}

fn hostname(system: &SystemSettings, (source, target): (&Facts, &Facts)) -> Option<String> {
    match system.policies.hostname {
        HostnamePolicy::Target => target.identity.hostname.clone(),
        HostnamePolicy::Source => source.identity.hostname.clone(),
        HostnamePolicy::Name => system.hostname.clone(),
    }
}
