//! Resizing: area averages as the detector's networks were trained on, smaller copies by the same, and antialiased crops.
//!
//! Owns the arithmetic of pixels. Must never know what is looked for in them.

use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::photograph::Photograph;

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
    assert_eq!(planes.len(), 3 * height * width);
    let scale = 1.0 / normalization.scale;
    let (red, rest) = planes.split_at_mut(width * height);
    let (green, blue) = rest.split_at_mut(width * height);
    averages(photograph, region, (width, height), (scale, -normalization.mean * scale), Planes([red, green, blue]));
}

/// A copy whose longer side is `longer` pixels, of averages as [`area`] takes them. The shorter side is rounded, and at least 1.
pub fn shrink(photograph: &Photograph, longer: usize) -> Photograph {
    let scaled = |side: usize| {
        let whole = photograph.longer_side();
        ((side * longer + whole / 2) / whole).max(1)
    };
    let (width, height) = (scaled(photograph.width()), scaled(photograph.height()));
    let mut pixels = vec![0; 3 * width * height];
    // Half of one more, since what follows the point is cut off.
    averages(photograph, Region::whole(photograph), (width, height), (1.0, 0.5), Samples(&mut pixels));
    Photograph::new(width, height, pixels).expect("as many pixels as sides say")
}

/// Where averages go, row by row.
trait Target {
    /// Writes one row: what `average` says of each window. What follows its three channels is meaningless.
    fn row(&mut self, y: usize, windows: &[Window], average: impl Fn(&Window) -> [f32; 4]);
}

/// The input columns, from and to (exclusive), of one output pixel.
type Window = (usize, usize);

/// All of red, all of green, all of blue.
struct Planes<'a>([&'a mut [f32]; 3]);

/// 8-bit RGB, pixel by pixel.
struct Samples<'a>(&'a mut [u8]);

impl Target for Planes<'_> {
    #[inline(always)]
    fn row(&mut self, y: usize, windows: &[Window], average: impl Fn(&Window) -> [f32; 4]) {
        let line = y * windows.len()..(y + 1) * windows.len();
        let [red, green, blue] = self.0.each_mut().map(|plane| plane[line.clone()].as_chunks_mut::<STEP>());
        let (many, few) = windows.as_chunks::<STEP>();
        for (((red, green), blue), windows) in red.0.iter_mut().zip(green.0).zip(blue.0).zip(many) {
            for index in 0..STEP {
                [red[index], green[index], blue[index], _] = average(&windows[index]);
            }
        }
        for (((red, green), blue), window) in red.1.iter_mut().zip(green.1).zip(blue.1).zip(few) {
            [*red, *green, *blue, _] = average(window);
        }
    }
}

impl Target for Samples<'_> {
    #[inline(always)]
    fn row(&mut self, y: usize, windows: &[Window], average: impl Fn(&Window) -> [f32; 4]) {
        let pixels = self.0.as_chunks_mut::<3>().0;
        let (pixels, last) = pixels[y * windows.len()..(y + 1) * windows.len()].as_chunks_mut::<STEP>();
        let (many, few) = windows.as_chunks::<STEP>();
        let put = |pixel: &mut [u8; 3], window| {
            let [red, green, blue, _] = average(window).map(|value| value as i32 as u8);
            *pixel = [red, green, blue];
        };
        for (pixels, windows) in pixels.iter_mut().zip(many) {
            for index in 0..STEP {
                put(&mut pixels[index], &windows[index]);
            }
        }
        for (pixel, window) in last.iter_mut().zip(few) {
            put(pixel, window);
        }
    }
}

/// Averages a region down (or up) to a width and a height; what goes to `target` is average * scale + shift.
fn averages(
    photograph: &Photograph,
    region: Region,
    (width, height): (usize, usize),
    scaling: (f32, f32),
    target: impl Target,
) {
    let columns = spans(region.width, width);
    let rows = spans(region.height, height);
    // 16 bits hold the sum of 257 rows of 8-bit samples, and move twice as fast as 32.
    if rows.iter().all(|&(from, to)| to - from <= 257) {
        average::<u16>(photograph, region, &columns, &rows, scaling, target);
    } else {
        average::<u32>(photograph, region, &columns, &rows, scaling, target);
    }
}

/// The input pixels, from and to (exclusive), under each of `output` pixels.
fn spans(input: usize, output: usize) -> Vec<(usize, usize)> {
    (0..output).map(|index| (index * input / output, ((index + 1) * input).div_ceil(output))).collect()
}

