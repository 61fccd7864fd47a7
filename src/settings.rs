//! What a run is to do, resolved: the command line, the environment, the files they name and,
//! on a terminal, the person's answers.
//!
//! The only reader of environment variables. Knows nothing of how a clone is done.

mod ask;
mod course;
mod explain;
mod login;
mod machine;
mod passes;
mod places;
pub mod profiles;
mod rate;
mod records;
mod rules;
mod system;

use std::path::{Path, PathBuf};

use crate::cli::{CloneArguments, CompressChoice, HowArguments, OutputArguments, SafetyArguments};
use crate::exclude::Rules;
use crate::failure::Failure;
use crate::monitor::Pass;
use crate::prompter::Prompter;

pub use ask::{agreement, agreement_to, agreement_without_return, confirm};
pub use course::{Course, Hooks, Manner, Reboot, Resume, StopAfter};
pub use explain::ExplainSettings;
pub use login::{HostKeyPolicy, LoginSettings, Password};
pub use machine::Machine;
pub use passes::CatchUp;
pub use records::RecordPlaces;
pub use system::SystemSettings;

/// Everything that one clone needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory that is copied: absolute, and it was there.
    pub source: PathBuf,
    /// What is copied onto.
    pub target: Target,
    /// Where it goes: an absolute path on the target machine, or on this one for a directory.
    pub target_dir: PathBuf,
    /// Which entries are left out; the first rule that matches decides, and none means copy.
    pub rules: Rules,
    /// How a whole system is cloned; `None` for a directory tree, which is copied as it is.
    pub system: Option<SystemSettings>,
    /// Mount points below the source that are copied although they are other file systems;
    /// absolute.
    pub mounts: Vec<PathBuf>,
    /// Whether the person said that other file systems stay out.
    pub one_file_system: bool,
    /// Whether the new tree is staged as a whole or written file by file.
    pub manner: Manner,
    /// What a clone of a whole system does besides copying.
    pub course: Course,
    /// Where the record of a clone of a whole system is kept on the source.
    pub records: RecordPlaces,
    /// The passes in their order, before any that catch up.
    pub passes: Vec<Pass>,
    /// Whether more timestamp passes follow the first.
    pub catch_up: CatchUp,
    /// What may be deleted on the target; `None` for nothing. A staged clone deletes without
    /// limit: what the source does not have is not staged.
    pub deletion: Option<DeleteLimit>,
    /// Whether only to tell what would change.
    pub dry_run: bool,
    /// How data is packed for the link.
    pub compression: Compression,
    /// Whether the run ends only when all is on the target's disks.
    pub fsync: bool,
    /// Whether large files are changed where they lie.
    pub patch_in_place: bool,
    /// The most that is sent in a second.
    pub bytes_per_second: Option<u64>,
    /// Services of the source that are stopped during the last pass.
    pub quiesce: Vec<String>,
    /// Blockers of the plan that the person accepts.
    pub accepted: Vec<String>,
    /// Whether a person has yet to agree, when the plan is known.
    pub asks_first: bool,
    /// What the person wants to see.
    pub output: OutputSettings,
}

/// What is copied onto.
#[derive(Clone, Debug)]
pub enum Target {
    /// Another machine, over SSH.
    Machine {
        /// The address as it was written: `[USER@]HOST[:PORT]`.
        address: String,
        /// How to get in.
        login: Box<LoginSettings>,
    },
    /// A directory of this machine.
    Directory(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Machine { address, .. } => out.write_str(address),
            Target::Directory(_) => out.write_str("this machine"),
        }
    }
}

/// How much may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteLimit {
    /// Whatever the source does not have.
    Unlimited,
    /// So many entries; the rest is kept and reported.
    AtMost(u64),
}

/// How data is packed for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Where it pays, judged on the fly.
    Auto,
    /// Always.
    Zstd,
    /// Never.
    Off,
}

/// What the person wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSettings {
    /// For whom it is written.
    pub format: OutputFormat,
    /// How much of it.
    pub detail: Detail,
    /// A file that gets everything, with times.
    pub log_file: Option<PathBuf>,
    /// Whether the changed items are what the run is for (a dry run): they go to stdout.
    pub items_to_stdout: bool,
    /// Whether lines may be drawn again (`TERM` is not `dumb`).
    pub redraws: bool,
}

