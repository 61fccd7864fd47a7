//! `sshd_config`: the source's, without lines with which the server would not start or would not
//! listen on the target; and the drop-in of EC2 Instance Connect out of the way where its program
//! is not there. Knows nothing of who may log in.

use std::collections::BTreeSet;

use super::block::{REMARK, lines, words};
use super::units::MASK;
use super::{Case, Change, Level, Object, path, quoted};
use crate::facts::{Facts, is_loopback};
use crate::problem::Side;
use crate::relpath::RelPath;

pub(super) const WANTED: &[&str] = &[
    "etc/ssh/sshd_config",
    "etc/ssh/sshd_config.d/*",
    "usr/lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
    "usr/lib/systemd/system/sshd.service.d/ec2-instance-connect.conf",
    "lib/systemd/system/ssh.service.d/ec2-instance-connect.conf",
    "lib/systemd/system/sshd.service.d/ec2-instance-connect.conf",
    "etc/systemd/system/ssh.service.d/ec2-instance-connect.conf",
    "etc/systemd/system/sshd.service.d/ec2-instance-connect.conf",
];
const MAIN: &str = "etc/ssh/sshd_config";
const DROP_INS: &[u8] = b"etc/ssh/sshd_config.d/";
const REASON: &str = "the source's settings, with which the server starts here";

pub(super) fn merge(case: &mut Case<'_>) {
    merge_drop_in(case);
    let is_setting = |path: &&RelPath| {
        path.as_bytes() == MAIN.as_bytes() || path.as_bytes().starts_with(DROP_INS)
    };
    let paths: Vec<&RelPath> = case.paths().into_iter().filter(is_setting).collect();
    if paths.iter().all(|path| case.source(path).is_none()) {
        // It has no server, or one that its package has configured elsewhere.
        if case.target(&path(MAIN)).is_some() {
            let what = "the source has no such settings: those of its package hold, as they are";
            case.note(&path(MAIN), Level::Info, what.to_owned());
        }
        return;
    }
    if case.is_link(Side::Source, &path(MAIN)) {
        let what = "a link of the source: the settings to which it leads come as they are";
        case.note(&path(MAIN), Level::Warning, what.to_owned());
    }
    let judge = Judge::of(case, &paths);
    for path in paths {
        match case.source(path) {
            Some(Object::File(file)) => {
                let contents = judge.edited(case, path, &file.contents);
                case.propose(
                    path,
                    Change::Write(file.with(contents)),
                    Level::Info,
                    REASON,
                );
            }
            Some(Object::Link(text)) => {
                case.propose(path, Change::Link(text.clone()), Level::Info, REASON);
            }
            // Written by the agent that the target keeps, and written again if it were removed.
            None if path
                .as_bytes()
                .windows(10)
                .any(|part| part == b"cloud-init") => {}
            None => case.propose(path, Change::Remove, Level::Info, "settings of the target"),
        }
    }
}

/// What decides about single lines, from all files of the source.
struct Judge {
    /// Addresses of the source that the target does not have: nothing can listen there.
    gone: BTreeSet<String>,
    /// Whether only loopback addresses would be left to listen on.
    drops_listen: bool,
    /// Keywords whose program is missing, for the line that names its user.
    missing: BTreeSet<Vec<u8>>,
}

impl Judge {
    fn of(case: &Case<'_>, paths: &[&RelPath]) -> Judge {
        let addresses = |facts: &Facts| -> BTreeSet<String> {
            let interfaces = facts.network.interfaces.iter();
            interfaces
                .flat_map(|interface| interface.addresses.clone())
                .collect()
        };
        let here = addresses(case.situation.target);
        let mut gone = addresses(case.situation.source);
        gone.retain(|address| !here.contains(address));
        let settings: Vec<(Vec<u8>, &[u8])> = paths
            .iter()
            .filter_map(|path| case.source_file(path))
            .flat_map(|file| lines(&file.contents))
            .filter_map(setting)
            .collect();
        let listens = settings
            .iter()
            .filter(|(keyword, _)| keyword == b"listenaddress");
        let listens: Vec<String> = listens.map(|(_, value)| listen_address(value)).collect();
        let is_gone = |address: &String| gone.contains(address);
        let drops_listen = listens.iter().any(is_gone)
            && listens
                .iter()
                .all(|address| is_gone(address) || is_loopback(address.as_bytes()));
        let missing = settings
            .iter()
            .filter(|(keyword, value)| is_command(keyword) && is_missing(case, value))
            .map(|(keyword, _)| keyword.clone())
            .collect();
        Judge {
            gone,
            drops_listen,
            missing,
        }
    }

