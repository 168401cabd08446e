//! Tools that test the host from outside: Schemathesis from Python's packages, Playwright and axe-core from npm's, a browser of
//! the system, and what the clients in Python and TypeScript are checked with.
//!
//! Owns their installation below the target folder, from lists that pin every version and digest. Must never know what they are
//! run for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;

use crate::workspace::Workspace;
use crate::{examples, files, pip, progress, system};

/// The oldest Python, as 3.MINOR, for which the lists of requirements are complete.
const PYTHON: u32 = 11;

/// Makes sure that the system has what the tools run on.
pub(crate) fn ensure_programs() -> Result<()> {
    system::ensure_any(&["chromium", "chromium-browser", "google-chrome"], "chromium")?;
    let answer = Command::new("python3")
        .args(["-c", "import sys; print(sys.version_info.minor)"])
        .stdin(Stdio::null())
        .output()
        .context(
            "can not start python3\n  mend: install Python 3, on Debian with `apt-get install python3 python3-pip`",
        )?;
    let minor = String::from_utf8_lossy(&answer.stdout).trim().parse::<u32>().unwrap_or_default();
    ensure!(
        minor >= PYTHON,
        "Python is 3.{minor}, but Schemathesis needs 3.{PYTHON} or newer\n  \
         mend: install a newer Python, so that `python3 --version` finds it"
    );
    Ok(())
}

/// Tools of one kind: what a person reads of them, the list that pins them, and their folder where the tests look for it.
struct Tools {
    what: &'static str,
    megabytes: u32,
    list: &'static str,
    folder: &'static str,
}

/// From Python's packages.
const PYTHONS: [Tools; 2] = [
    Tools { what: "schemathesis", megabytes: 10, list: "tests/openapi/requirements.txt", folder: "schemathesis" },
    Tools {
        what: "mypy and pytest",
        megabytes: 18,
        list: "clients/python/requirements-test.txt",
        folder: "clients-python",
    },
];

/// From npm's.
const NODES: [Tools; 2] = [
    Tools { what: "playwright", megabytes: 4, list: "tests/browser/package-lock.json", folder: "browser" },
    Tools {
        what: "typescript",
        megabytes: 5,
        list: "clients/typescript/package-lock.json",
        folder: "clients-typescript",
    },
];

/// Installs all tools that are not there already.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    for tools in &PYTHONS {
        progress::step(tools.what, || from_pip(tools, workspace))?;
    }
    for tools in &NODES {
        progress::step(tools.what, || from_npm(tools, workspace))?;
    }
    Ok(())
}

/// Into a folder that `PYTHONPATH` names: it needs no virtual environment, which not every Python can make.
fn from_pip(tools: &Tools, workspace: &Workspace) -> Result<Option<String>> {
    let requirements = workspace.root.join(tools.list);
    let place = tools.place(workspace)?;
    if place.is_made() {
        return Ok(None);
    }
    let spinner = tools.spinner();
    // Fetched and installed apart, so that the next clone installs without a network.
    let wheels = workspace.downloads.join(format!("wheels-{}", place.digest));
    let (program, arguments) = pip::program()?;
    let run = |verb: &[&str], folder: &Path| {
        let mut command = Command::new(program);
        command.args(arguments).args(verb).arg(folder);
        command.args(["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        command.args(["--only-binary", ":all:", "--requirement"]).arg(&requirements);
        command
    };
    let mut install = run(&["install", "--no-index", "--target"], &place.folder);
    install.arg("--find-links").arg(&wheels);
    place.clear()?;
    if !wheels.join(STAMP).is_file() {
        examples::execute(run(&["download", "--dest"], &wheels), &workspace.root, "pip download")?;
        files::write(&wheels.join(STAMP), b"")?;
    }
    examples::execute(install, &workspace.root, "pip install")?;
    spinner.finish_and_clear();
    place.seal()
}

/// Into a folder of its own, as the lock file pins it.
fn from_npm(tools: &Tools, workspace: &Workspace) -> Result<Option<String>> {
    let place = tools.place(workspace)?;
    if place.is_made() {
        return Ok(None);
    }
    let spinner = tools.spinner();
    place.clear()?;
    for file in ["package.json", "package-lock.json"] {
        let path = workspace.root.join(tools.list).with_file_name(file);
        let bytes = fs::read(&path).with_context(|| format!("can not read {}", path.display()))?;
        files::write(&place.folder.join(file), &bytes)?;
    }
    examples::install_modules(&place.folder, &workspace.downloads)?;
    spinner.finish_and_clear();
    place.seal()
}

impl Tools {
    fn place(&self, workspace: &Workspace) -> Result<Place> {
        Place::new(&workspace.root.join(self.list), workspace.target.join("visavis-tests").join(self.folder))
    }

    fn spinner(&self) -> ProgressBar {
        progress::spinner(&format!("fetching {} ({} MB)", self.what, self.megabytes))
    }
}

/// Is written last: what lacks it was interrupted and is made again.
const STAMP: &str = ".complete";

/// A folder that is made from a list, and again when the list changes.
struct Place {
    folder: PathBuf,
    digest: String,
}

impl Place {
    fn new(list: &Path, folder: PathBuf) -> Result<Self> {
        let digest = files::digest(list)?.with_context(|| format!("there is no {}", list.display()))?;
        Ok(Self { folder, digest })
    }

    fn is_made(&self) -> bool {
        fs::read_to_string(self.folder.join(STAMP)).ok().as_deref() == Some(&self.digest)
    }

    fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(files::refusal(&self.folder, &error)),
            _ => fs::create_dir_all(&self.folder).map_err(|error| files::refusal(&self.folder, &error)),
        }
    }

    fn seal(&self) -> Result<Option<String>> {
        files::write(&self.folder.join(STAMP), self.digest.as_bytes())?;
        Ok(Some("installed".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_made_again_when_its_list_changes_or_it_was_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        let place = || Place::new(&list, folder.path().join("place"));
        assert!(place().is_err(), "there is no list");
        fs::write(&list, "one").unwrap();
        place().unwrap().clear().unwrap();
        assert!(!place().unwrap().is_made(), "interrupted");
        place().unwrap().seal().unwrap();
        assert!(place().unwrap().is_made());
        fs::write(&list, "two").unwrap();
        assert!(!place().unwrap().is_made());
        fs::write(folder.path().join("place/old"), "").unwrap();
        place().unwrap().clear().unwrap();
        assert!(!folder.path().join("place/old").exists());
    }

    #[test]
    fn everything_is_pinned_by_its_digest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let read = |list: &str| fs::read_to_string(root.join(list)).unwrap();
        for tools in &PYTHONS {
            let requirements = read(tools.list);
            let packages = requirements.lines().filter(|line| line.contains("==") && !line.starts_with('#'));
            assert!(
                packages.clone().count() > 10 && packages.clone().all(|line| line.ends_with(" \\")),
                "{requirements}"
            );
        }
        for tools in &NODES {
            let lock: serde_json::Value = serde_json::from_str(&read(tools.list)).unwrap();
            for (name, package) in lock["packages"].as_object().unwrap().iter().filter(|(name, _)| !name.is_empty()) {
                assert!(package["integrity"].as_str().is_some_and(|it| it.starts_with("sha512-")), "{name}");
                assert!(package["resolved"].is_null(), "{name} names a registry");
            }
        }
    }
}
