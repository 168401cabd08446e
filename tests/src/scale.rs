//! How much a test of reliability, or an attack, does.
//!
//! Owns the one knob: `VISAVIS_SOAK` set to anything but `0` asks for the full figures. Must never know what is counted.

use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

/// Whether the full figures are asked for, as `cargo xtask soak` does.
pub fn is_soak() -> bool {
    std::env::var_os("VISAVIS_SOAK").is_some_and(|value| !value.is_empty() && value != "0")
}

/// A figure: of the tests that always run, or of a soak.
pub fn scale<T>(test: T, soak: T) -> T {
    if is_soak() { soak } else { test }
}

/// One run of a scenario, which ends in a line of what it counted.
#[derive(Debug)]
pub struct Run {
    suite: &'static str,
    name: &'static str,
    start: Instant,
}

impl Run {
    /// Begins a scenario of reliability.
    pub fn of(name: &'static str) -> Self {
        Self { suite: "reliability", name, start: Instant::now() }
    }

    /// Begins an attack.
    pub fn attack(name: &'static str) -> Self {
        Self { suite: "hostile", ..Self::of(name) }
    }

    /// So long it has run.
    pub fn took(&self) -> Duration {
        self.start.elapsed()
    }

    /// Says what was counted. It is seen also when the test passes: the line goes past the capture of its output.
    pub fn counted(&self, figures: &str) {
        let line = format!("{}: {}: {figures}; {:.1} s\n", self.suite, self.name, self.took().as_secs_f64());
        // Nobody may be listening.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// How figures lie.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Half of them are less.
    pub median: f64,
    /// One in ten is less.
    pub low: f64,
    /// One in ten is more.
    pub high: f64,
}

impl Spread {
    /// The spread of some figures, one at least.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted[(sorted.len() - 1) * share / 10];
        Self { count: sorted.len(), median: at(5), low: at(1), high: at(9) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, median, low, high } = self;
        write!(f, "median {median:.2} (p10 {low:.2}, p90 {high:.2}, n {count})")
    }
}

/// Waits until something holds.
pub fn wait_for(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
