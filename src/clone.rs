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
mod loader;
mod preparation;
mod quiesce;
mod refusals;
mod route;
mod sample;
mod start;
mod steps;
mod switchover;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::ending::Trouble;
use self::estimate::Estimate;
use self::fixups::Agreed;
use self::route::Route;
use self::start::Start;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::monitor::{Event, Monitor, Stage};
use crate::plan::Reader;
use crate::prompter::Prompter;
use crate::record::{Journal, RunRecord, pair_here};
use crate::report::{Recorder, Report};
use crate::session::{Access, Session};
use crate::settings::{Compression, Detail, LoginSettings, Reboot, Settings, Target};
use crate::source::Source;
use crate::transfer::wire::link::LinkSettings;
use crate::transfer::wire::packing;

pub use self::quiesce::start_after_stopper;
pub(crate) use self::start::standing;

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
        return Err(Failure::usage(what).hint("leave it out, or pass --scope system"));
    }
    let source = Source::open(&settings.source, &settings.mounts)?;
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

/// How far a clone was seen after its reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It has not rebooted, or there is none.
    Never,
    /// It answers, and lets the run in no more.
    FromOutside,
    /// It was looked at and confirmed.
    Verified,
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
            ceiling: None,
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
            let Some(mut agreed) = agreed else {
                return Ok(());
            };
            self.make_room(&session, &mut agreed)?;
            let mut route = Route::new(self.settings, &agreed);
            let done = self.proceed(&mut session, &agreed, &mut route);
            done.map_err(Trouble::into_failure)?;
            agreed.conclude()
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
        let rate = self.settings.link_rate(access.upload_bytes_per_second);
        let mut agreed = match self.prepare(&session, (&pair, rate)) {
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
        // ORDER: what goes there may take a line of the same pair along.
        if let Err(failure) = self.make_room(&session, &mut agreed) {
            session.close();
            return Err(failure);
        }
        // A dry run changes nothing, not even for a while.
        if !self.settings.dry_run && self.needs_key(&access, &session) {
            access.install_key(&session);
            agreed.login = access.run_login(self.key_limit_s());
        }
        let (session, done) = self.go_the_way(&mut access, session, &agreed);
        let Some(session) = session else {
            return done.map(drop);
        };
        self.monitor.event(Event::StageStarted(Stage::CleanUp));
        access.leave(session, done.is_ok());
        if done? == Seen::Verified {
            hooks::post_boot(self.settings, self.monitor, self.interrupt);
        }
        agreed.conclude()
    }

    /// Goes the whole way, over as many links as it takes, up to the clone that has come back.
    /// Returns the session over which the key can be removed, if there is one.
    fn go_the_way(
        &self,
        access: &mut Access<'_>,
        session: Session,
        agreed: &Agreed,
    ) -> (Option<Session>, Result<Seen, Failure>) {
        let mut route = Route::new(self.settings, agreed);
        let session = match self.over_links(access, session, (agreed, &mut route)) {
            (Some(session), Ok(())) => session,
            (session, done) => return (session, done.map(|()| Seen::Never)),
        };
        let reboot = self.reboots().filter(|_| agreed.start != Start::Verify);
        let session = match reboot {
            Some(limit) => match self.come_back(access, session, (agreed, limit)) {
                Ok(Some(session)) => session,
                Ok(None) => return (None, Ok(Seen::FromOutside)),
                Err(failure) => return (None, Err(failure)),
            },
            None if agreed.start == Start::Verify => session,
            None => return (Some(session), Ok(Seen::Never)),
        };
        let seen = self.verify(&session, agreed);
        (Some(session), seen.map(|()| Seen::Verified))
    }

    /// Tells whether the run has to bring a key of its own: where the login needed somebody, for a
    /// whole system, after whose switch other keys may be taken, and where it is the way to take out
    /// one that was left.
    fn needs_key(&self, access: &Access<'_>, session: &Session) -> bool {
        self.settings.system.is_some() || !access.can_reopen() || Access::is_key_left(session)
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
