//! Accounts: the source's, plus the target-only system accounts that kept files and the target's
//! stack need, under free numbers. Lines of the source are never rewritten: hashes, locks, NIS
//! lines and what is malformed stay as they are. Knows nothing of who logs in.

mod carry;
mod rows;
mod table;

use carry::{Carried, ID, Numbers, PRIMARY, choose, highest_system_id};
use rows::{Arrival, group_rows, gshadow_rows, joined, passwd_rows, shadow_rows};
use table::{Shape, Table, number};

use super::{Case, Change, Level, Object, OwnerMap, path, quoted};

/// What is read. The copies that the account tools make of their files are the source's.
pub(super) const WANTED: &[&str] = &[
    "etc/passwd",
    "etc/shadow",
    "etc/group",
    "etc/gshadow",
    "etc/subuid",
    "etc/subgid",
    "etc/passwd-",
    "etc/shadow-",
    "etc/group-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
];

const PASSWD: Shape = Shape {
    count: 7,
    numbers: &[ID, PRIMARY],
};
const SHADOW: Shape = Shape {
    count: 9,
    numbers: &[],
};
const GROUP: Shape = Shape {
    count: 4,
    numbers: &[ID],
};
const GSHADOW: Shape = Shape {
    count: 4,
    numbers: &[],
};
const RANGES: Shape = Shape {
    count: 3,
    numbers: &[1, 2],
};
/// Field of the password in passwd, group and their shadows.
const PASSWORD: usize = 1;
const REASON: &str = "the source's accounts, and system accounts that files of the target need";

/// The files of one machine.
struct Accounts<'a> {
    passwd: Table<'a>,
    shadow: Table<'a>,
    group: Table<'a>,
    gshadow: Table<'a>,
}

pub(super) fn merge(case: &mut Case<'_>) {
    let source = Accounts::of(case, Case::source_file);
    let target = Accounts::of(case, Case::target_file);
    if let Some(what) = unfit(case, &source) {
        let what = format!("{what}: all accounts of the target stay");
        case.note(&path("etc/passwd"), Level::Warning, what);
        for name in WANTED {
            case.propose_target(&path(name), Level::Warning, "the target's accounts stay");
        }
        return;
    }
    let highest = highest_system_id(&case.situation.source.distribution);
    let mut uids = Numbers::of(&source.passwd, &target.passwd, highest);
    let mut gids = Numbers::of(&source.group, &target.group, highest);
    let carried = choose(
        [&target.passwd, &target.group],
        [&source.passwd, &source.group],
        case.situation.kept,
        highest,
    );
    let groups = carry_groups(case, &target, &carried, &mut gids);
    let users = carry_users(case, &target, &carried, (&mut uids, &mut gids));
    let owners = OwnerMap {
        uids: moved(
            case,
            &case.situation.kept.uids,
            &target.passwd,
            &mut uids,
            &users,
        ),
        gids: moved(
            case,
            &case.situation.kept.gids,
            &target.group,
            &mut gids,
            &groups,
        ),
    };
    case.merged.owners = owners;
    write(case, &source, &target, (&users, &groups));
}

impl<'a> Accounts<'a> {
    fn of(
        case: &Case<'a>,
        file: impl Fn(&Case<'a>, &crate::relpath::RelPath) -> Option<&'a super::File>,
    ) -> Accounts<'a> {
        let table = |name: &str, shape| {
            let file = file(case, &path(name));
            Table::parse(file.map_or(&[][..], |file| &file.contents), shape)
        };
        Accounts {
            passwd: table("etc/passwd", PASSWD),
            shadow: table("etc/shadow", SHADOW),
            group: table("etc/group", GROUP),
            gshadow: table("etc/gshadow", GSHADOW),
        }
    }
}

/// Tells why the source's accounts cannot be taken: nobody could log in with them.
fn unfit(case: &Case<'_>, source: &Accounts<'_>) -> Option<&'static str> {
    let is_link = |name: &str| {
        let path = path(name);
        let sides = [case.source(&path), case.target(&path)];
        sides
            .into_iter()
            .flatten()
            .any(|object| object.link().is_some())
    };
    if WANTED.iter().any(|name| is_link(name)) {
        return Some("a link stands in the place of a file of accounts");
    }
    let Some(root) = source.passwd.find(b"root") else {
        return Some("the source's passwd has no root");
    };
    if root.number(ID) != 0 {
        return Some("the source's root has another number than 0");
    }
    if source.group.accounts().next().is_none() {
        return Some("the source's group file has no group");
    }
    let is_shadowed = root.text(PASSWORD) == b"x";
    if is_shadowed && source.shadow.find(b"root").is_none() {
        return Some("the source's shadow has no root");
    }
    None
}

fn carry_groups<'a>(
    case: &mut Case<'_>,
    target: &'a Accounts<'_>,
    carried: &Carried<'a>,
    gids: &mut Numbers<'_>,
) -> Vec<Arrival<'a>> {
    let mut arrivals = Vec::new();
    for name in &carried.groups {
        let Some(row) = target.group.find(name) else {
            continue;
        };
        let old = row.number(ID);
        match gids.give(old) {
            Some(new) => arrivals.push(Arrival {
                name,
                old,
                new,
                primary: 0,
            }),
            None => no_number(case, "etc/group", name),
        }
    }
    arrivals
}

