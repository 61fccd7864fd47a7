//! Every profile that there is: the shipped ones, and what a person adds or replaces.
//!
//! Knows nothing of what applies to a pair of machines.

use std::collections::BTreeMap;

use super::error::ProfileError;
use super::shipped::SHIPPED;
use super::{Group, Profile, text};

/// Profiles by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    profiles: BTreeMap<String, Profile>,
}

impl Catalog {
    /// Returns the catalog without any profile.
    pub fn empty() -> Catalog {
        Catalog::default()
    }

    /// Returns the shipped profiles. A shipped text that is refused is an error like any other.
    pub fn shipped() -> Result<Catalog, ProfileError> {
        let mut catalog = Catalog::empty();
        for (name, text) in SHIPPED {
            catalog.add(text, &format!("profile {name}"))?;
        }
        Ok(catalog)
    }

    /// Adds the profile that `text` writes; one of the same name is replaced. `origin` is how
    /// messages name the text. Returns its name.
    pub fn add(&mut self, text: &str, origin: &str) -> Result<String, ProfileError> {
        let profile = text::parse(text, origin)?;
        let name = profile.name.clone();
        self.profiles.insert(name.clone(), profile);
        Ok(name)
    }

    /// Returns the profile of this name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// Returns all profiles in the order in which their rules are tried: by group, then by name.
    pub fn in_order(&self) -> Vec<&Profile> {
        let mut all: Vec<&Profile> = self.profiles.values().collect();
        all.sort_by_key(|profile| profile.group);
        all
    }

    /// Returns names that `name` may have been meant to be, the nearest first; at most three.
    pub fn near(&self, name: &str) -> Vec<String> {
        let mut near: Vec<(usize, &String)> = self
            .profiles
            .keys()
            .map(|known| (distance(name, known), known))
            .filter(|(distance, _)| *distance <= 2)
            .collect();
        near.sort();
        near.into_iter()
            .take(3)
            .map(|(_, known)| known.clone())
            .collect()
    }

    /// Returns the names of the profiles of a group.
    pub fn names(&self, group: Group) -> Vec<&str> {
        let all = self.profiles.values();
        all.filter(|profile| profile.group == group)
            .map(|profile| profile.name.as_str())
            .collect()
    }
}

/// Returns how many letters have to be added, removed or replaced to make one of the other; 1 for
/// a name that is a part of the other (`netplan`, `network-netplan`).
fn distance(written: &str, known: &str) -> usize {
    let is_part = |part: &str, whole: &str| part.len() >= 3 && whole.contains(part);
    if is_part(written, known) || is_part(known, written) {
        return usize::from(written != known);
    }
    let known: Vec<char> = known.chars().collect();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (at, letter) in written.chars().enumerate() {
        let mut next = vec![at + 1];
        for (column, (pair, other)) in row.windows(2).zip(&known).enumerate() {
            let (Some(diagonal), Some(above)) = (pair.first(), pair.last()) else {
                continue;
            };
            let left = next.get(column).copied().unwrap_or(usize::MAX - 1);
            let replaced = diagonal + usize::from(letter != *other);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
