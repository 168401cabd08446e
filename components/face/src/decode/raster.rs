//! PNG, WebP, GIF and BMP: the formats whose decoders share one interface.
//!
//! Owns their limits and the conversion of what they yield (grey, palettes, transparency, 16 bits) to 8-bit RGB. Must
//! never know JPEG.

use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::{DecodeError, WORKING_MEMORY, broken, check_size, orientation};
use crate::photograph::Photograph;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    WebP,
    Gif,
    Bmp,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
        }
    }
}

pub(super) fn decode(bytes: &[u8], format: Format, max_pixels: u64) -> Result<Photograph, DecodeError> {
    let input = Cursor::new(bytes);
    let opened = |error| refusal(format, error);
    match format {
        Format::Png => {
            // Before its pixels, a PNG may hold compressed profiles: the decoder is bounded from its first byte on. A single
            // row can be beyond that bound, so the size is checked first.
            if let Some((width, height)) = png_size(bytes) {
                check_size(width, height, max_pixels)?;
            }
            check_palette(bytes)?;
            let limits = limits(WORKING_MEMORY);
            read(PngDecoder::with_limits(input, limits).map_err(opened)?, format, max_pixels)
        }
        Format::WebP => read(WebPDecoder::new(Cursor::new(webp_whole(bytes)?)).map_err(opened)?, format, max_pixels),
        Format::Gif => read(GifDecoder::new(input).map_err(opened)?, format, max_pixels),
        Format::Bmp => read(BmpDecoder::new(input).map_err(opened)?, format, max_pixels),
    }
}

fn read(mut decoder: impl ImageDecoder, format: Format, max_pixels: u64) -> Result<Photograph, DecodeError> {
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), max_pixels)?;
    let refused = |error| refusal(format, error);
    let length = decoder.total_bytes();
    // A frame of an animation may be decoded beside the canvas.
    decoder.set_limits(limits(2 * length + WORKING_MEMORY)).map_err(refused)?;
    let orientation = decoder.orientation().map_err(refused)?;
    let color = decoder.color_type();
    let mut pixels = vec![0; usize::try_from(length).map_err(|_| broken(format.name(), "it is too large"))?];
    decoder.read_image(&mut pixels).map_err(refused)?;
    let photograph = to_rgb(pixels, color)
        .and_then(|pixels| Photograph::new(width as usize, height as usize, pixels))
        .ok_or_else(|| broken(format.name(), format_args!("its pixels are {color:?}, which nobody expects")))?;
    Ok(orientation::apply(photograph, orientation))
}

/// Width and height from the header chunk, which stands behind the signature, its own length and its name.
fn png_size(bytes: &[u8]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?)));
    Some((number(16)?, number(20)?))
}

/// Refuses a PNG whose palette is not made of whole colours, 256 at most: the decoder takes that for granted, and panics.
fn check_palette(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some(([a, b, c, d, name @ ..], after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        match name {
            b"PLTE" if !length.is_multiple_of(3) || length > 3 * 256 => {
                return Err(broken("PNG", format_args!("its palette has {length} bytes")));
            }
            // A palette stands before the pixels.
            b"IDAT" => break,
            _ => {}
        }
        // The content and its checksum.
        let end = usize::try_from(length).ok().and_then(|length| length.checked_add(4));
        rest = end.and_then(|end| after.get(end..)).unwrap_or_default();
    }
    Ok(())
}

/// A WebP without what follows its end. Each chunk must lie in the file: the decoder makes room for as much as a chunk declares
/// before it looks for it, up to 4 GiB for a few bytes.
fn webp_whole(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let truncated = || broken("WebP", "it ends too early");
    let number = |at: &[u8; 4]| usize::try_from(u32::from_le_bytes(*at)).ok();
    let (declared, _) = bytes.get(4..).and_then(|rest| rest.split_first_chunk::<4>()).ok_or_else(truncated)?;
    let end = number(declared).and_then(|length| length.checked_add(8));
    let whole = end.and_then(|end| bytes.get(..end)).ok_or_else(truncated)?;
    // Behind "RIFF", the length and "WEBP".
    let mut rest = whole.get(12..).ok_or_else(truncated)?;
    while let Some(([_, _, _, _, declared @ ..], after)) = rest.split_first_chunk::<8>() {
        let after = number(declared).and_then(|length| after.get(length..)).ok_or_else(truncated)?;
        // A byte fills up what is odd.
        let odd = declared[0] & 1 == 1;
        rest = after.get(usize::from(odd)..).unwrap_or_default();
    }
    Ok(whole)
}

fn limits(max_alloc: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_alloc);
    limits
}

