//! The story of one run, told top to bottom: look, reach the agent, pass after pass, and leave
//! nothing behind whatever happens. Knows nothing of screens and of how bytes travel.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::{Dir, FsError};
use crate::interrupt::Interrupt;
use crate::monitor::{Event, Monitor, Pass, Stage};
use crate::prompter::Prompter;
use crate::report::{Recorder, Report};
use crate::session::{Access, Session};
use crate::settings::{
    Compression, DeleteLimit, Detail, HostKeyPolicy, LoginSettings, Settings, Target,
};
use crate::ssh::Address;
use crate::transfer::TransferError;
use crate::transfer::scan::Scan;
use crate::transfer::sender::{Deletes, PassPlan, Sender, Tree, Turn};
use crate::transfer::wire::link::LinkSettings;
use crate::transfer::wire::message::Policy;
use crate::transfer::wire::packing;

/// How often a lost link is opened again before the run gives up; the waits double from 1 s.
const REOPENINGS: u32 = 5;
/// A link that held so long starts the count of reopenings anew.
const STEADY: Duration = Duration::from_secs(120);
/// How long a run waits for its estimate before it begins without.
const ESTIMATE_WAIT: Duration = Duration::from_secs(1);

/// Clones what the settings say. The report of a run that went through has all problems.
pub fn run(
    settings: &Settings,
    recorder: &Arc<Recorder>,
    prompter: &Arc<dyn Prompter>,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    let root = Dir::open_root(&settings.source).map_err(|error| {
        Failure::new(ExitCode::Failed, at_source(&settings.source)).because(&error)
    })?;
    let mounts = devices_of(&root, &settings.mounts)?;
    check_proc()?;
    let tree = Tree {
        root: &root,
        rules: &settings.rules,
        mounts: &mounts,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let _subscription = interrupt.subscribe(move || raised.store(true, Ordering::Relaxed));

    let estimate = Estimate::default();
    std::thread::scope(|scope| {
        if settings.output.detail > Detail::Quiet {
            scope.spawn(|| estimate.make(tree, recorder.as_ref()));
        }
        let run = Run {
            settings,
            tree,
            monitor: recorder.as_ref(),
            stop: &stop,
            estimate: &estimate,
        };
        let result = match &settings.target {
            Target::Directory(_) => run.onto_this_machine(),
            Target::Machine { address, login } => {
                run.onto_machine(address, login, prompter.as_ref())
            }
        };
        estimate.stop.store(true, Ordering::Relaxed);
        result
    })?;
    Ok(recorder.report())
}

fn at_source(path: &Path) -> String {
    format!("source: {}", path.display())
}

/// Returns the devices of further file systems. One that is not mounted now must not be taken
/// for an empty directory: with `--delete` that would empty the target's.
fn devices_of(root: &Dir, mounts: &[PathBuf]) -> Result<Vec<u64>, Failure> {
    let failed = |path: &Path, error: &FsError| {
        Failure::new(ExitCode::Usage, at_source(path)).because(error)
    };
    let own = root
        .id()
        .map_err(|error| failed(Path::new("the root of the copy"), &error))?;
    let device_of = |path: &PathBuf| {
        let id = Dir::open_root(path).and_then(|dir| dir.id());
        match id.map_err(|error| failed(path, &error))?.device {
            device if device == own.device => {
                let what = format!("{} is no mount point now", at_source(path));
                Err(Failure::usage(what).hint("mount it, or leave --include-mount away"))
            }
            device => Ok(device),
        }
    };
    mounts.iter().map(device_of).collect()
}

/// Attributes of links and devices are reached through `/proc`.
fn check_proc() -> Result<(), Failure> {
    if Path::new("/proc/self/fd").exists() {
        return Ok(());
    }
    Err(
        Failure::new(ExitCode::Refused, "source: /proc is not mounted")
            .hint("mount it: mount -t proc proc /proc"),
    )
}

/// The scan that runs beside the connecting.
#[derive(Default)]
struct Estimate {
    stop: AtomicBool,
    is_made: AtomicBool,
}

impl Estimate {
    fn make(&self, tree: Tree<'_>, monitor: &dyn Monitor) {
        let own = tree.root.status().map(|status| status.id().device);
        let devices = tree.mounts.iter().copied().chain(own).collect();
        let counters = monitor.counters();
        _ = Scan {
            root: tree.root,
            rules: tree.rules,
            devices,
            mount_points: &[],
            counters,
            stop: &self.stop,
        }
        .run();
        self.is_made.store(true, Ordering::Release);
    }

    /// Waits a moment for the scan: a small tree is known before the first byte leaves.
    fn wait(&self) -> bool {
        let until = Instant::now() + ESTIMATE_WAIT;
        while !self.is_made.load(Ordering::Acquire) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.is_made.load(Ordering::Acquire)
    }
}

struct Run<'a> {
    settings: &'a Settings,
    tree: Tree<'a>,
    monitor: &'a dyn Monitor,
    stop: &'a AtomicBool,
    estimate: &'a Estimate,
}

