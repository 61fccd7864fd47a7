//! Which Amazon Linux this is, if any: os-release, release files and packages together.
//!
//! After a clone the release files may be the target's already, while the packages are Amazon's;
//! so the packages decide where they are many. `/etc/issue` is not asked: anybody may write
//! anything there. Knows nothing of what is to be done about it.

use serde::{Deserialize, Serialize};

use super::packages::Package;
use super::profile::Generation;
use super::tree::Tree;
use crate::distro::Assignments;

/// One package in so many has to be Amazon's build for the machine to be Amazon Linux: a single
/// agent from Amazon makes none, and half a conversion does not end it.
const SHARE: usize = 4;

/// Files of one line that name the release.
const RELEASE_FILES: [&str; 5] = [
    "/etc/system-release",
    "/etc/amazon-linux-release",
    "/etc/centos-release",
    "/etc/oracle-release",
    "/etc/redhat-release",
];

/// What the release files say the machine is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The `ID` of os-release, or the one it would have; empty where nothing says it.
    pub id: String,
    /// The part of its version before the dot; empty where nothing says it.
    pub major: String,
}

impl Release {
    /// Reads `rocky`, `rocky:9` or `rocky:9.4`.
    pub fn parse(text: &str) -> Release {
        let (id, version) = text.split_once(':').unwrap_or((text, ""));
        Release {
            id: id.to_owned(),
            major: major(version),
        }
    }

    /// Tells whether it is Amazon Linux.
    pub fn is_amazon(&self) -> bool {
        self.id == "amzn"
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recognition {
    /// The release of Amazon Linux; `None` where it is none.
    pub generation: Option<Generation>,
    /// What told, one sentence fragment each.
    pub evidence: Vec<String>,
    /// What the release files say.
    pub release: Release,
}

/// Looks at a root and its packages.
pub fn recognise(tree: &Tree, packages: &[Package]) -> Recognition {
    let mut evidence = Vec::new();
    let os_release = tree
        .text("/etc/os-release")
        .or_else(|| tree.text("/usr/lib/os-release"))
        .unwrap_or_default();
    let os_release = Assignments::parse(&os_release);
    let mut by_files = by_os_release(&os_release);
    if let Some(generation) = by_files {
        evidence.push(format!("os-release says Amazon Linux {generation}"));
    }
    let mut release = os_release_of(&os_release);
    for path in RELEASE_FILES {
        let Some(line) = tree.text(path) else {
            continue;
        };
        let line = line.lines().next().unwrap_or("").trim().to_owned();
        if let Some(generation) = by_release_line(&line) {
            evidence.push(format!("{path} says '{line}'"));
            by_files = by_files.or(Some(generation));
        }
        if release.id.is_empty() {
            release = release_of_line(&line);
        }
    }
    if let Some(image) = tree.text("/etc/image-id").as_deref().and_then(image_name) {
        evidence.push(format!("/etc/image-id names the image {image}"));
    }
    let (by_packages, sentence) = by_packages(packages);
    evidence.extend(sentence);
    Recognition {
        generation: by_packages.or(by_files),
        evidence,
        release,
    }
}

fn os_release_of(values: &Assignments) -> Release {
    Release {
        id: values.get("ID").unwrap_or_default().to_owned(),
        major: major(values.get("VERSION_ID").unwrap_or_default()),
    }
}

fn major(version: &str) -> String {
    version.split('.').next().unwrap_or("").to_owned()
}

fn by_os_release(values: &Assignments) -> Option<Generation> {
    let is_amazon = values.get("ID") == Some("amzn");
    by_version(values.get("VERSION_ID").filter(|_| is_amazon)?)
}

/// Versions of the first generation are months: `2018.03`.
fn by_version(version: &str) -> Option<Generation> {
    match version.split('.').next()? {
        "2" => Some(Generation::Two),
        "2022" | "2023" => Some(Generation::Of2023),
        year if year.len() == 4 && year.starts_with("20") && version.contains('.') => {
            Some(Generation::One)
        }
        _ => None,
    }
}

/// Reads `Amazon Linux release 2 (Karoo)` and `Amazon Linux AMI release 2018.03`.
fn by_release_line(line: &str) -> Option<Generation> {
    let rest = line.strip_prefix("Amazon Linux ")?;
    let version = rest.split("release ").nth(1)?;
    let version = version.split(' ').next()?;
    match rest.starts_with("AMI ") {
        true => Some(Generation::One),
        false => by_version(version),
    }
}

/// Reads `CentOS release 6.10 (Final)`.
fn release_of_line(line: &str) -> Release {
    let id = match line.split(' ').next().unwrap_or("") {
        "CentOS" => "centos",
        "Rocky" => "rocky",
        "AlmaLinux" => "almalinux",
        "Oracle" => "ol",
        "Fedora" => "fedora",
        "Red" => "rhel",
        "Amazon" => "amzn",
        _ => return Release::default(),
    };
    let version = line.split("release ").nth(1).unwrap_or("");
    Release {
        id: id.to_owned(),
        major: major(version.split(' ').next().unwrap_or("")),
    }
}

fn image_name(text: &str) -> Option<String> {
    let values = Assignments::parse(text);
    let name = values.get("image_name")?;
    let is_amazon = ["amzn", "al20"].iter().any(|start| name.starts_with(start));
    is_amazon.then(|| name.to_owned())
}

/// Counts the builds of each release: `1.el7`, `3.amzn2.0.1`, `5.amzn2023`.
fn by_packages(packages: &[Package]) -> (Option<Generation>, Option<String>) {
    let generations = [Generation::One, Generation::Two, Generation::Of2023];
    let counts = generations.map(|generation| {
        let builds = packages
            .iter()
            .filter(|package| build_of(&package.release) == Some(generation));
        (builds.count(), generation)
    });
    let (count, generation) = counts.into_iter().max().unwrap_or((0, Generation::One));
    if count == 0 {
        return (None, None);
    }
    let sentence = format!(
        "{count} of {} packages are builds for Amazon Linux {generation}",
        packages.len()
    );
    let is_enough = count * SHARE >= packages.len();
    (is_enough.then_some(generation), Some(sentence))
}

fn build_of(release: &str) -> Option<Generation> {
    let (_, build) = release.split_once(".amzn")?;
    let digits = build
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?;
    match digits {
        "1" => Some(Generation::One),
        "2" => Some(Generation::Two),
        "2022" | "2023" => Some(Generation::Of2023),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Generation, Release, recognise};
    use crate::cleanup::packages::Package;
    use crate::cleanup::tree::Tree;

    const AL1: (&str, &str) = ("etc/system-release", "Amazon Linux AMI release 2018.03\n");
    const AL2: (&str, &str) = ("etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2\"\n");
    const ROCKY: (&str, &str) = ("etc/os-release", "ID=\"rocky\"\nVERSION_ID=\"9.4\"\n");

    /// Files, releases of packages; the generation and the release that are found.
    type Row<'a> = (
        &'a [(&'a str, &'a str)],
        &'a [&'a str],
        Option<Generation>,
        (&'a str, &'a str),
    );

