//! What a clone would do and what stands in its way, said all at once before anything happens.
//!
//! [`Plan::make`] is pure: from the facts of both machines, the selection and the extent it makes
//! one value that a screen prints and a program reads (`docs/plan.md`). Knows nothing of how the
//! facts were found, and changes nothing.

mod checks;
mod differences;
mod finding;
mod input;
mod sent;
mod wording;

use serde::Serialize;

use crate::exclude::profile::AppliedProfile;
use crate::exclude::{Rule, Verdict};
use crate::exit::ExitCode;
use crate::facts::{Distribution, Facts};
use crate::failure::Failure;
pub use checks::{CHECKS, Check, Scope};
pub use finding::{Finding, Level};
pub use input::{PlanInput, Standing, TargetRoom, mount_points};
pub use sent::{Landing, Sent};

/// Version of the plan as data. Fields are added without a new one.
pub const PLAN_VERSION: u32 = 1;

/// What a clone would do and what stands in its way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// Whether anything blocks.
    pub blocked: bool,
    /// The source.
    pub source: Machine,
    /// The target.
    pub target: Machine,
    /// What was found, blockers first, then in the order of the table of checks.
    pub findings: Vec<Finding>,
    /// The profiles in force.
    pub profiles: Vec<AppliedProfile>,
    /// What is not copied as it is, grouped by reason.
    pub protected: Vec<Protection>,
    /// What is sent; `None` where the source was not measured.
    pub sent: Option<Sent>,
    /// What will not be the same on the clone, a sentence each.
    pub differences: Vec<String>,
}

/// Who is shown a plan before anything changes.
pub trait Reader: Send + Sync {
    /// Shows it; `whole` where a person is about to agree to it, else what stands against it.
    fn read(&self, plan: &Plan, whole: bool);
}

/// One machine in a few words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// Its name.
    pub hostname: Option<String>,
    /// Its distribution as people call it.
    pub distribution: String,
    /// Its architecture.
    pub architecture: Option<String>,
    /// The kernel that runs.
    pub kernel: Option<String>,
    /// Whether it runs; a mounted root does not.
    pub is_live: bool,
}

/// Patterns that are kept, merged or skipped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Protection {
    /// What happens to the paths.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The profiles that say so, each once; for rules of the person's, where these were written.
    pub profiles: Vec<String>,
    /// The patterns, in the order of the rules.
    pub patterns: Vec<String>,
}

impl Plan {
    /// Makes the plan: all checks run, whatever one of them finds.
    pub fn make(input: &PlanInput<'_>) -> Plan {
        let findings = checks::run(input);
        Plan {
            version: PLAN_VERSION,
            blocked: findings
                .iter()
                .any(|finding| finding.level == Level::Blocker),
            source: Machine::of(input.source),
            target: Machine::of(input.target),
            findings,
            profiles: input.profiles.to_vec(),
            protected: protections(input),
            sent: sent::measure(input),
            differences: differences::describe(input),
        }
    }

    /// Tells whether anything blocks, so that a run must not begin.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Returns why a run must not begin, with what to do about each blocker; `None` where
    /// nothing blocks.
    pub fn refusal(&self) -> Option<Failure> {
        let ids: Vec<&str> = self
            .of_level(Level::Blocker)
            .map(|found| found.id)
            .collect();
        if ids.is_empty() {
            return None;
        }
        let what = format!("refusing to start: {}", wording::list(&ids));
        let hints = self
            .of_level(Level::Blocker)
            .map(|found| found.hint.clone());
        Some(hints.fold(Failure::new(ExitCode::Refused, what), Failure::hint))
    }

    /// Returns the findings of one level, in their order.
    pub fn of_level(&self, level: Level) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.level == level)
    }
}

impl Machine {
    fn of(facts: &Facts) -> Machine {
        Machine {
            hostname: facts.identity.hostname.clone(),
            distribution: distribution_name(&facts.distribution),
            architecture: facts.architecture.clone(),
            kernel: facts.kernels.running.clone(),
            is_live: facts.is_live,
        }
    }
}

/// Returns what people call a distribution.
fn distribution_name(distribution: &Distribution) -> String {
    if !distribution.name.is_empty() {
        return distribution.name.clone();
    }
    let both = format!("{} {}", distribution.id, distribution.version);
    match both.trim() {
        "" => "unknown distribution".to_owned(),
        name => name.to_owned(),
    }
}

/// Groups rules by verdict and reason, in the order in which these first appear. What is copied
/// needs no mention.
fn protections(input: &PlanInput<'_>) -> Vec<Protection> {
    let mut groups: Vec<Protection> = Vec::new();
    let rules = input.rules.list().iter();
    for rule in rules.filter(|rule| rule.verdict != Verdict::Copy) {
        let profile = profile_of(rule, input.profiles);
        let reason = if rule.reason.is_empty() {
            "the command line says so"
        } else {
            &rule.reason
        };
        let known = groups
            .iter_mut()
            .find(|group| group.verdict == rule.verdict && group.reason == reason);
        let Some(group) = known else {
            groups.push(Protection {
                verdict: rule.verdict,
                reason: reason.to_owned(),
                profiles: vec![profile],
                patterns: vec![rule.pattern.clone()],
            });
            continue;
        };
        if !group.profiles.contains(&profile) {
            group.profiles.push(profile);
        }
        group.patterns.push(rule.pattern.clone());
    }
    groups
}

/// Returns the name of the profile that a rule is from, or where else it was written.
fn profile_of(rule: &Rule, profiles: &[AppliedProfile]) -> String {
    let file = rule.origin.rsplit_once(':').map(|(file, _line)| file);
    let found = profiles
        .iter()
        .find(|profile| Some(profile.origin.as_str()) == file);
    found.map_or(&rule.origin, |profile| &profile.name).clone()
}
