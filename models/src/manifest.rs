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

/// The numbers that a graph computes in. Tensors go in and out as they are, whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// As the model says.
    #[default]
    F32,
    /// Products of the upper halves of 32-bit floats, which have 8 bits of precision.
    Bf16,
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
    /// The numbers that it computes in; `threshold` and `slope` are for these.
    #[serde(default)]
    pub precision: Precision,
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

    /// The embedder that is taken when none is named: the first one that computes as its model says, or what it is in 8-bit
    /// integers if there is such an entry and the processor is made for that.
    ///
    /// # Errors
    /// When there is no embedder.
    pub fn automatic_embedder(&self, fast_int8: bool) -> Result<&Embedder, ManifestError> {
        let whole = self.embedders.iter().find(|embedder| embedder.is_whole());
        let whole = whole.ok_or_else(|| unknown("embedder", AUTO, std::iter::empty()))?;
        let quantized = |embedder: &&Embedder| embedder.quantized_from.as_ref() == Some(&whole.name);
        Ok(self.embedders.iter().find(quantized).filter(|_| fast_int8).unwrap_or(whole))
    }

    /// The numbers that the graph of that name computes in.
    pub fn precision(&self, graph: &str) -> Precision {
        let embedder = self.embedders.iter().find(|embedder| embedder.graph_name() == graph);
        embedder.map_or(Precision::F32, |embedder| embedder.precision)
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

    /// Whether it computes in 32-bit floats.
    fn is_whole(&self) -> bool {
        self.quantized_from.is_none() && self.precision == Precision::F32
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
        let fits = |whole: &&Embedder| whole.name == *origin && whole.is_whole();
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
        if self.quantized_from.is_some() && self.precision != Precision::F32 {
            return Err(invalid(&place("precision"), "8-bit integers are computed with as they are: leave it out"));
        }
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
mod tests;
