//! The scorer's proof: recorded analyses, and the decisions that they must lead to.
//!
//! Owns the tolerance. The cases lie beside the example scorers, which prove themselves with the same ones.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Checks;
use crate::pipeline::Pipeline;
use crate::runtime::bindings::score::{NonFrontal, Policy, Rejection, Verdict, Which};
use crate::runtime::bindings::types::{Analysis, BoundingBox, Face, Landmarks, Point, Pose};
use crate::runtime::{Cancel, Slot};

/// The recorded cases, as the records of `wit/` in JSON with `snake_case` names.
const CASES: &str = include_str!("../../../../components/examples/cases.json");

/// How far a score, a distance or a similarity may be from the recorded one.
const TOLERANCE: f64 = 1e-4;

pub(super) async fn examine(pipeline: &Arc<Pipeline>, checks: &mut Checks) {
    let cases: Vec<Case> = match serde_json::from_str(CASES) {
        Ok(cases) => cases,
        Err(error) => return checks.compare(Slot::Scorer, "the recorded cases", "cases", error, false),
    };
    let pipeline = Arc::clone(pipeline);
    let answers = tokio::task::spawn_blocking(move || {
        let mut answers = Vec::new();
        for case in cases {
            let (first, second) = (case.first.into(), case.second.into());
            let answer = pipeline.scorer.score(&first, &second, case.policy.into(), Cancel::default());
            // One that does not answer is not asked again: each answer may take its whole time.
            let broken = answer.is_err();
            answers.push((case.name, case.expect, answer.map_err(|error| error.to_string())));
            if broken {
                break;
            }
        }
        answers
    });
    match answers.await {
        Ok(answers) => {
            for (name, expected, answer) in answers {
                let found = match answer {
                    Ok(Ok(verdict)) => decided(&verdict),
                    Ok(Err(rejection)) => rejected(&rejection),
                    Err(error) => {
                        checks.silent(Slot::Scorer, &name, &expected, error);
                        continue;
                    }
                };
                checks.compare(Slot::Scorer, &name, &expected, &found, alike(&expected, &found));
            }
        }
        Err(error) => checks.silent(Slot::Scorer, "the recorded cases", "answers", error),
    }
}

/// Whether an answer is the recorded one. Numbers within a rejection are measured in degrees and need be no more exact than
/// that; its words are the scorer's own.
fn alike(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= TOLERANCE
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| key == "incomparable" || alike(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (a, b) => a == b,
    }
}

fn decided(verdict: &Verdict) -> Value {
    json!({ "verdict": {
        "verified": verdict.verified,
        "score": verdict.score,
        "euclidean_distance": verdict.euclidean_distance,
        "cosine_similarity": verdict.cosine_similarity,
        "faces": [verdict.faces.0, verdict.faces.1],
        "frontal": [verdict.frontal.0, verdict.frontal.1],
    } })
}

fn rejected(rejection: &Rejection) -> Value {
    let which = |which: Which| if which == Which::First { "first" } else { "second" };
    let why = match rejection {
        Rejection::NoFace(photograph) => json!({ "no_face": which(*photograph) }),
        Rejection::MultipleFaces(many) => {
            json!({ "multiple_faces": { "photograph": which(many.photograph), "count": many.count } })
        }
        Rejection::NonFrontalFace(turned) => {
            let Pose { yaw, pitch, roll } = turned.pose;
            let pose = json!({ "yaw": yaw, "pitch": pitch, "roll": roll });
            json!({ "non_frontal_face": { "photograph": which(turned.photograph), "pose": pose } })
        }
        Rejection::Incomparable(text) => json!({ "incomparable": text }),
    };
    json!({ "rejection": why })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    first: RecordedAnalysis,
    second: RecordedAnalysis,
    policy: RecordedPolicy,
    expect: Value,
}

#[derive(Deserialize)]
struct RecordedPolicy {
    threshold: f32,
    slope: f32,
    non_frontal: RecordedNonFrontal,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecordedNonFrontal {
    Reject,
    Report,
}

#[derive(Deserialize)]
struct RecordedAnalysis {
    width: u32,
    height: u32,
    faces: Vec<RecordedFace>,
}

#[derive(Deserialize)]
struct RecordedFace {
    r#box: RecordedBox,
    confidence: f32,
    landmarks: RecordedLandmarks,
    pose: RecordedPose,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct RecordedBox {
    x1: f32,
    y1: f32,
    x2: f32,
    y2: f32,
}

#[derive(Deserialize)]
struct RecordedLandmarks {
    left_eye: RecordedPoint,
    right_eye: RecordedPoint,
    nose: RecordedPoint,
    left_mouth: RecordedPoint,
    right_mouth: RecordedPoint,
}

#[derive(Deserialize)]
struct RecordedPoint {
    x: f32,
    y: f32,
}

#[derive(Deserialize)]
struct RecordedPose {
    yaw: f32,
    pitch: f32,
    roll: f32,
}

impl From<RecordedPolicy> for Policy {
    fn from(RecordedPolicy { threshold, slope, non_frontal }: RecordedPolicy) -> Self {
        let non_frontal = match non_frontal {
            RecordedNonFrontal::Reject => NonFrontal::Reject,
            RecordedNonFrontal::Report => NonFrontal::Report,
        };
        Self { threshold, slope, non_frontal }
    }
}

impl From<RecordedAnalysis> for Analysis {
    fn from(RecordedAnalysis { width, height, faces }: RecordedAnalysis) -> Self {
        Self { width, height, faces: faces.into_iter().map(Face::from).collect(), timings: Vec::new() }
    }
}

impl From<RecordedFace> for Face {
    fn from(face: RecordedFace) -> Self {
        let RecordedBox { x1, y1, x2, y2 } = face.r#box;
        let point = |RecordedPoint { x, y }: RecordedPoint| Point { x, y };
        let RecordedLandmarks { left_eye, right_eye, nose, left_mouth, right_mouth } = face.landmarks;
        let RecordedPose { yaw, pitch, roll } = face.pose;
        Self {
            box_: BoundingBox { x1, y1, x2, y2 },
            confidence: face.confidence,
            landmarks: Landmarks {
                left_eye: point(left_eye),
                right_eye: point(right_eye),
                nose: point(nose),
                left_mouth: point(left_mouth),
                right_mouth: point(right_mouth),
            },
            pose: Pose { yaw, pitch, roll },
            embedding: face.embedding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_cases_can_be_read_and_have_names_of_their_own() {
        let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
        let mut names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), cases.len());
        assert!(cases.len() > 20 && cases.iter().all(|case| case.expect.is_object()));
    }

    #[test]
    fn answers_are_alike_within_the_tolerance() {
        let verdict = |score: f32| {
            decided(&Verdict {
                verified: true,
                score,
                euclidean_distance: 0.5,
                cosine_similarity: 0.875,
                faces: (0, 1),
                frontal: (true, true),
            })
        };
        assert!(alike(&verdict(0.5), &verdict(0.500_05)) && !alike(&verdict(0.5), &verdict(0.501)));
        assert!(!alike(&verdict(0.5), &verdict(f32::NAN)));
        let no_face = |which| rejected(&Rejection::NoFace(which));
        assert!(alike(&no_face(Which::First), &no_face(Which::First)));
        assert!(
            !alike(&no_face(Which::First), &no_face(Which::Second)) && !alike(&no_face(Which::First), &verdict(0.5))
        );
        let words = |text: &str| rejected(&Rejection::Incomparable(text.to_owned()));
        assert!(alike(&words("one way"), &words("another")));
    }
}