impl Run<'_> {
    fn link_settings(&self) -> LinkSettings {
        let compression = match self.settings.compression {
            Compression::Auto => packing::Compression::Auto,
            Compression::Zstd => packing::Compression::Zstd,
            Compression::Off => packing::Compression::Off,
        };
        LinkSettings {
            compression,
            bytes_per_second: self.settings.bytes_per_second,
            read_ahead: None,
        }
    }

    fn onto_this_machine(&self) -> Result<(), Failure> {
        self.tell_estimate(None);
        // Between two threads there is nothing to gain by compressing.
        let link = LinkSettings {
            compression: packing::Compression::Off,
            ..self.link_settings()
        };
        let session = Session::in_process(link)?;
        self.monitor.event(Event::StageStarted(Stage::Transfer));
        let mut passes = self.plan();
        let sent = self.send(&session, &mut passes);
        session.close();
        sent.map_err(|error| failure_of(&error))
    }

    fn onto_machine(
        &self,
        address: &str,
        login: &LoginSettings,
        prompter: &dyn Prompter,
    ) -> Result<(), Failure> {
        let address = resolve_address(address, login)?;
        let (dir, link) = (&self.settings.target_dir, self.link_settings());
        let mut access = Access::new(
            address,
            ssh_login(login),
            dir,
            link,
            (prompter, self.monitor),
        )?;
        let mut session = access.open()?;
        self.tell_estimate(access.upload_bytes_per_second);
        self.monitor.event(Event::StageStarted(Stage::Transfer));
        let mut passes = self.plan();
        let mut reopenings = 0;
        let mut opened = Instant::now();
        let sent = loop {
            match self.send(&session, &mut passes) {
                Err(error)
                    if is_lost(&error, reopenings)
                        && access.can_reopen()
                        && reopenings < REOPENINGS =>
                {
                    session.close();
                    if opened.elapsed() > STEADY {
                        reopenings = 0;
                    }
                    session = self.reopen(&mut access, &mut reopenings, &error)?;
                    opened = Instant::now();
                }
                result => break result,
            }
        };
        self.monitor.event(Event::StageStarted(Stage::CleanUp));
        access.remove_key(&session);
        session.close();
        sent.map_err(|error| failure_of(&error))
    }

    /// Opens a lost link again, waiting longer each time.
    fn reopen(
        &self,
        access: &mut Access<'_>,
        reopenings: &mut u32,
        lost: &TransferError,
    ) -> Result<Session, Failure> {
        let mut cause = failure_of(lost);
        while *reopenings < REOPENINGS {
            let wait = Duration::from_secs(1 << *reopenings);
            *reopenings += 1;
            self.monitor.event(Event::Reconnecting {
                attempt: *reopenings,
                wait,
                cause: cause.to_string(),
            });
            let until = Instant::now() + wait;
            while Instant::now() < until {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(failure_of(&TransferError::Stopped));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            match access.open() {
                Ok(session) => return Ok(session),
                Err(failure) => cause = failure,
            }
        }
        cause.exit = ExitCode::Interrupted;
        Err(cause.hint("run the same command again: it continues"))
    }

    fn tell_estimate(&self, link_bytes_per_second: Option<u64>) {
        if self.settings.output.detail > Detail::Quiet && self.estimate.wait() {
            let counters = self.monitor.counters();
            self.monitor.event(Event::Estimate {
                entries: counters.scanned_entries.load(Ordering::Relaxed),
                bytes: counters.scanned_bytes.load(Ordering::Relaxed),
                link_bytes_per_second,
            });
        }
    }

    /// Returns the passes, the last one deleting. A dry run looks once, as closely as the run
    /// itself would.
    fn plan(&self) -> Vec<PassPlan> {
        let wanted = &self.settings.passes;
        let passes: &[Pass] = match wanted.last() {
            Some(last) if self.settings.dry_run => std::slice::from_ref(last),
            _ => wanted,
        };
        let count = passes.len();
        let plan = |(number, pass): (usize, &Pass)| {
            let is_last = number + 1 == count;
            let deletes = is_last && self.settings.deletion.is_some();
            PassPlan {
                pass: *pass,
                deletes: if deletes {
                    Deletes::AtEnd
                } else {
                    Deletes::Never
                },
                turn: if is_last { Turn::Last } else { Turn::Early },
            }
        };
        passes.iter().enumerate().map(plan).collect()
    }

    /// Runs the passes that are left over one link; what is done is taken off the list.
    fn send(&self, session: &Session, passes: &mut Vec<PassPlan>) -> Result<(), TransferError> {
        let policy = Policy {
            dry_run: self.settings.dry_run,
            items: self.settings.output.wants_items(),
            delete_limit: self.settings.deletion.map(|limit| match limit {
                DeleteLimit::Unlimited => u64::MAX,
                DeleteLimit::AtMost(count) => count,
            }),
        };
        let target = match &self.settings.target {
            Target::Directory(path) => path,
            Target::Machine { .. } => &self.settings.target_dir,
        };
        let target = target.as_os_str().as_bytes().to_vec();
        let sent = self.send_passes(session, (target, policy), passes);
        if let Err(TransferError::Stopped) = sent {
            // The agent tidies up and then takes the request for the key; a lost link ends both.
            let stopped =
                crate::transfer::wire::message::Down::Failed("stopped by the source".to_owned());
            session.link.out.send(&stopped).unwrap_or(());
        }
        sent
    }

    fn send_passes(
        &self,
        session: &Session,
        target: (Vec<u8>, Policy),
        passes: &mut Vec<PassPlan>,
    ) -> Result<(), TransferError> {
        let sender = Sender::begin(&session.link, self.tree, target, self.monitor, self.stop)?;
        while let Some(plan) = passes.first() {
            sender.pass(*plan)?;
            passes.remove(0);
        }
        sender.finish()
    }
}

