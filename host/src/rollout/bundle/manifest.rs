//! `bundle.toml`: what a bundle says of itself.
//!
//! Owns the rules that keep an embedding model, its threshold and the code around it together. Must never know how a bundle
//! is laid out in bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::runtime::Slot;
use crate::task::NonFrontal;

/// The version of the format that this host writes and reads.
const FORMAT: u32 = 1;

/// The longest name or version, bytes.
const NAME: usize = 64;

/// The most graphs that one model may have.
const GRAPHS: usize = 16;

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    /// What the operator calls it.
    pub(crate) name: String,
    /// Which of that name, in the operator's own counting.
    pub(crate) version: String,
    /// Whether embeddings before and after can be compared.
    #[serde(default)]
    pub(crate) embedding_space: EmbeddingSpace,
    /// The components inside.
    #[serde(default, skip_serializing_if = "Components::is_empty")]
    pub(crate) components: Components,
    /// The models that it needs.
    #[serde(default, skip_serializing_if = "Models::is_empty")]
    pub(crate) models: Models,
    /// The policy that goes with them.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub(crate) verify: Policy,
}

/// Whether embeddings from before a bundle and from after it can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EmbeddingSpace {
    /// The analyzer must reproduce what was recorded.
    #[default]
    Same,
    /// It need not: distances mean something else from here on, so that the threshold must come along.
    Changes,
}

/// The components of a bundle. Each lies in it as `SLOT.wasm`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Components {
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    analyzer: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scorer: Option<Part>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    sha256: String,
}

/// The models that a bundle needs, by reference: the weights are on each node already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Models {
    /// Finds faces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detector: Option<Model>,
    /// Makes embeddings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) embedder: Option<Model>,
}

/// One model: the entry of that name in a node's model manifest must have these graphs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// The name in the model manifest.
    pub(crate) name: String,
    /// The SHA-256 of each graph's file, lower-case hexadecimal, by the name under which `wasi:nn` serves it, as
    /// `mtcnn/proposal`.
    pub(crate) graphs: BTreeMap<String, String>,
}

/// The part of the policy of a verification that follows the models. What is absent stays as the node has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// Two faces are one person when the Euclidean distance of their embeddings is at most this, 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threshold: Option<f32>,
    /// Steepness of the score's logistic curve at the threshold, per unit of distance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slope: Option<f32>,
    /// What to do with a face that does not look into the camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) non_frontal: Option<NonFrontal>,
}

/// A rule of bundles that a manifest breaks: what is wrong, and the mend.
pub(super) type Broken = String;

impl Components {
    /// The slots of all components, each with its SHA-256 in lower-case hexadecimal.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &str)> {
        let parts = [(Slot::Gateway, &self.gateway), (Slot::Analyzer, &self.analyzer), (Slot::Scorer, &self.scorer)];
        parts.into_iter().filter_map(|(slot, part)| Some((slot, part.as_ref()?.sha256.as_str())))
    }

    /// The SHA-256 of the component for this slot.
    pub(crate) fn get(&self, slot: Slot) -> Option<&str> {
        self.iter().find_map(|(known, digest)| (known == slot).then_some(digest))
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn of(digests: &BTreeMap<Slot, String>) -> Self {
        let part = |slot| digests.get(&slot).map(|sha256| Part { sha256: sha256.clone() });
        Self { gateway: part(Slot::Gateway), analyzer: part(Slot::Analyzer), scorer: part(Slot::Scorer) }
    }
}

impl Models {
    fn is_empty(&self) -> bool {
        self.detector.is_none() && self.embedder.is_none()
    }
}

impl Manifest {
    /// Whether it says anything of models or policy.
    pub(crate) fn has_policy(&self) -> bool {
        !self.models.is_empty() || !self.verify.is_empty()
    }
}

impl Policy {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Manifest {
    /// The manifest of a bundle with components of these digests; the rules are not checked yet.
    pub(super) fn new(parts: super::Parts, digests: &BTreeMap<Slot, String>) -> Self {
        let super::Parts { name, version, embedding_space, models, verify, components: _ } = parts;
        Self { format: FORMAT, name, version, embedding_space, components: Components::of(digests), models, verify }
    }

