//! Each check with a pair that it finds something in, and one that is close but fine.
//!
//! Knows nothing of texts; the snapshots do.

use instancesync::exclude::Verdict;
use instancesync::exclude::profile::{HostnamePolicy, IdentityPolicy, KernelPolicy};
use instancesync::facts::{
    Agent, BootLoader, BootMode, DnsKind, Family, Firewall, FsFeatures, Init, Libc, MountKind,
    NetworkStack, PlatformKind, SelinuxMode, ServiceKind, UsrLayout,
};
use instancesync::plan::{Standing, TargetRoom};

use super::pair::{GIB, Pair, address_of, agent, disk, mount, portion, service};

/// One check.
pub struct Case {
    pub id: &'static str,
    pub trigger: fn(&mut Pair),
    pub near_miss: fn(&mut Pair),
}

const fn case(id: &'static str, trigger: fn(&mut Pair), near_miss: fn(&mut Pair)) -> Case {
    Case {
        id,
        trigger,
        near_miss,
    }
}

/// Returns the cases of all checks.
pub fn all() -> Vec<&'static Case> {
    [SAFETY, SYSTEM, DISKS, NETWORK, ACCESS, PROGRAMS]
        .iter()
        .flat_map(|theme| theme.iter())
        .collect()
}

/// Lets the clone boot a kernel that only the source has.
fn kernel_of_source(pair: &mut Pair) {
    pair.policies.kernel = KernelPolicy::Source;
    pair.is_staged = true;
    let kernel = "6.1.0-47-cloud-amd64";
    pair.source.kernels.running = Some(kernel.to_owned());
    pair.source.kernels.installed[0].version = kernel.to_owned();
}

const SAFETY: &[Case] = &[
    case(
        "target-not-root",
        |p| p.target.access.user_id = Some(1000),
        |p| p.target.access.user_id = None,
    ),
    case(
        "source-not-root",
        |p| p.source.access.user_id = Some(1000),
        |p| p.source.access.user_id = None,
    ),
    case(
        "same-machine",
        |p| p.target.identity.boot_id = p.source.identity.boot_id.clone(),
        |p| {
            // Two instances of one image, keys and all.
            p.target.identity.machine_id = p.source.identity.machine_id.clone();
            p.target.identity.host_keys = p.source.identity.host_keys.clone();
        },
    ),
    case(
        "run-in-progress",
        |p| p.target.identity.is_locked = true,
        |_| {},
    ),
    case(
        "target-read-only",
        |p| p.target.storage.mounts[0].read_only = true,
        |p| {
            let mut boot = disk("/boot", "ext4", "254:2");
            boot.read_only = true;
            p.target.storage.mounts.push(boot);
            p.keep("/boot");
        },
    ),
    case(
        "target-container",
        |p| p.target.boot.mode = BootMode::Container,
        |p| p.source.boot.mode = BootMode::Container,
    ),
    case(
        "target-diskless",
        |p| p.target.storage.mounts[0] = mount("/", "tmpfs", MountKind::Pseudo),
        |p| p.target.storage.mounts[0] = disk("/", "xfs", "254:1"),
    ),
    case(
        "shared-identity",
        |p| p.target.identity.machine_id = p.source.identity.machine_id.clone(),
        |p| {
            p.target.identity.machine_id = None;
            p.source.identity.machine_id = None;
        },
    ),
    case(
        "target-not-fresh",
        |p| p.target.access.users.people = vec!["bert".to_owned()],
        |p| {
            // What was cloned before is as old as the source and has its people.
            p.target.access.users.people = vec!["anna".to_owned(), "ubuntu".to_owned()];
            p.target.identity.age_s = p.source.identity.age_s;
        },
    ),
];

