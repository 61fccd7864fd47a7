//! Facts of a machine as a page for people, at most 80 columns wide, by subject. Whatever the
//! machine says is made safe to print. Knows nothing of how facts are gathered.

use std::time::Duration;

use serde::Serialize;

use super::page::Page;
use super::{escape, units};
use crate::facts::{
    Access, AgentState, DnsKind, Facts, Kernel, Kernels, Libc, Mount, MountKind, Network, Service,
    Storage, Swap,
};

/// LIMIT: mounts that are shown; a machine with many containers has thousands.
const MAX_MOUNTS: usize = 40;

/// Returns the page.
pub fn facts_text(facts: &Facts) -> String {
    let mut page = Page::default();
    system(&mut page, facts);
    storage(&mut page, &facts.storage);
    network(&mut page, &facts.network);
    platform(&mut page, facts);
    software(&mut page, facts);
    identity(&mut page, facts);
    access(&mut page, &facts.access);
    if !facts.unknown.is_empty() {
        page.heading("not known");
        facts
            .unknown
            .iter()
            .for_each(|sentence| page.row("", sentence));
    }
    page.into_text()
}

/// Returns the word that the JSON has for a value: `systemd-networkd`.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn words<T: Serialize>(values: &[T]) -> String {
    let words: Vec<String> = values.iter().map(word).collect();
    words.join(", ")
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn or_unknown(value: Option<&str>) -> &str {
    value.unwrap_or("unknown")
}

fn system(page: &mut Page, facts: &Facts) {
    let distribution = &facts.distribution;
    let name = match distribution.name.as_str() {
        "" => "an unknown distribution",
        name => name,
    };
    page.heading("system");
    page.row("distribution", name);
    let version = format!("{} {}", distribution.id, distribution.version);
    let origin = match distribution.origin.as_str() {
        "" => String::new(),
        origin => format!(", says {origin}"),
    };
    page.row("known as", &format!("{}{origin}", version.trim()));
    page.row("family", &word(distribution.family));
    page.row("architecture", or_unknown(facts.architecture.as_deref()));
    kernels(page, &facts.kernels);
    let libc = match &facts.libc {
        Libc::Glibc(Some(version)) => format!("glibc {version}"),
        Libc::Glibc(None) => "glibc".to_owned(),
        Libc::Musl => "musl".to_owned(),
        Libc::Unknown => "unknown".to_owned(),
    };
    page.row("C library", &libc);
    page.row("/usr", &word(facts.usr_layout));
    page.row("init", &word(facts.init));
    let boot = format!("{}, {}", word(facts.boot.mode), word(facts.boot.loader));
    page.row("boot", &boot);
}

fn kernels(page: &mut Page, kernels: &Kernels) {
    page.row("running kernel", or_unknown(kernels.running.as_deref()));
    let describe = |kernel: &Kernel| {
        let lack = match (kernel.has_image, kernel.has_modules) {
            (true, true) => "",
            (true, false) => " (no modules)",
            (false, _) => " (no image)",
        };
        format!("{}{lack}", kernel.version)
    };
    page.list("kernels", kernels.installed.iter().map(describe));
}

fn storage(page: &mut Page, storage: &Storage) {
    page.heading("storage");
    let is_quiet = |mount: &&Mount| matches!(mount.kind, MountKind::Pseudo | MountKind::Auto);
    for mount in storage
        .mounts
        .iter()
        .filter(|mount| !is_quiet(mount))
        .take(MAX_MOUNTS)
    {
        page.row(&escape::text(&mount.path), &describe_mount(mount));
    }
    let shown = storage
        .mounts
        .iter()
        .filter(|mount| !is_quiet(mount))
        .count();
    if shown > MAX_MOUNTS {
        page.row("", &format!("and {} more", shown - MAX_MOUNTS));
    }
    let quiet = storage.mounts.iter().filter(is_quiet).count() as u64;
    if quiet > 0 {
        let mounts = units::counted(quiet, "mount");
        page.row("besides", &format!("{mounts} of proc, tmpfs and the like"));
    }
    let describe = |swap: &Swap| match swap.active {
        true => swap.path.clone(),
        false => format!("{} (not in use)", swap.path),
    };
    page.list("swap", storage.swaps.iter().map(describe));
    let layers = [
        ("LVM", storage.lvm),
        ("RAID", storage.raid),
        ("LUKS", storage.luks),
    ];
    let layers = layers.iter().filter(|(_, is_used)| *is_used);
    page.list("below", layers.map(|(name, _)| (*name).to_owned()));
}

fn describe_mount(mount: &Mount) -> String {
    let mut text = format!("{} {}, {}", mount.fs_type, mount.source, word(mount.kind));
    if mount.total_bytes > 0 {
        let free = units::bytes(mount.free_bytes);
        text.push_str(&format!(
            ", {free} of {} free",
            units::bytes(mount.total_bytes)
        ));
    }
    if mount.total_inodes > 0 {
        text.push_str(&format!(
            ", {} inodes free",
            units::count(mount.free_inodes)
        ));
    }
    if mount.read_only {
        text.push_str(", read-only");
    }
    if !mount.executable {
        text.push_str(", no programs");
    }
    text
}

