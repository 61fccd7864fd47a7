//! Clouds and their agents, boot files, labels, clocks: what stays the target's and may not fit
//! the source's programs. Knows nothing of how agents are told apart.

use super::super::finding::{Found, found};
use super::super::input::PlanInput;
use super::super::wording::list;
use crate::facts::{Agent, AgentState, BootLoader, BootMode, PlatformKind, Security, SelinuxMode};

/// LIMIT: milliseconds between the clocks that nobody minds. More than a slow answer makes, and
/// less than what certificates and one-time passwords forgive.
const CLOCK_TOLERANCE_MS: u64 = 5000;
const SELINUX_CONFIG: &str = "/etc/selinux/config";

fn agent_name(agent: Agent) -> &'static str {
    match agent {
        Agent::CloudInit => "cloud-init",
        Agent::NovaAgent => "nova-agent",
        Agent::XenGuest => "Xen's guest utilities",
        Agent::Waagent => "WALinuxAgent",
        Agent::GoogleGuest => "Google's guest agent",
        Agent::AmazonSsm => "amazon-ssm-agent",
        Agent::Ec2InstanceConnect => "EC2 Instance Connect",
        Agent::AwsTools => "Amazon's tools in /opt/aws",
        Agent::DropletAgent => "droplet-agent",
        Agent::QemuGuest => "qemu-guest-agent",
        Agent::VmwareTools => "VMware tools",
        Agent::HypervDaemons => "Hyper-V's daemons",
        Agent::VirtualboxAdditions => "VirtualBox's additions",
        Agent::HetznerUtils => "hc-utils",
        Agent::OracleCloudAgent => "Oracle's cloud agent",
        Agent::AliyunAssist => "Alibaba's assistant",
        Agent::TencentTools => "Tencent's tools",
        Agent::MigrationAgent => "an agent of a migration service",
    }
}

fn agent_names(agents: &[&AgentState]) -> String {
    let names: Vec<&str> = agents.iter().map(|state| agent_name(state.agent)).collect();
    list(&names)
}

/// Returns the agents of the first list that the second has not.
fn only_in<'a>(first: &'a [AgentState], second: &[AgentState]) -> Vec<&'a AgentState> {
    let has = |agent: Agent| second.iter().any(|state| state.agent == agent);
    first.iter().filter(|state| !has(state.agent)).collect()
}

pub(super) fn source_agents(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.platform, &input.target.platform);
    let mut strangers = only_in(&source.agents, &target.agents);
    // What does not start does no harm.
    strangers
        .retain(|state| !state.enabled_units.is_empty() && input.contents_arrive(&state.evidence));
    if strangers.is_empty() {
        return None;
    }
    found(
        format!(
            "agents of the source's platform come along: {}",
            agent_names(&strangers)
        ),
        "their programs come with the packages; the fix-ups keep those that are known from starting",
        "nothing now; remove their packages on the clone when you like",
    )
}

pub(super) fn target_agents_lost(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.platform, &input.target.platform);
    let mut lost = only_in(&target.agents, &source.agents);
    lost.retain(|state| input.contents_arrive(&state.evidence));
    if lost.is_empty() {
        return None;
    }
    found(
        format!(
            "the source lacks agents of the target: {}",
            agent_names(&lost)
        ),
        "the clone has the source's programs, so its platform loses hold of it",
        "install them on the source first, or on the clone afterwards",
    )
}

pub(super) fn ec2_instance_connect(input: &PlanInput<'_>) -> Option<Found> {
    let has_it = |agents: &[AgentState]| {
        agents
            .iter()
            .any(|state| state.agent == Agent::Ec2InstanceConnect)
    };
    let is_at_home = input.target.platform.kind == PlatformKind::Amazon;
    if !has_it(&input.source.platform.agents) || is_at_home {
        return None;
    }
    found(
        "the source's SSH server asks EC2 Instance Connect for keys",
        "outside Amazon that program has no keys to give; where it is missing the fix-ups take the \
         line out",
        "nothing now; remove the package ec2-instance-connect on the clone when you like",
    )
}

