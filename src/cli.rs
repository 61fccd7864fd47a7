//! The command line: clap structures in groups by concern, and the texts that teach them.
//!
//! Only what was written, nothing resolved: defaults, files and the environment are the
//! business of `settings`. Knows nothing of the run itself.

use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

mod clone;
mod commands;
mod course;

pub use clone::{
    CloneArguments, CompressChoice, HowArguments, IdentityChoice, KernelChoice, LoginArguments,
    OutputArguments, PassChoice, PlaceArguments, ProfileArguments, RuleArgument, SafetyArguments,
    ScopeChoice, WhatArguments,
};
pub use commands::{
    BootArguments, ChangeArguments, CleanupArguments, CleanupCommand, ExplainArguments,
    FactsArguments, MachineArguments, PlanArguments, ProfilesCommand, RollbackArguments,
    StatusArguments,
};
pub use course::{CourseArguments, ResumeChoice, StopChoice};

const EXAMPLES: &str = "\
Examples:
  Ask for everything, show what will happen, ask once more:
    instancesync

  See what would change on the target, without changing anything:
    instancesync --target root@192.0.2.7 --source /srv/www --dry-run

  Copy a directory onto another machine, unattended:
    instancesync --target root@192.0.2.7 --source /srv/www --yes

  The same, to another place and through another port and key:
    instancesync --target 'admin@[2001:db8::7]:2222' -i ~/.ssh/deploy \\
        --source /srv/www --target-dir /srv/new --yes

  Make the target equal, removing at most 100 entries it has in excess:
    instancesync --target root@192.0.2.7 --source /srv/www \\
        --delete --max-delete 100 --yes

  Leave out logs, but keep one of them (the first match decides):
    instancesync --target root@192.0.2.7 --source /srv \\
        --include /app/log/audit.log --exclude '*.log' --yes

  Make another machine the clone of this one, reboot it, and see it again:
    instancesync --target root@192.0.2.7 --yes

  Copy onto a disk that is mounted here:
    instancesync --source / --to /mnt/disk --yes

Exit status:
  0    everything arrived
  1    the run failed for a reason without a number of its own, or the clone
       gave way to the old system
  2    the command line, or a file it names, makes no sense
  3    refused by a safety check, or not confirmed; the target runs what it ran
  4    SSH or the agent on the target failed, or the clone was not seen again
  5    a file system of the target is full
  10   what is on the target is not what was read on the source
  20   stopped, or the link was lost for good; the same command continues
  23   some items did not arrive, or something of the clone is not as it should
       be; they are listed
  24   only items that vanished or never held still are missing
  25   --max-delete held deletions back
  130  stopped by Ctrl-C; the same command continues
";

/// Clone this running machine, or a directory tree of it, onto another over SSH
///
/// instancesync copies the whole system, or a directory tree, of this machine
/// (the source) onto another (the target). The target needs an SSH server and
/// nothing else: the program sends itself there, and removes itself when done.
///
/// A first pass compares size, time and attributes and sends what differs. A
/// second pass compares the contents of every file on both sides and repairs
/// what the first could not see. The source keeps running and is only read.
/// Each file appears on the target whole, or not at all. A run that was cut is
/// continued by the same command.
///
/// Run without arguments on a terminal, it asks for what it needs.
#[derive(Debug, Parser)]
#[command(
    name = "instancesync",
    version,
    max_term_width = 80,
    after_help = "Try --help for examples, details and exit codes.",
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do instead of cloning.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to clone, and how.
    #[command(flatten)]
    pub clone: CloneArguments,
}

