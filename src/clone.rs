//! The story of one run, told top to bottom: look, reach the agent, pass after pass, and leave
//! nothing behind whatever happens. Knows nothing of screens and of how bytes travel.

mod ending;
mod estimate;
mod fixups;
#[allow(dead_code, reason = "the story of a staged clone calls it")]
mod hooks;
mod quiesce;

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::ending::{failure_of, is_lost};
use self::estimate::Estimate;
use self::fixups::Agreed;
use self::quiesce::Quiesced;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::monitor::{Event, Monitor, Pass, Stage};
use crate::plan::{Plan, Reader};
use crate::preflight::Preflight;
use crate::prompter::Prompter;
use crate::report::{Recorder, Report};
use crate::session::{Access, Session};
use crate::settings::{
    Compression, DeleteLimit, Detail, LoginSettings, Settings, Target, agreement,
};
use crate::source::Source;
use crate::transfer::TransferError;
use crate::transfer::sender::{Deletes, PassPlan, Sender, Tree, Turn};
use crate::transfer::wire::link::LinkSettings;
use crate::transfer::wire::message::Policy;
use crate::transfer::wire::packing;

/// How often a lost link is opened again before the run gives up; the waits double from 1 s.
const REOPENINGS: u32 = 5;
/// A link that held so long starts the count of reopenings anew.
const STEADY: Duration = Duration::from_secs(120);

/// Who is shown the plan, and who agrees to it.
#[derive(Clone, Copy)]
pub struct Audience<'a> {
    /// Who is shown the plan.
    pub reader: &'a dyn Reader,
    /// Who answers questions.
    pub prompter: &'a dyn Prompter,
}

/// Clones what the settings say. The report of a run that went through has all problems.
pub fn run(
    settings: &Settings,
    recorder: &Arc<Recorder>,
    audience: Audience<'_>,
    interrupt: &Interrupt,
) -> Result<Report, Failure> {
    if settings.system.is_none() && !settings.accepted.is_empty() {
        let what = "--accept is for a clone of a whole system: no plan stands before this one";
        return Err(Failure::usage(what).hint("leave it away, or pass --scope system"));
    }
    let source = Source::open(settings)?;
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let _subscription = interrupt.subscribe(move || raised.store(true, Ordering::Relaxed));

    let estimate = Estimate::default();
    let monitor: &dyn Monitor = recorder.as_ref();
    std::thread::scope(|scope| {
        // The rules of a whole system are known later; its plan counts then.
        if settings.system.is_none() && settings.output.detail > Detail::Quiet {
            scope.spawn(|| estimate.make(&source, &settings.rules, monitor));
        }
        let run = Run {
            settings,
            source: &source,
            audience,
            monitor,
            stop: &stop,
            interrupt,
            estimate: &estimate,
        };
        let result = match &settings.target {
            Target::Directory(_) => run.onto_this_machine(),
            Target::Machine { address, login } => run.onto_machine(address, login),
        };
        estimate.stop();
        result
    })?;
    Ok(recorder.report())
}

