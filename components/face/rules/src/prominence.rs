//! Which face of a photograph is meant, and how many count.
//!
//! Owns the order of faces and the one-face rule's count. Must never know what follows from the count.

use crate::geometry::BoundingBox;

/// A second face counts when its confidence exceeds this ...
const COUNTABLE_CONFIDENCE: f32 = 0.9;
/// ... and its area is at least this part of the largest face's.
const COUNTABLE_AREA: f32 = 0.15;

/// How prominent a face is: its area less twice the squared distance of its centre from the photograph's centre, in
/// square pixels. The face with the largest value is the one that is meant; it beats taking the largest face.
pub fn prominence(face: &BoundingBox, photograph_width: f32, photograph_height: f32) -> f32 {
    let centre = face.centre();
    let (x, y) = (centre.x - photograph_width / 2.0, centre.y - photograph_height / 2.0);
    face.area() - 2.0 * (x * x + y * y)
}

/// How many faces count as meant, given each one's confidence and box, the most prominent first. The first always
/// counts; another counts when it is confident and large enough not to be somebody in the background or a mistake.
pub fn countable(faces: &[(f32, BoundingBox)]) -> usize {
    let largest = faces.iter().map(|(_, face)| face.area()).fold(0.0, f32::max);
    let counts = |&(confidence, ref face): &(f32, BoundingBox)| {
        confidence > COUNTABLE_CONFIDENCE && face.area() >= COUNTABLE_AREA * largest
    };
    match faces.split_first() {
        Some((_, others)) => 1 + others.iter().filter(|face| counts(face)).count(),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32, side: f32) -> BoundingBox {
        BoundingBox::new(x, y, x + side, y + side)
    }

    #[test]
    fn the_middle_beats_size_when_size_is_close() {
        let central = prominence(&square(450.0, 450.0, 100.0), 1000.0, 1000.0);
        let aside = prominence(&square(100.0, 450.0, 110.0), 1000.0, 1000.0);
        assert_eq!(central, 10_000.0);
        assert!(central > aside);
    }

    #[test]
    fn the_first_face_always_counts() {
        assert_eq!(countable(&[]), 0);
        assert_eq!(countable(&[(0.71, square(0.0, 0.0, 20.0))]), 1);
    }

    #[test]
    fn a_second_face_must_be_confident_and_large() {
        let first = (0.99, square(0.0, 0.0, 100.0));
        let with = |confidence, area: f32| countable(&[first, (confidence, square(200.0, 0.0, libm::sqrtf(area)))]);
        assert_eq!(with(0.95, 1600.0), 2);
        assert_eq!(with(0.90, 1600.0), 1, "not confident enough");
        assert_eq!(with(0.95, 1400.0), 1, "too small");
    }

    #[test]
    fn size_is_measured_against_the_largest_not_the_first() {
        let faces = [(0.99, square(0.0, 0.0, 50.0)), (0.99, square(0.0, 0.0, 200.0)), (0.99, square(0.0, 0.0, 60.0))];
        assert_eq!(countable(&faces), 2, "60 px is less than 15 % of 200 px by area");
    }

    #[test]
    fn numbers_that_are_not_finite_do_not_count() {
        let first = (0.99, square(0.0, 0.0, 100.0));
        assert_eq!(countable(&[first, (f32::NAN, square(0.0, 0.0, 100.0))]), 1);
        assert_eq!(countable(&[first, (0.99, square(f32::NAN, 0.0, 100.0))]), 1);
    }
}
