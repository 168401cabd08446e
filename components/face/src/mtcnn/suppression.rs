//! Of overlapping candidates, the best: greedy non-maximum suppression. Or their mean: box voting.
//!
//! Owns both measures of overlap. Must never know which stage asks.

use face_rules::geometry::{BoundingBox, Landmarks, Point};

use super::candidate::Candidate;

/// What the intersection of two boxes is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// Their union.
    Union,
    /// The smaller of the two, whose edges both count as inside: also finds a box within a box.
    Smaller,
}

impl Overlap {
    fn of(self, a: &BoundingBox, b: &BoundingBox) -> f32 {
        let extra = match self {
            Self::Union => 0.0,
            Self::Smaller => 1.0,
        };
        let area = |x1: f32, y1: f32, x2: f32, y2: f32| greater(x2 - x1 + extra, 0.0) * greater(y2 - y1 + extra, 0.0);
        let of_box = |face: &BoundingBox| area(face.x1, face.y1, face.x2, face.y2);
        let shared = area(greater(a.x1, b.x1), greater(a.y1, b.y1), lesser(a.x2, b.x2), lesser(a.y2, b.y2));
        match self {
            Self::Union => shared / (of_box(a) + of_box(b) - shared),
            Self::Smaller => shared / lesser(of_box(a), of_box(b)),
        }
    }
}

