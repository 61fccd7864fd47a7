//! What is found out and planned before anything changes: machine, packages, files, advice.
//!
//! Reads only. Knows nothing of how it is done, nor of the person who agrees.

use std::collections::BTreeSet;

use super::draft::{Change, Draft};
use super::keep_copy::Copies;
use super::packages::{Choice, Graph, Package, PackagePlan};
use super::profile::CleanupProfile;
use super::programs::Programs;
use super::recognise::{self, Recognition, Release};
use super::rpm::{Rpm, RpmError};
use super::steps::{self, Situation};
use super::tree::Tree;
use super::{CleanupPlan, CleanupReport, CleanupSettings};
use crate::exit::ExitCode;
use crate::failure::Failure;

/// The entry of release packages that fit every version.
const ANY_VERSION: &str = "any";

/// Everything that is known before anything changes.
pub struct Survey<'a> {
    /// The database; `None` where there is none.
    pub rpm: Option<Rpm<'a>>,
    /// What the machine is.
    pub machine: Recognition,
    /// When it was cleaned before.
    pub cleaned_before: Option<String>,
    /// What it becomes.
    pub becomes: Release,
    /// What will be done, as it is shown.
    pub plan: CleanupPlan,
    /// The changes of files, as they are done.
    pub changes: Vec<Change>,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl<'a> Survey<'a> {
    /// Looks at a root; fails where it is no Amazon Linux and nobody insists.
    pub fn make(
        tree: &Tree,
        profile: &CleanupProfile,
        programs: &'a dyn Programs,
        settings: &CleanupSettings,
    ) -> Result<Survey<'a>, Failure> {
        let rpm = Rpm::find(tree, programs);
        let packages = match &rpm {
            Some(rpm) => rpm.packages().map_err(|error| no_answer(tree, &error))?,
            None => Vec::new(),
        };
        let mut machine = recognise::recognise(tree, &packages);
        if rpm.is_none() {
            machine.evidence.push("there is no RPM database".to_owned());
        }
        let newest = Copies::newest(tree)
            .map_err(|error| super::in_root(settings, "cannot read earlier copies", &error))?;
        let cleaned_before = newest.as_ref().map(|(_, record)| record.time.clone());
        let cleaned = newest.as_ref().and_then(|(_, record)| record.generation);
        // Once cleaned and given another release, nothing tells any more what it was.
        machine.generation = machine.generation.or(cleaned);
        if machine.generation.is_none() && cleaned_before.is_none() && !settings.force {
            return Err(refusal(tree, &machine));
        }
        let becomes = becomes(settings, &machine);
        let choice = Choice {
            generation: machine.generation,
            stays_amazon: becomes.is_amazon(),
            is_forced: settings.force,
        };
        let ask = |ids: &[String]| match &rpm {
            Some(rpm) => rpm.open_needs(ids),
            None => Ok(Vec::new()),
        };
        let chosen = Graph::new(&packages, profile)
            .choose(profile, choice, ask)
            .map_err(|error| no_answer(tree, &error))?;
        let situation = Situation {
            profile,
            generation: choice.generation,
            stays_amazon: choice.stays_amazon,
            release: &becomes,
        };
        let mut draft = draft(tree, &packages, &chosen);
        let advice = steps::plan_files(&situation, &mut draft);
        if let Some((copies, record)) = &newest {
            draft.put_back_lost(copies, record);
        }
        let (changes, mut problems) = draft.finish();
        problems.extend(tree.take_troubles());
        let plan = CleanupPlan {
            install: release_packages(profile, &becomes),
            files: changes.iter().map(|change| change.shown.clone()).collect(),
            packages: chosen,
            advice,
        };
        Ok(Survey {
            rpm,
            machine,
            cleaned_before,
            becomes,
            plan,
            changes,
            problems,
        })
    }

    /// Returns the report of a clean-up that was planned and not begun.
    pub fn report(&self, tree: &Tree) -> CleanupReport {
        CleanupReport {
            root: tree.path().display().to_string(),
            machine: self.machine.clone(),
            cleaned_before: self.cleaned_before.clone(),
            becomes: self.becomes.clone(),
            plan: self.plan.clone(),
            problems: self.problems.clone(),
            ..CleanupReport::default()
        }
    }
}

