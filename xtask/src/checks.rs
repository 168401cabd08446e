//! What `cargo xtask test` runs, in order, each with its name and its time.
//!
//! System packages that a check needs are ensured before anything else runs.

use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::packages::Gpu;
use crate::workspace::Workspace;
use crate::{bench, dependencies, examples, progress, setup, system, testers};

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only this check; may be given more than once.
    #[arg(long, value_name = "CHECK")]
    only: Vec<Check>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The code is formatted.
    Format,
    /// The crates of others may come in: licences, sources, known faults.
    Dependencies,
    /// The compiler and clippy have nothing to say.
    Lints,
    /// The documentation builds without a warning.
    Docs,
    /// Every model can be built again, byte for byte.
    Models,
    /// Unit tests, and integration tests against the real host.
    Tests,
    /// The quickest benchmarks, at a fraction of their length: they work, and write what they should.
    Bench,
}

/// Sets up what the checks need and runs them. The first failure ends the run.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    let chosen = |check: &Check| options.only.is_empty() || options.only.contains(check);
    let checks: Vec<_> = Check::value_variants().iter().copied().filter(chosen).collect();
    if checks.contains(&Check::Tests) {
        set_up(workspace)?;
    }
    let start = Instant::now();
    let mut summary = Vec::new();
    for check in checks {
        let name = check.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        progress::note(&format!("== {name}"));
        let begin = Instant::now();
        check.run(workspace).with_context(|| format!("check `{name}` failed"))?;
        summary.push(format!("{name} {}", progress::seconds(begin.elapsed())));
    }
    progress::note(&format!("== passed in {}: {}", progress::seconds(start.elapsed()), summary.join(", ")));
    Ok(())
}

/// Sets up what the tests need. What the system lacks is found out first.
pub(crate) fn set_up(workspace: &Workspace) -> Result<()> {
    system::ensure_program("redis-server", "redis-server")?;
    examples::ensure_programs()?;
    testers::ensure_programs()?;
    setup::run(workspace)?;
    if !setup::openvino(workspace)? {
        progress::note("there is no OpenVINO for this system: its tests say that they are skipped");
    }
    if !setup::gpu(Gpu::Webgpu, workspace)? {
        progress::note("there is no WebGPU for this system: its test says that it is skipped");
    }
    if !system::unpack_program("promtool", "prometheus", &workspace.target.join("visavis-tests"))? {
        progress::note("there is no promtool: its test says that it is skipped");
    }
    examples::build(workspace)?;
    testers::install(workspace)
}

/// Checks the formatting.
pub(crate) fn format(workspace: &Workspace) -> Result<()> {
    setup::cargo(workspace, ["fmt", "--all", "--check"], &[])
        .context("the code is not formatted\n  mend: run `cargo fmt --all`")?;
    // A workspace of its own.
    setup::cargo(workspace, ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"], &[])
        .context("the code in fuzz/ is not formatted\n  mend: run `cargo fmt --manifest-path fuzz/Cargo.toml`")
}

impl Check {
    fn run(self, workspace: &Workspace) -> Result<()> {
        let cargo = |arguments: &[&str], variables| setup::cargo(workspace, arguments.iter().copied(), variables);
        match self {
            Self::Format => format(workspace),
            Self::Dependencies => dependencies::check(workspace),
            // In the profile of all else, whose macros and build scripts are there already.
            Self::Lints => cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"], &[]),
            Self::Docs => cargo(&["doc", "--release", "--no-deps", "--workspace"], &[("RUSTDOCFLAGS", "-D warnings")]),
            Self::Models => setup::rebuild_models(workspace).map(|done| progress::note(&done)),
            Self::Tests => cargo(&["test", "--release", "--workspace", "--no-fail-fast"], &[]),
            Self::Bench => bench::check(workspace),
        }
    }
}
