//! How often a key may ask.
//!
//! Owns the count: a bucket that fills at an even rate, and from which each request takes one. Must never know which key.

use std::time::{Duration, Instant};

const MINUTE: f64 = 60.0;

/// What is left of a key's requests. As many as there are for a minute may come at once after a quiet one.
#[derive(Debug)]
pub(super) struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    /// A full bucket.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self { left: f64::from(per_minute), at: now }
    }

    /// Takes one request out, or says how long it takes until there is one.
    pub(super) fn take(&mut self, per_minute: u32, now: Instant) -> Result<(), Duration> {
        let (most, passed) = (f64::from(per_minute), now.saturating_duration_since(self.at).as_secs_f64());
        self.at = self.at.max(now);
        self.left = (self.left + passed * most / MINUTE).min(most);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.left) * MINUTE / most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_requests_and_an_even_rate_after_them() {
        let start = Instant::now();
        let mut pace = Pace::new(6, start);
        for _ in 0..6 {
            pace.take(6, start).unwrap();
        }
        assert_eq!(pace.take(6, start).unwrap_err(), Duration::from_secs(10));
        let later = start + Duration::from_secs(5);
        assert_eq!(pace.take(6, later).unwrap_err().as_secs_f64().round(), 5.0);
        pace.take(6, start + Duration::from_millis(10_001)).unwrap();
        assert!(pace.take(6, start + Duration::from_millis(10_002)).is_err());
        // A quiet hour is worth no more than a minute.
        let hour = start + Duration::from_secs(3600);
        for _ in 0..6 {
            pace.take(6, hour).unwrap();
        }
        assert!(pace.take(6, hour).is_err());
        // A limit that was lowered holds at once, and a clock that steps back takes nothing.
        let next = hour + Duration::from_secs(60);
        assert!(pace.take(1, next).is_ok() && pace.take(1, next).is_err());
        assert!(pace.take(1, start).is_err());
    }
}