const SYSTEM: &[Case] = &[
    case(
        "other-architecture",
        |p| p.target.architecture = Some("aarch64".to_owned()),
        |p| p.target.architecture = Some("amd64".to_owned()),
    ),
    case(
        "other-usr-layout",
        |p| p.target.usr_layout = UsrLayout::Split,
        |p| p.target.usr_layout = UsrLayout::Unknown,
    ),
    case(
        "other-libc",
        |p| p.target.libc = Libc::Musl,
        |p| p.target.libc = Libc::Glibc(Some("2.31".to_owned())),
    ),
    case(
        "other-init",
        |p| p.target.init = Init::Openrc,
        |p| p.target.init = Init::Unknown,
    ),
    case(
        "other-family",
        |p| p.target.distribution.family = Family::Rhel,
        |p| p.target.distribution.id = "ubuntu".to_owned(),
    ),
    case(
        "unknown-distribution",
        |p| p.target.distribution.family = Family::Unknown,
        |p| p.target.distribution.family = Family::Suse,
    ),
    case(
        "other-distribution",
        |p| p.target.distribution.id = "ubuntu".to_owned(),
        |p| p.target.distribution.version = "11".to_owned(),
    ),
    case(
        "other-major-version",
        |p| p.target.distribution.version = "11".to_owned(),
        |p| p.target.distribution.version = "12.5".to_owned(),
    ),
    case(
        "other-minor-version",
        |p| p.target.distribution.version = "12.5".to_owned(),
        |p| p.target.distribution.version = "11".to_owned(),
    ),
    case(
        "kernel-too-old",
        |p| p.target.kernels.running = Some("2.6.32-754.el6.x86_64".to_owned()),
        |p| {
            p.target.kernels.running = Some("2.6.32-754.el6.x86_64".to_owned());
            p.source.libc = Libc::Glibc(Some("2.17".to_owned()));
        },
    ),
    case(
        "other-kernel",
        |p| p.target.kernels.running = Some("6.12.9-amd64".to_owned()),
        |p| p.target.kernels.running = Some("6.1.0-21-amd64".to_owned()),
    ),
    case(
        "kernel-without-modules",
        |p| p.target.kernels.installed[0].has_modules = false,
        |p| p.target.kernels.installed[0].has_image = false,
    ),
    case(
        "kernel-needs-stage",
        |p| {
            kernel_of_source(p);
            p.is_staged = false;
        },
        kernel_of_source,
    ),
    case(
        "kernel-needs-grub",
        |p| {
            kernel_of_source(p);
            p.target.boot.makes_menu = false;
        },
        |p| {
            kernel_of_source(p);
            p.source.boot.makes_menu = false;
        },
    ),
    case(
        "kernel-needs-initramfs-tools",
        |p| {
            kernel_of_source(p);
            p.source.boot.initramfs_tools = false;
        },
        |p| {
            kernel_of_source(p);
            p.target.boot.initramfs_tools = false;
        },
    ),
    case(
        "kernel-left-behind",
        |p| {
            kernel_of_source(p);
            p.keep("/lib/modules/*");
        },
        |p| {
            // The target has it, too.
            p.policies.kernel = KernelPolicy::Source;
            p.is_staged = true;
            p.keep("/lib/modules/*");
        },
    ),
    case(
        "kernel-without-fallback",
        |p| {
            kernel_of_source(p);
            p.target.kernels.installed[0].has_modules = false;
        },
        |p| p.target.kernels.installed.clear(),
    ),
    case(
        "kernel-for-elsewhere",
        |p| {
            kernel_of_source(p);
            p.target.platform.kind = PlatformKind::Metal;
        },
        kernel_of_source,
    ),
    case(
        "selinux-policy-missing",
        |p| {
            p.target.security.selinux_configured = SelinuxMode::Enforcing;
            p.keep("/etc/selinux/config");
        },
        // The source's own file comes along, or rather that it has none.
        |p| p.target.security.selinux_configured = SelinuxMode::Enforcing,
    ),
    case(
        "selinux-differs",
        |p| {
            p.source.security.selinux_configured = SelinuxMode::Permissive;
            p.target.security.selinux_configured = SelinuxMode::Enforcing;
        },
        |p| {
            p.source.security.selinux_configured = SelinuxMode::Disabled;
            p.target.security.selinux_policy = Some("targeted".to_owned());
        },
    ),
    case(
        "other-boot-mode",
        |p| p.target.boot.mode = BootMode::Uefi,
        |p| p.target.boot.mode = BootMode::Unknown,
    ),
    case(
        "other-boot-loader",
        |p| p.target.boot.loader = BootLoader::Extlinux,
        |p| p.target.boot.loader = BootLoader::None,
    ),
    case(
        "clock-skew",
        |p| p.target.clock_ms = Some(1_790_000_006_000),
        |p| p.target.clock_ms = Some(1_789_999_996_000),
    ),
    case(
        "unknown-facts",
        |p| {
            p.target
                .unknown
                .push("/etc/shadow is not readable".to_owned());
        },
        |_| {},
    ),
    case(
        "unfinished-packages",
        |p| {
            let unfinished = &mut p.source.packages.unfinished;
            unfinished.push("nginx is half-configured".to_owned());
        },
        |p| {
            // Its packages are replaced.
            let unfinished = &mut p.target.packages.unfinished;
            unfinished.push("nginx is half-configured".to_owned());
        },
    ),
];

