//! `visavis components bundle`: parts in, one file out.
//!
//! Owns where the parts come from: components from files, models from the manifest of this node. Must never know how a bundle
//! is laid out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use visavis_models::{Graph, Manifest};

use super::{described_bundle, read};
use crate::arguments::components;
use crate::config::Config;
use crate::rollout::bundle::{self, Bundle, EmbeddingSpace, Model, Models, Parts, Policy};
use crate::rollout::kind::{self, Kind};
use crate::runtime::Slot;
use crate::task::NonFrontal;

/// Runs the command.
pub(super) fn run(config: &Config, arguments: &components::Bundle) -> anyhow::Result<ExitCode> {
    let paths = [&arguments.gateway, &arguments.analyzer, &arguments.scorer];
    let mut components = BTreeMap::new();
    for (slot, path) in bundle::SLOTS.into_iter().zip(paths) {
        if let Some(path) = path {
            components.insert(slot, component(slot, path)?);
        }
    }
    let mut verify = Policy {
        threshold: arguments.threshold,
        slope: arguments.slope,
        // The command line has checked the choice.
        non_frontal: arguments.non_frontal.as_deref().map(|policy| match policy {
            "report" => NonFrontal::Report,
            _ => NonFrontal::Reject,
        }),
    };
    let embedding_space = match arguments.embedding_space.as_str() {
        "changes" => EmbeddingSpace::Changes,
        _ => EmbeddingSpace::Same,
    };
    let parts = Parts {
        name: arguments.name.clone(),
        version: arguments.version.clone(),
        embedding_space,
        components,
        models: models(config, arguments, &mut verify)?,
        verify,
    };
    let bytes = Bundle::pack(parts)?;
    let out = &arguments.out;
    fs::write(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    print!("{}\n{}", out.display(), described_bundle(&Bundle::read(&bytes)?, bytes.len()));
    Ok(ExitCode::SUCCESS)
}

/// Reads a component, and makes sure that it is for this slot.
fn component(slot: Slot, path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = read(path)?;
    match kind::of(&bytes).with_context(|| format!("--{slot} {}", path.display()))? {
        Kind::Component(found) if found == slot => Ok(bytes),
        Kind::Component(found) => bail!("--{slot} {} is a component for the slot {found}", path.display()),
        Kind::Bundle(_) => bail!("--{slot} {} is a bundle, not a component", path.display()),
    }
}

/// Looks the models up in this node's manifest. An embedder brings its threshold and slope, unless they were given.
fn models(config: &Config, arguments: &components::Bundle, verify: &mut Policy) -> anyhow::Result<Models> {
    let components::Bundle { detector, embedder, .. } = arguments;
    if detector.is_none() && embedder.is_none() {
        return Ok(Models::default());
    }
    let manifest = Manifest::load(&config.models.dir.join("manifest.toml"))?;
    let mut models = Models::default();
    if let Some(name) = detector {
        models.detector = Some(model(name, manifest.detector(name)?.graphs()));
    }
    if let Some(name) = embedder {
        let entry = manifest.embedder(name)?;
        models.embedder = Some(model(name, [(entry.graph_name(), &entry.graph)]));
        verify.threshold = verify.threshold.or(Some(entry.threshold));
        verify.slope = verify.slope.or(Some(entry.slope));
    }
    Ok(models)
}

fn model<'a>(name: &str, graphs: impl IntoIterator<Item = (String, &'a Graph)>) -> Model {
    let graphs = graphs.into_iter().map(|(name, graph)| (name, graph.sha256.clone()));
    Model { name: name.to_owned(), graphs: graphs.collect() }
}
