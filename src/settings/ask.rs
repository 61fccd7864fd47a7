//! The conversation before a run: what is missing, and whether to go ahead.

use std::path::Path;

use super::{CatchUp, DeleteLimit, Environment, Manner, Reboot, Settings, places};
use crate::cli::{PlaceArguments, SafetyArguments};
use crate::exclude::Verdict;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::prompter::Prompter;

/// Asks for the target, and for the directories that were not given.
pub fn place(
    given: PlaceArguments,
    environment: &Environment,
    prompter: &dyn Prompter,
    safety: &SafetyArguments,
) -> Result<PlaceArguments, Failure> {
    let nobody = || {
        let what = if safety.yes {
            "no target is given, and with --yes nothing is asked"
        } else {
            "no target is given, and there is no terminal to ask at"
        };
        Failure::usage(what)
            .hint("pass --target [USER@]HOST[:PORT], or --to DIR for a directory here")
            .hint("instancesync --help has examples")
    };
    let target = ask(prompter, "Target ([USER@]HOST[:PORT]): ", |answer| {
        places::address(answer)
    })
    .ok_or_else(nobody)?;
    let source = match given.source {
        Some(source) => source,
        None => ask(
            prompter,
            "Source directory on this machine [/]: ",
            |answer| {
                let answer = (!answer.is_empty()).then_some(Path::new(answer));
                places::source(answer, environment)
            },
        )
        .ok_or_else(nobody)?,
    };
    let target_dir = match given.target_dir {
        Some(directory) => Some(directory),
        None => ask(prompter, "Directory on the target [the same]: ", |answer| {
            let answer = (!answer.is_empty()).then_some(Path::new(answer));
            answer.map(places::on_target).transpose()
        })
        .ok_or_else(nobody)?,
    };
    Ok(PlaceArguments {
        target: Some(target),
        to: None,
        source: Some(source),
        target_dir,
    })
}

/// Asks until the answer makes sense; `None` when nobody answers.
fn ask<Answer>(
    prompter: &dyn Prompter,
    question: &str,
    check: impl Fn(&str) -> Result<Answer, Failure>,
) -> Option<Answer> {
    let mut prompt = question.to_owned();
    loop {
        let answer = prompter.line(&prompt)?;
        match check(answer.trim()) {
            Ok(answer) => return Some(answer),
            Err(failure) => prompt = format!("That will not do: {failure}\n{question}"),
        }
    }
}

/// Shows what will happen and asks for agreement.
pub fn agreement(settings: &Settings, prompter: &dyn Prompter) -> Result<(), Failure> {
    agreement_to(&describe(settings), prompter)
}

/// The same, where the run also removes the system that the last switch has replaced.
pub fn agreement_without_return(
    settings: &Settings,
    prompter: &dyn Prompter,
) -> Result<(), Failure> {
    let description = format!(
        "{}\n\
         The system that the last switch has replaced is removed first: from then on 'rollback'\n\
         can only bring back the one that runs now.",
        describe(settings)
    );
    agreement_to(&description, prompter)
}

/// Asks for agreement to what a text describes.
pub fn agreement_to(description: &str, prompter: &dyn Prompter) -> Result<(), Failure> {
    match prompter.confirm(&format!("{description}\n\nGo ahead?")) {
        Some(true) => Ok(()),
        Some(false) => Err(declined()),
        None => Err(nobody_agrees()),
    }
}

/// Asks whether to go ahead with a subcommand, unless `yes` said so already.
pub fn confirm(yes: bool, prompter: &dyn Prompter, question: &str) -> Result<(), Failure> {
    match yes.then_some(true).or_else(|| prompter.confirm(question)) {
        Some(true) => Ok(()),
        Some(false) => Err(declined()),
        None => Err(Failure::new(
            ExitCode::Refused,
            "nobody is there to confirm it; nothing was changed",
        )
        .hint("pass --yes to go ahead without a question")),
    }
}

fn declined() -> Failure {
    Failure::new(ExitCode::Refused, "not confirmed; nothing was changed")
}

