//! Bitmaps (BMP) of each kind: every depth, palettes, run lengths, masks, upside down.
//!
//! Owns the layout of their headers. Must never read a file again.

use super::files::{File, Picture};

/// What a header of 40 bytes says.
pub(crate) struct Header {
    pub(crate) width: i32,
    /// Negative when the first row is the uppermost.
    pub(crate) height: i32,
    pub(crate) bits: u16,
    /// 0: none, 1: runs of 8 bits, 2: runs of 4 bits, 3: masks.
    pub(crate) compression: u32,
    pub(crate) colours: u32,
}

/// All of them.
pub(crate) fn all(picture: &Picture) -> Vec<File> {
    let (width, height) = (picture.width, picture.height);
    let head =
        |bits, compression, colours| Header { width: width as i32, height: height as i32, bits, compression, colours };
    let few = picture.few_colours();
    let palette: Vec<u8> = Picture::palette().iter().flat_map(|&[r, g, b]| [b, g, r, 0]).collect();
    let indices = picture.indices();
    let bgr: Vec<u8> = picture.map(|[r, g, b]| [b, g, r]).concat();
    let bgrx: Vec<u8> = picture.map(|[r, g, b]| [b, g, r, 0]).concat();
    let five_bits = picture.map(|[r, g, b]| u16::from(r >> 3) << 10 | u16::from(g >> 3) << 5 | u16::from(b >> 3));
    let six_bits = picture.map(|[r, g, b]| u16::from(r >> 3) << 11 | u16::from(g >> 2) << 5 | u16::from(b >> 3));
    let bytes = |numbers: Vec<u16>| numbers.into_iter().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let masks: Vec<u8> = [0xF800_u32, 0x07E0, 0x001F].into_iter().flat_map(u32::to_le_bytes).collect();
    // Sixteen greys, two of them in a byte.
    let greys: Vec<u8> = (0..16).flat_map(|grey| [17 * grey, 17 * grey, 17 * grey, 0]).collect();
    let nibbles = picture.map(|[_, g, _]| g >> 4);
    let sixteen: Vec<u8> = nibbles.iter().flat_map(|&grey| [17 * grey; 3]).collect();
    let packed: Vec<u8> = nibbles.chunks(width).flat_map(|row| row.chunks(2).map(pair).collect::<Vec<_>>()).collect();
    let across = width.div_ceil(2);
    let file = |kind, bytes, shows: &[u8], mean| File { kind, bytes, shows: shows.to_vec(), mean };
    let upright = Header { height: -(height as i32), ..head(24, 0, 0) };
    vec![
        file("BMP", bitmap(&head(24, 0, 0), &[], &below(&bgr, 3 * width)), &picture.pixels, 0.0),
        file("BMP from the top", bitmap(&upright, &[], &filled(&bgr, 3 * width)), &picture.pixels, 0.0),
        file("BMP of 32 bits", bitmap(&head(32, 0, 0), &[], &below(&bgrx, 4 * width)), &picture.pixels, 0.0),
        file(
            "BMP of 16 bits",
            bitmap(&head(16, 0, 0), &[], &below(&bytes(five_bits), 2 * width)),
            &picture.pixels,
            8.0,
        ),
        file(
            "BMP of masks",
            bitmap(&head(16, 3, 0), &masks, &below(&bytes(six_bits), 2 * width)),
            &picture.pixels,
            8.0,
        ),
        file("BMP of a palette", bitmap(&head(8, 0, 128), &palette, &below(&indices, width)), &few, 0.0),
        file("BMP of 4 bits", bitmap(&head(4, 0, 16), &greys, &below(&packed, across)), &sixteen, 0.0),
        file("BMP of runs", bitmap(&head(8, 1, 128), &palette, &runs(&indices, width)), &few, 0.0),
        file("BMP of runs of 4 bits", bitmap(&head(4, 2, 16), &greys, &runs_of_pairs(&nibbles, width)), &sixteen, 0.0),
        file("BMP of the first version", first_version(picture, &indices), &few, 0.0),
    ]
}

fn pair(two: &[u8]) -> u8 {
    two[0] << 4 | two.get(1).copied().unwrap_or(0)
}

/// A file with this header, what stands behind it, and pixels.
pub(crate) fn bitmap(header: &Header, palette: &[u8], pixels: &[u8]) -> Vec<u8> {
    let offset = 14 + 40 + palette.len();
    let size = offset + pixels.len();
    let mut file = b"BM".to_vec();
    file.extend([size as u32, 0, offset as u32, 40].into_iter().flat_map(u32::to_le_bytes));
    file.extend([header.width, header.height].into_iter().flat_map(i32::to_le_bytes));
    file.extend([1, header.bits].into_iter().flat_map(u16::to_le_bytes));
    let rest = [header.compression, pixels.len() as u32, 2835, 2835, header.colours, 0];
    file.extend(rest.into_iter().flat_map(u32::to_le_bytes));
    file.extend(palette);
    file.extend(pixels);
    file
}

/// A header of 12 bytes, and a palette of three bytes a colour.
fn first_version(picture: &Picture, indices: &[u8]) -> Vec<u8> {
    let mut palette: Vec<[u8; 3]> = Picture::palette().iter().map(|&[r, g, b]| [b, g, r]).collect();
    palette.resize(256, [0; 3]);
    let pixels = below(indices, picture.width);
    let offset = 14 + 12 + 3 * 256;
    let mut file = b"BM".to_vec();
    file.extend([(offset + pixels.len()) as u32, 0, offset as u32, 12].into_iter().flat_map(u32::to_le_bytes));
    file.extend([picture.width as u16, picture.height as u16, 1, 8].into_iter().flat_map(u16::to_le_bytes));
    file.extend(palette.concat());
    file.extend(pixels);
    file
}

/// Rows of so many bytes, each filled up to whole words.
fn filled(samples: &[u8], width: usize) -> Vec<u8> {
    let row = |row: &[u8]| {
        let mut row = row.to_vec();
        row.resize(width.next_multiple_of(4), 0);
        row
    };
    samples.chunks(width).flat_map(row).collect()
}

/// The same from the lowest row.
fn below(samples: &[u8], width: usize) -> Vec<u8> {
    let reversed: Vec<u8> = samples.chunks(width).rev().flatten().copied().collect();
    filled(&reversed, width)
}

/// Runs of equal pixels, a row after the other from the lowest.
fn runs(indices: &[u8], width: usize) -> Vec<u8> {
    let row = |row: &[u8]| {
        let run = |run: &[u8]| [run.len() as u8, run[0]];
        row.chunk_by(|a, b| a == b).flat_map(run).chain([0, 0]).collect::<Vec<_>>()
    };
    indices.chunks(width).rev().flat_map(row).chain([0, 1]).collect()
}

/// The same with pixels as they are, of which two stand in a byte: an even number of words each time.
fn runs_of_pairs(nibbles: &[u8], width: usize) -> Vec<u8> {
    let part = |part: &[u8]| {
        if part.len() < 3 {
            return part.iter().flat_map(|&grey| [1, grey << 4]).collect();
        }
        let mut bytes = vec![0, part.len() as u8];
        bytes.extend(part.chunks(2).map(pair));
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    };
    let row = |row: &[u8]| row.chunks(200).flat_map(part).chain([0, 0]).collect::<Vec<u8>>();
    nibbles.chunks(width).rev().flat_map(row).chain([0, 1]).collect()
}