/// Begins a draft that knows which files go with their packages.
fn draft<'a>(tree: &'a Tree, packages: &'a [Package], chosen: &PackagePlan) -> Draft<'a> {
    let ids: BTreeSet<String> = chosen.ids().into_iter().collect();
    let (leaving, staying): (Vec<&Package>, Vec<&Package>) = packages
        .iter()
        .partition(|package| ids.contains(&package.id()));
    Draft::new(tree, &leaving, &staying)
}

/// What the person said, else what the release files say; Amazon's own are what is to be left.
fn becomes(settings: &CleanupSettings, machine: &Recognition) -> Release {
    match &settings.become_release {
        Some(release) => release.clone(),
        None if machine.release.is_amazon() => Release::default(),
        None => machine.release.clone(),
    }
}

fn release_packages(profile: &CleanupProfile, becomes: &Release) -> Vec<String> {
    let mut releases = profile.release.iter();
    let Some(release) = releases.find(|release| release.id == becomes.id) else {
        return Vec::new();
    };
    let packages = release.packages.get(&becomes.major);
    let packages = packages.or_else(|| release.packages.get(ANY_VERSION));
    packages.cloned().unwrap_or_default()
}

fn refusal(tree: &Tree, machine: &Recognition) -> Failure {
    let mut what = format!("{} is not Amazon Linux", tree.path().display());
    if !machine.release.id.is_empty() {
        what.push_str(&format!(
            ": it says it is {} {}",
            machine.release.id, machine.release.major
        ));
    }
    for sentence in &machine.evidence {
        what.push_str(&format!("; {sentence}"));
    }
    for trouble in tree.take_troubles() {
        what.push_str(&format!("; {trouble}"));
    }
    Failure::new(ExitCode::Refused, what.trim_end().to_owned())
        .hint("--force looks for Amazon's packages and files by name all the same")
}

fn no_answer(tree: &Tree, error: &RpmError) -> Failure {
    let what = format!("root {}", tree.path().display());
    let hint = "install the program rpm, or run the clean-up on the machine itself";
    Failure::new(ExitCode::Failed, what)
        .because(error)
        .maybe_hint(matches!(error, RpmError::Program(_)).then(|| hint.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::Survey;
    use crate::cleanup::CleanupSettings;
    use crate::cleanup::profile::CleanupProfile;
    use crate::cleanup::programs::{Output, ProgramError, Programs};
    use crate::cleanup::tree::Tree;
    use crate::exit::ExitCode;
    use crate::failure::Failure;

    struct NoPrograms;

    impl Programs for NoPrograms {
        fn run(&self, command: &[OsString], _limit: Duration) -> Result<Output, ProgramError> {
            Err(ProgramError::Start {
                program: command[0].to_string_lossy().into_owned(),
                cause: std::io::Error::from_raw_os_error(2),
            })
        }
    }

    /// Returns what the survey of a root with these files fails with.
    fn failure(files: &[(&str, &str)]) -> Failure {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let settings = CleanupSettings {
            root: place.path().to_owned(),
            become_release: None,
            dry_run: true,
            yes: false,
            force: false,
        };
        let tree = Tree::open(place.path()).unwrap();
        let profile = CleanupProfile::shipped().unwrap();
        match Survey::make(&tree, &profile, &NoPrograms, &settings) {
            Ok(_) => panic!("it did not fail"),
            Err(failure) => failure,
        }
    }

    #[test]
    fn a_missing_rpm_is_named_with_what_to_do() {
        let failure = failure(&[("var/lib/rpm/Packages", "x")]);
        assert_eq!(failure.exit, ExitCode::Failed);
        let text = failure.to_string();
        assert!(
            text.contains("rpm cannot be started: No such file"),
            "{text}"
        );
        assert!(failure.hints[0].contains("install the program rpm"));
    }

    #[test]
    fn another_distribution_is_named() {
        let failure = failure(&[("etc/os-release", "ID=debian\nVERSION_ID=12\n")]);
        assert_eq!(failure.exit, ExitCode::Refused);
        let text = failure.to_string();
        assert!(text.contains("it says it is debian 12"), "{text}");
        assert!(text.contains("there is no RPM database"), "{text}");
    }
}