const DISKS: &[Case] = &[
    case(
        "volumes-unsupported",
        |p| p.target.storage.lvm = true,
        |p| p.source.storage.tools.lvm = true,
    ),
    case(
        "mount-left-out",
        |p| {
            p.source
                .storage
                .mounts
                .push(disk("/backup", "xfs", "254:8"));
        },
        |p| {
            p.source.storage.mounts.push(disk("/data", "xfs", "254:9"));
            p.source
                .storage
                .mounts
                .push(disk("/backup", "xfs", "254:8"));
            p.source.storage.mounts.push(disk("/mnt", "xfs", "254:7"));
            let mut bind = disk("/srv/www", "ext4", "254:1");
            bind.kind = MountKind::Bind;
            bind.subtree = "/var/www".to_owned();
            p.source.storage.mounts.push(bind);
            p.included_mounts = vec!["/data".to_owned()];
            p.keep("/backup");
            p.keep("/mnt/**");
        },
    ),
    case(
        "attributes-lost",
        |p| p.target.storage.mounts[0].features.xattrs = false,
        |p| {
            for path in ["/boot", "/efi"] {
                let mut mount = disk(path, "vfat", "254:15");
                mount.features = FsFeatures::default();
                p.target.storage.mounts.push(mount);
            }
            p.keep("/boot/**");
            p.keep("/efi");
        },
    ),
    case(
        "no-room",
        |p| {
            p.is_staged = true;
            p.target.storage.mounts[0].free_bytes = 5 * GIB;
        },
        |p| {
            // The same, but most of it is there from a run that was cut.
            p.is_staged = true;
            p.target.storage.mounts[0].free_bytes = 5 * GIB;
            p.target_room = vec![TargetRoom {
                mount_point: "/".to_owned(),
                left_bytes: 4 * GIB,
                ..TargetRoom::default()
            }];
        },
    ),
    case(
        "no-inodes",
        |p| {
            p.target.storage.mounts[0].total_inodes = 190_000;
            p.target.storage.mounts[0].free_inodes = 190_000;
        },
        |p| p.target.storage.mounts[0].total_inodes = 0,
    ),
    case(
        "size-unknown",
        |p| p.extent = None,
        |p| p.portion().entries = 1,
    ),
    case(
        "room-tight",
        |p| p.target.storage.mounts[0].free_bytes = 5 * GIB,
        |p| p.target.storage.mounts[0].free_bytes = 6 * GIB,
    ),
    case(
        "file-system-tools-missing",
        |p| p.target.storage.mounts[0].fs_type = "btrfs".to_owned(),
        |p| p.source.storage.file_system_tools = vec!["btrfs".to_owned()],
    ),
    case(
        "volumes-left-behind",
        |p| p.source.storage.raid = true,
        |p| p.target.storage.raid = true,
    ),
    case(
        "swap-missing",
        |p| p.target.storage.swaps.clear(),
        |p| p.source.storage.swaps.clear(),
    ),
    case(
        "network-mounts",
        |p| {
            let share = mount("/srv/share", "nfs4", MountKind::Network);
            p.source.storage.mounts.push(share);
        },
        |p| {
            let share = mount("/mnt/share", "nfs4", MountKind::Network);
            p.source.storage.mounts.push(share);
            p.keep("/mnt/*");
        },
    ),
    case(
        "data-left-behind",
        |p| {
            p.source.storage.by_hand = vec!["/mnt/data".to_owned()];
            p.rules.push((Verdict::Skip, "/mnt/**"));
        },
        |p| {
            p.source.storage.by_hand = vec!["/mnt/data".to_owned()];
            p.rules.push((Verdict::Copy, "/mnt/***"));
            p.rules.push((Verdict::Skip, "/mnt/**"));
        },
    ),
    case(
        "mount-merged",
        |p| {
            p.source.storage.mounts.push(disk("/data", "ext4", "254:9"));
            p.included_mounts = vec!["/data".to_owned()];
        },
        |p| {
            for facts in [&mut p.source, &mut p.target] {
                facts.storage.mounts.push(disk("/data", "ext4", "254:9"));
            }
            p.included_mounts = vec!["/data".to_owned()];
            let extent = p.extent.as_mut().unwrap();
            extent.portions.push(portion("data", GIB, 10));
        },
    ),
];

