//! The chosen models, and what components are told of them.
//!
//! Owns the translation of the manifest and the configuration into the pipeline's policy. Must never run a model.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use visavis_models::{AUTO, Detector, Embedder, Graph, Manifest, Precision};

use crate::config::{self, Backend, Config, OPENVINO};
use crate::nn::{self, GraphSource, Nn, int8_instructions};
use crate::pipeline::{Defaults, Model, Policy};
use crate::rollout::bundle;
use crate::runtime::bindings::analyze;

/// The chosen entries of the manifest.
pub(crate) struct Models<'a> {
    folder: &'a Path,
    detector: Detector,
    embedder: Embedder,
    /// Why this embedder.
    reason: String,
}

impl<'a> Models<'a> {
    /// Finds the configured models in the manifest.
    pub(crate) fn find(config: &'a Config) -> anyhow::Result<Self> {
        let config::Models { dir, detector, embedder } = &config.models;
        let manifest = Manifest::load(&dir.join("manifest.toml"))?;
        let detector = manifest.detector(detector)?.clone();
        let suited = if nn::runs_on_gpu(&nn_config(config)) { Suited::Gpu } else { Suited::here() };
        let (embedder, reason) = choose(&manifest, embedder, suited)?;
        Ok(Self { folder: dir, detector, embedder: embedder.clone(), reason })
    }

