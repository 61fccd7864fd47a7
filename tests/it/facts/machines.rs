//! Small roots with one trait each: a network stack, a platform, an agent, a program, a database
//! that was cut. Knows nothing of the presets' other traits.

use instancesync::facts::{
    Agent, BootMode, DnsKind, Facts, NetworkStack, PlatformKind, ServiceKind,
};
use proptest::prelude::*;

use crate::support::roots::SmallRoot;

use NetworkStack::{
    Dhcpcd, Ifupdown, Netctl, Netplan, NetworkManager, NetworkScripts, OpenrcNetifrc,
    SystemdNetworkd, Wicked,
};

/// Debian without its network.
fn bare() -> SmallRoot {
    SmallRoot::debian()
        .without("/etc/network")
        .without("/usr/sbin/ifup")
        .without("/etc/systemd/system/multi-user.target.wants/networking.service")
        .without("/usr/lib/systemd/system/networking.service")
}

fn state(facts: &Facts, stack: NetworkStack) -> (bool, bool, Vec<&str>) {
    let found = facts
        .network
        .stacks
        .iter()
        .find(|state| state.stack == stack);
    let Some(found) = found else {
        return (false, false, Vec::new());
    };
    let units = found.enabled_units.iter().map(String::as_str).collect();
    (found.installed, found.configured, units)
}

const NETWORKD: &str = "/usr/lib/systemd/systemd-networkd";
const IFCFG: &str = "/etc/sysconfig/network-scripts/ifcfg-eth0";

/// What it is, the root, and the stacks that have to be in charge.
type Row = (&'static str, SmallRoot, &'static [NetworkStack]);

fn assert_in_charge(rows: Vec<Row>) {
    for (title, root, expected) in rows {
        let network = root.facts().network;
        assert_eq!(network.in_charge, expected, "{title}: {:?}", network.stacks);
    }
}

fn manager() -> SmallRoot {
    bare()
        .executable("/usr/sbin/NetworkManager")
        .enable("NetworkManager.service")
}

fn netplan() -> SmallRoot {
    bare()
        .executable("/usr/sbin/netplan")
        .file("/etc/netplan/01.yaml", "network:\n  version: 2\n")
}

#[test]
fn ifupdown_is_recognised() {
    assert_in_charge(vec![
        ("nothing", bare(), &[]),
        ("ifupdown", SmallRoot::debian(), &[Ifupdown]),
        (
            "ifupdown masked",
            SmallRoot::debian().mask("networking.service"),
            &[],
        ),
        (
            "ifupdown with the loopback only",
            SmallRoot::debian().file(
                "/etc/network/interfaces",
                "auto lo\niface lo inet loopback\n",
            ),
            &[],
        ),
        (
            "ifupdown in parts",
            SmallRoot::debian()
                .file(
                    "/etc/network/interfaces",
                    "source /etc/network/interfaces.d/*\n",
                )
                .file(
                    "/etc/network/interfaces.d/50-cloud-init",
                    "iface ens3 inet dhcp\n",
                ),
            &[Ifupdown],
        ),
        (
            "ifupdown by a script of System V",
            bare()
                .executable("/usr/sbin/ifup")
                .file("/etc/network/interfaces", "iface eth0 inet dhcp\n")
                .link("/etc/rcS.d/S10networking", "../init.d/networking"),
            &[Ifupdown],
        ),
    ]);
}

#[test]
fn netplan_and_what_is_below_it_are_recognised() {
    assert_in_charge(vec![
        (
            "netplan above networkd",
            netplan().executable(NETWORKD),
            &[Netplan, SystemdNetworkd],
        ),
        (
            "netplan with networkd masked",
            netplan()
                .executable(NETWORKD)
                .mask("systemd-networkd.service"),
            &[Netplan],
        ),
        (
            "netplan above NetworkManager",
            manager().executable("/usr/sbin/netplan").file(
                "/etc/netplan/01.yaml",
                "network:\n  renderer: NetworkManager\n",
            ),
            &[Netplan, NetworkManager],
        ),
    ]);
}

