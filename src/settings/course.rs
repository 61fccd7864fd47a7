//! What a clone of a whole system does besides copying: staged or in place, what runs in
//! between, where it stops, whether the target reboots; and what of it makes no sense together.
//!
//! Knows nothing of how any of it is done.

use std::time::Duration;

use crate::cli::{CourseArguments, ResumeChoice, StopChoice};
use crate::failure::Failure;

/// How long a clone may take to be seen again after the reboot, unless told otherwise: firmware of
/// large machines needs minutes before Linux starts. It is added to the time of a probation, so
/// that the old system is seen when it comes back.
const REBOOT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a clone is on probation, in seconds, unless told otherwise.
const CONFIRM_WITHIN_S: u64 = 600;

/// How the new tree comes to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// As a whole: put together beside the old one, checked, and exchanged with it.
    Staged,
    /// File by file, over the old one. A directory tree is always copied so.
    InPlace,
}

/// What a clone of a whole system does besides copying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// Whether the target reboots into the clone.
    pub reboot: Reboot,
    /// How long after its boot the clone stays unconfirmed; `None` for ever.
    pub confirm_within: Option<Duration>,
    /// The stage after which the run ends, if before the last.
    pub stop_after: Option<StopAfter>,
    /// What becomes of a stage that a run before has left.
    pub resume: Resume,
    /// What is run on the source in between.
    pub hooks: Hooks,
}

/// Whether the target reboots into the clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reboot {
    /// It goes on as it runs, or nothing runs there.
    Never,
    /// It reboots, and is waited for so long.
    Within(Duration),
}

/// A stage after which a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopAfter {
    /// Both machines were looked at; nothing has changed.
    Plan,
    /// The files of the source are in the stage.
    Transfer,
    /// The files that are neither machine's alone are made.
    FixUp,
    /// The new system has proven that it can live.
    Check,
    /// The new system is in place; the target has not rebooted.
    Switch,
}

/// What becomes of a stage that a run before has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The run goes on with it.
    Auto,
    /// It is removed first.
    Never,
}

/// Commands that run on the source, by `/bin/sh -c`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the checksum pass, when the services that hold still have stopped.
    pub pre_switch: Option<String>,
    /// When the clone was seen again.
    pub post_boot: Option<String>,
}

impl Manner {
    /// Resolves the flags. `is_running` says that the target directory is the `/` of a machine
    /// that runs.
    pub(super) fn resolve(
        arguments: &CourseArguments,
        is_system: bool,
        is_running: bool,
    ) -> Result<Manner, Failure> {
        match (arguments.stage, arguments.in_place) {
            (true, _) if !is_system => Err(for_systems("--stage")),
            (_, true) if !is_system => Err(for_systems("--in-place")
                .hint("a directory tree is written file by file in any case")),
            (true, _) => Ok(Manner::Staged),
            (_, true) => Ok(Manner::InPlace),
            (false, false) if is_system && is_running => Ok(Manner::Staged),
            (false, false) => Ok(Manner::InPlace),
        }
    }
}

impl Course {
    /// Resolves the flags of a clone that is one of a whole system or not, onto a machine that
    /// runs from the target directory or not.
    pub(super) fn resolve(
        arguments: CourseArguments,
        (is_system, is_running): (bool, bool),
        manner: Manner,
    ) -> Result<Course, Failure> {
        if !is_system && let Some(flag) = first_given(&arguments) {
            return Err(for_systems(flag));
        }
        check_reboot(&arguments, is_running)?;
        check_manner(&arguments, manner)?;
        let confirm_within = confirm_within(&arguments, is_running, manner);
        let timeout = arguments.reboot_timeout.map(Duration::from_secs);
        let usual = REBOOT_TIMEOUT + confirm_within.unwrap_or_default();
        Ok(Course {
            reboot: match is_system && is_running && !arguments.no_reboot {
                true => Reboot::Within(timeout.unwrap_or(usual)),
                false => Reboot::Never,
            },
            confirm_within,
            stop_after: arguments.stop_after.map(StopAfter::from),
            resume: match arguments.resume {
                None | Some(ResumeChoice::Auto) => Resume::Auto,
                Some(ResumeChoice::Never) => Resume::Never,
            },
            hooks: Hooks {
                pre_switch: checked_hook("--pre-switch-hook", arguments.pre_switch_hook)?,
                post_boot: checked_hook("--post-boot-hook", arguments.post_boot_hook)?,
            },
        })
    }
}