fn average<Sum>(
    photograph: &Photograph,
    region: Region,
    columns: &[(usize, usize)],
    rows: &[(usize, usize)],
    (scale, shift): (f32, f32),
    mut target: impl Target,
) where
    Sum: Copy + From<u8> + std::ops::Add<Output = Sum>,
    u32: From<Sum>,
{
    let stride = 3 * photograph.width();
    let row = |y: usize| {
        let start = (region.y + y) * stride + 3 * region.x;
        &photograph.pixels()[start..start + 3 * region.width]
    };
    let narrowest = columns.iter().map(|&(left, right)| right - left).min().unwrap_or(0);

    // First down each column, then along the one row of sums that remains: sums of all pixels to the left, of which the
    // difference of two is a window's, whatever its width. One sample more lets a pixel be read as four.
    let mut sums: Vec<Sum> = vec![Sum::from(0); 3 * region.width + 1];
    let mut before = vec![[0_u32; 4]; region.width + 1];
    for (y, &(from, to)) in rows.iter().enumerate() {
        down(&mut sums[..3 * region.width], from..to, row);
        along(&sums, &mut before);
        // The widths of windows differ by at most two.
        let factor: [f32; 3] = std::array::from_fn(|wider| scale / ((narrowest + wider).max(1) * (to - from)) as f32);
        target.row(y, columns, |&(left, right)| {
            let (less, more) = (&before[left], &before[right]);
            let factor = factor[(right - left - narrowest).min(2)];
            // A window of more than eight million pixels is not asked for, and signed numbers are converted faster.
            std::array::from_fn(|channel| more[channel].wrapping_sub(less[channel]) as i32 as f32 * factor + shift)
        });
    }
}

/// How many pixels one turn of a loop does. In a sandbox every turn asks whether it must stop, and has to keep its registers
/// ready for the answer yes: turns are dear, and what is done in one is not.
const STEP: usize = 8;

/// Adds rows up, sample by sample; several in one pass, since a pass is mostly loads and stores of `sums`.
fn down<'a, Sum>(sums: &mut [Sum], rows: std::ops::Range<usize>, row: impl Fn(usize) -> &'a [u8])
where
    Sum: Copy + From<u8> + std::ops::Add<Output = Sum>,
{
    let mut next = match rows.len() {
        1 => {
            add(sums, [row(rows.start)], |_, [a]| a);
            1
        }
        2 => {
            add(sums, [row(rows.start), row(rows.start + 1)], |_, [a, b]| a + b);
            2
        }
        _ => {
            add(sums, [row(rows.start), row(rows.start + 1), row(rows.start + 2)], |_, [a, b, c]| a + b + c);
            3
        }
    } + rows.start;
    while next + 1 < rows.end {
        add(sums, [row(next), row(next + 1)], |sum, [a, b]| sum + a + b);
        next += 2;
    }
    if next < rows.end {
        add(sums, [row(next)], |sum, [a]| sum + a);
    }
}

/// One pass over some rows, all as long as `sums`.
#[inline(always)]
fn add<Sum, const ROWS: usize>(sums: &mut [Sum], rows: [&[u8]; ROWS], sum: impl Fn(Sum, [Sum; ROWS]) -> Sum)
where
    Sum: Copy + From<u8>,
{
    const SAMPLES: usize = 8 * STEP;
    let (many, few) = sums.as_chunks_mut::<SAMPLES>();
    let chunks = rows.map(|row| row.as_chunks::<SAMPLES>());
    for (chunk, sums) in many.iter_mut().enumerate() {
        let rows = chunks.map(|(many, _)| &many[chunk]);
        for (index, total) in sums.iter_mut().enumerate() {
            *total = sum(*total, rows.map(|row| Sum::from(row[index])));
        }
    }
    for (index, total) in few.iter_mut().enumerate() {
        *total = sum(*total, chunks.map(|(_, few)| Sum::from(few[index])));
    }
}

/// Writes to `before[i]` the sum of the pixels before the one at `i`, modulo 2^32, channel by channel; the fourth is
/// meaningless. `sums` holds three samples for each pixel and one more.
fn along<Sum: Copy>(sums: &[Sum], before: &mut [[u32; 4]])
where
    u32: From<Sum>,
{
    let mut running = [0_u32; 4];
    let mut add = |pixel: &[Sum]| {
        for (running, &sample) in running.iter_mut().zip(pixel) {
            *running = running.wrapping_add(u32::from(sample));
        }
        running
    };
    let (many, few) = before[1..].as_chunks_mut::<STEP>();
    let mut rest = sums;
    for before in many {
        let Some(samples) = rest.first_chunk::<{ 3 * STEP + 1 }>() else { return };
        for (index, before) in before.iter_mut().enumerate() {
            *before = add(&samples[3 * index..3 * index + 4]);
        }
        rest = &rest[3 * STEP..];
    }
    for (before, pixel) in few.iter_mut().zip(rest.windows(4).step_by(3)) {
        *before = add(pixel);
    }
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
        assert_eq!(spans(5, 3), [(0, 2), (1, 4), (3, 5)]);
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

    #[test]
    fn a_smaller_copy_holds_rounded_averages() {
        let source = photograph(4, &[0, 1, 10, 20, 0, 1, 30, 41]);
        let copy = shrink(&source, 2);
        // 0.5 and 25.25 of red; green and blue are one and two more.
        assert_eq!(copy.pixels(), [1, 2, 3, 25, 26, 27]);
        let white = Photograph::new(3, 2, vec![255; 18]).unwrap();
        assert_eq!(shrink(&white, 2).pixels(), [255; 6]);
    }

    #[test]
    fn shrinking_keeps_the_shape() {
        let source = Photograph::new(300, 100, vec![9; 90_000]).unwrap();
        let copy = shrink(&source, 30);
        assert_eq!((copy.width(), copy.height()), (30, 10));
        assert!(copy.pixels().iter().all(|&value| value == 9));
        let line = Photograph::new(1000, 1, vec![0; 3000]).unwrap();
        assert_eq!(shrink(&line, 10).height(), 1);
    }
}
