//! Whether what components answer can be worked with.
//!
//! Owns the bounds on analyses and verdicts: components are guests, and what they say goes on to each other, into the queue and to
//! clients. Must never judge a face.

use crate::runtime::bindings::score::Verdict;
use crate::runtime::bindings::types::{Analysis, Face, Timing};

/// The most that the faces of one analysis may take, bytes: some 7,000 with embeddings of 512 numbers. Two analyses must fit into a
/// scorer's memory.
const FACES: usize = 16 << 20;

/// The most steps that an analyzer may tell the time of, and the most letters in the name of one.
const STEPS: (usize, usize) = (32, 32);

/// What is wrong with an analysis, in words that follow "answered".
pub(super) fn analysis(analysis: &Analysis) -> Result<(), String> {
    let bytes: usize =
        analysis.faces.iter().map(|face| size_of::<Face>() + size_of_val(face.embedding.as_slice())).sum();
    if bytes > FACES {
        return Err(format!("{} faces of {bytes} bytes, and {FACES} are the most", analysis.faces.len()));
    }
    if analysis.timings.len() > STEPS.0 {
        return Err(format!("the times of {} steps, and {} are the most", analysis.timings.len(), STEPS.0));
    }
    if let Some(number) = analysis.faces.iter().position(|face| !is_face(face)) {
        return Err(format!("numbers that are none, or a confidence outside 0 to 1, for face {number} (from 0)"));
    }
    if !analysis.timings.iter().all(is_timing) {
        let names = STEPS.1;
        return Err(format!(
            "a step whose name has not 1 to {names} visible ASCII letters, or whose time is no duration"
        ));
    }
    Ok(())
}

/// What is wrong with a verdict, in words that follow "answered".
pub(super) fn verdict(verdict: &Verdict) -> Result<(), String> {
    let Verdict { score, euclidean_distance: distance, cosine_similarity: cosine, .. } = verdict;
    let fits = (0.0..=1.0).contains(score) && distance.is_finite() && *distance >= 0.0 && cosine.is_finite();
    match fits {
        true => Ok(()),
        false => Err(format!("the score {score}, the distance {distance} and the cosine {cosine}, which cannot be")),
    }
}

fn is_face(face: &Face) -> bool {
    let (corners, points, pose) = (&face.box_, &face.landmarks, &face.pose);
    let points = [points.left_eye, points.right_eye, points.nose, points.left_mouth, points.right_mouth];
    let numbers = [corners.x1, corners.y1, corners.x2, corners.y2, pose.yaw, pose.pitch, pose.roll];
    (0.0..=1.0).contains(&face.confidence)
        && numbers.iter().all(|number| number.is_finite())
        && points.iter().all(|point| point.x.is_finite() && point.y.is_finite())
}

fn is_timing(Timing { step, milliseconds }: &Timing) -> bool {
    let named = (1..=STEPS.1).contains(&step.len()) && step.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    named && milliseconds.is_finite() && *milliseconds >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::bindings::types::{BoundingBox, Landmarks, Point, Pose};

    fn face() -> Face {
        let point = Point { x: -3.0, y: 7.5 };
        Face {
            box_: BoundingBox { x1: -1.0, y1: 0.0, x2: 9.0, y2: 9.0 },
            confidence: 1.0,
            landmarks: Landmarks {
                left_eye: point,
                right_eye: point,
                nose: point,
                left_mouth: point,
                right_mouth: point,
            },
            pose: Pose { yaw: 0.0, pitch: -90.0, roll: 0.0 },
            embedding: vec![0.5; 512],
        }
    }

    fn step(name: &str, milliseconds: f64) -> Timing {
        Timing { step: name.to_owned(), milliseconds }
    }

    fn whole() -> Analysis {
        Analysis {
            width: 1,
            height: 1,
            faces: vec![face(); 3],
            timings: vec![step("decode", 0.0), step("two words", 9e9)],
        }
    }

    #[test]
    fn an_analysis_with_an_end_and_with_numbers_is_taken() {
        assert_eq!(analysis(&whole()), Ok(()));
        assert_eq!(analysis(&Analysis { faces: Vec::new(), timings: Vec::new(), ..whole() }), Ok(()));
        let crowd = vec![face(); 7000];
        assert_eq!(analysis(&Analysis { faces: crowd, ..whole() }), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let turned = |pose| Face { pose, ..face() };
        for (faces, timings, word) in [
            (vec![face(); 10_000], vec![], "10000 faces"),
            (vec![Face { embedding: vec![0.0; 5 << 20], ..face() }], vec![], "1 faces"),
            (vec![face(), Face { confidence: f32::NAN, ..face() }], vec![], "face 1"),
            (vec![Face { confidence: 1.5, ..face() }], vec![], "face 0"),
            (vec![turned(Pose { yaw: f32::INFINITY, pitch: 0.0, roll: 0.0 })], vec![], "face 0"),
            (vec![], vec![step("a", 0.0); 33], "33 steps"),
            (vec![], vec![step("", 0.0)], "a step"),
            (vec![], vec![step(&"x".repeat(33), 0.0)], "a step"),
            (vec![], vec![step("two\nlines", 0.0)], "a step"),
            (vec![], vec![step("decode", -1.0)], "a step"),
            (vec![], vec![step("decode", f64::NAN)], "a step"),
        ] {
            let told = analysis(&Analysis { width: 1, height: 1, faces, timings }).unwrap_err();
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn a_verdict_is_of_numbers() {
        let good = Verdict {
            verified: true,
            score: 0.5,
            euclidean_distance: 1.0,
            cosine_similarity: -0.5,
            faces: (0, 0),
            frontal: (true, true),
        };
        assert_eq!(verdict(&good), Ok(()));
        for bad in [
            Verdict { score: f32::NAN, ..good },
            Verdict { score: 1.01, ..good },
            Verdict { euclidean_distance: f32::INFINITY, ..good },
            Verdict { euclidean_distance: -0.1, ..good },
            Verdict { cosine_similarity: f32::NAN, ..good },
        ] {
            assert!(verdict(&bad).is_err(), "{bad:?}");
        }
    }
}
