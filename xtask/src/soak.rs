//! `cargo xtask soak`: the suites of reliability and of attacks, and what the host's own tests make up, at their full figures.
//!
//! Knows which tests belong to it and how they are asked for more. Must never know what they count; they say it themselves.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::workspace::Workspace;
use crate::{progress, setup, system};

/// The host's own tests that make something up: histories of the queue, whichever the backend; files of a queue that are damaged; calls
/// of guests to `wasi:nn`.
const MADE_UP: [&str; 3] = [
    "random_histories_follow_the_model",
    "anything_may_be_cut_off_zeroed_moved_or_changed",
    "made_up_tensors_are_computed_or_refused_and_change_nothing_after",
];

/// Options of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains this, as `workers`, `killed`, `mixed` or `random_histories`.
    name: Option<String>,
    /// How long the mixed load goes on, minutes: `soak mixed --minutes 60`.
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    minutes: u32,
    /// How many histories each backend of the queue is put through, how many files are damaged, and how many calls are made up.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    cases: u32,
}

/// Sets up what the tests need and runs them, one at a time, so that the figures they print are their own.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    system::ensure_program("redis-server", "redis-server")?;
    setup::run(workspace)?;
    let start = Instant::now();
    let name = options.name.as_deref().unwrap_or_default();
    let (cases, minutes) = (options.cases.to_string(), options.minutes.to_string());
    let tests = ["--test", "reliability", "--test", "hostile", "--", name, "--test-threads=1", "--nocapture"];
    test(workspace, &tests, &[("VISAVIS_SOAK", "1"), ("VISAVIS_SOAK_MINUTES", &minutes)])
        .context("the suite of reliability or that of attacks failed")?;
    // A name may mean a test of the suites, and then none of these; the other way round the suites have run nothing.
    let made_up = MADE_UP.into_iter().filter(|test| test.contains(name) || name.contains(test)).collect::<Vec<_>>();
    if !made_up.is_empty() {
        let tests = [&["--bin", "visavis", "--"], &made_up[..], &["--test-threads=1", "--nocapture"]].concat();
        test(workspace, &tests, &[("PROPTEST_CASES", &cases)])
            .context("what the host's tests make up broke something")?;
    }
    progress::note(&format!("== soaked in {}", progress::seconds(start.elapsed())));
    Ok(())
}

fn test(workspace: &Workspace, tests: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let arguments = ["test", "--release", "--workspace"].into_iter().chain(tests.iter().copied());
    setup::cargo(workspace, arguments.filter(|argument| !argument.is_empty()), variables)
}
