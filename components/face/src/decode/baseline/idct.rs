//! From the coefficients of a block to its 64 samples.
//!
//! Owns the inverse discrete cosine transform, with the very rounding of libjpeg's "slow integer" method. Must never know where
//! coefficients come from or where samples go.
//!
//! Sources: C. Loeffler, A. Ligtenberg, G. Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989;
//! for the scaling and rounding the behaviour of libjpeg-turbo: constants of 13 bits, two bits of fraction between the passes.

use super::lanes::{self, I16x8, I32x4};

/// The bits of the constants.
const CONSTANT: u32 = 13;
/// The bits of fraction that columns keep until rows are done.
const FRACTION: u32 = 2;
/// What is taken away after the columns, and after the rows, whose sums are 8 times too large.
const AFTER_COLUMNS: u32 = CONSTANT - FRACTION;
const AFTER_ROWS: u32 = CONSTANT + FRACTION + 3;

/// A constant of the algorithm in 13 bits.
const fn fixed(constant: f64) -> i16 {
    (constant * (1 << CONSTANT) as f64 + if constant < 0.0 { -0.5 } else { 0.5 }) as i16
}

const F_0_298: i16 = fixed(0.298_631_336);
const F_0_390: i16 = fixed(0.390_180_644);
const F_0_541: i16 = fixed(0.541_196_100);
const F_0_765: i16 = fixed(0.765_366_865);
const F_0_899: i16 = fixed(0.899_976_223);
const F_1_175: i16 = fixed(1.175_875_602);
const F_1_501: i16 = fixed(1.501_321_110);
const F_1_847: i16 = fixed(1.847_759_065);
const F_1_961: i16 = fixed(1.961_570_560);
const F_2_053: i16 = fixed(2.053_119_869);
const F_2_562: i16 = fixed(2.562_915_447);
const F_3_072: i16 = fixed(3.072_711_026);

/// The last coefficient, in the order of zigzag, with which all lie in the first four rows and columns.
const CORNER: usize = 9;

/// Transforms a block, row by row, whose coefficient number `last` in the order of zigzag is the last that may not be 0.
/// `steps` are the steps of quantization. Returns rows of samples, and leaves zeros behind, apart from the first coefficient.
#[inline(always)]
pub(super) fn samples(block: &mut [i16; 64], steps: &[i16; 64], last: usize) -> [[u8; 8]; 8] {
    if last == 0 {
        return [[flat(block[0].wrapping_mul(steps[0])); 8]; 8];
    }
    let (block, _) = block.as_chunks_mut::<8>();
    let (steps, _) = steps.as_chunks::<8>();
    let mut row = |index: usize| {
        let row = I16x8::new(block[index]) * I16x8::new(steps[index]);
        block[index] = I16x8::splat(0).array();
        row
    };
    let columns = if last <= CORNER {
        let rows = corner_columns([row(0), row(1), row(2), row(3)]);
        let [first, second, third, fourth, ..] = lanes::transpose(rows);
        half::<AFTER_ROWS>([first, second, third, fourth])
    } else {
        let rows = whole::<AFTER_COLUMNS>([row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)]);
        whole::<AFTER_ROWS>(lanes::transpose(rows))
    };
    let pair = |index: usize| columns[2 * index].narrow_centred(columns[2 * index + 1]);
    let [a, b, c, d] = lanes::transpose_bytes([pair(0), pair(1), pair(2), pair(3)]);
    let ([a, b], [c, d], [e, f], [g, h]) = (a.halves(), b.halves(), c.halves(), d.halves());
    [a, b, c, d, e, f, g, h]
}

/// The sample of a block that is its mean: both passes come down to a division by 8, of the bits that a column keeps.
fn flat(mean: i16) -> u8 {
    let column = mean.wrapping_shl(FRACTION);
    (((i32::from(column) + (4 << FRACTION)) >> (3 + FRACTION)) + 128).clamp(0, 255) as u8
}

