//! A smaller copy of a photograph, kept as sums.
//!
//! Owns the integral image. Must never know which means are asked for.

use super::average::{self, Planes, STEP, Target, Widths, Window};
use super::{Normalization, Region};
use crate::photograph::Photograph;

/// An image as the sums of everything above and to the left of each pixel, so that the mean of a rectangle takes four of
/// them, whatever its size.
///
/// Sources: F. Crow, "Summed-area tables for texture mapping", SIGGRAPH 1984; P. Viola and M. Jones, "Rapid object detection
/// using a boosted cascade of simple features", CVPR 2001, whose name for it is used here.
pub struct IntegralImage {
    width: usize,
    height: usize,
    /// Rows of `width + 1` sums of red, green and blue, one more than there are rows of pixels: those before row y and column x, modulo
    /// 2^32. The fourth of each is meaningless.
    sums: Vec<[u32; 4]>,
}

impl IntegralImage {
    /// A copy whose longer side is at most `longer` pixels, of averages as [`super::area`] takes them, rounded to 8 bits. The
    /// shorter side is rounded, and at least 1; a photograph that is no larger keeps its pixels. Takes 16 bytes a pixel.
    pub fn shrunk(photograph: &Photograph, longer: usize) -> Self {
        let whole = photograph.longer_side();
        let scaled = |side: usize| ((side * longer.min(whole) + whole / 2) / whole).max(1);
        let (width, height) = (scaled(photograph.width()), scaled(photograph.height()));
        let mut sums = vec![[0; 4]; (width + 1) * (height + 1)];
        average::write(photograph, Region::whole(photograph), (width, height), (1.0, ROUND), Sums(&mut sums));
        Self { width, height, sums }
    }

    /// Width, pixels; at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height, pixels; at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// What [`super::area`] does, for a region of this image.
    ///
    /// # Panics
    ///
    /// When the region does not lie within the image or `planes` has another length than 3 x `height` x `width`.
    pub fn area(&self, region: Region, width: usize, height: usize, normalization: Normalization, planes: &mut [f32]) {
        let mut planes = Planes::new(planes, width, height);
        let (factor, summand) = normalization.factors();
        let columns = average::spans(region.width, width);
        let widths = Widths::of(&columns);
        let row = |y: usize| {
            let start = (region.y + y) * (self.width + 1) + region.x;
            &self.sums[start..=start + region.width]
        };
        for (y, (from, to)) in average::spans(region.height, height).into_iter().enumerate() {
            let (above, below) = (row(from), row(to));
            let mean = widths.mean(to - from, factor);
            planes.row(y, &columns, |window| {
                let right = difference(below[window.1], above[window.1]);
                let left = difference(below[window.0], above[window.0]);
                mean(window, difference(right, left)).map(|it| it + summand)
            });
        }
    }
}

/// A float of 32 bits has 23 after the first: a number below 256 that is added to 2^23 is rounded, and stands in the lowest eight.
const ROUND: f32 = 8_388_608.0;

/// Sums, modulo 2^32.
#[inline(always)]
fn difference(more: [u32; 4], less: [u32; 4]) -> [u32; 4] {
    std::array::from_fn(|channel| more[channel].wrapping_sub(less[channel]))
}

/// The sums of an image whose pixels come row by row.
struct Sums<'a>(&'a mut [[u32; 4]]);

