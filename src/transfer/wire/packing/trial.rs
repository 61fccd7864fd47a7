//! Whether more gets through packed: found out by turns. A link that takes data slowly may have a
//! slow target behind it, and two packed bytes are no sooner on its disk than two plain ones.
//! Knows nothing of links and of packing.

use std::time::{Duration, Instant};

/// Bytes of contents after which a turn is over.
const TURN_LEN: u64 = 8 << 20;
/// A turn ends then as well, if anything was sent in it.
const TURN_TIME: Duration = Duration::from_secs(1);
/// How much faster it must be packed to be worth the work on both sides.
const GAIN: f64 = 1.1;
/// How often the other way must have been better, one comparison after the other, before it is taken:
/// a turn of 8 MiB that is lucky on a fast link, or fills the windows of a far one, says nothing.
const WINS: u32 = 2;
/// Turns until the other way is tried again; doubled each time, up to [`LONGEST_WAIT`].
const WAIT: u32 = 4;
/// The same for a far link, to begin with.
const FAR_WAIT: u32 = 24;
/// Bytes of contents that say nothing after a change of way on a far link: its windows of 8 MiB and the
/// queues before it swallow plain ones at once, and let packed ones wait for what they have swallowed.
const SWALLOWED_LEN: u64 = 16 << 20;
/// LIMIT: no wait is longer, in turns: links and targets change.
const LONGEST_WAIT: u32 = 64;

/// Which way is better, as far as it is known.
#[derive(Debug)]
pub(super) struct Trial {
    is_packing: bool,
    /// The way that is gone while nothing is tried.
    packs: bool,
    /// Bytes of contents that do not count after a change of way, and how many of them are still to come.
    swallowed: u64,
    to_swallow: u64,
    /// When the turn began, and the bytes of contents since.
    turn: Option<(Instant, u64)>,
    /// Bytes a second without packing and with it; `None` where that is to be tried.
    rates: [Option<f64>; 2],
    /// Turns until the other way is tried.
    wait: u32,
    next_wait: u32,
    /// Comparisons that the other way has won in a row.
    wins: u32,
}

impl Trial {
    /// Begins plain, as is best on most links.
    pub(super) fn new() -> Trial {
        Trial {
            is_packing: false,
            packs: false,
            swallowed: 0,
            to_swallow: 0,
            turn: None,
            rates: [None; 2],
            // The first turn fills buffers and says nothing.
            wait: 1,
            next_wait: WAIT,
            wins: 0,
        }
    }

    /// Begins packed, on a far link that is slower than packing.
    pub(super) fn on_far_link() -> Trial {
        Trial {
            is_packing: true,
            packs: true,
            swallowed: SWALLOWED_LEN,
            wait: FAR_WAIT,
            next_wait: 2 * FAR_WAIT,
            ..Trial::new()
        }
    }

    /// Takes so many bytes of contents that leave now; tells whether to pack them.
    pub(super) fn take(&mut self, length: u64, now: Instant) -> bool {
        if self.to_swallow > 0 {
            self.to_swallow = self.to_swallow.saturating_sub(length);
            return self.is_packing;
        }
        let (began, sent) = self.turn.unwrap_or((now, 0));
        let took = now.saturating_duration_since(began);
        let is_over = sent >= TURN_LEN || (sent > 0 && took >= TURN_TIME);
        self.turn = if is_over && !took.is_zero() {
            let before = self.is_packing;
            self.end_turn(sent as f64 / took.as_secs_f64());
            if self.is_packing != before && self.swallowed > 0 {
                self.to_swallow = self.swallowed;
                self.turn = None;
                return self.is_packing;
            }
            Some((now, length))
        } else {
            Some((began, sent + length))
        };
        self.is_packing
    }

    fn end_turn(&mut self, rate: f64) {
        self.rates[usize::from(self.is_packing)] = Some(rate);
        match self.rates {
            [Some(plain), Some(packed)] => self.compare(plain, packed),
            _ if self.wait > 0 => self.wait -= 1,
            _ => self.is_packing = !self.is_packing,
        }
    }