fn network(page: &mut Page, network: &Network) {
    page.heading("network");
    let charge = match network.in_charge.as_slice() {
        [] => "nothing that is known".to_owned(),
        stacks => words(stacks),
    };
    page.row("in charge", &charge);
    for state in &network.stacks {
        let mut traits = Vec::new();
        traits.extend(state.installed.then(|| "installed".to_owned()));
        traits.extend(state.configured.then(|| "configured".to_owned()));
        if !state.enabled_units.is_empty() {
            traits.push(format!("enabled by {}", state.enabled_units.join(" ")));
        }
        page.list(&word(state.stack), traits);
    }
    let kind = match (network.dns.kind, &network.dns.link) {
        (DnsKind::Missing, _) => "no /etc/resolv.conf".to_owned(),
        (DnsKind::Link, Some(link)) => format!("a link to {link}"),
        (DnsKind::Link | DnsKind::File, _) => "a file".to_owned(),
    };
    let servers = network
        .dns
        .servers
        .iter()
        .map(|server| format!("asks {server}"));
    page.list("resolv.conf", std::iter::once(kind).chain(servers));
    for interface in &network.interfaces {
        let mac = interface.mac.iter().cloned();
        let all = mac.chain(interface.addresses.iter().cloned());
        page.list(&escape::text(&interface.name), all);
    }
    for firewall in &network.firewall {
        let mut text = firewall.path.clone();
        if !firewall.addresses.is_empty() {
            text.push_str(&format!(", names {}", firewall.addresses.join(" ")));
        }
        page.row("firewall", &text);
    }
}

fn platform(page: &mut Page, facts: &Facts) {
    page.heading("platform");
    page.row("kind", &word(facts.platform.kind));
    page.list("told by", facts.platform.evidence.iter().cloned());
    for AgentState {
        agent,
        enabled_units,
        evidence,
    } in &facts.platform.agents
    {
        let units = match enabled_units.as_slice() {
            [] => "not enabled".to_owned(),
            units => format!("enabled by {}", units.join(" ")),
        };
        page.row(&word(agent), &format!("{evidence}, {units}"));
    }
    let security = &facts.security;
    let configured = word(security.selinux_configured);
    let policy = security
        .selinux_policy
        .iter()
        .map(|policy| format!("policy {policy}"));
    let selinux = [
        word(security.selinux),
        format!("configured as {configured}"),
    ];
    page.list("SELinux", selinux.into_iter().chain(policy));
    page.row("AppArmor", &word(security.apparmor));
}

fn software(page: &mut Page, facts: &Facts) {
    page.heading("software");
    let packages = &facts.packages;
    let manager = packages.manager.map_or("unknown".to_owned(), word);
    let count = packages
        .installed
        .map(|count| units::counted(count, "package"));
    page.list("packages", std::iter::once(manager).chain(count));
    for sentence in &packages.unfinished {
        page.row("unfinished", sentence);
    }
    for Service {
        kind,
        name,
        unit,
        running,
        path,
    } in &facts.services.found
    {
        let state = if *running { "running" } else { "not running" };
        let all = [
            Some(name.as_str()),
            Some(state),
            unit.as_deref(),
            Some(path.as_str()),
        ];
        let all = all.into_iter().flatten().filter(|text| !text.is_empty());
        page.list(&word(kind), all.map(str::to_owned));
    }
    page.list(
        "scheduled jobs",
        facts.services.scheduled_jobs.iter().cloned(),
    );
}

fn identity(page: &mut Page, facts: &Facts) {
    page.heading("identity");
    let identity = &facts.identity;
    page.row("host name", or_unknown(identity.hostname.as_deref()));
    page.row("machine id", or_unknown(identity.machine_id.as_deref()));
    page.row("boot id", identity.boot_id.as_deref().unwrap_or(""));
    page.row("root UUID", identity.root_uuid.as_deref().unwrap_or(""));
    for key in &identity.host_keys {
        page.row("host key", key);
    }
    if let Some(age) = identity.age_s {
        let age = match age / 86_400 {
            0 => units::duration(Duration::from_secs(age)),
            days => units::counted(days, "day"),
        };
        page.row("age", &age);
    }
    if identity.is_locked {
        page.row("lock", "another run holds it");
    }
    if let Some(seconds) = facts.clock_ms.and_then(|clock| clock.checked_div(1000)) {
        let time = jiff::Timestamp::from_second(seconds);
        page.row(
            "clock",
            &time.map(|time| time.to_string()).unwrap_or_default(),
        );
    }
}

fn access(page: &mut Page, access: &Access) {
    page.heading("access");
    let user = access.user_id.map(|id| match id {
        0 => "root".to_owned(),
        id => format!("user {id}: some of this may be missing"),
    });
    page.row("gathered as", user.as_deref().unwrap_or(""));
    page.list("people", access.users.people.iter().cloned());
    page.list("root's groups", access.users.root_groups.iter().cloned());
    let Some(sshd) = &access.ssh_server else {
        page.row("SSH server", "none");
        return;
    };
    let origin = if sshd.effective {
        "as sshd -T says"
    } else {
        "as its files say"
    };
    page.row("SSH server", origin);
    page.list("ports", sshd.ports.iter().map(u16::to_string));
    page.list("listens on", sshd.listen_addresses.iter().cloned());
    page.row("root login", &sshd.permit_root_login);
    page.row("passwords", yes_no(sshd.password_authentication));
    page.row("keys", yes_no(sshd.pubkey_authentication));
    page.list("allowed users", sshd.allow_users.iter().cloned());
    page.list("denied users", sshd.deny_users.iter().cloned());
    page.list("allowed groups", sshd.allow_groups.iter().cloned());
    page.list("denied groups", sshd.deny_groups.iter().cloned());
    page.list("key files", sshd.authorized_keys_files.iter().cloned());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_name_leaves_the_page(name: String, path: String, words: Vec<String>) {
            let mut facts = Facts::default();
            facts.distribution.name = name;
            facts.unknown = words;
            facts.storage.mounts.push(Mount { path, kind: MountKind::Disk, ..Mount::default() });
            let text = facts_text(&facts);
            for line in text.lines() {
                prop_assert!(line.chars().count() <= 80, "{line}");
                prop_assert!(!line.chars().any(char::is_control), "{line}");
            }
        }
    }
}