#[test]
fn networkd_is_recognised() {
    assert_in_charge(vec![
        (
            "networkd",
            bare()
                .executable(NETWORKD)
                .file("/etc/systemd/network/10.network", "[Match]\n")
                .enable("systemd-networkd.service"),
            &[SystemdNetworkd],
        ),
        (
            "networkd with what systemd ships",
            bare()
                .executable(NETWORKD)
                .file("/usr/lib/systemd/network/80-container-host0.network", "")
                .enable("systemd-networkd.service"),
            &[],
        ),
        (
            "networkd by Amazon's file",
            bare()
                .executable(NETWORKD)
                .file("/usr/lib/systemd/network/80-ec2.network", "")
                .enable("systemd-networkd.service"),
            &[SystemdNetworkd],
        ),
    ]);
}

#[test]
fn network_manager_and_network_scripts_are_recognised() {
    assert_in_charge(vec![
        ("NetworkManager on its own", manager(), &[NetworkManager]),
        (
            "NetworkManager beside ifupdown, with nothing to do",
            SmallRoot::debian()
                .executable("/usr/sbin/NetworkManager")
                .enable("NetworkManager.service"),
            &[Ifupdown],
        ),
        (
            "NetworkManager with files of the scripts",
            manager().file(IFCFG, "ONBOOT=yes\n"),
            &[NetworkManager],
        ),
        (
            "network-scripts and NetworkManager",
            manager()
                .executable("/etc/sysconfig/network-scripts/ifup-eth")
                .file(IFCFG, "ONBOOT=yes\n")
                .link("/etc/rc.d/rc3.d/S10network", "../init.d/network"),
            &[NetworkManager, NetworkScripts],
        ),
        (
            "network-scripts with nothing that comes up",
            bare()
                .executable("/etc/sysconfig/network-scripts/ifup-eth")
                .file(IFCFG, "ONBOOT=no\n")
                .link("/etc/rc.d/rc3.d/S10network", "../init.d/network"),
            &[],
        ),
    ]);
}

#[test]
fn wicked_is_recognised() {
    assert_in_charge(vec![
        ("wicked", SmallRoot::suse(), &[Wicked]),
        (
            "wicked by its second name",
            SmallRoot::suse()
                .without("/etc/systemd/system/multi-user.target.wants/wicked.service")
                .link(
                    "/etc/systemd/system/network.service",
                    "/usr/lib/systemd/system/wicked.service",
                ),
            &[Wicked],
        ),
        (
            "SUSE before wicked",
            SmallRoot::new()
                .executables(&["/sbin/init", "/etc/init.d/network"])
                .file("/etc/sysconfig/network/ifcfg-eth0", "STARTMODE='auto'\n")
                .link("/etc/init.d/rc3.d/S05network", "../network"),
            &[Wicked],
        ),
    ]);
}

#[test]
fn netctl_netifrc_and_dhcpcd_are_recognised() {
    assert_in_charge(vec![
        (
            "netctl",
            bare()
                .executable("/usr/bin/netctl")
                .file("/etc/netctl/wired", "Interface=eth0\n")
                .enable("netctl@wired.service"),
            &[Netctl],
        ),
        ("netifrc", SmallRoot::gentoo(), &[OpenrcNetifrc]),
        (
            "netifrc for the loopback only",
            SmallRoot::gentoo()
                .without("/etc/runlevels/default/net.eth0")
                .link("/etc/runlevels/boot/net.lo", "/etc/init.d/net.lo"),
            &[],
        ),
        (
            "dhcpcd under OpenRC",
            SmallRoot::gentoo()
                .without("/etc/runlevels/default/net.eth0")
                .executable("/sbin/dhcpcd")
                .link("/etc/runlevels/default/dhcpcd", "/etc/init.d/dhcpcd"),
            &[Dhcpcd],
        ),
        (
            "dhcpcd under systemd",
            bare()
                .executable("/usr/sbin/dhcpcd")
                .enable("dhcpcd.service"),
            &[Dhcpcd],
        ),
    ]);
}

