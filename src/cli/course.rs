//! What shapes the course of a clone of a whole system: whether it is staged, what runs in
//! between, where it stops, and whether the target reboots.
//!
//! Knows nothing of defaults and of what the flags lead to.

use clap::Args;

/// How a whole system takes its place on the target.
#[derive(Debug, Args)]
#[command(next_help_heading = "From the old system to the new one")]
pub struct CourseArguments {
    /// Stage the new system on a mounted disk or image (--to DIR) as well
    ///
    /// Where the target directory is the / of a running machine this is the default:
    /// the whole new system is put together in /.instancesync beside the old one,
    /// checked there, and switched to in an instant; the target then reboots. Until
    /// the switch nothing that the target runs on changes, and 'instancesync
    /// rollback' undoes it. With this flag a mounted disk or an image (--to DIR)
    /// gets the same, without the reboot.
    #[arg(long, conflicts_with = "in_place")]
    pub stage: bool,
    /// Write a whole system file by file over the one that is there
    ///
    /// For a target without the room for both systems. It costs what the stage is
    /// for: from the first file on the target is a mixture of both systems until
    /// the run has ended, one that was cut may not boot, and there is no rollback. At
    /// its end the target reboots, unless --no-reboot is given.
    #[arg(long)]
    pub in_place: bool,
    /// Do not reboot the target at the end; you do it yourself
    ///
    /// Programs that run there go on with the files they have opened, and open those
    /// of the clone from now on. Until the reboot the clone is not verified.
    #[arg(long, conflicts_with_all = ["reboot_timeout", "post_boot_hook"])]
    pub no_reboot: bool,
    /// How long a clone may run unconfirmed before the old system comes back [default: 600]
    ///
    /// From its first boot the clone is on probation. Normally the source comes and
    /// confirms it; where the plan says that it cannot, the clone looks whether its
    /// boot has ended, sshd listens and the way to the rest of the world is there.
    /// If neither comes in time, or the clone boots for the fourth time without, the
    /// old system takes its place again and the machine reboots into it; 'status'
    /// and the next run say why. 0 for a clone that stays whatever becomes of it.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub confirm_within: Option<u64>,
    /// How long to wait until the target is seen again
    ///
    /// [default: 600 more than --confirm-within, so 1200] Machines with much memory or
    /// many disks take minutes to start. When the time is over the run ends in exit
    /// code 4.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub reboot_timeout: Option<u64>,
    /// End the run after this step; the next run goes on from there
    #[arg(long, value_name = "STEP")]
    pub stop_after: Option<StopChoice>,
    /// What to do with a new system that an earlier run has left in the stage
    ///
    /// [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub resume: Option<ResumeChoice>,
    /// Run a command on this machine before the checksum pass
    ///
    /// By /bin/sh -c, when the services of --quiesce have stopped: to dump a
    /// database, to flush a cache, to take a snapshot. INSTANCESYNC_TARGET is the
    /// target as it was written, INSTANCESYNC_STAGE is 'pre-switch'. If it fails the
    /// run ends, and the target stays what it was.
    #[arg(long, value_name = "COMMAND")]
    pub pre_switch_hook: Option<String>,
    /// Run a command on this machine when the clone was seen again
    ///
    /// Like the other hook, with 'post-boot' for its stage: to move an address, to
    /// tell a monitor. If it fails that is a problem, and the clone stays.
    #[arg(long, value_name = "COMMAND")]
    pub post_boot_hook: Option<String>,
}

/// The steps after which a run can end, as one writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StopChoice {
    /// Both machines were looked at; nothing has changed
    Plan,
    /// The files of the source are in the stage
    Transfer,
    /// The files that are neither machine's alone are made
    FixUp,
    /// The new system has proven that it can live
    Check,
    /// The new system is in place; the target has not rebooted
    Switch,
}

/// What becomes of a stage that is there, as one writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ResumeChoice {
    /// Go on with it
    Auto,
    /// Remove it, and begin anew
    Never,
}
