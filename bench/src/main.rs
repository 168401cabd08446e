//! Benchmarks: every figure beside its peer and its floor, measured in one run.
//!
//! Run by `cargo xtask bench`, which builds what is measured. Owns the list of benchmarks and what all of them share. Must
//! never judge a figure beyond saying whether a bound holds: a busy machine misses bounds that an idle one holds.
//!
//! # Layout
//!
//! - `queue`, `status`, `end_to_end`, `floor`, `backends`, `growth`, `host`, `inference`, `overload`, `gpu`: one benchmark each.
//! - `service`: visavis and its peer, as their clients see them. `peer`: its packages and processes.
//! - `networks`: the networks by themselves.
//! - `load`: callers that ask over HTTP, one after the other or at a constant rate.
//! - `sample`: figures of many rounds, and what is said of them.
//! - `report`: the table, the plot and the raw figures. `machine`: where and when they were taken.

mod backends;
mod end_to_end;
mod floor;
mod gpu;
mod growth;
mod host;
mod inference;
mod load;
mod machine;
mod networks;
mod overload;
mod peer;
mod queue;
mod report;
mod sample;
mod service;
mod status;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use crate::machine::Machine;
use crate::report::Report;

/// Measures visavis, its peers and its floors, and writes a table, a plot and the raw figures.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// What to measure; all, if nothing is named.
    names: Vec<String>,
    /// Say what there is to measure, and end.
    #[arg(long)]
    list: bool,
    /// Measure so briefly that the figures mean nothing: to see that all of it works.
    #[arg(long)]
    quick: bool,
    /// Where NAME.md, NAME.svg and NAME.json are written.
    #[arg(long, value_name = "FOLDER", default_value = "bench/results")]
    results: PathBuf,
    /// Be one of the servers that are compared, in a process of its own.
    #[arg(long, hide = true, value_name = "ADDRESS:PORT")]
    bare_server: Option<SocketAddr>,
}

/// One benchmark.
struct Benchmark {
    name: &'static str,
    about: &'static str,
    run: fn(Effort) -> Result<Report>,
}

const BENCHMARKS: [Benchmark; 10] = [
    Benchmark {
        name: "queue",
        about: "durable tasks a second of both queues, beside redis-benchmark",
        run: queue::run,
    },
    Benchmark { name: "status", about: "latency of GET /status at a constant rate", run: status::run },
    Benchmark {
        name: "end-to-end",
        about: "verifications a second, latency, memory and start, beside FastAPI, Celery and facenet-pytorch",
        run: end_to_end::run,
    },
    Benchmark {
        name: "floor",
        about: "the steps of a verification, beside the same code without a sandbox and ONNX Runtime alone",
        run: floor::run,
    },
    Benchmark {
        name: "backends",
        about: "every graph on ONNX Runtime and on OpenVINO, and the table that nn.backend = \"auto\" chooses by",
        run: backends::run,
    },
    Benchmark {
        name: "growth",
        about: "cost against size of photographs, faces, length of the line and number of nodes",
        run: growth::run,
    },
    Benchmark {
        name: "host",
        about: "requests a second around a gateway that only greets, beside wasmtime serve and bare hyper",
        run: host::run,
    },
    Benchmark {
        name: "inference",
        about: "inferences a second through wasi:nn, beside wasmtime's own ONNX backend",
        run: inference::run,
    },
    Benchmark {
        name: "overload",
        about: "what becomes of half as many to four times as many requests as can be done",
        run: overload::run,
    },
    Benchmark {
        name: "gpu",
        about: "verifications a second on a GPU, with and without batches; skipped where no GPU works",
        run: gpu::run,
    },
];

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// Enough that the figures can be believed.
    Full,
    /// Enough to see that it works.
    Quick,
}

impl Effort {
    /// One of two amounts.
    fn choose<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.bare_server {
        Some(address) => host::serve_bare(address),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for Benchmark { name, about, .. } in BENCHMARKS {
            println!("{name:<12} {about}");
        }
        return Ok(());
    }
    let chosen = choose(&arguments.names)?;
    let effort = if arguments.quick { Effort::Quick } else { Effort::Full };
    let mut failed = Vec::new();
    for benchmark in chosen {
        eprintln!("bench: {}: {}", benchmark.name, benchmark.about);
        match measure(benchmark, effort, &arguments.results) {
            Ok(table) => println!("{table}"),
            Err(error) if error.is::<gpu::Skipped>() => eprintln!("bench: {}: skipped: {error}", benchmark.name),
            Err(error) => {
                eprintln!("error: the benchmark `{}` failed: {error:#}", benchmark.name);
                failed.push(benchmark.name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Runs one benchmark, writes what it found, and yields the table.
fn measure(benchmark: &Benchmark, effort: Effort, results: &Path) -> Result<String> {
    let machine = Machine::look().context("the machine can not be described")?;
    let report = (benchmark.run)(effort)?;
    let table = report.write(results, benchmark.name, &machine, effort)?;
    eprintln!("bench: {}: written to {}", benchmark.name, results.display());
    Ok(table)
}

fn choose(names: &[String]) -> Result<Vec<&'static Benchmark>> {
    if names.is_empty() {
        return Ok(BENCHMARKS.iter().collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        match BENCHMARKS.iter().find(|benchmark| benchmark.name == name) {
            Some(benchmark) => chosen.push(benchmark),
            None => {
                let all: Vec<_> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
                bail!("there is no benchmark `{name}`\n  mend: choose of {}", all.join(", "));
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_are_chosen_by_name() {
        assert_eq!(choose(&[]).unwrap().len(), BENCHMARKS.len());
        assert_eq!(choose(&["status".to_owned()]).unwrap()[0].name, "status");
        let error = choose(&["statsu".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("`statsu`") && error.contains("queue, status"), "{error}");
    }
}
