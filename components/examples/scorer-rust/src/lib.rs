//! A scorer in Rust: decides whether two analysed photographs show one person.
//!
//! Owns the rules: one face each, frontal, near enough. Must never know pixels, networks or HTTP.

use std::ops::RangeInclusive;

use crate::bindings::exports::visavis::face::score::{
    Analysis, Countable, Face, Guest, NonFrontal, Policy, Rejection, Turned, Verdict, Which,
};
use crate::bindings::visavis::face::types::{BoundingBox, Landmarks, Point};

mod bindings {
    wit_bindgen::generate!({ path: "../../../wit", world: "scorer" });

    export!(Scorer);

    use super::Scorer;
}

/// A face counts when its confidence exceeds this ...
const COUNTABLE_CONFIDENCE: f32 = 0.9;
/// ... and its area is at least this part of the largest such face's.
const COUNTABLE_AREA: f32 = 0.15;
/// Frontal: the nose at most this many eye distances beside the middle line, about 25 degrees of yaw.
const MAX_SIDEWAYS: f32 = 0.23;
/// Frontal: at most this much roll either way, degrees.
const MAX_ROLL: f32 = 25.0;
/// Frontal: where the nose may lie between the eyes (0) and the mouth (1), about 26 degrees of pitch either way.
const NOSE_RANGE: RangeInclusive<f32> = 0.30..=0.78;
/// How far the length of an embedding may be from 1.
const UNIT_TOLERANCE: f32 = 0.01;

struct Scorer;

impl Guest for Scorer {
    fn score(first: Analysis, second: Analysis, policy: Policy) -> Result<Verdict, Rejection> {
        let (first_index, first) = meant(&first.faces, Which::First)?;
        let (second_index, second) = meant(&second.faces, Which::Second)?;
        let frontal = (is_frontal(&first.landmarks), is_frontal(&second.landmarks));
        if policy.non_frontal == NonFrontal::Reject {
            let turned = |photograph, face: &Face| Rejection::NonFrontalFace(Turned { photograph, pose: face.pose });
            if !frontal.0 {
                return Err(turned(Which::First, first));
            }
            if !frontal.1 {
                return Err(turned(Which::Second, second));
            }
        }
        check(&first.embedding, &second.embedding, policy).map_err(Rejection::Incomparable)?;
        let pairs = || first.embedding.iter().zip(&second.embedding);
        let distance = pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        Ok(Verdict {
            verified: distance <= policy.threshold,
            score: 1.0 / (1.0 + (-policy.slope * (policy.threshold - distance)).exp()),
            euclidean_distance: distance,
            cosine_similarity: pairs().map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0),
            faces: (first_index, second_index),
            frontal,
        })
    }

    fn frontal(face: Face) -> bool {
        is_frontal(&face.landmarks)
    }
}

/// The one face that counts, and its index. When all are doubtful, the first of them does.
fn meant(faces: &[Face], photograph: Which) -> Result<(u32, &Face), Rejection> {
    let confident = || faces.iter().enumerate().filter(|(_, face)| face.confidence > COUNTABLE_CONFIDENCE);
    let least = COUNTABLE_AREA * confident().map(|(_, face)| area(&face.box_)).fold(0.0, f32::max);
    let countable: Vec<_> = confident().filter(|(_, face)| area(&face.box_) >= least).collect();
    match countable[..] {
        [] => faces.first().map(|face| (0, face)).ok_or(Rejection::NoFace(photograph)),
        [(index, face)] => Ok((index as u32, face)),
        _ => Err(Rejection::MultipleFaces(Countable { photograph, count: countable.len() as u32 })),
    }
}

/// Square pixels; 0 when the corners are swapped.
fn area(b: &BoundingBox) -> f32 {
    (b.x2 - b.x1).max(0.0) * (b.y2 - b.y1).max(0.0)
}

/// Turns the face upright around the middle of its eyes, then asks where its nose lies.
fn is_frontal(points: &Landmarks) -> bool {
    let across = (points.right_eye.x - points.left_eye.x, points.right_eye.y - points.left_eye.y);
    let roll = across.1.atan2(across.0);
    let (sine, cosine) = roll.sin_cos();
    let origin = middle(points.left_eye, points.right_eye);
    let turn = |point: Point| {
        let (x, y) = (point.x - origin.x, point.y - origin.y);
        Point { x: x * cosine + y * sine, y: y * cosine - x * sine }
    };
    let nose = turn(points.nose);
    let mouth = turn(middle(points.left_mouth, points.right_mouth));
    let eye_distance = across.0 * cosine + across.1 * sine;
    let has_extent = (eye_distance > 0.0 && eye_distance.is_finite()) && (mouth.y > 0.0 && mouth.y.is_finite());
    let down = nose.y / mouth.y;
    // The middle line leans with the mouth; at the height of the nose it has gone this part of the way.
    let sideways = (nose.x - mouth.x * down) / eye_distance;
    // A coordinate that is not a number fails these comparisons as well.
    has_extent && sideways.abs() <= MAX_SIDEWAYS && roll.to_degrees().abs() <= MAX_ROLL && NOSE_RANGE.contains(&down)
}

fn middle(a: Point, b: Point) -> Point {
    Point { x: (a.x + b.x) / 2.0, y: (a.y + b.y) / 2.0 }
}

/// Says why these are not L2-normalised embeddings of one network, or the policy is not sound.
fn check(first: &[f32], second: &[f32], policy: Policy) -> Result<(), String> {
    let Policy { threshold, slope, .. } = policy;
    if !(0.0..=2.0).contains(&threshold) {
        return Err(format!("the threshold {threshold} does not lie in 0 to 2"));
    }
    if !(slope > 0.0 && slope.is_finite()) {
        return Err(format!("the slope {slope} is not a positive number"));
    }
    for (which, embedding) in [("first", first), ("second", second)] {
        if embedding.is_empty() {
            return Err(format!("the {which} face has no embedding"));
        }
    }
    if first.len() != second.len() {
        return Err(format!("the embeddings have {} and {} numbers", first.len(), second.len()));
    }
    for (which, embedding) in [("first", first), ("second", second)] {
        let length = embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length.is_nan() || (length - 1.0).abs() > UNIT_TOLERANCE {
            return Err(format!("the {which} face's embedding is not a finite vector of length 1"));
        }
    }
    Ok(())
}