    /// Reads the text of `bundle.toml` and checks the rules.
    pub(super) fn parse(text: &str) -> Result<Self, Broken> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            format!("line {line}: {}", error.message())
        })?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The text of `bundle.toml`: the same manifest always gives the same bytes.
    pub(super) fn text(&self) -> Result<String, Broken> {
        self.check()?;
        toml::to_string(self).map_err(|error| error.to_string())
    }

    fn check(&self) -> Result<(), Broken> {
        if self.format != FORMAT {
            return Err(format!("its format is {}, and this visavis reads {FORMAT}: update visavis", self.format));
        }
        plain("name", &self.name, "-_.")?;
        plain("version", &self.version, "-_.+")?;
        if self.components.is_empty() && self.models.is_empty() && self.verify.is_empty() {
            return Err("there is nothing in it; a bundle has at least one component, model or setting".to_owned());
        }
        for (slot, sha256) in self.components.iter() {
            digest(&format!("components.{slot}"), sha256)?;
        }
        for (kind, model) in [("detector", &self.models.detector), ("embedder", &self.models.embedder)] {
            model.iter().try_for_each(|model| model.check(kind))?;
        }
        self.verify.check()?;
        self.check_together()
    }

    /// What distances mean follows from the analyzer and its embedder, and the threshold is a distance.
    fn check_together(&self) -> Result<(), Broken> {
        let threshold = self.verify.threshold.is_some();
        if self.models.embedder.is_some() && !threshold {
            return Err(
                "it names an embedder without a threshold, and a threshold of another embedder means nothing; \
                        give the threshold"
                    .to_owned(),
            );
        }
        if self.embedding_space == EmbeddingSpace::Changes {
            if self.components.analyzer.is_none() && self.models.embedder.is_none() {
                return Err(
                    "the embedding space changes, but there is neither an analyzer nor an embedder in it that \
                            could change it; add one, or leave the space as it is"
                        .to_owned(),
                );
            }
            if !threshold {
                return Err(
                    "the embedding space changes, so that the old threshold means nothing; give the new one".to_owned()
                );
            }
        }
        Ok(())
    }
}

impl Model {
    fn check(&self, kind: &str) -> Result<(), Broken> {
        let place = format!("models.{kind}");
        plain(&format!("{place}.name"), &self.name, "-_.")?;
        if self.graphs.is_empty() || self.graphs.len() > GRAPHS {
            return Err(format!("{place} has {} graphs; a model has 1 to {GRAPHS}", self.graphs.len()));
        }
        for (graph, sha256) in &self.graphs {
            let part = graph.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('/'));
            let part = part.ok_or_else(|| format!("{place}: the graph {graph:?} must be named {}/PART", self.name))?;
            plain(&format!("{place}: a graph's part"), part, "-_.")?;
            digest(&format!("{place}, graph {graph}"), sha256)?;
        }
        Ok(())
    }
}

impl Policy {
    fn check(&self) -> Result<(), Broken> {
        if let Some(threshold) = self.threshold.filter(|threshold| !(0.0..=2.0).contains(threshold)) {
            return Err(format!("verify.threshold is {threshold}; a distance of unit vectors lies in 0 to 2"));
        }
        if let Some(slope) = self.slope {
            if !(slope.is_finite() && slope > 0.0) {
                return Err(format!("verify.slope is {slope}; it must be finite and greater than 0"));
            }
            if self.threshold.is_none() {
                return Err("verify.slope is the steepness at the threshold; give verify.threshold, too".to_owned());
            }
        }
        Ok(())
    }
}

/// Names stand in logs, tables and file names, so they are kept plain.
fn plain(what: &str, text: &str, marks: &str) -> Result<(), Broken> {
    let fine = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    if !text.is_empty() && text.len() <= NAME && text.chars().all(fine) && text.starts_with(char::is_alphanumeric) {
        return Ok(());
    }
    let text: String = text.chars().take(NAME).collect();
    Err(format!(
        "{what} is {text:?}; it must have 1 to {NAME} letters, digits or any of {marks}, and begin with a letter or digit"
    ))
}

