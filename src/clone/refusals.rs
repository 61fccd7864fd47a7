//! Logins that a target refused, one after the other: when to try the next, and when to leave off.
//! Knows nothing of what the target should be.

use std::time::Duration;

use crate::session::Unreached;

/// How long after a login that was refused: what counts failures (fail2ban: 5 in 10 min) bans
/// whoever tries often.
const PAUSE: Duration = Duration::from_secs(20);
/// LIMIT: refused logins after which no more is tried. A machine that starts or stops may refuse
/// one.
const MOST: u32 = 3;

/// What was refused so far.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: u32,
    is_last_refused: bool,
}

impl Refusals {
    /// Takes in how an attempt ended.
    pub(super) fn note(&mut self, unreached: &Unreached) {
        self.is_last_refused = unreached.is_login_refused;
        self.count += u32::from(self.is_last_refused);
    }

    /// Tells whether no more is to be tried.
    pub(super) fn are_enough(&self) -> bool {
        self.count >= MOST
    }

    /// Returns how long to wait before the next attempt, `usual` at least.
    pub(super) fn pause(&self, usual: Duration) -> Duration {
        match self.is_last_refused {
            true => usual.max(PAUSE),
            false => usual,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{PAUSE, Refusals};
    use crate::exit::ExitCode;
    use crate::failure::Failure;
    use crate::session::Unreached;

    #[test]
    fn three_refusals_are_enough_and_each_is_waited_after() {
        let attempt = |is_login_refused| Unreached {
            failure: Failure::new(ExitCode::Link, "not reached"),
            is_login_refused,
        };
        let (mut refusals, usual) = (Refusals::default(), Duration::from_secs(2));
        for (is_refused, pause, are_enough) in [
            (false, usual, false),
            (true, PAUSE, false),
            (true, PAUSE, false),
            (false, usual, false),
            (true, PAUSE, true),
        ] {
            refusals.note(&attempt(is_refused));
            assert_eq!(refusals.pause(usual), pause);
            assert_eq!(refusals.are_enough(), are_enough);
        }
        assert_eq!(refusals.pause(2 * PAUSE), 2 * PAUSE);
    }
}
