//! The same in plain Rust, for processors that have no rooms of their own here.
//!
//! Owns the meaning of every operation: the tests hold the others to it. Must never know what the numbers stand for.

use std::ops::{Add, Mul, Sub};

#[derive(Clone, Copy)]
pub(in super::super) struct I16x8([i16; 8]);

#[derive(Clone, Copy)]
pub(in super::super) struct I32x4([i32; 4]);

#[derive(Clone, Copy)]
pub(in super::super) struct U8x16([u8; 16]);

#[inline(always)]
fn lanes<T, const N: usize>(lane: impl FnMut(usize) -> T) -> [T; N] {
    std::array::from_fn(lane)
}

impl I16x8 {
    #[inline(always)]
    pub(in super::super) fn new(lanes: [i16; 8]) -> Self {
        Self(lanes)
    }

    #[inline(always)]
    pub(in super::super) fn splat(lane: i16) -> Self {
        Self([lane; 8])
    }

    #[inline(always)]
    pub(in super::super) fn array(self) -> [i16; 8] {
        self.0
    }

    /// Unsigned bytes, one in each lane.
    #[inline(always)]
    pub(in super::super) fn widen(bytes: [u8; 8]) -> Self {
        Self(bytes.map(i16::from))
    }

    /// Towards negative infinity.
    #[inline(always)]
    pub(in super::super) fn shift_right<const BITS: u32>(self) -> Self {
        Self(self.0.map(|lane| lane >> BITS))
    }

    /// `self` x `FACTOR` / 2^15, rounded half up. Lanes must lie within ±8191.
    #[inline(always)]
    pub(in super::super) fn scaled<const FACTOR: i16>(self) -> Self {
        Self(self.0.map(|lane| ((i32::from(lane) * i32::from(FACTOR) + (1 << 14)) >> 15) as i16))
    }

    /// Lanes 0 to 3 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_low(self, other: Self) -> Self {
        Self(lanes(|lane| if lane % 2 == 0 { self.0[lane / 2] } else { other.0[lane / 2] }))
    }

    /// Lanes 4 to 7 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_high(self, other: Self) -> Self {
        Self(lanes(|lane| if lane % 2 == 0 { self.0[4 + lane / 2] } else { other.0[4 + lane / 2] }))
    }

    /// The sums of the products of neighbouring lanes.
    #[inline(always)]
    pub(in super::super) fn dot(self, other: Self) -> I32x4 {
        let product = |lane: usize| i32::from(self.0[lane]) * i32::from(other.0[lane]);
        I32x4(lanes(|lane| product(2 * lane).wrapping_add(product(2 * lane + 1))))
    }

    /// Both as unsigned bytes, the nearest that there is.
    #[inline(always)]
    pub(in super::super) fn narrow(self, high: Self) -> U8x16 {
        U8x16(lanes(|lane| (if lane < 8 { self.0[lane] } else { high.0[lane - 8] }).clamp(0, 255) as u8))
    }

    /// Both in bytes, the nearest that there is from -128 to 127, and 128 added.
    #[inline(always)]
    pub(in super::super) fn narrow_centred(self, high: Self) -> U8x16 {
        let byte = |lane: i16| (lane.clamp(-128, 127) + 128) as u8;
        U8x16(lanes(|lane| byte(if lane < 8 { self.0[lane] } else { high.0[lane - 8] })))
    }

    /// The last lane of `self` and then all but the last of `next`.
    #[inline(always)]
    pub(in super::super) fn before(self, next: Self) -> Self {
        Self(lanes(|lane| if lane == 0 { self.0[7] } else { next.0[lane - 1] }))
    }

    /// All but the first lane of `self` and then the first of `next`.
    #[inline(always)]
    pub(in super::super) fn after(self, next: Self) -> Self {
        Self(lanes(|lane| if lane == 7 { next.0[0] } else { self.0[lane + 1] }))
    }
}

impl Add for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(lanes(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }
}

impl Sub for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(lanes(|lane| self.0[lane].wrapping_sub(other.0[lane])))
    }
}

impl Mul for I16x8 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(lanes(|lane| self.0[lane].wrapping_mul(other.0[lane])))
    }
}

impl I32x4 {
    #[inline(always)]
    pub(in super::super) fn splat(lane: i32) -> Self {
        Self([lane; 4])
    }

    /// Towards negative infinity.
    #[inline(always)]
    pub(in super::super) fn shift_right<const BITS: u32>(self) -> Self {
        Self(self.0.map(|lane| lane >> BITS))
    }

    /// Both in 16 bits, the nearest that there is.
    #[inline(always)]
    pub(in super::super) fn narrow(self, high: Self) -> I16x8 {
        let (least, most) = (i32::from(i16::MIN), i32::from(i16::MAX));
        I16x8(lanes(|lane| (if lane < 4 { self.0[lane] } else { high.0[lane - 4] }).clamp(least, most) as i16))
    }
}

impl Add for I32x4 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(lanes(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }
}

impl Sub for I32x4 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(lanes(|lane| self.0[lane].wrapping_sub(other.0[lane])))
    }
}

impl U8x16 {
    #[inline(always)]
    pub(in super::super) fn new(lanes: [u8; 16]) -> Self {
        Self(lanes)
    }

    #[cfg(test)]
    pub(in super::super) fn array(self) -> [u8; 16] {
        self.0
    }

    /// Lanes 0 to 7 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_low(self, other: Self) -> Self {
        Self(lanes(|lane| if lane % 2 == 0 { self.0[lane / 2] } else { other.0[lane / 2] }))
    }

    /// Lanes 8 to 15 of both, in turn.
    #[inline(always)]
    pub(in super::super) fn interleave_high(self, other: Self) -> Self {
        Self(lanes(|lane| if lane % 2 == 0 { self.0[8 + lane / 2] } else { other.0[8 + lane / 2] }))
    }

    /// The low and the high half.
    #[inline(always)]
    pub(in super::super) fn halves(self) -> [[u8; 8]; 2] {
        [lanes(|lane| self.0[lane]), lanes(|lane| self.0[8 + lane])]
    }

    /// Writes lanes 0 of all three, then lanes 1, and so on.
    #[inline(always)]
    pub(in super::super) fn store_triples(a: Self, b: Self, c: Self, out: &mut [u8; 48]) {
        for (lane, triple) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            *triple = [a.0[lane], b.0[lane], c.0[lane]];
        }
    }
}
