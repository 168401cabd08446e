//! Looking for faces with the help of a bounded copy of a photograph.
//!
//! Owns the copy, the smallest face that is looked for there, the way back to the photograph's own pixels, and the order of
//! faces. Must never know how a face is found.

use std::fmt::Debug;

use face_rules::geometry::{BoundingBox, Landmarks, Point};
use face_rules::prominence::{self, Seen};

use crate::mtcnn::{self, DetectError, Detection, Networks, Settings};
use crate::photograph::Photograph;
use crate::resize::IntegralImage;

/// Stands for a smallest face that goes by the photograph: see [`smallest`].
pub const AUTO: u32 = 0;
/// The smallest face that goes by no photograph, pixels: what the detector's authors looked for.
const LEAST: u32 = 20;
/// A face that is a photograph's subject takes at least a twelfth of its shorter side.
const SHARE: usize = 12;

/// The smallest face that is looked for where the settings leave it open, pixels of what is searched: a twelfth of a copy's
/// shorter side, and no less than 20. On a photograph of which no copy may be made that is all.
///
/// Most of the work of finding faces is that of finding the smallest: half the size takes four times as long.
pub fn smallest(copy: Option<&IntegralImage>) -> u32 {
    let shorter = copy.map_or(0, |copy| copy.width().min(copy.height()));
    LEAST.max(u32::try_from(shorter / SHARE).unwrap_or(u32::MAX))
}

/// Finds all faces, in pixels of the photograph, the most prominent first. They are looked for on a copy whose longer side is at
/// most `max_side` pixels, and small ones judged on the photograph; 0 makes no copy, as [`mtcnn::detect`] says. Faces that lie
/// outside the photograph are left out.
///
/// The smallest face of the settings is measured in the copy; [`AUTO`] takes [`smallest`].
pub fn faces<N: Networks>(
    photograph: &Photograph,
    max_side: usize,
    settings: &Settings,
    networks: &mut N,
) -> Result<Vec<Detection>, DetectError<N::Error>>
where
    N::Error: Debug,
{
    let copy = (max_side > 0).then(|| IntegralImage::shrunk(photograph, max_side));
    let copy = copy.as_ref();
    let min_face = if settings.min_face == AUTO { smallest(copy) } else { settings.min_face };
    let mut faces = mtcnn::detect(photograph, copy, &Settings { min_face, ..*settings }, networks)?;
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
    fn the_smallest_face_goes_by_what_is_searched() {
        let copy = |width, height| {
            let photograph = Photograph::new(width, height, vec![0; 3 * width * height]).unwrap();
            smallest(Some(&IntegralImage::shrunk(&photograph, 480)))
        };
        let sizes = [(480, 384), (384, 480), (480, 480), (230, 480), (960, 960), (10, 10)];
        assert_eq!(sizes.map(|(width, height)| copy(width, height)), [32, 32, 40, 20, 40, 20]);
        assert_eq!(smallest(None), 20);
    }

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
