//! The subcommands that look and explain: each turns its arguments into an answer to print.
//!
//! Knows nothing of how an answer is found; that is below.

mod target;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cleanup::{self, CleanupSettings, Ending, Order, Release, Report};
use crate::cli::{
    CleanupArguments, ExplainArguments, FactsArguments, PlanArguments, ProfilesCommand,
};
use crate::clone;
use crate::exclude::explain::{Explanation, explain as explain_path};
use crate::exclude::profile::Catalog;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::inspect::{facts_here, facts_of};
use crate::interrupt::Interrupt;
use crate::monitor::Monitor;
use crate::preflight::{Preflight, choose_rules};
use crate::prompter::Prompter;
use crate::record::pair_here;
use crate::session::{Access, Session};
use crate::settings::{
    self, Environment, ExplainSettings, Machine, Settings, Target, profiles as profile_files,
};
use crate::source::Source;
use crate::transfer::wire::link::LinkSettings;
use crate::ui::{self, CleanupLines, Screen};
pub use target::{boot, confirm, discard, roll_back, status};

/// What a subcommand has to say, for standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text, its lines ended.
    pub text: String,
    /// The code that the process ends with.
    pub exit: ExitCode,
}

impl Answer {
    fn complete(text: String) -> Answer {
        Answer {
            text,
            exit: ExitCode::Complete,
        }
    }
}

/// What a subcommand can use.
pub struct Surroundings {
    /// Environment variables and the working directory.
    pub environment: Environment,
    /// Who answers questions.
    pub prompter: Arc<dyn Prompter>,
    /// Who is told what happens meanwhile.
    pub monitor: Arc<dyn Monitor>,
    /// Where a clean-up shows what it does.
    pub screen: Screen,
    /// The wish to stop.
    pub interrupt: Interrupt,
}

impl Surroundings {
    fn told(&self) -> (&dyn Prompter, &dyn Monitor) {
        (self.prompter.as_ref(), self.monitor.as_ref())
    }
}

/// `instancesync facts`.
pub fn facts(arguments: FactsArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let machine = Machine::resolve(arguments.machine, arguments.login, &around.environment)?;
    let facts = facts_of(&machine, around.told())?;
    Ok(Answer::complete(if arguments.json {
        json(&facts)?
    } else {
        ui::facts_text(&facts)
    }))
}

/// `instancesync plan`.
pub fn plan(arguments: PlanArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let mut clone = arguments.clone;
    // A plan changes nothing, so nobody has to agree.
    clone.safety.dry_run = true;
    let as_json = clone.output.json;
    let settings = Settings::resolve(clone, &around.environment, around.prompter.as_ref())?;
    let source = Source::open(&settings.source, &settings.mounts)?;
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let raise = move || raised.store(true, Ordering::Relaxed);
    let _subscription = around.interrupt.subscribe(raise);
    let (session, pair, link_bytes_per_second) = reach(&settings, around)?;
    let prepared = clone::standing(&session, &settings, &pair).and_then(|standing| {
        let preflight = Preflight {
            settings: &settings,
            source: &source,
            monitor: around.monitor.as_ref(),
            stop: &stop,
            standing: &standing,
        };
        preflight.prepare(&session, link_bytes_per_second)
    });
    session.close();
    let plan = prepared?.plan;
    Ok(Answer {
        text: if as_json {
            json(&plan)?
        } else {
            ui::plan_text(&plan)
        },
        exit: if plan.is_blocked() {
            ExitCode::Refused
        } else {
            ExitCode::Complete
        },
    })
}

/// Opens a session with the target; names the pair, and tells what the link will carry in a second.
fn reach(
    settings: &Settings,
    around: &Surroundings,
) -> Result<(Session, String, Option<u64>), Failure> {
    let link = LinkSettings::default();
    match &settings.target {
        Target::Directory(directory) => {
            Ok((Session::in_process(link)?, pair_here(directory), None))
        }
        Target::Machine { address, login } => {
            let directory = &settings.target_dir;
            let mut access = Access::new(address, login, directory, link, around.told())?;
            let session = access.open()?;
            let rate = settings.link_rate(access.upload_bytes_per_second);
            Ok((session, access.pair().to_owned(), rate))
        }
    }
}

