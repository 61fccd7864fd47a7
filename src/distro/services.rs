//! Databases, container engines, identities in other people's networks, and what sends: found
//! running, or in a mounted root installed. Knows nothing of how they are stopped.

use super::look::Look;
use super::processes::Processes;
use super::units::Units;
use crate::facts::{Service, ServiceKind, Services};

/// How one program is recognised.
struct Signs {
    kind: ServiceKind,
    name: &'static str,
    /// Names of its processes.
    processes: &'static [&'static str],
    /// Where its data or its identity lies; the first that is there is told.
    paths: &'static [&'static str],
    /// Its units, without their ending.
    units: &'static [&'static str],
}

const fn signs(
    kind: ServiceKind,
    name: &'static str,
    processes: &'static [&'static str],
    paths: &'static [&'static str],
    units: &'static [&'static str],
) -> Signs {
    Signs {
        kind,
        name,
        processes,
        paths,
        units,
    }
}

use ServiceKind::{Containers, Database, Identity, Sender};

const SIGNS: [Signs; 58] = [
    signs(
        Database,
        "mysql",
        &["mysqld"],
        &["/var/lib/mysql"],
        &["mysql", "mysqld"],
    ),
    signs(
        Database,
        "mariadb",
        &["mariadbd"],
        &["/var/lib/mysql/aria_log_control"],
        &["mariadb"],
    ),
    signs(
        Database,
        "postgresql",
        &["postgres", "postmaster"],
        &["/var/lib/postgresql", "/var/lib/pgsql", "/var/lib/postgres"],
        &["postgresql*"],
    ),
    signs(
        Database,
        "mongodb",
        &["mongod"],
        &["/var/lib/mongodb", "/var/lib/mongo"],
        &["mongod", "mongodb"],
    ),
    signs(
        Database,
        "redis",
        &["redis-server", "valkey-server"],
        &["/var/lib/redis", "/var/lib/valkey"],
        &["redis*", "valkey*"],
    ),
    signs(
        Database,
        "elasticsearch",
        &[],
        &["/var/lib/elasticsearch"],
        &["elasticsearch"],
    ),
    signs(
        Database,
        "opensearch",
        &[],
        &["/var/lib/opensearch"],
        &["opensearch"],
    ),
    signs(
        Database,
        "clickhouse",
        &["clickhouse-serv", "clickhouse-server"],
        &["/var/lib/clickhouse"],
        &["clickhouse-server"],
    ),
    signs(
        Database,
        "influxdb",
        &["influxd"],
        &["/var/lib/influxdb", "/var/lib/influxdb2"],
        &["influxdb"],
    ),
    signs(
        Database,
        "prometheus",
        &["prometheus"],
        &["/var/lib/prometheus"],
        &["prometheus"],
    ),
    signs(
        Database,
        "couchdb",
        &["couchdb"],
        &["/var/lib/couchdb", "/opt/couchdb/data"],
        &["couchdb"],
    ),
    signs(
        Database,
        "cassandra",
        &[],
        &["/var/lib/cassandra"],
        &["cassandra"],
    ),
    signs(
        Database,
        "rabbitmq",
        &["rabbitmq-server"],
        &["/var/lib/rabbitmq"],
        &["rabbitmq-server"],
    ),
    signs(
        Database,
        "openldap",
        &["slapd"],
        &["/var/lib/ldap", "/var/lib/openldap"],
        &["slapd"],
    ),
    signs(Database, "etcd", &["etcd"], &["/var/lib/etcd"], &["etcd"]),
    signs(
        Database,
        "firebird",
        &["firebird"],
        &["/var/lib/firebird"],
        &["firebird*"],
    ),
    signs(
        Containers,
        "docker",
        &["dockerd", "docker"],
        &["/var/lib/docker"],
        &["docker"],
    ),
    signs(
        Containers,
        "containerd",
        &["containerd"],
        &["/var/lib/containerd"],
        &["containerd"],
    ),
    signs(
        Containers,
        "podman",
        &["podman", "conmon"],
        &["/var/lib/containers"],
        &["podman"],
    ),
    signs(
        Containers,
        "lxd",
        &["lxd"],
        &["/var/lib/lxd", "/var/snap/lxd"],
        &["lxd", "snap.lxd.*"],
    ),
    signs(
        Containers,
        "incus",
        &["incusd"],
        &["/var/lib/incus"],
        &["incus"],
    ),
    signs(
        Containers,
        "lxc",
        &["lxc-start", "lxc-monitord"],
        &["/var/lib/lxc"],
        &["lxc"],
    ),
    signs(
        Containers,
        "kubelet",
        &["kubelet"],
        &["/var/lib/kubelet"],
        &["kubelet"],
    ),
    signs(
        Containers,
        "k3s",
        &["k3s-server", "k3s-agent", "k3s"],
        &["/var/lib/rancher"],
        &["k3s*", "rke2*"],
    ),
    signs(
        Containers,
        "libvirt",
        &["libvirtd", "virtqemud"],
        &["/var/lib/libvirt/images"],
        &["libvirtd"],
    ),
    signs(
        Identity,
        "tailscale",
        &["tailscaled"],
        &["/var/lib/tailscale"],
        &["tailscaled"],
    ),
    signs(
        Identity,
        "netbird",
        &["netbird"],
        &["/etc/netbird", "/var/lib/netbird"],
        &["netbird"],
    ),
    signs(
        Identity,
        "zerotier",
        &["zerotier-one"],
        &["/var/lib/zerotier-one"],
        &["zerotier-one"],
    ),
    signs(
        Identity,
        "wireguard",
        &[],
        &["/etc/wireguard/*"],
        &["wg-quick@*"],
    ),
    signs(
        Identity,
        "openvpn",
        &["openvpn"],
        &["/etc/openvpn/*"],
        &["openvpn*"],
    ),
    signs(
        Identity,
        "nebula",
        &["nebula"],
        &["/etc/nebula"],
        &["nebula"],
    ),
    signs(
        Identity,
        "cloudflared",
        &["cloudflared"],
        &["/etc/cloudflared"],
        &["cloudflared"],
    ),
    signs(
        Identity,
        "teleport",
        &["teleport"],
        &["/var/lib/teleport"],
        &["teleport"],
    ),
    signs(
        Identity,
        "puppet",
        &["puppet"],
        &["/etc/puppetlabs/puppet/ssl", "/var/lib/puppet/ssl"],
        &["puppet"],
    ),
    signs(
        Identity,
        "salt-minion",
        &["salt-minion"],
        &["/etc/salt/pki/minion"],
        &["salt-minion"],
    ),
    signs(
        Identity,
        "chef",
        &["chef-client", "cinc-client"],
        &["/etc/chef/client.pem"],
        &["chef-client"],
    ),
    signs(
        Identity,
        "consul",
        &["consul"],
        &["/opt/consul", "/var/lib/consul"],
        &["consul"],
    ),
    signs(
        Identity,
        "nomad",
        &["nomad"],
        &["/opt/nomad", "/var/lib/nomad"],
        &["nomad"],
    ),
    signs(
        Identity,
        "datadog",
        &["agent", "datadog-agent"],
        &["/etc/datadog-agent"],
        &["datadog-agent"],
    ),
    signs(
        Identity,
        "newrelic",
        &["newrelic-infra"],
        &["/etc/newrelic-infra.yml"],
        &["newrelic-infra"],
    ),
    signs(
        Identity,
        "zabbix-agent",
        &["zabbix_agentd", "zabbix_agent2"],
        &["/etc/zabbix/*agent*"],
        &["zabbix-agent*"],
    ),
    signs(
        Identity,
        "wazuh",
        &["wazuh-agentd", "ossec-agentd"],
        &["/var/ossec/etc/client.keys"],
        &["wazuh-agent"],
    ),
    signs(
        Identity,
        "osquery",
        &["osqueryd"],
        &["/var/osquery"],
        &["osqueryd"],
    ),
    signs(
        Identity,
        "crowdstrike",
        &["falcon-sensor"],
        &["/opt/CrowdStrike"],
        &["falcon-sensor"],
    ),
    signs(
        Identity,
        "landscape",
        &["landscape-clien"],
        &["/var/lib/landscape/client"],
        &["landscape-client"],
    ),
    signs(
        Identity,
        "ubuntu-pro",
        &[],
        &["/var/lib/ubuntu-advantage/private/*"],
        &["ubuntu-advantage"],
    ),
    signs(
        Identity,
        "rhsm",
        &["rhsmcertd"],
        &["/etc/pki/consumer/cert.pem"],
        &["rhsmcertd"],
    ),
    signs(
        Identity,
        "suse-connect",
        &[],
        &["/etc/zypp/credentials.d/SCCcredentials"],
        &[],
    ),
    signs(Identity, "sssd", &["sssd"], &["/var/lib/sss/db"], &["sssd"]),
    signs(Identity, "kerberos-keytab", &[], &["/etc/krb5.keytab"], &[]),
    signs(
        Identity,
        "gitlab-runner",
        &["gitlab-runner"],
        &["/etc/gitlab-runner/config.toml"],
        &["gitlab-runner"],
    ),
    signs(
        Identity,
        "github-runner",
        &["Runner.Listener"],
        &["/opt/actions-runner"],
        &["actions.runner.*"],
    ),
    signs(
        Identity,
        "iscsi",
        &["iscsid"],
        &["/etc/iscsi/initiatorname.iscsi"],
        &["iscsi*", "open-iscsi"],
    ),
    signs(
        Sender,
        "postfix",
        &["qmgr"],
        &["/var/spool/postfix"],
        &["postfix"],
    ),
    signs(
        Sender,
        "exim",
        &["exim4", "exim"],
        &["/var/spool/exim4", "/var/spool/exim"],
        &["exim*"],
    ),
    signs(
        Sender,
        "sendmail",
        &["sendmail"],
        &["/var/spool/mqueue"],
        &["sendmail"],
    ),
    signs(
        Sender,
        "opensmtpd",
        &["smtpd"],
        &["/var/spool/smtpd"],
        &["opensmtpd"],
    ),
    signs(
        Sender,
        "celery",
        &["celery"],
        &["/etc/default/celeryd"],
        &["celery*"],
    ),
];

/// Gathers programs and jobs.
pub(super) fn gather(look: &Look, units: &Units, processes: &Processes) -> Services {
    let found = SIGNS
        .iter()
        .filter_map(|signs| find(look, units, processes, signs));
    let mut found: Vec<Service> = found.collect();
    found.sort();
    Services {
        found,
        scheduled_jobs: super::jobs::gather(look),
    }
}

fn find(look: &Look, units: &Units, processes: &Processes, signs: &Signs) -> Option<Service> {
    let running = processes.has_any(signs.processes);
    let path = look.first(signs.paths.iter().copied());
    let enabled = units.enabled(signs.units);
    // An identity lies in its files, whether or not somebody uses it now. Programs of one
    // virtual machine all have the same process name: their units tell.
    let is_found = match signs.kind {
        ServiceKind::Identity => path.is_some(),
        _ if !look.is_live() => running || path.is_some(),
        _ => running || (signs.processes.is_empty() && path.is_some() && !enabled.is_empty()),
    };
    is_found.then(|| Service {
        kind: signs.kind,
        name: signs.name.to_owned(),
        unit: enabled.into_iter().find(|unit| unit.ends_with(".service")),
        running,
        path: path.unwrap_or_default(),
    })
}
