//! Links that say what starts at boot: of systemd (`wants`, aliases, masks), of System V
//! (`rc?.d`) and of OpenRC (`runlevels`). Knows nothing of what the services are for.

use super::glob::fits_any;
use super::{Case, Level, Object, quoted};
use crate::relpath::RelPath;

/// What a mask of systemd leads to.
pub(super) const MASK: &[u8] = b"/dev/null";
const SUFFIXES: [&str; 7] = [
    ".service",
    ".socket",
    ".timer",
    ".target",
    ".path",
    ".mount",
    ".automount",
];

/// Returns what is started by a link, without the suffix of systemd and the number of System V:
/// `ssh`, `networking`, `net.eth0`; `None` for paths elsewhere.
fn started(path: &RelPath) -> Option<&[u8]> {
    let parts: Vec<&[u8]> = path.parts().collect();
    let (name, directories) = parts.split_last()?;
    match directories {
        [b"etc", b"systemd", b"system"] => Some(stem(name)),
        [b"etc", b"systemd", b"system", inner]
            if inner.ends_with(b".wants") || inner.ends_with(b".requires") =>
        {
            Some(stem(name))
        }
        [b"etc", b"runlevels", _] => Some(name),
        [b"etc", .., runlevel] if runlevel.starts_with(b"rc") => match name {
            [b'S' | b'K', b'0'..=b'9', b'0'..=b'9', rest @ ..] => Some(rest),
            _ => None,
        },
        _ => None,
    }
}

fn stem(name: &[u8]) -> &[u8] {
    let suffix = SUFFIXES
        .iter()
        .find(|suffix| name.ends_with(suffix.as_bytes()));
    let end = name.len() - suffix.map_or(0, |suffix| suffix.len());
    name.get(..end).unwrap_or(name)
}

/// Returns the paths at which one of the machines has a link, and none a file, for a service that
/// fits `patterns`.
pub(super) fn links<'a>(case: &Case<'a>, patterns: &[&str]) -> Vec<&'a RelPath> {
    let is_file = |object: Option<&Object>| object.is_some_and(|object| object.link().is_none());
    let fits = |path: &&RelPath| {
        started(path).is_some_and(|name| fits_any(patterns, name))
            && !is_file(case.source(path))
            && !is_file(case.target(path))
    };
    case.paths().into_iter().filter(fits).collect()
}

/// Tells whether the target starts something that fits `patterns`: has a link that is no mask
/// and stops nothing.
pub(super) fn starts_on_target(case: &Case<'_>, patterns: &[&str]) -> bool {
    links(case, patterns).into_iter().any(|path| {
        let is_kill = path.split().is_some_and(|(parent, name)| {
            name.as_bytes().starts_with(b"K") && !parent.as_bytes().starts_with(b"etc/systemd")
        });
        let link = case.target(path).and_then(Object::link);
        !is_kill && link.is_some_and(|text| text != MASK)
    })
}

/// Decides that services that fit `patterns` start as they do on the target.
pub(super) fn follow_target(case: &mut Case<'_>, patterns: &[&str], reason: &str) {
    for path in links(case, patterns) {
        if let Some(Object::Link(text)) = case.target(path) {
            let leads_to = resolve(path, text);
            if text != MASK && !case.present(&leads_to) {
                let what = format!(
                    "the target starts this, but {} is not in the clone",
                    quoted(&leads_to)
                );
                case.note(path, Level::Warning, what);
            }
        }
        case.propose_target(path, Level::Info, reason);
    }
}

/// Returns the absolute path to which a link leads, by its text alone.
fn resolve(path: &RelPath, text: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    if !text.starts_with(b"/") {
        parts.extend(path.parts());
        parts.pop();
    }
    for part in text.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts
        .iter()
        .flat_map(|part| [&b"/"[..], part])
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{resolve, started};
    use crate::fixup::path;

    #[test]
    fn knows_what_a_link_starts() {
        for (link, expected) in [
            (
                "etc/systemd/system/multi-user.target.wants/ssh.service",
                Some("ssh"),
            ),
            (
                "etc/systemd/system/sockets.target.wants/ssh.socket",
                Some("ssh"),
            ),
            ("etc/systemd/system/x.service.requires/y.service", Some("y")),
            ("etc/systemd/system/network.service", Some("network")),
            ("etc/systemd/system/ssh.service.d/x.conf", None),
            ("etc/rc2.d/S01networking", Some("networking")),
            ("etc/rc.d/rc5.d/K10network", Some("network")),
            ("etc/rc2.d/README", None),
            ("etc/runlevels/default/net.eth0", Some("net.eth0")),
            ("etc/passwd", None),
        ] {
            let path = path(link);
            assert_eq!(started(&path), expected.map(str::as_bytes), "{link}");
        }
    }

    #[test]
    fn resolves_by_text() {
        let link = path("etc/rc2.d/S01x");
        assert_eq!(resolve(&link, b"../init.d/x"), b"/etc/init.d/x");
        assert_eq!(resolve(&link, b"/lib/../usr/x"), b"/usr/x");
        assert_eq!(resolve(&link, b"../../../../x"), b"/x");
    }
}