/// Half of the last bit that stays.
#[inline(always)]
fn rounding(bits: u32) -> I32x4 {
    I32x4::splat(1 << (bits - 1))
}

/// Pairs of constants for pairs of lanes.
#[inline(always)]
fn pairs(first: i16, second: i16) -> I16x8 {
    I16x8::new([first, second, first, second, first, second, first, second])
}

/// Four sums and four differences of the even part's results `e` and the odd part's `o`, without the bits that are taken away.
#[inline(always)]
fn butterfly<const BITS: u32>(e: [I32x4; 4], o: [I32x4; 4]) -> [I32x4; 8] {
    [
        (e[0] + o[3]).shift_right::<BITS>(),
        (e[1] + o[2]).shift_right::<BITS>(),
        (e[2] + o[1]).shift_right::<BITS>(),
        (e[3] + o[0]).shift_right::<BITS>(),
        (e[3] - o[0]).shift_right::<BITS>(),
        (e[2] - o[1]).shift_right::<BITS>(),
        (e[1] - o[2]).shift_right::<BITS>(),
        (e[0] - o[3]).shift_right::<BITS>(),
    ]
}

/// Four lanes of the transform. Inputs come in pairs of lanes: 0 with 4, 2 with 6, 7 with 1, 5 with 3, and the sums 7 + 3
/// with 5 + 1.
#[inline(always)]
fn four_lanes<const BITS: u32>(in04: I16x8, in26: I16x8, in71: I16x8, in53: I16x8, sums: I16x8) -> [I32x4; 8] {
    const ONE: i16 = 1 << CONSTANT;
    let round = rounding(BITS);
    let outer = in04.dot(pairs(ONE, ONE)) + round;
    let inner = in04.dot(pairs(ONE, -ONE)) + round;
    let turned = in26.dot(pairs(F_0_541 + F_0_765, F_0_541));
    let crossed = in26.dot(pairs(F_0_541, F_0_541 - F_1_847));
    let even = [outer + turned, inner + crossed, inner - crossed, outer - turned];

    let z3 = sums.dot(pairs(F_1_175 - F_1_961, F_1_175));
    let z4 = sums.dot(pairs(F_1_175, F_1_175 - F_0_390));
    let odd = [
        in71.dot(pairs(F_0_298 - F_0_899, -F_0_899)) + z3,
        in53.dot(pairs(F_2_053 - F_2_562, -F_2_562)) + z4,
        in53.dot(pairs(-F_2_562, F_3_072 - F_2_562)) + z3,
        in71.dot(pairs(-F_0_899, F_1_501 - F_0_899)) + z4,
    ];
    butterfly::<BITS>(even, odd)
}

/// The halves of eight vectors of eight lanes.
#[inline(always)]
fn narrow(low: [I32x4; 8], high: [I32x4; 8]) -> [I16x8; 8] {
    [
        low[0].narrow(high[0]),
        low[1].narrow(high[1]),
        low[2].narrow(high[2]),
        low[3].narrow(high[3]),
        low[4].narrow(high[4]),
        low[5].narrow(high[5]),
        low[6].narrow(high[6]),
        low[7].narrow(high[7]),
    ]
}

/// The one-dimensional transform of eight lanes.
#[inline(always)]
fn whole<const BITS: u32>(v: [I16x8; 8]) -> [I16x8; 8] {
    let (sum73, sum51) = (v[7] + v[3], v[5] + v[1]);
    let low = four_lanes::<BITS>(
        v[0].interleave_low(v[4]),
        v[2].interleave_low(v[6]),
        v[7].interleave_low(v[1]),
        v[5].interleave_low(v[3]),
        sum73.interleave_low(sum51),
    );
    let high = four_lanes::<BITS>(
        v[0].interleave_high(v[4]),
        v[2].interleave_high(v[6]),
        v[7].interleave_high(v[1]),
        v[5].interleave_high(v[3]),
        sum73.interleave_high(sum51),
    );
    narrow(low, high)
}

