//! The result as clients read it: one JSON object, the fields that the API has always had first.
//!
//! Owns the names, the order and the precision of a result's numbers. Must never decide anything.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Model;
use crate::runtime::Generation;
use crate::runtime::bindings::score::Verdict;
use crate::runtime::bindings::types::{Analysis, Face, Point, Pose};

/// What the pipeline itself measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timings {
    /// The scorer's call.
    pub(super) score: Duration,
    /// From the photographs to the verdict.
    pub(super) total: Duration,
}

/// Writes a result. `faces` are the two that were compared.
pub(super) fn result(
    analyses: &[Analysis; 2],
    faces: [&Face; 2],
    verdict: &Verdict,
    threshold: f32,
    components: &[(&str, &Generation)],
    models: &[Model],
    timings: Timings,
) -> Value {
    let steps = |analysis: &Analysis| -> Value {
        let steps = analysis.timings.iter().map(|timing| (timing.step.clone(), milliseconds(timing.milliseconds)));
        Value::Object(steps.collect::<Map<_, _>>())
    };
    let components: Map<_, _> =
        components.iter().map(|(slot, generation)| ((*slot).to_owned(), json!(generation))).collect();
    json!({
        "verified": verdict.verified,
        "verification_score": number(verdict.score),
        "euclidean_distance": number(verdict.euclidean_distance),
        "cosine_similarity": number(verdict.cosine_similarity),
        "face1_frontal": verdict.frontal.0,
        "face2_frontal": verdict.frontal.1,
        "confidence1": number(faces[0].confidence),
        "confidence2": number(faces[1].confidence),
        "threshold": number(threshold),
        "faces": [face(faces[0], &analyses[0]), face(faces[1], &analyses[1])],
        "components": components,
        "models": models,
        "timings_ms": {
            "image1": steps(&analyses[0]),
            "image2": steps(&analyses[1]),
            "score": milliseconds(timings.score.as_secs_f64() * 1e3),
            "total": milliseconds(timings.total.as_secs_f64() * 1e3),
        },
    })
}

/// A pose in degrees.
pub(crate) fn pose(pose: &Pose) -> Value {
    json!({ "yaw": tenth(pose.yaw), "pitch": tenth(pose.pitch), "roll": tenth(pose.roll) })
}

/// A face's box: `[x1, y1, x2, y2]`, pixels.
pub(crate) fn bounding_box(face: &Face) -> Value {
    let b = face.box_;
    json!([hundredth(b.x1), hundredth(b.y1), hundredth(b.x2), hundredth(b.y2)])
}

/// A face's five points: left eye, right eye, nose, left and right mouth corner as seen in the photograph, pixels.
pub(crate) fn landmarks(face: &Face) -> Value {
    let l = &face.landmarks;
    let point = |point: Point| json!([hundredth(point.x), hundredth(point.y)]);
    json!([point(l.left_eye), point(l.right_eye), point(l.nose), point(l.left_mouth), point(l.right_mouth)])
}

/// A probability, distance or similarity, to six decimals: what a 32-bit float holds.
pub(crate) fn number(value: f32) -> Value {
    rounded(f64::from(value), 1e6)
}

fn face(face: &Face, analysis: &Analysis) -> Value {
    json!({
        "box": bounding_box(face),
        "landmarks": landmarks(face),
        "pose": pose(&face.pose),
        "image": { "width": analysis.width, "height": analysis.height },
    })
}

fn hundredth(value: f32) -> Value {
    rounded(f64::from(value), 1e2)
}

fn tenth(value: f32) -> Value {
    rounded(f64::from(value), 1e1)
}

fn milliseconds(value: f64) -> Value {
    rounded(value, 1e2)
}

/// A number that is not finite becomes null: JSON has no word for it.
fn rounded(value: f64, per_unit: f64) -> Value {
    json!((value * per_unit).round() / per_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_infinity_is_null() {
        assert_eq!(number(0.1).to_string(), "0.1");
        assert_eq!(number(f32::INFINITY), Value::Null);
        assert_eq!(
            pose(&Pose { yaw: 1.04, pitch: -2.0, roll: 0.26 }).to_string(),
            r#"{"yaw":1.0,"pitch":-2.0,"roll":0.3}"#
        );
    }
}
