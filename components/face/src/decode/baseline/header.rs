//! What stands before the scan: sizes, sampling and tables of a file that this room decodes.
//!
//! Owns the choice of files: sequential Huffman coding of 8-bit samples in one scan, grey or YCbCr, in the samplings that cameras
//! and programs write. Must never know what is done with the tables.
//!
//! Source: ITU-T T.81, annex B.

use super::huffman::{Table, ZIGZAG};

/// The largest side; libjpeg's own bound.
const MAX_SIDE: usize = 65_500;

/// One of the colour planes that a file holds.
#[derive(Clone, Debug)]
pub(super) struct Component {
    /// Steps of the coefficients, row by row.
    pub(super) steps: [i16; 64],
    /// Which of the tables codes the mean of a block.
    pub(super) dc: usize,
    /// Which of the tables codes the rest.
    pub(super) ac: usize,
}

/// All that a scan is decoded by.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// Pixels.
    pub(super) width: usize,
    /// Pixels.
    pub(super) height: usize,
    /// Columns of luma for each column of chroma: 1 or 2; 1 if there is none.
    pub(super) across: usize,
    /// Rows of luma for each row of chroma: 1 or 2; 1 if there is none.
    pub(super) down: usize,
    /// Luma alone, or luma and both chromas.
    pub(super) components: Vec<Component>,
    /// The tables for means that the file defines.
    pub(super) dc: [Option<Table>; 4],
    /// The tables for other coefficients.
    pub(super) ac: [Option<Table>; 4],
    /// Units between restart markers; 0 if there are none.
    pub(super) restart: usize,
    /// The scan's data and what follows it.
    pub(super) scan: &'a [u8],
}

/// A frame's component: identifier, sampling, table of steps.
type Declared = [u8; 3];

/// Reads the segments before the scan. `None` when the file is of another kind, or says anything that is unusual.
pub(super) fn read(bytes: &[u8]) -> Option<Header<'_>> {
    let mut rest = bytes.get(2..)?;
    let mut frame: Option<(usize, usize, &[Declared])> = None;
    let mut steps: [Option<[i16; 64]>; 4] = [None; 4];
    let (mut dc, mut ac) = ([const { None }; 4], [const { None }; 4]);
    let mut restart = 0;
    loop {
        let [0xFF, marker, high, low, ..] = *rest else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        rest = &rest[2 + length..];
        match marker {
            0xC0 | 0xC1 => {
                let [8, h1, h0, w1, w0, count, components @ ..] = segment else { return None };
                let side = |high, low| usize::from(u16::from_be_bytes([high, low]));
                let (components, []) = components.as_chunks::<3>() else { return None };
                if frame.is_some() || components.len() != usize::from(*count) {
                    return None;
                }
                frame = Some((side(*w1, *w0), side(*h1, *h0), components));
            }
            // Another kind of frame.
            0xC2 | 0xC3 | 0xC5..=0xCF => return None,
            0xC4 => read_codes(segment, &mut dc, &mut ac)?,
            0xDB => read_steps(segment, &mut steps)?,
            0xDD => restart = usize::from(u16::from_be_bytes(segment.try_into().ok()?)),
            // A file of Adobe's whose colours are not YCbCr, or that does not say.
            0xEE if segment.starts_with(b"Adobe") && segment.get(11) != Some(&1) => return None,
            0xDA => {
                let (width, height, declared) = frame?;
                if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
                    return None;
                }
                let (across, down) = sampling(declared)?;
                // So few columns are not interpolated by libjpeg.
                if across == 2 && width <= 4 {
                    return None;
                }
                let components = read_scan(segment, declared, &steps)?;
                if components.iter().any(|component| dc[component.dc].is_none() || ac[component.ac].is_none()) {
                    return None;
                }
                return Some(Header { width, height, across, down, components, dc, ac, restart, scan: rest });
            }
            // Comments and what applications add.
            0xE0..=0xEF | 0xFE => {}
            _ => return None,
        }
    }
}

/// By how much chroma is sampled more coarsely, across and down.
fn sampling(declared: &[Declared]) -> Option<(usize, usize)> {
    match declared {
        [[_, 0x11, _]] => Some((1, 1)),
        [[_, luma @ (0x11 | 0x12 | 0x21 | 0x22), _], [_, 0x11, _], [_, 0x11, _]] => {
            Some((usize::from(luma >> 4), usize::from(luma & 15)))
        }
        _ => None,
    }
}

/// The components, which the scan must name in the order of the frame, whole and not in parts.
fn read_scan(segment: &[u8], declared: &[Declared], steps: &[Option<[i16; 64]>; 4]) -> Option<Vec<Component>> {
    let (&count, rest) = segment.split_first()?;
    let (selected, [0, 63, 0]) = rest.split_at_checked(2 * declared.len())? else { return None };
    if usize::from(count) != declared.len() {
        return None;
    }
    let mut components = Vec::with_capacity(declared.len());
    for (index, ([id, _, table], [named, codes])) in declared.iter().zip(selected.as_chunks::<2>().0).enumerate() {
        let (dc, ac) = (usize::from(codes >> 4), usize::from(codes & 15));
        if id != named || dc > 3 || ac > 3 || declared[..index].iter().any(|one| one[0] == *id) {
            return None;
        }
        components.push(Component { steps: (*steps.get(usize::from(*table))?)?, dc, ac });
    }
    Some(components)
}

fn read_steps(mut segment: &[u8], steps: &mut [Option<[i16; 64]>; 4]) -> Option<()> {
    while let Some((&kind, rest)) = segment.split_first() {
        let mut table = [0; 64];
        // Of 8 bits or of 16.
        let size = match kind >> 4 {
            0 => 1,
            1 => 2,
            _ => return None,
        };
        let (values, after) = rest.split_at_checked(64 * size)?;
        for (value, &place) in values.chunks_exact(size).zip(&ZIGZAG) {
            let value = value.iter().fold(0, |value, &byte| value << 8 | u16::from(byte));
            table[usize::from(place)] = value.cast_signed();
        }
        *steps.get_mut(usize::from(kind & 15))? = Some(table);
        segment = after;
    }
    Some(())
}

fn read_codes(mut segment: &[u8], dc: &mut [Option<Table>; 4], ac: &mut [Option<Table>; 4]) -> Option<()> {
    while let Some((&kind, rest)) = segment.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let symbols = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, after) = rest.split_at_checked(symbols)?;
        let table = Table::new(counts, symbols)?;
        let tables = match kind >> 4 {
            0 => &mut *dc,
            1 => &mut *ac,
            _ => return None,
        };
        *tables.get_mut(usize::from(kind & 15))? = Some(table);
        segment = after;
    }
    Some(())
}
