//! When to try again.
//!
//! Owns the policy, as pure functions. Must never know what failed.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);
/// The queue itself finds out when it is back, and refuses at once until then: asking it costs nothing, and whoever holds
/// a result must come back while the lease still holds.
const LONGEST_OUTAGE: Duration = Duration::from_secs(2);

/// How long a task waits after its try number `retries` (from 0) failed; `None` when it has had all `allowed` retries. The
/// wait doubles each time; `jitter` in 0 to 1 spreads it over its upper half, so that tasks which failed together do not
/// come back together.
pub(super) fn delay(retries: u32, allowed: u32, jitter: f64) -> Option<Duration> {
    (retries < allowed).then(|| spread(retries, jitter, LONGEST))
}

/// How long to leave the queue alone after `failures` looks in a row failed.
pub(super) fn outage(failures: u32, jitter: f64) -> Duration {
    spread(failures, jitter, LONGEST_OUTAGE)
}

/// A random number in 0 to 1.
pub(super) fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

fn spread(doublings: u32, jitter: f64, longest: Duration) -> Duration {
    let full = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(longest);
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        assert_eq!(delay(0, 3, 1.0), Some(Duration::from_millis(250)));
        assert_eq!(delay(1, 3, 1.0), Some(Duration::from_millis(500)));
        assert_eq!(delay(2, 3, 1.0), Some(Duration::from_secs(1)));
        assert_eq!(delay(3, 3, 1.0), None);
        assert_eq!(delay(0, 0, 1.0), None);
    }

    #[test]
    fn jitter_spreads_over_the_upper_half() {
        assert_eq!(outage(1, 0.0), Duration::from_millis(250));
        assert_eq!(outage(1, 0.5), Duration::from_millis(375));
        for _ in 0..100 {
            assert!((0.0..=1.0).contains(&jitter()));
        }
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        assert_eq!(delay(1000, u32::MAX, 1.0), Some(LONGEST));
        assert_eq!(outage(u32::MAX, 1.0), LONGEST_OUTAGE);
    }
}