/// The subcommands. None of them means: clone.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve one session as the agent on the target
    ///
    /// Started by instancesync itself over SSH; speaks its protocol on standard
    /// input and output. There is no use in starting it by hand.
    #[command(hide = true)]
    Agent {
        /// Take the stream from further channels, too.
        #[arg(long)]
        channels: bool,
    },
    /// Print what is known about a machine before anything is decided
    Facts(FactsArguments),
    /// Check both machines and print what a clone would do, changing nothing
    ///
    /// Takes the flags of a clone; those that say how a run goes on or what it prints
    /// (-v, -q, --log-file, hooks, --stop-after) have no effect. Every reason against it
    /// is printed at once, each with what to do about it; the exit code is 3 when
    /// anything stands against it. --json prints one JSON object.
    Plan(Box<PlanArguments>),
    /// Print which rule decides about a path, and why
    ///
    /// Without --target or --to the target is taken for a machine like this one; for
    /// a real one other profiles may apply. --json prints one JSON object.
    Explain(Box<ExplainArguments>),
    /// List, show and check profiles: what is copied, kept, merged and skipped
    Profiles {
        /// What to do.
        #[command(subcommand)]
        command: Option<ProfilesCommand>,
    },
    /// Clean up a system after it has moved
    Cleanup {
        /// What to clean up.
        #[command(subcommand)]
        command: CleanupCommand,
    },
    /// Tell what state a target is in: staged, switched, cut, confirmed
    ///
    /// Also tells of failed units and missing mounts. Changes nothing.
    Status(StatusArguments),
    /// Put back the system that a clone replaced
    ///
    /// The same step as the switch to the clone, the other way round; it takes
    /// milliseconds. It works before and after reboots, over SSH and on the
    /// target's own console, where the program is /.instancesync/instancesync. What
    /// is live now stays beside it until it is discarded. A switch that was cut is
    /// repaired. docs/switch.md has the details.
    Rollback(RollbackArguments),
    /// Keep a clone that waits to be confirmed
    ///
    /// The run that made a clone does this by itself when it has seen it. If that run
    /// is gone, do it before the time of --confirm-within is over, or the old system
    /// takes its place again ('status' tells whether anything waits).
    Confirm(ChangeArguments),
    /// Remove the old system that a clone replaced, or a clone that is only staged
    ///
    /// Removes everything that instancesync keeps on the target, and so frees its
    /// room. After that there is no rollback.
    Discard(ChangeArguments),
    /// Look after a switch at boot
    ///
    /// Called by a unit that instancesync puts on the target around a switch, and
    /// that it removes. There is no use in starting it by hand.
    #[command(hide = true)]
    Boot(BootArguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell that is to complete
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write a page for every command into this directory instead
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

/// Parses a command line, its first word being the program's name.
///
/// The error knows its text and exit code; it is also how `--help` and `--version` end.
pub fn parse<Words, Word>(words: Words) -> Result<Cli, clap::Error>
where
    Words: IntoIterator<Item = Word>,
    Word: Into<std::ffi::OsString> + Clone,
{
    let matches = Cli::command().try_get_matches_from(words)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.clone.what.rules = rules_in_order(&matches);
    match (&mut cli.command, matches.subcommand()) {
        (Some(Command::Plan(plan)), Some((_, matches))) => {
            plan.clone.what.rules = rules_in_order(matches);
        }
        (Some(Command::Explain(explain)), Some((_, matches))) => {
            explain.clone.what.rules = rules_in_order(matches);
        }
        _ => {}
    }
    Ok(cli)
}

fn rules_in_order(matches: &ArgMatches) -> Vec<RuleArgument> {
    let mut rules = in_order(matches, "exclude", RuleArgument::Exclude);
    rules.extend(in_order(matches, "exclude_from", RuleArgument::ExcludeFrom));
    rules.extend(in_order(matches, "include", RuleArgument::Include));
    rules.sort_by_key(|(index, _)| *index);
    rules.into_iter().map(|(_, rule)| rule).collect()
}

fn in_order<Value: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    flag: &str,
    rule: fn(Value) -> RuleArgument,
) -> Vec<(usize, RuleArgument)> {
    let values = matches.get_many::<Value>(flag).into_iter().flatten();
    let indices = matches.indices_of(flag).into_iter().flatten();
    indices.zip(values.cloned().map(rule)).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, RuleArgument, parse};

    #[test]
    fn is_a_sound_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn keeps_the_order_across_the_rule_flags() {
        let cli = parse([
            "instancesync",
            "--include=b",
            "--exclude",
            "a",
            "--exclude-from",
            "f",
            "--include",
            "c",
            "--exclude=-d",
        ])
        .unwrap();
        assert_eq!(
            cli.clone.what.rules,
            [
                RuleArgument::Include("b".into()),
                RuleArgument::Exclude("a".into()),
                RuleArgument::ExcludeFrom("f".into()),
                RuleArgument::Include("c".into()),
                RuleArgument::Exclude("-d".into()),
            ]
        );
    }

    #[test]
    fn subcommands_take_no_clone_flags() {
        assert!(parse(["instancesync", "--yes", "man"]).is_err());
        assert!(parse(["instancesync", "agent"]).is_ok());
    }

    #[test]
    fn refuses_flags_that_contradict_each_other() {
        for words in [
            &["--target", "a", "--to", "b"][..],
            &["--to", "b", "--target-dir", "/c"],
            &["--max-delete", "3"],
            &["--stage", "--in-place"],
            &["--no-reboot", "--reboot-timeout", "9"],
            &["--no-reboot", "--post-boot-hook", "true"],
            &["--reboot-timeout", "0"],
            &["--only", "checksum", "--passes", "2"],
            &["--stop-after", "reboot"],
            &["-v", "-q"],
            &[
                "--accept-new-host-key",
                "--host-key-fingerprint",
                "SHA256:x",
            ],
        ] {
            let words = ["instancesync"].iter().chain(words);
            assert!(parse(words.clone()).is_err(), "{words:?}");
        }
    }
}
