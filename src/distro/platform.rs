//! On which cloud or hypervisor a machine runs: by what its firmware says, else by what its
//! image carries. Knows nothing of the clouds' own services: the network is never asked.

use super::look::Look;
use crate::facts::{Agent, AgentState, Mount, Platform, PlatformKind};

/// LIMIT: bytes of the environment of process 1.
const ENVIRONMENT_LIMIT: usize = 64 << 10;
/// LIMIT: bytes of `/proc/cpuinfo`; the first processor is in them, the hundredth tells no more.
const CPUINFO_LIMIT: usize = 8 << 10;
/// Where the firmware's table is.
const DMI: &str = "/sys/class/dmi/id";

/// One sign in the DMI table: the field, how its text begins, what that means.
type DmiSign = (&'static str, &'static str, PlatformKind);

/// The signs, the more telling first: the clouds before the hypervisors that they are made of.
const DMI_SIGNS: [DmiSign; 36] = [
    ("sys_vendor", "Amazon EC2", PlatformKind::Amazon),
    ("bios_vendor", "Amazon EC2", PlatformKind::Amazon),
    ("bios_version", "4.2.amazon", PlatformKind::Amazon),
    ("bios_version", "4.11.amazon", PlatformKind::Amazon),
    ("chassis_asset_tag", "Amazon EC2", PlatformKind::Amazon),
    // What Azure writes there instead of a number.
    (
        "chassis_asset_tag",
        "7783-7084-3265-9085-8269-3286-77",
        PlatformKind::Azure,
    ),
    (
        "chassis_asset_tag",
        "OracleCloud.com",
        PlatformKind::OracleCloud,
    ),
    (
        "chassis_asset_tag",
        "OpenTelekomCloud",
        PlatformKind::Openstack,
    ),
    ("product_name", "Google", PlatformKind::Google),
    ("sys_vendor", "Google", PlatformKind::Google),
    ("sys_vendor", "DigitalOcean", PlatformKind::DigitalOcean),
    ("sys_vendor", "Hetzner", PlatformKind::Hetzner),
    ("sys_vendor", "Linode", PlatformKind::Linode),
    ("sys_vendor", "Akamai", PlatformKind::Linode),
    ("sys_vendor", "Vultr", PlatformKind::Vultr),
    ("sys_vendor", "OVH", PlatformKind::Ovh),
    ("sys_vendor", "Scaleway", PlatformKind::Scaleway),
    ("sys_vendor", "Alibaba Cloud", PlatformKind::Alibaba),
    ("sys_vendor", "Tencent Cloud", PlatformKind::Tencent),
    ("sys_vendor", "Rackspace", PlatformKind::Rackspace),
    ("product_name", "Alibaba Cloud", PlatformKind::Alibaba),
    ("product_name", "OpenStack", PlatformKind::Openstack),
    ("sys_vendor", "OpenStack", PlatformKind::Openstack),
    ("sys_vendor", "VMware", PlatformKind::Vmware),
    ("product_name", "VMware", PlatformKind::Vmware),
    ("product_name", "VirtualBox", PlatformKind::Virtualbox),
    ("sys_vendor", "innotek", PlatformKind::Virtualbox),
    ("product_name", "Virtual Machine", PlatformKind::HyperV),
    ("sys_vendor", "Xen", PlatformKind::Xen),
    ("product_name", "HVM domU", PlatformKind::Xen),
    ("sys_vendor", "QEMU", PlatformKind::Qemu),
    ("product_name", "Standard PC", PlatformKind::Qemu),
    ("product_name", "KVM", PlatformKind::Qemu),
    ("product_name", "RHEV", PlatformKind::Qemu),
    ("bios_vendor", "SeaBIOS", PlatformKind::Qemu),
    ("sys_vendor", "Bochs", PlatformKind::Qemu),
];

/// Agents that only one cloud installs: they tell where an image was made for.
const AGENT_SIGNS: [(Agent, PlatformKind); 9] = [
    (Agent::NovaAgent, PlatformKind::Rackspace),
    (Agent::Waagent, PlatformKind::Azure),
    (Agent::GoogleGuest, PlatformKind::Google),
    (Agent::Ec2InstanceConnect, PlatformKind::Amazon),
    (Agent::DropletAgent, PlatformKind::DigitalOcean),
    (Agent::HetznerUtils, PlatformKind::Hetzner),
    (Agent::OracleCloudAgent, PlatformKind::OracleCloud),
    (Agent::AliyunAssist, PlatformKind::Alibaba),
    (Agent::TencentTools, PlatformKind::Tencent),
];

