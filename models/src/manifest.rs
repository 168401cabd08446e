//! `manifest.toml` as types: which models there are, how to feed them, where their files come from.
//!
//! Checks everything that can be checked without opening a model. It must never know how a graph is run or converted:
//! another detector or embedder of a known architecture needs a manifest entry and no line of code.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::graph::Graph;

/// What the configuration says for an embedder that the host chooses; no model has that name.
pub const AUTO: &str = "auto";

/// All models, and the packages that their sources are published in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Packages of the Python package index, by name.
    #[serde(default)]
    pub packages: BTreeMap<String, Package>,
    /// Face detectors; their names differ.
    #[serde(default, rename = "detector")]
    pub detectors: Vec<Detector>,
    /// Embedding networks; their names differ.
    #[serde(default, rename = "embedder")]
    pub embedders: Vec<Embedder>,
}

/// One release of a package.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The exact version.
    pub version: String,
    /// File name of its archive: a wheel (`.whl`) or a source distribution (`.tar.gz`).
    pub archive: String,
    /// Size of the archive, bytes.
    pub size: u64,
    /// SHA-256 of the archive, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Licence of the package, as an SPDX expression.
    pub licence: String,
}

/// The families of detectors that the analyzer can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Multi-task cascaded convolutional networks: Zhang et al., "Joint Face Detection and Alignment Using Multitask
    /// Cascaded Convolutional Networks", 2016.
    Mtcnn,
}

/// A face detector: three graphs and the settings of the cascade. `wit/analyze.wit` gives the graphs' layouts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// What the operator calls it in the configuration.
    pub name: String,
    /// Which cascade the graphs belong to.
    pub architecture: Architecture,
    /// Licence of the weights.
    pub licence: String,
    /// Subtracted from every colour value (0 to 255) before `scale` divides it.
    pub mean: f32,
    /// Divides every colour value after `mean` was subtracted.
    pub scale: f32,
    /// The probability that a candidate must exceed after each stage.
    pub thresholds: [f32; 3],
    /// The ratio of one pyramid level to the one before it, between 0 and 1.
    pub pyramid_factor: f32,
    /// First stage: finds candidates in a whole photograph.
    pub proposal: Graph,
    /// Second stage: discards most candidates.
    pub refinement: Graph,
    /// Third stage: the final boxes and landmarks.
    pub output: Graph,
}

/// An embedding network and how to read its distances.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedder {
    /// What the operator calls it in the configuration.
    pub name: String,
    /// Licence of the weights.
    pub licence: String,
    /// Name of the embedder that this one is in 8-bit integers, whose place it takes where processors are made for that.
    pub quantized_from: Option<String>,
    /// Name of the graph's input, f32 `[N, 3, size, size]`, planar RGB.
    pub input: String,
    /// Name of the graph's output, f32 `[N, dimension]`.
    pub output: String,
    /// Side of the square crop, pixels.
    pub size: u32,
    /// Subtracted from every colour value (0 to 255) before `scale` divides it.
    pub mean: f32,
    /// Divides every colour value after `mean` was subtracted.
    pub scale: f32,
    /// Margin around the detected box, in pixels of the crop.
    pub crop_margin: f32,
    /// Length of the embedding.
    pub dimension: u32,
    /// Two faces are one person when the Euclidean distance of their embeddings is at most this: 0 to 2.
    pub threshold: f32,
    /// Steepness of the score's logistic curve, per unit of distance.
    pub slope: f32,
    /// The network.
    pub graph: Graph,
}

