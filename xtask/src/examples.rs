//! The example scorers, built in every language, with the tools that this takes.
//!
//! Owns the steps and what they depend on. Each example is built in a folder made from it as `new-scorer` makes one, with the
//! command of its README. Must never know what a scorer decides.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use crate::packages::Packages;
use crate::setup::{TARGET, cargo_in, take};
use crate::template::{self, Language};
use crate::workspace::Workspace;
use crate::{files, progress, system};

/// The oldest Node.js that the parser in componentize-js has a build for.
const NODE: u32 = 20;

/// Makes sure that the system has what the builds run.
pub(crate) fn ensure_programs() -> Result<()> {
    system::ensure_program("node", "nodejs")?;
    system::ensure_program("npm", "npm")?;
    let answer = Command::new("node").arg("--version").stdin(Stdio::null()).output().context("can not start node")?;
    let version = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    ensure!(
        major.is_some_and(|major| major >= NODE),
        "Node.js is `{version}`, but the scorer in JavaScript needs {NODE} or newer to be built\n  \
         mend: install a newer Node.js, so that `node --version` finds it"
    );
    Ok(())
}

/// Builds all examples that changed since they were built, into the assets folder.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    progress::step("scorer in Rust", || rust(workspace))?;
    progress::step("scorer in Python", || python(workspace))?;
    progress::step("scorer in JavaScript", || javascript(workspace))
}

/// Cargo itself knows what is out of date.
fn rust(workspace: &Workspace) -> Result<Option<String>> {
    let place = Place::make(Language::Rust, workspace)?;
    let target = workspace.target.join("examples");
    cargo_in(&place.desk, &target, ["build", "--release", "--locked", "--target", TARGET])?;
    place.keep(&target.join(TARGET).join("release/scorer_rust.wasm"))
}

fn python(workspace: &Workspace) -> Result<Option<String>> {
    let place = Place::make(Language::Python, workspace)?;
    let system = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let pinned = Packages::pinned()?;
    let tools = pinned.tools(&system)?;
    take(&tools, workspace)?;
    let inputs = place.digest(&tools.iter().map(|tool| tool.archive().sha256).collect::<String>());
    if place.is_built(&inputs)? {
        return Ok(None);
    }
    let spinner = progress::spinner("building the scorer in Python");
    let mut command = Command::new("python3");
    command.args(["-c", "import componentize_py; componentize_py.script()"]);
    command.args(["-d", "wit", "-w", "scorer", "componentize", "decision", "--stub-wasi", "-o", "scorer-python.wasm"]);
    command.env("PYTHONPATH", workspace.assets.join("tools/componentize-py")).env_remove("VIRTUAL_ENV");
    execute(command, &place.desk, "componentize-py")?;
    spinner.finish_and_clear();
    place.keep_with(&place.desk.join("scorer-python.wasm"), &inputs)
}

fn javascript(workspace: &Workspace) -> Result<Option<String>> {
    let place = Place::make(Language::Javascript, workspace)?;
    let inputs = place.digest("");
    if place.is_built(&inputs)? {
        return Ok(None);
    }
    // The stamp is written last: an interrupted installation is done again.
    let (modules, stamp) = (place.desk.join("node_modules"), place.desk.join("node_modules/.lock.sha256"));
    let lock = files::digest(&place.desk.join("package-lock.json"))?.context("the example has a lock file")?;
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&lock) {
        let spinner = progress::spinner("fetching componentize-js (60 MB)");
        install_modules(&place.desk, &workspace.downloads)?;
        spinner.finish_and_clear();
        ensure!(modules.is_dir(), "npm left no {}", modules.display());
        files::write(&stamp, lock.as_bytes())?;
    }
    let spinner = progress::spinner("building the scorer in JavaScript");
    let mut npm = Command::new("npm");
    npm.args(["run", "build"]);
    execute(npm, &place.desk, "npm run build")?;
    spinner.finish_and_clear();
    place.keep_with(&place.desk.join("scorer-javascript.wasm"), &inputs)
}