#[test]
fn traces_of_stacks_are_told_apart() {
    let facts = SmallRoot::debian()
        .executable("/usr/sbin/NetworkManager")
        .facts();
    assert_eq!(
        state(&facts, Ifupdown),
        (true, true, vec!["networking.service"])
    );
    assert_eq!(state(&facts, NetworkManager), (true, false, vec![]));
    assert_eq!(state(&facts, Wicked), (false, false, vec![]));
    let facts = SmallRoot::centos_6().facts();
    assert_eq!(
        state(&facts, NetworkScripts),
        (true, true, vec!["S10network"])
    );
    // The same script name means nothing where the other's directory is not.
    assert_eq!(state(&facts, Wicked), (false, false, vec![]));
}

#[test]
fn the_way_to_name_servers_is_told() {
    let facts = SmallRoot::ubuntu().facts();
    assert_eq!(facts.network.dns.kind, DnsKind::Link);
    assert!(
        facts
            .network
            .dns
            .link
            .unwrap()
            .ends_with("stub-resolv.conf")
    );
    let facts = SmallRoot::debian().without("/etc/resolv.conf").facts();
    assert_eq!(facts.network.dns.kind, DnsKind::Missing);
}

#[test]
fn interfaces_have_their_addresses() {
    let facts = SmallRoot::debian()
        .file("/sys/class/net/eth0/address", "02:00:00:00:00:01\n")
        .file("/sys/class/net/lo/address", "00:00:00:00:00:00\n")
        .file("/sys/class/net/bonding_masters", "")
        .file(
            "/proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\n\
             eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n",
        )
        .file(
            "/proc/net/fib_trie",
            "     |-- 192.0.2.10\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n",
        )
        .file("/proc/net/if_inet6", "fe800000000000000000000000000001 02 40 20 80 eth0\n")
        .facts();
    let interfaces = facts.network.interfaces;
    assert_eq!(interfaces.len(), 1);
    assert_eq!(interfaces[0].mac.as_deref(), Some("02:00:00:00:00:01"));
    assert_eq!(interfaces[0].addresses, ["192.0.2.10", "fe80::1"]);
}

#[test]
fn each_platform_is_recognised_by_its_firmware() {
    use PlatformKind as Kind;
    let tag = "/sys/class/dmi/id/chassis_asset_tag";
    let dmi = |vendor, product| SmallRoot::debian().dmi(vendor, product);
    let flags = |flags: &str| format!("processor : 0\nflags : fpu {flags}\n");
    for (root, kind) in [
        (dmi("Amazon EC2", "t3.micro"), Kind::Amazon),
        (
            dmi("Xen", "HVM domU").file("/sys/class/dmi/id/bios_version", "4.11.amazon\n"),
            Kind::Amazon,
        ),
        (
            SmallRoot::debian().file("/sys/hypervisor/uuid", "ec2e1916\n"),
            Kind::Amazon,
        ),
        (
            dmi("Microsoft Corporation", "Virtual Machine")
                .file(tag, "7783-7084-3265-9085-8269-3286-77\n"),
            Kind::Azure,
        ),
        (
            dmi("Microsoft Corporation", "Virtual Machine"),
            Kind::HyperV,
        ),
        (dmi("Google", "Google Compute Engine"), Kind::Google),
        (dmi("DigitalOcean", "Droplet"), Kind::DigitalOcean),
        (
            dmi("Xen", "HVM domU").executable("/usr/sbin/nova-agent"),
            Kind::Rackspace,
        ),
        (
            dmi("OpenStack Foundation", "OpenStack Nova"),
            Kind::Openstack,
        ),
        (dmi("Red Hat", "OpenStack Compute"), Kind::Openstack),
        (dmi("Hetzner", "vServer"), Kind::Hetzner),
        (dmi("Linode", "Compute Instance"), Kind::Linode),
        (dmi("Akamai", "Compute Instance"), Kind::Linode),
        (dmi("Vultr", "VC2"), Kind::Vultr),
        (dmi("OVHcloud", "VPS"), Kind::Ovh),
        (dmi("Scaleway", "DEV1-S"), Kind::Scaleway),
        (
            dmi("QEMU", "Standard PC (i440FX + PIIX, 1996)").file(tag, "OracleCloud.com\n"),
            Kind::OracleCloud,
        ),
        (dmi("Alibaba Cloud", "Alibaba Cloud ECS"), Kind::Alibaba),
        (dmi("Tencent Cloud", "CVM"), Kind::Tencent),
        (dmi("VMware, Inc.", "VMware Virtual Platform"), Kind::Vmware),
        (dmi("innotek GmbH", "VirtualBox"), Kind::Virtualbox),
        (dmi("Xen", "HVM domU"), Kind::Xen),
        (
            SmallRoot::debian().file("/sys/hypervisor/type", "xen\n"),
            Kind::Xen,
        ),
        (dmi("QEMU", "Standard PC (Q35 + ICH9, 2009)"), Kind::Qemu),
        (
            dmi("Dell Inc.", "PowerEdge R640").file("/proc/cpuinfo", flags("vme")),
            Kind::Metal,
        ),
        (
            dmi("Novel", "Machine").file("/proc/cpuinfo", flags("hypervisor")),
            Kind::Unknown,
        ),
        (SmallRoot::debian(), Kind::Unknown),
    ] {
        assert_platform(&root, kind);
    }
}