fn carry_users<'a>(
    case: &mut Case<'_>,
    target: &'a Accounts<'_>,
    carried: &Carried<'a>,
    (uids, gids): (&mut Numbers<'_>, &mut Numbers<'_>),
) -> Vec<Arrival<'a>> {
    let mut arrivals = Vec::new();
    for name in &carried.users {
        let Some(row) = target.passwd.find(name) else {
            continue;
        };
        let (old, old_primary) = (row.number(ID), row.number(PRIMARY));
        let group = target.group.owner_of(ID, old_primary);
        let known = group.and_then(|group| gids.names.number_of(ID, group));
        let primary = known.or_else(|| gids.give(old_primary));
        match (uids.give(old), primary) {
            (Some(new), Some(primary)) => arrivals.push(Arrival {
                name,
                old,
                new,
                primary,
            }),
            _ => no_number(case, "etc/passwd", name),
        }
    }
    arrivals
}

fn no_number(case: &mut Case<'_>, file: &str, name: &[u8]) {
    let what = format!(
        "{} of the target is left out: no number is free",
        quoted(name)
    );
    case.note(&path(file), Level::Warning, what);
}

/// Returns which of the `kept` numbers mean another account in the clone.
fn moved(
    case: &mut Case<'_>,
    kept: &std::collections::BTreeSet<u32>,
    target: &Table<'_>,
    numbers: &mut Numbers<'_>,
    arrivals: &[Arrival<'_>],
) -> std::collections::BTreeMap<u32, u32> {
    let mut map = std::collections::BTreeMap::new();
    for old in kept.iter().copied().filter(|id| *id != 0) {
        let name = target.owner_of(ID, old);
        let known = name.and_then(|name| numbers.names.number_of(ID, name));
        let arrived = arrivals.iter().find(|arrival| Some(arrival.name) == name);
        let new = known.or(arrived.map(|arrival| arrival.new));
        match (new, numbers.names.owner_of(ID, old)) {
            (Some(new), _) if new != old => {
                map.insert(old, new);
            }
            (None, Some(other)) => {
                let what = format!(
                    "what the target keeps of number {old} ({}) belongs to the source's {}",
                    name.map_or("nobody".to_owned(), quoted),
                    quoted(other)
                );
                case.note(&path("etc/passwd"), Level::Warning, what);
            }
            _ => {}
        }
    }
    map
}

fn write(
    case: &mut Case<'_>,
    source: &Accounts<'_>,
    target: &Accounts<'_>,
    (users, groups): (&[Arrival<'_>], &[Arrival<'_>]),
) {
    for (file, arrivals) in [("etc/passwd", users), ("etc/group", groups)] {
        for arrival in arrivals {
            let what = format!("{} of the target comes along", quoted(arrival.name));
            let what = match arrival.new == arrival.old {
                true => format!("{what} with number {}", arrival.new),
                false => format!("{what} with number {} for {}", arrival.new, arrival.old),
            };
            case.note(&path(file), Level::Info, what);
        }
    }
    let is_user = |name: &[u8]| {
        source.passwd.find(name).is_some() || users.iter().any(|user| user.name == name)
    };
    let has_shadow = case.source(&path("etc/shadow")).is_some();
    let group_rows = group_rows(target, groups, is_user);
    let gshadow_rows = gshadow_rows(source, target, groups, is_user);
    // ORDER: where files are replaced one by one, every name must be known before its password.
    put(case, "etc/group", &source.group, &group_rows);
    put(case, "etc/gshadow", &source.gshadow, &gshadow_rows);
    put(
        case,
        "etc/passwd",
        &source.passwd,
        &passwd_rows(target, users, has_shadow),
    );
    put(
        case,
        "etc/shadow",
        &source.shadow,
        &shadow_rows(source, target, users),
    );
    for name in ["etc/subuid", "etc/subgid"] {
        put_ranges(case, name, users);
    }
    for name in WANTED.iter().filter(|name| name.ends_with('-')) {
        let path = path(name);
        let change = Object::as_change(case.source(&path));
        case.propose(
            &path,
            change,
            Level::Info,
            "the source's copy of its accounts",
        );
    }
}

/// Proposes the source's file with further rows, or its absence where the source has none.
fn put(case: &mut Case<'_>, name: &str, table: &Table<'_>, added: &[Vec<u8>]) {
    let path = path(name);
    let change = match case.source_file(&path) {
        Some(file) => Change::Write(file.with(table.with(added))),
        None => Change::Remove,
    };
    case.propose(&path, change, Level::Info, REASON);
}

/// Proposes subordinate ranges: the source's, and those of arrivals that overlap none of them.
fn put_ranges(case: &mut Case<'_>, name: &str, users: &[Arrival<'_>]) {
    let path = path(name);
    let contents = |file: Option<&super::File>| file.map(|file| file.contents.clone());
    let source = contents(case.source_file(&path)).unwrap_or_default();
    let target = contents(case.target_file(&path)).unwrap_or_default();
    let source = Table::parse(&source, RANGES);
    let target = Table::parse(&target, RANGES);
    let end = |row: &table::Account<'_>| row.number(1).saturating_add(row.number(2));
    let is_free = |row: &table::Account<'_>| {
        let mut others = source.accounts();
        !others.any(|other| row.number(1) < end(&other) && other.number(1) < end(row))
    };
    let is_arrival = |name: &[u8]| users.iter().any(|user| user.name == name);
    let rows = target.accounts();
    let rows = rows.filter(|row| is_arrival(row.name()) && !source.mentions(row.name()));
    let added: Vec<Vec<u8>> = rows
        .filter(|row| number(row.text(1)).is_some() && is_free(row))
        .map(|row| joined(row.fields()))
        .collect();
    put(case, name, &source, &added);
}
