//! Which profiles apply to a pair of machines, why, and their rules in the order of trying.
//!
//! Knows nothing of what the person wrote besides profiles: flags go before these rules.

use serde::Serialize;

use super::{Catalog, Group, Policies, Profile, placeholder};
use crate::exclude::{PatternError, Rule, Rules};
use crate::facts::Facts;
use crate::merger::Merger;

/// From what the choice is made.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The machine that is cloned.
    pub source: &'a Facts,
    /// The machine that becomes the clone.
    pub target: &'a Facts,
    /// What the person decided.
    pub policies: Policies,
    /// Profiles that apply whatever their conditions say (`--with`).
    pub with: &'a [String],
    /// Profiles that do not apply (`--without`).
    pub without: &'a [String],
}

/// What applies.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// The profiles in the order of their rules.
    pub profiles: Vec<AppliedProfile>,
    /// All their rules; the first that matches decides.
    pub rules: Rules,
    /// Those rules that say `merge`, with their mergers.
    pub merges: Vec<MergeRule>,
}

impl Selected {
    /// Returns the profile that has a rule of this origin, or `None` for a rule of the person's.
    pub fn profile_of(&self, origin: &str) -> Option<&str> {
        let (text, _line) = origin.rsplit_once(':')?;
        let found = self.profiles.iter().find(|profile| profile.origin == text);
        found.map(|profile| profile.name.as_str())
    }

    /// Returns who merges what `rule` matches.
    pub fn merger_of(&self, rule: &Rule) -> Option<Merger> {
        let found = self.merges.iter().find(|merge| merge.rule == *rule);
        found.map(|merge| merge.merger)
    }
}

/// A profile that applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppliedProfile {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub summary: String,
    /// Why it applies: `the target uses netplan`.
    pub why: String,
    /// Its group.
    pub group: Group,
    /// Where its text is from; the origin of its rules is this with `:LINE`.
    pub origin: String,
}

/// A rule that merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeRule {
    /// The rule.
    pub rule: Rule,
    /// Who merges.
    pub merger: Merger,
    /// The profile that says so.
    pub profile: String,
}

/// Why nothing could be selected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// `--with` or `--without` names no profile.
    #[error("{flag} {name}: there is no such profile")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// The name as written.
        name: String,
        /// Names that may have been meant.
        near: Vec<String>,
    },
    /// A name stands after both flags.
    #[error("--with {name} and --without {name} contradict each other")]
    Contradiction {
        /// The name.
        name: String,
    },
    /// A profile without which the target may not come up again.
    #[error("--without {name}: this profile keeps the target able to boot and to be reached")]
    Core {
        /// The name.
        name: String,
    },
    /// All together they are beyond a limit.
    #[error("the rules of the profiles cannot be used together")]
    Rules(#[source] PatternError),
}

impl SelectError {
    /// Returns one thing to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            SelectError::Unknown { near, .. } if near.is_empty() => {
                Some("see 'instancesync profiles list'".to_owned())
            }
            SelectError::Unknown { near, .. } => {
                Some(format!("did you mean {}?", near.join(" or ")))
            }
            SelectError::Contradiction { .. } => Some("leave one of them out".to_owned()),
            SelectError::Core { .. } => {
                Some("write --include for the paths that should come along".to_owned())
            }
            SelectError::Rules(error) => error.hint(),
        }
    }
}

impl Catalog {
    /// Chooses what applies and compiles its rules.
    pub fn select(&self, selection: &Selection<'_>) -> Result<Selected, SelectError> {
        self.check_names(selection)?;
        let mut selected = Selected::default();
        let mut rules = Vec::new();
        for profile in self.in_order() {
            let Some(why) = why(profile, selection) else {
                continue;
            };
            selected.profiles.push(AppliedProfile {
                name: profile.name.clone(),
                summary: profile.summary.clone(),
                why,
                group: profile.group,
                origin: profile.origin.clone(),
            });
            for (rule, merger) in rules_of(profile, selection) {
                if let Some(merger) = merger {
                    selected.merges.push(MergeRule {
                        rule: rule.clone(),
                        merger,
                        profile: profile.name.clone(),
                    });
                }
                rules.push(rule);
            }
        }
        selected.rules = Rules::new(rules).map_err(SelectError::Rules)?;
        Ok(selected)
    }

    fn check_names(&self, selection: &Selection<'_>) -> Result<(), SelectError> {
        for (flag, names) in [("--with", selection.with), ("--without", selection.without)] {
            if let Some(name) = names.iter().find(|name| self.get(name).is_none()) {
                return Err(SelectError::Unknown {
                    flag,
                    name: name.clone(),
                    near: self.near(name),
                });
            }
        }
        for name in selection.without {
            if selection.with.contains(name) {
                return Err(SelectError::Contradiction { name: name.clone() });
            }
            if self
                .get(name)
                .is_some_and(|profile| profile.group == Group::Core)
            {
                return Err(SelectError::Core { name: name.clone() });
            }
        }
        Ok(())
    }
}

/// Returns why a profile applies, or `None` if it does not.
fn why(profile: &Profile, selection: &Selection<'_>) -> Option<String> {
    if selection.without.contains(&profile.name) {
        return None;
    }
    if selection.with.contains(&profile.name) {
        return Some("--with asks for it".to_owned());
    }
    if profile.group == Group::Optional && !profile.is_default {
        return None;
    }
    let Selection {
        source,
        target,
        policies,
        ..
    } = selection;
    let mut reasons = profile
        .conditions
        .iter()
        .filter_map(|condition| condition.why(source, target, *policies));
    let clauses = match reasons.next() {
        None if !profile.conditions.is_empty() => return None,
        None => Vec::new(),
        Some(clauses) => clauses,
    };
    if !clauses.is_empty() {
        return Some(clauses.join(" and "));
    }
    Some(why_always(profile, source, target))
}

fn why_always(profile: &Profile, source: &Facts, target: &Facts) -> String {
    if let Some(stack) = profile.stack {
        let is_used = |facts: &Facts| facts.network.in_charge.contains(&stack);
        let name = profile
            .name
            .strip_prefix("network-")
            .unwrap_or(&profile.name);
        if is_used(target) {
            return format!("the target uses {name}");
        }
        if is_used(source) {
            return format!("the source uses {name}, the target does not");
        }
        return "neither machine uses it; what there is stays apart".to_owned();
    }
    match profile.group {
        Group::Optional => "on unless --without".to_owned(),
        Group::Network => "the target's network stays its own".to_owned(),
        Group::Platform | Group::Family | Group::Core => "part of every clone".to_owned(),
    }
}

/// Returns the rules of a profile that apply, with the merger of those that merge.
fn rules_of<'p>(
    profile: &'p Profile,
    selection: &'p Selection<'_>,
) -> impl Iterator<Item = (Rule, Option<Merger>)> + 'p {
    let Selection {
        source,
        target,
        policies,
        ..
    } = *selection;
    let applies =
        move |condition: &super::Condition| condition.why(source, target, policies).is_some();
    let rules = profile.rules.iter();
    rules
        .filter(move |rule| rule.condition.as_ref().is_none_or(applies))
        .flat_map(move |rule| {
            rule.paths.iter().flat_map(move |path| {
                let patterns = placeholder::fill(&path.text, source, target).into_iter();
                patterns.map(move |pattern| {
                    let origin = format!("{}:{}", profile.origin, path.line);
                    let made = Rule::new(rule.verdict, pattern, origin).because(&*rule.reason);
                    (made, rule.merger)
                })
            })
        })
}
