//! The bits of a scan, in the order in which they were written.
//!
//! Owns restart markers and stuffed bytes (ITU-T T.81, B.1.1.5): both are taken out beforehand, so that bits can be read eight bytes
//! at a time without looking at them. Must never know what the bits mean.

use memchr::memchr;

/// A scan's data without stuffing and markers.
#[derive(Debug)]
pub(super) struct Scan {
    data: Vec<u8>,
    /// Where each interval between restart markers ends.
    ends: Vec<usize>,
}

impl Scan {
    /// Copies the data that stand at the start of `bytes` and end with the end of the image. `None` when another marker ends
    /// them, restart markers are out of turn, or bytes fill the space before a marker.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let mut data = Vec::with_capacity(bytes.len());
        let mut ends = Vec::new();
        let mut rest = bytes;
        loop {
            let next = memchr(0xFF, rest)?;
            data.extend_from_slice(&rest[..next]);
            match *rest.get(next + 1)? {
                0x00 => data.push(0xFF),
                0xD9 => break,
                marker @ 0xD0..=0xD7 if usize::from(marker & 7) == ends.len() % 8 => ends.push(data.len()),
                _ => return None,
            }
            rest = &rest[next + 2..];
        }
        ends.push(data.len());
        Some(Self { data, ends })
    }

    /// How many intervals there are; at least 1.
    pub(super) fn intervals(&self) -> usize {
        self.ends.len()
    }

    /// The bits of an interval, the first of which has number 0.
    pub(super) fn interval(&self, number: usize) -> Option<Bits<'_>> {
        let end = *self.ends.get(number)?;
        let at = if number == 0 { 0 } else { self.ends[number - 1] };
        Some(Bits { data: &self.data, at, end, buffer: 0, count: 0 })
    }
}

/// A place in a scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The first byte of which the buffer does not hold all.
    at: usize,
    end: usize,
    /// The bits to come, from the highest; those after the first `count` are right or 0.
    buffer: u64,
    count: u32,
}

impl Bits<'_> {
    /// Afterwards 56 bits can be read. Behind the end of all data there are zeros.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let word = match self.data.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(word) => u64::from_be_bytes(*word),
            None => self.last_word(),
        };
        self.buffer |= word >> self.count;
        self.at += (63 - self.count as usize) / 8;
        self.count |= 56;
    }

    /// What fewer than eight bytes hold, and zeros.
    #[cold]
    fn last_word(&self) -> u64 {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(word)
    }

    /// The next `COUNT` bits; 1 to 56.
    #[inline(always)]
    pub(super) fn peek<const COUNT: u32>(&self) -> usize {
        (self.buffer >> (64 - COUNT)) as usize
    }

    /// Leaves out `count` bits, of which so many must be in the buffer.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.count = self.count.wrapping_sub(count);
    }

    /// The number of 1 to 15 bits after a code, as ITU-T T.81, F.2.2.1 extends it; both are left out. `entry` has in its lowest
    /// byte how many bits both have, from bit 16 how many the code has, and from bit 24 how many the number has.
    #[inline(always)]
    pub(super) fn number(&mut self, entry: u32) -> i16 {
        let (code, size) = (entry >> 16 & 0xFF, entry >> 24);
        let rest = self.buffer << (code & 63);
        self.skip(entry & 63);
        // Numbers whose first bit is 0 are negative.
        let negative = !(rest.cast_signed() >> 63) as i32;
        let bits = (rest >> ((64 - size) & 63)) as i32;
        (bits + (negative & (1 - (1 << (size & 31))))) as i16
    }

    /// Whether more bits were read than the interval has.
    pub(super) fn overran(&self) -> bool {
        8 * self.at > 8 * self.end + self.count as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffing_and_restart_markers_are_no_bits() {
        let scan = Scan::new(&[0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56, 0xFF, 0xD1, 0xFF, 0xD9, 0x78]).unwrap();
        assert_eq!(scan.data, [0x12, 0xFF, 0x34, 0x56]);
        assert_eq!((scan.intervals(), &scan.ends[..]), (3, &[3, 4, 4][..]));
        let mut bits = scan.interval(1).unwrap();
        bits.refill();
        assert_eq!(bits.peek::<8>(), 0x56);
        bits.skip(8);
        assert!(!bits.overran());
        bits.skip(1);
        assert!(bits.overran());
        assert!(scan.interval(3).is_none());
    }

    #[test]
    fn what_is_odd_is_left_to_others() {
        for odd in
            [&[0x12][..], &[0x12, 0xFF], &[0xFF, 0xD1, 0xFF, 0xD9], &[0xFF, 0xFF, 0xD9], &[0xFF, 0xDA, 0xFF, 0xD9]]
        {
            assert!(Scan::new(odd).is_none(), "{odd:?}");
        }
    }

    #[test]
    fn every_bit_is_read_once_and_zeros_follow() {
        let bytes: Vec<u8> = (0..40).map(|number: u32| (number.wrapping_mul(97) % 255) as u8).collect();
        let scan = Scan::new(&[&bytes[..], &[0xFF, 0xD9]].concat()).unwrap();
        let mut bits = scan.interval(0).unwrap();
        let mut at = 0;
        for length in (1..=15).cycle().take_while(|length| *length != 15) {
            bits.refill();
            for _ in 0..3 {
                let expected = (0..11).fold(0, |value, bit| {
                    let byte = bytes.get((at + bit) / 8).copied().unwrap_or(0);
                    value << 1 | usize::from(byte >> (7 - (at + bit) % 8) & 1)
                });
                assert_eq!(bits.peek::<11>(), expected, "{at}");
                bits.skip(length);
                at += length as usize;
            }
            assert_eq!(bits.overran(), at > 8 * bytes.len(), "{at}");
        }
        assert!(at > 8 * bytes.len() - 64 && at > 300, "{at}");
    }

    #[test]
    fn numbers_are_extended() {
        // Behind a code of three bits.
        let number = |size: u32, bits: u64| {
            let mut bits = Bits { data: &[], at: 0, end: 0, buffer: bits << (61 - size) | 5 << 61, count: 56 };
            let number = bits.number((size << 24) | (3 << 16) | (3 + size));
            assert_eq!((bits.buffer, bits.count), (0, 53 - size));
            number
        };
        assert_eq!([number(1, 0), number(1, 1)], [-1, 1]);
        assert_eq!([0, 3, 4, 7].map(|bits| number(3, bits)), [-7, -4, 4, 7]);
        assert_eq!([number(15, 0), number(15, 0x7FFF)], [-0x7FFF, 0x7FFF]);
    }
}
