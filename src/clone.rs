//! The story of one run, told top to bottom: look, reach the agent, agree, go the way step by
//! step, and leave nothing behind whatever happens. Knows nothing of screens and of how bytes
//! travel.

mod comeback;
mod ending;
mod estimate;
mod fixups;
mod hold_back;
mod hooks;
mod links;
mod quiesce;
mod route;
mod steps;
mod switchover;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::ending::Trouble;
use self::estimate::Estimate;
use self::fixups::Agreed;
use self::route::Route;
use self::switchover::Start;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::layout::Layout;
use crate::monitor::{Event, Monitor, Stage};
use crate::plan::{Plan, Reader};
use crate::preflight::Preflight;
use crate::prompter::Prompter;
use crate::record::{Journal, RunRecord, pair_here};
use crate::report::{Recorder, Report};
use crate::session::{Access, Session};
use crate::settings::{
    Compression, Detail, LoginSettings, Manner, Reboot, Settings, StopAfter, Target, agreement,
};
use crate::source::Source;
use crate::transfer::wire::link::LinkSettings;
use crate::transfer::wire::packing;

/// The run's key stays on an unconfirmed clone for so many seconds, or as long as the reboot may
/// take.
const KEY_LIMIT_S: u64 = 900;

/// Who is shown the plan, and who agrees to it.
#[derive(Clone, Copy)]
pub struct Audience<'a> {
    /// Who is shown the plan.
    pub reader: &'a dyn Reader,
    /// Who answers questions.
    pub prompter: &'a dyn Prompter,
    /// Who writes the log of a clone of a whole system.
    pub journal: &'a dyn Journal,
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
    let record = RunRecord::new(Arc::clone(recorder));
    let monitor: &dyn Monitor = &record;
    let result = std::thread::scope(|scope| {
        // The rules of a whole system are known later; its plan counts then.
        if settings.system.is_none() && settings.output.detail > Detail::Quiet {
            scope.spawn(|| estimate.make(&source, &settings.rules, monitor));
        }
        let run = Run {
            settings,
            source: &source,
            audience,
            monitor,
            recorder,
            record: &record,
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
    });
    record.finish(result.as_ref().err(), interrupt);
    result.map(|()| recorder.report())
}

struct Run<'a> {
    settings: &'a Settings,
    source: &'a Source,
    audience: Audience<'a>,
    monitor: &'a dyn Monitor,
    recorder: &'a Recorder,
    record: &'a RunRecord,
    stop: &'a AtomicBool,
    interrupt: &'a Interrupt,
    estimate: &'a Estimate,
}

impl<'r> Run<'r> {
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
        let pair = pair_here(&self.settings.target_dir);
        let done = self.prepare(&session, (&pair, None)).and_then(|agreed| {
            let Some(agreed) = agreed else { return Ok(()) };
            let mut route = Route::new(self.settings, &agreed.rules);
            if self.take_up(&session, &agreed)? != Start::Anew {
                route.steps.clear();
            }
            let done = self.proceed(&mut session, &agreed, &mut route);
            done.map_err(Trouble::into_failure)
        });
        session.close();
        done
    }

    fn onto_machine(&self, address: &str, login: &LoginSettings) -> Result<(), Failure> {
        let (dir, link) = (&self.settings.target_dir, self.link_settings());
        let told = (self.audience.prompter, self.monitor);
        let mut access = Access::new(address, login, dir, link, told)?;
        let session = access.open()?;
        let pair = access.pair().to_owned();
        let mut agreed = match self.prepare(&session, (&pair, access.upload_bytes_per_second)) {
            Ok(Some(agreed)) => agreed,
            Ok(None) => {
                session.close();
                return Ok(());
            }
            Err(failure) => {
                session.close();
                return Err(failure);
            }
        };
        agreed.pair = Some(pair);
        // A dry run changes nothing, not even for a while.
        if !self.settings.dry_run {
            access.install_key(&session);
            agreed.login = access.run_login(self.key_limit_s());
        }
        let (session, done) = self.go_the_way(&mut access, session, &agreed);
        let Some(session) = session else { return done };
        self.monitor.event(Event::StageStarted(Stage::CleanUp));
        access.remove_key(&session);
        session.close();
        done
    }

    /// Goes the whole way, over as many links as it takes, up to the clone that has come back.
    /// Returns the session over which the key can be removed, if there is one.
    fn go_the_way(
        &self,
        access: &mut Access<'_>,
        session: Session,
        agreed: &Agreed,
    ) -> (Option<Session>, Result<(), Failure>) {
        let start = match self.take_up(&session, agreed) {
            Ok(start) => start,
            Err(failure) => return (Some(session), Err(failure)),
        };
        let mut route = Route::new(self.settings, &agreed.rules);
        if start != Start::Anew {
            route.steps.clear();
        }
        let (session, done) = self.over_links(access, session, (agreed, &mut route));
        let session = match (session, &done) {
            (Some(session), Ok(())) => session,
            (session, _) => return (session, done),
        };
        let reboot = self.reboots().filter(|_| start != Start::Verify);
        let session = match reboot {
            // The switch has ordered it with itself.
            Some(limit) => {
                let is_ordered = start == Start::Anew && self.settings.manner == Manner::Staged;
                match self.come_back(access, session, (limit, is_ordered)) {
                    Ok(session) => session,
                    Err(failure) => return (None, Err(failure)),
                }
            }
            None if start == Start::Verify => session,
            None => return (Some(session), Ok(())),
        };
        let seen = self.verify(&session);
        (Some(session), seen)
    }

    /// Makes the plan of a whole system, shows it and has it agreed to. Nothing has changed before
    /// it, and nothing has when it fails. Returns nothing where the run ends with the plan.
    fn prepare(
        &self,
        session: &Session,
        (pair, link_bytes_per_second): (&str, Option<u64>),
    ) -> Result<Option<Agreed>, Failure> {
        let settings = self.settings;
        let mut agreed = Agreed {
            rules: settings.rules.clone(),
            layout: Layout::default(),
            system: None,
            pair: None,
            login: None,
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
            if settings.course.stop_after == Some(StopAfter::Plan) {
                return Ok(None);
            }
            if !settings.dry_run {
                self.record.begin(settings, pair, self.audience.journal)?;
                self.record.set_facts(&prepared.source, &prepared.target);
                self.record.set_plan(&prepared.plan, &prepared.rules);
            }
            agreed.rules = prepared.rules;
            agreed.layout = prepared.layout;
            agreed.system = Some((prepared.selected, prepared.source));
        }
        if settings.output.detail > Detail::Quiet {
            self.estimate.tell(self.monitor, link_bytes_per_second);
        }
        Ok(Some(agreed))
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

    /// Returns how long the run's key stays on a clone that nobody confirms.
    fn key_limit_s(&self) -> u64 {
        let reboot = match self.settings.course.reboot {
            Reboot::Within(limit) => limit.as_secs(),
            Reboot::Never => 0,
        };
        reboot.max(KEY_LIMIT_S)
    }
}
