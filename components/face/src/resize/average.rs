//! Means of rectangles of a photograph, row by row.
//!
//! Owns which input pixels make up an output pixel, and sums down columns and along rows. Must never know what a mean is for.

use std::ops::Range;

use super::Region;
use crate::photograph::Photograph;

/// Where averages go, row by row.
pub(super) trait Target {
    /// Writes one row: what `average` says of each window. What follows its three channels is meaningless.
    fn row(&mut self, y: usize, windows: &[Window], average: impl Fn(&Window) -> [f32; 4]);
}

/// The input columns, from and to (exclusive), of one output pixel.
pub(super) type Window = (usize, usize);

/// All of red, all of green, all of blue.
pub(super) struct Planes<'a>([&'a mut [f32]; 3]);

impl<'a> Planes<'a> {
    /// # Panics
    ///
    /// When `planes` has another length than 3 x `height` x `width`.
    pub(super) fn new(planes: &'a mut [f32], width: usize, height: usize) -> Self {
        assert_eq!(planes.len(), 3 * height * width);
        let (red, rest) = planes.split_at_mut(width * height);
        let (green, blue) = rest.split_at_mut(width * height);
        Self([red, green, blue])
    }
}

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

/// Averages a region down (or up) to a width and a height; what goes to `target` is average * factor + summand.
pub(super) fn write(
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
pub(super) fn spans(input: usize, output: usize) -> Vec<Window> {
    (0..output).map(|index| (index * input / output, ((index + 1) * input).div_ceil(output))).collect()
}

fn average<Sum>(
    photograph: &Photograph,
    region: Region,
    columns: &[Window],
    rows: &[Window],
    (factor, summand): (f32, f32),
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
    let widths = Widths::of(columns);

    // First down each column, then along the one row of sums that remains: sums of all pixels to the left, of which the
    // difference of two is a window's, whatever its width. One sample more lets a pixel be read as four.
    let mut sums: Vec<Sum> = vec![Sum::from(0); 3 * region.width + 1];
    let mut before = vec![[0_u32; 4]; region.width + 1];
    for (y, &(from, to)) in rows.iter().enumerate() {
        down(&mut sums[..3 * region.width], from..to, row);
        along(&sums, &mut before);
        let mean = widths.mean(to - from, factor);
        target.row(y, columns, |window| {
            let (less, more) = (&before[window.0], &before[window.1]);
            mean(window, std::array::from_fn(|channel| more[channel].wrapping_sub(less[channel])))
                .map(|it| it + summand)
        });
    }
}

/// How wide the windows of a row are: their widths differ by at most two.
pub(super) struct Widths {
    narrowest: usize,
}

impl Widths {
    pub(super) fn of(columns: &[Window]) -> Self {
        Self { narrowest: columns.iter().map(|&(left, right)| right - left).min().unwrap_or(0) }
    }

    /// What makes means, times `factor`, of sums over windows of so many rows.
    #[inline(always)]
    pub(super) fn mean(&self, rows: usize, factor: f32) -> impl Fn(&Window, [u32; 4]) -> [f32; 4] {
        let narrowest = self.narrowest;
        let factors: [f32; 3] = std::array::from_fn(|wider| factor / ((narrowest + wider).max(1) * rows) as f32);
        move |&(left, right), sums| {
            let factor = factors[(right - left - narrowest).min(2)];
            // A window of more than eight million pixels is not asked for, and signed numbers are converted faster.
            sums.map(|sum| sum as i32 as f32 * factor)
        }
    }
}

/// How many pixels one turn of a loop does. In a sandbox every turn asks whether it must stop, and has to keep its registers
/// ready for the answer yes: turns are dear, and what is done in one is not.
pub(super) const STEP: usize = 8;

/// Adds rows up, sample by sample; several in one pass, since a pass is mostly loads and stores of `sums`.
fn down<'a, Sum>(sums: &mut [Sum], rows: Range<usize>, row: impl Fn(usize) -> &'a [u8])
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
