//! Which face of a photograph is meant, and how many count.
//!
//! Owns the order of faces and the one-face rule's count. Must never know what follows from the count.

use crate::geometry::BoundingBox;

/// A face counts when its confidence exceeds this ...
const COUNTABLE_CONFIDENCE: f32 = 0.9;
/// ... and its area is at least this part of the largest such face's.
const COUNTABLE_AREA: f32 = 0.15;

/// What the order of faces depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The detector's probability that it is a face.
    pub confidence: f32,
    /// Where it is.
    pub bounding_box: BoundingBox,
}

impl Seen {
    fn is_confident(&self) -> bool {
        self.confidence > COUNTABLE_CONFIDENCE
    }
}

/// The area below which a face of these does not count, square pixels.
fn least_area(faces: impl Iterator<Item = Seen>) -> f32 {
    COUNTABLE_AREA * faces.filter(Seen::is_confident).map(|face| face.bounding_box.area()).fold(0.0, f32::max)
}

/// The indices of the faces that count as meant: those confident and large enough not to be somebody in the background
/// or a mistake of the detector. When all are doubtful, the first of them.
pub fn countable<Faces>(faces: Faces) -> impl Iterator<Item = usize>
where
    Faces: ExactSizeIterator<Item = Seen> + Clone,
{
    let least = least_area(faces.clone());
    let counts = move |face: &Seen| face.is_confident() && face.bounding_box.area() >= least;
    let doubtful = faces.len() > 0 && !faces.clone().any(|face| counts(&face));
    faces.enumerate().filter(move |(index, face)| counts(face) || (doubtful && *index == 0)).map(|(index, _)| index)
}

/// Puts the most prominent face first: faces that count before those that do not, and within each by [`prominence`]. So
/// neither a speck in the middle nor a large mistake takes the place of the face that is meant.
pub fn sort<Face>(faces: &mut [Face], photograph_width: f32, photograph_height: f32, seen: impl Fn(&Face) -> Seen) {
    let least = least_area(faces.iter().map(&seen));
    faces.sort_unstable_by(|a, b| {
        let rank = |face: &Face| {
            let face = seen(face);
            let counts = face.is_confident() && face.bounding_box.area() >= least;
            (counts, prominence(&face.bounding_box, photograph_width, photograph_height))
        };
        let ((a_counts, a), (b_counts, b)) = (rank(a), rank(b));
        b_counts.cmp(&a_counts).then(b.total_cmp(&a))
    });
}

/// How prominent a face is: its area less twice the squared distance of its centre from the photograph's centre, in
/// square pixels. Verification is more accurate with this than with the largest face.
pub fn prominence(face: &BoundingBox, photograph_width: f32, photograph_height: f32) -> f32 {
    let centre = face.centre();
    let (x, y) = (centre.x - photograph_width / 2.0, centre.y - photograph_height / 2.0);
    face.area() - 2.0 * (x * x + y * y)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn square(confidence: f32, x: f32, y: f32, side: f32) -> Seen {
        Seen { confidence, bounding_box: BoundingBox::new(x, y, x + side, y + side) }
    }

    fn counted(faces: &[Seen]) -> Vec<usize> {
        countable(faces.iter().copied()).collect()
    }

    #[test]
    fn the_middle_beats_size_when_size_is_close() {
        let central = prominence(&square(1.0, 450.0, 450.0, 100.0).bounding_box, 1000.0, 1000.0);
        let aside = prominence(&square(1.0, 100.0, 450.0, 110.0).bounding_box, 1000.0, 1000.0);
        assert_eq!(central, 10_000.0);
        assert!(central > aside);
    }

    #[test]
    fn of_doubtful_faces_the_first_counts() {
        assert_eq!(counted(&[]), []);
        assert_eq!(counted(&[square(0.71, 0.0, 0.0, 20.0), square(0.8, 50.0, 0.0, 20.0)]), [0]);
    }

    #[test]
    fn a_second_face_must_be_confident_and_large() {
        let with = |confidence, area: f32| {
            counted(&[square(0.99, 0.0, 0.0, 100.0), square(confidence, 200.0, 0.0, libm::sqrtf(area))]).len()
        };
        assert_eq!(with(0.95, 1600.0), 2);
        assert_eq!(with(0.90, 1600.0), 1, "not confident enough");
        assert_eq!(with(0.95, 1400.0), 1, "too small");
    }

    #[test]
    fn the_one_that_counts_need_not_be_the_first() {
        assert_eq!(counted(&[square(0.75, 0.0, 0.0, 50.0), square(0.99, 0.0, 0.0, 200.0)]), [1]);
        assert_eq!(counted(&[square(0.99, 0.0, 0.0, 50.0), square(0.99, 0.0, 0.0, 200.0)]), [1], "too small beside it");
    }

    #[test]
    fn a_large_mistake_does_not_hide_a_face() {
        assert_eq!(counted(&[square(0.75, 0.0, 0.0, 900.0), square(0.99, 0.0, 0.0, 200.0)]), [1]);
    }

    #[test]
    fn numbers_that_are_not_finite_do_not_count() {
        let first = square(0.99, 0.0, 0.0, 100.0);
        assert_eq!(counted(&[first, square(f32::NAN, 0.0, 0.0, 100.0)]), [0]);
        assert_eq!(counted(&[first, square(0.99, f32::NAN, 0.0, 100.0)]), [0]);
    }

    #[test]
    fn faces_that_count_come_first_then_the_prominent() {
        let doubtful_centre = square(0.75, 450.0, 450.0, 100.0);
        let speck = square(0.99, 490.0, 490.0, 20.0);
        let aside = square(0.99, 100.0, 450.0, 110.0);
        let corner = square(0.99, 0.0, 0.0, 120.0);
        let mut faces = [doubtful_centre, corner, speck, aside];
        sort(&mut faces, 1000.0, 1000.0, |face| *face);
        assert_eq!(faces, [aside, corner, doubtful_centre, speck]);
    }
}
