//! The name that the clone gets in place of the target's (`--hostname`): in whichever files the
//! target has for it. Knows nothing of who resolves it.

use serde::{Deserialize, Serialize};

use super::{Change, Edit, File, Level, path};
use crate::merger::Merger;

/// Files that hold the name alone.
const WHOLE: [&str; 2] = ["/etc/hostname", "/etc/HOSTNAME"];
/// Files in which it is one assignment, and what is assigned.
const ASSIGNED: [(&str, &str); 2] = [
    ("/etc/sysconfig/network", "HOSTNAME"),
    ("/etc/conf.d/hostname", "hostname"),
];

/// A name that is not the target's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewName {
    /// One that was given.
    Given(String),
    /// The source's. Files that hold it alone come along; those that the target keeps for what else
    /// stands in them do not.
    OfSource(String),
}

impl NewName {
    /// Returns the name itself.
    pub fn text(&self) -> &str {
        match self {
            NewName::Given(name) | NewName::OfSource(name) => name,
        }
    }
}

/// Returns the edits that give a system its name, of which `text` reads a file.
pub(super) fn edits(text: &dyn Fn(&str) -> Option<String>, new: &NewName) -> Vec<Edit> {
    let name = new.text();
    let mut edits = Vec::new();
    for file in WHOLE {
        // The first is where every init of today looks.
        let is_wanted = file == WHOLE[0] || text(file).is_some();
        if matches!(new, NewName::Given(_)) && is_wanted {
            edits.push(edit(file, format!("{name}\n")));
        }
    }
    for (file, key) in ASSIGNED {
        if let Some(text) = text(file).and_then(|text| assigned(&text, key, name)) {
            edits.push(edit(file, text));
        }
    }
    edits
}

fn edit(file: &str, text: String) -> Edit {
    Edit {
        merger: Merger::Hosts,
        path: path(file.trim_start_matches('/')),
        change: Change::Write(File {
            contents: text.into_bytes(),
            mode: 0o644,
            uid: 0,
            gid: 0,
        }),
        level: Level::Info,
        reason: "the name of the clone".to_owned(),
    }
}

/// Returns `text` with another value for `key`; `None` where it assigns none.
fn assigned(text: &str, key: &str, value: &str) -> Option<String> {
    let is_it = |line: &str| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with('='))
    };
    text.lines().any(is_it).then(|| {
        text.lines()
            .map(|line| match is_it(line) {
                true => format!("{key}=\"{value}\"\n"),
                false => format!("{line}\n"),
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::{NewName, assigned, edits};

    #[test]
    fn replaces_the_value_and_nothing_else() {
        let text = "NETWORKING=yes\nHOSTNAME=old\n# HOSTNAME=x\n";
        assert_eq!(
            assigned(text, "HOSTNAME", "new").unwrap(),
            "NETWORKING=yes\nHOSTNAME=\"new\"\n# HOSTNAME=x\n"
        );
        assert_eq!(assigned("A=1\n", "HOSTNAME", "new"), None);
    }

    #[test]
    fn the_sources_name_is_set_where_the_target_keeps_its_file() {
        let text = |path: &str| match path {
            "/etc/hostname" => Some("source\n".to_owned()),
            "/etc/sysconfig/network" => Some("HOSTNAME=target\n".to_owned()),
            _ => None,
        };
        let paths = |new: NewName| -> Vec<Vec<u8>> {
            let edits = edits(&text, &new).into_iter();
            edits.map(|edit| edit.path.as_bytes().to_vec()).collect()
        };
        let name = || "source".to_owned();
        let kept = b"etc/sysconfig/network";
        assert_eq!(paths(NewName::OfSource(name())), [&kept[..]]);
        assert_eq!(paths(NewName::Given(name())), [&b"etc/hostname"[..], kept]);
    }
}
