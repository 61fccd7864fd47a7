//! Agents of clouds and hypervisors: those of the target start as they did, those that only the
//! source has do not start. Their files stay, so that the package database is right. Knows
//! nothing of what the agents do.

use super::units::{MASK, follow_target};
use super::{Case, Change, File, Level, path};
use crate::facts::Agent;

/// What starts each agent, by the stem of its units and scripts.
const STARTED_BY: &[(Agent, &[&str])] = &[
    (
        Agent::CloudInit,
        &[
            "cloud-init",
            "cloud-init-local",
            "cloud-init-main",
            "cloud-init-network",
            "cloud-init-hotplugd",
            "cloud-config",
            "cloud-final",
            "tiny-cloud*",
            "cloud-init.*",
        ],
    ),
    (Agent::NovaAgent, &["nova-agent", "python3-nova-agent"]),
    (
        Agent::XenGuest,
        &["xe-linux-distribution", "xe-daemon", "xendomains-guest"],
    ),
    (
        Agent::Waagent,
        &[
            "walinuxagent",
            "waagent",
            "walinuxagent-*",
            "waagent-*",
            "azure-vm-utils*",
        ],
    ),
    (
        Agent::GoogleGuest,
        &[
            "google-guest-agent",
            "google-guest-agent-manager",
            "google-guest-compat-manager",
            "google-startup-scripts",
            "google-shutdown-scripts",
            "google-osconfig-agent",
            "google-oslogin-cache",
            "google-network-daemon",
            "google-accounts-daemon",
            "google-clock-skew-daemon",
            "google-instance-setup",
            "gce-workload-cert-refresh",
        ],
    ),
    (
        Agent::AmazonSsm,
        &["amazon-ssm-agent", "snap.amazon-ssm-agent.amazon-ssm-agent"],
    ),
    (
        Agent::Ec2InstanceConnect,
        &[
            "ec2-instance-connect",
            "ec2-instance-connect-harvest-hostkeys",
        ],
    ),
    (
        Agent::AwsTools,
        &[
            "amazon-cloudwatch-agent",
            "awslogsd",
            "awslogs",
            "cfn-hup",
            "codedeploy-agent",
            "awsagent",
            "hibinit-agent",
            "hibagent",
            "ecs",
            "refresh-policy-routes@*",
            "policy-routes@*",
            "set-hostname-imds",
        ],
    ),
    (
        Agent::DropletAgent,
        &["droplet-agent", "droplet-agent-*", "do-agent"],
    ),
    (
        Agent::QemuGuest,
        &["qemu-guest-agent", "qemu-ga", "qemu-guest-agent*"],
    ),
    (
        Agent::VmwareTools,
        &[
            "vmtoolsd",
            "vgauthd",
            "vgauth",
            "open-vm-tools",
            "vmware-tools*",
        ],
    ),
    (
        Agent::HypervDaemons,
        &[
            "hypervkvpd",
            "hypervvssd",
            "hypervfcopyd",
            "hv_kvp_daemon",
            "hv_vss_daemon",
            "hv_fcopy_daemon",
            "hv-kvp-daemon",
            "hv-vss-daemon",
            "hv-fcopy-daemon",
        ],
    ),
    (
        Agent::VirtualboxAdditions,
        &[
            "vboxadd",
            "vboxadd-*",
            "vboxservice",
            "virtualbox-guest-utils",
        ],
    ),
    (Agent::HetznerUtils, &["hc-*"]),
    (
        Agent::OracleCloudAgent,
        &[
            "oracle-cloud-agent",
            "oracle-cloud-agent-updater",
            "oci-utils",
            "ocid",
        ],
    ),
    (
        Agent::AliyunAssist,
        &[
            "aliyun",
            "aliyun-service",
            "aliyun.service",
            "AssistDaemon",
            "aegis",
            "cloudmonitor",
        ],
    ),
    (Agent::TencentTools, &["tat_agent", "sgagent*", "YunJing*"]),
    (
        Agent::MigrationAgent,
        &[
            "aws-replication*",
            "aws-replication-agent",
            "hcx-*",
            "cloudendure*",
        ],
    ),
];
/// Where packages put units.
const VENDOR_UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
/// The agent's own switch, read by its generator before anything of it starts.
pub(super) const CLOUD_INIT_OFF: &str = "etc/cloud/cloud-init.disabled";

pub(super) fn merge(case: &mut Case<'_>) {
    let patterns: Vec<&str> = STARTED_BY
        .iter()
        .flat_map(|(_, patterns)| patterns.iter().copied())
        .collect();
    follow_target(case, &patterns, "agents start as on the target");
    let runs_on = |agents: &[crate::facts::AgentState], agent| {
        agents.iter().any(|state| state.agent == agent)
    };
    for (agent, patterns) in STARTED_BY {
        let (source, target) = (case.situation.source, case.situation.target);
        let is_of_source =
            runs_on(&source.platform.agents, *agent) && !runs_on(&target.platform.agents, *agent);
        if !is_of_source {
            continue;
        }
        let literal = patterns.iter().filter(|pattern| !pattern.contains('*'));
        literal.for_each(|stem| mask(case, stem));
        if *agent == Agent::CloudInit {
            let off = Change::Write(File::of_root(Vec::new()));
            let reason = "cloud-init is the source's and would set this machine up anew";
            case.propose(&path(CLOUD_INIT_OFF), off, Level::Info, reason);
        }
    }
}

/// Masks a unit that a package of the source brings: it may be wanted by another unit of the
/// package, or by a preset.
fn mask(case: &mut Case<'_>, stem: &str) {
    let unit = format!("{stem}.service");
    let path = path(&format!("etc/systemd/system/{unit}"));
    let is_there = |directory: &str| case.present(format!("{directory}/{unit}").as_bytes());
    let is_own = case.source(&path).is_some() || case.target(&path).is_some();
    if !is_own && VENDOR_UNITS.iter().any(|directory| is_there(directory)) {
        let change = Change::Link(MASK.to_vec());
        case.propose(
            &path,
            change,
            Level::Info,
            "an agent of the source's platform",
        );
    }
}
