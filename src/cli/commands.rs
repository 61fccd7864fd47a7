//! The subcommands that look, explain and clean up, as they are written on the command line.
//!
//! Knows nothing of what they find.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::clone::{CloneArguments, LoginArguments};

/// `facts`.
#[derive(Debug, Args)]
pub struct FactsArguments {
    /// Of which machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How to get in.
    #[command(flatten)]
    pub login: LoginArguments,
    /// Print the facts as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Which machine a subcommand looks at: this one, unless a flag says otherwise.
#[derive(Debug, Args)]
pub struct MachineArguments {
    /// Another machine, over SSH; an IPv6 address stands in brackets
    #[arg(long, value_name = "[USER@]HOST[:PORT]", conflicts_with = "root")]
    pub target: Option<String>,
    /// A system that does not run but is mounted at this directory
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArguments {
    /// The clone that is planned.
    #[command(flatten)]
    pub clone: CloneArguments,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// Paths to explain, absolute on the source
    ///
    /// A path that ends in a slash is taken for a directory, also where it does not
    /// exist.
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// The clone in which it is asked.
    #[command(flatten)]
    pub clone: CloneArguments,
}

/// What `profiles` does.
#[derive(Debug, Subcommand)]
pub enum ProfilesCommand {
    /// List the profiles that are there
    List,
    /// Print one profile with every rule and its reason
    Show {
        /// Its name
        name: String,
    },
    /// Check a profile file of your own, and print what it says
    Check {
        /// The file
        file: PathBuf,
    },
}

/// What `cleanup` does.
#[derive(Debug, Subcommand)]
pub enum CleanupCommand {
    /// Clean a system that left Amazon
    ///
    /// Recognises Amazon Linux 1, 2 and 2023, lists what it will do, asks, and
    /// does it: removes the packages that make sense on Amazon only, moves the
    /// Amazon repositories aside, repairs releasever, the boot loader's settings,
    /// the SSH server's drop-in, motd and network hooks. It keeps a copy of every
    /// file that it changes. A second run finds nothing to do. docs/cleanup.md has
    /// each step.
    AmazonAmi(CleanupArguments),
}

/// `cleanup amazon-ami`.
#[derive(Debug, Args)]
pub struct CleanupArguments {
    /// Of which machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How to get in.
    #[command(flatten)]
    pub login: LoginArguments,
    /// What the machine becomes, e.g. rocky:9 [default: its release files]
    ///
    /// The ID of an os-release and a version: rocky:9, centos:7. With amzn the
    /// machine stays Amazon Linux and loses only the agents and hooks of EC2.
    #[arg(long = "become", value_name = "ID[:VERSION]", conflicts_with = "undo")]
    pub become_release: Option<String>,
    /// Show what would be done, and change nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Ask nothing: go ahead
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Go on where the system is not recognised, and over guarded packages
    ///
    /// Guarded are packages on which the SSH server, the package manager or the
    /// kernel depends. In an undo: restore files that changed since as well.
    #[arg(long)]
    pub force: bool,
    /// Put back the files that the last clean-up changed
    ///
    /// Packages that were removed stay removed.
    #[arg(long)]
    pub undo: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Of which machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How to get in.
    #[command(flatten)]
    pub login: LoginArguments,
    /// Print the state as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `rollback`, `confirm` and `discard` share.
#[derive(Debug, Args)]
pub struct ChangeArguments {
    /// On which machine.
    #[command(flatten)]
    pub machine: MachineArguments,
    /// How to get in.
    #[command(flatten)]
    pub login: LoginArguments,
    /// Say what would happen, and change nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Ask nothing: go ahead
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub json: bool,
}

/// `rollback`.
#[derive(Debug, Args)]
pub struct RollbackArguments {
    /// What it shares with `discard`.
    #[command(flatten)]
    pub change: ChangeArguments,
    /// Reboot the machine afterwards if the rollback needs it
    #[arg(long)]
    pub reboot: bool,
}

/// `boot`.
#[derive(Debug, Args)]
pub struct BootArguments {
    /// Guard the clone until it is confirmed, and take it back if it is not
    #[arg(long, conflicts_with = "reboot")]
    pub watch: bool,
    /// Reboot the machine
    #[arg(long)]
    pub reboot: bool,
    /// Let processes go on that whoever started this holds, when it ends
    #[arg(long, conflicts_with_all = ["reboot", "watch"])]
    pub let_go: bool,
    /// Start services again that whoever started this has stopped, when it ends
    #[arg(long, conflicts_with_all = ["reboot", "watch", "let_go"])]
    pub start_units: bool,
}
