//! The table of all checks: what each is called, how bad what it finds is, when it is asked, and
//! which pitfalls it is there for. `docs/plan.md` tells people of each.
//!
//! A check is a pure function that finds one thing or nothing. All of them run, whatever one
//! finds. Knows nothing of how findings are shown.

mod access;
mod distribution;
mod kernel;
mod network;
mod platform;
mod room;
mod safety;
mod services;
mod storage;

pub(super) use network::names as stack_names;
pub(super) use room::{Demand, demands};

use super::finding::{Finding, Found, Level};
use super::input::PlanInput;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// What findings of it are called.
    pub id: &'static str,
    /// How bad what it finds is.
    pub level: Level,
    /// When it is asked.
    pub scope: Scope,
    /// The pitfalls that it is there for, by their numbers in the catalogue of how clones break.
    pub pitfalls: &'static [u8],
    run: fn(&PlanInput<'_>) -> Option<Found>,
}

/// The blockers that nobody can accept: the run would write what it reads, or is refused anyway.
const NEVER_ACCEPTED: [&str; 2] = ["same-machine", "target-occupied"];

impl Check {
    /// Tells whether a person can take it for a warning.
    pub fn is_acceptable(&self) -> bool {
        self.level == Level::Blocker && !NEVER_ACCEPTED.contains(&self.id)
    }

    fn level_for(&self, input: &PlanInput<'_>) -> Level {
        let is_accepted = input.accepted.iter().any(|id| id == self.id);
        match is_accepted && self.is_acceptable() {
            true => Level::Warning,
            false => self.level,
        }
    }
}

/// When a check is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Before every clone.
    Always,
    /// Before a clone of a whole system only: the rest does not matter to a directory.
    WholeSystem,
}

