//! Which packages go and which must stay, from the names and dependencies that the database
//! holds. Pure: what rpm itself would object to comes in as data.
//!
//! What must not break (`protect` of the profile) is followed through requires and provides.
//! A candidate on which any of it stands is kept, with the reason. Release packages are the one
//! exception: others need them by capabilities such as `system-release`, which any release
//! package provides and nothing runs on. Knows nothing of files and programs.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::profile::{CleanupProfile, Generation, Patterns, applies};
use super::rpm::OpenNeed;

/// An installed package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its release: `1.amzn2`.
    pub release: String,
    /// `x86_64`, `noarch`; empty where it has none.
    pub architecture: String,
    /// Who made it; empty where it does not say.
    pub vendor: String,
    /// The capabilities and files that it needs.
    pub requires: Vec<String>,
    /// The capabilities that it provides.
    pub provides: Vec<String>,
    /// The paths that it owns.
    pub files: Vec<String>,
}

impl Package {
    /// Returns what rpm knows it by: `name-version-release.architecture`.
    pub fn id(&self) -> String {
        let mut id = format!("{}-{}-{}", self.name, self.version, self.release);
        if !self.architecture.is_empty() {
            id.push('.');
            id.push_str(&self.architecture);
        }
        id
    }
}

/// A package that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// As rpm knows it.
    pub package: String,
    /// Why.
    pub reason: String,
}

/// A package that the profile names and that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// As rpm knows it.
    pub package: String,
    /// Who would break: `openssh-server needs libfipscheck.so.1`.
    pub because: String,
}

/// A dependency that stays open until something else provides it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Broken {
    /// What is missing then.
    pub capability: String,
    /// Who needs it, as rpm knows them.
    pub packages: Vec<String>,
}

/// What becomes of the packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PackagePlan {
    /// What goes, sorted.
    pub remove: Vec<Removal>,
    /// What the profile names and stays, sorted.
    pub kept: Vec<Kept>,
    /// What stays open, sorted.
    pub broken: Vec<Broken>,
}

impl PackagePlan {
    /// Returns what rpm knows the packages by that go.
    pub fn ids(&self) -> Vec<String> {
        let ids = self.remove.iter().map(|removal| removal.package.clone());
        ids.collect()
    }
}

/// For what the choice is made.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The release of Amazon Linux; `None` where nobody knows.
    pub generation: Option<Generation>,
    /// Whether the machine stays Amazon Linux.
    pub stays_amazon: bool,
    /// Whether protected packages go as well.
    pub is_forced: bool,
}

/// The installed packages as a graph.
pub struct Graph<'a> {
    packages: &'a [Package],
    /// Who provides a capability or owns a path.
    providers: HashMap<&'a str, Vec<usize>>,
    protected: Patterns,
    release_capabilities: Patterns,
    protected_files: &'a [String],
}