struct Run<'a> {
    settings: &'a Settings,
    source: &'a Source,
    audience: Audience<'a>,
    monitor: &'a dyn Monitor,
    stop: &'a AtomicBool,
    interrupt: &'a Interrupt,
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
        // Between two threads there is nothing to gain by compressing.
        let link = LinkSettings {
            compression: packing::Compression::Off,
            ..self.link_settings()
        };
        let mut session = Session::in_process(link)?;
        let sent = self.prepare(&session, None).and_then(|agreed| {
            self.monitor.event(Event::StageStarted(Stage::Transfer));
            let sent = self.send(&mut session, &agreed, &mut self.passes());
            sent.map_err(|error| failure_of(&error))
        });
        session.close();
        sent
    }

    fn onto_machine(&self, address: &str, login: &LoginSettings) -> Result<(), Failure> {
        let (dir, link) = (&self.settings.target_dir, self.link_settings());
        let told = (self.audience.prompter, self.monitor);
        let mut access = Access::new(address, login, dir, link, told)?;
        let mut session = access.open()?;
        let mut agreed = match self.prepare(&session, access.upload_bytes_per_second) {
            Ok(agreed) => agreed,
            Err(failure) => {
                session.close();
                return Err(failure);
            }
        };
        agreed.pair = Some(access.pair().to_owned());
        // A dry run changes nothing, not even for a while.
        if !self.settings.dry_run {
            access.install_key(&session);
        }
        self.monitor.event(Event::StageStarted(Stage::Transfer));
        let mut passes = self.passes();
        let mut reopenings = 0;
        let mut opened = Instant::now();
        let sent = loop {
            match self.send(&mut session, &agreed, &mut passes) {
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

    /// Makes the plan of a whole system, shows it and has it agreed to. Nothing has changed before
    /// it, and nothing has when it fails.
    fn prepare(
        &self,
        session: &Session,
        link_bytes_per_second: Option<u64>,
    ) -> Result<Agreed, Failure> {
        let settings = self.settings;
        let mut agreed = Agreed {
            rules: settings.rules.clone(),
            system: None,
            pair: None,
        };
        if settings.system.is_some() {
            let preflight = Preflight {
                settings,
                source: self.source,
                monitor: self.monitor,
                stop: self.stop,
            };
            let prepared = preflight.prepare(session, link_bytes_per_second)?;
            self.agree(&prepared.plan)?;
            agreed.rules = prepared.rules;
            agreed.system = Some((prepared.selected, prepared.source));
        }
        if settings.output.detail > Detail::Quiet {
            self.estimate.tell(self.monitor, link_bytes_per_second);
        }
        Ok(agreed)
    }

    /// A dry run may go on whatever stands against it: it changes nothing.
    fn agree(&self, plan: &Plan) -> Result<(), Failure> {
        let settings = self.settings;
        self.audience.reader.read(plan, settings.asks_first);
        if let Some(refusal) = plan.refusal().filter(|_| !settings.dry_run) {
            return Err(refusal);
        }
        if settings.asks_first {
            agreement(settings, self.audience.prompter)?;
        }
        Ok(())
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
                Ok(session) => {
                    access.install_key(&session);
                    return Ok(session);
                }
                Err(failure) => cause = failure,
            }
        }
        cause.exit = ExitCode::Interrupted;
        Err(cause.hint("run the same command again: it continues"))
    }

    /// Returns the passes, the last one deleting. A dry run looks once, as closely as the run
    /// itself would.
    fn passes(&self) -> Vec<PassPlan> {
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
    fn send(
        &self,
        session: &mut Session,
        agreed: &Agreed,
        passes: &mut Vec<PassPlan>,
    ) -> Result<(), TransferError> {
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
        let tree = self.source.tree(&agreed.rules);
        let sent = self
            .send_passes(session, tree, (target, policy), passes)
            .and_then(|()| self.fix_up(session, agreed));
        // The agent tidies up and then takes the request for the key; a lost link ends both.
        match &sent {
            Ok(()) | Err(TransferError::Link(_)) => {}
            Err(TransferError::Stopped) => session.part("stopped by the source"),
            Err(_) => session.part("given up by the source"),
        }
        sent
    }

    fn send_passes(
        &self,
        session: &Session,
        tree: Tree<'_>,
        target: (Vec<u8>, Policy),
        passes: &mut Vec<PassPlan>,
    ) -> Result<(), TransferError> {
        let sender = Sender::begin(&session.link, tree, target, self.monitor, self.stop)?;
        while let Some(plan) = passes.first() {
            let is_last = plan.turn == Turn::Last && !self.settings.dry_run;
            let units = if is_last {
                &*self.settings.quiesce
            } else {
                &[]
            };
            if self.stop.load(Ordering::Relaxed) {
                return Err(TransferError::Stopped);
            }
            let _quiesced = Quiesced::stop(units, self.monitor, self.interrupt);
            sender.pass(*plan)?;
            passes.remove(0);
        }
        sender.finish()
    }
}