/// Fails where the question of [`agreement`] would stay open.
pub fn check_attended(prompter: &dyn Prompter) -> Result<(), Failure> {
    if prompter.is_attended() {
        Ok(())
    } else {
        Err(nobody_agrees())
    }
}

fn nobody_agrees() -> Failure {
    let what = "nobody is there to confirm that the target may be changed; nothing was changed";
    Failure::new(ExitCode::Refused, what)
        .hint("pass --yes to go ahead without a question")
        .hint("pass --dry-run to see what would change")
}

/// LIMIT: rules that are shown before the question; the rest is counted.
const SHOWN_RULES: usize = 8;

/// Returns a few lines that say what a run with these settings does.
fn describe(settings: &Settings) -> String {
    let mut lines = vec![
        format!("Source     this machine, {}", settings.source.display()),
        format!(
            "Target     {}, {}",
            settings.target,
            settings.target_dir.display()
        ),
        format!("Passes     {}", passes(settings)),
    ];
    if settings.manner == Manner::InPlace {
        lines.push(format!("Deletion   {}", deletion(settings.deletion)));
    }
    for mount in &settings.mounts {
        lines.push(format!("Also       what is mounted at {}", mount.display()));
    }
    for rule in settings.rules.list().iter().take(SHOWN_RULES) {
        let word = match rule.verdict {
            Verdict::Copy => "Include ",
            Verdict::Skip | Verdict::Keep | Verdict::Merge => "Exclude ",
        };
        lines.push(format!("{word}   {}", rule.pattern));
    }
    if settings.rules.list().len() > SHOWN_RULES {
        let more = settings.rules.list().len() - SHOWN_RULES;
        lines.push(format!("           and {more} more rules"));
    }
    lines.extend(what_becomes_of_the_system(settings));
    lines.join("\n")
}

/// Returns what happens to a system that is there, in lines of their own.
fn what_becomes_of_the_system(settings: &Settings) -> Vec<String> {
    let is_root = settings.target_dir == Path::new("/");
    let lines: &[&str] = match (settings.manner, settings.course.reboot) {
        (Manner::Staged, Reboot::Within(_)) => &[
            "The new system is put together beside the one that runs on the target, checked,",
            "and switched to in an instant; then the target reboots. Until the switch nothing",
            "that it runs on changes, and 'instancesync rollback' brings the old one back.",
        ],
        (Manner::Staged, Reboot::Never) => &[
            "The new system is put together beside the one that is there, checked, and",
            "switched to in an instant. 'instancesync rollback' brings the old one back.",
        ],
        (Manner::InPlace, Reboot::Within(_)) if settings.system.is_some() && is_root => &[
            "The system that runs on the target will be overwritten, file by file: until the",
            "run has ended it is a mixture of both, and there is no rollback. Then it reboots.",
        ],
        (Manner::InPlace, Reboot::Never) if settings.system.is_some() && is_root => &[
            "The system that runs on the target will be overwritten, file by file: until the",
            "run has ended it is a mixture of both, and there is no rollback.",
        ],
        (Manner::InPlace, _) if is_root => {
            &["The system that runs on the target will be overwritten."]
        }
        (Manner::InPlace, _) => &[],
    };
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn passes(settings: &Settings) -> String {
    let mut names: Vec<String> = Vec::new();
    for group in settings.passes.chunk_by(|one, other| one == other) {
        names.extend(group.first().map(|pass| match group.len() {
            1 => pass.to_string(),
            count => format!("{count} {pass}es"),
        }));
    }
    if settings.catch_up != CatchUp::Never {
        names.insert(
            1.min(names.len()),
            "more while each sends less than half".to_owned(),
        );
    }
    names.join(", then ")
}

fn deletion(limit: Option<DeleteLimit>) -> String {
    match limit {
        None => "nothing is deleted on the target".into(),
        Some(DeleteLimit::Unlimited) => {
            "what the source does not have is deleted on the target".into()
        }
        Some(DeleteLimit::AtMost(limit)) => {
            format!("at most {limit} entries that the source does not have")
        }
    }
}