#[test]
fn the_firmware_says_more_than_what_was_copied() {
    use PlatformKind as Kind;
    let dmi = |vendor, product| SmallRoot::debian().dmi(vendor, product);
    for (root, kind) in [
        (
            dmi("VMware, Inc.", "VMware7,1").file("/etc/waagent.conf", ""),
            Kind::Vmware,
        ),
        (
            SmallRoot::debian().file("/etc/waagent.conf", ""),
            Kind::Azure,
        ),
        // A virtual machine made from the image of a container.
        (dmi("QEMU", "KVM").file("/.dockerenv", ""), Kind::Qemu),
    ] {
        assert_platform(&root, kind);
    }
}

fn assert_platform(root: &SmallRoot, kind: PlatformKind) {
    let platform = root.facts().platform;
    assert_eq!(platform.kind, kind, "{platform:?}");
    assert_eq!(platform.evidence.is_empty(), root.is_bare(), "{platform:?}");
}

trait Bare {
    fn is_bare(&self) -> bool;
}

impl Bare for SmallRoot {
    /// Tells whether there is nothing that could tell the platform.
    fn is_bare(&self) -> bool {
        let found = ["sys/class/dmi", "sys/hypervisor", "etc/waagent.conf"];
        !found.iter().any(|path| self.path().join(path).exists())
    }
}

#[test]
fn a_container_is_no_machine() {
    let mountinfo =
        "20 1 0:50 / / rw - overlay overlay rw\n21 20 0:51 / /dev rw - tmpfs tmpfs rw\n";
    let root = || SmallRoot::debian().file("/proc/self/mountinfo", mountinfo);
    for root in [
        root().file("/.dockerenv", ""),
        root().file("/run/.containerenv", ""),
        root().file("/run/systemd/container", "lxc\n"),
        root().file("/proc/1/environ", "A=b\0container=lxc\0"),
        root().dir("/proc/vz"),
    ] {
        let facts = root.facts();
        assert_eq!(facts.platform.kind, PlatformKind::Container);
        assert_eq!(facts.boot.mode, BootMode::Container);
    }
    assert_ne!(
        root().dir("/proc/vz").dir("/proc/bc").facts().platform.kind,
        PlatformKind::Container
    );
}