/// Why a manifest can not be used, or has not what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file is missing or can not be read.
    #[error("model manifest {path}: {source}; run `cargo xtask setup`, or name the folder that holds it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not TOML, a key that no manifest has, or a missing one.
    #[error("model manifest: {0}")]
    Parse(#[from] toml::de::Error),
    /// A value that can not be right.
    #[error("model manifest, {place}: {problem}")]
    Invalid {
        /// The entry and key.
        place: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No model has that name.
    #[error("no {kind} is called `{name}`; the manifest has {known}: choose one of them, or add a [[{kind}]] entry")]
    Unknown {
        /// `detector` or `embedder`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// When the file can not be read, has an unknown or missing key, or a value that can not be right.
    pub fn load(path: &Path) -> Result<Self, ManifestError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Checks a manifest given as text.
    ///
    /// # Errors
    /// As [`Manifest::load`], but for the reading.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The detector with that name.
    ///
    /// # Errors
    /// When there is none; the message lists those that exist.
    pub fn detector(&self, name: &str) -> Result<&Detector, ManifestError> {
        self.detectors
            .iter()
            .find(|detector| detector.name == name)
            .ok_or_else(|| unknown("detector", name, self.detectors.iter().map(|it| it.name.as_str())))
    }

    /// The embedder with that name.
    ///
    /// # Errors
    /// When there is none; the message lists those that exist.
    pub fn embedder(&self, name: &str) -> Result<&Embedder, ManifestError> {
        self.embedders
            .iter()
            .find(|embedder| embedder.name == name)
            .ok_or_else(|| unknown("embedder", name, self.embedders.iter().map(|it| it.name.as_str())))
    }

    /// The embedder that is taken when none is named: the first one, or what it is in 8-bit integers if there is such an
    /// entry and the processor is made for that.
    ///
    /// # Errors
    /// When there is no embedder.
    pub fn automatic_embedder(&self, fast_int8: bool) -> Result<&Embedder, ManifestError> {
        let whole = self.embedders.iter().find(|embedder| embedder.quantized_from.is_none());
        let whole = whole.ok_or_else(|| unknown("embedder", AUTO, std::iter::empty()))?;
        let quantized = |embedder: &&Embedder| embedder.quantized_from.as_ref() == Some(&whole.name);
        Ok(self.embedders.iter().find(quantized).filter(|_| fast_int8).unwrap_or(whole))
    }

    /// Every graph of every model, under the name by which `wasi:nn` serves it.
    pub fn graphs(&self) -> impl Iterator<Item = (String, &Graph)> {
        let detectors = self.detectors.iter().flat_map(Detector::graphs);
        let embedders = self.embedders.iter().map(|embedder| (embedder.graph_name(), &embedder.graph));
        detectors.chain(embedders)
    }
}

impl Detector {
    /// The graphs in the order of the cascade, each under the name by which `wasi:nn` serves it:
    /// `<detector>/proposal`, `<detector>/refinement`, `<detector>/output`.
    pub fn graphs(&self) -> [(String, &Graph); 3] {
        [("proposal", &self.proposal), ("refinement", &self.refinement), ("output", &self.output)]
            .map(|(part, graph)| (format!("{}/{part}", self.name), graph))
    }
}

impl Embedder {
    /// The name by which `wasi:nn` serves the graph: `<embedder>/embedding`.
    pub fn graph_name(&self) -> String {
        format!("{}/embedding", self.name)
    }
}

fn unknown<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> ManifestError {
    let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    ManifestError::Unknown { kind, name: name.to_owned(), known }
}

/// The checks; each names the entry and the key that fails it.
impl Manifest {
    fn check(&self) -> Result<(), ManifestError> {
        for (name, package) in &self.packages {
            let place = |key: &str| format!("packages.{name}, {key}");
            check_file_name(&place("archive"), &package.archive)?;
            if !package.archive.ends_with(".whl") && !package.archive.ends_with(".tar.gz") {
                return Err(invalid(&place("archive"), "a package's archive ends in .whl or .tar.gz"));
            }
            check_digest(&place("sha256"), &package.sha256)?;
        }
        check_distinct("detector", self.detectors.iter().map(|it| it.name.as_str()))?;
        check_distinct("embedder", self.embedders.iter().map(|it| it.name.as_str()))?;
        for detector in &self.detectors {
            detector.check()?;
        }
        for embedder in &self.embedders {
            embedder.check()?;
            self.check_origin(embedder)?;
        }
        self.graphs().try_for_each(|(name, graph)| self.check_graph(&name, graph))
    }

    /// One embedder can take another's place only if it is fed and read alike.
    fn check_origin(&self, embedder: &Embedder) -> Result<(), ManifestError> {
        let Some(origin) = &embedder.quantized_from else { return Ok(()) };
        let place = format!("embedder {}, quantized_from", embedder.name);
        let fits = |whole: &&Embedder| whole.name == *origin && whole.quantized_from.is_none();
        let Some(whole) = self.embedders.iter().find(fits) else {
            return Err(invalid(&place, &format!("`{origin}` is no embedder of this manifest in floats")));
        };
        let shape = |it: &Embedder| (it.size, it.mean, it.scale, it.crop_margin, it.dimension);
        if shape(embedder) != shape(whole) {
            let keys = "size, mean, scale, crop_margin and dimension";
            return Err(invalid(&place, &format!("{keys} must be those of `{origin}`")));
        }
        Ok(())
    }

    fn check_graph(&self, name: &str, graph: &Graph) -> Result<(), ManifestError> {
        let place = |key: &str| format!("graph {name}, {key}");
        check_file_name(&place("file"), &graph.file)?;
        check_digest(&place("sha256"), &graph.sha256)?;
        let Some(source) = &graph.source else {
            return match graph.convert {
                Some(_) => Err(invalid(&place("convert"), "a conversion needs a `source`")),
                None => Ok(()),
            };
        };
        if !self.packages.contains_key(&source.package) {
            return Err(invalid(&place("source"), "its package is not among [packages]: add it there"));
        }
        let inside = Path::new(&source.path).components().all(|part| matches!(part, Component::Normal(_)));
        if source.path.is_empty() || !inside {
            return Err(invalid(&place("source"), "`path` must stay inside the archive"));
        }
        check_digest(&place("source"), &source.sha256)
    }
}

impl Detector {
    fn check(&self) -> Result<(), ManifestError> {
        let place = |key: &str| format!("detector {}, {key}", self.name);
        check_scaling(place, self.mean, self.scale)?;
        if self.thresholds.iter().any(|threshold| !(0.0..1.0).contains(threshold)) {
            return Err(invalid(&place("thresholds"), "a probability to exceed is at least 0 and less than 1"));
        }
        if !(self.pyramid_factor > 0.0 && self.pyramid_factor < 1.0) {
            return Err(invalid(&place("pyramid_factor"), "must lie between 0 and 1"));
        }
        Ok(())
    }
}

impl Embedder {
    fn check(&self) -> Result<(), ManifestError> {
        let place = |key: &str| format!("embedder {}, {key}", self.name);
        check_scaling(place, self.mean, self.scale)?;
        for (key, length) in [("size", self.size), ("dimension", self.dimension)] {
            if length == 0 {
                return Err(invalid(&place(key), "must be greater than 0"));
            }
        }
        // The margin is a part of the crop: a margin as large as the crop would leave no room for the face.
        if !(self.crop_margin >= 0.0 && f64::from(self.crop_margin) < f64::from(self.size)) {
            return Err(invalid(&place("crop_margin"), "must be at least 0 and less than `size`"));
        }
        if !(0.0..=2.0).contains(&self.threshold) {
            return Err(invalid(&place("threshold"), "a distance of unit vectors lies in 0 to 2"));
        }
        if !(self.slope.is_finite() && self.slope > 0.0) {
            return Err(invalid(&place("slope"), "must be finite and greater than 0"));
        }
        for (key, tensor) in [("input", &self.input), ("output", &self.output)] {
            if tensor.is_empty() {
                return Err(invalid(&place(key), "a tensor has a name"));
            }
        }
        Ok(())
    }
}

fn check_scaling(place: impl Fn(&str) -> String, mean: f32, scale: f32) -> Result<(), ManifestError> {
    if !mean.is_finite() {
        return Err(invalid(&place("mean"), "must be finite"));
    }
    if !(scale.is_finite() && scale > 0.0) {
        return Err(invalid(&place("scale"), "must be finite and greater than 0"));
    }
    Ok(())
}

/// Names of models become parts of graph names and labels, so they are kept plain.
fn check_distinct<'a>(kind: &str, names: impl Iterator<Item = &'a str>) -> Result<(), ManifestError> {
    let mut seen = Vec::new();
    for name in names {
        let plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(invalid(&format!("{kind} `{name}`"), "a name has letters, digits, `-`, `_` and `.` only"));
        }
        if name == AUTO {
            return Err(invalid(
                &format!("{kind} `{name}`"),
                "the name stands for the host's own choice; choose another",
            ));
        }
        if seen.contains(&name) {
            return Err(invalid(&format!("{kind} `{name}`"), "the name is taken; choose another"));
        }
        seen.push(name);
    }
    Ok(())
}

