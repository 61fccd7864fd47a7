//! Cloud or hypervisor with its agents, and what guards the machine from inside.

use serde::{Deserialize, Serialize};

/// Where the machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Platform {
    /// The cloud or hypervisor.
    pub kind: PlatformKind,
    /// What told: `dmi: Amazon EC2`, `/etc/amazon/ssm`.
    pub evidence: Vec<String>,
    /// Agents of clouds and hypervisors that are installed, sorted by name.
    pub agents: Vec<AgentState>,
}

/// A cloud or hypervisor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// Amazon EC2.
    Amazon,
    /// Microsoft Azure.
    Azure,
    /// Google Compute Engine.
    Google,
    /// DigitalOcean.
    DigitalOcean,
    /// Rackspace.
    Rackspace,
    /// OpenStack elsewhere.
    Openstack,
    /// Hetzner.
    Hetzner,
    /// Linode or Akamai.
    Linode,
    /// Vultr.
    Vultr,
    /// OVH.
    Ovh,
    /// Scaleway.
    Scaleway,
    /// Oracle Cloud.
    OracleCloud,
    /// Alibaba Cloud.
    Alibaba,
    /// Tencent Cloud.
    Tencent,
    /// VMware.
    Vmware,
    /// Hyper-V outside Azure.
    HyperV,
    /// VirtualBox.
    Virtualbox,
    /// Xen elsewhere.
    Xen,
    /// QEMU or KVM elsewhere.
    Qemu,
    /// A container.
    Container,
    /// A machine of its own.
    Metal,
    /// Nothing told.
    #[default]
    Unknown,
}

/// A program of a cloud or hypervisor that runs inside the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agent {
    /// cloud-init.
    CloudInit,
    /// Rackspace's nova-agent.
    NovaAgent,
    /// Xen's guest utilities.
    XenGuest,
    /// Azure's WALinuxAgent.
    Waagent,
    /// Google's guest agent and its kin.
    GoogleGuest,
    /// Amazon's Systems Manager agent.
    AmazonSsm,
    /// EC2 Instance Connect.
    Ec2InstanceConnect,
    /// Further programs of Amazon below `/opt/aws`.
    AwsTools,
    /// DigitalOcean's droplet agent and `do-agent`.
    DropletAgent,
    /// QEMU's guest agent.
    QemuGuest,
    /// open-vm-tools or VMware tools.
    VmwareTools,
    /// Hyper-V's daemons.
    HypervDaemons,
    /// VirtualBox guest additions.
    VirtualboxAdditions,
    /// Hetzner's `hc-utils`.
    HetznerUtils,
    /// Oracle's cloud agent.
    OracleCloudAgent,
    /// Alibaba's assistant.
    AliyunAssist,
    /// Tencent's tools below `/usr/local/qcloud`.
    TencentTools,
    /// Agents of migration services (MGN, HCX).
    MigrationAgent,
}

/// One agent on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentState {
    /// Which.
    pub agent: Agent,
    /// Its units or scripts that start at boot.
    pub enabled_units: Vec<String>,
    /// A path that shows that it is installed.
    pub evidence: String,
}

/// What guards the machine from inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Security {
    /// How SELinux runs now.
    pub selinux: SelinuxMode,
    /// How `/etc/selinux/config` wants it at boot.
    pub selinux_configured: SelinuxMode,
    /// The policy of that file: `targeted`.
    pub selinux_policy: Option<String>,
    /// AppArmor.
    pub apparmor: AppArmor,
}

/// How SELinux runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelinuxMode {
    /// Violations are refused.
    Enforcing,
    /// Violations are logged.
    Permissive,
    /// It is off.
    Disabled,
    /// It is not there.
    #[default]
    Absent,
}

/// How AppArmor runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppArmor {
    /// The kernel has it on.
    Enabled,
    /// Its profiles are there; the kernel has it off, or nobody knows.
    Installed,
    /// It is not there.
    #[default]
    Absent,
}
