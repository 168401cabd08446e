//! Set-up and chores: `cargo xtask --help` lists them.
//!
//! # Layout
//!
//! - `setup`: the steps from a fresh clone to a host that can run; `toolchain`, `packages`, `models`, `builds`.
//! - `demo`: two verifications over HTTP; `host` starts and stops the program that answers them.
//! - `checks`: what `cargo xtask test` runs.
//! - `bench`: builds and runs the benchmarks.
//! - `dist`: the archive for machines without tools.
//! - `soak`: what `cargo xtask soak` runs. `fuzz`: makes up what strangers may send.
//! - `dependencies`: whether the crates of others may come in. `programs`: programs that come in packages.
//! - `examples`: the example scorers in several languages; `template` makes a folder from one, `decisions` compares one.
//! - `pip`, `packages`, `archive`: how pinned archives are fetched and opened. `files`: digests, whole files.
//! - `system`: programs of the system that tests run. `testers`: the tools that test from outside.
//! - `workspace`: where things lie. `progress`: what a person sees.

mod archive;
mod bench;
mod checks;
mod decisions;
mod demo;
mod dependencies;
mod dist;
mod examples;
mod files;
mod fuzz;
mod host;
mod packages;
mod pip;
mod programs;
mod progress;
mod setup;
mod soak;
mod system;
mod template;
mod testers;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Set-up and chores of visavis.
///
/// Downloads go through pip and npm, are pinned by version and digest, and are kept in $VISAVIS_CACHE or the user's cache folder;
/// everything made lies in cargo's target folder.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Make everything that the host needs: WebAssembly target, ONNX Runtime, models, photographs, components, host.
    Setup {
        /// Add OpenVINO, the other inference library (x86-64; 59 MB to fetch). `nn.backend = "openvino"` runs on it.
        #[arg(long)]
        openvino: bool,
        /// Add what computes on GPUs of this kind, for `nn.device = "gpu"` and `"auto"`; may be given more than once.
        #[arg(long, value_name = "KIND")]
        gpu: Vec<packages::Gpu>,
        /// Also what only the tests need: system packages, example scorers, Schemathesis, Playwright, mypy, pytest, TypeScript.
        #[arg(long)]
        tests: bool,
    },
    /// Set up, start the host, verify a matching and a non-matching pair of photographs, and stay up.
    Demo(demo::Options),
    /// Set up and run all checks: formatting, lints, documentation, models, tests.
    Test(checks::Options),
    /// Set up and run the tests of reliability at their full figures: kills, cuts, full disks, 10,000 tasks, random histories, and
    /// all that clients and operators do for ten minutes, or for as long as `soak mixed --minutes 60` asks.
    ///
    /// Takes about two hours on two cores, 3 GB of disk and 2 GB of memory. Each test says what it counted in a line that begins
    /// with `reliability:`. `cargo xtask test` runs the same tests with smaller figures.
    Soak(soak::Options),
    /// Make up photographs, requests and bundles, with AddressSanitizer, until something breaks or the time is over.
    ///
    /// Seeds are made from the sample photographs. What a target finds interesting is kept in target/visavis-fuzz, and its next run
    /// goes on from there. Needs Rust's nightly toolchain, which rustup fetches.
    Fuzz(fuzz::Options),
    /// Set up and measure visavis beside its peers and floors; tables and plots are written to bench/results.
    ///
    /// Nothing else should run on the machine. `--list` says what there is to measure, and bench/README.md how to read it.
    Bench(bench::Options),
    /// Measure anew between which numbers the embedder's tensors lie, for its conversion to 8-bit integers.
    ///
    /// Only after a change of the embedder or of how it is quantised. The model that follows from the new ranges has another
    /// digest, which set-up tells.
    Calibrate,
    /// Check the formatting alone.
    FmtCheck,
    /// Build the components alone.
    Components {
        /// Build the example scorers in Rust, Python and JavaScript instead, with the tools that this takes.
        #[arg(long)]
        examples: bool,
    },
    /// Pack the host with all that it needs into one archive, for machines without Rust, Python or network.
    Dist(dist::Options),
    /// Make a folder with a scorer to begin with, in Rust, Python or JavaScript.
    NewScorer(template::Options),
    /// Hold a scorer against the decisions in components/examples/cases.json, or record those of the built-in one anew.
    Decisions(decisions::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.chore) {
        Ok(code) => code,
        Err(error) => {
            progress::note(&report(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Setup { openvino, gpu, tests } => {
            if *tests {
                checks::set_up(&workspace)?;
            } else {
                setup::run(&workspace)?;
            }
            if *openvino && !setup::openvino(&workspace)? {
                bail!("there is no OpenVINO for this system{MEND}use nn.backend = \"onnx\", the default");
            }
            for kind in gpu {
                if !setup::gpu(*kind, &workspace)? {
                    bail!(
                        "there is nothing of that kind for GPUs of this system{MEND}use `--gpu webgpu`, or nn.device = \"cpu\""
                    );
                }
            }
        }
        Chore::Demo(options) => return demo::run(options, &workspace),
        Chore::Test(options) => checks::run(options, &workspace)?,
        Chore::Soak(options) => soak::run(options, &workspace)?,
        Chore::Fuzz(options) => fuzz::run(options, &workspace)?,
        Chore::Bench(options) => bench::run(options, &workspace)?,
        Chore::Calibrate => setup::calibrate(&workspace)?,
        Chore::FmtCheck => checks::format(&workspace)?,
        Chore::Components { examples: false } => setup::components(&workspace)?,
        Chore::Components { examples: true } => setup::examples(&workspace)?,
        Chore::Dist(options) => dist::run(options, &workspace)?,
        Chore::NewScorer(options) => template::run(options, &workspace)?,
        Chore::Decisions(options) => decisions::run(options, &workspace)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong, from the whole to its cause, and then the mends, which errors carry on a line of their own.
fn report(error: &anyhow::Error) -> String {
    let (mut causes, mut mends) = (Vec::new(), String::new());
    for cause in error.chain().map(ToString::to_string) {
        let (cause, mend) = cause.split_once(MEND).map_or((cause.as_str(), None), |(cause, mend)| (cause, Some(mend)));
        causes.push(cause.to_owned());
        mends.extend(mend.map(|mend| format!("{MEND}{mend}")));
    }
    format!("error: {}{mends}", causes.join(": "))
}

const MEND: &str = "\n  mend: ";

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_mend_comes_after_the_cause() {
        let error = anyhow!("in use").context("can not listen\n  mend: choose another address").context("demo");
        assert_eq!(report(&error), "error: demo: can not listen: in use\n  mend: choose another address");
    }
}
