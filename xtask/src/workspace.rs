//! Where things lie: the repository, cargo's target folder, the assets in it, and the cache of downloads.
//!
//! Knows places only, and never what is in them.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folders that set-up reads and writes.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// What the host needs beside its program: `lib/`, `models/`, `components/`, and `photos/` for demo and tests.
    pub(crate) assets: PathBuf,
    /// Archives that were downloaded, shared by all clones.
    pub(crate) downloads: PathBuf,
}

impl Workspace {
    /// Finds the folders from this program's own place and the environment.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("the repository of xtask is gone")?.to_owned();
        // Cargo put this program into `<target>/<profile>/`, wherever the target folder is configured to be.
        let program = env::current_exe().context("the program can not find itself")?;
        let target = program.ancestors().nth(2).context("the program lies outside cargo's target folder")?.to_owned();
        Ok(Self { root, assets: target.join("visavis"), target, downloads: downloads()? })
    }

    /// The host's program.
    pub(crate) fn host(&self) -> PathBuf {
        self.target.join("release").join(format!("visavis{}", env::consts::EXE_SUFFIX))
    }
}

/// The folder named by `VISAVIS_CACHE`, else the user's cache folder by the XDG Base Directory Specification.
fn downloads() -> Result<PathBuf> {
    let folder = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = folder("VISAVIS_CACHE") {
        return Ok(cache);
    }
    let cache = folder("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache")));
    let cache = cache.context("there is no home folder to keep downloads in\n  mend: set VISAVIS_CACHE to a folder")?;
    Ok(cache.join("visavis/downloads"))
}
