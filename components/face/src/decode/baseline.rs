//! The one kind of JPEG that nearly all photographs are: sequential Huffman coding in one scan, grey or YCbCr.
//!
//! Owns the way from the scan's bits to pixels, some rows at a time, so that what is between them stays in the processor's cache.
//! The pixels are the very ones that libjpeg-turbo yields. Must never know a reason to refuse a file: what is not as an encoder
//! writes it is left to the decoder for all kinds, which judges it.
//!
//! # Layout
//!
//! - `header`: which files these are, and their tables.
//! - `bits`: the scan without stuffing.
//! - `huffman`: blocks of coefficients.
//! - `idct`: their samples.
//! - `upsample`: chroma as fine as luma.
//! - `colour`: pixels.
//! - `lanes`: vectors of 128 bits.

mod bits;
mod colour;
mod header;
mod huffman;
mod idct;
mod lanes;
mod upsample;

use bits::{Bits, Scan};
use header::Header;
use huffman::Table;
use upsample::Fine;

/// The pixels of a file: rows of red, green and blue, in 8 bits each. `None` when the file is of another kind or has
/// any fault.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
        // SAFETY: the processor knows the instructions, as was just asked.
        return unsafe { decode_with_avx2(bytes) };
    }
    decode_with_any(bytes)
}

/// The same code once more, with the instructions that most x86-64 processors have.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2")]
fn decode_with_avx2(bytes: &[u8]) -> Option<Vec<u8>> {
    decode_with_any(bytes)
}

#[inline(always)]
fn decode_with_any(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = header::read(bytes)?;
    let scan = Scan::new(header.scan)?;
    let mut image = Image::new(&header);
    let (columns, rows) = image.units();
    let interval = if header.restart == 0 { columns * rows } else { header.restart };
    if scan.intervals() != (columns * rows).div_ceil(interval) {
        return None;
    }
    let mut codes = Codes::of(&header)?;
    let mut bits = scan.interval(0)?;
    let (mut number, mut left) = (0, interval);
    for row in 0..rows {
        for column in 0..columns {
            if left == 0 {
                number += 1;
                if bits.overran() {
                    return None;
                }
                bits = scan.interval(number)?;
                left = interval;
                codes.restart();
            }
            left -= 1;
            image.read_unit(row, column, &mut codes, &mut bits)?;
        }
        // Not the whole image in vain.
        if bits.overran() {
            return None;
        }
        image.paint(row);
    }
    Some(image.pixels)
}

/// What codes a component: its tables, and the mean of its block before.
struct Codes<'a> {
    components: Vec<(&'a Table, &'a Table, i16)>,
    block: [i16; 64],
}

impl<'a> Codes<'a> {
    fn of(header: &'a Header<'_>) -> Option<Self> {
        let tables = |component: &header::Component| {
            Some((header.dc[component.dc].as_ref()?, header.ac[component.ac].as_ref()?, 0))
        };
        Some(Self { components: header.components.iter().map(tables).collect::<Option<_>>()?, block: [0; 64] })
    }

    fn restart(&mut self) {
        for (_, _, mean) in &mut self.components {
            *mean = 0;
        }
    }
}

/// A component's samples of two rows of units, of which one is before the other in turn.
struct Plane {
    samples: Vec<u8>,
    /// Bytes from row to row.
    stride: usize,
    /// Blocks of a unit, across and down.
    across: usize,
    down: usize,
    steps: [i16; 64],
}

impl Plane {
    fn new(units: usize, across: usize, down: usize, steps: [i16; 64]) -> Self {
        // What fills the last step of colours, and a vector more for what is interpolated.
        let stride = (8 * units * across).next_multiple_of(colour::STEP) + colour::STEP;
        Self { samples: vec![0; 2 * 8 * down * stride], stride, across, down, steps }
    }

    /// Row `y` of the component, if it is of the last two rows of units.
    fn row(&self, y: usize) -> &[u8] {
        let start = (y & (2 * 8 * self.down - 1)) * self.stride;
        &self.samples[start..start + self.stride]
    }