fn refusal(format: Format, error: ImageError) -> DecodeError {
    match error {
        ImageError::Unsupported(_) => DecodeError::UnsupportedFormat(format!(
            "The file is a rare kind of {name}: {error}. Please upload an ordinary {name}.",
            name = format.name()
        )),
        error => broken(format.name(), error),
    }
}

/// Turns what a decoder yields into 8-bit RGB; `None` for a layout that none of the four formats has. Transparency is
/// dropped. 16-bit samples are in the machine's byte order.
fn to_rgb(mut bytes: Vec<u8>, color: ColorType) -> Option<Vec<u8>> {
    let channels = usize::from(color.channel_count());
    match color {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {}
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => narrow(&mut bytes),
        _ => return None,
    }
    Some(match channels {
        1 | 2 => bytes.chunks_exact(channels).flat_map(|pixel| [pixel[0]; 3]).collect(),
        4 => {
            drop_fourth(&mut bytes);
            bytes
        }
        _ => bytes,
    })
}

/// 16-bit samples to 8-bit ones, rounded, in place.
fn narrow(bytes: &mut Vec<u8>) {
    let count = bytes.len() / 2;
    for sample in 0..count {
        let wide = u32::from(u16::from_ne_bytes([bytes[2 * sample], bytes[2 * sample + 1]]));
        bytes[sample] = ((wide + 128) / 257) as u8;
    }
    bytes.truncate(count);
}

/// Every fourth byte out, in place.
fn drop_fourth(bytes: &mut Vec<u8>) {
    let count = bytes.len() / 4;
    for pixel in 0..count {
        bytes.copy_within(4 * pixel..4 * pixel + 3, 3 * pixel);
    }
    bytes.truncate(3 * count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_becomes_rgb() {
        let rgb = |bytes: &[u8], color| to_rgb(bytes.to_vec(), color).unwrap();
        assert_eq!(rgb(&[7, 9], ColorType::L8), [7, 7, 7, 9, 9, 9]);
        assert_eq!(rgb(&[7, 0, 9, 255], ColorType::La8), [7, 7, 7, 9, 9, 9]);
        assert_eq!(rgb(&[1, 2, 3, 4, 5, 6], ColorType::Rgb8), [1, 2, 3, 4, 5, 6]);
        assert_eq!(rgb(&[1, 2, 3, 0, 4, 5, 6, 0], ColorType::Rgba8), [1, 2, 3, 4, 5, 6]);
        let wide: Vec<u8> = [0u16, 128, 129, 65535].iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        assert_eq!(rgb(&wide[..6], ColorType::Rgb16), [0, 0, 1]);
        assert_eq!(rgb(&wide, ColorType::Rgba16), [0, 0, 1]);
        assert_eq!(rgb(&wide[6..], ColorType::L16), [255; 3]);
    }

    #[test]
    fn a_png_of_giant_rows_is_too_large_rather_than_broken() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        png.extend([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 8, 2, 0, 0, 0]);
        let refused = decode(&png, Format::Png, 40_000_000);
        assert!(matches!(refused, Err(DecodeError::ImageTooLarge(_))), "{refused:?}");
    }

    #[test]
    fn a_webp_ends_where_it_says_and_holds_all_of_its_chunks() {
        let riff = |length: u32, chunks: &[u8]| [b"RIFF", &length.to_le_bytes()[..], b"WEBP", chunks].concat();
        let chunks = [&b"VP8L\x03\0\0\0abc\0"[..], b"EXIF\x02\0\0\0de"].concat();
        let length = 4 + chunks.len() as u32;
        let whole = riff(length, &chunks);
        assert_eq!(webp_whole(&whole), Ok(&whole[..]));
        assert_eq!(
            webp_whole(&[&whole[..], b"EXIF\xff\xff\xff\xff"].concat()),
            Ok(&whole[..]),
            "what follows is cut off"
        );
        for length in 8..whole.len() {
            assert!(webp_whole(&whole[..length]).is_err(), "{length}");
        }
        let cases: [(u32, &[u8]); 6] = [
            (length + 1, &chunks),
            (u32::MAX, &chunks),
            (3, b""),
            (12, b"EXIF\xff\xff\xff\xff"),
            (13, b"EXIF\x02\0\0\0a"),
            (12, b"VP8X\0\0\0\x80"),
        ];
        for (length, chunks) in cases {
            let file = riff(length, chunks);
            let refused = webp_whole(&file);
            assert!(matches!(refused, Err(DecodeError::InvalidImage(_))), "{length} {chunks:?}");
        }
    }

    #[test]
    fn an_unknown_layout_is_refused() {
        assert_eq!(to_rgb(vec![0; 12], ColorType::Rgb32F), None);
    }
}
