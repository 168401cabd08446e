//! WebAssembly's fixed-width SIMD.
//!
//! Owns the instructions of the sandbox. Must never know what the numbers stand for.

use core::arch::wasm32::*;
use std::ops::{Add, Mul, Sub};

#[derive(Clone, Copy)]
pub(in super::super) struct I16x8(v128);

#[derive(Clone, Copy)]
pub(in super::super) struct I32x4(v128);

#[derive(Clone, Copy)]
pub(in super::super) struct U8x16(v128);

impl I16x8 {
    #[inline(always)]
    pub(in super::super) fn new(lanes: [i16; 8]) -> Self {
        Self(bytemuck::cast(lanes))
    }

    #[inline(always)]
    pub(in super::super) fn splat(lane: i16) -> Self {
        Self(i16x8_splat(lane))
    }

    #[inline(always)]
    pub(in super::super) fn array(self) -> [i16; 8] {
        bytemuck::cast(self.0)
    }

    /// Unsigned bytes, one in each lane.
    #[inline(always)]
    pub(in super::super) fn widen(bytes: [u8; 8]) -> Self {
        Self(u16x8_extend_low_u8x16(u64x2(u64::from_le_bytes(bytes), 0)))
    }

    /// Towards negative infinity.
    #[inline(always)]
    pub(in super::super) fn shift_right<const BITS: u32>(self) -> Self {
        Self(i16x8_shr(self.0, BITS))
    }

    /// `self` x `FACTOR` / 2^15, rounded half up. Lanes must lie within ±8191.
    #[inline(always)]
    pub(in super::super) fn scaled<const FACTOR: i16>(self) -> Self {
        Self(i16x8_q15mulr_sat(self.0, i16x8_splat(FACTOR)))
    }

    /// Lanes 0 to 3 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_low(self, other: Self) -> Self {
        Self(i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(self.0, other.0))
    }

    /// Lanes 4 to 7 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_high(self, other: Self) -> Self {
        Self(i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(self.0, other.0))
    }

    /// The sums of the products of neighbouring lanes.
    #[inline(always)]
    pub(in super::super) fn dot(self, other: Self) -> I32x4 {
        I32x4(i32x4_dot_i16x8(self.0, other.0))
    }

    /// Both as unsigned bytes, the nearest that there is.
    #[inline(always)]
    pub(in super::super) fn narrow(self, high: Self) -> U8x16 {
        U8x16(u8x16_narrow_i16x8(self.0, high.0))
    }

    /// Both in bytes, the nearest that there is from -128 to 127, and 128 added.
    #[inline(always)]
    pub(in super::super) fn narrow_centred(self, high: Self) -> U8x16 {
        U8x16(v128_xor(i8x16_narrow_i16x8(self.0, high.0), i8x16_splat(-128)))
    }

    /// The last lane of `self` and then all but the last of `next`.
    #[inline(always)]
    pub(in super::super) fn before(self, next: Self) -> Self {
        Self(i16x8_shuffle::<7, 8, 9, 10, 11, 12, 13, 14>(self.0, next.0))
    }

    /// All but the first lane of `self` and then the first of `next`.
    #[inline(always)]
    pub(in super::super) fn after(self, next: Self) -> Self {
        Self(i16x8_shuffle::<1, 2, 3, 4, 5, 6, 7, 8>(self.0, next.0))
    }
}

impl Add for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(i16x8_add(self.0, other.0))
    }
}

impl Sub for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(i16x8_sub(self.0, other.0))
    }
}

impl Mul for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(i16x8_mul(self.0, other.0))
    }
}

impl I32x4 {
    #[inline(always)]
    pub(in super::super) fn splat(lane: i32) -> Self {
        Self(i32x4_splat(lane))
    }

    /// Towards negative infinity.
    #[inline(always)]
    pub(in super::super) fn shift_right<const BITS: u32>(self) -> Self {
        Self(i32x4_shr(self.0, BITS))
    }

    /// Both in 16 bits, the nearest that there is.
    #[inline(always)]
    pub(in super::super) fn narrow(self, high: Self) -> I16x8 {
        I16x8(i16x8_narrow_i32x4(self.0, high.0))
    }
}

impl Add for I32x4 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(i32x4_add(self.0, other.0))
    }
}

impl Sub for I32x4 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(i32x4_sub(self.0, other.0))
    }
}

impl U8x16 {
    #[inline(always)]
    pub(in super::super) fn new(lanes: [u8; 16]) -> Self {
        Self(bytemuck::cast(lanes))
    }

    #[cfg(test)]
    pub(in super::super) fn array(self) -> [u8; 16] {
        bytemuck::cast(self.0)
    }

    /// Lanes 0 to 7 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_low(self, other: Self) -> Self {
        Self(i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(self.0, other.0))
    }

    /// Lanes 8 to 15 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_high(self, other: Self) -> Self {
        Self(i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(self.0, other.0))
    }

    /// The low and the high half.
    #[inline(always)]
    pub(in super::super) fn halves(self) -> [[u8; 8]; 2] {
        [i64x2_extract_lane::<0>(self.0).to_le_bytes(), i64x2_extract_lane::<1>(self.0).to_le_bytes()]
    }

    /// Writes lanes 0 of all three, then lanes 1, and so on.
    #[inline(always)]
    pub(in super::super) fn store_triples(a: Self, b: Self, c: Self, out: &mut [u8; 48]) {
        let (a, b, c) = (a.0, b.0, c.0);
        let first = i8x16_shuffle::<0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5>(a, b);
        let first = i8x16_shuffle::<0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15>(first, c);
        let second = i8x16_shuffle::<21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26>(a, b);
        let second = i8x16_shuffle::<0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15>(second, c);
        let third = i8x16_shuffle::<0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0>(a, b);
        let third = i8x16_shuffle::<26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31>(third, c);
        let (parts, _) = out.as_chunks_mut::<16>();
        parts[0] = bytemuck::cast(first);
        parts[1] = bytemuck::cast(second);
        parts[2] = bytemuck::cast(third);
    }
}
