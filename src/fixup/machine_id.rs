//! The machine's id: the target's, and what is derived of it. Called only where the identity stays
//! the target's. Knows nothing of other identities.

use super::{Case, Change, File, Level, Object, path};
use crate::facts::Init;

const ID: &str = "etc/machine-id";
const DBUS: &str = "var/lib/dbus/machine-id";
const REASON: &str = "the target stays the machine that it is";

pub(super) fn merge(case: &mut Case<'_>) {
    let (id, dbus) = (path(ID), path(DBUS));
    let id_of_target = case.target_file(&id);
    let needs_one = case.situation.source.init == Init::Systemd;
    match case.target(&id) {
        // An empty file is filled at the next boot; a missing one would make it a first boot,
        // which enables units anew.
        None if needs_one && case.source(&id).is_some() => {
            let mut empty = File::of_root(Vec::new());
            empty.mode = 0o444;
            let reason = "the target has no id: it gets one at the next boot";
            case.propose(&id, Change::Write(empty), Level::Warning, reason);
        }
        _ => case.propose_target(&id, Level::Info, REASON),
    }
    let is_link = |object: Option<&Object>| object.is_some_and(|object| object.link().is_some());
    let (source, target) = (case.source(&dbus), case.target(&dbus));
    // D-Bus reads its own file before the machine's: it must say the same.
    if is_link(target) || (target.is_none() && source.is_none()) {
        case.propose_target(&dbus, Level::Info, REASON);
    } else if is_link(source) {
        let change = Object::as_change(source);
        case.propose(&dbus, change, Level::Info, REASON);
    } else {
        let like = source.or(target).and_then(Object::file);
        let change = match (like, id_of_target) {
            (Some(like), Some(id)) if !id.contents.is_empty() => {
                Change::Write(like.with(id.contents.clone()))
            }
            // Without an id of the system's, D-Bus's is the target's id; systemd takes it over.
            _ if target.is_some() => Object::as_change(target),
            _ => Change::Remove,
        };
        case.propose(&dbus, change, Level::Info, REASON);
    }
}
