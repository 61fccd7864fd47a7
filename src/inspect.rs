//! Looks at one machine: this one, a mounted one, or another through an agent. Changes nothing
//! on either. Knows nothing of what the facts are good for.

use std::path::Path;

use crate::distro::gather;
use crate::exit::ExitCode;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::fs::Root;
use crate::monitor::Monitor;
use crate::prompter::Prompter;
use crate::session::Access;
use crate::settings::Machine;
use crate::transfer::wire::link::LinkSettings;

/// Returns the facts of a machine.
pub fn facts_of(machine: &Machine, told: (&dyn Prompter, &dyn Monitor)) -> Result<Facts, Failure> {
    match machine {
        Machine::Here(root) => facts_here(root),
        Machine::There { address, login } => {
            let root = Path::new("/");
            let link = LinkSettings::default();
            let mut access = Access::new(address, login, root, link, told)?;
            let session = access.open()?;
            let facts = session.facts(root);
            session.close();
            facts
        }
    }
}

/// Returns the facts of the system below `root` on this machine.
pub fn facts_here(root: &Path) -> Result<Facts, Failure> {
    let opened = Root::open(root).map_err(|error| {
        Failure::new(ExitCode::Failed, format!("source: {}", root.display())).because(&error)
    })?;
    Ok(gather(&opened))
}
