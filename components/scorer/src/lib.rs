//! The scorer component: decides whether two analysed photographs show one person.
//!
//! Owns the order of the rules (a face each, one face each, frontal, close enough) and the translation between the
//! component's interface and `face_rules`. Must never know pixels, networks, HTTP, or the standard library on
//! WebAssembly: the component imports nothing, so that nothing can be given to it.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
mod freestanding;

use alloc::string::ToString;
use alloc::vec::Vec;

use face_rules::geometry::{BoundingBox, Landmarks, Point};
use face_rules::score::Calibration;
use face_rules::{pose, prominence, score};

use crate::bindings::exports::visavis::face::score::{
    Analysis, Countable, Face, Guest, NonFrontal, Policy, Rejection, Turned, Verdict, Which,
};

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "scorer" });

    export!(Scorer);

    use super::Scorer;
}

struct Scorer;

impl Guest for Scorer {
    fn score(first: Analysis, second: Analysis, policy: Policy) -> Result<Verdict, Rejection> {
        let first = meant(&first, Which::First)?;
        let second = meant(&second, Which::Second)?;
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
            faces: (MEANT, MEANT),
            frontal,
        })
    }

    fn frontal(face: Face) -> bool {
        is_frontal(&face)
    }
}

/// The index of the face that is meant: an analysis lists the most prominent first.
const MEANT: u32 = 0;

/// The one face of a photograph that counts.
fn meant(analysis: &Analysis, photograph: Which) -> Result<&Face, Rejection> {
    let face = analysis.faces.get(MEANT as usize).ok_or(Rejection::NoFace(photograph))?;
    let faces: Vec<_> = analysis.faces.iter().map(|face| (face.confidence, bounding_box(face))).collect();
    match prominence::countable(&faces) {
        0 | 1 => Ok(face),
        count => {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            Err(Rejection::MultipleFaces(Countable { photograph, count }))
        }
    }
}

fn is_frontal(face: &Face) -> bool {
    let points = &face.landmarks;
    pose::is_frontal(&Landmarks::from_array(
        [points.left_eye, points.right_eye, points.nose, points.left_mouth, points.right_mouth]
            .map(|point| Point::new(point.x, point.y)),
    ))
}

fn bounding_box(face: &Face) -> BoundingBox {
    BoundingBox::new(face.box_.x1, face.box_.y1, face.box_.x2, face.box_.y2)
}
