//! The links over which a run goes: its steps are taken over one after the other, and a lost one is
//! opened again where that can help. Knows nothing of what a step does.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Run;
use super::ending::{Trouble, failure_of, interrupted};
use super::fixups::Agreed;
use super::refusals::Refusals;
use super::route::Route;
use crate::failure::Failure;
use crate::monitor::Event;
use crate::session::{Access, Session};
use crate::transfer::TransferError;
use crate::transfer::wire::link::LONGEST_SILENCE;

/// How often a lost link is opened again before the run gives up; the waits double from 1 s.
const REOPENINGS: u32 = 5;

/// A link that held so long starts the count of reopenings anew.
const STEADY: Duration = Duration::from_secs(120);

/// How long after a loss the agent of that link may need to end, once it has noticed.
const ENDING: Duration = Duration::from_secs(15);

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
        let (mut opened, mut lost) = (Instant::now(), Instant::now());
        let mut reopenings = 0;
        loop {
            let trouble = match self.proceed(&mut session, agreed, route) {
                Ok(()) => return (Some(session), Ok(())),
                Err(trouble) => trouble,
            };
            reopenings = still_counted(reopenings, opened.elapsed());
            if !trouble.is_lost(reopenings) {
                return (Some(session), Err(trouble.into_failure()));
            }
            if !trouble.is_locked() {
                lost = Instant::now();
            }
            let until = self.worth_trying_until(route, trouble.is_locked().then_some(lost));
            if !access.can_reopen() || !may_reopen(reopenings, until) {
                return (Some(session), Err(interrupted(trouble.into_failure())));
            }
            session.close();
            let becomes = Some(agreed).filter(|_| route.is_switch_ordered);
            session = match self.reopen(access, &mut reopenings, (trouble, until, becomes)) {
                Ok(session) => session,
                Err(failure) => return (None, Err(failure)),
            };
            opened = Instant::now();
        }
    }

    /// Until when a lost link is opened again however often that fails. A machine that was cut off in
    /// mid-switch may have to boot before it answers; one whose side of a link was `lost` without a word
    /// holds the target until it notices.
    fn worth_trying_until(&self, route: &Route<'_>, lost: Option<Instant>) -> Option<Instant> {
        let boot = self.reboots().filter(|_| route.is_switching());
        match boot {
            Some(limit) => Some(Instant::now() + limit),
            None => lost.map(|lost| lost + LONGEST_SILENCE + ENDING),
        }
    }

    /// Opens a lost link again, waiting longer each time; `until` then at least. A target that may be
    /// what it `becomes` by now is looked for in both places, by turns.
    fn reopen(
        &self,
        access: &mut Access<'_>,
        reopenings: &mut u32,
        (lost, until, becomes): (Trouble, Option<Instant>, Option<&Agreed>),
    ) -> Result<Session, Failure> {
        let mut cause = lost.into_failure();
        let (port, mut refusals) = (access.port(), Refusals::default());
        while may_reopen(*reopenings, until) && !refusals.are_enough() {
            let wait = Duration::from_secs(1 << (*reopenings).min(REOPENINGS));
            let wait = refusals.pause(wait);
            *reopenings += 1;
            self.monitor.event(Event::Reconnecting {
                attempt: *reopenings,
                wait,
                cause: cause.to_string(),
            });
            self.pause(wait)?;
            match becomes.filter(|_| reopenings.is_multiple_of(2)) {
                Some(agreed) => self.expect_clone(access, agreed),
                None => access.set_port(port),
            }
            match access.open() {
                Ok(session) => {
                    access.renew_key(&session);
                    return Ok(session);
                }
                Err(unreached) => {
                    refusals.note(&unreached);
                    cause = unreached.failure;
                }
            }
        }
        Err(interrupted(cause))
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

/// How many reopenings count when the link is lost again after it held for so long.
fn still_counted(reopenings: u32, held: Duration) -> u32 {
    if held > STEADY { 0 } else { reopenings }
}

fn may_reopen(reopenings: u32, until: Option<Instant>) -> bool {
    reopenings < REOPENINGS || until.is_some_and(|until| Instant::now() < until)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{REOPENINGS, STEADY, may_reopen, still_counted};

    #[test]
    fn a_link_that_held_is_opened_again_however_often_it_was_before() {
        let soon = Some(Instant::now() + Duration::from_secs(1000));
        assert!(!may_reopen(still_counted(REOPENINGS, STEADY), None));
        assert!(may_reopen(still_counted(REOPENINGS, STEADY), soon));
        let held = STEADY + Duration::from_secs(1);
        assert!(may_reopen(still_counted(REOPENINGS, held), None));
    }
}
