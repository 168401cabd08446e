//! The compiler's target for components.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// What components are compiled to.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Adds the WebAssembly target to the toolchain that builds this repository.
pub(super) fn wasm_target(workspace: &Workspace) -> Result<Option<String>> {
    // The compiler is asked and not rustup: a distribution may ship the target without it.
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(&workspace.root);
    let answer = rustc.output().context("can not start rustc\n  mend: install Rust with rustup and run this again")?;
    let folder = String::from_utf8_lossy(&answer.stdout);
    if answer.status.success() && std::path::Path::new(folder.trim()).is_dir() {
        return Ok(None);
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(&workspace.root).stdin(Stdio::null());
    match rustup.output() {
        Ok(answer) if answer.status.success() => Ok(Some(format!("added {TARGET}"))),
        Ok(answer) => bail!(
            "`rustup target add {TARGET}` failed: {}\n  \
             mend: see that rustup reaches its server (network, proxy) and run this again",
            String::from_utf8_lossy(&answer.stderr).trim()
        ),
        Err(_) => bail!(
            "the Rust toolchain has no {TARGET} target, and there is no rustup to add it\n  \
             mend: install Rust with rustup, or install your distribution's standard library for {TARGET}"
        ),
    }
}
