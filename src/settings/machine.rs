//! Which machine a subcommand looks at: this one, a mounted one, or another over SSH.

use std::path::PathBuf;

use super::{Environment, LoginSettings, places};
use crate::cli::{LoginArguments, MachineArguments};
use crate::failure::Failure;

/// The machine that a subcommand looks at.
#[derive(Clone, Debug)]
pub enum Machine {
    /// The system whose root is this directory of this machine; `/` is the one that runs.
    Here(PathBuf),
    /// Another machine, over SSH.
    There {
        /// The address as it was written: `[USER@]HOST[:PORT]`.
        address: String,
        /// How to get in.
        login: Box<LoginSettings>,
    },
}

impl Machine {
    /// Resolves the flags; a directory must be there.
    pub fn resolve(
        machine: MachineArguments,
        login: LoginArguments,
        environment: &Environment,
    ) -> Result<Machine, Failure> {
        let Some(address) = machine.target else {
            let root = machine.root.unwrap_or_else(|| PathBuf::from("/"));
            return places::directory("--root", &root, environment).map(Machine::Here);
        };
        Ok(Machine::There {
            address: places::address(&address)?,
            login: Box::new(LoginSettings::resolve(login, environment)?),
        })
    }
}
