//! What makes a machine this one: names, ids, host keys, age. Knows nothing of which of them a
//! clone keeps.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, BASE64_NOPAD};
use sha2::{Digest, Sha256};

use super::assignments::Assignments;
use super::look::{Look, active_lines};
use crate::facts::{Identity, Mount};

/// Gathers it; `root` is what is mounted at `/`.
pub(super) fn gather(look: &Look, root: Option<&Mount>) -> Identity {
    Identity {
        hostname: hostname(look),
        machine_id: machine_id(look),
        boot_id: look.word("/proc/sys/kernel/random/boot_id"),
        host_keys: host_keys(look),
        root_uuid: root.and_then(|mount| mount.uuid.clone()),
        is_locked: root.is_some_and(|mount| is_locked(look, mount)),
        age_s: age_s(look),
    }
}

fn hostname(look: &Look) -> Option<String> {
    let first_word = |text: String| {
        let line = active_lines(&text).next()?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let by_file = ["/etc/hostname", "/etc/HOSTNAME", "/etc/nodename"]
        .into_iter()
        .find_map(|path| look.word(path).and_then(first_word));
    let by_value = || {
        const VALUES: [(&str, &str); 4] = [
            ("/etc/sysconfig/network", "HOSTNAME"),
            ("/etc/conf.d/hostname", "hostname"),
            ("/etc/conf.d/hostname", "HOSTNAME"),
            ("/etc/rc.conf", "HOSTNAME"),
        ];
        VALUES.into_iter().find_map(|(path, name)| {
            // SUSE has a directory of that name.
            let text = look.word(path)?;
            Assignments::parse(&text).get(name).map(str::to_owned)
        })
    };
    by_file
        .or_else(by_value)
        .or_else(|| look.word("/proc/sys/kernel/hostname"))
        .filter(|name| name != "(none)")
}

fn machine_id(look: &Look) -> Option<String> {
    // An image says "uninitialized" until its first start.
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .into_iter()
        .filter_map(|path| look.word(path))
        .find(is_id)
}

fn host_keys(look: &Look) -> Vec<String> {
    let names = look.names("/etc/ssh").into_iter();
    let names = names.filter(|name| name.starts_with("ssh_host_") && name.ends_with(".pub"));
    let mut fingerprints: Vec<String> = names
        .filter_map(|name| fingerprint(&look.word(&format!("/etc/ssh/{name}"))?))
        .collect();
    fingerprints.sort();
    fingerprints.dedup();
    fingerprints
}

/// Returns the fingerprint of a public key as ssh-keygen prints it.
fn fingerprint(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let is_key = words.next()?.contains('-');
    let key = BASE64.decode(words.next()?.as_bytes()).ok()?;
    let hash = Sha256::digest(&key);
    (is_key && !key.is_empty()).then(|| format!("SHA256:{}", BASE64_NOPAD.encode(&hash)))
}

/// Tells whether another process holds a lock on the root directory, as the receiver of a run
/// does. Asks the kernel's list: to try the lock would hinder a run that begins just then.
fn is_locked(look: &Look, root: &Mount) -> bool {
    let locks = look.text("/proc/locks").unwrap_or_default();
    let Some(status) = look.status("/") else {
        return false;
    };
    let own = std::process::id().to_string();
    locks
        .lines()
        .any(|line| locks_root(line, root, status.id().inode, &own))
}

/// Reads `1: FLOCK  ADVISORY  WRITE 2291 fd:01:2 0 EOF`; the numbers of the device are
/// hexadecimal here and decimal in mountinfo.
fn locks_root(line: &str, root: &Mount, inode: u64, own: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", process, object, ..] = words[..] else {
        return false;
    };
    let parts: Vec<&str> = object.split(':').collect();
    let [major, minor, object] = parts[..] else {
        return false;
    };
    let number = |text| u32::from_str_radix(text, 16).ok();
    let (Some(major), Some(minor)) = (number(major), number(minor)) else {
        return false;
    };
    process != own && object.parse() == Ok(inode) && root.device == format!("{major}:{minor}")
}

/// Returns the age of the oldest file that an installation, or the first start of an image,
/// makes and nobody touches later.
fn age_s(look: &Look) -> Option<u64> {
    const FILES: [&str; 9] = [
        "/etc/machine-id",
        "/var/lib/dbus/machine-id",
        "/etc/ssh/ssh_host_rsa_key.pub",
        "/etc/ssh/ssh_host_ecdsa_key.pub",
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "/etc/ssh/ssh_host_dsa_key.pub",
        "/root/anaconda-ks.cfg",
        "/var/log/installer",
        "/root/install.log",
    ];
    let times = FILES.iter().filter_map(|path| look.status(path));
    // Before 2000 nobody installed: such a time is that of a build.
    let times = times
        .map(|status| status.mtime().seconds)
        .filter(|time| *time > 946_684_800);
    let oldest = u64::try_from(times.min()?).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs().saturating_sub(oldest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        // By `ssh-keygen -lf`.
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB71Lwmx/g67vhbQVv1BMhz7ZLLt0iNQY8hLi7XrhTYd";
        assert_eq!(
            fingerprint(key).as_deref(),
            Some("SHA256:kOfXd31/MLHqqalRX6bxHcnsm2YmFcOa2JWTrSlqtXc")
        );
        assert_eq!(fingerprint("ssh-rsa AAAA!"), None);
        assert_eq!(fingerprint("one"), None);
    }

    #[test]
    fn only_a_foreign_lock_of_the_root_counts() {
        let root = Mount {
            device: "253:1".to_owned(),
            ..Mount::default()
        };
        for (line, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 77 fd:01:2 0 EOF", true),
            ("1: FLOCK  ADVISORY  WRITE 99 fd:01:2 0 EOF", false),
            ("1: FLOCK  ADVISORY  READ 77 fd:01:2 0 EOF", false),
            ("1: POSIX  ADVISORY  WRITE 77 fd:01:2 0 EOF", false),
            ("1: FLOCK  ADVISORY  WRITE 77 fd:02:2 0 EOF", false),
            ("1: FLOCK  ADVISORY  WRITE 77 fd:01:3 0 EOF", false),
            ("1: -> FLOCK  ADVISORY  WRITE 77 fd:01:2 0 EOF", false),
        ] {
            assert_eq!(locks_root(line, &root, 2, "99"), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_fail(text: String) {
            let _read = (fingerprint(&text), locks_root(&text, &Mount::default(), 2, ""));
        }
    }
}