/// Agent, a path that shows it, and its unit.
const AGENTS: [(Agent, &str, &str); 18] = [
    (
        Agent::CloudInit,
        "/usr/bin/cloud-init",
        "cloud-init-local.service",
    ),
    (
        Agent::NovaAgent,
        "/usr/sbin/nova-agent.py",
        "nova-agent.service",
    ),
    (
        Agent::XenGuest,
        "/usr/sbin/xe-daemon",
        "xe-linux-distribution.service",
    ),
    (Agent::Waagent, "/usr/sbin/waagent", "walinuxagent.service"),
    (
        Agent::GoogleGuest,
        "/usr/bin/google_guest_agent",
        "google-guest-agent.service",
    ),
    (
        Agent::AmazonSsm,
        "/usr/bin/amazon-ssm-agent",
        "amazon-ssm-agent.service",
    ),
    (
        Agent::Ec2InstanceConnect,
        "/usr/share/ec2-instance-connect/x",
        "ec2-instance-connect.service",
    ),
    (Agent::AwsTools, "/opt/aws/bin/cfn-hup", "cfn-hup.service"),
    (
        Agent::DropletAgent,
        "/opt/digitalocean/bin/droplet-agent",
        "droplet-agent.service",
    ),
    (
        Agent::QemuGuest,
        "/usr/sbin/qemu-ga",
        "qemu-guest-agent.service",
    ),
    (
        Agent::VmwareTools,
        "/usr/bin/vmtoolsd",
        "open-vm-tools.service",
    ),
    (
        Agent::HypervDaemons,
        "/usr/sbin/hv_kvp_daemon",
        "hv-kvp-daemon.service",
    ),
    (
        Agent::VirtualboxAdditions,
        "/usr/sbin/VBoxService",
        "vboxadd-service.service",
    ),
    (
        Agent::HetznerUtils,
        "/usr/share/doc/hc-utils/copyright",
        "hc-net-scan.service",
    ),
    (
        Agent::OracleCloudAgent,
        "/usr/libexec/oracle-cloud-agent/agent",
        "oracle-cloud-agent.service",
    ),
    (
        Agent::AliyunAssist,
        "/usr/local/share/aliyun-assist/x",
        "aliyun.service",
    ),
    (
        Agent::TencentTools,
        "/usr/local/qcloud/x",
        "tat_agent.service",
    ),
    (
        Agent::MigrationAgent,
        "/var/lib/aws-replication-agent/x",
        "aws-replication-agent.service",
    ),
];

#[test]
fn each_agent_is_recognised() {
    for (agent, path, unit) in AGENTS {
        let agents = SmallRoot::debian()
            .executable(path)
            .enable(unit)
            .facts()
            .platform
            .agents;
        assert_eq!(agents.len(), 1, "{agents:?}");
        assert_eq!(agents[0].agent, agent);
        assert_eq!(agents[0].enabled_units, [unit], "{agent:?}");
        assert!(path.starts_with(&agents[0].evidence), "{agents:?}");
    }
    let agents = SmallRoot::amazon_2().facts().platform.agents;
    let agents: Vec<_> = agents.iter().map(|state| state.agent).collect();
    assert_eq!(
        agents,
        [Agent::AmazonSsm, Agent::AwsTools, Agent::Ec2InstanceConnect]
    );
}

#[test]
fn cut_transactions_are_told() {
    for (root, word) in [
        (
            SmallRoot::debian().append(
                "/var/lib/dpkg/status",
                "\nPackage: x\nStatus: install ok unpacked\n",
            ),
            "x is unpacked",
        ),
        (
            SmallRoot::debian().file("/var/lib/dpkg/updates/0001", ""),
            "dpkg was cut",
        ),
        (
            SmallRoot::debian().process(7, "apt-get"),
            "apt-get is running",
        ),
        (
            SmallRoot::rocky().file("/var/lib/rpm/__db.001", ""),
            "older database",
        ),
        (
            SmallRoot::rocky().file("/var/lib/rpm/rpmdb.sqlite-journal", "x"),
            "journal",
        ),
        (
            SmallRoot::centos_6().file("/var/lib/yum/transaction-all.2024", ""),
            "yum was cut",
        ),
        (
            SmallRoot::centos_6().dir("/var/lib/rpmrebuilddb.77"),
            "rebuild",
        ),
        (
            SmallRoot::arch().file("/var/lib/pacman/db.lck", ""),
            "pacman",
        ),
        (
            SmallRoot::gentoo().dir("/var/db/pkg/app-misc/-MERGING-x-1"),
            "emerge was cut",
        ),
        (
            SmallRoot::alpine().file("/lib/apk/db/installed.new", ""),
            "apk was cut",
        ),
    ] {
        let unfinished = root.facts().packages.unfinished;
        assert_eq!(unfinished.len(), 1, "{word}: {unfinished:?}");
        assert!(unfinished[0].contains(word), "{unfinished:?}");
    }
    // The regions of a database of the Berkeley kind belong to it.
    let root = SmallRoot::centos_6().file("/var/lib/rpm/__db.001", "");
    assert!(root.facts().packages.unfinished.is_empty());
}

