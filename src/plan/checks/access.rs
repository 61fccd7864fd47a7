//! Whether one gets in again: the clone's SSH server has the source's settings, and its accounts
//! are the source's. Knows nothing of the keys of this run.

use super::super::finding::{Found, found};
use super::super::input::PlanInput;
use super::super::wording::list;
use crate::exclude::Verdict;
use crate::facts::{Facts, SshServer, is_loopback};

const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";

/// Returns both servers' settings if the source's arrive, edited or not.
fn settings<'a>(input: &PlanInput<'a>) -> Option<(&'a SshServer, &'a SshServer)> {
    let source = input.source.access.ssh_server.as_ref()?;
    let target = input.target.access.ssh_server.as_ref()?;
    let verdict = input.verdict(SSHD_CONFIG, false);
    matches!(verdict, Verdict::Copy | Verdict::Merge).then_some((source, target))
}

pub(super) fn port(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = settings(input)?;
    let shares_one = source.ports.iter().any(|port| target.ports.contains(port));
    if source.ports.is_empty() || target.ports.is_empty() || shares_one {
        return None;
    }
    let text = |ports: &[u16]| list(&ports.iter().map(u16::to_string).collect::<Vec<_>>());
    found(
        format!(
            "the source's SSH server listens on port {}, the target's on {}",
            text(&source.ports),
            text(&target.ports)
        ),
        "after the clone the old port is closed, in firewalls perhaps the new one too",
        format!(
            "open port {} towards the target, and use it",
            text(&source.ports)
        ),
    )
}

pub(super) fn listen_address(input: &PlanInput<'_>) -> Option<Found> {
    let (source, _) = settings(input)?;
    let is_heard = |address: &&String| {
        let any = ["0.0.0.0", "::", "*", ""];
        any.contains(&bare(address)) || has_address(input.target, address)
    };
    let addresses = source.listen_addresses.iter();
    // The fix-ups comment out those of the source, and what is loopback if only that is left.
    let (gone, left): (Vec<&String>, Vec<&String>) =
        addresses.partition(|address| !is_heard(address) && has_address(input.source, address));
    let all_are_gone = !gone.is_empty()
        && left
            .iter()
            .all(|address| is_loopback(bare(address).as_bytes()));
    if left.is_empty() || all_are_gone || left.iter().any(is_heard) {
        return None;
    }
    found(
        format!("the source's SSH server listens on {} only", list(&left)),
        "the target has no such address, so the clone would not listen at all",
        "take ListenAddress out of the source's sshd_config; one that is an address of the \
         source may stay, the fix-ups take it out",
    )
}

fn has_address(machine: &Facts, address: &str) -> bool {
    let mut interfaces = machine.network.interfaces.iter();
    interfaces.any(|interface| interface.addresses.iter().any(|own| own == bare(address)))
}

/// Returns an address without port and brackets.
fn bare(address: &str) -> &str {
    if let Some(rest) = address.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match address.split_once(':') {
        Some((address, port)) if !port.contains(':') => address,
        _ => address,
    }
}

pub(super) fn root_login(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = settings(input)?;
    let setting = source.permit_root_login.as_str();
    let closes = |setting: &str| matches!(setting, "no" | "forced-commands-only");
    if !closes(setting) || closes(&target.permit_root_login) {
        return None;
    }
    found(
        format!("the source's SSH server has PermitRootLogin {setting}"),
        "after the clone root cannot log in over SSH any more",
        "be sure that another account of the source gets in and has sudo",
    )
}

pub(super) fn users(input: &PlanInput<'_>) -> Option<Found> {
    let (source, _) = settings(input)?;
    let groups = &input.source.access.users.root_groups;
    let named = |list: &[String], name: &str| list.iter().any(|pattern| matches(pattern, name));
    let in_group = |list: &[String]| {
        list.iter()
            .any(|pattern| groups.iter().any(|group| matches(pattern, group)))
    };
    let setting = if named(&source.deny_users, "root") {
        format!("DenyUsers {}", source.deny_users.join(" "))
    } else if !source.allow_users.is_empty() && !named(&source.allow_users, "root") {
        format!("AllowUsers {}", source.allow_users.join(" "))
    } else if in_group(&source.deny_groups) {
        format!("DenyGroups {}", source.deny_groups.join(" "))
    } else if !source.allow_groups.is_empty() && !in_group(&source.allow_groups) {
        format!("AllowGroups {}", source.allow_groups.join(" "))
    } else {
        return None;
    };
    found(
        format!("the source's SSH server has {setting}, which shuts out root"),
        "after the clone only the accounts that it lets in can log in",
        "be sure that one of them has your key and sudo",
    )
}

/// Matches a name against a pattern of sshd: `*` and `?`, and an address behind `@` that is not
/// looked at.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.split('@').next().unwrap_or(pattern);
    glob(pattern.as_bytes(), name.as_bytes())
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => glob(rest, name),
        (Some((b'*', rest)), Some((_, shorter))) => glob(rest, name) || glob(pattern, shorter),
        (Some((b'?', rest)), Some((_, shorter))) => glob(rest, shorter),
        (Some((letter, rest)), Some((own, shorter))) => letter == own && glob(rest, shorter),
        _ => false,
    }
}

pub(super) fn no_keys(input: &PlanInput<'_>) -> Option<Found> {
    let (source, _) = settings(input)?;
    if source.pubkey_authentication {
        return None;
    }
    let passwords = if source.password_authentication {
        "only the source's passwords get in after the clone"
    } else {
        "neither keys nor passwords get in after the clone"
    };
    found(
        "the source's SSH server takes no keys (PubkeyAuthentication no)",
        passwords,
        "allow keys on the source, or know its passwords",
    )
}

pub(super) fn keys_elsewhere(input: &PlanInput<'_>) -> Option<Found> {
    let (source, target) = settings(input)?;
    let files = &source.authorized_keys_files;
    let shares_one = files.iter().any(|file| {
        let others = &target.authorized_keys_files;
        others.iter().any(|other| in_home(other) == in_home(file))
    });
    if files.is_empty() || target.authorized_keys_files.is_empty() || shares_one {
        return None;
    }
    found(
        format!("the source's SSH server looks for keys in {}", list(files)),
        "keys that let you into the target lie elsewhere",
        "be sure that your key is in the source's files",
    )
}

pub(super) fn other_account(input: &PlanInput<'_>) -> Option<Found> {
    let user = input.login_user.filter(|user| *user != "root")?;
    found(
        format!("the run logs in to the target as {user}, not as root"),
        "the clone has the source's accounts, so the run does not see it come back, and the clone \
         judges by itself whether it can be reached",
        "let the run log in as root (--target root@...), or be sure that you get into an account \
         of the source",
    )
}

/// Returns a path of keys without the home directory in front.
fn in_home(path: &str) -> &str {
    path.strip_prefix("%h/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{bare, matches};

    #[test]
    fn reads_patterns_as_sshd_does() {
        for (pattern, name, is_match) in [
            ("root", "root", true),
            ("root@10.0.0.*", "root", true),
            ("r*", "root", true),
            ("*", "root", true),
            ("r?ot", "root", true),
            ("r?t", "root", false),
            ("admin", "root", false),
            ("", "root", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn takes_the_address_out_of_a_listen_address() {
        for (text, address) in [
            ("10.0.0.7:22", "10.0.0.7"),
            ("10.0.0.7", "10.0.0.7"),
            ("[2001:db8::7]:22", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[::]:22", "::"),
        ] {
            assert_eq!(bare(text), address);
        }
    }
}