/// Four lanes of the transform of four inputs, 0 to 3, the others being 0: pairs 0 with 2, and 3 with 1.
#[inline(always)]
fn four_lanes_of_half<const BITS: u32>(in02: I16x8, in31: I16x8) -> [I32x4; 8] {
    const ONE: i16 = 1 << CONSTANT;
    let round = rounding(BITS);
    let even = [
        in02.dot(pairs(ONE, F_0_541 + F_0_765)) + round,
        in02.dot(pairs(ONE, F_0_541)) + round,
        in02.dot(pairs(ONE, -F_0_541)) + round,
        in02.dot(pairs(ONE, -F_0_541 - F_0_765)) + round,
    ];
    let odd = [
        in31.dot(pairs(F_1_175 - F_1_961, F_1_175 - F_0_899)),
        in31.dot(pairs(F_1_175 - F_2_562, F_1_175 - F_0_390)),
        in31.dot(pairs(F_1_175 - F_1_961 + (F_3_072 - F_2_562), F_1_175)),
        in31.dot(pairs(F_1_175, F_1_175 - F_0_390 + (F_1_501 - F_0_899))),
    ];
    butterfly::<BITS>(even, odd)
}

/// The transform of eight lanes of four inputs.
#[inline(always)]
fn half<const BITS: u32>(v: [I16x8; 4]) -> [I16x8; 8] {
    let low = four_lanes_of_half::<BITS>(v[0].interleave_low(v[2]), v[3].interleave_low(v[1]));
    let high = four_lanes_of_half::<BITS>(v[0].interleave_high(v[2]), v[3].interleave_high(v[1]));
    narrow(low, high)
}

/// The columns of a block that has coefficients in its first four rows and columns only: the last four lanes are of no use.
#[inline(always)]
fn corner_columns(v: [I16x8; 4]) -> [I16x8; 8] {
    let low = four_lanes_of_half::<AFTER_COLUMNS>(v[0].interleave_low(v[2]), v[3].interleave_low(v[1]));
    narrow(low, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transform by its definition, ITU-T T.81, A.3.3.
    fn exact(block: &[i16; 64]) -> [[f64; 8]; 8] {
        let scale = |frequency: usize| if frequency == 0 { 0.5_f64.sqrt() } else { 1.0 };
        let wave = |at: usize, frequency: usize| {
            ((2 * at + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos() * scale(frequency) / 2.0
        };
        std::array::from_fn(|y| {
            std::array::from_fn(|x| {
                let term = |index: usize| f64::from(block[index]) * wave(y, index / 8) * wave(x, index % 8);
                (0..64).map(term).sum::<f64>() + 128.0
            })
        })
    }

    #[test]
    fn samples_are_those_of_the_definition() {
        let mut state = 1_u32;
        let mut random = |bound: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as i32 % (2 * bound + 1) - bound
        };
        for round in 0..600 {
            // As many as an encoder may have written, smaller the higher they are.
            let last = round % 64;
            let mut block = [0; 64];
            for (index, &place) in super::super::huffman::ZIGZAG.iter().enumerate().take(last + 1) {
                block[usize::from(place)] = random(900 / (index as i32 + 1)) as i16;
            }
            let steps = [2; 64];
            let found = samples(&mut block.clone(), &steps, last);
            let exact = exact(&block.map(|coefficient| 2 * coefficient));
            for (sample, exact) in found.as_flattened().iter().zip(exact.as_flattened()) {
                let near = (f64::from(*sample) - exact.clamp(0.0, 255.0)).abs();
                assert!(near < 1.0, "{last}: {sample} {exact}");
            }
            // The short cuts are short cuts only.
            assert_eq!(found, samples(&mut block, &steps, 63), "{last}");
        }
    }
}
