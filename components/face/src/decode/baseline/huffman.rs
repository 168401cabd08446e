//! Huffman codes, and the blocks of coefficients that they spell.
//!
//! Owns the tables and the order of coefficients. Must never know what becomes of a block.
//!
//! Source: ITU-T T.81, annexes C and F.2. The first bits of a code find in a table how many bits it takes together with the
//! number after it, so that the next code waits for nothing else.

use super::bits::Bits;

/// Where the coefficients stand in a block, row by row, in the order in which they are written.
pub(super) const ZIGZAG: [u8; 64] = {
    let mut order = [0; 64];
    let (mut row, mut column) = (0, 0);
    let mut index = 0;
    while index < 64 {
        order[index] = (8 * row + column) as u8;
        let upwards = (row + column) % 2 == 0;
        (row, column) = match (upwards, row, column) {
            (true, _, 7) => (row + 1, 7),
            (true, 0, _) => (0, column + 1),
            (true, _, _) => (row - 1, column + 1),
            (false, 7, _) => (7, column + 1),
            (false, _, 0) => (row + 1, 0),
            (false, _, _) => (row + 1, column - 1),
        };
        index += 1;
    }
    order
};

/// How many bits of a code are looked up.
const LOOKUP: u32 = 10;

/// An entry of the table of first bits, in the parts of a word: from bit 0 how many bits code and number take, from bit 8 a kind,
/// from bit 16 how many bits the code takes, from bit 24 how many the number. A kind below 64 is how far the coefficient
/// is from the one before.
type Entry = u32;

/// No coefficient follows in this block.
const END: u32 = 64;
/// Sixteen zeros, and a coefficient after them.
const ZEROS: u32 = 65;
/// The code is longer, or says what no encoder writes, or is none.
const LONG: u32 = 66;

/// The file has bits that no encoder writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Odd;

/// The codes of a file, for means or for other coefficients.
pub(super) struct Table {
    entries: Box<[Entry; 1 << LOOKUP]>,
    /// For each length the code after the last one, in 16 bits, or 0.
    limits: [u32; 17],
    /// For each length what to add to a code to get the number of its symbol.
    offsets: [i32; 17],
    symbols: [u8; 256],
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl Table {
    /// The table with so many codes of 1 to 16 bits, for these symbols. `None` when there are more codes than bits can tell
    /// apart, or more than 256.
    pub(super) fn new(counts: &[u8; 16], listed: &[u8]) -> Option<Self> {
        let mut symbols = [0; 256];
        symbols.get_mut(..listed.len())?.copy_from_slice(listed);
        let mut table =
            Self { entries: Box::new([LONG << 8; 1 << LOOKUP]), limits: [0; 17], offsets: [0; 17], symbols };
        let (mut code, mut number) = (0_u32, 0);
        for (length, &count) in (1..).zip(counts) {
            table.offsets[length as usize] = number as i32 - code as i32;
            for _ in 0..count {
                let symbol = *listed.get(number)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= LOOKUP {
                    let first = (code << (LOOKUP - length)) as usize;
                    table.entries[first..first + (1 << (LOOKUP - length))].fill(entry_of(symbol, length));
                }
                (code, number) = (code + 1, number + 1);
            }
            if count > 0 {
                table.limits[length as usize] = code << (16 - length);
            }
            code <<= 1;
        }
        (number == listed.len()).then_some(table)
    }

    /// The symbol of the next code, whose bits are left out, for codes longer than what is looked up.
    #[inline(always)]
    fn long(&self, bits: &mut Bits<'_>) -> Result<u8, Odd> {
        let next = bits.peek::<16>() as u32;
        let length = (LOOKUP + 1..=16).find(|&length| next < self.limits[length as usize]).ok_or(Odd)?;
        let number = (next >> (16 - length)) as i32 + self.offsets[length as usize];
        bits.skip(length);
        self.symbols.get(number as usize).copied().ok_or(Odd)
    }
}

/// What the first bits say when they are the code of `symbol`, of `length` bits.
fn entry_of(symbol: u8, length: u32) -> Entry {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    let kind = match (run, size) {
        (0, 0) => END,
        (15, 0) => ZEROS,
        (_, 0) => LONG,
        _ => run + 1,
    };
    (size << 24) | (length << 16) | (kind << 8) | (length + size)
}

/// Reads a block.
///
/// `mean` is the first coefficient of the component's block before, and becomes that of this one; sums wrap. The other
/// coefficients that are not 0 are written to `block`, which holds zeros. Returns the number of the last one that may not be
/// 0, in the order of [`ZIGZAG`].
#[inline(always)]
pub(super) fn read_block(
    source: &mut Bits<'_>,
    dc: &Table,
    ac: &Table,
    mean: &mut i16,
    block: &mut [i16; 64],
) -> Result<usize, Odd> {
    let mut bits = *source;
    bits.refill();
    let entry = dc.entries[bits.peek::<LOOKUP>()];
    let difference = match entry >> 8 & 0xFF {
        END => {
            bits.skip(entry & 63);
            0
        }
        1 => bits.number(entry),
        LONG => match dc.long(&mut bits)? {
            0 => 0,
            size @ 1..=15 => bits.number(entry_of(size, 0)),
            _ => return Err(Odd),
        },
        // A mean has no zeros before it.
        _ => return Err(Odd),
    };
    *mean = mean.wrapping_add(difference);
    block[0] = *mean;

    let mut last = 0;
    'block: loop {
        bits.refill();
        // A short code and a long one, both with their numbers, have 10 + 15 + 16 + 15 bits at most.
        for _ in 0..2 {
            let entry = ac.entries[bits.peek::<LOOKUP>()];
            let kind = entry >> 8 & 0xFF;
            let place = last + kind as usize;
            if place > 63 {
                let symbol = match kind {
                    END | ZEROS => {
                        bits.skip(entry & 63);
                        if kind == END { 0x00 } else { 0xF0 }
                    }
                    LONG => ac.long(&mut bits)?,
                    _ => return Err(Odd),
                };
                match (symbol >> 4, symbol & 15) {
                    (0, 0) => break 'block,
                    (15, 0) if last + 16 < 63 => last += 16,
                    (_, 0) => return Err(Odd),
                    (run, size) => {
                        last += usize::from(run) + 1;
                        let place = *ZIGZAG.get(last).ok_or(Odd)?;
                        block[usize::from(place) & 63] = bits.number(entry_of(size, 0));
                        if last == 63 {
                            break 'block;
                        }
                    }
                }
                continue 'block;
            }
            last = place;
            block[usize::from(ZIGZAG[last]) & 63] = bits.number(entry);
            if last == 63 {
                break 'block;
            }
        }
    }
    *source = bits;
    Ok(last)
}
