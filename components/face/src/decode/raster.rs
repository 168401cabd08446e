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
            let limits = limits(WORKING_MEMORY);
            read(PngDecoder::with_limits(input, limits).map_err(opened)?, format, max_pixels)
        }
        Format::WebP => read(WebPDecoder::new(input).map_err(opened)?, format, max_pixels),
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
    fn an_unknown_layout_is_refused() {
        assert_eq!(to_rgb(vec![0; 12], ColorType::Rgb32F), None);
    }
}
