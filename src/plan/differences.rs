//! What will not be the same on the clone, so that nobody has to find it out. Each sentence
//! follows from rules, policies and facts; where the rules let a path arrive, nothing is said.
//! Knows nothing of what blocks.

use super::checks::stack_names;
use super::input::{PlanInput, has_own_data};
use super::wording::list;
use crate::exclude::Verdict;
use crate::exclude::profile::{HostnamePolicy, IdentityPolicy, KernelPolicy};
use crate::facts::{Mount, MountKind};

/// Paths that stand for a part of the system, and what is different where rules keep them.
const KEPT_PARTS: [(&str, &str); 6] = [
    (
        "/boot/grub",
        "the boot loader and its files are the target's",
    ),
    ("/etc/fstab", "disks are mounted as on the target"),
    ("/etc/resolv.conf", "names are resolved as on the target"),
    ("/etc/hosts", "/etc/hosts is the target's"),
    (
        "/var/lib/cloud/instance",
        "the cloud's agents keep the target's state",
    ),
    (SELINUX_CONFIG, "SELinux runs in the target's mode"),
];
const SELINUX_CONFIG: &str = "/etc/selinux/config";

/// Returns what will not be the same, a sentence each.
pub(super) fn describe(input: &PlanInput<'_>) -> Vec<String> {
    let mut sentences = Vec::new();
    if input.is_whole_system() {
        sentences.extend(name(input));
        sentences.extend(identity(input));
        sentences.extend(kernel(input));
        sentences.extend(network(input));
        sentences.extend(parts(input));
        sentences.push("memory, running programs and open connections are not copied".to_owned());
    }
    sentences.extend(mounts(input));
    if !input.deletes {
        let text = "what only the target has stays, because --delete was not given";
        sentences.push(text.to_owned());
    }
    sentences
}

fn name(input: &PlanInput<'_>) -> Option<String> {
    let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
    let (source, target) = (&input.source.identity, &input.target.identity);
    match input.policies.hostname {
        HostnamePolicy::Target if source.hostname == target.hostname => None,
        HostnamePolicy::Target => Some(format!("its name stays {}", named(&target.hostname))),
        HostnamePolicy::Source => None,
        HostnamePolicy::Name => Some(format!("its name becomes {}", input.given_name?)),
    }
}

fn identity(input: &PlanInput<'_>) -> Option<String> {
    match input.policies.identity {
        IdentityPolicy::Move => None,
        IdentityPolicy::Clone => {
            let parts = [
                ("machine-id", "/etc/machine-id"),
                ("SSH host keys", "/etc/ssh/ssh_host_ed25519_key"),
                ("DHCP leases", "/var/lib/dhcp/dhclient.leases"),
            ];
            let kept: Vec<&str> = parts
                .iter()
                .filter(|(_, path)| !input.arrives(path))
                .map(|(name, _)| *name)
                .collect();
            (!kept.is_empty()).then(|| format!("the target's own stay: {}", list(&kept)))
        }
    }
}

fn kernel(input: &PlanInput<'_>) -> Option<String> {
    let source = input.source.kernels.running.as_deref();
    let target = input.target.kernels.running.as_deref()?;
    match input.policies.kernel {
        _ if source == Some(target) => None,
        KernelPolicy::Target => Some(format!("it boots the target's Linux {target}")),
        KernelPolicy::Source => Some(format!(
            "it boots the source's Linux {}, made ready for the target's hardware; Linux {target} \
             stays to fall back to",
            source?
        )),
    }
}

fn network(input: &PlanInput<'_>) -> Option<String> {
    let stacks = &input.target.network.in_charge;
    (!stacks.is_empty()).then(|| {
        format!(
            "addresses and routes are the target's, by {}",
            stack_names(stacks)
        )
    })
}

fn parts<'a>(input: &'a PlanInput<'_>) -> impl Iterator<Item = String> + 'a {
    KEPT_PARTS
        .iter()
        .filter(|(path, _)| {
            let verdict = input.verdict(path, false);
            verdict == Verdict::Keep || verdict == Verdict::Skip
        })
        .map(|(_, sentence)| (*sentence).to_owned())
}

/// Tells of what is mounted on the source and stays behind, by kind. What would stay behind
/// unsaid is a finding.
fn mounts(input: &PlanInput<'_>) -> Vec<String> {
    let is_said = |mount: &Mount| input.one_file_system || !input.contents_arrive(&mount.path);
    let mut left: [(Vec<&str>, &str); 3] = [
        (Vec::new(), "file systems that stay behind"),
        (Vec::new(), "mounts whose contents are not copied"),
        (Vec::new(), "merged views and images that are not copied"),
    ];
    for mount in input.inner_mounts().filter(|mount| !input.enters(mount)) {
        let group = match mount.kind {
            _ if has_own_data(mount) && is_said(mount) => 0,
            MountKind::Network | MountKind::Fuse | MountKind::Auto => 1,
            MountKind::Overlay | MountKind::Image => 2,
            MountKind::Disk | MountKind::Bind | MountKind::Pseudo | MountKind::Unknown => continue,
        };
        if let Some((paths, _)) = left.get_mut(group) {
            paths.push(&mount.path);
        }
    }
    left.iter()
        .filter(|(paths, _)| !paths.is_empty())
        .map(|(paths, text)| format!("{text}: {}", list(paths)))
        .collect()
}