    /// Which embedder was chosen and why, and what speaks against it.
    pub(crate) fn choice(&self) -> (String, Option<String>) {
        let Embedder { name, quantized_from, .. } = &self.embedder;
        let against = quantized_from.as_ref().filter(|_| int8_instructions().is_none()).map(|whole| {
            format!(
                "{name} computes in 8-bit integers, and this processor has no instructions for their products: it is slower \
                 here, and sums may overflow; set models.embedder to {whole}, or to {AUTO}"
            )
        });
        (format!("{name}: {}", self.reason), against)
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
}

/// What decides between floats and 8-bit integers.
#[derive(Clone, Copy)]
enum Suited {
    /// A processor with these instructions for products of 8-bit integers, if it has any.
    Processor(Option<&'static str>),
    /// A GPU: the providers compute floats there, and leave 8-bit integers to the processor.
    Gpu,
}

impl Suited {
    /// The processor of this machine.
    fn here() -> Self {
        Self::Processor(int8_instructions())
    }
}

/// The embedder that `asked` means where it is to run, and why.
fn choose<'a>(manifest: &'a Manifest, asked: &str, suited: Suited) -> anyhow::Result<(&'a Embedder, String)> {
    if asked != AUTO {
        return Ok((manifest.embedder(asked)?, "models.embedder names it".to_owned()));
    }
    let embedder = manifest.automatic_embedder(matches!(suited, Suited::Processor(Some(_))))?;
    let reason = match (&embedder.quantized_from, suited) {
        (Some(_), Suited::Processor(Some(instructions))) => {
            format!("the processor multiplies 8-bit integers with {instructions}")
        }
        (_, Suited::Gpu) => "GPUs compute with floats".to_owned(),
        (_, Suited::Processor(None)) => "the processor has no instructions for products of 8-bit integers".to_owned(),
        (None, Suited::Processor(Some(_))) => {
            "the manifest has it first, and nothing in 8-bit integers for it".to_owned()
        }
    };
    Ok((embedder, reason))
}

fn detector_settings(detector: &Detector) -> analyze::Detector {
    let [proposal, refinement, output] = detector.graphs().map(|(name, _)| name);
    let [first, second, third] = detector.thresholds;
    analyze::Detector {
        proposal,
        refinement,
        output,
        mean: detector.mean,
        scale: detector.scale,
        thresholds: (first, second, third),
        pyramid_factor: detector.pyramid_factor,
    }
}

fn embedder_settings(embedder: &Embedder) -> analyze::Embedder {
    analyze::Embedder {
        graph: embedder.graph_name(),
        input: embedder.input.clone(),
        output: embedder.output.clone(),
        size: embedder.size,
        mean: embedder.mean,
        scale: embedder.scale,
        crop_margin: embedder.crop_margin,
        dimension: embedder.dimension,
    }
}

/// What components are told and given, as it is configured.
pub(crate) fn policy(config: &Config) -> anyhow::Result<Policy> {
    let models = Models::find(config)?;
    let (choice, against) = models.choice();
    tracing::info!(embedder = choice, "embedder chosen");
    if let Some(against) = against {
        tracing::warn!("{against}");
    }
    let nn = start_nn(config, &models)?;
    tracing::info!(backend = nn.backend(), device = nn.device(), "models are loaded");
    for graph in nn.graphs() {
        let nn::Placement { title, why } = graph.placement();
        tracing::debug!(graph = graph.name(), on = title, why, "backend chosen");
    }
    let embedder = &models.embedder;
    Ok(Policy {
        nn,
        settings: analyze::Settings {
            detector: detector_settings(&models.detector),
            embedder: embedder_settings(embedder),
            embed: analyze::Embed::MostProminent,
            // 0 is the interface's word for the analyzer's own choice.
            min_face: config.verify.min_face.unwrap_or(0),
            detect_max_side: config.verify.detect_max_side,
            max_pixels: config.verify.max_pixels,
        },
        defaults: Defaults {
            threshold: config.verify.threshold.unwrap_or(embedder.threshold),
            slope: embedder.slope,
            non_frontal: config.verify.non_frontal,
        },
        models: models.graphs().map(|(name, graph)| Model { name, digest: graph.sha256.clone() }).collect(),
    })
}

/// The policy that a bundle asks for: what it leaves out stays as it is in `current`. Its models must lie on this node.
pub(crate) fn revised(config: &Config, bundle: &bundle::Manifest, current: &Policy) -> anyhow::Result<Policy> {
    let folder = &config.models.dir;
    let manifest = Manifest::load(&folder.join("manifest.toml"))?;
    let mut settings = current.settings.clone();
    let mut models = current.models.clone();
    let mut wanted = Vec::new();
    if let Some(asked) = &bundle.models.detector {
        let detector = manifest.detector(&asked.name)?;
        let old = [&settings.detector.proposal, &settings.detector.refinement, &settings.detector.output];
        models.retain(|model| !old.contains(&&model.name));
        settings.detector = detector_settings(detector);
        check(asked, detector.graphs().map(|(name, graph)| (name, graph.clone())), &mut wanted)?;
    }
    if let Some(asked) = &bundle.models.embedder {
        let embedder = manifest.embedder(&asked.name)?;
        models.retain(|model| model.name != settings.embedder.graph);
        settings.embedder = embedder_settings(embedder);
        check(asked, [(embedder.graph_name(), embedder.graph.clone())], &mut wanted)?;
    }
    models.extend(wanted.iter().map(|(name, graph)| Model { name: name.clone(), digest: graph.sha256.clone() }));
    // A model may have been exchanged on this node since it was loaded: only the digest says that it is the same.
    let runs = |model: &&Model| current.models.iter().any(|it| it.name == model.name && it.digest == model.digest);
    let kept: Vec<_> = models.iter().filter(runs).map(|model| model.name.clone()).collect();
    let missing = wanted.iter().filter(|(name, _)| !kept.contains(name));
    let more = missing.map(|(name, graph)| source(name.clone(), graph, manifest.precision(name), folder));
    let more = more.collect::<Result<_, visavis_models::GraphError>>()?;
    let verify = &bundle.verify;
    Ok(Policy {
        nn: current.nn.with(&nn_config(config), &kept, more)?,
        settings,
        defaults: Defaults {
            threshold: verify.threshold.unwrap_or(current.defaults.threshold),
            slope: verify.slope.unwrap_or(current.defaults.slope),
            non_frontal: verify.non_frontal.unwrap_or(current.defaults.non_frontal),
        },
        models,
    })
}

/// Makes sure that a model of this node is the one that a bundle means.
fn check(
    asked: &bundle::Model,
    graphs: impl IntoIterator<Item = (String, Graph)>,
    wanted: &mut Vec<(String, Graph)>,
) -> anyhow::Result<()> {
    let graphs: Vec<_> = graphs.into_iter().collect();
    let digests: BTreeMap<_, _> = graphs.iter().map(|(name, graph)| (name.clone(), graph.sha256.clone())).collect();
    if digests != asked.graphs {
        bail!(
            "the bundle means another {} than this node has: it names {:?}, and here are {digests:?}; install those models, or \
             make the bundle anew with this node's",
            asked.name,
            asked.graphs
        );
    }
    wanted.extend(graphs);
    Ok(())
}

fn nn_config(config: &Config) -> nn::Config {
    let file = config.nn.library.clone();
    let (library, rival) = match config.nn.backend {
        Backend::Auto => (nn::Library::OnnxRuntime(file), Some(config.assets.join(OPENVINO))),
        Backend::Onnx => (nn::Library::OnnxRuntime(file), None),
        Backend::OpenVino => (nn::Library::OpenVino(file), None),
    };
    let device = match config.nn.device {
        config::Device::Cpu => nn::Device::Cpu,
        config::Device::Gpu => nn::Device::Gpu,
        config::Device::Auto => nn::Device::Auto,
    };
    let config::Nn { max_batch, max_batch_delay, .. } = config.nn;
    let chosen = nn::Config { rival, device, max_batch, max_batch_delay, ..nn::Config::new(library) };
    nn::Config { sessions: config.sessions(), threads: config.threads(), ..chosen }
}

/// The very bytes that the manifest means.
fn source(
    name: String,
    graph: &Graph,
    precision: Precision,
    folder: &Path,
) -> Result<GraphSource, visavis_models::GraphError> {
    let precision = match precision {
        Precision::F32 => nn::Precision::F32,
        Precision::Bf16 => nn::Precision::Bf16,
    };
    Ok(GraphSource { name, model: graph.read(folder)?, sha256: graph.sha256.clone(), precision })
}

/// Loads the inference library and the chosen models; a wrong digest is an error.
pub(crate) fn start_nn(config: &Config, models: &Models<'_>) -> anyhow::Result<Nn> {
    let Models { folder, detector, embedder, .. } = models;
    let detector = detector.graphs().map(|(name, graph)| (name, graph, Precision::F32));
    let embedder = (embedder.graph_name(), &embedder.graph, embedder.precision);
    let graphs = detector.into_iter().chain([embedder]);
    let graphs: Result<Vec<_>, _> =
        graphs.map(|(name, graph, precision)| source(name, graph, precision, folder)).collect();
    Ok(Nn::start(&nn_config(config), graphs?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_decides_unless_the_operator_does() {
        let manifest = Manifest::parse(include_str!("../../../models/manifest.toml")).unwrap();
        let chosen = |asked, suited| {
            let (embedder, reason) = choose(&manifest, asked, suited).unwrap();
            (embedder.name.clone(), reason)
        };
        let (name, reason) = chosen(AUTO, Suited::Processor(Some("AVX-512 VNNI")));
        assert_eq!(name, "facenet-casia-webface-int8");
        assert!(reason.contains("AVX-512 VNNI"), "{reason}");
        for (suited, words) in [(Suited::Processor(None), "no instructions"), (Suited::Gpu, "GPUs")] {
            let (name, reason) = chosen(AUTO, suited);
            assert_eq!(name, "facenet-casia-webface");
            assert!(reason.contains(words), "{reason}");
        }
        for suited in [Suited::Processor(Some("AVX-512 VNNI")), Suited::Processor(None), Suited::Gpu] {
            let name = "facenet-casia-webface";
            assert_eq!(chosen(name, suited), (name.to_owned(), "models.embedder names it".to_owned()));
        }
        let refusal = choose(&manifest, "arcface", Suited::Processor(None)).unwrap_err().to_string();
        assert!(refusal.contains("`facenet-casia-webface-int8`"), "{refusal}");
    }
}
