//! SSE2, which every x86-64 processor has.
//!
//! Owns the instructions of a native build. Must never know what the numbers stand for.

use core::arch::x86_64::*;
use std::ops::{Add, Mul, Sub};

macro_rules! sse2 {
    ($instructions:expr) => {
        // SAFETY: the instructions have no other condition than that the processor knows SSE2, and every x86-64 processor does.
        unsafe { $instructions }
    };
}

#[derive(Clone, Copy)]
pub(in super::super) struct I16x8(__m128i);

#[derive(Clone, Copy)]
pub(in super::super) struct I32x4(__m128i);

#[derive(Clone, Copy)]
pub(in super::super) struct U8x16(__m128i);

impl I16x8 {
    #[inline(always)]
    pub(in super::super) fn new(lanes: [i16; 8]) -> Self {
        Self(bytemuck::cast(lanes))
    }

    #[inline(always)]
    pub(in super::super) fn splat(lane: i16) -> Self {
        Self(sse2!(_mm_set1_epi16(lane)))
    }

    #[inline(always)]
    pub(in super::super) fn array(self) -> [i16; 8] {
        bytemuck::cast(self.0)
    }

    /// Unsigned bytes, one in each lane.
    #[inline(always)]
    pub(in super::super) fn widen(bytes: [u8; 8]) -> Self {
        Self(sse2!(_mm_unpacklo_epi8(_mm_cvtsi64_si128(i64::from_le_bytes(bytes)), _mm_setzero_si128())))
    }

    /// Towards negative infinity.
    #[inline(always)]
    pub(in super::super) fn shift_right<const BITS: u32>(self) -> Self {
        Self(sse2!(_mm_sra_epi16(self.0, _mm_cvtsi32_si128(BITS as i32))))
    }

    /// `self` x `FACTOR` / 2^15, rounded half up. Lanes must lie within ±8191.
    #[inline(always)]
    pub(in super::super) fn scaled<const FACTOR: i16>(self) -> Self {
        // The product's high half, with two bits more than are asked for; the last of them rounds.
        let product = sse2!(_mm_mulhi_epi16(_mm_slli_epi16::<2>(self.0), _mm_set1_epi16(FACTOR)));
        Self(sse2!(_mm_srai_epi16::<1>(_mm_add_epi16(product, _mm_set1_epi16(1)))))
    }

    /// Lanes 0 to 3 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_low(self, other: Self) -> Self {
        Self(sse2!(_mm_unpacklo_epi16(self.0, other.0)))
    }

    /// Lanes 4 to 7 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_high(self, other: Self) -> Self {
        Self(sse2!(_mm_unpackhi_epi16(self.0, other.0)))
    }

    /// The sums of the products of neighbouring lanes.
    #[inline(always)]
    pub(in super::super) fn dot(self, other: Self) -> I32x4 {
        I32x4(sse2!(_mm_madd_epi16(self.0, other.0)))
    }

    /// Both as unsigned bytes, the nearest that there is.
    #[inline(always)]
    pub(in super::super) fn narrow(self, high: Self) -> U8x16 {
        U8x16(sse2!(_mm_packus_epi16(self.0, high.0)))
    }

    /// Both in bytes, the nearest that there is from -128 to 127, and 128 added.
    #[inline(always)]
    pub(in super::super) fn narrow_centred(self, high: Self) -> U8x16 {
        U8x16(sse2!(_mm_xor_si128(_mm_packs_epi16(self.0, high.0), _mm_set1_epi8(-128))))
    }

    /// The last lane of `self` and then all but the last of `next`.
    #[inline(always)]
    pub(in super::super) fn before(self, next: Self) -> Self {
        Self(sse2!(_mm_or_si128(_mm_srli_si128::<14>(self.0), _mm_slli_si128::<2>(next.0))))
    }

    /// All but the first lane of `self` and then the first of `next`.
    #[inline(always)]
    pub(in super::super) fn after(self, next: Self) -> Self {
        Self(sse2!(_mm_or_si128(_mm_srli_si128::<2>(self.0), _mm_slli_si128::<14>(next.0))))
    }
}

