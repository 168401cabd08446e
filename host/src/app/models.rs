//! The chosen models, and what components are told of them.
//!
//! Owns the translation of the manifest and the configuration into the pipeline's policy. Must never run a model.

use std::path::Path;

use visavis_models::{Detector, Embedder, Manifest};

use crate::config::{self, Backend, Config};
use crate::nn::{self, GraphSource, Nn};
use crate::pipeline::{Defaults, Model, Policy};
use crate::runtime::bindings::analyze;

/// The chosen entries of the manifest.
pub(crate) struct Models<'a> {
    folder: &'a Path,
    detector: Detector,
    embedder: Embedder,
}

impl<'a> Models<'a> {
    /// Finds the configured models in the manifest.
    pub(crate) fn find(config: &'a config::Models) -> anyhow::Result<Self> {
        let manifest = Manifest::load(&config.dir.join("manifest.toml"))?;
        let detector = manifest.detector(&config.detector)?.clone();
        let embedder = manifest.embedder(&config.embedder)?.clone();
        Ok(Self { folder: &config.dir, detector, embedder })
    }

    /// All graphs with the names under which guests load them.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = (String, &visavis_models::Graph)> {
        self.detector.graphs().into_iter().chain([(self.embedder.graph_name(), &self.embedder.graph)])
    }

    /// Checks every graph's digest and says which models there are.
    pub(crate) fn verify(&self) -> anyhow::Result<String> {
        for (_, graph) in self.graphs() {
            graph.verify(self.folder)?;
        }
        Ok(format!("{} and {}, as their digests say", self.detector.name, self.embedder.name))
    }

    fn settings(&self, verify: &config::Verify) -> analyze::Settings {
        let [proposal, refinement, output] = self.detector.graphs().map(|(name, _)| name);
        let (detector, embedder) = (&self.detector, &self.embedder);
        let [first, second, third] = detector.thresholds;
        analyze::Settings {
            detector: analyze::Detector {
                proposal,
                refinement,
                output,
                mean: detector.mean,
                scale: detector.scale,
                thresholds: (first, second, third),
                pyramid_factor: detector.pyramid_factor,
            },
            embedder: analyze::Embedder {
                graph: embedder.graph_name(),
                input: embedder.input.clone(),
                output: embedder.output.clone(),
                size: embedder.size,
                mean: embedder.mean,
                scale: embedder.scale,
                crop_margin: embedder.crop_margin,
                dimension: embedder.dimension,
            },
            embed: analyze::Embed::MostProminent,
            min_face: verify.min_face,
            detect_max_side: verify.detect_max_side,
            max_pixels: verify.max_pixels,
        }
    }
}

/// What components are told and given, as it is configured.
pub(crate) fn policy(config: &Config) -> anyhow::Result<Policy> {
    let models = Models::find(&config.models)?;
    let nn = start_nn(config, &models)?;
    tracing::info!(onnxruntime = nn.version(), "models are loaded");
    let embedder = &models.embedder;
    Ok(Policy {
        nn,
        settings: models.settings(&config.verify),
        defaults: Defaults {
            threshold: config.verify.threshold.unwrap_or(embedder.threshold),
            slope: embedder.slope,
            non_frontal: config.verify.non_frontal,
        },
        models: models.graphs().map(|(name, graph)| Model { name, digest: graph.sha256.clone() }).collect(),
    })
}

/// Loads the inference library and the chosen models; a wrong digest is an error.
pub(crate) fn start_nn(config: &Config, models: &Models<'_>) -> anyhow::Result<Nn> {
    let graphs: Result<Vec<_>, _> = models
        .graphs()
        .map(|(name, graph)| Ok(GraphSource { name, model: graph.read(models.folder)? }))
        .collect::<Result<_, visavis_models::GraphError>>();
    let settings =
        nn::Config { sessions: config.nn.sessions, threads: config.nn.threads, ..nn::Config::new(&config.nn.library) };
    match config.nn.backend {
        Backend::Onnx => Ok(Nn::start(&settings, graphs?)?),
    }
}
