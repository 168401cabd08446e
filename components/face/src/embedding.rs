//! The crop of a face, and the vector that stands for it.
//!
//! Owns the margin rule, the network's input and the length of the vector. Must never know which network runs, nor what
//! the vector is compared with.

use face_rules::geometry::BoundingBox;

use crate::photograph::Photograph;
use crate::resize::{self, Normalization, Region};

/// How a face is cut out for an embedding network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// Side of the square, pixels; at least 1.
    pub size: usize,
    /// Margin around the box, in pixels of the square; at least 0 and less than `size`.
    pub margin: f32,
    /// How samples become the network's input.
    pub normalization: Normalization,
}

/// Why a crop cannot be made, or a vector not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    /// A setting is out of bounds.
    #[error("the embedder's {0}")]
    Settings(&'static str),
    /// The network's answer has no direction: all zeros, or numbers that are not finite.
    #[error("the embedding network answered a vector without direction")]
    NoDirection,
}

/// The largest side of a crop, so that a slip in the settings allocates no gigabytes.
const MAX_SIZE: usize = 1024;

impl Crop {
    /// How many values the network takes for one crop: three planes.
    pub fn values(&self) -> usize {
        3 * self.size * self.size
    }

    /// Refuses settings out of bounds.
    pub fn check(&self) -> Result<(), EmbeddingError> {
        if !(1..=MAX_SIZE).contains(&self.size) {
            Err(EmbeddingError::Settings("crop must have a side of 1 to 1024 pixels"))
        } else if !(0.0..self.size as f32).contains(&self.margin) {
            Err(EmbeddingError::Settings("crop margin must be at least 0 and less than the crop's side"))
        } else if !(self.normalization.mean.is_finite() && self.normalization.scale.is_normal()) {
            Err(EmbeddingError::Settings("mean and scale must be finite, and the scale not 0"))
        } else {
            Ok(())
        }
    }

    /// The pixels of a face with its margin: `margin * side / (size - margin)` more on each side of the box, half at each
    /// edge, cut to whole pixels within the photograph. The rule is facenet-pytorch's, which the networks were
    /// calibrated with. A face outside the photograph yields the nearest pixels.
    pub fn region(&self, photograph: &Photograph, face: &BoundingBox) -> Region {
        let part = self.margin / (self.size as f32 - self.margin) / 2.0;
        let (across, down) = (part * face.width(), part * face.height());
        // From a float these casts saturate, and what is not a number becomes 0.
        let span = |from: f32, to: f32, side: usize| {
            let first = (from as usize).min(side - 1);
            let end = (to as usize).clamp(first + 1, side);
            (first, end - first)
        };
        let (x, width) = span(face.x1 - across, face.x2 + across, photograph.width());
        let (y, height) = span(face.y1 - down, face.y2 + down, photograph.height());
        Region { x, y, width, height }
    }

    /// Whether a face has so few pixels in a draft of its photograph that the crop would come out blurred: under one and a
    /// half times the crop's own.
    pub fn wants_more(&self, draft: &Photograph, face: &BoundingBox) -> bool {
        let Region { width, height, .. } = self.region(draft, face);
        2 * width.min(height) < 3 * self.size
    }

    /// The network's input for one face, f32 [3, size, size], planar RGB, appended to `planes`.
    pub fn append(&self, photograph: &Photograph, face: &BoundingBox, planes: &mut Vec<f32>) {
        let pixels = resize::bilinear(photograph, self.region(photograph, face), self.size, self.size);
        let table = self.normalization.table();
        planes.reserve(self.values());
        for channel in 0..3 {
            planes.extend(pixels.iter().skip(channel).step_by(3).map(|&sample| table[usize::from(sample)]));
        }
    }
}

/// Scales a vector to length 1.
pub fn normalize(vector: &mut [f32]) -> Result<(), EmbeddingError> {
    let length = vector.iter().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(EmbeddingError::NoDirection);
    }
    for value in vector {
        *value = (f64::from(*value) / length) as f32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROP: Crop = Crop { size: 160, margin: 32.0, normalization: Normalization { mean: 127.5, scale: 128.0 } };

    fn grey(width: usize, height: usize) -> Photograph {
        Photograph::new(width, height, vec![100; 3 * width * height]).unwrap()
    }

    #[test]
    fn the_margin_is_a_quarter_of_the_side() {
        // 32 * 100 / (160 - 32) is 25: 12.5 at each edge, cut to whole pixels.
        let region = CROP.region(&grey(1000, 1000), &BoundingBox::new(200.0, 300.0, 300.0, 400.0));
        assert_eq!(region, Region { x: 187, y: 287, width: 125, height: 125 });
    }

    #[test]
    fn the_margin_ends_at_the_photograph() {
        let region = CROP.region(&grey(100, 80), &BoundingBox::new(-5.0, 10.0, 95.0, 90.0));
        assert_eq!(region, Region { x: 0, y: 0, width: 100, height: 80 });
    }

    #[test]
    fn any_box_yields_a_region_within() {
        let photograph = grey(50, 40);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e9, 1e9, 0.0, 49.9] {
            for other in [f32::NAN, -1e9, 1e9, 25.0] {
                let Region { x, y, width, height } =
                    CROP.region(&photograph, &BoundingBox::new(value, other, other, value));
                assert!(width > 0 && height > 0 && x + width <= 50 && y + height <= 40, "{value} {other}");
            }
        }
    }

    #[test]
    fn a_crop_is_three_normalized_planes() {
        let pixels: Vec<u8> = [10, 20, 30].repeat(64);
        let photograph = Photograph::new(8, 8, pixels).unwrap();
        let mut planes = Vec::new();
        let crop = Crop { size: 4, margin: 0.0, ..CROP };
        crop.append(&photograph, &BoundingBox::new(0.0, 0.0, 8.0, 8.0), &mut planes);
        assert_eq!(planes.len(), crop.values());
        for (plane, sample) in planes.chunks(16).zip([10.0, 20.0, 30.0]) {
            assert!(plane.iter().all(|&value| (value - (sample - 127.5) / 128.0).abs() < 1e-6));
        }
    }

    #[test]
    fn settings_out_of_bounds_are_refused() {
        assert!(CROP.check().is_ok());
        assert!(Crop { size: 0, ..CROP }.check().is_err());
        assert!(Crop { size: 1 << 20, ..CROP }.check().is_err());
        assert!(Crop { margin: f32::NAN, ..CROP }.check().is_err());
        assert!(Crop { margin: 160.0, ..CROP }.check().is_err());
        let flat = Normalization { mean: 0.0, scale: 0.0 };
        assert!(Crop { normalization: flat, ..CROP }.check().is_err());
    }

    #[test]
    fn vectors_become_unit_vectors_or_errors() {
        let mut vector = [3.0, 4.0];
        normalize(&mut vector).unwrap();
        assert_eq!(vector, [0.6, 0.8]);
        assert_eq!(normalize(&mut [0.0, 0.0]), Err(EmbeddingError::NoDirection));
        assert_eq!(normalize(&mut [f32::NAN, 1.0]), Err(EmbeddingError::NoDirection));
        assert_eq!(normalize(&mut [f32::INFINITY, 1.0]), Err(EmbeddingError::NoDirection));
    }
}
