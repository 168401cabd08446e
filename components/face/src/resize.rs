//! Resizing: area averages as the detector's networks were trained on, smaller copies by the same, and antialiased crops.
//!
//! Owns the arithmetic of pixels. Must never know what is looked for in them.
//!
//! # Layout
//!
//! - `average`: means of rectangles of a photograph, row by row.
//! - `integral`: a smaller copy of which means of any rectangle take a moment.

mod average;
mod integral;

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::photograph::Photograph;
pub use integral::IntegralImage;

use average::Planes;

/// A rectangle of whole pixels. Invariant, kept by whoever makes one: it has an area and lies within the photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first column.
    pub x: usize,
    /// The first row.
    pub y: usize,
    /// Columns; at least 1.
    pub width: usize,
    /// Rows; at least 1.
    pub height: usize,
}

impl Region {
    /// The whole photograph.
    pub fn whole(photograph: &Photograph) -> Self {
        Self { x: 0, y: 0, width: photograph.width(), height: photograph.height() }
    }
}

/// How 8-bit samples become a network's input: (value - mean) / scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    /// What is subtracted.
    pub mean: f32,
    /// What it is divided by; not 0.
    pub scale: f32,
}

impl Normalization {
    /// A table of the 256 results.
    pub fn table(self) -> [f32; 256] {
        std::array::from_fn(|value| (value as f32 - self.mean) / self.scale)
    }

    /// What a mean is multiplied by, and what is added then.
    fn factors(self) -> (f32, f32) {
        (self.scale.recip(), -self.mean * self.scale.recip())
    }
}

/// Averages a region down (or up) to `width` x `height` and writes it, normalized, to `planes`: all of red, then all of
/// green, then all of blue, so f32 [3, height, width].
///
/// Each output pixel is the mean of the input pixels that it touches: from floor(i * in / out) to
/// ceil((i + 1) * in / out), which is PyTorch's adaptive average pooling, also called area interpolation.
///
/// # Panics
///
/// When the region does not lie within the photograph or `planes` has another length than 3 x `height` x `width`.
pub fn area(
    photograph: &Photograph,
    region: Region,
    width: usize,
    height: usize,
    normalization: Normalization,
    planes: &mut [f32],
) {
    average::write(photograph, region, (width, height), normalization.factors(), Planes::new(planes, width, height));
}

/// A region resized to `width` x `height` pixels, 8-bit RGB, by a triangle filter that widens when it shrinks: what
/// Pillow's `resize` calls bilinear. Pixels outside the region have no influence.
pub fn bilinear(photograph: &Photograph, region: Region, width: usize, height: usize) -> Vec<u8> {
    let side = |pixels: usize| u32::try_from(pixels).expect("a photograph's side has 32 bits");
    let source =
        TypedImageRef::<U8x3>::from_buffer(side(photograph.width()), side(photograph.height()), photograph.pixels())
            .expect("a photograph has as many bytes as its sides say");
    let source =
        TypedCroppedImage::new(source, side(region.x), side(region.y), side(region.width), side(region.height))
            .expect("a region lies within its photograph");
    let mut pixels = vec![0; 3 * width * height];
    let mut target = TypedImage::<U8x3>::from_buffer(side(width), side(height), &mut pixels)
        .expect("the buffer was made for these sides");
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize_typed(&source, &mut target, &options).expect("both images have an area");
    drop(target);
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Normalization = Normalization { mean: 0.0, scale: 1.0 };

    /// A photograph whose red samples are given, green is red + 1 and blue is red + 2.
    fn photograph(width: usize, red: &[u8]) -> Photograph {
        let pixels = red.iter().flat_map(|&value| [value, value + 1, value + 2]).collect();
        Photograph::new(width, red.len() / width, pixels).unwrap()
    }

    fn averaged(photograph: &Photograph, region: Region, width: usize, height: usize) -> Vec<f32> {
        let mut planes = vec![f32::NAN; 3 * width * height];
        area(photograph, region, width, height, PLAIN, &mut planes);
        planes
    }

    #[test]
    fn halves_are_means_of_four() {
        let source = photograph(4, &[0, 2, 10, 20, 4, 6, 30, 40]);
        assert_eq!(averaged(&source, Region::whole(&source), 2, 1), [3.0, 25.0, 4.0, 26.0, 5.0, 27.0]);
    }

    #[test]
    fn windows_overlap_when_sizes_do_not_divide() {
        // 5 to 3: columns 0..2, 1..4, 3..5.
        let source = photograph(5, &[0, 10, 20, 30, 40]);
        assert_eq!(average::spans(5, 3), [(0, 2), (1, 4), (3, 5)]);
        assert_eq!(averaged(&source, Region::whole(&source), 3, 1)[..3], [5.0, 20.0, 35.0]);
    }

    #[test]
    fn enlarging_repeats() {
        let source = photograph(2, &[10, 20]);
        assert_eq!(averaged(&source, Region::whole(&source), 4, 1)[..4], [10.0, 10.0, 20.0, 20.0]);
        assert_eq!(averaged(&source, Region::whole(&source), 3, 2)[..6], [10.0, 15.0, 20.0, 10.0, 15.0, 20.0]);
    }

    #[test]
    fn a_region_sees_only_itself() {
        let source = photograph(3, &[99, 99, 99, 99, 1, 3, 99, 5, 7]);
        let region = Region { x: 1, y: 1, width: 2, height: 2 };
        assert_eq!(averaged(&source, region, 1, 1), [4.0, 5.0, 6.0]);
    }

    #[test]
    fn normalization_is_applied() {
        let source = photograph(1, &[0, 200]);
        let mut planes = [0.0; 3];
        let normalization = Normalization { mean: 127.5, scale: 128.0 };
        area(&source, Region::whole(&source), 1, 1, normalization, &mut planes);
        assert!((planes[0] - (100.0 - 127.5) / 128.0).abs() < 1e-6);
        assert_eq!(normalization.table()[100], (100.0 - 127.5) / 128.0);
    }

    #[test]
    fn tall_windows_do_not_overflow() {
        let source = Photograph::new(1, 600, vec![255; 1800]).unwrap();
        assert_eq!(averaged(&source, Region::whole(&source), 1, 1), [255.0; 3]);
        assert_eq!(averaged(&source, Region::whole(&source), 1, 3), [255.0; 9]);
    }

    #[test]
    fn a_triangle_filter_halves_as_pillow_does() {
        // The weights around 1.0, at twice the width, are 0.75, 0.75 and 0.25: 255 * 0.25 / 1.75 is 36.4.
        let source = Photograph::new(4, 1, [0, 0, 255, 255].iter().flat_map(|&v| [v; 3]).collect()).unwrap();
        let pixels = bilinear(&source, Region::whole(&source), 2, 1);
        for (value, expected) in pixels.iter().zip([36, 36, 36, 219, 219, 219]) {
            assert_eq!(*value, expected, "{pixels:?}");
        }
    }

    #[test]
    fn a_crop_is_not_tinted_by_what_surrounds_it() {
        let source =
            Photograph::new(4, 4, (0..16).flat_map(|i| [if i % 4 < 2 { 255 } else { 0 }; 3]).collect()).unwrap();
        let region = Region { x: 2, y: 0, width: 2, height: 4 };
        assert!(bilinear(&source, region, 5, 5).iter().all(|&value| value == 0));
    }
}
