//! `cargo xtask decisions`: what a scorer decides beside what is recorded.
//!
//! Knows where the program that compares comes from. Must never know a case.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup;
use crate::workspace::Workspace;

/// Options of `cargo xtask decisions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The scorer, a component.
    #[arg(value_name = "FILE", required_unless_present = "record")]
    scorer: Option<PathBuf>,
    /// Instead have the built-in scorer decide all cases anew, and write that down.
    #[arg(long, conflicts_with = "scorer")]
    record: bool,
}

/// Sets up, builds what compares, and hands over.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    if let Some(file) = options.scorer.as_ref().filter(|file| !file.is_file()) {
        bail!("there is no file {}\n  mend: build the scorer first, and name its component", file.display());
    }
    setup::components(workspace)?;
    setup::cargo(workspace, ["build", "--release", "--workspace", "--bin", "decisions"], &[])?;
    let program = workspace.target.join("release").join(format!("decisions{}", env::consts::EXE_SUFFIX));
    let status = Command::new(program).args(&options.scorer).status().context("can not start the comparison")?;
    if !status.success() {
        bail!("the scorer does not pass\n  mend: see above; wit/score.wit says what each decision must be");
    }
    Ok(())
}
