//! Which distribution it is, by the files that were there before `os-release`: RHEL and CentOS
//! to 6, Amazon Linux 1, SUSE to 11, Debian to 6, old Ubuntu, Arch, Gentoo, Alpine.
//!
//! Never by `/etc/issue`: administrators write into it. Knows nothing of os-release.

use super::assignments::Assignments;
use super::os_release::family;
use crate::facts::Distribution;

/// A file that tells, and how it is read.
pub(super) struct ReleaseFile {
    /// Where it lies.
    pub(super) path: &'static str,
    /// Reads its text; `None` when it does not name a distribution.
    pub(super) parse: fn(&str) -> Option<Found>,
}

/// What a release file says: id, version, name.
pub(super) type Found = (String, String, String);

/// The files, the more telling ones first: Ubuntu has a `debian_version`, Oracle Linux and
/// Amazon Linux a `redhat-release` of their own or of RHEL.
pub(super) const FILES: [ReleaseFile; 14] = [
    ReleaseFile {
        path: "/etc/oracle-release",
        parse: sentence,
    },
    ReleaseFile {
        path: "/etc/centos-release",
        parse: sentence,
    },
    ReleaseFile {
        path: "/etc/fedora-release",
        parse: sentence,
    },
    ReleaseFile {
        path: "/etc/system-release",
        parse: sentence,
    },
    ReleaseFile {
        path: "/etc/redhat-release",
        parse: sentence,
    },
    ReleaseFile {
        path: "/etc/SuSE-release",
        parse: suse,
    },
    ReleaseFile {
        path: "/etc/sles-release",
        parse: suse,
    },
    ReleaseFile {
        path: "/etc/alpine-release",
        parse: |text| bare("alpine", "Alpine Linux", text),
    },
    ReleaseFile {
        path: "/etc/gentoo-release",
        parse: sentence,
    },
    ReleaseFile {
        path: "/etc/lsb-release",
        parse: lsb,
    },
    ReleaseFile {
        path: "/etc/manjaro-release",
        parse: |_| bare("manjaro", "Manjaro Linux", ""),
    },
    ReleaseFile {
        path: "/etc/arch-release",
        parse: |_| bare("arch", "Arch Linux", ""),
    },
    ReleaseFile {
        path: "/etc/devuan_version",
        parse: |text| bare("devuan", "Devuan GNU/Linux", text),
    },
    ReleaseFile {
        path: "/etc/debian_version",
        parse: |text| bare("debian", "Debian GNU/Linux", text),
    },
];

/// How the sentence of a release file begins, and the id that os-release would have.
const BEGINNINGS: [(&str, &str); 16] = [
    ("red hat enterprise linux", "rhel"),
    ("centos", "centos"),
    ("fedora", "fedora"),
    ("rocky", "rocky"),
    ("almalinux", "almalinux"),
    ("amazon linux", "amzn"),
    ("oracle linux", "ol"),
    ("enterprise linux enterprise linux", "ol"),
    ("scientific linux", "scientific"),
    ("cloudlinux", "cloudlinux"),
    ("virtuozzo", "virtuozzo"),
    ("xenserver", "xenserver"),
    ("red hat linux", "redhat"),
    ("gentoo", "gentoo"),
    ("suse linux enterprise", "sles"),
    ("opensuse", "opensuse"),
];

/// Makes facts of what a release file says.
pub(super) fn distribution(found: Found, origin: &str) -> Distribution {
    let (id, version, name) = found;
    Distribution {
        family: family(&id, &[]),
        id,
        like: Vec::new(),
        version,
        name,
        origin: origin.to_owned(),
    }
}

/// Reads `CentOS release 6.10 (Final)` and its kin.
fn sentence(text: &str) -> Option<Found> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let lower = line.to_ascii_lowercase();
    let (_, id) = BEGINNINGS
        .into_iter()
        .find(|(beginning, _)| lower.starts_with(beginning))?;
    Some((id.to_owned(), version_in(line), line.to_owned()))
}

/// Reads SUSE's: a sentence, then `VERSION = 11` and `PATCHLEVEL = 4`.
fn suse(text: &str) -> Option<Found> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let values = Assignments::parse(text);
    let id = match line.to_ascii_lowercase() {
        name if name.starts_with("opensuse") => "opensuse",
        name if name.contains("desktop") => "sled",
        name if name.contains("enterprise") => "sles",
        _ => "suse",
    };
    let version = match (values.get("VERSION"), values.get("PATCHLEVEL")) {
        // As the os-release of SLES has it: without the zero of the first release.
        (Some(version), None | Some("0")) => version.to_owned(),
        (Some(version), Some(level)) => format!("{version}.{level}"),
        (None, _) => version_in(line),
    };
    Some((id.to_owned(), version, line.to_owned()))
}

/// Reads Ubuntu's `DISTRIB_ID=Ubuntu` and its kin.
fn lsb(text: &str) -> Option<Found> {
    let values = Assignments::parse(text);
    let name = values.get("DISTRIB_ID")?;
    let id = match name.to_ascii_lowercase().as_str() {
        "archlinux" => "arch".to_owned(),
        "manjarolinux" => "manjaro".to_owned(),
        "amazonami" => "amzn".to_owned(),
        "debian" | "ubuntu" | "linuxmint" | "gentoo" | "arch" | "centos" => {
            name.to_ascii_lowercase()
        }
        // A system of a name that nobody here knows may still have a file that tells.
        _ => return None,
    };
    // Rolling ones say "rolling".
    let version = values.get("DISTRIB_RELEASE").unwrap_or("");
    let version = if version == "rolling" { "" } else { version };
    let whole = values.get("DISTRIB_DESCRIPTION").map(str::to_owned);
    let whole = whole.unwrap_or_else(|| format!("{name} {version}").trim_end().to_owned());
    Some((id, version.to_owned(), whole))
}

/// Reads a file that holds a version and nothing else, or nothing at all.
fn bare(id: &str, name: &str, text: &str) -> Option<Found> {
    let word = text.split_whitespace().next().unwrap_or("");
    // Debian's testing says "trixie/sid": a name, no version.
    let version = match word.starts_with(|letter: char| letter.is_ascii_digit()) {
        true => word,
        false => "",
    };
    let name = format!("{name} {word}").trim_end().to_owned();
    Some((id.to_owned(), version.to_owned(), name))
}

/// Returns the first word that begins with a digit, as far as digits and dots go.
fn version_in(line: &str) -> String {
    let word = line
        .split_whitespace()
        .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    let letters = word.unwrap_or("").chars();
    let version: String = letters
        .take_while(|letter| letter.is_ascii_digit() || *letter == '.')
        .collect();
    version.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str) -> &'static ReleaseFile {
        FILES.iter().find(|file| file.path == path).unwrap()
    }

    #[test]
    fn a_name_that_is_no_version_is_none() {
        let debian = (file("/etc/debian_version").parse)("trixie/sid\n").unwrap();
        assert_eq!(debian.1, "");
        assert_eq!(debian.2, "Debian GNU/Linux trixie/sid");
        assert_eq!((file("/etc/redhat-release").parse)("My own server\n"), None);
        assert_eq!((file("/etc/lsb-release").parse)("DISTRIB_ID=Foo\n"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_one_fail(bytes: Vec<u8>, index in 0..FILES.len()) {
            let text = String::from_utf8_lossy(&bytes);
            let _read = (FILES[index].parse)(&text);
        }
    }
}