// Not `f32::max` and `f32::min`: what those say of numbers that are not finite, and here are none, makes each a call in
// WebAssembly.
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// Keeps each candidate that no more probable kept one overlaps by more than `threshold`, the most probable first.
/// Candidates with a box that is not finite are dropped.
pub(super) fn suppress(mut candidates: Vec<Candidate>, threshold: f32, overlap: Overlap) -> Vec<Candidate> {
    candidates.retain(|candidate| candidate.bounding_box.is_finite());
    candidates.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let covered = |better: &Candidate| overlap.of(&better.bounding_box, &candidate.bounding_box) > threshold;
        if !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

/// How much a candidate's intersection with a face is of their union if it has a vote.
const AGREES: f32 = 0.5;

/// Moves each face to where the candidates that overlap it are on average, weighted by probability; its landmarks, too. Any
/// one candidate is off by a few parts in a hundred, and by others with each change of a photograph's pixels.
///
/// Source: S. Gidaris and N. Komodakis, "Object detection via a multi-region and semantic segmentation-aware CNN model", ICCV 2015.
pub(super) fn vote(faces: &mut [Candidate], candidates: &[Candidate]) {
    for face in faces {
        let agrees = |it: &&Candidate| Overlap::Union.of(&it.bounding_box, &face.bounding_box) > AGREES;
        let (mut weights, mut edges, mut points) = (0.0, [0.0; 4], [Point::default(); 5]);
        for candidate in candidates.iter().filter(agrees) {
            let (weight, BoundingBox { x1, y1, x2, y2 }) = (candidate.probability, candidate.bounding_box);
            weights += weight;
            edges.iter_mut().zip([x1, y1, x2, y2]).for_each(|(sum, edge)| *sum += weight * edge);
            for (sum, point) in points.iter_mut().zip(candidate.landmarks.to_array()) {
                *sum = Point::new(sum.x + weight * point.x, sum.y + weight * point.y);
            }
        }
        let [x1, y1, x2, y2] = edges.map(|edge| edge / weights);
        let points = points.map(|point| Point::new(point.x / weights, point.y / weights));
        // A face without an area overlaps nothing, and stays where it is; so does one whose sums are no numbers.
        let (bounding_box, landmarks) = (BoundingBox::new(x1, y1, x2, y2), Landmarks::from_array(points));
        if bounding_box.is_finite() && landmarks.is_finite() {
            (face.bounding_box, face.landmarks) = (bounding_box, landmarks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(probability: f32, x1: f32, y1: f32, x2: f32, y2: f32) -> Candidate {
        let bounding_box = BoundingBox::new(x1, y1, x2, y2);
        Candidate { bounding_box, probability, regression: [0.0; 4], landmarks: Landmarks::default() }
    }

    fn probabilities(candidates: &[Candidate]) -> Vec<f32> {
        candidates.iter().map(|candidate| candidate.probability).collect()
    }

    #[test]
    fn the_more_probable_of_two_stays() {
        let kept = suppress(
            vec![candidate(0.8, 1.0, 0.0, 11.0, 10.0), candidate(0.9, 0.0, 0.0, 10.0, 10.0)],
            0.5,
            Overlap::Union,
        );
        assert_eq!(probabilities(&kept), [0.9]);
    }

    #[test]
    fn exactly_the_threshold_stays() {
        // Halves of each other: the intersection is half the union.
        let pair = vec![candidate(0.9, 0.0, 0.0, 10.0, 10.0), candidate(0.8, 0.0, 0.0, 10.0, 5.0)];
        assert_eq!(suppress(pair.clone(), 0.5, Overlap::Union).len(), 2);
        assert_eq!(suppress(pair, 0.49, Overlap::Union).len(), 1);
    }

    #[test]
    fn only_the_smaller_measure_finds_a_box_within_a_box() {
        let pair = vec![candidate(0.9, 0.0, 0.0, 100.0, 100.0), candidate(0.8, 40.0, 40.0, 50.0, 50.0)];
        assert_eq!(suppress(pair.clone(), 0.7, Overlap::Union).len(), 2);
        assert_eq!(suppress(pair, 0.7, Overlap::Smaller).len(), 1);
    }

    #[test]
    fn what_a_suppressed_box_covers_stays() {
        // The middle one goes because of the first; the last overlaps only the middle one.
        let chain = vec![
            candidate(0.9, 0.0, 0.0, 10.0, 10.0),
            candidate(0.8, 3.0, 0.0, 13.0, 10.0),
            candidate(0.7, 6.0, 0.0, 16.0, 10.0),
        ];
        assert_eq!(probabilities(&suppress(chain, 0.5, Overlap::Union)), [0.9, 0.7]);
    }

    #[test]
    fn boxes_that_are_not_finite_or_empty_do_no_harm() {
        let odd = vec![
            candidate(0.9, f32::NAN, 0.0, 10.0, 10.0),
            candidate(f32::NAN, 0.0, 0.0, 10.0, 10.0),
            candidate(0.8, 5.0, 5.0, 5.0, 5.0),
            candidate(0.7, 0.0, 0.0, f32::INFINITY, 10.0),
        ];
        assert_eq!(suppress(odd, 0.5, Overlap::Union).len(), 2);
    }

    #[test]
    fn a_face_is_where_all_that_overlap_it_are_on_average() {
        let with_nose = |candidate: Candidate, x| {
            let mut points = [Point::new(0.0, 0.0); 5];
            points[2].x = x;
            Candidate { landmarks: Landmarks::from_array(points), ..candidate }
        };
        let candidates = [
            with_nose(candidate(0.75, 0.0, 0.0, 12.0, 10.0), 4.0),
            with_nose(candidate(0.25, 2.0, 0.0, 10.0, 10.0), 8.0),
            // Half of their union at most.
            candidate(0.9, 0.0, 0.0, 6.0, 10.0),
            candidate(0.9, 50.0, 0.0, 62.0, 10.0),
        ];
        let mut faces = candidates[..1].to_vec();
        vote(&mut faces, &candidates);
        assert_eq!(faces[0].bounding_box, BoundingBox::new(0.5, 0.0, 11.5, 10.0));
        assert_eq!((faces[0].landmarks.nose.x, faces[0].probability), (5.0, 0.75));
    }

    #[test]
    fn a_face_without_an_area_stays_where_it_is() {
        let empty = candidate(0.8, 5.0, 5.0, 5.0, 5.0);
        let mut faces = vec![empty];
        vote(&mut faces, &[empty, candidate(0.9, 0.0, 0.0, 10.0, 10.0)]);
        assert_eq!(faces, [empty]);
    }
}