/// `instancesync explain`.
pub fn explain(arguments: ExplainArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let asked = ExplainSettings::resolve(arguments, &around.environment)?;
    let root = match asked.system {
        Some(_) => asked.source.as_path(),
        None => Path::new("/"),
    };
    let source = facts_here(root)?;
    let target = match &asked.target {
        Some(machine) => facts_of(machine, around.told())?,
        None => source.clone(),
    };
    let pair = (&source, &target);
    let (selected, rules) = choose_rules(&asked.rules, asked.system.as_ref(), pair)?;
    let tree = Source::open(&asked.source, &asked.mounts)?;
    let explanations: Vec<_> = asked
        .paths
        .iter()
        .map(|(path, is_directory)| Explanation {
            is_elsewhere: tree.is_elsewhere(&asked.source.join(OsStr::from_bytes(path.as_bytes()))),
            ..explain_path(&rules, &selected, path, *is_directory)
        })
        .collect();
    Ok(Answer::complete(match asked.as_json {
        true => json(&ui::json::explanations(&explanations))?,
        false => ui::profiles::explain(&explanations),
    }))
}

/// `instancesync profiles`.
pub fn profiles(command: Option<ProfilesCommand>) -> Result<Answer, Failure> {
    let catalog = || profile_files::read(Path::new(profile_files::DIRECTORY), &[]);
    Ok(Answer::complete(match command {
        None | Some(ProfilesCommand::List) => ui::profiles::list(&catalog()?),
        Some(ProfilesCommand::Show { name }) => {
            let catalog = catalog()?;
            let profile = catalog.get(&name);
            let unknown = || profile_files::unknown(&catalog, &name);
            ui::profiles::show(profile.ok_or_else(unknown)?)
        }
        Some(ProfilesCommand::Check { file }) => check(&file)?,
    }))
}

fn check(file: &Path) -> Result<String, Failure> {
    let mut catalog = Catalog::empty();
    let name = profile_files::add(&mut catalog, file)?;
    let profile = catalog.get(&name);
    let profile = profile.ok_or_else(|| profile_files::unknown(&catalog, &name))?;
    Ok(ui::profiles::checked(&file.display().to_string(), profile))
}

/// `instancesync cleanup amazon-ami`.
pub fn clean_up(arguments: CleanupArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let as_json = arguments.json;
    let lines = CleanupLines::new(&around.screen, as_json);
    let order = Order {
        undo: arguments.undo,
        settings: CleanupSettings {
            root: PathBuf::from("/"),
            become_release: arguments.become_release.as_deref().map(Release::parse),
            dry_run: arguments.dry_run,
            yes: arguments.yes,
            force: arguments.force,
        },
    };
    let machine = Machine::resolve(arguments.machine, arguments.login, &around.environment)?;
    let report = match machine {
        Machine::Here(root) => {
            let mut order = order;
            order.settings.root = root;
            cleanup::perform(&order, around.prompter.as_ref(), &lines)?
        }
        Machine::There { address, login } => {
            let (root, link) = (Path::new("/"), LinkSettings::default());
            let mut access = Access::new(&address, &login, root, link, around.told())?;
            let session = access.open()?;
            let report = clean_up_there(
                &session,
                &order,
                (around.prompter.as_ref(), &lines, &around.interrupt),
            );
            session.close();
            report?
        }
    };
    let text = match (&report, as_json) {
        (report, true) => json(report)?,
        (Report::Cleanup(report), false) => ui::cleanup::ending(report),
        (Report::Undo(report), false) => ui::cleanup::undo_ending(report),
    };
    Ok(Answer {
        text,
        exit: report.exit(),
    })
}

/// Looks first, asks here, and then has it done.
fn clean_up_there(
    session: &Session,
    order: &Order,
    (prompter, lines, interrupt): (&dyn Prompter, &CleanupLines, &Interrupt),
) -> Result<Report, Failure> {
    let with = |dry_run| {
        let mut order = order.clone();
        order.settings.dry_run = dry_run;
        order.settings.yes = true;
        order
    };
    let planned = session.clean_up(&with(true))?;
    planned.show(lines);
    if order.settings.dry_run || planned.ending() == Ending::NothingToDo {
        return Ok(planned);
    }
    settings::confirm(order.settings.yes, prompter, "Do this on the target?")?;
    check_unstopped(interrupt)?;
    session.clean_up(&with(false))
}

/// Fails where the person has thought better of it: what comes next changes something, and goes
/// on to its end.
fn check_unstopped(interrupt: &Interrupt) -> Result<(), Failure> {
    let stopped = interrupt.cause().map(Failure::interrupted);
    stopped.map_or(Ok(()), Err)
}

/// Returns a value as JSON for programs and people.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(ExitCode::Failed, "the answer as JSON").because(&error))?;
    Ok(text + "\n")
}
