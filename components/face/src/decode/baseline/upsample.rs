//! Rows of chroma, as fine as those of luma.
//!
//! Owns the interpolation: a triangle filter, three parts of the nearer sample and one of the farther in each direction, with the
//! rounding of libjpeg's "fancy" upsampling. Must never know colours.

use super::lanes::I16x8;

/// The row of chroma that lies farther from row `y` of luma, of `rows` rows of chroma; at the edges it is the nearer one.
pub(super) fn farther(y: usize, down: usize, rows: usize) -> usize {
    let near = y / down;
    match (down, y % 2) {
        (2, 0) => near.saturating_sub(1),
        (2, _) => (near + 1).min(rows - 1),
        _ => near,
    }
}

/// A row of chroma on its way to be `ACROSS` times as long, in a plane that has one such row for `DOWN` rows of luma.
pub(super) struct Fine<'a, const ACROSS: usize, const DOWN: usize> {
    near: &'a [[u8; 8]],
    far: &'a [[u8; 8]],
    /// Added before a sample between two rows is rounded down.
    round: i16,
    /// The samples before those that are next, and those, each between the rows.
    previous: I16x8,
    current: I16x8,
}

impl<'a, const ACROSS: usize, const DOWN: usize> Fine<'a, ACROSS, DOWN> {
    /// For row `y` of luma, in `steps` steps: the row of chroma that it lies in, and the one that is farther. If rows become longer, a
    /// copy of the last sample stands behind it, and eight samples more than the steps need.
    #[inline(always)]
    pub(super) fn new(y: usize, near: &'a [u8], far: &'a [u8], steps: usize) -> Self {
        let vectors = if ACROSS == 2 { steps + 1 } else { 2 * steps };
        let (near, far) = (&near.as_chunks().0[..vectors], &far.as_chunks().0[..vectors]);
        let current = between::<DOWN>(near[0], far[0]);
        Self { near, far, round: 1 + (y % 2) as i16, previous: I16x8::splat(current.array()[0]), current }
    }

    /// Sixteen samples, less 128; steps must be taken in turn.
    #[inline(always)]
    pub(super) fn step(&mut self, index: usize) -> [I16x8; 2] {
        let centre = I16x8::splat(128);
        if ACROSS == 1 {
            let one = |index: usize| {
                let sum = between::<DOWN>(self.near[index], self.far[index]);
                (if DOWN == 2 { (sum + I16x8::splat(self.round)).shift_right::<2>() } else { sum }) - centre
            };
            return [one(2 * index), one(2 * index + 1)];
        }
        let (previous, current) = (self.previous, self.current);
        let next = between::<DOWN>(self.near[index + 1], self.far[index + 1]);
        (self.previous, self.current) = (current, next);
        let most = current + current + current;
        let (left, right) = (most + previous.before(current), most + current.after(next));
        let (left, right) = if DOWN == 2 {
            ((left + I16x8::splat(8)).shift_right::<4>(), (right + I16x8::splat(7)).shift_right::<4>())
        } else {
            ((left + I16x8::splat(1)).shift_right::<2>(), (right + I16x8::splat(2)).shift_right::<2>())
        };
        let (left, right) = (left - centre, right - centre);
        [left.interleave_low(right), left.interleave_high(right)]
    }
}

/// Samples between two rows, four times too large, or those of the nearer row if all rows have their own.
#[inline(always)]
fn between<const DOWN: usize>(near: [u8; 8], far: [u8; 8]) -> I16x8 {
    let near = I16x8::widen(near);
    if DOWN == 2 { near + near + near + I16x8::widen(far) } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farther_row_is_the_neighbour_on_the_other_side() {
        let rows: Vec<_> = (0..6).map(|y| farther(y, 2, 3)).collect();
        assert_eq!(rows, [0, 1, 0, 2, 1, 2]);
        assert_eq!(farther(4, 1, 5), 4);
    }

    /// Every sample by its formula.
    #[test]
    fn rows_are_interpolated() {
        let mut near: Vec<u8> = (0..32).map(|index| (index * 37 % 256) as u8).collect();
        let mut far: Vec<u8> = (0..32).map(|index| (index * 91 % 256) as u8).collect();
        let width = 19;
        (near[width], far[width]) = (near[width - 1], far[width - 1]);
        let sum = |index: usize| 3 * i16::from(near[index]) + i16::from(far[index]);
        let mut fine = Fine::<2, 2>::new(0, &near, &far, 3);
        let found: Vec<i16> = (0..3).flat_map(|step| fine.step(step)).flat_map(I16x8::array).collect();
        for (x, sample) in found.iter().enumerate().take(2 * width) {
            let (at, round) = (x / 2, 8 - (x % 2) as i16);
            let other = if x % 2 == 0 { at.saturating_sub(1) } else { at + 1 };
            assert_eq!(*sample, ((3 * sum(at) + sum(other) + round) >> 4) - 128, "{x}");
        }
        let mut fine = Fine::<1, 2>::new(1, &near, &far, 2);
        assert_eq!(fine.step(1)[1].array()[3], ((sum(27) + 2) >> 2) - 128);
    }
}
