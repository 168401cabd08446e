//! `cargo xtask bench`: builds what is measured and what measures, and hands over.
//!
//! Knows what each benchmark needs of the system. Must never know a figure.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::workspace::Workspace;
use crate::{files, progress, setup, system};

/// Options of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure; all, if nothing is named.
    names: Vec<String>,
    /// Say what there is to measure, and end.
    #[arg(long)]
    list: bool,
    /// Measure so briefly that the figures mean nothing: to see that all of it works.
    #[arg(long)]
    quick: bool,
    /// Where the tables and plots are written [default: bench/results in the repository].
    #[arg(long, value_name = "FOLDER")]
    results: Option<PathBuf>,
}

/// Sets up, builds and measures.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    if options.list {
        let program = build(workspace)?;
        return execute(Command::new(program).arg("--list"));
    }
    system::ensure_program("redis-server", "redis-server")?;
    system::ensure_program("redis-benchmark", "redis-tools")?;
    let chosen =
        |names: &[&str]| options.names.is_empty() || options.names.iter().any(|name| names.contains(&name.as_str()));
    setup::run(workspace)?;
    if chosen(&["backends"]) && !setup::openvino(workspace)? {
        progress::note(
            "there is no OpenVINO for this system: ONNX Runtime is measured alone, and the table stays as it is",
        );
    }
    let program = build(workspace)?;
    let mut command = Command::new(program);
    command.args(&options.names).current_dir(&workspace.root).env("VISAVIS_BIN", workspace.host());
    command.env("VISAVIS_ASSETS", &workspace.assets).env("VISAVIS_CACHE", &workspace.downloads);
    if chosen(&["queue", "inference", "host", "backends"]) {
        command.env("VISAVIS_PACE_BIN", host_tests(workspace)?);
    }
    if chosen(&["inference"]) {
        command.env("VISAVIS_STOCK_BIN", stock(workspace)?);
    }
    if options.quick {
        command.arg("--quick");
    }
    if let Some(folder) = &options.results {
        command.arg("--results").arg(env::current_dir()?.join(folder));
    }
    execute(&mut command)
}

/// Runs the quickest of the benchmarks, and sees that they write what they should.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let results = workspace.target.join("visavis-bench/quick");
    if results.exists() {
        fs::remove_dir_all(&results).map_err(|error| files::refusal(&results, &error))?;
    }
    let names = QUICKEST.map(str::to_owned).to_vec();
    run(&Options { names, list: false, quick: true, results: Some(results.clone()) }, workspace)?;
    for name in QUICKEST {
        for ending in ["md", "svg", "json"] {
            let path = results.join(format!("{name}.{ending}"));
            ensure!(path.is_file(), "{} was not written", path.display());
        }
    }
    Ok(())
}

/// Those that take a few seconds and need nothing that tests do not need anyway.
const QUICKEST: [&str; 5] = ["queue", "status", "floor", "growth", "host"];

/// The program that measures. For the whole workspace, as set-up builds the host, so that nothing is compiled twice.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    setup::cargo(workspace, ["build", "--release", "--workspace", "--bin", "visavis-bench"], &[])?;
    Ok(workspace.target.join("release").join(format!("visavis-bench{}", env::consts::EXE_SUFFIX)))
}

/// wasmtime's wasi-nn around its own ONNX backend. Its wasmtime is compiled apart from the host's, some minutes once.
fn stock(workspace: &Workspace) -> Result<PathBuf> {
    let (folder, target) = (workspace.root.join("bench/stock"), workspace.target.join("visavis-bench/stock"));
    setup::cargo_in(&folder, &target, ["build", "--release", "--locked"])?;
    Ok(target.join("release").join(format!("visavis-bench-stock{}", env::consts::EXE_SUFFIX)))
}

/// The host's own tests as a program: among them are measurements of its parts.
fn host_tests(workspace: &Workspace) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.args(["test", "--release", "--workspace", "--bin", "visavis", "--no-run"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    command.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target);
    setup::forget_this_package(&mut command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("can not start cargo")?;
    ensure!(output.status.success(), "the host's tests can not be built\n  mend: see cargo's messages above");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages
        .find_map(|message| {
            let target = message.target?;
            let is_host = target.name == "visavis" && target.kind.iter().any(|kind| kind == "bin");
            message.executable.filter(|_| is_host)
        })
        .context("cargo names no program with the host's tests")
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().context("can not start the benchmarks")?;
    if !status.success() {
        bail!("the benchmarks failed\n  mend: see the message above");
    }
    Ok(())
}
