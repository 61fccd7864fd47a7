//! A pair of machines between which nothing stands in the way, to be bent by each test.
//!
//! Knows nothing of the checks.

use instancesync::exclude::profile::{AppliedProfile, Policies};
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::facts::{
    Agent, AgentState, Boot, BootLoader, BootMode, Dns, DnsKind, Family, FsFeatures, Init,
    Interface, Kernel, Libc, Mount, MountKind, NetworkStack, Platform, PlatformKind, Service,
    ServiceKind, SshServer, StackState, Swap, UsrLayout,
};
use instancesync::facts::{Distribution, Facts};
use instancesync::plan::{Plan, PlanInput, Standing, TargetRoom};
use instancesync::relpath::RelPath;
use instancesync::transfer::scan::{Extent, Portion};

pub const GIB: u64 = 1 << 30;

/// What a plan is made from, owned.
pub struct Pair {
    pub source: Facts,
    pub target: Facts,
    pub source_dir: &'static str,
    pub rules: Vec<(Verdict, &'static str)>,
    pub included_mounts: Vec<String>,
    pub one_file_system: bool,
    pub is_staged: bool,
    pub policies: Policies,
    pub extent: Option<Extent>,
    pub target_room: Vec<TargetRoom>,
    pub linked: Vec<String>,
    pub login_user: &'static str,
    pub profiles: Vec<AppliedProfile>,
    pub standing: Standing,
}

impl Pair {
    /// Two machines made from one installer.
    pub fn fresh() -> Pair {
        let mut source = machine("web1");
        source.access.users.people = vec!["anna".to_owned(), "debian".to_owned()];
        source.identity.age_s = Some(900 * 86_400);
        Pair {
            source,
            target: machine("node7"),
            source_dir: "/",
            rules: Vec::new(),
            included_mounts: Vec::new(),
            one_file_system: false,
            is_staged: false,
            policies: Policies::default(),
            extent: Some(Extent {
                portions: vec![portion("", 5 * GIB, 200_000)],
            }),
            target_room: Vec::new(),
            linked: Vec::new(),
            login_user: "root",
            profiles: Vec::new(),
            standing: Standing::Free,
        }
    }

    /// Makes the plan of it.
    pub fn plan(&self) -> Plan {
        let rule = |(verdict, pattern): &(Verdict, &str)| {
            Rule::new(*verdict, *pattern, "profile core:7").because(reason(pattern))
        };
        let rules = Rules::new(self.rules.iter().map(rule).collect()).unwrap();
        Plan::make(&PlanInput {
            source_dir: self.source_dir,
            target_dir: self.source_dir,
            deletes: true,
            is_staged: self.is_staged,
            policies: self.policies,
            given_name: Some("web2"),
            profiles: &self.profiles,
            included_mounts: &self.included_mounts,
            one_file_system: self.one_file_system,
            extent: self.extent.as_ref(),
            target_room: &self.target_room,
            linked: &self.linked,
            login_user: Some(self.login_user),
            link_bytes_per_second: Some(20 << 20),
            standing: &self.standing,
            ..PlanInput::new(&self.source, &self.target, &rules)
        })
    }

    /// Returns the ids of what the plan found.
    pub fn ids(&self) -> Vec<&'static str> {
        let plan = self.plan();
        plan.findings.iter().map(|finding| finding.id).collect()
    }

    pub fn keep(&mut self, pattern: &'static str) {
        self.rules.push((Verdict::Keep, pattern));
    }

    pub fn source_sshd(&mut self) -> &mut SshServer {
        self.source.access.ssh_server.as_mut().unwrap()
    }

    pub fn source_service(&mut self, kind: ServiceKind, name: &str, path: &str) {
        self.source.services.found.push(service(kind, name, path));
    }

    pub fn portion(&mut self) -> &mut Portion {
        &mut self.extent.as_mut().unwrap().portions[0]
    }

    /// Lets a machine bring its network up by one stack.
    pub fn network(facts: &mut Facts, stack: NetworkStack, units: &[&str]) {
        facts.network.stacks.retain(|state| state.stack != stack);
        facts.network.stacks.push(StackState {
            stack,
            installed: true,
            configured: true,
            enabled_units: units.iter().map(|unit| (*unit).to_owned()).collect(),
        });
        facts.network.in_charge = vec![stack];
    }
}

fn reason(pattern: &str) -> &'static str {
    match pattern.split('/').nth(1) {
        Some("boot") => "the target boots by itself",
        Some("proc" | "sys" | "dev" | "run") => "the kernel makes it",
        _ => "it is the target's own",
    }
}

