//! `status`, `rollback`, `confirm`, `discard`, and what the one-shot at boot calls: orders about the
//! switch given by a person, on the machine itself or over SSH.
//!
//! Knows nothing of how an order is carried out.

use std::path::{Path, PathBuf};

use super::{Answer, Surroundings, check_unstopped, json};
use crate::boot;
use crate::cli::{BootArguments, ChangeArguments, RollbackArguments, StatusArguments};
use crate::clone;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::orders::{
    self, ConfirmOrder, Order, RollbackOrder, RolledBack, TargetOrder, TargetState,
};
use crate::session::{Access, Session, misplaced};
use crate::settings::{self, Machine};
use crate::switch::{Freed, State};
use crate::transfer::wire::link::LinkSettings;
use crate::ui;

/// `instancesync status`.
pub fn status(arguments: StatusArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let machine = Machine::resolve(arguments.machine, arguments.login, &around.environment)?;
    let state = at(&machine, around, End::look)?;
    Ok(Answer::complete(if arguments.json {
        json(&state)?
    } else {
        ui::switch::status(&state)
    }))
}

/// `instancesync rollback`.
pub fn roll_back(arguments: RollbackArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let change = arguments.change;
    let machine = Machine::resolve(change.machine, change.login, &around.environment)?;
    let (done, text) = at(&machine, around, |end| {
        let perform = |dry_run| end.roll_back(dry_run, arguments.reboot);
        let state = end.look()?;
        let planned = perform(true)?;
        let question = ui::switch::would_roll_back(&state, &planned);
        if change.dry_run {
            return Ok((planned, question));
        }
        agree(change.yes, &question, around)?;
        let done = perform(false)?;
        let reboots = arguments.reboot && done.needs_reboot;
        Ok((done, ui::switch::rolled_back(&done, reboots)))
    })?;
    Ok(Answer::complete(match change.json {
        true => json(&done)?,
        false => text,
    }))
}

/// `instancesync confirm`.
pub fn confirm(change: ChangeArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let machine = Machine::resolve(change.machine, change.login, &around.environment)?;
    let (state, text) = at(&machine, around, |end| {
        let state = end.look()?;
        refuse_unconfirmable(&state)?;
        let question = ui::switch::would_confirm(&state);
        if change.dry_run || state.unconfirmed.is_none() {
            return Ok((state, question));
        }
        agree(change.yes, &question, around)?;
        end.confirm()?;
        Ok((end.look()?, ui::switch::confirmed().to_owned()))
    })?;
    Ok(Answer::complete(match change.json {
        true => json(&state)?,
        false => text,
    }))
}

/// Refuses where no clone runs that could be confirmed.
fn refuse_unconfirmable(state: &TargetState) -> Result<(), Failure> {
    let what = match (&state.clone, state.needs_reboot) {
        (State::Switched { .. }, Some(true)) => "target: it has not booted as the clone yet",
        (State::Switched { .. }, _) => return Ok(()),
        _ => "target: no clone is here that could be confirmed",
    };
    Err(Failure::new(ExitCode::Refused, what).hint("'instancesync status' tells what is here"))
}

/// `instancesync discard`.
pub fn discard(change: ChangeArguments, around: &Surroundings) -> Result<Answer, Failure> {
    let machine = Machine::resolve(change.machine, change.login, &around.environment)?;
    let (freed, text) = at(&machine, around, |end| {
        let state = end.look()?;
        let planned = end.discard(true)?;
        let question = ui::switch::would_discard(&state);
        if change.dry_run || state.clone == State::Nothing {
            return Ok((planned, question));
        }
        agree(change.yes, &question, around)?;
        let freed = end.discard(false)?;
        let text = ui::switch::discarded(&freed);
        Ok((freed, text))
    })?;
    let text = match change.json {
        true => json(&freed)?,
        false => text,
    };
    let exit = match freed.left_count {
        0 => ExitCode::Complete,
        _ => ExitCode::SomeFailed,
    };
    Ok(Answer { text, exit })
}

/// Asks whether to go ahead, unless `yes` said so already.
fn agree(yes: bool, question: &str, around: &Surroundings) -> Result<(), Failure> {
    let question = format!("{question}Go ahead?");
    settings::confirm(yes, around.prompter.as_ref(), &question)?;
    check_unstopped(&around.interrupt)
}

/// Does some work at a machine, and leaves it.
fn at<T>(
    machine: &Machine,
    around: &Surroundings,
    work: impl FnOnce(&End) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let end = End::open(machine, around)?;
    let done = work(&end);
    end.close();
    done
}

/// `instancesync boot`, as the one-shot on the target calls it.
pub fn boot(arguments: &BootArguments) -> Result<(), Failure> {
    let root = Path::new("/");
    if arguments.let_go {
        boot::let_go_after_holder();
        return Ok(());
    }
    if arguments.start_units {
        clone::start_after_stopper();
        return Ok(());
    }
    let reboots = match (arguments.reboot, arguments.watch) {
        (true, _) => true,
        (false, true) => orders::guard(root)?,
        (false, false) => boot::boot(root)?,
    };
    if !reboots {
        return Ok(());
    }
    let error = boot::reboot_now();
    Err(Failure::new(ExitCode::Failed, "target: reboot").because(&error))
}

/// Where orders go.
enum End {
    Here(PathBuf),
    There(Box<Session>),
}

impl End {
    fn open(machine: &Machine, around: &Surroundings) -> Result<End, Failure> {
        match machine {
            Machine::Here(root) => Ok(End::Here(root.clone())),
            Machine::There { address, login } => {
                let (root, link) = (Path::new("/"), LinkSettings::default());
                let mut access = Access::new(address, login, root, link, around.told())?;
                Ok(End::There(Box::new(access.open()?)))
            }
        }
    }

    fn target(&self, dry_run: bool) -> TargetOrder {
        let root = match self {
            End::Here(root) => root.clone(),
            End::There(_) => PathBuf::from("/"),
        };
        TargetOrder { root, dry_run }
    }

    fn perform(&self, order: &Order) -> Result<orders::Answer, Failure> {
        match self {
            End::Here(_) => order.perform(),
            End::There(session) => session.order(order),
        }
    }

    fn look(&self) -> Result<TargetState, Failure> {
        match self.perform(&Order::Status(self.target(false)))? {
            orders::Answer::Status(state) => Ok(*state),
            _ => Err(misplaced()),
        }
    }

    fn roll_back(&self, dry_run: bool, reboots: bool) -> Result<RolledBack, Failure> {
        let target = self.target(dry_run);
        let order = Order::Rollback(RollbackOrder { target, reboots });
        match self.perform(&order)? {
            orders::Answer::RolledBack(done) => Ok(done),
            _ => Err(misplaced()),
        }
    }

    fn confirm(&self) -> Result<(), Failure> {
        let (target, record) = (self.target(false), None);
        match self.perform(&Order::Confirm(ConfirmOrder { target, record }))? {
            orders::Answer::Confirmed(_) => Ok(()),
            _ => Err(misplaced()),
        }
    }

    fn discard(&self, dry_run: bool) -> Result<Freed, Failure> {
        match self.perform(&Order::Discard(self.target(dry_run)))? {
            orders::Answer::Discarded(freed) => Ok(freed),
            _ => Err(misplaced()),
        }
    }

    fn close(self) {
        if let End::There(session) = self {
            session.close();
        }
    }
}