fn digest(place: &str, text: &str) -> Result<(), Broken> {
    if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(format!("{place}: its sha256 must have 64 lower-case hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        format = 1
        name = "faces"
        version = "1.2.0+b7"
        embedding_space = "changes"
        [components.analyzer]
        sha256 = "DIGEST"
        [models.embedder]
        name = "facenet"
        graphs = { "facenet/embedding" = "DIGEST" }
        [verify]
        threshold = 1.06
        slope = 18.0
        non_frontal = "report"
    "#;

    fn parse(from: &str, to: &str) -> Result<Manifest, Broken> {
        assert!(WHOLE.contains(from), "{from}");
        Manifest::parse(&WHOLE.replacen(from, to, 1).replace("DIGEST", &"0a".repeat(32)))
    }

    #[test]
    fn a_manifest_survives_its_text() {
        let manifest = parse("", "").unwrap();
        assert_eq!(manifest.components.get(Slot::Analyzer).map(str::len), Some(64));
        assert_eq!(manifest.verify.threshold, Some(1.06));
        let text = manifest.text().unwrap();
        assert!(text.contains("threshold = 1.06\n"), "{text}");
        assert_eq!(Manifest::parse(&text).unwrap(), manifest);
    }

    #[test]
    fn model_threshold_and_code_stay_together() {
        let cases = [
            ("threshold = 1.06\n        slope = 18.0", "", "an embedder without a threshold"),
            (
                "[models.embedder]\n        name = \"facenet\"\n        graphs = { \"facenet/embedding\" = \"DIGEST\" }\n        [verify]\n        threshold = 1.06\n        slope = 18.0\n",
                "[verify]\n",
                "give the new one",
            ),
            (
                "[components.analyzer]\n        sha256 = \"DIGEST\"\n        [models.embedder]\n        name = \"facenet\"\n        graphs = { \"facenet/embedding\" = \"DIGEST\" }",
                "",
                "neither an analyzer nor an embedder",
            ),
            ("threshold = 1.06", "", "give verify.threshold"),
        ];
        for (from, to, words) in cases {
            let broken = parse(from, to).unwrap_err();
            assert!(broken.contains(words), "{broken}\nlacks {words}");
        }
    }

    #[test]
    fn values_that_cannot_be_right_are_named() {
        let cases = [
            ("format = 1", "format = 2", "update visavis"),
            ("\"faces\"", "\"../faces\"", "name is \"../faces\""),
            ("\"1.2.0+b7\"", "\"\"", "version is \"\""),
            ("\"changes\"", "\"maybe\"", "unknown variant `maybe`"),
            ("analyzer]\n        sha256 = \"DIGEST\"", "analyzer]\n        sha256 = \"0A\"", "components.analyzer"),
            ("components.analyzer", "components.annotator", "unknown field `annotator`"),
            ("\"facenet/embedding\"", "\"other/embedding\"", "must be named facenet/PART"),
            ("{ \"facenet/embedding\" = \"DIGEST\" }", "{}", "has 0 graphs"),
            ("1.06", "2.5", "0 to 2"),
            ("1.06", "nan", "0 to 2"),
            ("18.0", "0", "greater than 0"),
            ("\"report\"", "\"ignore\"", "unknown variant `ignore`"),
            ("slope", "slopes", "line 13: unknown field `slopes`"),
            ("name = \"faces\"", "name = \"faces\"\nname = \"b\"", "duplicate key"),
        ];
        for (from, to, words) in cases {
            let broken = parse(from, to).unwrap_err();
            assert!(broken.contains(words), "{broken}\nlacks {words}");
        }
        let nothing = Manifest::parse("format = 1\nname = \"a\"\nversion = \"1\"\n[verify]\n").unwrap_err();
        assert!(nothing.contains("nothing in it"), "{nothing}");
    }

    #[test]
    fn a_policy_alone_is_a_bundle() {
        let text = "format = 1\nname = \"a\"\nversion = \"1\"\n[verify]\nthreshold = 1.1\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.embedding_space, EmbeddingSpace::Same);
    }
}