/// Returns a portion for a mount point below the root of the copy.
pub fn portion(mount_point: &str, bytes: u64, entries: u64) -> Portion {
    Portion {
        mount_point: RelPath::new(mount_point.as_bytes()).unwrap(),
        entries,
        inodes: entries - entries / 100,
        apparent_bytes: bytes + bytes / 10,
        allocated_bytes: bytes,
        largest_bytes: bytes / 50,
    }
}

/// Returns a mount of a disk.
pub fn disk(path: &str, fs_type: &str, device: &str) -> Mount {
    Mount {
        path: path.to_owned(),
        source: format!("/dev/disk-{device}"),
        fs_type: fs_type.to_owned(),
        kind: MountKind::Disk,
        device: device.to_owned(),
        subtree: "/".to_owned(),
        executable: true,
        total_bytes: 40 * GIB,
        free_bytes: 38 * GIB,
        total_inodes: 2_600_000,
        free_inodes: 2_500_000,
        features: FsFeatures {
            xattrs: true,
            acls: true,
            reflinks: false,
            unix_attributes: true,
        },
        ..Mount::default()
    }
}

/// Returns a mount of another kind.
pub fn mount(path: &str, fs_type: &str, kind: MountKind) -> Mount {
    Mount {
        kind,
        ..disk(path, fs_type, &format!("0:{}", path.len()))
    }
}

pub fn service(kind: ServiceKind, name: &str, path: &str) -> Service {
    Service {
        kind,
        name: name.to_owned(),
        unit: Some(format!("{name}.service")),
        running: true,
        path: path.to_owned(),
    }
}

pub fn agent(agent: Agent, evidence: &str) -> AgentState {
    AgentState {
        agent,
        enabled_units: vec!["agent.service".to_owned()],
        evidence: evidence.to_owned(),
    }
}

fn machine(name: &str) -> Facts {
    let mut facts = Facts {
        is_live: true,
        distribution: Distribution {
            id: "debian".to_owned(),
            version: "12".to_owned(),
            name: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            family: Family::Debian,
            ..Distribution::default()
        },
        architecture: Some("x86_64".to_owned()),
        libc: Libc::Glibc(Some("2.36".to_owned())),
        usr_layout: UsrLayout::Merged,
        init: Init::Systemd,
        boot: Boot {
            mode: BootMode::Bios,
            loader: BootLoader::Grub2,
            makes_menu: true,
            initramfs_tools: true,
        },
        platform: Platform {
            kind: PlatformKind::Qemu,
            ..Platform::default()
        },
        clock_ms: Some(1_790_000_000_000),
        ..Facts::default()
    };
    facts.kernels.running = Some("6.1.0-18-amd64".to_owned());
    facts.kernels.installed = vec![Kernel {
        version: "6.1.0-18-amd64".to_owned(),
        has_image: true,
        has_modules: true,
    }];
    facts.storage.mounts = vec![disk("/", "ext4", "254:1")];
    facts.storage.swaps = vec![Swap {
        path: "/swapfile".to_owned(),
        is_file: true,
        active: true,
    }];
    Pair::network(&mut facts, NetworkStack::Ifupdown, &["networking.service"]);
    facts.network.dns = Dns {
        kind: DnsKind::File,
        ..Dns::default()
    };
    facts.network.interfaces = vec![Interface {
        name: "eth0".to_owned(),
        mac: None,
        addresses: vec![address_of(name)],
    }];
    facts.identity.hostname = Some(name.to_owned());
    facts.identity.machine_id = Some(format!("id of {name}"));
    facts.identity.boot_id = Some(format!("boot of {name}"));
    facts.identity.host_keys = vec![format!("SHA256:{name}")];
    facts.identity.root_uuid = Some("the installer's image".to_owned());
    facts.identity.age_s = Some(86_400);
    facts.access.user_id = Some(0);
    facts.access.ssh_server = Some(sshd());
    facts.access.users.people = vec!["debian".to_owned()];
    facts.access.users.root_groups = vec!["root".to_owned()];
    facts
}

fn sshd() -> SshServer {
    SshServer {
        effective: true,
        ports: vec![22],
        permit_root_login: "prohibit-password".to_owned(),
        password_authentication: true,
        pubkey_authentication: true,
        authorized_keys_files: vec![".ssh/authorized_keys".to_owned()],
        ..SshServer::default()
    }
}

/// Returns the address of a machine, from the range for documents.
pub fn address_of(name: &str) -> String {
    format!("192.0.2.{}", name.len())
}