impl From<StopChoice> for StopAfter {
    fn from(choice: StopChoice) -> StopAfter {
        match choice {
            StopChoice::Plan => StopAfter::Plan,
            StopChoice::Transfer => StopAfter::Transfer,
            StopChoice::FixUp => StopAfter::FixUp,
            StopChoice::Check => StopAfter::Check,
            StopChoice::Switch => StopAfter::Switch,
        }
    }
}

/// Returns the time of a probation, where there is a clone that boots.
fn confirm_within(
    arguments: &CourseArguments,
    is_running: bool,
    manner: Manner,
) -> Option<Duration> {
    let seconds = arguments.confirm_within.unwrap_or(CONFIRM_WITHIN_S);
    let boots = is_running && manner == Manner::Staged;
    (boots && seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Returns the first flag that was given and means nothing for a directory tree.
fn first_given(arguments: &CourseArguments) -> Option<&'static str> {
    let given = [
        (arguments.no_reboot, "--no-reboot"),
        (arguments.reboot_timeout.is_some(), "--reboot-timeout"),
        (arguments.confirm_within.is_some(), "--confirm-within"),
        (arguments.stop_after.is_some(), "--stop-after"),
        (arguments.resume.is_some(), "--resume"),
        (arguments.pre_switch_hook.is_some(), "--pre-switch-hook"),
        (arguments.post_boot_hook.is_some(), "--post-boot-hook"),
    ];
    given
        .into_iter()
        .find_map(|(is_given, flag)| is_given.then_some(flag))
}

/// Refuses what needs a reboot where nothing can reboot.
fn check_reboot(arguments: &CourseArguments, is_running: bool) -> Result<(), Failure> {
    let flag = if arguments.reboot_timeout.is_some() {
        "--reboot-timeout"
    } else if arguments.confirm_within.is_some() {
        "--confirm-within"
    } else if arguments.post_boot_hook.is_some() {
        "--post-boot-hook"
    } else {
        return Ok(());
    };
    match is_running {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "{flag}: no machine runs from the target directory, so none reboots"
        ))
        .hint("leave it out")),
    }
}

/// Refuses what needs a stage where there is none.
fn check_manner(arguments: &CourseArguments, manner: Manner) -> Result<(), Failure> {
    let flag = match (arguments.stop_after, arguments.resume) {
        _ if manner == Manner::Staged => return Ok(()),
        _ if arguments.confirm_within.is_some() => "--confirm-within",
        (Some(StopChoice::Check), _) => "--stop-after check",
        (Some(StopChoice::Switch), _) => "--stop-after switch",
        (_, Some(_)) => "--resume",
        (_, None) => return Ok(()),
    };
    Err(
        Failure::usage(format!("{flag}: a clone in place has no stage"))
            .hint("leave it out, or pass --stage instead of --in-place"),
    )
}

fn checked_hook(flag: &str, command: Option<String>) -> Result<Option<String>, Failure> {
    match command {
        Some(command) if command.trim().is_empty() => {
            Err(Failure::usage(format!("{flag}: the command is empty"))
                .hint("a variable in it may be unset; leave the flag away for no hook"))
        }
        command => Ok(command),
    }
}

fn for_systems(flag: &str) -> Failure {
    Failure::usage(format!("{flag} is for a clone of a whole system"))
        .hint("leave it out, or pass --scope system if the source directory is the root of one")
}
