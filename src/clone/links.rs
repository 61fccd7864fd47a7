//! The links over which a run goes: its steps are taken over one after the other, and a lost one is
//! opened again where that can help. Knows nothing of what a step does.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Run;
use super::ending::{Trouble, failure_of};
use super::fixups::Agreed;
use super::route::Route;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::Event;
use crate::session::{Access, Session};
use crate::transfer::TransferError;

/// How often a lost link is opened again before the run gives up; the waits double from 1 s.
const REOPENINGS: u32 = 5;

/// A link that held so long starts the count of reopenings anew.
const STEADY: Duration = Duration::from_secs(120);

/// How often somebody who waits looks whether the run is to stop.
const LOOK: Duration = Duration::from_millis(50);

impl<'r> Run<'r> {
    /// Takes the steps, and opens a lost link again where that can help.
    pub(super) fn over_links(
        &self,
        access: &mut Access<'_>,
        mut session: Session,
        (agreed, route): (&Agreed, &mut Route<'r>),
    ) -> (Option<Session>, Result<(), Failure>) {
        let mut reopenings = 0;
        let mut opened = Instant::now();
        loop {
            let trouble = match self.proceed(&mut session, agreed, route) {
                Ok(()) => return (Some(session), Ok(())),
                Err(trouble) => trouble,
            };
            if !trouble.is_lost(reopenings) || !access.can_reopen() || reopenings >= REOPENINGS {
                return (Some(session), Err(trouble.into_failure()));
            }
            session.close();
            if opened.elapsed() > STEADY {
                reopenings = 0;
            }
            // A machine that was cut off in mid-switch may have to boot before it answers.
            let until = self.reboots().filter(|_| route.is_switching());
            let until = until.map(|limit| Instant::now() + limit);
            session = match self.reopen(access, &mut reopenings, (trouble, until)) {
                Ok(session) => session,
                Err(failure) => return (None, Err(failure)),
            };
            opened = Instant::now();
        }
    }

    /// Opens a lost link again, waiting longer each time; `until` then at least.
    fn reopen(
        &self,
        access: &mut Access<'_>,
        reopenings: &mut u32,
        (lost, until): (Trouble, Option<Instant>),
    ) -> Result<Session, Failure> {
        let mut cause = lost.into_failure();
        while *reopenings < REOPENINGS || until.is_some_and(|until| Instant::now() < until) {
            let wait = Duration::from_secs(1 << (*reopenings).min(REOPENINGS));
            *reopenings += 1;
            self.monitor.event(Event::Reconnecting {
                attempt: *reopenings,
                wait,
                cause: cause.to_string(),
            });
            self.pause(wait)?;
            match access.open() {
                Ok(session) => {
                    access.renew_key(&session);
                    return Ok(session);
                }
                Err(failure) => cause = failure,
            }
        }
        cause.exit = ExitCode::Interrupted;
        Err(cause.hint("run the same command again: it continues"))
    }

    /// Waits, unless the run is to stop.
    pub(super) fn pause(&self, wait: Duration) -> Result<(), Failure> {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return Err(failure_of(&TransferError::Stopped));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
