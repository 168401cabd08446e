//! Files that are no photographs, are broken, or lie about themselves.
//!
//! Owns the list, and which error codes are right for each. Must never know how the host finds out.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use image::ImageFormat;

use crate::photos::{converted, photo, small};

/// One file and the codes that may be its answer.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What is wrong with it.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The error codes of which one must come.
    pub codes: &'static [&'static str],
}

const INVALID: &[&str] = &["invalid_image"];
const UNSUPPORTED: &[&str] = &["unsupported_format"];
/// So short that not even the format can be told for sure.
const SHORT: &[&str] = &["invalid_image", "unsupported_format"];
const LARGE: &[&str] = &["image_too_large"];
const NO_FACE: &[&str] = &["no_face"];

/// All of them.
pub fn files() -> Vec<Broken> {
    [truncated(), strangers(), giants(), bombs(), liars(), tiny()].concat()
}

fn broken(name: impl Into<String>, bytes: impl Into<Vec<u8>>, codes: &'static [&'static str]) -> Broken {
    Broken { name: name.into(), bytes: bytes.into(), codes }
}

/// Photographs of each format, cut off at many points.
fn truncated() -> Vec<Broken> {
    let mut files = Vec::new();
    let gif = converted_small(ImageFormat::Gif);
    let formats = [
        ("JPEG", photo("obama.jpg").to_vec(), 24),
        ("PNG", photo("astronaut.png").to_vec(), 20),
        ("WebP", converted_small(ImageFormat::WebP), 8),
        ("GIF", gif, 8),
        ("BMP", converted_small(ImageFormat::Bmp), 8),
    ];
    for (format, whole, count) in formats {
        for tenth in 0..count {
            let length = whole.len() * 9 / 10 * tenth / count;
            files.push(broken(
                format!("{format} cut to {length} bytes"),
                &whole[..length.max(1)],
                codes_of_cut(length),
            ));
        }
        for length in [4, 16, 40] {
            files.push(broken(format!("{format} cut to {length} bytes"), &whole[..length], codes_of_cut(length)));
        }
    }
    files
}

fn codes_of_cut(length: usize) -> &'static [&'static str] {
    if length < 32 { SHORT } else { INVALID }
}

