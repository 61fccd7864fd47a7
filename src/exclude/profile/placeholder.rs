//! Placeholders in patterns: `${swap-files}` becomes one pattern for each swap file.
//!
//! Values come from facts and may hold anything, so each is checked and escaped before it
//! becomes part of a pattern. Knows nothing of what a pattern means beyond its escapes.

use super::error::ProfileFault;
use crate::exclude::pattern;
use crate::facts::{Facts, MountKind};

/// Every placeholder with what it stands for, as the documents say it.
pub const PLACEHOLDERS: [(&str, &str); 5] = [
    (
        "target.kernels",
        "each kernel of the target that must stay bootable, by its release",
    ),
    ("source.machine-id", "the machine-id of the source"),
    ("target.machine-id", "the machine-id of the target"),
    ("swap-files", "each swap file of either machine, as a path"),
    (
        "foreign-mounts",
        "each mount of either machine that is no disk of it, as a path",
    ),
];

/// LIMIT: values of one placeholder that are used. A container engine mounts hundreds of
/// overlays; what is left out lies on another file system and is not entered anyway.
const MAX_VALUES: usize = 500;
/// Mounts below these are covered by the rules of the profile `core`.
const COVERED: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// A pattern taken apart at its placeholder.
struct Parts<'p> {
    before: &'p str,
    name: &'p str,
    after: &'p str,
}

/// Checks a pattern as it will be when it is filled, whatever the facts are.
pub(super) fn check(text: &str) -> Result<(), ProfileFault> {
    let sample = match split(text)? {
        None => text.to_owned(),
        Some(parts) => {
            let is_known = PLACEHOLDERS.iter().any(|(name, _)| *name == parts.name);
            if !is_known {
                return Err(ProfileFault::UnknownPlaceholder(parts.name.to_owned()));
            }
            if split(parts.after)?.is_some() {
                return Err(ProfileFault::TwoPlaceholders);
            }
            if is_path(parts.name) && !parts.before.is_empty() {
                return Err(ProfileFault::PathInside(parts.name.to_owned()));
            }
            let value = if is_path(parts.name) { "/x" } else { "x" };
            [parts.before, value, parts.after].concat()
        }
    };
    if !sample.is_empty() && !sample.starts_with('/') {
        return Err(ProfileFault::NotAnchored(text.to_owned()));
    }
    pattern::compile(&sample)
        .map(|_| ())
        .map_err(|fault| ProfileFault::Pattern {
            pattern: text.to_owned(),
            fault,
        })
}

/// Returns the patterns that a checked pattern stands for: none where the facts know no value.
pub(super) fn fill(text: &str, source: &Facts, target: &Facts) -> Vec<String> {
    let Ok(Some(parts)) = split(text) else {
        return vec![text.to_owned()];
    };
    let mut values = values(parts.name, source, target);
    values.sort();
    values.dedup();
    values.truncate(MAX_VALUES);
    values
        .iter()
        .filter_map(|value| {
            let value = if is_path(parts.name) {
                escape_path(value)
            } else {
                escape_name(value)
            };
            value.map(|value| [parts.before, &value, parts.after].concat())
        })
        // A value may be as long as it likes; a pattern may not.
        .filter(|pattern| pattern::compile(pattern).is_ok())
        .collect()
}

/// Tells whether a placeholder stands for whole paths.
fn is_path(name: &str) -> bool {
    matches!(name, "swap-files" | "foreign-mounts")
}

fn split(text: &str) -> Result<Option<Parts<'_>>, ProfileFault> {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if let Some(rest) = text.get(at..).and_then(|rest| rest.strip_prefix("${")) {
            let (name, after) = rest
                .split_once('}')
                .ok_or(ProfileFault::UnclosedPlaceholder)?;
            let before = text.get(..at).unwrap_or("");
            return Ok(Some(Parts {
                before,
                name,
                after,
            }));
        }
    }
    Ok(None)
}

fn values(name: &str, source: &Facts, target: &Facts) -> Vec<String> {
    let both = || [source, target].into_iter();
    match name {
        "target.kernels" => {
            let installed = target
                .kernels
                .installed
                .iter()
                .filter(|kernel| kernel.has_image);
            let versions = installed.map(|kernel| kernel.version.clone());
            versions.chain(target.kernels.running.clone()).collect()
        }
        "source.machine-id" => source.identity.machine_id.iter().cloned().collect(),
        "target.machine-id" => target.identity.machine_id.iter().cloned().collect(),
        "swap-files" => both()
            .flat_map(|facts| &facts.storage.swaps)
            .filter(|swap| swap.is_file)
            .map(|swap| swap.path.clone())
            .collect(),
        "foreign-mounts" => topmost(both().flat_map(foreign_mounts).collect()),
        _ => Vec::new(),
    }
}

