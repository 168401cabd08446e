//! The decision on two analyses: which face is meant in each, whether they look into the camera, whether they are one person's.
//!
//! Owns the order of the rules and the translation between the component's interface and `face_rules`. Must never know how the
//! component is called, or the standard library.

use alloc::string::ToString;

use face_rules::geometry::{BoundingBox, Landmarks, Point};
use face_rules::prominence::{self, Seen};
use face_rules::score::Calibration;
use face_rules::{pose, score};

use crate::bindings::exports::visavis::face::score::{
    Analysis, Countable, Face, NonFrontal, Policy, Rejection, Turned, Verdict, Which,
};

/// Decides whether the one face of each photograph shows the same person.
///
/// # Errors
/// There is not exactly one face in each, one is turned away and must not be, or the embeddings cannot be compared.
pub(crate) fn decide(first: &Analysis, second: &Analysis, policy: Policy) -> Result<Verdict, Rejection> {
    let (first_index, first) = meant(first, Which::First)?;
    let (second_index, second) = meant(second, Which::Second)?;
    let frontal = (is_frontal(first), is_frontal(second));
    if policy.non_frontal == NonFrontal::Reject {
        for (face, frontal, photograph) in [(first, frontal.0, Which::First), (second, frontal.1, Which::Second)] {
            if !frontal {
                return Err(Rejection::NonFrontalFace(Turned { photograph, pose: face.pose }));
            }
        }
    }
    let calibration = Calibration { threshold: policy.threshold, slope: policy.slope };
    let comparison = score::compare(&first.embedding, &second.embedding, calibration)
        .map_err(|reason| Rejection::Incomparable(reason.to_string()))?;
    Ok(Verdict {
        verified: comparison.verified,
        score: comparison.score,
        euclidean_distance: comparison.euclidean_distance,
        cosine_similarity: comparison.cosine_similarity,
        faces: (first_index, second_index),
        frontal,
    })
}

/// The one face of a photograph that counts, and its index.
fn meant(analysis: &Analysis, photograph: Which) -> Result<(u32, &Face), Rejection> {
    let faces =
        analysis.faces.iter().map(|face| Seen { confidence: face.confidence, bounding_box: bounding_box(face) });
    let mut countable = prominence::countable(faces);
    let index = countable.next().ok_or(Rejection::NoFace(photograph))?;
    match 1 + countable.count() {
        1 => Ok((index as u32, &analysis.faces[index])),
        count => Err(Rejection::MultipleFaces(Countable { photograph, count: count as u32 })),
    }
}

/// Whether a face looks into the camera.
pub(crate) fn is_frontal(face: &Face) -> bool {
    let points = &face.landmarks;
    pose::is_frontal(&Landmarks::from_array(
        [points.left_eye, points.right_eye, points.nose, points.left_mouth, points.right_mouth]
            .map(|point| Point::new(point.x, point.y)),
    ))
}

fn bounding_box(face: &Face) -> BoundingBox {
    BoundingBox::new(face.box_.x1, face.box_.y1, face.box_.x2, face.box_.y2)
}
