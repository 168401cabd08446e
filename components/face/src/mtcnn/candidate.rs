//! A box on its way through the cascade.
//!
//! Owns how a box is corrected, squared and cut out. Must never know which stage it is in.

use face_rules::geometry::{BoundingBox, Landmarks};

use crate::resize::Region;

/// A box that may hold a face. Pixels of the image that is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) bounding_box: BoundingBox,
    pub(super) probability: f32,
    /// The last network's corrections of left, top, right and bottom, in parts of the box's sides.
    pub(super) regression: [f32; 4],
    /// Set by the last stage.
    pub(super) landmarks: Landmarks,
}

impl Candidate {
    /// Moves the edges as the last network said. The sides are taken to be `extra` pixels longer than the difference of
    /// the edges: 0 for the first network, 1 for the others, as they were trained.
    pub(super) fn regress(&mut self, extra: f32) {
        let BoundingBox { x1, y1, x2, y2 } = self.bounding_box;
        let (width, height) = (x2 - x1 + extra, y2 - y1 + extra);
        let [left, top, right, bottom] = self.regression;
        self.bounding_box =
            BoundingBox::new(x1 + left * width, y1 + top * height, x2 + right * width, y2 + bottom * height);
    }

    /// The same in another image: `x` and `y` say where edges lie there.
    pub(super) fn place(self, x: impl Fn(f32) -> f32, y: impl Fn(f32) -> f32) -> Self {
        let BoundingBox { x1, y1, x2, y2 } = self.bounding_box;
        Self { bounding_box: BoundingBox::new(x(x1), y(y1), x(x2), y(y2)), ..self }
    }

    /// Widens the shorter side to the longer around the same centre.
    pub(super) fn square(&mut self) {
        let (width, height) = (self.bounding_box.width(), self.bounding_box.height());
        let side = width.max(height);
        let x1 = self.bounding_box.x1 + width * 0.5 - side * 0.5;
        let y1 = self.bounding_box.y1 + height * 0.5 - side * 0.5;
        self.bounding_box = BoundingBox::new(x1, y1, x1 + side, y1 + side);
    }

    /// The whole pixels under the box within a photograph; `None` when there are none. The edges count from 1, are cut
    /// to whole numbers towards 0, and are both included.
    pub(super) fn region(&self, width: usize, height: usize) -> Option<Region> {
        if !self.bounding_box.is_finite() {
            return None;
        }
        // From a float these casts saturate, so an edge far outside stays outside.
        let first = |edge: f32| (edge as i64).max(1) as usize - 1;
        let end = |edge: f32, side: usize| (edge as i64).max(0).min(side as i64) as usize;
        let (x, y) = (first(self.bounding_box.x1), first(self.bounding_box.y1));
        let (right, bottom) = (end(self.bounding_box.x2, width), end(self.bounding_box.y2, height));
        (right > x && bottom > y).then(|| Region { x, y, width: right - x, height: bottom - y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(x1: f32, y1: f32, x2: f32, y2: f32) -> Candidate {
        Candidate {
            bounding_box: BoundingBox::new(x1, y1, x2, y2),
            probability: 0.9,
            regression: [0.1, -0.2, 0.3, 0.4],
            landmarks: Landmarks::default(),
        }
    }

    #[test]
    fn corrections_are_parts_of_the_sides() {
        let mut first = candidate(10.0, 20.0, 20.0, 30.0);
        first.regress(0.0);
        assert_eq!(first.bounding_box, BoundingBox::new(11.0, 18.0, 23.0, 34.0));
        let mut later = candidate(10.0, 20.0, 19.0, 29.0);
        later.regress(1.0);
        assert_eq!(later.bounding_box, BoundingBox::new(11.0, 18.0, 22.0, 33.0));
    }

    #[test]
    fn squaring_keeps_the_centre_and_the_longer_side() {
        let mut wide = candidate(0.0, 10.0, 20.0, 20.0);
        wide.square();
        assert_eq!(wide.bounding_box, BoundingBox::new(0.0, 5.0, 20.0, 25.0));
    }

    #[test]
    fn regions_are_cut_to_the_photograph() {
        let region = |x1, y1, x2, y2| candidate(x1, y1, x2, y2).region(100, 50);
        assert_eq!(region(1.0, 1.0, 100.0, 50.0), Some(Region { x: 0, y: 0, width: 100, height: 50 }));
        assert_eq!(region(-7.5, 10.9, 20.9, 80.0), Some(Region { x: 0, y: 9, width: 20, height: 41 }));
        assert_eq!(region(101.0, 1.0, 120.0, 20.0), None, "to the right of it");
        assert_eq!(region(-20.0, 1.0, -1.0, 20.0), None, "to the left of it");
        assert_eq!(region(5.0, 5.0, 4.0, 4.0), None, "swapped corners");
        assert_eq!(region(f32::NAN, 1.0, 20.0, 20.0), None);
        assert_eq!(region(1e30, 1.0, 2e30, 20.0), None);
        assert_eq!(region(-1e30, -1e30, 1e30, 1e30), Some(Region { x: 0, y: 0, width: 100, height: 50 }));
    }
}
