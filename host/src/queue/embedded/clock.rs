//! The time that the queue lives by.
//!
//! Owns the one rule about clocks: the wall clock is read once, at start; from there a clock that never steps counts on.
//! So a stamp can be written to disk and means something after a restart, and setting the wall clock moves no deadline
//! of a process that runs. A stamp from the future (the wall clock was set back between two starts) counts as now.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Stamp(pub(crate) u64);

impl Stamp {
    /// This much later; the end of time when there is no such stamp.
    pub(super) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_millis().try_into().unwrap_or(u64::MAX)))
    }

    /// How much later than `earlier`; nothing when it is not.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Says what time it is. Never goes back.
pub(crate) trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Stamp;
}

/// The clock of the operating system.
pub(super) struct System {
    started: Instant,
    at: Stamp,
}

impl System {
    /// Reads the wall clock, for the only time.
    pub(super) fn start() -> Self {
        let at = Stamp(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        Self { started: Instant::now(), at }
    }
}

impl Clock for System {
    fn now(&self) -> Stamp {
        self.at.after(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_saturate() {
        assert_eq!(Stamp(5).after(Duration::MAX), Stamp(u64::MAX));
        assert_eq!(Stamp(5).since(Stamp(7)), Duration::ZERO);
        assert_eq!(Stamp(7).since(Stamp(5)), Duration::from_millis(2));
    }

    #[test]
    fn the_system_clock_starts_at_the_wall_clock_and_goes_on() {
        let clock = System::start();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(clock.now().0.abs_diff(wall) < 1000);
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.now() >= before.after(Duration::from_millis(5)));
    }
}