fn foreign_mounts(facts: &Facts) -> impl Iterator<Item = String> {
    let mounts = facts.storage.mounts.iter();
    mounts
        .filter(|mount| match mount.kind {
            MountKind::Disk | MountKind::Bind | MountKind::Unknown => false,
            MountKind::Network
            | MountKind::Pseudo
            | MountKind::Image
            | MountKind::Overlay
            | MountKind::Fuse
            | MountKind::Auto => true,
        })
        .map(|mount| mount.path.clone())
        // The root of a container is an overlay, and still what is copied.
        .filter(|path| !path.trim_end_matches('/').is_empty())
        .filter(|path| !COVERED.iter().any(|top| lies_in(path, top)))
}

/// Returns the paths that lie in no other one of them.
fn topmost(mut paths: Vec<String>) -> Vec<String> {
    // Sorted by parts, what lies in a directory follows right behind it.
    paths.sort_by(|a, b| a.split('/').cmp(b.split('/')));
    let mut kept: Vec<String> = Vec::new();
    for path in paths {
        if !kept.last().is_some_and(|last| lies_in(&path, last)) {
            kept.push(path);
        }
    }
    kept
}

fn lies_in(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns a path as a pattern that matches it alone, or `None` for what is no path.
fn escape_path(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Option<Vec<String>> = parts.map(escape_name).collect();
    let parts = parts.filter(|parts| !parts.is_empty())?;
    Some(format!("/{}", parts.join("/")))
}

fn escape_name(name: &str) -> Option<String> {
    if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', '\0']) {
        return None;
    }
    // What was not UTF-8 can only be met by any byte; each replacement stood for one at least.
    let mut escaped = String::with_capacity(name.len());
    for letter in name.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\') {
            escaped.push('\\');
        }
        match letter {
            '\u{fffd}' => escaped.push('*'),
            letter => escaped.push(letter),
        }
    }
    Some(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{check, fill};
    use crate::exclude::{Rule, Rules, Verdict};
    use crate::facts::{Facts, Kernel, Mount, MountKind, Swap};
    use crate::relpath::RelPath;

    fn machine() -> Facts {
        let mut facts = Facts::default();
        facts.kernels.running = Some("6.1".into());
        for (version, has_image) in [("6.1", true), ("5.*", true), ("4", false), ("../x", true)] {
            facts.kernels.installed.push(Kernel {
                version: version.into(),
                has_image,
                has_modules: true,
            });
        }
        for path in [
            "/swap file{1}",
            "/",
            "relative",
            "/a//b\u{fffd}c",
            "/a/../b",
        ] {
            facts.storage.swaps.push(Swap {
                path: path.into(),
                is_file: true,
                active: true,
            });
        }
        for (path, kind) in [
            ("/", MountKind::Overlay),
            ("/home", MountKind::Disk),
            ("/srv/nfs", MountKind::Network),
            ("/srv/nfs-2", MountKind::Network),
            ("/srv/nfs/below", MountKind::Fuse),
            ("/sys/fs/cgroup", MountKind::Pseudo),
        ] {
            facts.storage.mounts.push(Mount {
                path: path.into(),
                kind,
                ..Mount::default()
            });
        }
        facts
    }

    #[test]
    fn each_value_becomes_a_pattern_for_itself_alone() {
        let facts = machine();
        for (pattern, filled) in [
            (
                "/lib/modules/${target.kernels}/***",
                &["/lib/modules/5.\\*/***", "/lib/modules/6.1/***"][..],
            ),
            ("${swap-files}", &["/a/b*c", "/swap file\\{1\\}"]),
            ("${foreign-mounts}/**", &["/srv/nfs/**", "/srv/nfs-2/**"]),
            ("/var/log/journal/${source.machine-id}", &[]),
            ("/a$\\{b\\}\\${x}", &["/a$\\{b\\}\\${x}"]),
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
            assert_eq!(fill(pattern, &facts, &facts), filled, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn a_filled_path_matches_itself_and_nothing_near(
            parts in prop::collection::vec("[ -.0-~\\n\\té]{1,6}", 1..4),
        ) {
            let path = parts.join("/");
            let (Ok(own), Ok(near)) = (
                RelPath::new(path.as_bytes()),
                RelPath::new(format!("{path}x").as_bytes()),
            ) else {
                return Ok(());
            };
            let mut facts = Facts::default();
            facts.storage.swaps.push(Swap {
                path: format!("/{path}"),
                is_file: true,
                active: true,
            });
            let filled = fill("${swap-files}", &facts, &Facts::default());
            let rules = filled.iter().map(|pattern| Rule::new(Verdict::Keep, pattern, "x"));
            let rules = Rules::new(rules.collect()).unwrap();
            prop_assert_eq!(rules.decide(&own, false).verdict, Verdict::Keep);
            prop_assert_eq!(rules.decide(&near, false).verdict, Verdict::Copy);
        }
    }
}
