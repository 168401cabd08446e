//! When a trial has shown enough: the comparison of a new generation with the one that serves, as a pure function.
//!
//! Owns the bounds that a new generation must keep. Must never know what was run, nor act on its own judgement.

use std::time::Duration;

/// Durations that are kept of each side; the newest replace the oldest.
const KEPT: usize = 256;

/// So many durations each side must have before they are compared: a median of fewer says little.
const ENOUGH: usize = 10;

/// What a new generation may do at worst, and how long it is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bounds {
    /// After so many pieces of work within bounds it takes over.
    pub(crate) work: u32,
    /// So many failures that the other generation did not have are forgiven.
    pub(crate) failures: u32,
    /// Its median duration may be so many times the other's.
    pub(crate) slowdown: f64,
}

/// What one side has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u32,
    pub(crate) failed: u32,
    durations: Vec<Duration>,
}

/// What should become of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It has not shown enough yet.
    GoOn,
    /// It kept all bounds for long enough.
    Promote,
    /// It broke a bound, in these words.
    TakeBack(String),
}

impl Tally {
    /// Counts work that ended well.
    pub(crate) fn succeed(&mut self, took: Duration) {
        if self.durations.len() < KEPT {
            self.durations.push(took);
        } else {
            self.durations[self.done as usize % KEPT] = took;
        }
        self.done += 1;
    }

    /// Counts work that the other side could do and this one could not.
    pub(crate) fn fail(&mut self) {
        self.done += 1;
        self.failed += 1;
    }

    /// The median duration; `None` when there are too few to say.
    pub(crate) fn median(&self) -> Option<Duration> {
        if self.durations.len() < ENOUGH {
            return None;
        }
        let mut sorted = self.durations.clone();
        let middle = sorted.len() / 2;
        Some(*sorted.select_nth_unstable(middle).1)
    }
}

/// Compares what was tried with what serves.
pub(crate) fn judge(bounds: &Bounds, tried: &Tally, serving: &Tally) -> Judgement {
    if tried.failed > bounds.failures {
        return Judgement::TakeBack(format!(
            "{} of {} failed where the generation that serves did not; {} may",
            tried.failed, tried.done, bounds.failures
        ));
    }
    if let (Some(new), Some(old)) = (tried.median(), serving.median())
        && new.as_secs_f64() > old.as_secs_f64() * bounds.slowdown
    {
        return Judgement::TakeBack(format!(
            "its median duration is {:.1} ms, more than {} times the {:.1} ms of the generation that serves",
            new.as_secs_f64() * 1e3,
            bounds.slowdown,
            old.as_secs_f64() * 1e3
        ));
    }
    if tried.done >= bounds.work { Judgement::Promote } else { Judgement::GoOn }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { work: 20, failures: 1, slowdown: 2.0 };

    fn tally(count: u32, milliseconds: u64) -> Tally {
        let mut tally = Tally::default();
        (0..count).for_each(|_| tally.succeed(Duration::from_millis(milliseconds)));
        tally
    }

    #[test]
    fn who_keeps_the_bounds_for_long_enough_is_promoted() {
        assert_eq!(judge(&BOUNDS, &tally(19, 150), &tally(100, 100)), Judgement::GoOn);
        assert_eq!(judge(&BOUNDS, &tally(20, 150), &tally(100, 100)), Judgement::Promote);
        assert_eq!(judge(&BOUNDS, &tally(20, 150), &Tally::default()), Judgement::Promote, "nothing to compare with");
    }

    #[test]
    fn the_first_breach_takes_back() {
        let mut tried = tally(3, 100);
        tried.fail();
        assert_eq!(judge(&BOUNDS, &tried, &tally(100, 100)), Judgement::GoOn, "one is forgiven");
        tried.fail();
        match judge(&BOUNDS, &tried, &tally(100, 100)) {
            Judgement::TakeBack(why) => assert!(why.contains("2 of 5"), "{why}"),
            other => panic!("{other:?}"),
        }
        match judge(&BOUNDS, &tally(10, 201), &tally(10, 100)) {
            Judgement::TakeBack(why) => assert!(why.contains("201.0 ms"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_few_slow_ones_prove_nothing() {
        assert_eq!(judge(&BOUNDS, &tally(9, 900), &tally(100, 100)), Judgement::GoOn);
        assert_eq!(judge(&BOUNDS, &tally(15, 900), &tally(9, 100)), Judgement::GoOn);
    }

    #[test]
    fn old_durations_make_room_for_new_ones() {
        let mut tally = tally(KEPT as u32, 1000);
        (0..KEPT).for_each(|_| tally.succeed(Duration::from_millis(1)));
        assert_eq!(tally.median(), Some(Duration::from_millis(1)));
        assert_eq!(tally.durations.len(), KEPT);
    }
}
