//! Which distribution it is, by `os-release`. Own code: the crates for it panic on files that
//! are not as they should be. Knows nothing of the older release files.

use super::assignments::Assignments;
use crate::facts::{Distribution, Family};

/// Where the file lies, in the order in which it counts.
pub(super) const PATHS: [&str; 3] = [
    "/etc/os-release",
    "/usr/lib/os-release",
    // Alpine's and NixOS's initial file systems, and some images of containers.
    "/etc/initrd-release",
];

/// Reads the text of an os-release; `None` when it does not name a distribution.
pub(super) fn parse(text: &str, origin: &str) -> Option<Distribution> {
    let values = Assignments::parse(text);
    let id = values
        .get("ID")
        .map(clean_id)
        .or_else(|| values.get("NAME").map(clean_id))
        .filter(|id| !id.is_empty())?;
    let like: Vec<String> = values
        .get("ID_LIKE")
        .unwrap_or("")
        .split([' ', ',', '\t'])
        .map(clean_id)
        .filter(|id| !id.is_empty())
        .collect();
    let version = values.get("VERSION_ID").unwrap_or("").to_owned();
    let name = match (values.get("PRETTY_NAME"), values.get("NAME")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(name)) => format!("{name} {version}").trim_end().to_owned(),
        (None, None) => format!("{id} {version}").trim_end().to_owned(),
    };
    Some(Distribution {
        family: family(&id, &like),
        id,
        like,
        version,
        name,
        origin: origin.to_owned(),
    })
}

/// An id as the specification has it: lower case, digits, `.`, `_`, `-`.
fn clean_id(id: &str) -> String {
    let letters = id.trim().chars().map(|letter| letter.to_ascii_lowercase());
    letters
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-'))
        .collect()
}

/// Returns the family of an id, or of the first id like it that has one.
pub(super) fn family(id: &str, like: &[String]) -> Family {
    let ids = std::iter::once(id).chain(like.iter().map(String::as_str));
    ids.map(family_of)
        .find(|family| *family != Family::Unknown)
        .unwrap_or_default()
}

fn family_of(id: &str) -> Family {
    match id {
        "debian" | "ubuntu" | "linuxmint" | "raspbian" | "devuan" | "kali" | "pop" | "proxmox"
        | "pve" | "neon" | "elementary" | "zorin" | "deepin" | "parrot" | "mx" | "trisquel"
        | "pureos" | "tails" | "armbian" | "lmde" | "astra" | "uos" => Family::Debian,
        "rhel" | "centos" | "fedora" | "rocky" | "almalinux" | "ol" | "amzn" | "scientific"
        | "cloudlinux" | "virtuozzo" | "eurolinux" | "oracle" | "redhat" | "xenserver"
        | "xcp-ng" | "anolis" | "openeuler" | "alinux" | "tencentos" | "springdale" | "circle"
        | "navylinux" | "miraclelinux" => Family::Rhel,
        "suse"
        | "sles"
        | "sled"
        | "sle-micro"
        | "sl-micro"
        | "sles_sap"
        | "opensuse"
        | "opensuse-leap"
        | "opensuse-tumbleweed"
        | "opensuse-microos"
        | "suse-microos"
        | "caasp" => Family::Suse,
        "arch" | "archlinux" | "manjaro" | "endeavouros" | "archarm" | "artix" | "garuda"
        | "cachyos" | "arcolinux" | "manjaro-arm" => Family::Arch,
        "gentoo" | "funtoo" | "calculate" | "chromeos" | "flatcar" => Family::Gentoo,
        "alpine" | "postmarketos" => Family::Alpine,
        _ => Family::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_files_are_read_as_far_as_they_go() {
        let read = |text| parse(text, "/x").map(|found| (found.id, found.version, found.name));
        for (text, id, version, name) in [
            ("ID=debian\n", "debian", "", "debian"),
            ("ID=\"CentOS\"\nVERSION_ID=\"7\n", "centos", "7", "centos 7"),
            (
                "junk\n=\nID='ol'\nNAME=\"Oracle\nVERSION_ID=8.9",
                "ol",
                "8.9",
                "Oracle 8.9",
            ),
            (
                "NAME=Exotic\nPRETTY_NAME=\"Exotic \\\"One\\\"\"",
                "exotic",
                "",
                "Exotic \"One\"",
            ),
            ("ID=a\nID=b", "b", "", "b"),
        ] {
            let found = Some((id.to_owned(), version.to_owned(), name.to_owned()));
            assert_eq!(read(text), found, "{text:?}");
        }
        for text in ["", "\0\0\0", "ID=", "ID=\"\"\n", "VERSION_ID=3", "ID=/*?"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_family_of_the_unknown_is_that_of_what_it_is_like() {
        let like = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        assert_eq!(family("novel", &like(&["other", "ubuntu"])), Family::Debian);
        assert_eq!(family("amzn", &like(&["debian"])), Family::Rhel);
        assert_eq!(family("novel", &[]), Family::Unknown);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(bytes: Vec<u8>) {
            let _read = parse(&String::from_utf8_lossy(&bytes), "/x");
        }
    }
}
