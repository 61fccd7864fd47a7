//! The tables below `cleanup` of `profiles/amazon-ami.toml`: what is Amazon's, as data.
//!
//! A key that nobody reads is refused with its line and column. Knows nothing of the machine
//! that is cleaned, nor of the rules for clones in the same file.

use std::collections::BTreeMap;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

/// The profile that is part of the program.
const SHIPPED: &str = include_str!("../../profiles/amazon-ami.toml");

/// Why a profile is refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The text is no TOML, or has a key or value that does not belong there.
    #[error("the clean-up profile makes no sense")]
    Text(#[source] toml::de::Error),
    /// A pattern is no glob.
    #[error("the pattern '{pattern}' of the clean-up profile makes no sense")]
    Pattern {
        /// As it is written.
        pattern: String,
        /// What is wrong with it.
        #[source]
        cause: globset::Error,
    },
}

/// A release of Amazon Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Generation {
    /// Amazon Linux AMI, 2011.09 to 2018.03.
    #[serde(rename = "1")]
    One,
    /// Amazon Linux 2.
    #[serde(rename = "2")]
    Two,
    /// Amazon Linux 2023.
    #[serde(rename = "2023")]
    Of2023,
}

impl std::fmt::Display for Generation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Generation::One => "1",
            Generation::Two => "2",
            Generation::Of2023 => "2023",
        })
    }
}

/// What an item belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// To EC2: it goes wherever the machine runs now.
    #[default]
    Cloud,
    /// To Amazon Linux as a distribution: it stays where the machine stays Amazon Linux.
    Release,
}

/// Packages to remove.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PackageGroup {
    /// The releases it is for; none means all.
    #[serde(default)]
    pub generations: Vec<Generation>,
    /// What they belong to.
    #[serde(default)]
    pub scope: Scope,
    /// Globs of package names, upper and lower case alike.
    pub names: Vec<String>,
    /// Why they go.
    pub reason: String,
}

/// Files to remove.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileGroup {
    /// The releases it is for; none means all.
    #[serde(default)]
    pub generations: Vec<Generation>,
    /// What they belong to.
    #[serde(default)]
    pub scope: Scope,
    /// Globs of absolute paths; a wildcard matches no slash.
    pub paths: Vec<String>,
    /// Only files with this text in them.
    pub containing: Option<String>,
    /// Why they go.
    pub reason: String,
}

/// The edits that the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EditKind {
    /// A link `/etc/motd` becomes an empty file.
    MotdLink,
    /// `releasever=` in the configuration of yum or dnf.
    ReleaseverLine,
    /// A file that is the value of `$releasever`.
    ReleaseverVariable,
    /// The terminal of GRUB and what comes with it.
    GrubConsole,
    /// `AuthorizedKeysCommand` of EC2 Instance Connect.
    SshdKeysCommand,
    /// 169.254.169.123 as a time source.
    TimeSource,
}

/// Files to edit.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EditGroup {
    /// Which edit.
    pub edit: EditKind,
    /// The releases it is for; none means all.
    #[serde(default)]
    pub generations: Vec<Generation>,
    /// What the text belongs to.
    #[serde(default)]
    pub scope: Scope,
    /// Globs of absolute paths.
    pub paths: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A file to make where none is.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NewFile {
    /// The releases it is for; none means all.
    #[serde(default)]
    pub generations: Vec<Generation>,
    /// What it belongs to.
    #[serde(default)]
    pub scope: Scope,
    /// Its absolute path.
    pub path: String,
    /// What is in it.
    pub contents: String,
    /// Why.
    pub reason: String,
}

/// Services that must not start.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UnitGroup {
    /// Units of systemd.
    pub names: Vec<String>,
    /// Scripts of SysV init and jobs of upstart.
    pub scripts: Vec<String>,
    /// Why.
    pub reason: String,
}

/// Where cloud-init looks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CloudInit {
    /// The file that sets the list, last in order.
    pub file: String,
    /// The sources that an Amazon image lists.
    pub amazon_sources: Vec<String>,
    /// The sources that may answer elsewhere.
    pub sources: Vec<String>,
    /// Why.
    pub reason: String,
}

/// What keeps a machine on the network whose only configuration goes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Network {
    /// The file that goes.
    pub instead_of: String,
    /// Globs of paths; one that is there is enough.
    pub enough: Vec<String>,
    /// The file to make.
    pub file: String,
    /// What is in it.
    pub contents: String,
    /// Why.
    pub reason: String,
}

/// What must not break.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Protect {
    /// Globs of the names of packages.
    pub packages: Vec<String>,
    /// Files whose owners count as well.
    pub files: Vec<String>,
    /// Globs of capabilities that any release package provides.
    pub release_capabilities: Vec<String>,
}

/// The release packages of one distribution.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReleasePackages {
    /// The `ID` of its os-release.
    pub id: String,
    /// By major version; `any` for every one.
    pub packages: BTreeMap<String, Vec<String>>,
}

