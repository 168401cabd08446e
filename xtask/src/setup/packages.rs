//! Files that are taken out of packages as they are.

use anyhow::{Result, ensure};

use crate::packages::Contents;
use crate::workspace::Workspace;
use crate::{archive, files, pip};

/// Puts all files of `packages` into the assets folder.
pub(crate) fn take(packages: &[&Contents], workspace: &Workspace) -> Result<Option<String>> {
    let mut done = Vec::new();
    for contents in packages {
        let mut missing = Vec::new();
        for taken in &contents.take {
            if !files::is(&workspace.assets.join(&taken.to), &taken.sha256)? {
                missing.push(taken);
            }
        }
        if missing.is_empty() {
            continue;
        }
        let source = contents.archive();
        let path = pip::fetch(&source, &workspace.downloads)?;
        let names: Vec<_> = missing.iter().map(|taken| taken.from.as_str()).collect();
        let found = archive::read(&path, &names)?;
        for taken in missing {
            let bytes = &found[&taken.from];
            let digest = files::digest_of(bytes);
            ensure!(
                digest == taken.sha256,
                "{} in {} has SHA-256 {digest}, but {} is pinned\n  mend: correct xtask/packages.toml",
                taken.from,
                source.file,
                taken.sha256
            );
            files::write(&workspace.assets.join(&taken.to), bytes)?;
        }
        done.push(format!("{} {}", source.package, source.version));
    }
    Ok((!done.is_empty()).then(|| done.join(", ")))
}
