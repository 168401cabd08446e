//! A scorer that decides by the real rules, and misbehaves where its orders say so. The orders are a constant that a test
//! changes in the component's bytes, so that one build serves them all.
//!
//! Owns the orders and what each does. Must never be part of what users are given.

use std::hint::black_box;
use std::time::{Duration, Instant};

use face_rules::geometry::{BoundingBox, Landmarks, Point};
use face_rules::prominence::{self, Seen};
use face_rules::score::Calibration;
use face_rules::{pose, score};

use crate::bindings::exports::visavis::face::score::{
    Analysis, Countable, Face, Guest, NonFrontal, Policy, Rejection, Turned, Verdict, Which,
};

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "scorer" });

    export!(Wayward);

    use super::Wayward;
}

/// The orders: 16 bytes to find them by; then, as little-endian numbers of 4 bytes, what to do, the width of the first
/// photograph for which to do it (0 is every one), and for how many milliseconds.
static ORDERS: [u8; 32] = *b"<scorer orders>:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Between two chances for the host to stop this component.
const TICK: Duration = Duration::from_millis(5);

struct Wayward;

impl Guest for Wayward {
    fn score(first: Analysis, second: Analysis, policy: Policy) -> Result<Verdict, Rejection> {
        // SAFETY: it is a reference to a static. Volatile, since a test may have changed the bytes that were compiled.
        let orders = unsafe { std::ptr::read_volatile(&raw const ORDERS) };
        let number = |at: usize| u32::from_le_bytes([orders[at], orders[at + 1], orders[at + 2], orders[at + 3]]);
        let (conduct, width, time) = (number(16), number(20), Duration::from_millis(number(24).into()));
        if width != 0 && width != first.width {
            return decide(&first, &second, policy);
        }
        match conduct {
            1 => std::process::abort(),
            2 => return decide(&first, &second, policy).map(|it| Verdict { verified: !it.verified, ..it }),
            3 => loop {
                black_box(vec![1_u8; 1 << 20].leak());
            },
            4 => {
                let start = Instant::now();
                while start.elapsed() < time {
                    std::thread::sleep(TICK.min(time.saturating_sub(start.elapsed())));
                }
            }
            5 => loop {
                black_box(());
            },
            6 => std::thread::sleep(time),
            7 => _ = black_box(recurse(1)),
            8 => return decide(&first, &second, policy).map(|it| Verdict { score: f32::NAN, ..it }),
            9 => return decide(&first, &second, policy).map(|it| Verdict { faces: (u32::MAX, 0), ..it }),
            10 => return Err(Rejection::Incomparable("x\n".repeat(1 << 20))),
            _ => {}
        }
        decide(&first, &second, policy)
    }

    fn frontal(face: Face) -> bool {
        is_frontal(&face)
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(black_box(depth + 1)).wrapping_add(frame[(depth % 64) as usize]) }
}

fn decide(first: &Analysis, second: &Analysis, policy: Policy) -> Result<Verdict, Rejection> {
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