pub(super) fn selinux_policy_missing(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.security, &input.target.security);
    let is_kept = !input.arrives(SELINUX_CONFIG);
    let has_policy =
        source.selinux != SelinuxMode::Absent || source.selinux_configured != SelinuxMode::Absent;
    if has_policy || !is_kept || target.selinux_configured != SelinuxMode::Enforcing {
        return None;
    }
    found(
        "the target enforces SELinux, the source has no policy for it",
        "a system that must enforce and finds no policy stops at boot",
        "set SELINUX=permissive on the target, or install a policy on the source",
    )
}

pub(super) fn selinux_differs(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = (&input.source.security, &input.target.security);
    let is_equal = mode(source) == mode(target)
        && (source.selinux_policy == target.selinux_policy || mode(target) == "off");
    if is_equal || selinux_policy_missing(input).is_some() {
        return None;
    }
    let text = |security: &Security| match &security.selinux_policy {
        Some(policy) if mode(security) != "off" => format!("{} ({policy})", mode(security)),
        _ => mode(security).to_owned(),
    };
    found(
        format!(
            "SELinux is {} on the source and {} on the target",
            text(source),
            text(target)
        ),
        "files arrive without the labels that the target's mode asks for",
        "nothing for a staged clone, which labels its files at its first boot; after --in-place: \
         touch /.autorelabel on the target before it reboots",
    )
}

/// Returns how SELinux will be after a boot.
fn mode(security: &Security) -> &'static str {
    match security.selinux_configured {
        SelinuxMode::Enforcing => "enforcing",
        SelinuxMode::Permissive => "permissive",
        SelinuxMode::Disabled | SelinuxMode::Absent => "off",
    }
}

pub(super) fn other_boot_mode(input: &PlanInput<'_>) -> Option<Found> {
    let name = |mode: BootMode| match mode {
        BootMode::Uefi => Some("UEFI"),
        BootMode::Bios => Some("BIOS"),
        BootMode::Container | BootMode::Unknown => None,
    };
    let source = name(input.source.boot.mode)?;
    let target = name(input.target.boot.mode)?;
    if source == target {
        return None;
    }
    found(
        format!("the source boots by {source}, the target by {target}"),
        "the clone boots, but its packages update a loader for the other firmware",
        format!("install the loader's packages for {target} on the clone"),
    )
}

pub(super) fn other_boot_loader(input: &PlanInput<'_>) -> Option<Found> {
    let source = loader(input.source.boot.loader)?;
    let target = loader(input.target.boot.loader)?;
    if source == target {
        return None;
    }
    found(
        format!("the source boots with {source}, the target with {target}"),
        "the clone boots, but new kernels are not entered in the loader that stays",
        format!("install {target} on the source, or on the clone afterwards"),
    )
}

fn loader(loader: BootLoader) -> Option<&'static str> {
    match loader {
        BootLoader::Grub2 => Some("GRUB 2"),
        BootLoader::GrubLegacy => Some("GRUB 0.97"),
        BootLoader::SystemdBoot => Some("systemd-boot"),
        BootLoader::Extlinux => Some("EXTLINUX"),
        BootLoader::Lilo => Some("LILO"),
        BootLoader::Zipl => Some("zipl"),
        BootLoader::Board => Some("the board's firmware"),
        BootLoader::None => None,
    }
}

pub(super) fn clock_skew(input: &PlanInput<'_>) -> Option<Found> {
    let skew_ms = input.clock_skew_ms()?;
    if skew_ms.unsigned_abs() <= CLOCK_TOLERANCE_MS {
        return None;
    }
    let direction = if skew_ms > 0 { "ahead of" } else { "behind" };
    found(
        format!(
            "the target's clock is {} s {direction} the source's",
            skew_ms.unsigned_abs() / 1000
        ),
        "certificates, logs and builds go by the time of files",
        "set both clocks: timedatectl set-ntp true",
    )
}

pub(super) fn unknown_facts(input: &PlanInput<'_>) -> Option<Found> {
    let of = |side: &'static str, unknown: &[String]| -> Vec<String> {
        let sentences = unknown.iter();
        sentences.map(|text| format!("{side}: {text}")).collect()
    };
    let unknown = [
        of("source", &input.source.unknown),
        of("target", &input.target.unknown),
    ]
    .concat();
    if unknown.is_empty() {
        return None;
    }
    found(
        format!("not everything could be found out: {}", list(&unknown)),
        "checks that need it say nothing",
        "look at these yourself",
    )
}