/// Installs what the lock file in `folder` pins, without running any package's own scripts.
pub(crate) fn install_modules(folder: &Path, downloads: &Path) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error", "--cache"]);
    npm.arg(downloads.join("npm"));
    execute(npm, folder, "npm ci")
}

/// Where one example is built, and where its component is kept.
struct Place {
    /// The folder that was made from the example ...
    desk: PathBuf,
    /// ... and its files.
    sources: BTreeMap<PathBuf, String>,
    component: PathBuf,
}

impl Place {
    fn make(language: Language, workspace: &Workspace) -> Result<Self> {
        let folder = workspace.assets.join("examples");
        let name = language.example();
        let desk = folder.join(name);
        let sources = template::sources(language, name, workspace)?;
        template::write(&sources, &desk)?;
        Ok(Self { desk, sources, component: folder.join(format!("{name}.wasm")) })
    }

    /// A digest of all that decides about the component: the example, the contract, the tools.
    fn digest(&self, tools: &str) -> String {
        let parts = self.sources.iter().flat_map(|(file, text)| [file.to_string_lossy(), text.into()]);
        let mut digest = Sha256::new();
        for part in parts.chain([tools.into()]) {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        hex::encode(digest.finalize())
    }

    /// Whether the component is there and was built from these inputs.
    fn is_built(&self, inputs: &str) -> Result<bool> {
        Ok(self.component.is_file() && fs::read_to_string(self.stamp()).ok().as_deref() == Some(inputs))
    }

    /// The digest of the inputs lies beside the component.
    fn stamp(&self) -> PathBuf {
        self.component.with_extension("inputs")
    }

    fn keep(&self, built: &Path) -> Result<Option<String>> {
        let bytes = fs::read(built).map_err(|error| anyhow!("can not read {}: {error}", built.display()))?;
        let size = format!("{} KB", bytes.len().div_ceil(1000));
        Ok(files::write_if_changed(&self.component, &bytes)?.then_some(size))
    }

    fn keep_with(&self, built: &Path, inputs: &str) -> Result<Option<String>> {
        let done = self.keep(built)?;
        files::write(&self.stamp(), inputs.as_bytes())?;
        Ok(done)
    }
}

/// Runs a tool in `folder`. What it says is shown only when it fails.
pub(crate) fn execute(mut command: Command, folder: &Path, name: &str) -> Result<()> {
    let output = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| anyhow!("can not start {name}: {error}\n  mend: see that it is installed"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail: String =
        lines[lines.len().saturating_sub(12)..].iter().map(|line| format!("\n  {name}: {line}")).collect();
    let offline = ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENOTCACHED"];
    let mend = if offline.iter().any(|sign| said.contains(sign)) {
        "see that npm reaches its registry (network, proxy) and run this again"
    } else {
        "see what it says"
    };
    bail!("`{name}` failed{tail}\n  mend: {mend}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_fails_is_quoted() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            execute(command, Path::new("."), "the tool").map_err(|error| error.to_string())
        };
        assert_eq!(run("echo fine"), Ok(()));
        let told = run("echo one; echo two >&2; exit 3").unwrap_err();
        assert!(told.contains("the tool: one") && told.contains("the tool: two") && told.contains("mend:"), "{told}");
        assert!(run("echo getaddrinfo ENOTFOUND; exit 1").unwrap_err().contains("network"));
    }

    #[test]
    fn what_a_component_is_built_from_decides_whether_it_is_built_again() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace { assets: folder.path().into(), ..Workspace::find().unwrap() };
        let mut place = Place::make(Language::Python, &workspace).unwrap();
        let inputs = place.digest("tool 1");
        assert!(!place.is_built(&inputs).unwrap());
        let built = folder.path().join("built");
        fs::write(&built, b"component").unwrap();
        place.keep_with(&built, &inputs).unwrap();
        assert!(place.is_built(&inputs).unwrap());
        assert_ne!(place.digest("tool 2"), inputs, "another tool");
        place.sources.insert("decision.py".into(), "changed".into());
        assert_ne!(place.digest("tool 1"), inputs, "another source");
    }
}
