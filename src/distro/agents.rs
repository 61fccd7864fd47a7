//! Agents of clouds and hypervisors, by the paths that their packages bring. Knows nothing of
//! packages.

use super::look::Look;
use super::units::Units;
use crate::facts::{Agent, AgentState};

/// How one agent is recognised: a path that shows it, and its units.
struct Signs {
    agent: Agent,
    paths: &'static [&'static str],
    units: &'static [&'static str],
}

const SIGNS: [Signs; 18] = [
    Signs {
        agent: Agent::CloudInit,
        paths: &[
            "/usr/bin/cloud-init",
            "/usr/local/bin/cloud-init",
            "/etc/cloud/cloud.cfg",
        ],
        units: &["cloud-init*", "cloud-config", "cloud-final"],
    },
    Signs {
        agent: Agent::NovaAgent,
        paths: &[
            "/usr/sbin/nova-agent*",
            "/usr/bin/nova-agent",
            "/usr/share/nova-agent*",
            "/etc/init.d/nova-agent*",
            "/var/spool/agent-smith",
        ],
        units: &["nova-agent*", "python3-nova-agent"],
    },
    Signs {
        agent: Agent::XenGuest,
        paths: &[
            "/usr/sbin/xe-daemon",
            "/usr/sbin/xe-linux-distribution",
            "/etc/init.d/xe-linux-distribution",
        ],
        units: &["xe-linux-distribution", "xe-daemon"],
    },
    Signs {
        agent: Agent::Waagent,
        paths: &[
            "/usr/sbin/waagent*",
            "/etc/waagent.conf",
            "/var/lib/waagent",
        ],
        units: &["walinuxagent*", "waagent*"],
    },
    Signs {
        agent: Agent::GoogleGuest,
        paths: &[
            "/usr/bin/google_guest_agent",
            "/usr/bin/google_metadata_script_runner",
            "/usr/share/google-guest-agent",
            "/etc/google-guest-agent",
            "/usr/bin/google_accounts_daemon",
            "/usr/share/google",
        ],
        units: &["google-*", "gce-workload-cert-refresh"],
    },
    Signs {
        agent: Agent::AmazonSsm,
        paths: &[
            "/usr/bin/amazon-ssm-agent",
            "/snap/amazon-ssm-agent",
            "/etc/amazon/ssm",
            "/var/lib/amazon/ssm",
        ],
        units: &["amazon-ssm-agent", "snap.amazon-ssm-agent.*"],
    },
    Signs {
        agent: Agent::Ec2InstanceConnect,
        paths: &["/opt/aws/bin/eic_*", "/usr/share/ec2-instance-connect"],
        units: &["ec2-instance-connect*"],
    },
    Signs {
        agent: Agent::AwsTools,
        paths: &[
            "/opt/aws",
            "/etc/cfn",
            "/etc/ecs/ecs.config",
            "/usr/bin/hibagent",
        ],
        units: &[
            "cfn-hup",
            "amazon-cloudwatch-agent",
            "ecs",
            "hibinit-agent",
            "codedeploy-agent",
        ],
    },
    Signs {
        agent: Agent::DropletAgent,
        paths: &[
            "/opt/digitalocean/*",
            "/var/lib/digitalocean",
            "/etc/cron.hourly/droplet-agent",
        ],
        units: &["droplet-agent", "do-agent"],
    },
    Signs {
        agent: Agent::QemuGuest,
        paths: &["/usr/sbin/qemu-ga", "/usr/bin/qemu-ga", "/etc/qemu-ga"],
        units: &["qemu-guest-agent", "qemu-ga"],
    },
    Signs {
        agent: Agent::VmwareTools,
        paths: &[
            "/usr/bin/vmtoolsd",
            "/usr/sbin/vmtoolsd",
            "/etc/vmware-tools",
            "/usr/lib/vmware-tools",
        ],
        units: &["open-vm-tools", "vmtoolsd", "vgauth*", "vmware-tools*"],
    },
    Signs {
        agent: Agent::HypervDaemons,
        paths: &[
            "/usr/sbin/hv_kvp_daemon",
            "/usr/sbin/hypervkvpd",
            "/var/lib/hyperv",
        ],
        units: &["hv-*", "hv_*", "hyperv*"],
    },
    Signs {
        agent: Agent::VirtualboxAdditions,
        paths: &[
            "/opt/VBoxGuestAdditions-*",
            "/usr/sbin/VBoxService",
            "/usr/bin/VBoxService",
            "/etc/init.d/vboxadd*",
        ],
        units: &["vboxadd*", "vboxservice", "virtualbox-guest-utils"],
    },
    Signs {
        agent: Agent::HetznerUtils,
        paths: &[
            "/usr/share/doc/hc-utils",
            "/etc/netplan/60-floating-ip.yaml",
            "/usr/bin/hc-*",
        ],
        units: &["hc-*"],
    },
    Signs {
        agent: Agent::OracleCloudAgent,
        paths: &[
            "/usr/libexec/oracle-cloud-agent",
            "/snap/oracle-cloud-agent",
            "/etc/oracle-cloud-agent",
            "/usr/lib/oci*",
        ],
        units: &["oracle-cloud-agent*", "snap.oracle-cloud-agent.*", "ocid"],
    },
    Signs {
        agent: Agent::AliyunAssist,
        paths: &[
            "/usr/local/share/aliyun-assist",
            "/usr/local/cloudmonitor",
            "/usr/sbin/aliyun-service",
        ],
        units: &["aliyun*", "AssistDaemon", "cloudmonitor", "aegis"],
    },
    Signs {
        agent: Agent::TencentTools,
        paths: &["/usr/local/qcloud"],
        units: &["tat_agent", "stargate", "YDService", "barad*"],
    },
    Signs {
        agent: Agent::MigrationAgent,
        paths: &["/var/lib/aws-replication-agent", "/opt/vmware/hcx"],
        units: &["aws-replication*", "hcx*"],
    },
];

/// Returns those that are there, sorted by name.
pub(super) fn gather(look: &Look, units: &Units) -> Vec<AgentState> {
    let found = SIGNS.iter().filter_map(|signs| {
        Some(AgentState {
            agent: signs.agent,
            enabled_units: units.enabled(signs.units),
            evidence: look.first(signs.paths.iter().copied())?,
        })
    });
    let mut found: Vec<AgentState> = found.collect();
    found.sort_by_key(|state| format!("{:?}", state.agent));
    found
}
