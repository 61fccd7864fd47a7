//! The state of the machine after a boot: whether it came up whole. Changes nothing, and knows
//! nothing of the clone.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::after_name;
use crate::distro::{ask, gather};
use crate::fs::Root;

/// How long the init may take to answer.
const ASKING: Duration = Duration::from_secs(10);

/// What is found right after a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MachineState {
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// The name of the machine.
    pub hostname: String,
    /// Seconds since the boot.
    pub uptime_s: u64,
    /// What systemd says of the whole: `running`, `degraded`, `starting`; `None` without it.
    pub system_state: Option<String>,
    /// Units of systemd that failed.
    pub failed_units: Vec<String>,
    /// Mount points of `/etc/fstab` where nothing is mounted, though nothing says that this is
    /// fine (`noauto`, `nofail`).
    pub missing_mounts: Vec<String>,
    /// Addresses of the machine.
    pub addresses: Vec<String>,
    /// Whether there is a way to the rest of the world.
    pub has_default_route: bool,
}

/// Returns the kernel's id of this boot, empty where it tells none.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

impl MachineState {
    /// Looks at the running machine.
    pub fn read() -> MachineState {
        let Ok(root) = Root::open(Path::new("/")) else {
            return MachineState::default();
        };
        let text = |path| root.text(path).unwrap_or_default();
        let facts = gather(&root);
        let mounted = facts.storage.mounts.iter().map(|mount| mount.path.as_str());
        let interfaces = facts.network.interfaces.into_iter();
        MachineState {
            boot_id: boot_id(),
            hostname: text("/proc/sys/kernel/hostname").trim().to_owned(),
            uptime_s: uptime_s(&text("/proc/uptime"), &text("/proc/1/stat")),
            system_state: system_state(),
            failed_units: failed_units(),
            missing_mounts: missing_mounts(&text("/etc/fstab"), &mounted.collect::<Vec<_>>()),
            addresses: interfaces.flat_map(|found| found.addresses).collect(),
            has_default_route: has_default_route(
                &text("/proc/net/route"),
                &text("/proc/net/ipv6_route"),
            ),
        }
    }
}

/// Tells whether something listens on any of these TCP ports.
pub fn listens(ports: &[u16]) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let mut texts = tables
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok());
    texts.any(|text| listening(&text).any(|port| ports.contains(&port)))
}

/// Returns the ports of a kernel's table of sockets on which somebody listens.
fn listening(table: &str) -> impl Iterator<Item = u16> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (_, port) = local.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        // TCP_LISTEN of the kernel's tcp_states.h.
        (state == "0A").then_some(port)
    })
}

/// Returns how long the init has been running: the kernel of a container may be older.
fn uptime_s(uptime: &str, init: &str) -> u64 {
    let seconds = uptime.split('.').next().unwrap_or_default();
    let seconds: u64 = seconds.parse().unwrap_or_default();
    // The 22nd field of proc(5), in ticks of 10 ms.
    let start = after_name(init).and_then(|mut fields| fields.nth(19)?.parse::<u64>().ok());
    seconds.saturating_sub(start.unwrap_or_default() / 100)
}

fn system_state() -> Option<String> {
    // `is-system-running` ends with an error in every state but one.
    let text = ask("systemctl", &["show", "--property=SystemState"], ASKING)?;
    let state = text.trim().strip_prefix("SystemState=")?;
    Some(state.to_owned())
}

fn failed_units() -> Vec<String> {
    let arguments = ["list-units", "--state=failed", "--no-legend", "--no-pager"];
    parse_units(&ask("systemctl", &arguments, ASKING).unwrap_or_default())
}

/// Reads the first column; some versions mark each line with a dot.
fn parse_units(text: &str) -> Vec<String> {
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.contains('.')));
    names.map(str::to_owned).collect()
}

/// Returns the mount points of an fstab that have to be mounted and are not.
fn missing_mounts(fstab: &str, mounted: &[&str]) -> Vec<String> {
    let lines = fstab
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let missing = lines.filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (path, fs_type, options) = (fields.next()?, fields.next()?, fields.next());
        let path = path.replace("\\040", " ");
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        let may_miss = |option: &str| ["noauto", "nofail", "x-systemd.automount"].contains(&option);
        let is_needed = path.starts_with('/')
            && fs_type != "swap"
            && !options.unwrap_or_default().split(',').any(may_miss);
        (is_needed && !mounted.contains(&path)).then(|| path.to_owned())
    });
    missing.collect()
}

/// Reads the kernel's tables of routes.
fn has_default_route(v4: &str, v6: &str) -> bool {
    let is_v4 = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, "00000000", _, _, _, _, _, "00000000", ..])
    };
    // The kernel rejects what nothing else takes by a default route through the loopback.
    let is_v6 = |line: &str| {
        let none = "00000000000000000000000000000000 00 ";
        line.starts_with(none) && !line.trim_end().ends_with(" lo")
    };
    v4.lines().any(is_v4) || v6.lines().any(is_v6)
}

#[cfg(test)]
mod tests {
    use super::{has_default_route, listening, missing_mounts, parse_units, uptime_s};

    #[test]
    fn tables_of_the_kernel_are_read() {
        let init = "1 (a b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1234 9 9";
        assert_eq!(uptime_s("35.20 60.11\n", ""), 35);
        assert_eq!(uptime_s("35.20 60.11\n", init), 23);
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n\
                  eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert!(has_default_route(v4, ""));
        assert!(!has_default_route(
            &v4.replace("\t00000000\t01", "\t0001A8C0\t01"),
            ""
        ));
        let none = "00000000000000000000000000000000";
        let v6 = |interface| format!("{none} 00 {none} 00 {none} ffffffff 1 0 200 {interface}\n");
        assert!(has_default_route("", &v6("eth0")));
        assert!(!has_default_route("", &v6("lo")));
    }

    #[test]
    fn who_listens_is_read_from_both_tables() {
        let v4 = "  sl  local_address rem_address   st tx_queue rx_queue\n\
                  \x20  0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 0\n\
                  \x20  1: 0101A8C0:0050 0201A8C0:C350 01 00000000:00000000 00:00000000 0\n";
        assert_eq!(listening(v4).collect::<Vec<_>>(), [22]);
        let v6 =
            "   0: 00000000000000000000000000000000:08AE 00000000000000000000000000000000:0000 0A";
        assert_eq!(listening(v6).collect::<Vec<_>>(), [2222]);
    }

    #[test]
    fn only_mounts_that_have_to_be_there_are_missed() {
        let fstab = "# a\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n\
                     /dev/b /data/ xfs defaults,nofail 0 0\n/dev/c /srv xfs\nx /a\\040b nfs rw\n";
        assert_eq!(missing_mounts(fstab, &["/"]), ["/srv", "/a b"]);
        assert!(missing_mounts(fstab, &["/", "/srv", "/a b"]).is_empty());
    }

    #[test]
    fn failed_units_are_read_with_and_without_a_dot() {
        let text = "● a.service loaded failed failed A. B.\n  b.mount loaded failed\n\n";
        assert_eq!(parse_units(text), ["a.service", "b.mount"]);
    }
}