/// A link that broke can be opened again. Right after that the agent of the broken link may
/// still hold the target for a moment.
fn is_lost(error: &TransferError, reopenings: u32) -> bool {
    match error {
        TransferError::Link(_) => true,
        TransferError::Peer { text, .. } => reopenings > 0 && text.contains("second run"),
        TransferError::Protocol(_) | TransferError::Stopped | TransferError::Root(..) => false,
    }
}

fn failure_of(error: &TransferError) -> Failure {
    let exit = match error {
        TransferError::Link(_) => ExitCode::Interrupted,
        TransferError::Protocol(_) => ExitCode::Link,
        TransferError::Peer { no_space: true, .. } => ExitCode::NoSpace,
        TransferError::Stopped => ExitCode::Interrupted,
        TransferError::Peer { .. } | TransferError::Root(..) => ExitCode::Failed,
    };
    let failure = Failure::of(exit, error);
    match error {
        TransferError::Link(_) => failure.hint("run the same command again: it continues"),
        TransferError::Peer { no_space: true, .. } => {
            failure.hint("make room on the target, then run the same command again: it continues")
        }
        TransferError::Protocol(_) => {
            failure.hint("this is a fault of instancesync: please report it")
        }
        TransferError::Stopped | TransferError::Peer { .. } | TransferError::Root(..) => failure,
    }
}

fn resolve_address(text: &str, login: &LoginSettings) -> Result<Address, Failure> {
    let mut address: Address = text
        .parse()
        .map_err(|error: crate::ssh::AddressError| Failure::of(ExitCode::Usage, &error))?;
    address
        .user
        .get_or_insert_with(|| login.default_user.clone());
    Ok(address)
}

fn ssh_login(login: &LoginSettings) -> crate::ssh::LoginSettings {
    let (accept_new_host_key, host_key_fingerprint) = match &login.unknown_host_key {
        HostKeyPolicy::Ask => (false, None),
        HostKeyPolicy::AcceptNew => (true, None),
        HostKeyPolicy::Fingerprint(fingerprint) => (false, Some(fingerprint.clone())),
    };
    crate::ssh::LoginSettings {
        identity_files: login.identities.clone(),
        password: login
            .password
            .as_ref()
            .map(|password| password.reveal().clone()),
        known_hosts: login.known_hosts.clone(),
        accept_new_host_key,
        host_key_fingerprint,
        run_key: None,
    }
}
