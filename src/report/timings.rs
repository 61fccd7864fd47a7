//! How long each stage of a run took. Time is an argument. Knows nothing of what a stage does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::monitor::Stage;

/// The time that each stage took so far.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    ended: Vec<(Stage, Duration)>,
    current: Option<(Stage, Instant)>,
}

impl Timings {
    /// Begins a stage and ends the one before. One that begins again, over a new link, goes on.
    pub fn begin(&mut self, stage: Stage, now: Instant) {
        self.end(now);
        self.current = Some((stage, now));
    }

    /// Ends the stage that is going on.
    pub fn end(&mut self, now: Instant) {
        let Some((stage, began)) = self.current.take() else {
            return;
        };
        let took = now.saturating_duration_since(began);
        match self.ended.iter_mut().find(|(known, _)| *known == stage) {
            Some((_, sum)) => *sum += took,
            None => self.ended.push((stage, took)),
        }
    }

    /// Returns the stages that have ended, in the order in which they first did, with the time
    /// that each took in sum.
    pub fn ended(&self) -> &[(Stage, Duration)] {
        &self.ended
    }

    /// Returns the milliseconds of each stage that has ended, by its word.
    pub fn milliseconds(&self) -> BTreeMap<&'static str, u64> {
        let milliseconds = |took: &Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let ended = self.ended.iter();
        ended
            .map(|(stage, took)| (stage.word(), milliseconds(took)))
            .collect()
    }

    /// Returns the stage that goes on, or the last that did.
    pub fn current(&self) -> Option<Stage> {
        let ended = self.ended.last();
        let current = self.current.map(|(stage, _)| stage);
        current.or(ended.map(|(stage, _)| *stage))
    }

    /// Returns the furthest stage that began, but for the clean-up, which follows any of them.
    pub fn furthest(&self) -> Option<Stage> {
        let current = self.current.map(|(stage, _)| stage);
        let ended = self.ended.iter().map(|(stage, _)| *stage);
        let position = |stage: &Stage| Stage::ALL.iter().position(|known| known == stage);
        ended
            .chain(current)
            .filter(|stage| *stage != Stage::CleanUp)
            .max_by_key(position)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Timings;
    use crate::monitor::Stage;

    #[test]
    fn a_stage_that_begins_again_goes_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timings = Timings::default();
        assert_eq!(timings.furthest(), None);
        timings.begin(Stage::Connect, at(0));
        timings.begin(Stage::Transfer, at(2));
        timings.begin(Stage::Connect, at(10));
        timings.begin(Stage::Transfer, at(11));
        timings.begin(Stage::CleanUp, at(15));
        assert_eq!(timings.furthest(), Some(Stage::Transfer));
        timings.end(at(16));
        timings.end(at(99));
        let seconds = Duration::from_secs;
        assert_eq!(
            timings.ended(),
            [
                (Stage::Connect, seconds(3)),
                (Stage::Transfer, seconds(12)),
                (Stage::CleanUp, seconds(1)),
            ]
        );
    }
}
