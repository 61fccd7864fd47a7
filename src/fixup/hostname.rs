//! The name that the clone gets where one was given (`--hostname NAME`): in whichever files the
//! target has for it. Knows nothing of who resolves it.

use super::{Change, Edit, File, Level, path};
use crate::merger::Merger;

/// Files that hold the name alone.
const WHOLE: [&str; 2] = ["/etc/hostname", "/etc/HOSTNAME"];
/// Files in which it is one assignment, and what is assigned.
const ASSIGNED: [(&str, &str); 2] = [
    ("/etc/sysconfig/network", "HOSTNAME"),
    ("/etc/conf.d/hostname", "hostname"),
];

/// Returns the edits that give a system its name, of which `text` reads a file.
pub(super) fn edits(text: &dyn Fn(&str) -> Option<String>, name: &str) -> Vec<Edit> {
    let mut edits = Vec::new();
    for file in WHOLE {
        // The first is where every init of today looks.
        if file == WHOLE[0] || text(file).is_some() {
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
        reason: "the name that was given".to_owned(),
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
    use super::assigned;

    #[test]
    fn replaces_the_value_and_nothing_else() {
        let text = "NETWORKING=yes\nHOSTNAME=old\n# HOSTNAME=x\n";
        assert_eq!(
            assigned(text, "HOSTNAME", "new").unwrap(),
            "NETWORKING=yes\nHOSTNAME=\"new\"\n# HOSTNAME=x\n"
        );
        assert_eq!(assigned("A=1\n", "HOSTNAME", "new"), None);
    }
}