#[test]
fn programs_of_which_a_clone_has_to_know_are_found() {
    let facts = SmallRoot::debian()
        .dir("/var/lib/mysql")
        .process(300, "mysqld")
        .enable("mysql.service")
        .dir("/var/lib/docker")
        .dir("/var/lib/tailscale")
        .dir("/var/spool/postfix")
        .file(
            "/var/spool/cron/crontabs/root",
            "*/5 * * * * /usr/local/bin/sync\n",
        )
        .file(
            "/etc/crontab",
            "SHELL=/bin/sh\n17 * * * * root run-parts /etc/cron.hourly\n",
        )
        .file("/etc/systemd/system/backup.timer", "[Timer]\n")
        .facts();
    let found: Vec<_> = facts
        .services
        .found
        .iter()
        .map(|service| (service.kind, service.name.as_str(), service.running))
        .collect();
    assert_eq!(
        found,
        [
            (ServiceKind::Database, "mysql", true),
            (ServiceKind::Containers, "docker", false),
            (ServiceKind::Identity, "tailscale", false),
            (ServiceKind::Sender, "postfix", false),
        ]
    );
    assert_eq!(
        facts.services.found[0].unit.as_deref(),
        Some("mysql.service")
    );
    assert_eq!(
        facts.services.scheduled_jobs,
        [
            "/etc/systemd/system/backup.timer",
            "/var/spool/cron/crontabs/root"
        ]
    );
}

#[test]
fn settings_of_the_ssh_server_come_from_its_files() {
    let root = SmallRoot::debian()
        .file(
            "/etc/ssh/sshd_config",
            "Include sshd_config.d/*.conf\nPort 2222\nPermitRootLogin yes\nAllowUsers ann bob@192.0.2.*\n\
             Match User bob\n PasswordAuthentication no\n PermitRootLogin yes\n",
        )
        .file("/etc/ssh/sshd_config.d/50-cloud.conf", "PermitRootLogin no\nMatch all\nPort 7\n")
        .file("/etc/ssh/sshd_config.d/60-other.conf.bak", "PermitRootLogin yes\n");
    let server = root.facts().access.ssh_server.unwrap();
    assert!(!server.effective && server.password_authentication);
    assert_eq!(server.permit_root_login, "no");
    assert_eq!(server.ports, [2222]);
    assert_eq!(server.allow_users, ["ann", "bob@192.0.2.*"]);
    // Before OpenSSH 7.0 silence meant yes.
    let silent = |root: SmallRoot| {
        let facts = root.file("/etc/ssh/sshd_config", "# nothing\n").facts();
        facts.access.ssh_server.unwrap().permit_root_login
    };
    assert_eq!(silent(SmallRoot::centos_6()), "yes");
    assert_eq!(silent(SmallRoot::debian()), "prohibit-password");
    let without = SmallRoot::debian()
        .without("/usr/sbin/sshd")
        .without("/etc/ssh/sshd_config");
    assert_eq!(without.facts().access.ssh_server, None);
}

