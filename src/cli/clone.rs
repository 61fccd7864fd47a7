//! What shapes a clone on the command line: groups of flags by concern, as they are written.
//!
//! Knows nothing of defaults and of what the flags lead to.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::course::CourseArguments;

/// Everything that shapes one clone.
#[derive(Debug, Args)]
pub struct CloneArguments {
    /// From where to where.
    #[command(flatten)]
    pub place: PlaceArguments,
    /// Which entries.
    #[command(flatten)]
    pub what: WhatArguments,
    /// By which profiles.
    #[command(flatten)]
    pub profiles: ProfileArguments,
    /// How a whole system takes its place.
    #[command(flatten)]
    pub course: CourseArguments,
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
    /// The directory to copy [default: /, the whole system]
    ///
    /// It is asked for only where neither --target nor --to is given.
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
    /// Leave out all other file systems on purpose
    ///
    /// Without --include-mount they stay behind in any case; but the plan of a whole
    /// system blocks (mount-left-out) until each is included, excluded, or left out
    /// by this flag.
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

/// What a clone of a whole system keeps, and by which profiles.
#[derive(Debug, Args)]
#[command(next_help_heading = "Clone of a whole system")]
pub struct ProfileArguments {
    /// Whether the source is a whole system or just a directory tree
    ///
    /// A whole system is copied by profiles: the target keeps its network, disks,
    /// boot loader, kernel, host keys and cloud agents. A tree is copied as it is.
    /// [default: system when the source is / and so is the target directory of
    /// another machine, else tree]
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<ScopeChoice>,
    /// Read a profile of your own; one with a known name replaces it (repeatable)
    ///
    /// The files in /etc/instancesync/profiles.d are read as well.
    #[arg(long, value_name = "FILE")]
    pub profile: Vec<PathBuf>,
    /// Apply a profile that does not apply by itself (repeatable)
    #[arg(long, value_name = "NAME")]
    pub with: Vec<String>,
    /// Leave a profile out that would apply (repeatable)
    #[arg(long, value_name = "NAME")]
    pub without: Vec<String>,
    /// Whose machine-id, host keys, DHCP state and subscriptions the clone has [default: clone]
    #[arg(long, value_name = "POLICY")]
    pub identity_policy: Option<IdentityChoice>,
    /// Whose host name the clone has: target, source, or a name [default: target]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Whose kernel the clone boots; the boot loader is always the target's [default: target]
    ///
    /// With the source's, its initramfs is made for the target's hardware and GRUB's menu is made
    /// anew, before the switch; the target's kernel stays in the menu as the one to fall back to.
    /// It takes GRUB on the target and initramfs-tools on the source.
    #[arg(long, value_name = "POLICY")]
    pub kernel: Option<KernelChoice>,
}

/// The scopes, as one writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ScopeChoice {
    /// A whole system, by profiles
    System,
    /// A directory tree, as it is
    Tree,
}

/// The identity policies, as one writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum IdentityChoice {
    /// The target's own: both machines go on living
    Clone,
    /// The source's own: for a source that you will switch off yourself
    Move,
}

/// The kernel policies, as one writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelChoice {
    /// The target's own
    Target,
    /// The source's, with the target's to fall back to
    Source,
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
    /// Run only this one of the two kinds of passes
    #[arg(long, value_name = "PASS", conflicts_with = "passes")]
    pub only: Option<PassChoice>,
    /// Timestamp passes before the checksum pass: a number from 1 to 20, or auto
    ///
    /// Each catches up with what the source changed during the one before it. auto
    /// goes on while a pass sends less than half of what the one before it sent and
    /// more than 4 MiB, five times at most. [default: auto for a staged clone, else
    /// 1]
    #[arg(long, value_name = "N|auto")]
    pub passes: Option<String>,
    /// Pack data for the link
    #[arg(long, value_name = "METHOD", default_value = "auto")]
    pub compress: CompressChoice,
    /// Stop this service of the source during the last pass (repeatable)
    ///
    /// For databases and whatever else writes while it is read. It is started
    /// again when the pass is over, however the run ends.
    #[arg(long, value_name = "UNIT")]
    pub quiesce: Vec<String>,
    /// End only when all is on the target's disks
    ///
    /// A whole system always waits for that. Else the target's kernel writes what
    /// landed last when it sees fit, within half a minute as a rule, like after cp or
    /// rsync: a power cut until then can lose it, and the next run sends it again. Only a
    /// checksum pass is sure to notice a large file that was changed by half then.
    #[arg(long)]
    pub fsync: bool,
    /// Change large files where they lie instead of in a copy, as rsync --inplace
    ///
    /// For disk images and databases that nothing uses on the target: it saves
    /// writing what has not changed, and the room for a second copy. Until such a
    /// file is through it is neither the old nor the new one, and a run that is cut
    /// leaves it so until the next. The stage of a whole system does it in any case.
    #[arg(long)]
    pub patch_in_place: bool,
    /// Send at most this much a second, e.g. 10M or 800K
    ///
    /// K, M and G count bytes in powers of 1024 (so do KiB, MiB and GiB); KB, MB
    /// and GB in powers of 1000; B is bytes. A fraction is fine (1.5M), a number
    /// without a unit is not.
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
    /// rule leaves out. A staged clone of a whole system is made anew, so this goes
    /// without saying there.
    #[arg(long)]
    pub delete: bool,
    /// Remove at most so many entries, and say so when there are more
    ///
    /// Not for a staged clone: there the old system as a whole is kept for a rollback.
    #[arg(long, value_name = "N", requires = "delete")]
    pub max_delete: Option<u64>,
    /// Treat a blocker of the plan as a warning (repeatable)
    ///
    /// Its name stands in brackets behind what it says; docs/plan.md has all of
    /// them. same-machine and target-occupied cannot be accepted.
    #[arg(long, value_name = "CHECK")]
    pub accept: Vec<String>,
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
    /// As ssh-keygen -lf prints it: SHA256 and 43 characters. For this run alone:
    /// unlike --accept-new-host-key it writes nothing to known_hosts, so the next
    /// command needs it again.
    #[arg(long, value_name = "SHA256:...")]
    pub host_key_fingerprint: Option<String>,
}

/// What to tell, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArguments {
    /// Print each changed item; twice: the program's own trace as well
    ///
    /// Twice, the summary also tells what the threads of each side have spent each pass on: walking,
    /// comparing, reading, hashing, packing, writing, waiting for the link or for others. A log has that always.
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