const NETWORK: &[Case] = &[
    case(
        "network-stack-missing",
        |p| {
            let units = ["systemd-networkd.service"];
            Pair::network(&mut p.target, NetworkStack::SystemdNetworkd, &units);
        },
        |p| {
            let units = ["systemd-networkd.service"];
            Pair::network(&mut p.source, NetworkStack::SystemdNetworkd, &units);
        },
    ),
    case(
        "network-stack-not-started",
        |p| {
            // Waiting for a network does not bring it up.
            let units = [
                "NetworkManager.service",
                "NetworkManager-wait-online.service",
            ];
            Pair::network(&mut p.target, NetworkStack::NetworkManager, &units);
            Pair::network(&mut p.source, NetworkStack::NetworkManager, &units[1..]);
        },
        |p| {
            let units = ["NetworkManager.service"];
            Pair::network(&mut p.target, NetworkStack::NetworkManager, &units);
            Pair::network(&mut p.source, NetworkStack::NetworkManager, &[]);
            p.keep("/etc/systemd/system/multi-user.target.wants/NetworkManager.service");
        },
    ),
    case(
        "network-unknown",
        |p| p.target.network.in_charge.clear(),
        |p| p.source.network.in_charge.clear(),
    ),
    case(
        "network-stack-doubled",
        |p| {
            let units = ["NetworkManager.service"];
            Pair::network(&mut p.source, NetworkStack::NetworkManager, &units);
        },
        |p| {
            let units = ["NetworkManager.service"];
            Pair::network(&mut p.source, NetworkStack::NetworkManager, &units);
            p.keep("/etc/systemd/system/*.wants/NetworkManager*");
        },
    ),
    case(
        "dns-broken",
        |p| {
            p.target.network.dns.kind = DnsKind::Link;
            let link = "../run/systemd/resolve/stub-resolv.conf";
            p.target.network.dns.link = Some(link.to_owned());
            p.keep("/etc/resolv.conf");
        },
        |p| {
            for (facts, file) in [(&mut p.source, "resolv"), (&mut p.target, "stub-resolv")] {
                facts.network.dns.kind = DnsKind::Link;
                let link = format!("../run/systemd/resolve/{file}.conf");
                facts.network.dns.link = Some(link);
            }
            p.keep("/etc/resolv.conf");
        },
    ),
    case(
        "firewall-names-source",
        |p| {
            p.source
                .network
                .firewall
                .push(firewall(&address_of("web1")));
        },
        |p| p.source.network.firewall.push(firewall("198.51.100.9")),
    ),
    case(
        "other-interface-names",
        |p| p.target.network.interfaces[0].name = "ens3".to_owned(),
        |p| p.target.network.interfaces.clear(),
    ),
];

fn firewall(address: &str) -> Firewall {
    Firewall {
        path: "/etc/nftables.conf".to_owned(),
        addresses: vec![address.to_owned()],
    }
}

const ACCESS: &[Case] = &[
    case(
        "ssh-port",
        |p| p.source_sshd().ports = vec![2222],
        |p| p.source_sshd().ports = vec![22, 2222],
    ),
    case(
        "ssh-listen-address",
        |p| {
            let (own, of_nobody) = (address_of("web1"), "198.51.100.9");
            p.source_sshd().listen_addresses =
                [&own, of_nobody].map(|it| format!("{it}:22")).into();
        },
        |p| {
            // The fix-ups take both out: only loopback would be left.
            let (own, loopback) = (address_of("web1"), "127.0.0.1");
            p.source_sshd().listen_addresses = [&own, loopback].map(|it| format!("{it}:22")).into();
        },
    ),
    case(
        "ssh-root-login",
        |p| {
            p.source_sshd().permit_root_login = "no".to_owned();
            // Edited, as those of a machine of Google's, they arrive all the same.
            p.rules.push((Verdict::Merge, "/etc/ssh/sshd_config"));
        },
        |p| {
            p.source_sshd().permit_root_login = "no".to_owned();
            p.keep("/etc/ssh/sshd_config");
        },
    ),
    case(
        "ssh-users",
        |p| p.source_sshd().allow_groups = vec!["wheel".to_owned()],
        |p| {
            p.source_sshd().allow_groups = vec!["wheel".to_owned(), "root".to_owned()];
            p.source_sshd().allow_users = vec!["r*@192.0.2.*".to_owned()];
            p.source_sshd().deny_users = vec!["games".to_owned()];
        },
    ),
    case(
        "ssh-no-keys",
        |p| p.source_sshd().pubkey_authentication = false,
        |p| p.source_sshd().password_authentication = false,
    ),
    case(
        "ssh-keys-elsewhere",
        |p| p.source_sshd().authorized_keys_files = vec!["/etc/ssh/keys/%u".to_owned()],
        |p| {
            let files = ["%h/.ssh/authorized_keys", "/etc/ssh/keys/%u"];
            p.source_sshd().authorized_keys_files = files.map(str::to_owned).to_vec();
        },
    ),
    case(
        "ssh-other-account",
        |p| p.login_user = "ubuntu",
        |p| p.login_user = "root",
    ),
];

