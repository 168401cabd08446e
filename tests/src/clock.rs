//! The wall clock of processes that a test starts, which steps when the test says so.
//!
//! Owns the file that the preloaded library `step-clock` reads. Must never touch the machine's own clock.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::host::repository;

/// A wall clock; right at first.
#[derive(Debug)]
pub struct WallClock {
    folder: TempDir,
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock {
    /// A clock that is right.
    pub fn new() -> Self {
        let clock = Self { folder: TempDir::with_prefix("visavis-clock-").expect("a folder for temporary files") };
        clock.set(0);
        clock
    }

    /// The variables of the environment that put a process under this clock.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let library = repository().join("target/release/libstep_clock.so");
        assert!(library.is_file(), "{} is missing: run `cargo xtask setup`", library.display());
        let file = self.folder.path().join("ahead");
        [("LD_PRELOAD", library.display().to_string()), ("STEP_CLOCK", file.display().to_string())]
    }

    /// Lets it be ahead.
    pub fn ahead(&self, by: Duration) {
        self.set(by.as_millis().try_into().expect("milliseconds of a duration that tests use"));
    }

    /// Lets it be behind.
    pub fn behind(&self, by: Duration) {
        self.set(-i64::try_from(by.as_millis()).expect("milliseconds of a duration that tests use"));
    }

    fn set(&self, millis: i64) {
        // Renamed into place, so that no process reads half of it.
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("ahead"));
        fs::write(&new, millis.to_string()).and_then(|()| fs::rename(new, file)).expect("the folder can be written");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_reads_the_time_it_is_told() {
        const DAY: u64 = 24 * 3600;
        let clock = WallClock::new();
        let seconds = || {
            let output = Command::new("date").arg("+%s").envs(clock.environment()).output().expect("date is there");
            String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().expect("a number of seconds")
        };
        let right = seconds();
        clock.ahead(Duration::from_secs(DAY));
        assert!((right + DAY..right + DAY + 600).contains(&seconds()));
        clock.behind(Duration::from_secs(DAY));
        assert!((right - DAY..right - DAY + 600).contains(&seconds()));
    }
}