/// For whom the output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// People: to stderr.
    Human,
    /// Programs: to stdout, docs/events.md.
    Json,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Problems and errors.
    Quiet,
    /// What begins and ends, progress, problems, the summary.
    Normal,
    /// Each changed item as well.
    Items,
    /// The program's own trace as well.
    Trace,
}

impl OutputSettings {
    /// Takes what the flags say.
    pub fn new(
        output: &OutputArguments,
        safety: &SafetyArguments,
        environment: &Environment,
    ) -> OutputSettings {
        OutputSettings {
            format: if output.json {
                OutputFormat::Json
            } else {
                OutputFormat::Human
            },
            detail: match (output.quiet, output.verbose) {
                (true, _) => Detail::Quiet,
                (false, 0) => Detail::Normal,
                (false, 1) => Detail::Items,
                (false, _) => Detail::Trace,
            },
            log_file: output.log_file.clone(),
            items_to_stdout: safety.dry_run,
            redraws: !environment.is_dumb_terminal,
        }
    }

    /// Returns what fits a subcommand whose answer is all that matters: only problems besides.
    pub fn for_answers(environment: &Environment) -> OutputSettings {
        OutputSettings {
            format: OutputFormat::Human,
            detail: Detail::Quiet,
            log_file: None,
            items_to_stdout: false,
            redraws: !environment.is_dumb_terminal,
        }
    }

    /// Tells whether anybody looks at `Event::Item`; else the engine may save itself the work.
    pub fn wants_items(&self) -> bool {
        self.items_to_stdout || self.detail >= Detail::Items || self.log_file.is_some()
    }
}

/// The parts of the process's surroundings that matter, read once.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `USER` or `LOGNAME`.
    pub user: Option<String>,
    /// `INSTANCESYNC_PASSWORD`.
    pub password: Option<Password>,
    /// Whether `TERM` is `dumb`: a terminal that only appends.
    pub is_dumb_terminal: bool,
    /// The working directory.
    pub directory: Option<PathBuf>,
    /// `INSTANCESYNC_STATE_DIR`: where records are kept instead of below `/var` and `/run`.
    pub state_directory: Option<PathBuf>,
}

impl Environment {
    /// Reads it.
    pub fn read() -> Environment {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            user: text("USER").or_else(|| text("LOGNAME")),
            password: text("INSTANCESYNC_PASSWORD").map(Password::new),
            is_dumb_terminal: text("TERM").is_some_and(|term| term == "dumb"),
            directory: std::env::current_dir().ok(),
            state_directory: std::env::var_os("INSTANCESYNC_STATE_DIR")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
        }
    }
}