    #[test]
    fn release_files_and_packages_decide_together() {
        use Generation::{Of2023, One, Two};
        let table: &[Row<'_>] = &[
            (&[AL1], &[], Some(One), ("amzn", "2018")),
            (&[AL2], &["3.amzn2.0.1"], Some(Two), ("amzn", "2")),
            // After a clone: the target's files, the source's packages.
            (
                &[ROCKY],
                &["1.amzn2023", "2.amzn2023", "1"],
                Some(Of2023),
                ("rocky", "9"),
            ),
            (
                &[("etc/centos-release", "CentOS release 6.10 (Final)\n")],
                &["1.9.amzn1"],
                Some(One),
                ("centos", "6"),
            ),
            // An agent from Amazon makes no Amazon Linux.
            (
                &[ROCKY],
                &["1.amzn2", "1.el9", "1.el9", "1.el9", "1.el9"],
                None,
                ("rocky", "9"),
            ),
            // What anybody may write there says nothing.
            (
                &[("etc/issue", "Amazon Linux AMI release 2018.03\n")],
                &["1.el6"],
                None,
                ("", ""),
            ),
            (
                &[("usr/lib/os-release", "ID=amzn\nVERSION_ID=2023\n")],
                &[],
                Some(Of2023),
                ("amzn", "2023"),
            ),
            (
                &[("etc/os-release", "ID=amzn\nVERSION_ID=2017.09\n")],
                &[],
                Some(One),
                ("amzn", "2017"),
            ),
        ];
        for (files, releases, generation, (id, major)) in table {
            let place = tempfile::tempdir().unwrap();
            for (path, text) in *files {
                let path = place.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let packages: Vec<_> = releases
                .iter()
                .map(|release| Package {
                    release: (*release).into(),
                    ..Package::default()
                })
                .collect();
            let found = recognise(&Tree::open(place.path()).unwrap(), &packages);
            assert_eq!(found.generation, *generation, "{files:?} {releases:?}");
            let release = Release {
                id: (*id).into(),
                major: (*major).into(),
            };
            assert_eq!(found.release, release, "{files:?}");
            assert_eq!(
                found.evidence.is_empty(),
                generation.is_none() && releases.len() < 5
            );
        }
    }
}
