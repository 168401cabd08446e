//! Points, boxes and landmarks, in pixels of the upright photograph: origin top left, x to the right, y down.
//!
//! Owns their arithmetic. Must never know what is decided with it.

/// A position in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

impl Point {
    /// The point at `x` and `y`.
    pub fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// The point half-way between two points.
    pub fn middle(self, other: Self) -> Self {
        Self::new((self.x + other.x) / 2.0, (self.y + other.y) / 2.0)
    }

    fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite()
    }
}

/// A rectangle with upright sides, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BoundingBox {
    /// The left edge.
    pub x1: f32,
    /// The top edge.
    pub y1: f32,
    /// The right edge.
    pub x2: f32,
    /// The bottom edge.
    pub y2: f32,
}

impl BoundingBox {
    /// The box between two corners.
    pub fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// Width, pixels.
    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    /// Height, pixels.
    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Area in square pixels; 0 when the corners are swapped.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The centre.
    pub fn centre(&self) -> Point {
        Point::new(self.x1, self.y1).middle(Point::new(self.x2, self.y2))
    }

    /// Whether no coordinate is infinite or not a number.
    pub fn is_finite(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2].iter().all(|value| value.is_finite())
    }
}

/// The five points of a face. Left and right are as seen in the photograph.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Landmarks {
    /// The eye on the left of the photograph.
    pub left_eye: Point,
    /// The eye on the right of the photograph.
    pub right_eye: Point,
    /// The tip of the nose.
    pub nose: Point,
    /// The corner of the mouth on the left of the photograph.
    pub left_mouth: Point,
    /// The corner of the mouth on the right of the photograph.
    pub right_mouth: Point,
}

impl Landmarks {
    /// The points in their order in every list: left eye, right eye, nose, left mouth corner, right mouth corner.
    pub fn to_array(self) -> [Point; 5] {
        [self.left_eye, self.right_eye, self.nose, self.left_mouth, self.right_mouth]
    }

    /// The landmarks from their order in every list.
    pub fn from_array([left_eye, right_eye, nose, left_mouth, right_mouth]: [Point; 5]) -> Self {
        Self { left_eye, right_eye, nose, left_mouth, right_mouth }
    }

    /// Whether no coordinate is infinite or not a number.
    pub fn is_finite(&self) -> bool {
        self.to_array().iter().all(|point| point.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_measures_itself() {
        let four_by_two = BoundingBox::new(1.0, 2.0, 5.0, 4.0);
        assert_eq!((four_by_two.width(), four_by_two.height(), four_by_two.area()), (4.0, 2.0, 8.0));
        assert_eq!(four_by_two.centre(), Point::new(3.0, 3.0));
        assert_eq!(BoundingBox::new(5.0, 4.0, 1.0, 2.0).area(), 0.0, "swapped corners enclose nothing");
    }

    #[test]
    fn what_is_not_finite_is_seen() {
        assert!(!BoundingBox::new(0.0, f32::NAN, 1.0, 1.0).is_finite());
        let mut landmarks = Landmarks::default();
        assert!(landmarks.is_finite());
        landmarks.nose.x = f32::INFINITY;
        assert!(!landmarks.is_finite());
    }
}
