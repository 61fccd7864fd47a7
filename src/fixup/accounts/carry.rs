//! Which system accounts of the target come into the clone, and under which numbers. Knows
//! nothing of files.

use std::collections::{BTreeMap, BTreeSet};

use super::table::Table;
use crate::facts::{Distribution, Family};
use crate::fixup::Owners;

/// Field of the number in passwd and in group.
pub(super) const ID: usize = 2;
/// Field of the primary group in passwd.
pub(super) const PRIMARY: usize = 3;

/// Accounts and groups of programs that bring network, time, names and login up: wanted by the
/// target's own configuration, whoever owns files of it.
const STACK: &[&[u8]] = &[
    b"systemd-network",
    b"systemd-resolve",
    b"systemd-timesync",
    b"systemd-journal",
    b"systemd-bus-proxy",
    b"messagebus",
    b"dbus",
    b"polkitd",
    b"sshd",
    b"ssh_keys",
    b"_ssh",
    b"netdev",
    b"dhcpcd",
    b"chrony",
    b"_chrony",
    b"ntp",
    b"tss",
];
/// LIMIT: system numbers are given from the top of the range down to here, as useradd does.
const LOWEST_GIVEN: u32 = 100;

/// One kind of number: users or groups.
pub(super) struct Numbers<'a> {
    /// In use at the source.
    source: BTreeSet<u32>,
    /// In use at the target.
    target: BTreeSet<u32>,
    highest: u32,
    given: BTreeMap<u32, u32>,
    pub(super) names: &'a Table<'a>,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(source: &'a Table<'a>, target: &Table<'_>, highest: u32) -> Numbers<'a> {
        let ids = |table: &Table<'_>| table.numbered(ID).map(|(_, id)| id).collect();
        Numbers {
            source: ids(source),
            target: ids(target),
            highest,
            given: BTreeMap::new(),
            names: source,
        }
    }

    /// Returns the number in the clone of one that only the target knows; `None` when all are
    /// taken.
    pub(super) fn give(&mut self, old: u32) -> Option<u32> {
        if let Some(new) = self.given.get(&old) {
            return Some(*new);
        }
        // Free on both sides: a number that the target uses would mean two accounts on the way.
        let is_free = |id: &u32| {
            !self.source.contains(id)
                && !self.target.contains(id)
                && !self.given.values().any(|given| given == id)
        };
        let new = match self.source.contains(&old) {
            false => Some(old),
            true => (LOWEST_GIVEN..=self.highest).rev().find(is_free),
        }?;
        self.given.insert(old, new);
        Some(new)
    }
}

/// Returns the highest number of system accounts: `SYS_UID_MAX` of the family.
pub(super) fn highest_system_id(distribution: &Distribution) -> u32 {
    let major: u32 = distribution.major().parse().unwrap_or(u32::MAX);
    // Amazon Linux 1 counts by years and is built of RHEL 6; 2023 is not.
    let is_old = distribution.family == Family::Rhel
        && match distribution.id.as_str() {
            "amzn" => (2010..2020).contains(&major),
            "fedora" => major < 16,
            _ => major <= 6,
        };
    if is_old { 499 } else { 999 }
}

/// Names of groups and users of the target that come along, each in the target's order.
#[derive(Debug, Default)]
pub(super) struct Carried<'a> {
    pub(super) users: Vec<&'a [u8]>,
    pub(super) groups: Vec<&'a [u8]>,
}

/// Decides who comes along: system accounts that the source does not have and that own something
/// that is kept or belong to the stack; with a user its primary group.
pub(super) fn choose<'a>(
    [passwd, group]: [&'a Table<'a>; 2],
    [source_passwd, source_group]: [&Table<'_>; 2],
    kept: &Owners,
    highest: u32,
) -> Carried<'a> {
    let is_system = |id: u32| id > 0 && id <= highest;
    let mut carried = Carried::default();
    let mut primary = BTreeSet::new();
    let mut seen = BTreeSet::new();
    // A table can be long: names and numbers are looked up only where it matters.
    for user in passwd.accounts() {
        let (id, name) = (user.number(ID), user.name());
        // The system finds the first row of a name; later ones say nothing.
        if !seen.insert(name) || !is_system(id) {
            continue;
        }
        let owns = || kept.uids.contains(&id) && passwd.owner_of(ID, id) == Some(name);
        if (STACK.contains(&name) || owns()) && !source_passwd.mentions(name) {
            carried.users.push(name);
            primary.insert(user.number(PRIMARY));
        }
    }
    seen.clear();
    for row in group.accounts() {
        let (id, name) = (row.number(ID), row.name());
        if !seen.insert(name) {
            continue;
        }
        let is_kept = is_system(id) && kept.gids.contains(&id);
        let is_wanted = is_kept || id > 0 && primary.contains(&id);
        let owns = || is_wanted && group.owner_of(ID, id) == Some(name);
        let is_of_stack = is_system(id) && STACK.contains(&name);
        if (is_of_stack || owns()) && !source_group.mentions(name) {
            carried.groups.push(name);
        }
    }
    carried
}