impl Settings {
    /// Resolves everything, asking the person for what is missing and whether to go ahead; for
    /// a whole system that question comes later, with the plan.
    ///
    /// Fails with a usage failure where something makes no sense or nobody can answer, and
    /// with a refusal where the person does not agree or the source would be in danger.
    pub fn resolve(
        arguments: CloneArguments,
        environment: &Environment,
        prompter: &dyn Prompter,
    ) -> Result<Settings, Failure> {
        let CloneArguments {
            place,
            what,
            profiles,
            course,
            how,
            safety,
            login,
            output,
        } = arguments;
        let rules = rules::read(&what.rules)?;
        let place = if place.target.is_none() && place.to.is_none() {
            ask::place(place, environment, prompter, &safety)?
        } else {
            place
        };
        let source = places::source(place.source.as_deref(), environment)?;
        let mounts = places::mounts(&what.include_mount, &source, environment)?;
        let target_dir = places::target_dir(&place, &source, environment)?;
        let system = SystemSettings::resolve(profiles, &place, (&source, &target_dir))?;
        let target = match place.target {
            None => Target::Directory(target_dir.clone()),
            Some(address) => Target::Machine {
                address: places::address(&address)?,
                login: Box::new(LoginSettings::resolve(login, environment)?),
            },
        };
        if let Target::Directory(directory) = &target {
            places::check_apart(&source, directory, &mounts, &rules)?;
        }
        let asks = !(safety.yes || safety.dry_run);
        let runs = matches!(target, Target::Machine { .. }) && target_dir == Path::new("/");
        let manner = Manner::resolve(&course, system.is_some(), runs)?;
        let settings = Settings {
            output: OutputSettings::new(&output, &safety, environment),
            records: RecordPlaces::resolve(environment)?,
            course: Course::resolve(course, (system.is_some(), runs), manner)?,
            passes: passes::resolve(&how)?,
            catch_up: CatchUp::resolve(&how, manner),
            deletion: deletion(&safety, manner)?,
            manner,
            dry_run: safety.dry_run,
            compression: compression(how.compress),
            fsync: how.fsync || system.is_some(),
            patch_in_place: patches_in_place(how.patch_in_place, system.is_some())?,
            bytes_per_second: bytes_per_second(&how)?,
            asks_first: asks && system.is_some(),
            quiesce: units(how.quiesce)?,
            accepted: safety.accept,
            one_file_system: what.one_file_system,
            system,
            source,
            target,
            target_dir,
            rules,
            mounts,
        };
        match (asks, settings.asks_first) {
            (true, true) => ask::check_attended(prompter)?,
            (true, false) => ask::agreement(&settings, prompter)?,
            (false, _) => {}
        }
        Ok(settings)
    }
}

impl Settings {
    /// Tells whether the source keeps a record of the run: of a clone of a whole system that
    /// changes something.
    pub fn keeps_record(&self) -> bool {
        self.system.is_some() && !self.dry_run
    }

    /// Returns what the link will carry in a second, at most as much as the person allows, where
    /// `measured` is what it was found to carry.
    pub fn link_rate(&self, measured: Option<u64>) -> Option<u64> {
        [measured, self.bytes_per_second]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Checks the names of services: they become arguments of a program.
fn units(names: Vec<String>) -> Result<Vec<String>, Failure> {
    let is_name = |name: &String| {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:\\".contains(&byte);
        !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_fine)
    };
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => {
            let what = format!("--quiesce {name}: it is no name of a service");
            Err(Failure::usage(what).hint("name a unit, mariadb.service for one"))
        }
        None => Ok(names),
    }
}

fn deletion(safety: &SafetyArguments, manner: Manner) -> Result<Option<DeleteLimit>, Failure> {
    match (manner, safety.max_delete) {
        (Manner::Staged, None) => Ok(Some(DeleteLimit::Unlimited)),
        (Manner::Staged, Some(_)) => Err(Failure::usage(
            "--max-delete: a staged clone deletes nothing one by one",
        )
        .hint("leave it out: the old system is kept as a whole, and 'instancesync rollback' brings it back")
        .hint("--in-place --delete --max-delete N counts, file by file")),
        (Manner::InPlace, None) => Ok(safety.delete.then_some(DeleteLimit::Unlimited)),
        (Manner::InPlace, Some(limit)) => {
            Ok(safety.delete.then_some(DeleteLimit::AtMost(limit)))
        }
    }
}

fn compression(choice: CompressChoice) -> Compression {
    match choice {
        CompressChoice::Auto => Compression::Auto,
        CompressChoice::Zstd => Compression::Zstd,
        CompressChoice::None => Compression::Off,
    }
}

fn patches_in_place(is_given: bool, is_system: bool) -> Result<bool, Failure> {
    match is_given && is_system {
        true => Err(
            Failure::usage("--patch-in-place is for a copy of a directory")
                .hint("leave it out: the stage of a whole system is patched in place by itself"),
        ),
        false => Ok(is_given),
    }
}

fn bytes_per_second(how: &HowArguments) -> Result<Option<u64>, Failure> {
    how.bwlimit
        .as_deref()
        .map(|text| {
            rate::parse(text).map_err(|refused| {
                Failure::usage(format!("--bwlimit {text}"))
                    .because(&refused)
                    .hint("write a number and a unit, e.g. 800K, 10M or 1.5G a second")
            })
        })
        .transpose()
}

#[cfg(test)]
mod tests;