impl<'a> Graph<'a> {
    /// Indexes the packages.
    pub fn new(packages: &'a [Package], profile: &'a CleanupProfile) -> Graph<'a> {
        let mut providers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, package) in packages.iter().enumerate() {
            let names = package.provides.iter().chain(&package.files);
            for name in names.map(String::as_str).chain([&package.name[..]]) {
                let of_name = providers.entry(name).or_default();
                if of_name.last() != Some(&index) {
                    of_name.push(index);
                }
            }
        }
        Graph {
            packages,
            providers,
            protected: Patterns::new(&profile.protect.packages),
            release_capabilities: Patterns::new(&profile.protect.release_capabilities),
            protected_files: &profile.protect.files,
        }
    }

    /// Chooses what goes. `ask` is rpm's own judgement of a list of packages; it is asked until
    /// it names nothing that must not break.
    pub fn choose<E>(
        &self,
        profile: &CleanupProfile,
        choice: Choice,
        ask: impl Fn(&[String]) -> Result<Vec<OpenNeed>, E>,
    ) -> Result<PackagePlan, E> {
        let mut candidates = self.candidates(profile, choice);
        let mut kept = BTreeMap::new();
        let guarded = self.guard(&mut candidates, &mut kept, choice.is_forced);
        let needs = loop {
            let ids: Vec<String> = candidates.keys().map(|index| self.id(*index)).collect();
            let needs = ask(&ids)?;
            let before = candidates.len();
            if !choice.is_forced {
                for need in &needs {
                    self.keep_what_rpm_wants(need, &guarded, &mut candidates, &mut kept);
                }
            }
            if candidates.len() == before {
                break needs;
            }
        };
        Ok(self.plan(&candidates, &kept, &needs))
    }

    fn id(&self, index: usize) -> String {
        self.packages
            .get(index)
            .map(Package::id)
            .unwrap_or_default()
    }

    /// Returns the packages that the profile names, with its reason.
    fn candidates(&self, profile: &CleanupProfile, choice: Choice) -> BTreeMap<usize, String> {
        let mut candidates = BTreeMap::new();
        let groups = profile.package.iter().filter(|group| {
            applies(
                &group.generations,
                group.scope,
                choice.generation,
                choice.stays_amazon,
            )
        });
        for group in groups {
            let names = Patterns::new(&group.names);
            for (index, package) in self.packages.iter().enumerate() {
                if names.is_match(&package.name) {
                    candidates
                        .entry(index)
                        .or_insert_with(|| group.reason.clone());
                }
            }
        }
        candidates
    }

    /// Follows what must not break and keeps the candidates it stands on. Returns everything
    /// that was reached.
    fn guard(
        &self,
        candidates: &mut BTreeMap<usize, String>,
        kept: &mut BTreeMap<usize, String>,
        is_forced: bool,
    ) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut ahead: VecDeque<usize> = VecDeque::new();
        for (index, because) in self.roots() {
            ahead.push_back(index);
            if !is_forced && candidates.remove(&index).is_some() {
                kept.insert(index, because);
            }
        }
        while let Some(index) = ahead.pop_front() {
            if !reached.insert(index) {
                continue;
            }
            let Some(package) = self.packages.get(index) else {
                continue;
            };
            for capability in package.requires.iter().flat_map(|need| words(need)) {
                let providers = self.providers_of(capability);
                let stays = |index: &&usize| !candidates.contains_key(index);
                if providers.iter().any(|index| stays(&index)) {
                    ahead.extend(providers.iter().filter(stays));
                } else if !is_forced && !self.release_capabilities.is_match(capability) {
                    for provider in providers {
                        candidates.remove(&provider);
                        kept.entry(provider)
                            .or_insert_with(|| format!("{} needs {capability}", package.name));
                        ahead.push_back(provider);
                    }
                }
            }
        }
        reached
    }

    /// Returns who provides a capability or owns a path, whichever side of the link `/bin` to
    /// `/usr/bin` each of them names.
    fn providers_of(&self, capability: &str) -> Vec<usize> {
        let other = match capability.strip_prefix("/usr") {
            Some(short) => short.to_owned(),
            None if capability.starts_with('/') => format!("/usr{capability}"),
            None => String::new(),
        };
        let names = [capability, &other];
        let found = names.iter().filter_map(|name| self.providers.get(name));
        found.flatten().copied().collect()
    }

    /// Returns what must not break itself, and why.
    fn roots(&self) -> Vec<(usize, String)> {
        let named = self.packages.iter().enumerate();
        let named = named
            .filter(|(_, package)| self.protected.is_match(&package.name))
            .map(|(index, _)| (index, "the machine cannot do without it".to_owned()));
        let owners = self.protected_files.iter().flat_map(|path| {
            let owners = self.providers_of(path).into_iter();
            owners.map(move |index| (index, format!("it owns {path}")))
        });
        named.chain(owners).collect()
    }

    /// Keeps the candidates that provide what rpm misses for something that must not break.
    fn keep_what_rpm_wants(
        &self,
        need: &OpenNeed,
        guarded: &BTreeSet<usize>,
        candidates: &mut BTreeMap<usize, String>,
        kept: &mut BTreeMap<usize, String>,
    ) {
        let is_guarded = guarded.iter().any(|index| self.id(*index) == need.package);
        if !is_guarded || self.release_capabilities.is_match(&need.capability) {
            return;
        }
        for capability in words(&need.capability) {
            for provider in self.providers_of(capability) {
                if candidates.remove(&provider).is_some() {
                    kept.insert(provider, format!("{} needs {capability}", need.package));
                }
            }
        }
    }

    fn plan(
        &self,
        candidates: &BTreeMap<usize, String>,
        kept: &BTreeMap<usize, String>,
        needs: &[OpenNeed],
    ) -> PackagePlan {
        let mut broken: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for need in needs {
            let packages = broken.entry(&need.capability).or_default();
            packages.insert(need.package.clone());
        }
        let remove = candidates.iter().map(|(index, reason)| Removal {
            package: self.id(*index),
            reason: reason.clone(),
        });
        let kept = kept.iter().map(|(index, because)| Kept {
            package: self.id(*index),
            because: because.clone(),
        });
        let broken = broken.into_iter().map(|(capability, packages)| Broken {
            capability: capability.to_owned(),
            packages: packages.into_iter().collect(),
        });
        PackagePlan {
            remove: remove.collect(),
            kept: kept.collect(),
            broken: broken.collect(),
        }
    }
}

/// Returns the capabilities of a requirement. A rich one, `(a if b)`, counts as all its words:
/// that protects too much rather than too little. What rpm itself provides is left out.
fn words(need: &str) -> Vec<&str> {
    if need.starts_with("rpmlib(") {
        return Vec::new();
    }
    if !need.starts_with('(') {
        return vec![need];
    }
    need.split(' ').map(trim_parentheses).collect()
}

/// Cuts the parentheses around a word of a rich requirement, not those of its own.
fn trim_parentheses(word: &str) -> &str {
    let mut word = word.trim_start_matches('(');
    let count = |word: &str, letter| word.matches(letter).count();
    while word.ends_with(')') && count(word, ')') > count(word, '(') {
        word = word.strip_suffix(')').unwrap_or(word);
    }
    word
}

#[cfg(test)]
mod tests;