fn check_file_name(place: &str, name: &str) -> Result<(), ManifestError> {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if plain && !name.contains(['/', '\\']) {
        return Ok(());
    }
    Err(invalid(place, &format!("`{name}` must be a file name without a folder")))
}

fn check_digest(place: &str, digest: &str) -> Result<(), ManifestError> {
    if digest.len() == 64 && digest.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(invalid(place, &format!("`{digest}` is no SHA-256 in 64 lower-case hexadecimal digits")))
}

fn invalid(place: &str, problem: &str) -> ManifestError {
    ManifestError::Invalid { place: place.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../manifest.toml");

    fn refusal(from: &str, to: &str) -> String {
        assert!(SHIPPED.contains(from), "the manifest has no `{from}`");
        Manifest::parse(&SHIPPED.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_manifest_is_valid_and_names_its_graphs() {
        let manifest = Manifest::parse(SHIPPED).unwrap();
        let names: Vec<_> = manifest.graphs().map(|(name, _)| name).collect();
        let expected = [
            "mtcnn/proposal",
            "mtcnn/refinement",
            "mtcnn/output",
            "facenet-casia-webface/embedding",
            "facenet-casia-webface-int8/embedding",
        ];
        assert_eq!(names, expected);
        assert_eq!(manifest.automatic_embedder(false).unwrap().name, "facenet-casia-webface");
        assert_eq!(manifest.automatic_embedder(true).unwrap().name, "facenet-casia-webface-int8");
        assert_eq!(manifest.embedder("facenet-casia-webface").unwrap().dimension, 512);
        assert_eq!(manifest.detector("mtcnn").unwrap().thresholds, [0.6, 0.7, 0.7]);
    }

    #[test]
    fn an_embedder_without_a_twin_is_taken_on_every_processor() {
        let text = SHIPPED.replace("quantized_from = \"facenet-casia-webface\"\n", "");
        for fast_int8 in [false, true] {
            let manifest = Manifest::parse(&text).unwrap();
            assert_eq!(manifest.automatic_embedder(fast_int8).unwrap().name, "facenet-casia-webface");
        }
        let message = Manifest::parse("").unwrap().automatic_embedder(true).unwrap_err().to_string();
        assert!(message.contains("[[embedder]]"), "{message}");
    }

    #[test]
    fn an_unknown_name_lists_the_known_and_the_mend() {
        let message = Manifest::parse(SHIPPED).unwrap().embedder("arcface").unwrap_err().to_string();
        for part in ["`arcface`", "`facenet-casia-webface`", "[[embedder]]"] {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn an_operator_adds_an_embedder_by_an_entry_alone() {
        let entry = format!(
            "{SHIPPED}\n[[embedder]]\nname = \"mine\"\nlicence = \"proprietary\"\ninput = \"x\"\noutput = \"y\"\n\
             size = 112\nmean = 0.0\nscale = 255.0\ncrop_margin = 0\ndimension = 128\nthreshold = 1.2\nslope = 9\n\
             graph = {{ file = \"mine.onnx\", sha256 = \"{}\" }}\n",
            "0".repeat(64)
        );
        let manifest = Manifest::parse(&entry).unwrap();
        let mine = manifest.embedder("mine").unwrap();
        assert_eq!((mine.size, mine.dimension, mine.graph_name().as_str()), (112, 128, "mine/embedding"));
    }

    #[test]
    fn values_that_can_not_be_right_are_refused_by_name() {
        assert!(refusal("size = 160", "size = 0").contains("size"));
        assert!(refusal("threshold = 1.06", "threshold = 2.5").contains("threshold"));
        assert!(refusal("slope = 18.0", "slope = nan").contains("slope"));
        assert!(refusal("crop_margin = 32.0", "crop_margin = 160.0").contains("crop_margin"));
        assert!(refusal("mean = 127.5", "mean = inf").contains("mean"));
        assert!(refusal("scale = 128.0", "scale = 0.0").contains("scale"));
        assert!(refusal("pyramid_factor = 0.709", "pyramid_factor = 1.0").contains("pyramid_factor"));
        assert!(refusal("name = \"mtcnn\"", "name = \"a/b\"").contains("a/b"));
        assert!(refusal("name = \"facenet-casia-webface\"", "name = \"auto\"").contains("choose another"));
        let origin = "quantized_from = \"facenet-casia-webface\"";
        for other in ["arcface", "facenet-casia-webface-int8"] {
            let message = refusal(origin, &format!("quantized_from = \"{other}\""));
            assert!(message.contains("quantized_from") && message.contains(other), "{message}");
        }
        let message = refusal("crop_margin = 32.0", "crop_margin = 20.0");
        assert!(message.contains("quantized_from") && message.contains("crop_margin"), "{message}");
    }

    #[test]
    fn files_stay_where_they_belong() {
        for name in ["../proposal.onnx", "a/b.onnx", "a\\b.onnx", "/etc/passwd", "..", ""] {
            let escaped = name.replace('\\', "\\\\");
            let message = refusal("file = \"mtcnn-proposal.onnx\"", &format!("file = \"{escaped}\""));
            assert!(message.contains("without a folder"), "{name}: {message}");
        }
        let message = refusal("facenet_pytorch/data/pnet.pt", "../pnet.pt");
        assert!(message.contains("inside the archive"), "{message}");
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        assert!(refusal("crop_margin", "crop_margins").contains("crop_margins"));
    }
}
