//! How fast the queue drains, and from that, when a client that was refused should come back and how long the line takes.
//!
//! The clock of the average runs only while there is something to do: a quiet hour says nothing of how fast tasks are done.
//! `redis/lua/ledger.lua` counts in the same way.

use std::time::Duration;

use super::clock::Stamp;

/// The average is over about this long.
const WINDOW: Duration = Duration::from_secs(10);
/// Before anything was settled, the rate is taken for one task in so long.
const FIRST: Duration = Duration::from_secs(1);
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);
/// The part of the age that is promised to tasks; the rest is for the errors of the guess.
const PROMISED: f64 = 0.8;

/// An exponentially weighted moving average of tasks settled a second, while there was something to do.
pub(super) struct Drain {
    /// Since when there has been something to do, and the average knows nothing of it; `None` while there is nothing.
    from: Option<Stamp>,
    /// How long there was something to do before.
    seen: Duration,
    /// Tasks a second as of then, not yet corrected for the time before the first.
    rate: f64,
}

impl Drain {
    pub(super) fn new() -> Self {
        // As if one task had been settled in that time.
        Self { from: None, seen: FIRST, rate: 1.0 / WINDOW.as_secs_f64() }
    }

    /// Takes down whether there is something to do from now on.
    pub(super) fn observe(&mut self, busy: bool, now: Stamp) {
        self.from = busy.then(|| self.from.unwrap_or(now));
    }

    /// Counts one settled task.
    pub(super) fn count(&mut self, now: Stamp) {
        let gap = self.gap(now);
        self.rate = self.rate * fade(gap) + 1.0 / WINDOW.as_secs_f64();
        self.seen += gap;
        self.from = Some(now);
    }

    /// When to try again, with `waiting` tasks in line: once a tenth of them is done, so that those who come back find
    /// room instead of fighting for a single place. Between 1 and 60 seconds.
    pub(super) fn retry_after(&self, waiting: u64, now: Stamp) -> Duration {
        let seconds = (waiting as f64 / 10.0).max(1.0) / self.per_second(now);
        if seconds.is_finite() && seconds < LATEST.as_secs_f64() {
            Duration::from_secs_f64(seconds).max(SOONEST)
        } else {
            LATEST
        }
    }

    /// Whether one more task, behind `waiting` others and with `running` before them, will have ended before it is older than
    /// `max_age`. An empty line always takes one: whether it is done in time, nobody can tell before.
    pub(super) fn admits(&self, waiting: u64, running: u64, max_age: Duration, now: Stamp) -> bool {
        let tasks = waiting.saturating_add(running).saturating_add(1);
        waiting == 0 || tasks as f64 <= self.per_second(now) * max_age.as_secs_f64() * PROMISED
    }

    fn per_second(&self, now: Stamp) -> f64 {
        let gap = self.gap(now);
        // An average that began at zero is too low by the weight of the time before it began.
        self.rate * fade(gap) / (1.0 - fade(self.seen + gap))
    }

    fn gap(&self, now: Stamp) -> Duration {
        self.from.map_or(Duration::ZERO, |from| now.since(from))
    }
}

/// The weight that is left of something `ago`.
fn fade(ago: Duration) -> f64 {
    (-ago.as_secs_f64() / WINDOW.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(30);

    fn settle_every(gap: u64, count: u64) -> (Drain, Stamp) {
        let mut drain = Drain::new();
        drain.observe(true, Stamp(0));
        for i in 1..=count {
            drain.count(Stamp(i * gap));
        }
        (drain, Stamp(count * gap))
    }

    /// How many may wait, with two that run, until the next is refused.
    fn room(drain: &Drain, now: Stamp) -> u64 {
        (0..).find(|waiting| !drain.admits(*waiting, 2, AGE, now)).unwrap()
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
        assert_eq!(Drain::new().retry_after(1000, Stamp(9)), LATEST, "nothing was settled yet");
    }

    #[test]
    fn the_line_is_as_long_as_what_is_done_in_time() {
        for (gap, count) in [(500, 20), (500, 2000), (50, 2000), (5000, 50)] {
            let (drain, now) = settle_every(gap, count);
            let exact = PROMISED * AGE.as_millis() as f64 / gap as f64;
            let room = room(&drain, now) as f64 + 2.0;
            // Right after a task the average is high by half a task's weight.
            let error = 0.1 + gap as f64 / 2.0 / WINDOW.as_millis() as f64;
            assert!((room / exact - 1.0).abs() <= error + 1.0 / exact, "every {gap} ms: room for {room}, not {exact}");
        }
    }

    #[test]
    fn a_cold_start_takes_one_task_a_second_and_learns_at_once() {
        let mut drain = Drain::new();
        assert!((20..=26).contains(&room(&drain, Stamp(0))), "{}", room(&drain, Stamp(0)));
        drain.observe(true, Stamp(0));
        assert!(room(&drain, Stamp(5000)) < 6, "nothing in five seconds");
        for at in 1..=20 {
            drain.count(Stamp(5000 + at * 50));
        }
        assert!(room(&drain, Stamp(6000)) > 40, "{}", room(&drain, Stamp(6000)));
    }

    #[test]
    fn a_quiet_hour_is_not_counted_and_a_standstill_is() {
        let (mut drain, now) = settle_every(50, 1000);
        let (before, later) = (room(&drain, now), Stamp(now.0 + 3_600_000));
        drain.observe(false, now);
        assert_eq!(room(&drain, later), before);
        drain.observe(true, later);
        assert_eq!(room(&drain, later), before);
        let later = Stamp(later.0 + 60_000);
        assert!(room(&drain, later) <= 2, "nothing was settled for a minute");
        assert!(drain.admits(0, 2, AGE, Stamp(later.0 + 3_600_000)), "nobody waits");
        for at in 1..=100 {
            drain.count(Stamp(later.0 + at * 50));
        }
        let after = room(&drain, Stamp(later.0 + 5000));
        assert!(after > before / 4, "{after} of {before} again after five seconds");
    }
}
