//! Rows of luma and chroma to rows of red, green and blue.
//!
//! Owns the colours: those of JFIF (ITU-R BT.601, full range), with libjpeg's rounding, sum by sum. Must never know how samples
//! were compressed.

use super::lanes::{I16x8, I32x4, U8x16};
use super::upsample::Fine;

/// Pixels that are made at once.
pub(super) const STEP: usize = 16;

/// Writes `out.len() / 3` pixels. `luma` holds what fills its last step; so do both chromas.
#[inline(always)]
pub(super) fn ycbcr<const ACROSS: usize, const DOWN: usize>(
    luma: &[u8],
    mut blue: Fine<'_, ACROSS, DOWN>,
    mut red: Fine<'_, ACROSS, DOWN>,
    out: &mut [u8],
) {
    let steps = luma.as_chunks::<STEP>().0.iter().enumerate().map(|(index, luma)| {
        let (luma, blue, red) = (luma.as_chunks::<8>().0, blue.step(index), red.step(index));
        let [r, g, b] = eight(I16x8::widen(luma[0]), blue[0], red[0]);
        let [r2, g2, b2] = eight(I16x8::widen(luma[1]), blue[1], red[1]);
        [r.narrow(r2), g.narrow(g2), b.narrow(b2)]
    });
    write(steps, out);
}

/// Writes `out.len() / 3` pixels that are grey.
#[inline(always)]
pub(super) fn grey(luma: &[u8], out: &mut [u8]) {
    write(luma.as_chunks::<STEP>().0.iter().map(|&luma| [U8x16::new(luma); 3]), out);
}

#[inline(always)]
fn write(steps: impl Iterator<Item = [U8x16; 3]>, out: &mut [u8]) {
    let (whole, rest) = out.as_chunks_mut::<{ 3 * STEP }>();
    for (index, [red, green, blue]) in steps.enumerate() {
        if let Some(pixels) = whole.get_mut(index) {
            U8x16::store_triples(red, green, blue, pixels);
        } else {
            let mut pixels = [0; 3 * STEP];
            U8x16::store_triples(red, green, blue, &mut pixels);
            rest.copy_from_slice(&pixels[..rest.len()]);
        }
    }
}

/// A constant in 15 bits.
const fn fixed(constant: f64) -> i16 {
    (constant * (1 << 15) as f64 + if constant < 0.0 { -0.5 } else { 0.5 }) as i16
}

/// Red, green and blue of eight pixels, not yet within 0 to 255.
///
/// libjpeg adds, rounded once: 1.402 of the red chroma to red, 1.772 of the blue chroma to blue, and takes 0.34414 of the blue
/// and 0.71414 of the red chroma from green, in constants of 16 bits. Whole parts are added apart, since 16 bits do not hold them.
#[inline(always)]
fn eight(luma: I16x8, blue: I16x8, red: I16x8) -> [I16x8; 3] {
    const ROUND: i32 = 1 << 14;
    let weights = {
        let (b, r) = (fixed(-0.344_14), fixed(-0.714_14));
        I16x8::new([b, r, b, r, b, r, b, r])
    };
    let round = I32x4::splat(ROUND);
    let low = (blue.interleave_low(red).dot(weights) + round).shift_right::<15>();
    let high = (blue.interleave_high(red).dot(weights) + round).shift_right::<15>();
    [
        luma + red + red.scaled::<{ fixed(0.402) }>(),
        luma + low.narrow(high),
        luma + blue + blue + blue.scaled::<{ fixed(-0.228) }>(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libjpeg's tables: constants of 16 bits, and one rounding for each colour.
    fn pixel(y: i32, cb: i32, cr: i32) -> [u8; 3] {
        let fixed = |constant: f64| (constant * 65536.0 + 0.5) as i32;
        let (cb, cr) = (cb - 128, cr - 128);
        let red = y + ((fixed(1.402) * cr + 32768) >> 16);
        let green = y + ((-fixed(0.344_14) * cb - fixed(0.714_14) * cr + 32768) >> 16);
        let blue = y + ((fixed(1.772) * cb + 32768) >> 16);
        [red, green, blue].map(|sample| sample.clamp(0, 255) as u8)
    }

    /// All pairs of chromas, with the lumas that clip least and most.
    #[test]
    fn all_colours_are_libjpegs() {
        let mut out = vec![0; 3 * 250];
        for cb in 0..=255 {
            for y in [0_u8, 17, 128, 255] {
                let red: Vec<u8> = (0..=255).collect();
                let blue = [cb; 256];
                let [blue, red] = [&blue[..], &red].map(|row| Fine::<1, 1>::new(0, row, row, 16));
                ycbcr(&[y; 256], blue, red, &mut out);
                for (cr, found) in out.as_chunks::<3>().0.iter().enumerate() {
                    assert_eq!(*found, pixel(y.into(), cb.into(), cr as i32), "{y} {cb} {cr}");
                }
            }
        }
    }

    #[test]
    fn grey_has_three_equal_parts() {
        let luma: Vec<u8> = (0..32).collect();
        let mut out = [0; 60];
        grey(&luma, &mut out);
        assert!(out.as_chunks::<3>().0.iter().zip(&luma).all(|(pixel, &luma)| *pixel == [luma; 3]));
    }
}
