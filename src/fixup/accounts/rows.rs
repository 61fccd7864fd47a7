//! Rows of accounts that come along, as the clone's files have them. Knows nothing of how they were
//! chosen.

use super::{Accounts, PASSWORD};

/// Field of the members in group and gshadow.
const MEMBERS: usize = 3;

/// One account of the target on its way into the clone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) name: &'a [u8],
    pub(super) old: u32,
    pub(super) new: u32,
    /// In the clone; of users only.
    pub(super) primary: u32,
}

pub(super) fn joined(fields: &[&[u8]]) -> Vec<u8> {
    fields.join(&b":"[..])
}

pub(super) fn passwd_rows(
    target: &Accounts<'_>,
    users: &[Arrival<'_>],
    has_shadow: bool,
) -> Vec<Vec<u8>> {
    let row = |user: &Arrival<'_>| {
        let row = target.passwd.find(user.name)?;
        let (uid, gid) = (user.new.to_string(), user.primary.to_string());
        let password: &[u8] = if has_shadow { b"x" } else { b"*" };
        let mut fields = vec![row.name(), password, uid.as_bytes(), gid.as_bytes()];
        fields.extend(row.fields().iter().skip(fields.len()));
        Some(joined(&fields))
    };
    users.iter().filter_map(row).collect()
}

pub(super) fn shadow_rows(
    source: &Accounts<'_>,
    target: &Accounts<'_>,
    users: &[Arrival<'_>],
) -> Vec<Vec<u8>> {
    let row = |user: &Arrival<'_>| {
        let in_passwd = target.passwd.find(user.name).map(|row| row.text(PASSWORD));
        match target.shadow.find(user.name) {
            Some(row) => joined(row.fields()),
            // Before shadow files the password stood in passwd; locked where it stood nowhere.
            None => {
                let password = in_passwd.filter(|text| !matches!(*text, b"x" | b""));
                let locked: &[u8] = b"!";
                joined(&[
                    user.name,
                    password.unwrap_or(locked),
                    b"",
                    b"",
                    b"",
                    b"",
                    b"",
                    b"",
                    b"",
                ])
            }
        }
    };
    let is_new = |user: &&Arrival<'_>| !source.shadow.mentions(user.name);
    users.iter().filter(is_new).map(row).collect()
}

/// Returns those of a list of members that are accounts of the clone.
fn members(list: &[u8], is_user: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let names = list.split(|byte| *byte == b',');
    let names: Vec<&[u8]> = names.filter(|name| is_user(name)).collect();
    names.join(&b","[..])
}

pub(super) fn group_rows(
    target: &Accounts<'_>,
    groups: &[Arrival<'_>],
    is_user: impl Fn(&[u8]) -> bool,
) -> Vec<Vec<u8>> {
    let row = |group: &Arrival<'_>| {
        let row = target.group.find(group.name)?;
        let members = members(row.text(MEMBERS), &is_user);
        let id = group.new.to_string();
        Some(joined(&[
            row.name(),
            row.text(PASSWORD),
            id.as_bytes(),
            &members,
        ]))
    };
    groups.iter().filter_map(row).collect()
}

pub(super) fn gshadow_rows(
    source: &Accounts<'_>,
    target: &Accounts<'_>,
    groups: &[Arrival<'_>],
    is_user: impl Fn(&[u8]) -> bool,
) -> Vec<Vec<u8>> {
    let row = |group: &Arrival<'_>| match target.gshadow.find(group.name) {
        Some(row) => {
            let administrators = members(row.text(MEMBERS - 1), &is_user);
            let members = members(row.text(MEMBERS), &is_user);
            joined(&[row.name(), row.text(PASSWORD), &administrators, &members])
        }
        None => joined(&[group.name, b"!", b"", b""]),
    };
    let is_new = |group: &&Arrival<'_>| !source.gshadow.mentions(group.name);
    groups.iter().filter(is_new).map(row).collect()
}