impl Target for Sums<'_> {
    #[inline(always)]
    fn row(&mut self, y: usize, windows: &[Window], average: impl Fn(&Window) -> [f32; 4]) {
        let stride = windows.len() + 1;
        let (above, below) = self.0[y * stride..(y + 2) * stride].split_at_mut(stride);
        // The first of a row has nothing to its left.
        let (above, below) = (above[1..].as_chunks::<STEP>(), below[1..].as_chunks_mut::<STEP>());
        let windows = windows.as_chunks::<STEP>();
        let mut row = [0_u32; 4];
        let mut put = |below: &mut [u32; 4], above: &[u32; 4], window| {
            let pixel = average(window).map(|sample| sample.to_bits() & 0xFF);
            row = std::array::from_fn(|channel| row[channel].wrapping_add(pixel[channel]));
            *below = std::array::from_fn(|channel| above[channel].wrapping_add(row[channel]));
        };
        for ((below, above), windows) in below.0.iter_mut().zip(above.0).zip(windows.0) {
            for index in 0..STEP {
                put(&mut below[index], &above[index], &windows[index]);
            }
        }
        for ((below, above), window) in below.1.iter_mut().zip(above.1).zip(windows.1) {
            put(below, above, window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::area;
    use super::*;

    const PLAIN: Normalization = Normalization { mean: 0.0, scale: 1.0 };

    /// Rows of pixels that differ in everything.
    fn photograph(width: usize, height: usize) -> Photograph {
        let pixels = (0..3 * width * height).map(|index| (index * index / 7 + index * 31) as u8).collect();
        Photograph::new(width, height, pixels).unwrap()
    }

    /// All pixels, one by one.
    fn pixels(image: &IntegralImage) -> Vec<f32> {
        let mut planes = vec![f32::NAN; 3 * image.width * image.height];
        let whole = Region { x: 0, y: 0, width: image.width, height: image.height };
        image.area(whole, image.width, image.height, PLAIN, &mut planes);
        planes
    }

    #[test]
    fn a_copy_holds_rounded_averages() {
        let row = [0, 1, 10, 20, 0, 1, 30, 42].iter().flat_map(|&red| [red, red + 1, red + 2]).collect();
        let copy = IntegralImage::shrunk(&Photograph::new(4, 2, row).unwrap(), 2);
        // 0.5 and 25.5 of red, 1.5 and 26.5 of green: halves go to the even number.
        assert_eq!(pixels(&copy), [0.0, 26.0, 2.0, 26.0, 2.0, 28.0]);
        let white = Photograph::new(3, 2, vec![255; 18]).unwrap();
        assert_eq!(pixels(&IntegralImage::shrunk(&white, 2)), [255.0; 6]);
    }

    #[test]
    fn the_copy_keeps_the_shape() {
        let sides = |width, height, longer| {
            let copy = IntegralImage::shrunk(&photograph(width, height), longer);
            (copy.width(), copy.height())
        };
        assert_eq!(
            [sides(300, 100, 30), sides(1000, 1, 10), sides(20, 30, 30), sides(20, 30, 99)],
            [(30, 10), (10, 1), (20, 30), (20, 30)]
        );
    }

    #[test]
    fn means_are_those_of_the_photograph() {
        let photograph = photograph(61, 47);
        let image = IntegralImage::shrunk(&photograph, 61);
        let normalization = Normalization { mean: 127.5, scale: 128.0 };
        let whole = Region::whole(&photograph);
        for region in [whole, Region { x: 5, y: 40, width: 3, height: 7 }, Region { x: 60, y: 0, width: 1, height: 47 }]
        {
            for (width, height) in [(1, 1), (24, 24), (17, 9), (61, 47), (70, 50)] {
                let mut both = [vec![f32::NAN; 3 * width * height], vec![f32::NAN; 3 * width * height]];
                area(&photograph, region, width, height, normalization, &mut both[0]);
                image.area(region, width, height, normalization, &mut both[1]);
                assert_eq!(both[0], both[1], "{region:?} {width} x {height}");
            }
        }
    }

    /// Sums of a large image need more than 32 bits, and those of a window do not.
    #[test]
    fn sums_may_wrap() {
        let mut image = IntegralImage::shrunk(&photograph(61, 47), 61);
        let before = pixels(&image);
        for sum in image.sums.as_flattened_mut() {
            *sum = sum.wrapping_sub(5_000);
        }
        assert_eq!(pixels(&image), before);
    }
}
