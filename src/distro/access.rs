//! Who can log in and how: the effective settings of the SSH server, and the accounts. Knows
//! nothing of keys.

use super::look::Look;
use super::sshd;
use crate::facts::{Access, Distribution, Family, Users};

/// The highest id of a person's account, as `login.defs` has it.
const LAST_PERSON: u32 = 60_000;

/// Gathers it.
pub(super) fn gather(look: &Look, distribution: &Distribution) -> Access {
    Access {
        user_id: Some(rustix::process::geteuid().as_raw()),
        ssh_server: sshd::gather(look, distribution),
        users: users(look, distribution),
    }
}

fn users(look: &Look, distribution: &Distribution) -> Users {
    let first_person = first_person(look, distribution);
    let passwd = look.text("/etc/passwd").unwrap_or_default();
    let group = look.text("/etc/group").unwrap_or_default();
    Users {
        people: people(&passwd, first_person),
        root_groups: root_groups(&passwd, &group),
    }
}

/// Returns the lowest id of a person's account.
fn first_person(look: &Look, distribution: &Distribution) -> u32 {
    let defs = look.text("/etc/login.defs").unwrap_or_default();
    let written = defs.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("UID_MIN")).then(|| words.next()?.parse().ok())?
    });
    let is_old = distribution.family == Family::Rhel
        && distribution
            .major()
            .parse()
            .is_ok_and(|major: u32| major <= 6);
    written.unwrap_or(if is_old { 500 } else { 1000 })
}

fn people(passwd: &str, first: u32) -> Vec<String> {
    let accounts = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        (first..=LAST_PERSON).contains(&id).then(|| name.to_owned())
    });
    accounts.collect()
}

/// Returns root's groups: the one of its account, and those that name it.
fn root_groups(passwd: &str, group: &str) -> Vec<String> {
    let root = passwd.lines().find(|line| line.starts_with("root:"));
    let own = root.and_then(|line| line.split(':').nth(3)).unwrap_or("0");
    let groups = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        let is_member = fields
            .next()
            .unwrap_or("")
            .split(',')
            .any(|user| user == "root");
        (id == own || is_member).then(|| name.to_owned())
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accounts_are_sorted_out_by_their_ids() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n\
            bob:x:500:500::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nbroken\n";
        assert_eq!(people(passwd, 1000), ["ann"]);
        assert_eq!(people(passwd, 500), ["ann", "bob"]);
        let group = "root:x:0:\nwheel:x:10:ann,root\nann:x:1000:\nbroken:x\n";
        assert_eq!(root_groups(passwd, group), ["root", "wheel"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_them_fail(passwd: String, group: String) {
            let _read = (people(&passwd, 0), root_groups(&passwd, &group));
        }
    }
}
