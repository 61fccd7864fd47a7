//! The command line: clap structures in groups by concern, and the texts that teach them.
//!
//! Only what was written, nothing resolved: defaults, files and the environment are the
//! business of `settings`. Knows nothing of the run itself.

use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

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

  Copy onto a disk that is mounted here:
    instancesync --source / --to /mnt/disk --yes

Exit status:
  0    everything arrived
  1    the run failed for a reason without a number of its own
  2    the command line, or a file it names, makes no sense
  3    refused by a safety check, or not confirmed; nothing was changed
  4    SSH, the agent on the target or the link between them failed
  5    a file system of the target is full
  10   what is on the target is not what was read on the source
  20   interrupted; the same command continues
  23   some items did not arrive; they are listed
  24   only items that vanished or never held still are missing
  25   --max-delete held deletions back
  130  stopped by Ctrl-C; the same command continues
";

/// Clone a directory tree of this running machine onto another over SSH
///
/// instancesync copies a directory tree, or the whole system, of this machine
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
    Agent,
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

/// Everything that shapes one clone.
#[derive(Debug, Args)]
pub struct CloneArguments {
    /// From where to where.
    #[command(flatten)]
    pub place: PlaceArguments,
    /// Which entries.
    #[command(flatten)]
    pub what: WhatArguments,
    /// In which way.
    #[command(flatten)]
    pub how: HowArguments,
    /// What may be removed, and who agrees.
    #[command(flatten)]
    pub safety: SafetyArguments,
    /// How to get in.
    #[command(flatten)]
    pub login: LoginArguments,
    /// What to tell, and where.
    #[command(flatten)]
    pub output: OutputArguments,
}

/// From where to where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source and target")]
pub struct PlaceArguments {
    /// The machine to copy onto; an IPv6 address stands in brackets
    ///
    /// The user defaults to your own name here, the port to 22. A user other than
    /// root needs sudo without a password on the target.
    #[arg(long, value_name = "[USER@]HOST[:PORT]", conflicts_with = "to")]
    pub target: Option<String>,
    /// Copy into a directory of this machine instead (a mounted disk, an image)
    #[arg(long, value_name = "DIR", conflicts_with = "target_dir")]
    pub to: Option<PathBuf>,
    /// The directory to copy [default: asks, or /]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Where it goes on the target [default: the same path as the source]
    ///
    /// What lies in the source directory comes to lie in this directory. It is
    /// made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub target_dir: Option<PathBuf>,
}

/// Which entries are copied.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is copied")]
pub struct WhatArguments {
    /// Leave out what matches; neither copied nor deleted (repeatable)
    ///
    /// --exclude, --exclude-from and --include are tried in the order in which
    /// they are written, and the first that matches decides. What no rule matches
    /// is copied. A directory that is left out is not entered.
    ///
    /// A pattern with a slash at its start or in its middle is anchored at the
    /// source directory; any other matches names at every depth. A slash at its
    /// end matches directories only. '*' and '?' do not match a slash, '**' does,
    /// '[a-z]' is one character of a set, '{a,b}' one of several texts, and a
    /// backslash takes the next character literally. docs/patterns.md has it all.
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    pub exclude: Vec<String>,
    /// Read patterns to leave out from a file, one per line (repeatable)
    ///
    /// Empty lines and lines that start with '#' or ';' are skipped. '+ ' in front
    /// of a pattern makes it an --include, '- ' or nothing an --exclude.
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
    /// Copy what matches, whatever a later --exclude says (repeatable)
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    pub include: Vec<String>,
    /// Stay on the file system of the source directory; this is the default
    #[arg(long, short = 'x')]
    pub one_file_system: bool,
    /// Copy what is mounted at this path as well (repeatable)
    ///
    /// The path is the one on this machine, below the source directory. Further
    /// mounts below it need an --include-mount of their own.
    #[arg(long, value_name = "PATH")]
    pub include_mount: Vec<PathBuf>,
    /// The three lists above in the order in which they were written.
    #[arg(skip)]
    pub rules: Vec<RuleArgument>,
}

/// One of the flags that select entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleArgument {
    /// `--exclude PATTERN`
    Exclude(String),
    /// `--exclude-from FILE`
    ExcludeFrom(PathBuf),
    /// `--include PATTERN`
    Include(String),
}

/// In which way it is copied.
#[derive(Debug, Args)]
#[command(next_help_heading = "How it is copied")]
pub struct HowArguments {
    /// Run one of the two passes only
    #[arg(long, value_name = "PASS")]
    pub only: Option<PassChoice>,
    /// Pack data for the link
    #[arg(long, value_name = "METHOD", default_value = "auto")]
    pub compress: CompressChoice,
    /// Send at most this much a second, e.g. 10M or 800K
    ///
    /// K, M and G count bytes in powers of 1024 (so do KiB, MiB and GiB); KB, MB
    /// and GB in powers of 1000; B is bytes. A fraction is fine: 1.5M.
    #[arg(long, value_name = "RATE")]
    pub bwlimit: Option<String>,
}

/// The passes, as one writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PassChoice {
    /// Compare size, time and attributes; send what differs
    Timestamp,
    /// Compare the contents of every file; repair what differs
    Checksum,
}

/// The ways to pack data, as one writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CompressChoice {
    /// Where it pays, judged on the fly
    Auto,
    /// Always
    Zstd,
    /// Never
    None,
}

/// What may be removed, and who agrees.
#[derive(Debug, Args)]
#[command(next_help_heading = "Safety")]
pub struct SafetyArguments {
    /// Show what would change, item by item, and change nothing
    ///
    /// The list goes to standard output, with the columns of rsync -i.
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Remove from the target what the source does not have
    ///
    /// After the data has arrived, never across file systems, and never what a
    /// rule leaves out.
    #[arg(long)]
    pub delete: bool,
    /// Remove at most so many entries, and say so when there are more
    #[arg(long, value_name = "N", requires = "delete")]
    pub max_delete: Option<u64>,
    /// Ask nothing: go ahead, and fail where an answer would be needed
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// How to get into the target.
#[derive(Debug, Args)]
#[command(next_help_heading = "Login")]
pub struct LoginArguments {
    /// Log in with this private key (repeatable)
    ///
    /// Named keys are tried first, then those of the ssh-agent, then a password.
    /// The usual keys in ~/.ssh are tried only where none is named.
    #[arg(long, short = 'i', value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// Read the password for the target from the first line of a file
    ///
    /// Nobody but its owner may be able to read the file. The environment variable
    /// INSTANCESYNC_PASSWORD does the same.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The list of known host keys [default: yours in ~/.ssh and the system's]
    #[arg(long, value_name = "FILE")]
    pub known_hosts: Option<PathBuf>,
    /// Trust a target that was never met, and remember its key
    ///
    /// A key that differs from the one on the list is refused all the same.
    #[arg(long, conflicts_with = "host_key_fingerprint")]
    pub accept_new_host_key: bool,
    /// Trust the target if its host key has this fingerprint
    ///
    /// As ssh-keygen -lf prints it: SHA256 and 43 characters.
    #[arg(long, value_name = "SHA256:...")]
    pub host_key_fingerprint: Option<String>,
}

/// What to tell, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArguments {
    /// Print each changed item; twice: the program's own trace as well
    #[arg(long, short = 'v', action = ArgAction::Count)]
    pub verbose: u8,
    /// Print problems and errors only
    #[arg(long, short = 'q', conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print events as JSON, one per line, to standard output
    ///
    /// Documented in docs/events.md; fields may be added, none is taken away.
    #[arg(long)]
    pub json: bool,
    /// Append everything that happens to a file, each line with its time
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
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