    /// Repeats the last of `width` samples of row `y`.
    fn close(&mut self, y: usize, width: usize) {
        let start = (y & (2 * 8 * self.down - 1)) * self.stride;
        self.samples[start + width] = self.samples[start + width - 1];
    }

    /// Writes the block in column `x` of blocks, row `y` of blocks.
    #[inline(always)]
    fn write(&mut self, x: usize, y: usize, block: [[u8; 8]; 8]) {
        let start = (y & (2 * self.down - 1)) * 8 * self.stride + 8 * x;
        for (row, samples) in block.iter().enumerate() {
            let start = start + row * self.stride;
            self.samples[start..start + 8].copy_from_slice(samples);
        }
    }
}

/// The image as far as it is decoded.
struct Image {
    width: usize,
    height: usize,
    planes: Vec<Plane>,
    pixels: Vec<u8>,
    /// How many rows of pixels are done.
    done: usize,
}

impl Image {
    fn new(header: &Header<'_>) -> Self {
        let Header { width, height, across, down, .. } = *header;
        let units = width.div_ceil(8 * across);
        let plane = |(index, component): (usize, &header::Component)| {
            let (across, down) = if index == 0 { (across, down) } else { (1, 1) };
            Plane::new(units, across, down, component.steps)
        };
        let planes = header.components.iter().enumerate().map(plane).collect();
        Self { width, height, planes, pixels: vec![0; 3 * width * height], done: 0 }
    }

    /// Columns and rows of units, each of which has blocks of all components.
    fn units(&self) -> (usize, usize) {
        let Plane { across, down, .. } = self.planes[0];
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    #[inline(always)]
    fn read_unit(&mut self, row: usize, column: usize, codes: &mut Codes<'_>, bits: &mut Bits<'_>) -> Option<()> {
        let block = &mut codes.block;
        for (plane, (dc, ac, mean)) in self.planes.iter_mut().zip(&mut codes.components) {
            for y in row * plane.down..(row + 1) * plane.down {
                for x in column * plane.across..(column + 1) * plane.across {
                    let last = huffman::read_block(bits, dc, ac, mean, block).ok()?;
                    plane.write(x, y, idct::samples(block, &plane.steps, last));
                }
            }
        }
        Some(())
    }

    /// Makes the pixels for which there are samples after this row of units: the last row waits for the chroma below it.
    #[inline(always)]
    fn paint(&mut self, row: usize) {
        let Plane { across, down, .. } = self.planes[0];
        let rows = 8 * down * (row + 1);
        let until = if rows >= self.height { self.height } else { rows - (down - 1) };
        if across == 2 {
            for plane in &mut self.planes[1..] {
                (8 * row..8 * (row + 1)).for_each(|y| plane.close(y, self.width.div_ceil(2)));
            }
        }
        for y in self.done..until {
            match (across, down) {
                (1, 1) => self.paint_row::<1, 1>(y),
                (1, _) => self.paint_row::<1, 2>(y),
                (_, 1) => self.paint_row::<2, 1>(y),
                _ => self.paint_row::<2, 2>(y),
            }
        }
        self.done = until;
    }

    #[inline(always)]
    fn paint_row<const ACROSS: usize, const DOWN: usize>(&mut self, y: usize) {
        let out = &mut self.pixels[3 * self.width * y..3 * self.width * (y + 1)];
        let steps = self.width.div_ceil(colour::STEP);
        let luma = &self.planes[0].row(y)[..colour::STEP * steps];
        match &self.planes[1..] {
            [cb, cr] => {
                let (near, far) = (y / DOWN, upsample::farther(y, DOWN, self.height.div_ceil(DOWN)));
                let blue = Fine::<ACROSS, DOWN>::new(y, cb.row(near), cb.row(far), steps);
                let red = Fine::new(y, cr.row(near), cr.row(far), steps);
                colour::ycbcr(luma, blue, red, out);
            }
            _ => colour::grey(luma, out),
        }
    }
}

#[cfg(test)]
mod tests;
