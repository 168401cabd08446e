//! Vectors of 128 bits: what the arithmetic of a JPEG needs of them, and no more.
//!
//! Owns the choice between the instructions of the sandbox (WebAssembly's fixed-width SIMD), those that every x86-64 processor has
//! (SSE2), and plain Rust for all others. All three yield the same numbers. Must never know what the numbers stand for.
//!
//! - `I16x8`: 8 lanes of 16 bits, signed; sums and products wrap.
//! - `I32x4`: 4 lanes of 32 bits, signed; sums wrap.
//! - `U8x16`: 16 lanes of 8 bits.

#[cfg(any(test, not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128")))))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
pub(super) use portable::{I16x8, I32x4, U8x16};
#[cfg(target_arch = "x86_64")]
pub(super) use sse2::{I16x8, I32x4, U8x16};
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use wasm::{I16x8, I32x4, U8x16};

/// The transpose of an 8 x 8 matrix, given and returned by rows.
#[inline(always)]
pub(super) fn transpose(rows: [I16x8; 8]) -> [I16x8; 8] {
    // Three rounds of the perfect shuffle of rows that are 4 apart.
    let round = |m: [I16x8; 8]| {
        [
            m[0].interleave_low(m[4]),
            m[0].interleave_high(m[4]),
            m[1].interleave_low(m[5]),
            m[1].interleave_high(m[5]),
            m[2].interleave_low(m[6]),
            m[2].interleave_high(m[6]),
            m[3].interleave_low(m[7]),
            m[3].interleave_high(m[7]),
        ]
    };
    round(round(round(rows)))
}

/// The transpose of an 8 x 8 matrix of bytes, given and returned by pairs of rows.
#[inline(always)]
pub(super) fn transpose_bytes(pairs: [U8x16; 4]) -> [U8x16; 4] {
    let round = |m: [U8x16; 4]| {
        [m[0].interleave_low(m[2]), m[0].interleave_high(m[2]), m[1].interleave_low(m[3]), m[1].interleave_high(m[3])]
    };
    round(round(round(pairs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_swaps_rows_and_columns() {
        let matrix: [[i16; 8]; 8] = std::array::from_fn(|row| std::array::from_fn(|column| (8 * row + column) as i16));
        let turned = transpose(matrix.map(I16x8::new)).map(I16x8::array);
        assert_eq!(turned, std::array::from_fn(|row| std::array::from_fn(|column| matrix[column][row])));
    }

    #[test]
    fn a_transpose_of_bytes_swaps_rows_and_columns() {
        let row = |row: usize| std::array::from_fn(|column| (8 * row + column) as i16);
        let pair = |pair: usize| I16x8::new(row(2 * pair)).narrow(I16x8::new(row(2 * pair + 1)));
        let turned = transpose_bytes(std::array::from_fn(pair)).map(U8x16::array);
        let expected: Vec<u8> = (0..64).map(|index| index % 8 * 8 + index / 8).collect();
        assert_eq!(turned.concat(), expected);
    }

    /// Numbers that sit at the edges of their types, and others.
    fn numbers(seed: u32) -> [i16; 8] {
        let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
        std::array::from_fn(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            match state % 7 {
                0 => i16::MAX,
                1 => i16::MIN,
                2 => (state >> 8) as i16 % 130,
                _ => (state >> 16) as i16,
            }
        })
    }

    /// The instructions of the processor against plain Rust.
    #[test]
    fn every_kind_yields_the_same_numbers() {
        for seed in 0..3000 {
            let (a, b) = (numbers(2 * seed + 1), numbers(2 * seed + 2));
            let (x, y) = (I16x8::new(a), I16x8::new(b));
            let (p, q) = (portable::I16x8::new(a), portable::I16x8::new(b));
            assert_eq!((x + y).array(), (p + q).array());
            assert_eq!((x - y).array(), (p - q).array());
            assert_eq!((x * y).array(), (p * q).array());
            assert_eq!(x.shift_right::<4>().array(), p.shift_right::<4>().array());
            assert_eq!(x.before(y).array(), p.before(q).array());
            assert_eq!(x.after(y).array(), p.after(q).array());
            assert_eq!(x.interleave_low(y).array(), p.interleave_low(q).array());
            assert_eq!(x.interleave_high(y).array(), p.interleave_high(q).array());
            let small = a.map(|number| number >> 8);
            let (found, expected) = (I16x8::new(small), portable::I16x8::new(small));
            assert_eq!(found.scaled::<13173>().array(), expected.scaled::<13173>().array());
            assert_eq!(found.scaled::<-7471>().array(), expected.scaled::<-7471>().array());

            let (dot, plain_dot) = (x.dot(y), p.dot(q));
            let (other, plain_other) = (y.dot(y), q.dot(q));
            let found = (dot + other).shift_right::<11>().narrow((dot - other).shift_right::<18>());
            let expected =
                (plain_dot + plain_other).shift_right::<11>().narrow((plain_dot - plain_other).shift_right::<18>());
            assert_eq!(found.array(), expected.array());

            let (bytes, plain) = (x.narrow(y), p.narrow(q));
            assert_eq!(bytes.array(), plain.array());
            assert_eq!(bytes.interleave_low(y.narrow(x)).array(), plain.interleave_low(q.narrow(p)).array());
            assert_eq!(bytes.interleave_high(y.narrow(x)).array(), plain.interleave_high(q.narrow(p)).array());
            assert_eq!(x.narrow_centred(y).array(), p.narrow_centred(q).array());
            assert_eq!(bytes.halves(), plain.halves());
            let copies = (U8x16::new(bytes.array()), portable::U8x16::new(plain.array()));
            assert_eq!(copies.0.halves(), copies.1.halves());
            assert_eq!(I16x8::splat(a[0]).array(), portable::I16x8::splat(a[0]).array());
            let (wide, plain_wide) = (I32x4::splat(a[0].into()), portable::I32x4::splat(a[0].into()));
            assert_eq!(wide.narrow(dot).array(), plain_wide.narrow(plain_dot).array());
            let (low, high) = (a.map(|number| number as u8), b.map(|number| number as u8));
            assert_eq!(I16x8::widen(low).array(), portable::I16x8::widen(low).array());
            let (mut found, mut expected) = ([0; 48], [0; 48]);
            let third = I16x8::widen(low).narrow(I16x8::widen(high));
            let plain_third = portable::I16x8::widen(low).narrow(portable::I16x8::widen(high));
            U8x16::store_triples(bytes, third, y.narrow(x), &mut found);
            portable::U8x16::store_triples(plain, plain_third, q.narrow(p), &mut expected);
            assert_eq!(found, expected);
        }
        assert_eq!(I32x4::splat(5).narrow(I32x4::splat(-70_000)).array(), [5, 5, 5, 5, -32768, -32768, -32768, -32768]);
    }
}