    /// Returns the file with what cannot hold here commented out.
    fn edited(&self, case: &mut Case<'_>, path: &RelPath, contents: &[u8]) -> Vec<u8> {
        let mut edited = Vec::with_capacity(contents.len());
        for line in contents.split_inclusive(|byte| *byte == b'\n') {
            let why = setting(line).and_then(|(keyword, value)| self.why(case, &keyword, value));
            if let Some(why) = why {
                case.note(path, Level::Warning, format!("{}: {why}", quoted(line)));
                edited.extend([REMARK, why.as_bytes(), b"\n#"].concat());
            }
            edited.extend_from_slice(line);
        }
        edited
    }

    /// Tells why a setting cannot hold on the target.
    fn why(&self, case: &Case<'_>, keyword: &[u8], value: &[u8]) -> Option<&'static str> {
        let names_command = |user: &[u8]| {
            let command = user.strip_suffix(b"user").unwrap_or_default();
            self.missing.contains(command)
        };
        match keyword {
            b"hostkey" | b"hostcertificate" if is_missing(case, value) => {
                Some("the target has no such key")
            }
            _ if is_command(keyword) && is_missing(case, value) => Some("the program is not there"),
            b"authorizedkeyscommanduser" | b"authorizedprincipalscommanduser"
                if names_command(keyword) =>
            {
                Some("the program is not there")
            }
            b"listenaddress" => {
                let is_gone = self.gone.contains(&listen_address(value));
                let alone = "alone it would keep everybody out";
                let why = if is_gone {
                    "an address of the source"
                } else {
                    alone
                };
                (is_gone || self.drops_listen).then_some(why)
            }
            _ => None,
        }
    }
}

fn is_command(keyword: &[u8]) -> bool {
    matches!(
        keyword,
        b"authorizedkeyscommand" | b"authorizedprincipalscommand"
    )
}

/// Returns keyword (lower case) and the rest of a line that is a setting.
fn setting(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || *byte == b'=')?;
    let (keyword, value) = line.split_at(end);
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii_start();
    (!keyword.starts_with(b"#")).then(|| (keyword.to_ascii_lowercase(), value))
}

/// Tells whether the file that is named first in `value` is not in the clone.
fn is_missing(case: &Case<'_>, value: &[u8]) -> bool {
    let named = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.split(|byte| *byte == b'"').next(),
        None => words(value).next(),
    };
    named.is_some_and(|named| named.starts_with(b"/") && !case.present(named))
}

/// Returns the address of `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn listen_address(value: &[u8]) -> String {
    let word = words(value).next().unwrap_or_default();
    let text = String::from_utf8_lossy(word).into_owned();
    if let Some((address, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.to_owned();
    }
    match text.split_once(':') {
        Some((address, port)) if !port.contains(':') => address.to_owned(),
        _ => text,
    }
}

/// Masks the drop-in with which the server's unit asks a program of Amazon for keys: it replaces
/// the whole command of the unit, so that without the program the server does not start.
fn merge_drop_in(case: &mut Case<'_>) {
    for unit in ["ssh", "sshd"] {
        let name = format!("systemd/system/{unit}.service.d/ec2-instance-connect.conf");
        let vendor = ["usr/lib", "lib"].map(|start| path(&format!("{start}/{name}")));
        let Some(source) = vendor.iter().find_map(|path| case.source_file(path)) else {
            continue;
        };
        let is_on_target = vendor.iter().any(|path| case.target(path).is_some());
        let mut named = lines(&source.contents).flat_map(words);
        let program = named
            .by_ref()
            .find(|word| word.eq_ignore_ascii_case(b"AuthorizedKeysCommand"))
            .and_then(|_| named.next());
        let is_missing = program.is_some_and(|program| is_missing(case, program));
        let path = path(&format!("etc/{name}"));
        match is_on_target && !is_missing {
            true => case.propose_target(&path, Level::Info, "as on the target"),
            false => {
                let reason = "EC2 Instance Connect is not on the target; its drop-in is masked";
                case.propose(&path, Change::Link(MASK.to_vec()), Level::Info, reason);
            }
        }
    }
}
