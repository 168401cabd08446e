//! Untrusted bytes to an upright photograph, within bounds.
//!
//! Owns the recognition of formats by their first bytes, the limit on pixels (checked from the header before a pixel is
//! decoded), the limit on memory, and what the photograph's owner is told. Must never know a file's name or a declared
//! content type, which prove nothing.
//!
//! # Layout
//!
//! - `jpeg`: the completeness check and the decoders for JPEG.
//! - `baseline`: the faster of them, for the JPEGs that nearly all photographs are.
//! - `raster`: PNG, WebP, GIF and BMP.
//! - `orientation`: turning the pixels upright.

mod baseline;
mod jpeg;
mod orientation;
mod raster;

use crate::photograph::Photograph;

/// What a decoder may allocate on top of what the pixels themselves need: its tables and embedded profiles.
const WORKING_MEMORY: u64 = 16 << 20;

/// Why bytes are no photograph, in words for the person who uploaded them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The format is known but the content is broken, truncated or lies about itself.
    #[error("{0}")]
    InvalidImage(String),
    /// Not JPEG, PNG, WebP, GIF or BMP, or a rare variant of one.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// More pixels than the limit.
    #[error("{0}")]
    ImageTooLarge(String),
}

/// Decodes a photograph of at most `max_pixels` (width times height) and turns it upright by its EXIF orientation.
///
/// The first frame of an animation is taken; transparency is dropped, as the colours under it were written.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Photograph, DecodeError> {
    match Format::sniff(bytes)? {
        Format::Jpeg => jpeg::decode(bytes, max_pixels),
        Format::Raster(format) => raster::decode(bytes, format, max_pixels),
    }
}

/// A photograph that was decoded with as many pixels as are needed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What was decoded, upright.
    pub photograph: Photograph,
    /// Width of the whole photograph, upright, pixels.
    pub width: usize,
    /// Height of the whole photograph, upright, pixels.
    pub height: usize,
}

impl Draft {
    /// Whether it has all pixels.
    pub fn is_whole(&self) -> bool {
        (self.width, self.height) == (self.photograph.width(), self.photograph.height())
    }
}

/// Decodes as [`decode`] does, but of a large JPEG only a half, a quarter or an eighth of each side, as long as the longer side
/// has at least `longer` pixels. All of the file is read and checked, and the frequencies that a smaller copy could not show
/// are left out.
pub fn draft(bytes: &[u8], max_pixels: u64, longer: usize) -> Result<Draft, DecodeError> {
    match Format::sniff(bytes)? {
        Format::Jpeg => jpeg::draft(bytes, max_pixels, longer),
        Format::Raster(format) => {
            let photograph = raster::decode(bytes, format, max_pixels)?;
            Ok(Draft { width: photograph.width(), height: photograph.height(), photograph })
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jpeg,
    Raster(raster::Format),
}

impl Format {
    fn sniff(bytes: &[u8]) -> Result<Self, DecodeError> {
        let at = |offset: usize, magic: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic));
        if at(0, b"\xFF\xD8") {
            Ok(Self::Jpeg)
        } else if at(0, b"\x89PNG\r\n\x1A\n") {
            Ok(Self::Raster(raster::Format::Png))
        } else if at(0, b"RIFF") && at(8, b"WEBP") {
            Ok(Self::Raster(raster::Format::WebP))
        } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
            Ok(Self::Raster(raster::Format::Gif))
        } else if at(0, b"BM") {
            Ok(Self::Raster(raster::Format::Bmp))
        } else {
            let what = if bytes.is_empty() {
                "The file is empty"
            } else if at(4, b"ftyp") && [&b"heic"[..], b"heix", b"hevc", b"mif1", b"msf1"].iter().any(|m| at(8, m)) {
                "The file is a HEIC image"
            } else if at(4, b"ftyp") && (at(8, b"avif") || at(8, b"avis")) {
                "The file is an AVIF image"
            } else if at(0, b"II*\0") || at(0, b"MM\0*") {
                "The file is a TIFF or raw image"
            } else if at(0, b"%PDF") {
                "The file is a PDF document"
            } else {
                "The file is not an image of a known format"
            };
            Err(DecodeError::UnsupportedFormat(format!("{what}. Please upload a JPEG, PNG, WebP, GIF or BMP.")))
        }
    }
}

/// Refuses a header that declares too many pixels, or none.
fn check_size(width: u64, height: u64, max_pixels: u64) -> Result<(), DecodeError> {
    if width == 0 || height == 0 {
        return Err(DecodeError::InvalidImage(format!("The image declares a size of {width} x {height} pixels.")));
    }
    if width.saturating_mul(height) > max_pixels {
        let limit = format!("{:.1}", max_pixels as f64 / 1e6);
        let limit = limit.trim_end_matches(".0");
        return Err(DecodeError::ImageTooLarge(format!(
            "The image has {width} x {height} pixels, more than the {limit} megapixels allowed. Please upload a smaller copy."
        )));
    }
    Ok(())
}

/// A refusal that names the format and what is wrong with the content.
fn broken(format: &str, what: impl std::fmt::Display) -> DecodeError {
    DecodeError::InvalidImage(format!("The {format} file is damaged: {what}. Please upload the original again."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(Format::sniff(b"\xFF\xD8\xFF\xE0").unwrap(), Format::Jpeg);
        assert_eq!(Format::sniff(b"\x89PNG\r\n\x1A\n").unwrap(), Format::Raster(raster::Format::Png));
        assert_eq!(Format::sniff(b"RIFF\0\0\0\0WEBPVP8 ").unwrap(), Format::Raster(raster::Format::WebP));
        assert_eq!(Format::sniff(b"GIF89a").unwrap(), Format::Raster(raster::Format::Gif));
        assert_eq!(Format::sniff(b"BM").unwrap(), Format::Raster(raster::Format::Bmp));
    }

    #[test]
    fn other_files_are_named_when_known() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"\0\0\0\x18ftypheic", "HEIC"),
            (b"\0\0\0\x18ftypavif", "AVIF"),
            (b"II*\0", "TIFF"),
            (b"%PDF-1.7", "PDF"),
            (b"RIFF\0\0\0\0WAVE", "not an image"),
            (b"hello", "not an image"),
        ] {
            match decode(bytes, 1000) {
                Err(DecodeError::UnsupportedFormat(text)) => assert!(text.contains(word), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_limit_is_on_width_times_height() {
        assert!(check_size(8000, 5000, 40_000_000).is_ok());
        let Err(DecodeError::ImageTooLarge(text)) = check_size(8000, 5001, 40_000_000) else { panic!() };
        assert!(text.contains("8000 x 5001") && text.contains("40 megapixels"), "{text}");
        assert!(matches!(check_size(0, 7, 10), Err(DecodeError::InvalidImage(_))));
        assert!(check_size(u64::MAX, u64::MAX, u64::MAX - 1).is_err());
    }
}
