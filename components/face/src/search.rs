//! Looking for faces with the help of a bounded copy of a photograph.
//!
//! Owns the copy, the way back to the photograph's own pixels, and the order of faces. Must never know how a face is
//! found.

use std::fmt::Debug;

use face_rules::geometry::{BoundingBox, Landmarks, Point};
use face_rules::prominence::{self, Seen};

use crate::mtcnn::{self, DetectError, Detection, Networks, Settings};
use crate::photograph::Photograph;
use crate::resize;

/// Finds all faces, in pixels of the photograph, the most prominent first. They are proposed on a copy whose longer side is at
/// most `max_side` pixels (0: on the photograph itself), which is most of the work, and judged on the photograph. Faces that lie
/// outside it are left out.
///
/// The smallest face of the settings is measured in the copy.
pub fn faces<N: Networks>(
    photograph: &Photograph,
    max_side: usize,
    settings: &Settings,
    networks: &mut N,
) -> Result<Vec<Detection>, DetectError<N::Error>>
where
    N::Error: Debug,
{
    let mut faces = if max_side == 0 || photograph.longer_side() <= max_side {
        mtcnn::detect(photograph, photograph, settings, networks)?
    } else {
        mtcnn::detect(photograph, &resize::shrink(photograph, max_side), settings, networks)?
    };
    let (width, height) = (photograph.width() as f32, photograph.height() as f32);
    faces.retain(|face| {
        let BoundingBox { x1, y1, x2, y2 } = face.bounding_box;
        x1 < x2 && y1 < y2 && x1 < width && y1 < height && x2 > 0.0 && y2 > 0.0
    });
    let seen = |face: &Detection| Seen { confidence: face.probability, bounding_box: face.bounding_box };
    prominence::sort(&mut faces, width, height, seen);
    Ok(faces)
}

/// Stretches where a face is, from the pixels of a copy to those of the photograph.
pub fn enlarge(face: &mut Detection, across: f32, down: f32) {
    let BoundingBox { x1, y1, x2, y2 } = face.bounding_box;
    face.bounding_box = BoundingBox::new(x1 * across, y1 * down, x2 * across, y2 * down);
    let points = face.landmarks.to_array().map(|point| Point::new(point.x * across, point.y * down));
    face.landmarks = Landmarks::from_array(points);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stretches_both_directions() {
        let mut face = Detection {
            bounding_box: BoundingBox::new(1.0, 2.0, 3.0, 4.0),
            probability: 0.9,
            landmarks: Landmarks::from_array([Point::new(1.0, 1.0); 5]),
        };
        enlarge(&mut face, 2.0, 3.0);
        assert_eq!(face.bounding_box, BoundingBox::new(2.0, 6.0, 6.0, 12.0));
        assert_eq!(face.landmarks.nose, Point::new(2.0, 3.0));
    }
}