#[test]
fn storage_below_the_mounts_is_told() {
    let facts = SmallRoot::debian()
        .file(
            "/proc/mdstat",
            "Personalities : [raid1]\nmd0 : active raid1 sdb1[1] sda1[0]\n",
        )
        .file("/sys/block/dm-0/dm/uuid", "LVM-abc\n")
        .file("/sys/block/dm-1/dm/uuid", "CRYPT-LUKS2-abc\n")
        .append(
            "/etc/fstab",
            "UUID=ffff-1 none swap sw 0 0\n/dev/mapper/vg-swap none swap sw 0 0\n",
        )
        .link("/dev/disk/by-uuid/ffff-1", "../../vdb2")
        .link("/dev/mapper/vg-swap", "../dm-0")
        .append("/proc/swaps", "/dev/dm-0 partition 1000 0 -3\n")
        .mount("/home", "btrfs", "0:44", "/dev/vdc")
        .link("/dev/disk/by-uuid/cccc", "../../vdc")
        .mount("/srv/share", "nfs4", "0:45", "server:/export")
        .file("/mnt/data/file", "data")
        .dir("/mnt/empty")
        .file("/mnt/disk/file", "on another file system")
        .mount("/mnt/disk", "ext4", "254:7", "/dev/vdd")
        .facts();
    let storage = facts.storage;
    assert_eq!(storage.by_hand, ["/mnt/data"]);
    assert!(storage.raid && storage.lvm && storage.luks);
    let swaps: Vec<_> = storage
        .swaps
        .iter()
        .map(|s| (s.path.as_str(), s.is_file, s.active))
        .collect();
    assert_eq!(
        swaps,
        [
            ("/swapfile", true, true),
            ("/dev/dm-0", false, true),
            ("/dev/vdb2", false, false)
        ]
    );
    assert_eq!(
        storage.mount_of("/home/x").unwrap().uuid.as_deref(),
        Some("cccc")
    );
    let share = storage.mount_of("/srv/share").unwrap();
    assert_eq!(
        (share.total_bytes, share.source.as_str()),
        (0, "server:/export")
    );
}

#[test]
fn firewall_files_name_addresses() {
    let facts = SmallRoot::debian()
        .file(
            "/etc/iptables/rules.v4",
            "*filter\n-A INPUT -s 192.0.2.7/32 -j ACCEPT\nCOMMIT\n",
        )
        .file("/etc/nftables.conf", "table inet filter {\n}\n")
        .file(
            "/etc/ufw/user.rules",
            "-A ufw-user-input -s 198.51.100.1 -j ACCEPT\n",
        )
        .file("/etc/ufw/ufw.conf", "ENABLED=no\n")
        .facts();
    let firewall = facts.network.firewall;
    assert_eq!(firewall.len(), 1);
    assert_eq!(firewall[0].path, "/etc/iptables/rules.v4");
    assert_eq!(firewall[0].addresses, ["192.0.2.7"]);
}

/// Every file of the presets, and those that the other tests write, with any bytes in it.
#[test]
fn no_contents_make_gathering_fail() {
    const MORE: [&str; 16] = [
        "/proc/net/fib_trie",
        "/proc/net/route",
        "/proc/net/if_inet6",
        "/proc/locks",
        "/proc/cpuinfo",
        "/proc/1/environ",
        "/etc/login.defs",
        "/etc/crontab",
        "/etc/crypttab",
        "/etc/selinux/config",
        "/etc/ufw/ufw.conf",
        "/etc/nftables.conf",
        "/etc/sysconfig/network",
        "/etc/sysconfig/network-scripts/ifcfg-eth0",
        "/etc/conf.d/net",
        "/etc/lsb-release",
    ];
    let root = std::cell::RefCell::new(Some(SmallRoot::alpine()));
    let seed = root.borrow().as_ref().unwrap().path().to_owned();
    let mut paths: Vec<String> = walkdir::WalkDir::new(&seed)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| format!("/{}", entry.path().strip_prefix(&seed).unwrap().display()))
        .collect();
    paths.extend(MORE.map(str::to_owned));
    paths.sort();
    let count = paths.len();
    let line = "[ -~]{0,40}";
    let contents = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n").into_bytes()),
        Just(b"\xff\xfe=\"\\".to_vec()),
        Just(b"include *\nmatch\n".to_vec()),
    ];
    let config = ProptestConfig::with_cases(100);
    proptest!(config, |(index in 0..count, contents in contents)| {
        let path = &paths[index];
        let changed = root.take().unwrap().file(path, &contents);
        let facts = changed.facts();
        prop_assert!(!facts.is_live, "{path}");
        root.replace(Some(changed));
    });
}
