//! visavis: a WebAssembly component host that verifies faces.
//!
//! Owns nothing: reads the arguments, loads the configuration, and hands over.
//!
//! # Layout
//!
//! - `app`: wires the rooms; `serve` from start to drain.
//! - `cli`: the commands that need no server: verify, calibrate, analyze, compile, queue, keys, doctor, components.
//! - `arguments`, `config`: what was asked for.
//! - `edge`: the public door. `admin`: the operators' door. `wire`: HTTP/1.1 as both speak it. `worker`: tasks, photographs, results. They meet in `queue`.
//! - `rollout`: swaps components while the host runs. `pipeline`: from two photographs to a result.
//! - `runtime`: components in their sandbox. `nn`: the networks they run.
//! - `error_rates`: what comparisons of known truth say of a threshold.
//! - `webhook`: tells clients of their tasks' ends.
//! - `auth`: API keys.
//! - `task`: the data that travels. `secret`: files that hold one. `memory`: of this process, which stays there. `telemetry`: the
//!   log, metrics and traces.

mod admin;
mod app;
mod arguments;
mod auth;
mod cli;
mod config;
mod edge;
mod error_rates;
mod memory;
mod nn;
mod pipeline;
mod queue;
mod rollout;
mod runtime;
mod secret;
mod task;
mod telemetry;
mod webhook;
mod wire;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::config::{Config, Source, Surroundings};

#[allow(clippy::disallowed_methods, reason = "ONNX Runtime listens to nothing else")]
fn main() -> ExitCode {
    // ONNX Runtime from 1.29 on reports processes, sessions and models to its maker unless this is set when it is loaded; to
    // switch that off through its interface comes too late for the first reports, and leaves an identifier on the disk.
    // SAFETY: no other thread runs yet that could read the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("visavis: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A command whose output nobody reads any more, as in `visavis … | head`, ends quietly as other commands do. Rust ignores the
/// signal by default, and printing would panic.
fn end_with_the_reader() {
    // SAFETY: no handler is installed; the signal gets back the disposition that the process was born with.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

fn run() -> anyhow::Result<ExitCode> {
    memory::keep_to_itself()?;
    let arguments = Arguments::parse();
    if !matches!(arguments.command, Command::Serve(_)) {
        end_with_the_reader();
    }
    // These need no configuration, and none that is wrong shall keep them from their work.
    if let Some(done) = cli::manual::run(&arguments.command) {
        return done;
    }
    let surroundings = Surroundings::of_process()?;
    let config = Config::load(&arguments.overrides(), arguments.config.as_deref(), &surroundings)?;
    // A command of a moment says what it has to say by its output; its log is for when somebody asks.
    let quiet = !matches!(arguments.command, Command::Serve(_)) && config.source("telemetry.log") == Source::default();
    let log = if quiet { telemetry::Filter::quiet() } else { config.telemetry.log.clone() };
    telemetry::init(&telemetry::Config { log, ..config.telemetry.clone() })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.command {
        Command::Serve(_) => runtime.block_on(app::serve(&config)).map(|()| ExitCode::SUCCESS),
        Command::Verify(verify) => runtime.block_on(cli::verify::run(&config, &verify)),
        Command::Calibrate(calibrate) => runtime.block_on(cli::calibrate::run(&config, &calibrate)),
        Command::Analyze(analyze) => runtime.block_on(cli::analyze::run(&config, &analyze)),
        Command::Compile(compile) => cli::compile::run(&config, &compile),
        Command::Queue(queue) => runtime.block_on(cli::queue::run(&config, &queue.command)),
        Command::Nodes(nodes) => runtime.block_on(cli::nodes::run(&config, &nodes)),
        Command::Doctor(doctor) => Ok(runtime.block_on(cli::doctor::run(&config, &doctor))),
        Command::Health(health) => Ok(runtime.block_on(cli::health::run(&config, &health))),
        Command::Purge(purge) => runtime.block_on(cli::purge::run(&config, &purge)),
        Command::Keys(keys) => cli::keys::run(&config, &keys.command),
        Command::Components(components) => runtime.block_on(cli::components::run(&config, &components.command)),
        Command::Completions(_) | Command::Man(_) => Ok(ExitCode::SUCCESS),
    }
}
