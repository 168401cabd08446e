//! The analyzer component: everything about one photograph, nothing about two.
//!
//! Owns the order of the steps (decode, detect, crop, embed), their timings, and the translation between the component's
//! interface and the crate `face`. Must never know HTTP, the queue, a threshold of the decision or another photograph.
//!
//! # Layout
//!
//! - `graph`: one named graph of `wasi:nn`, with its answers checked.
//! - `networks`: the detector's three graphs and the embedder's, as `face` wants them.

mod graph;
mod networks;

use face::decode::{self, DecodeError, Draft};
use face::embedding::Crop;
use face::mtcnn::{self, Detection};
use face::resize::Normalization;
use face::rules::pose;
use face::search;

use crate::bindings::exports::visavis::face::analyze::{Analysis, Embed, Failure, Guest, Settings};
use crate::bindings::visavis::face::types::{BoundingBox, Face, Landmarks, Point, Pose, Timing};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::networks::{Cascade, Embedder};

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "analyzer", generate_all });

    export!(Analyzer);

    use super::Analyzer;
}

struct Analyzer;

impl Guest for Analyzer {
    fn analyze(photograph: Vec<u8>, settings: Settings) -> Result<Analysis, Failure> {
        let mut clock = Clock::default();
        let max_side = usize::try_from(settings.detect_max_side).unwrap_or(usize::MAX);
        // Faces are searched on a smaller copy anyway. A draft of twice its sides is as good a source for it as the whole.
        let longer = if max_side == 0 { usize::MAX } else { max_side.saturating_mul(2) };
        let Draft { photograph: mut decoded, width, height } = decode::draft(&photograph, settings.max_pixels, longer)?;
        clock.lap("decode");

        let mut cascade = Cascade::load(&settings.detector).map_err(inference)?;
        let mut found =
            search::faces(&decoded, max_side, &cascade_settings(&settings), &mut cascade).map_err(inference)?;
        clock.lap("detect");

        let crop = Crop {
            size: usize::try_from(settings.embedder.size).unwrap_or(usize::MAX),
            margin: settings.embedder.crop_margin,
            normalization: Normalization { mean: settings.embedder.mean, scale: settings.embedder.scale },
        };
        crop.check().map_err(inference)?;
        let wanted = match settings.embed {
            Embed::Every => found.len(),
            Embed::MostProminent => found.len().min(1),
        };
        // In pixels of the photograph, whatever was decoded of it.
        let mut whole = found.clone();
        if (decoded.width(), decoded.height()) != (width, height) {
            let (across, down) = (width as f32 / decoded.width() as f32, height as f32 / decoded.height() as f32);
            whole.iter_mut().for_each(|face| search::enlarge(face, across, down));
            if found[..wanted].iter().any(|face| crop.wants_more(&decoded, &face.bounding_box)) {
                decoded = decode::decode(&photograph, settings.max_pixels)?;
                found.clone_from(&whole);
                clock.lap("decode");
            }
        }
        // The encoded bytes are no longer needed, and memory is bounded.
        drop(photograph);
        let mut embeddings = Vec::with_capacity(found.len());
        if wanted > 0 {
            let embedder = Embedder::load(&settings.embedder).map_err(inference)?;
            let mut planes = Vec::new();
            // Usually one batch; a crowd is embedded in several, so that memory stays bounded.
            for batch in found[..wanted].chunks(networks::MAX_EMBED_BATCH) {
                planes.clear();
                for face in batch {
                    crop.append(&decoded, &face.bounding_box, &mut planes);
                }
                clock.lap("crop");
                embeddings.append(&mut embedder.embed(&planes, batch.len()).map_err(inference)?);
                clock.lap("embed");
            }
        }
        embeddings.resize(found.len(), Vec::new());

        Ok(Analysis {
            width: width as u32,
            height: height as u32,
            faces: whole.into_iter().zip(embeddings).map(|(face, embedding)| describe(&face, embedding)).collect(),
            timings: clock.timings,
        })
    }
}

fn cascade_settings(settings: &Settings) -> mtcnn::Settings {
    let detector = &settings.detector;
    mtcnn::Settings {
        normalization: Normalization { mean: detector.mean, scale: detector.scale },
        thresholds: detector.thresholds.into(),
        pyramid_factor: detector.pyramid_factor,
        min_face: settings.min_face,
    }
}

/// A face in the words of the interface.
fn describe(face: &Detection, embedding: Vec<f32>) -> Face {
    let pose = pose::estimate(&face.landmarks);
    let [left_eye, right_eye, nose, left_mouth, right_mouth] =
        face.landmarks.to_array().map(|point| Point { x: point.x, y: point.y });
    let face::rules::geometry::BoundingBox { x1, y1, x2, y2 } = face.bounding_box;
    Face {
        box_: BoundingBox { x1, y1, x2, y2 },
        confidence: face.probability,
        landmarks: Landmarks { left_eye, right_eye, nose, left_mouth, right_mouth },
        pose: Pose { yaw: pose.yaw, pitch: pose.pitch, roll: pose.roll },
        embedding,
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::InvalidImage(text) => Self::InvalidImage(text),
            DecodeError::UnsupportedFormat(text) => Self::UnsupportedFormat(text),
            DecodeError::ImageTooLarge(text) => Self::ImageTooLarge(text),
        }
    }
}

/// What is not the photograph's fault.
fn inference(error: impl std::fmt::Display) -> Failure {
    Failure::Inference(error.to_string())
}

/// Measures the steps.
struct Clock {
    last: u64,
    timings: Vec<Timing>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { last: monotonic_clock::now(), timings: Vec::new() }
    }
}

impl Clock {
    /// Ends a step; a step that comes again is added to.
    fn lap(&mut self, step: &str) {
        let now = monotonic_clock::now();
        let milliseconds = now.saturating_sub(self.last) as f64 / 1e6;
        self.last = now;
        match self.timings.iter_mut().find(|timing| timing.step == step) {
            Some(timing) => timing.milliseconds += milliseconds,
            None => self.timings.push(Timing { step: step.into(), milliseconds }),
        }
    }
}