/// The function of a check.
type Run = fn(&PlanInput<'_>) -> Option<Found>;

const fn blocker(id: &'static str, pitfalls: &'static [u8], run: Run) -> Check {
    Check {
        id,
        level: Level::Blocker,
        scope: Scope::WholeSystem,
        pitfalls,
        run,
    }
}

const fn warning(id: &'static str, pitfalls: &'static [u8], run: Run) -> Check {
    Check {
        level: Level::Warning,
        ..blocker(id, pitfalls, run)
    }
}

const fn note(id: &'static str, pitfalls: &'static [u8], run: Run) -> Check {
    Check {
        level: Level::Note,
        ..blocker(id, pitfalls, run)
    }
}

const fn always(check: Check) -> Check {
    Check {
        scope: Scope::Always,
        ..check
    }
}

/// All checks: blockers, warnings, notes. Findings come in this order.
pub const CHECKS: &[Check] = &[
    blocker("target-not-root", &[39], safety::target_not_root),
    blocker("source-not-root", &[39], safety::source_not_root),
    blocker("same-machine", &[46], safety::same_machine),
    always(blocker(
        "run-in-progress",
        &[44, 45],
        safety::run_in_progress,
    )),
    blocker("target-occupied", &[44], safety::target_occupied),
    always(blocker("target-read-only", &[27], safety::target_read_only)),
    blocker("target-container", &[5, 10], safety::target_container),
    blocker("target-diskless", &[27], safety::target_diskless),
    blocker(
        "other-architecture",
        &[4, 47],
        distribution::other_architecture,
    ),
    blocker("other-usr-layout", &[22], distribution::other_usr_layout),
    blocker("other-libc", &[4], distribution::other_libc),
    blocker("other-init", &[11], distribution::other_init),
    blocker("other-family", &[6], distribution::other_family),
    blocker("kernel-too-old", &[4, 5], kernel::too_old),
    blocker("kernel-needs-stage", &[5], kernel::needs_stage),
    blocker("kernel-needs-grub", &[5], kernel::needs_grub),
    blocker(
        "kernel-needs-initramfs-tools",
        &[5],
        kernel::needs_initramfs_tools,
    ),
    blocker("kernel-left-behind", &[5], kernel::left_behind),
    blocker(
        "selinux-policy-missing",
        &[18],
        platform::selinux_policy_missing,
    ),
    blocker(
        "network-stack-missing",
        &[11],
        network::target_stack_missing,
    ),
    blocker(
        "network-stack-not-started",
        &[11],
        network::target_stack_not_started,
    ),
    blocker("volumes-unsupported", &[29], storage::volumes_unsupported),
    always(blocker("mount-left-out", &[24], storage::mount_left_out)),
    always(blocker(
        "attributes-lost",
        &[19, 25],
        storage::attributes_lost,
    )),
    always(blocker("no-room", &[20, 27], room::no_room)),
    always(blocker("no-inodes", &[27], room::no_inodes)),
    warning("shared-identity", &[14, 15, 46], safety::shared_identity),
    warning("target-not-fresh", &[46], safety::target_not_fresh),
    warning("target-cloned", &[45], safety::target_cloned),
    warning("previous-goes", &[44], safety::previous_goes),
    warning("data-left-behind", &[24], storage::data_left_behind),
    always(warning("size-unknown", &[27], room::size_unknown)),
    always(warning("room-tight", &[27], room::tight)),
    warning(
        "unknown-distribution",
        &[6],
        distribution::unknown_distribution,
    ),
    warning("other-distribution", &[6], distribution::other_distribution),
    warning(
        "other-major-version",
        &[6],
        distribution::other_major_version,
    ),
    warning(
        "other-minor-version",
        &[6],
        distribution::other_minor_version,
    ),
    warning("other-kernel", &[5, 6], kernel::other),
    warning("kernel-without-modules", &[5], kernel::without_modules),
    warning("kernel-without-fallback", &[5], kernel::without_fallback),
    warning("kernel-for-elsewhere", &[5], kernel::for_elsewhere),
    warning("other-boot-mode", &[29], platform::other_boot_mode),
    warning("other-boot-loader", &[29], platform::other_boot_loader),
    warning(
        "file-system-tools-missing",
        &[29],
        storage::file_system_tools_missing,
    ),
    warning(
        "volumes-left-behind",
        &[7, 29],
        storage::volumes_left_behind,
    ),
    warning("swap-missing", &[9], storage::swap_missing),
    warning("network-mounts", &[7, 8, 24], storage::network_mounts),
    warning("network-unknown", &[11], network::unknown_stack),
    warning("network-stack-doubled", &[10, 11], network::doubled_stack),
    warning("dns-broken", &[13], network::dns_broken),
    warning(
        "firewall-names-source",
        &[33],
        network::firewall_names_source,
    ),
    warning(
        "other-interface-names",
        &[12, 33],
        network::other_interfaces,
    ),
    warning("ssh-port", &[3], access::port),
    warning("ssh-listen-address", &[3, 42], access::listen_address),
    warning("ssh-root-login", &[3, 39], access::root_login),
    warning("ssh-users", &[3], access::users),
    warning("ssh-no-keys", &[3], access::no_keys),
    warning("ssh-keys-elsewhere", &[3], access::keys_elsewhere),
    warning("ssh-other-account", &[3, 39], access::other_account),
    warning(
        "ec2-instance-connect",
        &[17],
        platform::ec2_instance_connect,
    ),
    warning("source-agents", &[16, 17], platform::source_agents),
    warning(
        "target-agents-lost",
        &[16, 17],
        platform::target_agents_lost,
    ),
    warning("selinux-differs", &[18], platform::selinux_differs),
    always(warning("running-databases", &[26], services::databases)),
    always(warning("container-engines", &[25], services::containers)),
    warning("linked-data", &[26], services::linked_data),
    warning("doubled-identities", &[14, 30], services::identities),
    warning("doubled-senders", &[30], services::senders),
    warning("doubled-jobs", &[30], services::jobs),
    warning("moved-identity", &[14, 15], services::moved_identity),
    warning("unfinished-packages", &[31], services::unfinished_packages),
    always(warning("clock-skew", &[40], platform::clock_skew)),
    warning("unknown-facts", &[], platform::unknown_facts),
    always(note("mount-merged", &[24], storage::mount_merged)),
    note("same-name", &[42], services::same_name),
];

/// Asks all checks; blockers come first, in the order of the table.
pub(super) fn run(input: &PlanInput<'_>) -> Vec<Finding> {
    let is_asked = |check: &&Check| check.scope == Scope::Always || input.is_whole_system();
    let mut findings: Vec<Finding> = CHECKS
        .iter()
        .filter(is_asked)
        .filter_map(|check| Some((check, (check.run)(input)?)))
        .map(|(check, found)| Finding {
            level: check.level_for(input),
            id: check.id,
            what: found.what,
            why: found.why,
            hint: found.hint,
        })
        .collect();
    findings.sort_by_key(|finding| finding.level);
    findings
}