/// Gathers platform and evidence; `agents` is what was found installed.
pub(super) fn gather(look: &Look, mounts: &[Mount], agents: Vec<AgentState>) -> Platform {
    let mut evidence = Vec::new();
    let kind = container(look, mounts, &mut evidence)
        .or_else(|| by_firmware(look, &mut evidence))
        .or_else(|| by_hypervisor(look, &mut evidence))
        .unwrap_or_default();
    // A cloud's own program tells more than the hypervisor below.
    let is_vague = matches!(
        kind,
        PlatformKind::Unknown | PlatformKind::Xen | PlatformKind::Openstack | PlatformKind::Qemu
    );
    let kind = match by_agents(&agents).filter(|_| is_vague) {
        Some((by_agent, path)) if is_plausible(kind, by_agent) => {
            evidence.push(path);
            by_agent
        }
        _ => kind,
    };
    let kind = match kind {
        PlatformKind::Unknown => by_processor(look, &mut evidence),
        kind => kind,
    };
    Platform {
        kind,
        evidence,
        agents,
    }
}

/// On Xen and OpenStack only Rackspace's agent tells more: the others may come with a tree that
/// was copied from elsewhere.
fn is_plausible(kind: PlatformKind, by_agent: PlatformKind) -> bool {
    kind == PlatformKind::Unknown || by_agent == PlatformKind::Rackspace
}

fn by_agents(agents: &[AgentState]) -> Option<(PlatformKind, String)> {
    AGENT_SIGNS.iter().find_map(|(agent, kind)| {
        let state = agents.iter().find(|state| state.agent == *agent)?;
        Some((*kind, state.evidence.clone()))
    })
}

/// The marks of containers. Some of them lie in the images of virtual machines as well, made
/// from those of containers: only a machine of its own has the kernel's own `/dev`.
fn container(look: &Look, mounts: &[Mount], evidence: &mut Vec<String>) -> Option<PlatformKind> {
    const FILES: [&str; 3] = ["/.dockerenv", "/run/.containerenv", "/dev/lxd/sock"];
    let is_machine = mounts
        .iter()
        .any(|mount| mount.path == "/dev" && mount.fs_type == "devtmpfs");
    // A root without a /proc has no process that could be in a container.
    let is_running = look.exists("/proc/self/mountinfo");
    if is_machine || !is_running {
        return None;
    }
    let environment = || {
        let environment = look.root().read_head("/proc/1/environ", ENVIRONMENT_LIMIT);
        let environment = environment.ok()??;
        let mut values = environment.split(|byte| *byte == 0);
        let has = values.any(|value| value.starts_with(b"container="));
        has.then(|| "/proc/1/environ".to_owned())
    };
    // OpenVZ shows the first inside as well as outside, the second outside only.
    let is_openvz = look.exists("/proc/vz") && !look.exists("/proc/bc");
    let file = look
        .first(["/run/systemd/container"])
        .or_else(environment)
        .or_else(|| look.first(FILES))
        .or_else(|| is_openvz.then(|| "/proc/vz".to_owned()))?;
    evidence.push(file);
    Some(PlatformKind::Container)
}

fn by_firmware(look: &Look, evidence: &mut Vec<String>) -> Option<PlatformKind> {
    DMI_SIGNS.iter().find_map(|(field, beginning, kind)| {
        let text = look.word(&format!("{DMI}/{field}"))?;
        text.starts_with(beginning).then(|| {
            evidence.push(format!("dmi: {text}"));
            *kind
        })
    })
}

fn by_hypervisor(look: &Look, evidence: &mut Vec<String>) -> Option<PlatformKind> {
    // The first generations of EC2 run below Xen and say so in the machine's UUID.
    let uuid = look.word("/sys/hypervisor/uuid").unwrap_or_default();
    if uuid.to_ascii_lowercase().starts_with("ec2") {
        evidence.push("/sys/hypervisor/uuid".to_owned());
        return Some(PlatformKind::Amazon);
    }
    let is_xen = look.word("/sys/hypervisor/type").as_deref() == Some("xen")
        || look.exists("/proc/xen/capabilities");
    if is_xen {
        evidence.push("/sys/hypervisor/type".to_owned());
        return Some(PlatformKind::Xen);
    }
    let model = look.word("/proc/device-tree/model").unwrap_or_default();
    if look.exists("/proc/device-tree/hypervisor") || model.starts_with("linux,dummy-virt") {
        evidence.push("/proc/device-tree".to_owned());
        return Some(PlatformKind::Qemu);
    }
    None
}

/// Without any other word: a processor that knows of a hypervisor is virtual.
fn by_processor(look: &Look, evidence: &mut Vec<String>) -> PlatformKind {
    let head = look
        .root()
        .read_head("/proc/cpuinfo", CPUINFO_LIMIT)
        .ok()
        .flatten();
    let head = head.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let flags = head
        .as_deref()
        .unwrap_or("")
        .lines()
        .find(|line| line.starts_with("flags"))
        .map(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
    match flags {
        Some(true) => {
            evidence.push("/proc/cpuinfo: hypervisor".to_owned());
            PlatformKind::Unknown
        }
        Some(false) if look.exists(DMI) => {
            evidence.extend(
                look.word(&format!("{DMI}/product_name"))
                    .map(|t| format!("dmi: {t}")),
            );
            PlatformKind::Metal
        }
        _ => PlatformKind::Unknown,
    }
}