/// Other kinds of files.
fn strangers() -> Vec<Broken> {
    let noise = |seed: u64, length: usize| {
        let mut state = seed;
        let next = || {
            // Knuth's linear congruential generator; its upper bits are random enough.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        std::iter::repeat_with(next).take(length).collect::<Vec<u8>>()
    };
    let mut files = vec![
        broken("text", "This is a letter, not a photograph.\n".repeat(50), UNSUPPORTED),
        broken("one byte", [0], UNSUPPORTED),
        broken("zeros", vec![0; 100_000], UNSUPPORTED),
        broken("HTML", "<!doctype html><title>x</title>", UNSUPPORTED),
        broken("SVG", "<svg xmlns='x' width='9' height='9'/>", UNSUPPORTED),
        broken("PDF", b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n".repeat(9), UNSUPPORTED),
        broken("ZIP", b"PK\x03\x04\x14\0\0\0\x08\0".repeat(9), UNSUPPORTED),
        broken("ELF", b"\x7fELF\x02\x01\x01\0\0\0\0\0".repeat(9), UNSUPPORTED),
        broken("WebAssembly", b"\0asm\x01\0\0\0".repeat(9), UNSUPPORTED),
        broken("TIFF", b"II*\0\x08\0\0\0\0\0\0\0\0\0".repeat(9), UNSUPPORTED),
        broken("PSD", b"8BPS\0\x01\0\0\0\0\0\0\0\x03".repeat(9), UNSUPPORTED),
        broken("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1".repeat(9), UNSUPPORTED),
        broken("RIFF that is sound", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0".repeat(9), UNSUPPORTED),
    ];
    files.extend((1..=12).map(|seed: u64| {
        broken(format!("noise {seed}"), [b"#".to_vec(), noise(seed, 37 * seed as usize * 100)].concat(), UNSUPPORTED)
    }));
    let signatures: [(&str, &[u8]); 6] = [
        ("JPEG", b"\xff\xd8\xff\xe0\0\x10JFIF\0"),
        ("PNG", PNG),
        ("GIF", b"GIF89a"),
        ("GIF 87", b"GIF87a"),
        ("WebP", b"RIFF\xff\xff\0\0WEBPVP8 "),
        ("BMP", b"BM\xff\xff\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"),
    ];
    for (format, signature) in signatures {
        let letter = b"dear reader, ".repeat(40);
        // A lying format may also claim absurd dimensions, by chance.
        files.push(broken(
            format!("text as {format}"),
            [signature, &letter].concat(),
            &["invalid_image", "image_too_large"],
        ));
        files.push(broken(
            format!("noise as {format}"),
            [signature, &noise(99, 5000)].concat(),
            &["invalid_image", "image_too_large"],
        ));
    }
    files
}

/// Headers that declare more pixels than the limit of 40 million, with hardly any data behind them.
fn giants() -> Vec<Broken> {
    let mut files = Vec::new();
    for (width, height) in [(10_000, 10_000), (65_535, 65_535), (40_000_001, 1), (2_147_483_647, 2_147_483_647)] {
        let name = format!("PNG of {width} x {height}");
        files.push(broken(name, png(width, height, &zlib(&[0; 4096])), LARGE));
    }
    for (width, height) in [(10_000_u16, 10_000_u16), (65_535, 65_535)] {
        let (w, h) = (width.to_be_bytes(), height.to_be_bytes());
        let mut jpeg = photo("obama.jpg").to_vec();
        let frame = segment(&jpeg, &FRAMES);
        jpeg[frame + 5..frame + 9].copy_from_slice(&[h[0], h[1], w[0], w[1]]);
        files.push(broken(format!("JPEG of {width} x {height}"), jpeg, LARGE));

        let mut gif = converted_small(ImageFormat::Gif);
        gif[6..8].copy_from_slice(&width.to_le_bytes());
        gif[8..10].copy_from_slice(&height.to_le_bytes());
        files.push(broken(format!("GIF of {width} x {height}"), gif, LARGE));
    }
    for (width, height) in [(10_000_i32, 10_000_i32), (10_000, -10_000), (i32::MAX, i32::MAX)] {
        let mut bmp = converted_small(ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&width.to_le_bytes());
        bmp[22..26].copy_from_slice(&height.to_le_bytes());
        // A library may find the largest of these not a size at all.
        files.push(broken(format!("BMP of {width} x {height}"), bmp, &["image_too_large", "invalid_image"]));
    }
    // WebP, lossless: 14 bits each for width - 1 and height - 1.
    let bits: u32 = 9_999 | 9_999 << 14;
    let stream = [&[0x2f][..], &bits.to_le_bytes(), &[0; 11]].concat();
    let webp = [b"RIFF\x1c\0\0\0WEBPVP8L\x10\0\0\0".as_slice(), &stream].concat();
    files.push(broken("WebP of 10000 x 10000", webp, LARGE));
    files
}

/// Small files that unfold into something large.
fn bombs() -> Vec<Broken> {
    let gigabyte = |name: &[u8]| {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        (0..256).for_each(|_| zlib.write_all(&zeros).expect("memory can be written"));
        [name, &zlib.finish().expect("memory can be written")].concat()
    };
    let text = gigabyte(b"Comment\0\0");
    let profile = gigabyte(b"ICC\0\0");
    let pixels = gigabyte(b"");
    let row = [0; 1 + 3 * 64];
    let good = zlib(&row.repeat(64));
    // What a decoder makes of superfluous data is its own affair, as long as it is bounded.
    let any: &[&str] = &["invalid_image", "no_face"];
    vec![
        broken("PNG whose pixels unfold to 256 MB more than declared", png(64, 64, &pixels), any),
        broken("PNG with a comment of 256 MB", png_with(64, 64, &good, &[(b"zTXt", &text)]), any),
        broken("PNG with a colour profile of 256 MB", png_with(64, 64, &good, &[(b"iCCP", &profile)]), any),
        broken("PNG with 20000 chunks", png_with(64, 64, &good, &vec![(b"tEXt", b"a\0b".as_slice()); 20_000]), any),
        broken("PNG of a row of 5 million pixels", png(5_000_000, 1, &zlib(&vec![0; 15_000_001])), any),
        broken("PNG of 39 million black pixels", png(6_500, 6_000, &zlib(&vec![0; 6_000 * (1 + 3 * 6_500)])), any),
    ]
}

/// Photographs whose inside contradicts itself.
fn liars() -> Vec<Broken> {
    let row = [0; 1 + 3 * 64];
    let good = zlib(&row.repeat(64));
    let mut files = vec![
        broken("PNG without a width", png(0, 64, &good), INVALID),
        broken("PNG without a height", png(64, 0, &good), INVALID),
        broken("PNG with too few pixels", png(64, 64, &zlib(&row.repeat(10))), INVALID),
        broken("PNG without pixels", png(64, 64, &[]), INVALID),
        broken("PNG whose pixels are no zlib", png(64, 64, &[0x55; 500]), INVALID),
        broken("PNG with an unknown filter", png(64, 64, &zlib(&[9; 1 + 3 * 64].repeat(64))), INVALID),
    ];
    let whole = png(64, 64, &good);
    for at in [17, 24, 25, 29, 40] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x40;
        // A flipped dimension fails its checksum, or is believed first and found too large.
        files.push(broken(
            format!("PNG with a flipped bit in byte {at}"),
            flipped,
            &["invalid_image", "image_too_large"],
        ));
    }
    // A picture that is whole, and metadata behind it that are not there.
    let whole_webp = converted_small(ImageFormat::WebP);
    let stream = &whole_webp[12..];
    let lie = [&b"EXIF"[..], &0xFFFF_FFF0_u32.to_le_bytes(), b"some"].concat();
    let chunks = [&b"WEBPVP8X\x0a\0\0\0\x08\0\0\0\x3f\0\0\x3f\0\0"[..], stream, &lie].concat();
    let webp = [&b"RIFF"[..], &(chunks.len() as u32).to_le_bytes(), &chunks].concat();
    files.push(broken("WebP whose metadata declare 4 GB", webp, INVALID));
    let photograph = photo("obama.jpg");
    let [quantization, frame, scan] = [&[0xdb][..], &FRAMES, &[0xda]].map(|markers| segment(&photograph, markers));
    let changed = |at: usize, bytes: &[u8]| [&photograph[..at], bytes, &photograph[at + bytes.len()..]].concat();
    files.push(broken("JPEG with a broken quantization table", changed(quantization + 4, &[0xff]), INVALID));
    files.push(broken("JPEG with a frame of no size", changed(frame + 5, &[0; 4]), INVALID));
    files.push(broken("JPEG with a frame of 7 colours", changed(frame + 9, &[7]), INVALID));
    files.push(broken("JPEG without a scan", [&photograph[..scan], b"\xff\xd9"].concat(), INVALID));
    files.push(broken("JPEG without a frame", [&photograph[..frame], &photograph[scan..]].concat(), INVALID));
    files
}

/// Whole images that are too small for a face.
fn tiny() -> Vec<Broken> {
    let sizes = [(1, 1), (1, 19), (19, 19), (500, 1), (12, 300)];
    let image = |(width, height): (u32, u32)| {
        let row = vec![0; 1 + 3 * width as usize];
        broken(format!("PNG of {width} x {height}"), png(width, height, &zlib(&row.repeat(height as usize))), NO_FACE)
    };
    sizes.map(image).to_vec()
}

fn converted_small(format: ImageFormat) -> Vec<u8> {
    match format {
        // The encoder for GIF chooses colours slowly, so a small image has to do.
        ImageFormat::Gif => {
            let image = image::load_from_memory(&small("obama.jpg", 200)).expect("a photograph").to_rgba8();
            let mut file = std::io::Cursor::new(Vec::new());
            image.write_to(&mut file, format).expect("memory can be written");
            file.into_inner()
        }
        format => converted("obama.jpg", format),
    }
}

/// The markers of the frames that photographs have: baseline, extended and progressive.
const FRAMES: [u8; 3] = [0xc0, 0xc1, 0xc2];

/// Where the first segment with one of these markers begins in a JPEG. Segments are walked from one to the next: a
/// thumbnail inside one of them has segments of its own.
fn segment(jpeg: &[u8], markers: &[u8]) -> usize {
    let mut at = 2;
    while !markers.contains(&jpeg[at + 1]) {
        assert_eq!(jpeg[at], 0xff, "a segment begins at {at}");
        at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
    }
    at
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A PNG of 8-bit RGB with any dimensions and any data.
pub fn png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    png_with(width, height, data, &[])
}

fn png_with(width: u32, height: u32, data: &[u8], more: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut file = PNG.to_vec();
    let chunks = [(b"IHDR", header.as_slice())].into_iter().chain(more.iter().copied());
    for (name, content) in chunks.chain([(b"IDAT", data), (b"IEND", &[])]) {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(name);
        checksum.update(content);
        file.extend(u32::try_from(content.len()).expect("a chunk of less than 4 GiB").to_be_bytes());
        file.extend(name);
        file.extend(content);
        file.extend(checksum.finalize().to_be_bytes());
    }
    file
}

/// Data as PNG compresses it.
pub fn zlib(data: &[u8]) -> Vec<u8> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(data).expect("memory can be written");
    zlib.finish().expect("memory can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sound_png_is_sound() {
        let image = image::load_from_memory(&png(64, 64, &zlib(&[0; 1 + 3 * 64].repeat(64)))).unwrap();
        assert_eq!((image.width(), image.height()), (64, 64));
    }

    #[test]
    fn there_are_enough_and_each_has_a_name_of_its_own() {
        let files = files();
        let names: std::collections::HashSet<_> = files.iter().map(|file| &file.name).collect();
        assert_eq!(names.len(), files.len());
        assert!(files.len() >= 130, "{}", files.len());
    }
}
