//! How fast the queue drains, and from that, when a client that found it full should come back.

use std::time::Duration;

use super::clock::Stamp;

/// The average is over about this long.
const WINDOW: Duration = Duration::from_secs(30);
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);

/// An exponentially weighted moving average of tasks settled a second.
pub(super) struct Drain {
    started: Stamp,
    last: Stamp,
    /// Tasks a second as of `last`, not yet corrected for the time before `started`.
    rate: f64,
}

impl Drain {
    pub(super) fn new(now: Stamp) -> Self {
        Self { started: now, last: now, rate: 0.0 }
    }

    /// Counts one settled task.
    pub(super) fn count(&mut self, now: Stamp) {
        self.rate = self.rate * fade(now.since(self.last)) + 1.0 / WINDOW.as_secs_f64();
        self.last = now;
    }

    /// When to try again, with `waiting` tasks in line: once a tenth of them is done, so that those who come back find
    /// room instead of fighting for a single place. Between 1 and 60 seconds.
    pub(super) fn retry_after(&self, waiting: u64, now: Stamp) -> Duration {
        // An average that began at zero is too low by the weight of the time before it began.
        let seen = 1.0 - fade(now.since(self.started));
        let rate = self.rate * fade(now.since(self.last)) / seen.max(f64::EPSILON);
        let seconds = (waiting as f64 / 10.0).max(1.0) / rate;
        if seconds.is_finite() && seconds < LATEST.as_secs_f64() {
            Duration::from_secs_f64(seconds).max(SOONEST)
        } else {
            LATEST
        }
    }
}

/// The weight that is left of something `ago`.
fn fade(ago: Duration) -> f64 {
    (-ago.as_secs_f64() / WINDOW.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle_every(gap: u64, count: u64) -> (Drain, Stamp) {
        let mut drain = Drain::new(Stamp(0));
        for i in 1..=count {
            drain.count(Stamp(i * gap));
        }
        (drain, Stamp(count * gap))
    }

    #[test]
    fn the_guess_is_the_time_for_a_tenth_of_the_line() {
        for count in [20, 200, 2000] {
            let (drain, now) = settle_every(500, count);
            let guess = drain.retry_after(200, now).as_secs_f64();
            assert!((8.0..12.0).contains(&guess), "after {count} settles: {guess} s for 20 tasks at 2/s");
        }
    }

    #[test]
    fn the_guess_has_bounds() {
        let (fast, now) = settle_every(1, 10_000);
        assert_eq!(fast.retry_after(10, now), SOONEST);
        assert_eq!(fast.retry_after(10, Stamp(now.0 + 3_600_000)), LATEST, "nothing was settled for an hour");
        assert_eq!(Drain::new(Stamp(9)).retry_after(1000, Stamp(9)), LATEST, "nothing was settled yet");
    }
}
