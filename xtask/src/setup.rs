//! Set-up: from a fresh clone to everything that the host needs. Each step checks what is there, by digest, and does only
//! what is missing, so that a second run does nothing and an interrupted one goes on where it was.
//!
//! Knows the order of the steps. It must never know what the made things are for.

mod builds;
mod models;
mod packages;
mod toolchain;

use std::time::Instant;

use anyhow::Result;

use crate::packages::{Gpu, Packages};
use crate::workspace::Workspace;
use crate::{examples, progress};

pub(crate) use builds::{cargo, cargo_in, forget_this_package};
pub(crate) use models::rebuild as rebuild_models;
pub(crate) use packages::take;
pub(crate) use toolchain::TARGET;

/// Makes everything that `visavis serve`, the demo and the tests need.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let start = Instant::now();
    assets(workspace)?;
    progress::step("host", || builds::host(workspace))?;
    progress::note(&format!("set-up: everything is in place ({})", progress::seconds(start.elapsed())));
    Ok(())
}

/// Adds OpenVINO, which `nn.backend = "openvino"` runs on. Answers whether there is one for this system.
pub(crate) fn openvino(workspace: &Workspace) -> Result<bool> {
    let pinned = Packages::pinned()?;
    let packages = pinned.openvino(&system());
    progress::step("openvino", || packages::take(&packages, workspace))?;
    Ok(!packages.is_empty())
}

/// Adds what computes on GPUs of a kind, which `nn.device = "gpu"` and `"auto"` look for. Answers whether there is any for this
/// system.
pub(crate) fn gpu(kind: Gpu, workspace: &Workspace) -> Result<bool> {
    let pinned = Packages::pinned()?;
    let packages = pinned.gpu(kind, &system());
    if kind == Gpu::Openvino {
        openvino(workspace)?;
    }
    progress::step("gpu", || packages::take(&packages, workspace))?;
    Ok(!packages.is_empty())
}

/// `<operating system>-<processor>`, as in the list of packages.
fn system() -> String {
    format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Makes everything that the host needs besides its program.
pub(crate) fn assets(workspace: &Workspace) -> Result<()> {
    let pinned = Packages::pinned()?;
    progress::step("toolchain", || toolchain::wasm_target(workspace))?;
    progress::step("libraries", || packages::take(&pinned.libraries(&system())?, workspace))?;
    progress::step("models", || models::make(workspace))?;
    progress::step("photographs", || packages::take(&pinned.photographs(), workspace))?;
    progress::step("components", || builds::components(workspace))
}

/// Measures the ranges that the quantised embedder is made with and writes them into the repository.
pub(crate) fn calibrate(workspace: &Workspace) -> Result<()> {
    assets(workspace)?;
    cargo(workspace, ["run", "--release", "--package", "face", "--example", "calibrate"], &[])
}

/// Builds the components alone.
pub(crate) fn components(workspace: &Workspace) -> Result<()> {
    progress::step("toolchain", || toolchain::wasm_target(workspace))?;
    progress::step("components", || builds::components(workspace))
}

/// Builds the example scorers alone, which the tests need and no host does.
pub(crate) fn examples(workspace: &Workspace) -> Result<()> {
    examples::ensure_programs()?;
    progress::step("toolchain", || toolchain::wasm_target(workspace))?;
    examples::build(workspace)
}