    fn compare(&mut self, plain: f64, packed: f64) {
        let is_better_packed = packed > plain * GAIN;
        self.wins = match is_better_packed == self.packs {
            true => 0,
            false => self.wins + 1,
        };
        if self.wins >= WINS {
            (self.packs, self.wins) = (is_better_packed, 0);
        }
        self.is_packing = self.packs;
        self.rates = [None; 2];
        if self.wins > 0 {
            // Both are tried once more, without a wait.
            self.wait = 0;
            return;
        }
        self.wait = self.next_wait;
        self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{TURN_LEN, Trial};

    /// Sends so many MiB at bytes a second plain and packed; returns which share went packed.
    fn packed_share(mut trial: Trial, mib: u64, plain: f64, packed: f64) -> f64 {
        let mut now = Instant::now();
        let mut share = 0;
        for _ in 0..mib {
            let is_packed = trial.take(1 << 20, now);
            share += u64::from(is_packed);
            let rate = if is_packed { packed } else { plain };
            now += Duration::from_secs_f64(f64::from(1 << 20) / rate);
        }
        share as f64 / mib as f64
    }

    #[test]
    fn packs_where_more_gets_through() {
        for (plain, packed) in [(20e6, 45e6), (60e6, 80e6)] {
            let share = packed_share(Trial::new(), 1000, plain, packed);
            assert!(share > 0.9, "{plain} {packed}: {share}");
        }
    }

    #[test]
    fn leaves_a_slow_target_alone_after_a_short_try() {
        for (plain, packed) in [(100e6, 100e6), (100e6, 80e6)] {
            let share = packed_share(Trial::new(), 1000, plain, packed);
            assert!(share < 0.06, "{plain} {packed}: {share}");
            assert!(share > 0.0, "it was never tried");
        }
    }

    /// The same over a far link, which takes 80 MB/s and swallows 12 MiB at once; packed contents come to
    /// two fifths, and are made at `packed` bytes a second.
    fn far_share(mib: u64, packed: f64) -> f64 {
        let (mut trial, mut now) = (Trial::on_far_link(), Instant::now());
        let (mut swallowed, mut share) = (0.0, 0);
        for _ in 0..mib {
            let is_packed = trial.take(1 << 20, now);
            share += u64::from(is_packed);
            let (wire, rate) = if is_packed {
                (0.4, packed)
            } else {
                (1.0, 400e6)
            };
            let made_in = f64::from(1 << 20) / rate;
            let room_in = (swallowed + wire - 12.0) * f64::from(1 << 20) / 80e6;
            let took = made_in.max(room_in);
            swallowed = (swallowed + wire - took * 80e6 / f64::from(1 << 20)).max(0.0);
            now += Duration::from_secs_f64(took);
        }
        share as f64 / mib as f64
    }

    #[test]
    fn a_far_link_is_packed_unless_packing_is_slower_than_the_link() {
        let share = far_share(400, 250e6);
        assert!(share > 0.8, "{share}");
        let share = far_share(2000, 60e6);
        assert!(share < 0.4, "{share}");
    }

    #[test]
    fn one_lucky_turn_on_a_fast_link_starts_nothing() {
        let (mut trial, mut now) = (Trial::new(), Instant::now());
        let mut packed = 0;
        for _ in 0..1000 {
            let is_packed = trial.take(TURN_LEN, now);
            packed += u64::from(is_packed);
            // Every third packed turn seems to be twice as fast.
            let is_lucky = is_packed && packed % 3 == 1;
            let rate = if is_lucky { 200e6 } else { 100e6 };
            now += Duration::from_secs_f64(TURN_LEN as f64 / rate);
        }
        assert!(packed < 60, "{packed}");
    }

    #[test]
    fn a_turn_ends_by_time_on_a_slow_link() {
        let (mut trial, start) = (Trial::new(), Instant::now());
        let tries = (0..40)
            .map(|second| trial.take(TURN_LEN / 20, start + second * Duration::from_secs(1)));
        assert!(tries.into_iter().any(|is_packed| is_packed));
    }
}