impl Add for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(sse2!(_mm_add_epi16(self.0, other.0)))
    }
}

impl Sub for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(sse2!(_mm_sub_epi16(self.0, other.0)))
    }
}

impl Mul for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(sse2!(_mm_mullo_epi16(self.0, other.0)))
    }
}

impl I32x4 {
    #[inline(always)]
    pub(in super::super) fn splat(lane: i32) -> Self {
        Self(sse2!(_mm_set1_epi32(lane)))
    }

    /// Towards negative infinity.
    #[inline(always)]
    pub(in super::super) fn shift_right<const BITS: u32>(self) -> Self {
        Self(sse2!(_mm_sra_epi32(self.0, _mm_cvtsi32_si128(BITS as i32))))
    }

    /// Both in 16 bits, the nearest that there is.
    #[inline(always)]
    pub(in super::super) fn narrow(self, high: Self) -> I16x8 {
        I16x8(sse2!(_mm_packs_epi32(self.0, high.0)))
    }
}

impl Add for I32x4 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(sse2!(_mm_add_epi32(self.0, other.0)))
    }
}

impl Sub for I32x4 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(sse2!(_mm_sub_epi32(self.0, other.0)))
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
        Self(sse2!(_mm_unpacklo_epi8(self.0, other.0)))
    }

    /// Lanes 8 to 15 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_high(self, other: Self) -> Self {
        Self(sse2!(_mm_unpackhi_epi8(self.0, other.0)))
    }

    /// The low and the high half.
    #[inline(always)]
    pub(in super::super) fn halves(self) -> [[u8; 8]; 2] {
        bytemuck::cast(self.0)
    }

    /// Writes lanes 0 of all three, then lanes 1, and so on.
    #[inline(always)]
    pub(in super::super) fn store_triples(a: Self, b: Self, c: Self, out: &mut [u8; 48]) {
        let (a, b, c) = (a.0, b.0, c.0);
        let zero = sse2!(_mm_setzero_si128());
        let low = sse2!([_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, zero)]);
        let high = sse2!([_mm_unpackhi_epi8(a, b), _mm_unpackhi_epi8(c, zero)]);
        let [first, second] = sse2!([_mm_unpacklo_epi16(low[0], low[1]), _mm_unpackhi_epi16(low[0], low[1])]).map(pack);
        let [third, fourth] =
            sse2!([_mm_unpacklo_epi16(high[0], high[1]), _mm_unpackhi_epi16(high[0], high[1])]).map(pack);
        let (parts, _) = out.as_chunks_mut::<16>();
        parts[0] = bytemuck::cast(sse2!(_mm_or_si128(first, _mm_slli_si128::<12>(second))));
        parts[1] = bytemuck::cast(sse2!(_mm_or_si128(_mm_srli_si128::<4>(second), _mm_slli_si128::<8>(third))));
        parts[2] = bytemuck::cast(sse2!(_mm_or_si128(_mm_srli_si128::<8>(third), _mm_slli_si128::<4>(fourth))));
    }
}

/// Four pixels of four bytes, the last of which is 0, as four of three, and then zeros.
#[inline(always)]
fn pack(pixels: __m128i) -> __m128i {
    let (left, right) = sse2!((_mm_set1_epi64x(0xFF_FFFF), _mm_set1_epi64x(0xFFFF_FF00_0000)));
    let pairs = sse2!(_mm_or_si128(_mm_and_si128(pixels, left), _mm_and_si128(_mm_srli_epi64::<8>(pixels), right)));
    // The upper pair moves down by the two bytes that the lower one has left over.
    let right = sse2!(_mm_set_epi32(0, -1, 0xFFFF_0000_u32.cast_signed(), 0));
    sse2!(_mm_or_si128(_mm_move_epi64(pairs), _mm_and_si128(_mm_srli_si128::<2>(pairs), right)))
}
