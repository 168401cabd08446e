//! `cargo xtask soak`: the suites of reliability and of attacks, and the queue's random histories, at their full figures.
//!
//! Knows which tests belong to it and how they are asked for more. Must never know what they count; they say it themselves.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use crate::{progress, setup, system};

/// What the test of random histories is called, whichever the backend.
const HISTORIES: &str = "random_histories_follow_the_model";

/// Options of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains this, as `workers`, `killed`, `mixed` or `random_histories`.
    name: Option<String>,
    /// How long the mixed load goes on, minutes: `soak mixed --minutes 60`.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    minutes: u32,
    /// How many random histories each backend of the queue is put through.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    histories: u32,
}

/// Sets up what the tests need and runs them, one at a time, so that the figures they print are their own.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    system::ensure_program("redis-server", "redis-server")?;
    setup::run(workspace)?;
    let start = Instant::now();
    let name = options.name.as_deref().unwrap_or_default();
    let (histories, minutes) = (options.histories.to_string(), options.minutes.to_string());
    let tests = ["--test", "reliability", "--test", "hostile", "--", name, "--test-threads=1", "--nocapture"];
    test(workspace, &tests, &[("VISAVIS_SOAK", "1"), ("VISAVIS_SOAK_MINUTES", &minutes)])
        .context("the suite of reliability or that of attacks failed")?;
    // A name may mean a test of the suites, and then no history; the other way round the suite has run nothing.
    if HISTORIES.contains(name) || name.contains(HISTORIES) {
        let tests = ["--bin", "visavis", "--", HISTORIES, "--test-threads=1", "--nocapture"];
        test(workspace, &tests, &[("PROPTEST_CASES", &histories)]).context("the random histories failed")?;
    }
    progress::note(&format!("== soaked in {}", progress::seconds(start.elapsed())));
    Ok(())
}

fn test(workspace: &Workspace, tests: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let arguments = ["test", "--release", "--workspace"].into_iter().chain(tests.iter().copied());
    setup::cargo(workspace, arguments.filter(|argument| !argument.is_empty()), variables)
}