/// Everything the clean-up knows of Amazon's images.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CleanupProfile {
    /// Files that packages must not take along.
    pub put_back: Vec<String>,
    /// Globs of values of `releasever` that only Amazon knows.
    pub amazon_releasevers: Vec<String>,
    /// What must not break.
    pub protect: Protect,
    /// Packages to remove.
    pub package: Vec<PackageGroup>,
    /// Files to remove.
    pub remove: Vec<FileGroup>,
    /// Files to edit.
    pub edit: Vec<EditGroup>,
    /// Files to make.
    #[serde(default)]
    pub create: Vec<NewFile>,
    /// Services that must not start.
    pub unit: Vec<UnitGroup>,
    /// Where cloud-init looks.
    pub cloud_init: CloudInit,
    /// What keeps the machine on the network.
    pub network: Network,
    /// Which packages make the machine something else.
    pub release: Vec<ReleasePackages>,
}

/// The file as a whole; the rest of it is read by those who clone.
#[derive(Deserialize)]
struct Document {
    cleanup: CleanupProfile,
}

impl CleanupProfile {
    /// Returns the profile that is part of the program.
    pub fn shipped() -> Result<CleanupProfile, ProfileError> {
        CleanupProfile::parse(SHIPPED)
    }

    /// Reads the tables below `cleanup` and checks every pattern.
    pub fn parse(text: &str) -> Result<CleanupProfile, ProfileError> {
        let document: Document = toml::from_str(text).map_err(ProfileError::Text)?;
        let profile = document.cleanup;
        profile.patterns().try_for_each(|pattern| {
            glob(pattern)
                .map(drop)
                .map_err(|cause| ProfileError::Pattern {
                    pattern: pattern.clone(),
                    cause,
                })
        })?;
        Ok(profile)
    }

    fn patterns(&self) -> impl Iterator<Item = &String> {
        let groups = self.package.iter().flat_map(|group| &group.names);
        let removed = self.remove.iter().flat_map(|group| &group.paths);
        let edited = self.edit.iter().flat_map(|group| &group.paths);
        let protect = &self.protect;
        groups
            .chain(removed)
            .chain(edited)
            .chain(&self.put_back)
            .chain(&self.network.enough)
            .chain(&self.amazon_releasevers)
            .chain(&protect.packages)
            .chain(&protect.release_capabilities)
    }
}

/// Tells whether an item applies to a machine. `generation` is `None` where nobody knows; then
/// everything applies, as names decide anyway.
pub fn applies(
    generations: &[Generation],
    scope: Scope,
    generation: Option<Generation>,
    stays_amazon: bool,
) -> bool {
    let fits = generation.is_none_or(|it| generations.is_empty() || generations.contains(&it));
    fits && !(stays_amazon && scope == Scope::Release)
}

/// Globs as they are matched: upper and lower case alike, wildcards match no slash.
pub struct Patterns(GlobSet);

impl Patterns {
    /// Compiles globs. Those that make no sense match nothing; reading the profile refused them.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a String>) -> Patterns {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns
            .into_iter()
            .filter_map(|pattern| glob(pattern).ok())
        {
            builder.add(pattern);
        }
        Patterns(builder.build().unwrap_or_default())
    }

    /// Tells whether one of them matches.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern)
        .case_insensitive(true)
        .literal_separator(true)
        .build()
}

#[cfg(test)]
mod tests {
    use super::{CleanupProfile, Generation, Patterns, Scope, applies};

    #[test]
    fn the_shipped_profile_can_be_read() {
        let profile = CleanupProfile::shipped().unwrap();
        assert!(profile.package.len() > 5 && profile.remove.len() > 5);
    }

    #[test]
    fn refuses_unknown_keys_with_their_line() {
        let text = super::SHIPPED.replace("[cleanup.cloud-init]", "[cleanup.cloud-init]\nfoo = 1");
        let error = CleanupProfile::parse(&text).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("unknown field `foo`"), "{cause}");
        assert!(cause.contains("line "), "{cause}");
        let text = super::SHIPPED.replace("\"update-motd\",", "\"update-[motd\",");
        let error = CleanupProfile::parse(&text).unwrap_err();
        assert!(error.to_string().contains("update-[motd"), "{error}");
    }

    #[test]
    fn items_apply_by_generation_and_scope() {
        use Generation::{One, Two};
        for (generations, scope, generation, stays, expected) in [
            (&[One][..], Scope::Cloud, Some(One), false, true),
            (&[One], Scope::Cloud, Some(Two), false, false),
            (&[One], Scope::Cloud, None, false, true),
            (&[], Scope::Cloud, Some(Two), true, true),
            (&[], Scope::Release, Some(Two), true, false),
            (&[], Scope::Release, Some(Two), false, true),
        ] {
            assert_eq!(
                applies(generations, scope, generation, stays),
                expected,
                "{generations:?} {scope:?} {generation:?} {stays}"
            );
        }
    }

    #[test]
    fn package_names_match_whatever_their_case() {
        let patterns = Patterns::new(&["perl-io-*".to_owned(), "kernel[0-9]*".to_owned()]);
        for (name, expected) in [
            ("perl-IO-Socket-SSL", true),
            ("perl-IO", false),
            ("kernel6.12", true),
            ("kernel-headers", false),
        ] {
            assert_eq!(patterns.is_match(name), expected, "{name}");
        }
    }
}