const PROGRAMS: &[Case] = &[
    case(
        "ec2-instance-connect",
        |p| {
            let state = agent(Agent::Ec2InstanceConnect, "/opt/aws/bin/eic");
            p.source.platform.agents.push(state);
        },
        |p| {
            let state = agent(Agent::Ec2InstanceConnect, "/opt/aws/bin/eic");
            p.source.platform.agents.push(state);
            p.target.platform.kind = PlatformKind::Amazon;
        },
    ),
    case(
        "source-agents",
        |p| {
            let state = agent(Agent::NovaAgent, "/usr/sbin/nova-agent");
            p.source.platform.agents.push(state);
        },
        |p| {
            let mut state = agent(Agent::NovaAgent, "/usr/sbin/nova-agent");
            state.enabled_units.clear();
            p.source.platform.agents.push(state);
            let state = agent(Agent::AmazonSsm, "/etc/amazon/ssm");
            p.source.platform.agents.push(state);
            p.keep("/etc/amazon");
        },
    ),
    case(
        "target-agents-lost",
        |p| {
            let state = agent(Agent::Waagent, "/usr/sbin/waagent");
            p.target.platform.agents.push(state);
        },
        |p| {
            for facts in [&mut p.source, &mut p.target] {
                let state = agent(Agent::Waagent, "/usr/sbin/waagent");
                facts.platform.agents.push(state);
            }
        },
    ),
    case(
        "running-databases",
        |p| p.source_service(ServiceKind::Database, "mariadb", "/var/lib/mysql"),
        |p| {
            p.source_service(ServiceKind::Database, "mariadb", "/var/lib/mysql");
            p.source.services.found[0].running = false;
        },
    ),
    case(
        "container-engines",
        |p| p.source_service(ServiceKind::Containers, "docker", "/var/lib/docker"),
        |p| {
            p.source_service(ServiceKind::Containers, "docker", "/var/lib/docker");
            p.keep("/var/lib/docker");
        },
    ),
    case(
        "linked-data",
        |p| p.linked = vec!["/var/lib/postgresql".to_owned()],
        |p| p.linked = ["/etc/app", "/root/.ssh"].map(str::to_owned).to_vec(),
    ),
    case(
        "doubled-identities",
        |p| p.source_service(ServiceKind::Identity, "tailscale", "/var/lib/tailscale"),
        |p| {
            p.source_service(ServiceKind::Identity, "tailscale", "/var/lib/tailscale");
            p.policies.identity = IdentityPolicy::Move;
        },
    ),
    case(
        "doubled-senders",
        |p| p.source_service(ServiceKind::Sender, "postfix", "/var/spool/postfix"),
        |p| {
            let sender = service(ServiceKind::Sender, "postfix", "/var/spool/postfix");
            p.target.services.found.push(sender);
        },
    ),
    case(
        "doubled-jobs",
        |p| {
            p.source
                .services
                .scheduled_jobs
                .push("/etc/cron.d/bills".to_owned());
        },
        |p| {
            p.target
                .services
                .scheduled_jobs
                .push("/etc/cron.d/bills".to_owned());
        },
    ),
    case(
        "moved-identity",
        |p| p.policies.identity = IdentityPolicy::Move,
        |p| p.policies.hostname = HostnamePolicy::Source,
    ),
    case(
        "target-occupied",
        |p| p.standing = Standing::Occupied("target: it waits for the reboot".to_owned()),
        |p| p.standing = Standing::Cloned,
    ),
    case(
        "target-cloned",
        |p| p.standing = Standing::Cloned,
        |p| p.standing = Standing::Replaced,
    ),
    case(
        "previous-goes",
        |p| p.standing = Standing::Replaced,
        |p| p.standing = Standing::Cloned,
    ),
    case(
        "same-name",
        |p| p.policies.hostname = HostnamePolicy::Source,
        |p| p.policies.hostname = HostnamePolicy::Name,
    ),
];
