//! What cargo builds: the components and the host. Cargo itself knows what is out of date.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::toolchain::TARGET;
use crate::files;
use crate::workspace::Workspace;

/// The packages that become WebAssembly components.
const COMPONENTS: [&str; 4] = ["gateway", "analyzer", "scorer", "annotator"];

/// The components that only tests and benchmarks plug in: the package, and the file's name.
const FOR_TESTS: [(&str, &str); 6] = [
    ("stub-analyzer", "stub_analyzer"),
    ("wayward-scorer", "wayward_scorer"),
    ("hostile-analyzer", "hostile_analyzer"),
    ("hostile-gateway", "hostile_gateway"),
    ("hello-gateway", "hello_gateway"),
    ("inferring-analyzer", "inferring_analyzer"),
];

/// The library that tests set a process' clock with.
const CLOCK: &str = "step-clock";

/// Builds the components and puts them into the assets folder; what only tests use lies beside it.
pub(super) fn components(workspace: &Workspace) -> Result<Option<String>> {
    let packages = COMPONENTS.into_iter().chain(FOR_TESTS.map(|(package, _)| package));
    let packages = packages.flat_map(|name| ["--package", name]);
    cargo(workspace, ["build", "--release", "--target", TARGET].into_iter().chain(packages), &[])?;
    cargo(workspace, ["build", "--release", "--package", CLOCK], &[])?;
    let assets = COMPONENTS.map(|name| (name, workspace.assets.join("components")));
    let for_tests = FOR_TESTS.map(|(_, name)| (name, workspace.target.join("visavis-tests")));
    let mut done = Vec::new();
    for (name, folder) in assets.into_iter().chain(for_tests) {
        let file = format!("{name}.wasm");
        let built = workspace.target.join(TARGET).join("release").join(&file);
        let bytes = fs::read(&built).with_context(|| format!("can not read {}", built.display()))?;
        if files::write_if_changed(&folder.join(file), &bytes)? {
            done.push(name);
        }
    }
    Ok((!done.is_empty()).then(|| done.join(", ")))
}

/// Builds the host.
///
/// For the whole workspace, so that its libraries get the features that the tests get: else cargo would compile wasmtime
/// twice, once for the demo and once for the tests.
pub(super) fn host(workspace: &Workspace) -> Result<Option<String>> {
    let before = files::digest(&workspace.host())?;
    cargo(workspace, ["build", "--release", "--workspace", "--bin", "visavis"], &[])?;
    let after = files::digest(&workspace.host())?;
    Ok((before != after).then(|| "visavis".to_owned()))
}

/// Runs cargo on this repository, with its messages on stderr and variables added to its environment.
pub(crate) fn cargo<'a>(
    workspace: &Workspace,
    arguments: impl IntoIterator<Item = &'a str>,
    variables: &[(&str, &str)],
) -> Result<()> {
    run(&workspace.root, &workspace.target, arguments, variables)
}

/// Runs cargo on another package, whose target folder is `target`.
pub(crate) fn cargo_in<'a>(folder: &Path, target: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    run(folder, target, arguments, &[])
}

/// Takes away what `cargo run` has told this program about itself. Build scripts of others watch such variables, and what they
/// build would be built again whenever cargo is called here and by hand in turns: half the host.
pub(crate) fn forget_this_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
}

fn run<'a>(
    folder: &Path,
    target: &Path,
    arguments: impl IntoIterator<Item = &'a str>,
    variables: &[(&str, &str)],
) -> Result<()> {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let arguments: Vec<_> = arguments.into_iter().collect();
    let mut command = Command::new(program);
    command.args(&arguments).current_dir(folder);
    command.env("CARGO_TARGET_DIR", target).envs(variables.iter().copied());
    forget_this_package(&mut command);
    let status =
        command.status().context("can not start cargo\n  mend: install Rust with rustup and run this again")?;
    if !status.success() {
        bail!("`cargo {}` failed\n  mend: see cargo's messages above", arguments.join(" "));
    }
    Ok(())
}
