//! Whether the crates of others may come in, by `deny.toml`: their licences, where they come from, which may need which, and what is
//! known against them.
//!
//! Knows how cargo-deny is asked. Must never decide what is allowed.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::packages::Program;
use crate::workspace::Workspace;
use crate::{programs, progress};

/// What can be told from the crates alone.
const OURS: [&str; 3] = ["bans", "licenses", "sources"];

/// Asks about everything. Known faults are listed elsewhere; where that list cannot be had, it is said and not held against anybody.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let Some(program) = programs::take(Program::Deny, workspace)? else {
        progress::note("there is no cargo-deny for this system: crates are not judged");
        return Ok(());
    };
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        // A note about each crate of which there are two versions would hide what is wrong.
        command.args(["--log-level", "error", "--locked"]).args(arguments).current_dir(&workspace.root);
        command.stdin(Stdio::null());
        command
    };
    judge(ask(&["check"]).args(OURS))?;
    progress::note(&format!("{} of all crates are as deny.toml asks", OURS.join(", ")));
    let fetched = ask(&["fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !fetched.context("can not start cargo-deny")?.success() {
        progress::note("the list of known faults cannot be reached: advisories were not looked up");
        return Ok(());
    }
    judge(ask(&["check"]).args(["--disable-fetch", "advisories"]))
}

fn judge(command: &mut Command) -> Result<()> {
    let status = command.status().context("can not start cargo-deny")?;
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    ensure!(
        status.success(),
        "`cargo-deny {}` found something\n  mend: see above; another version may be without it, or deny.toml names the exception \
         with its reason",
        arguments.join(" ")
    );
    Ok(())
}
