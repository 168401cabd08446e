//! JPEG: is the file whole, how large does it say it is, and its pixels.
//!
//! Owns the walk over the file's markers, which tells truncated and lying files before anything is decoded: a decoder
//! alone fills what is missing with grey, and a face may be there. Must never know the other formats.

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};
use memchr::memchr;

use super::{DecodeError, Draft, baseline, broken, check_size, orientation};
use crate::photograph::Photograph;

/// More scans than any encoder writes; each makes the decoder walk over the whole image again.
const MAX_SCANS: usize = 100;

pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Photograph, DecodeError> {
    draft(bytes, max_pixels, usize::MAX).map(|draft| draft.photograph)
}

pub(super) fn draft(bytes: &[u8], max_pixels: u64, longer: usize) -> Result<Draft, DecodeError> {
    let Header { frame, inverted } = inspect(bytes, max_pixels)?;
    let inks = frame.components == 4;
    // Over these the decoder breaks off, and nobody's camera writes them.
    if inks && !frame.divisible {
        return Err(unsupported());
    }
    let divisor = frame.divisor(longer);
    let limits = DecodeLimits { max_pixels, max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let decoder = Decoder::new_with_limits(bytes, limits)
        .map_err(refusal)?
        .with_output_format(if inks { PixelFormat::Cmyk } else { PixelFormat::Rgb })
        .with_scale(ScalingFactor::new(1, divisor as u32))
        .with_stop_on_warning(true);
    let orientation = orientation::from_exif(decoder.exif_orientation());
    let (width, height) = (frame.width.div_ceil(divisor), frame.height.div_ceil(divisor));
    // What is whole and ordinary has a decoder of its own, which yields the same pixels in less time.
    let ordinary = if divisor == 1 { baseline::decode(bytes) } else { None };
    let pixels = match ordinary {
        Some(pixels) => pixels,
        None => {
            let image = decoder.decode_image().map_err(refusal)?;
            if (image.width, image.height) != (width, height) {
                return Err(broken("JPEG", "it declares two sizes"));
            }
            let mut pixels = image.data;
            if inks {
                print(&mut pixels, inverted);
            }
            pixels
        }
    };
    let photograph = Photograph::new(width, height, pixels).ok_or_else(|| broken("JPEG", "pixels are missing"))?;
    let photograph = orientation::apply(photograph, orientation);
    let turned = orientation::turns(orientation);
    let (width, height) = if turned { (frame.height, frame.width) } else { (frame.width, frame.height) };
    Ok(Draft { photograph, width, height })
}

/// Cyan, magenta, yellow and black to the light that remains, in place: each ink and the black multiply. Programs that
/// mark their files as Adobe's store how much light an ink lets through, others how much ink there is.
fn print(pixels: &mut Vec<u8>, inverted: bool) {
    let light = |ink: u8| u32::from(if inverted { ink } else { 255 - ink });
    let count = pixels.len() / 4;
    for pixel in 0..count {
        let black = light(pixels[4 * pixel + 3]);
        for ink in 0..3 {
            pixels[3 * pixel + ink] = ((light(pixels[4 * pixel + ink]) * black + 127) / 255) as u8;
        }
    }
    pixels.truncate(3 * count);
}

fn refusal(error: JpegError) -> DecodeError {
    match error {
        JpegError::Unsupported(_) => unsupported(),
        error => broken("JPEG", error),
    }
}

fn unsupported() -> DecodeError {
    DecodeError::UnsupportedFormat(
        "The file is a rare kind of JPEG (lossless, hierarchical, arithmetic, not 8-bit or oddly sampled). Please upload an ordinary JPEG."
            .into(),
    )
}

/// What the markers tell.
#[derive(Debug)]
struct Header {
    frame: Frame,
    /// Whether inks, if there are any, are stored as the light they let through.
    inverted: bool,
}

/// Walks over all markers.
///
/// Refuses a file that ends before its end-of-image marker, that declares more pixels than allowed, more than one size,
/// or far more than its data can hold. The markers are those of ITU-T T.81, annex B.
fn inspect(bytes: &[u8], max_pixels: u64) -> Result<Header, DecodeError> {
    let truncated = || broken("JPEG", "it ends too early");
    let mut rest = bytes.get(2..).ok_or_else(truncated)?;
    let mut frame: Option<Frame> = None;
    let mut inverted = false;
    let mut scanned_bytes = 0;
    loop {
        let (marker, after) = next_marker(rest).ok_or_else(truncated)?;
        rest = after;
        match marker {
            END_OF_IMAGE => break,
            // These stand alone.
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let segment = segment(rest).ok_or_else(truncated)?;
        rest = &rest[segment.len() + 2..];
        match marker {
            0xC4 | 0xC8 | 0xCC => {}
            0xEE => inverted |= segment.starts_with(b"Adobe"),
            0xC0..=0xC2 if frame.is_none() => {
                let found = Frame::parse(segment, marker == 0xC2)?;
                check_size(found.width as u64, found.height as u64, max_pixels)?;
                frame = Some(found);
            }
            0xC0..=0xC2 => return Err(broken("JPEG", "it declares two sizes")),
            0xC3..=0xCF => return Err(unsupported()),
            START_OF_SCAN => {
                let length = scan_length(rest).ok_or_else(truncated)?;
                scanned_bytes += length;
                rest = &rest[length..];
            }
            _ => {}
        }
    }
    let frame = frame.ok_or_else(|| broken("JPEG", "it holds no image"))?;
    if scanned_bytes as u64 * 8 < frame.least_bits {
        let (width, height) = (frame.width, frame.height);
        return Err(broken("JPEG", format_args!("it declares {width} x {height} pixels but holds too little data")));
    }
    Ok(Header { frame, inverted })
}

const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// The next marker's code and what follows it.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let start = bytes.iter().position(|&byte| byte == 0xFF)?;
    // Any number of 0xFF may fill the space before a marker.
    let code = start + bytes[start..].iter().position(|&byte| byte != 0xFF)?;
    Some((bytes[code], &bytes[code + 1..]))
}

/// The content of the segment at the start of `bytes`, without its two bytes of length.
fn segment(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]));
    bytes.get(2..length)
}

/// How many bytes of entropy-coded data stand before the next marker that does not belong to them.
fn scan_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr(0xFF, &bytes[at..])?;
        match bytes.get(at + 1)? {
            // A stuffed zero, a restart marker, or fill before either.
            0x00 | 0xD0..=0xD7 => at += 2,
            0xFF => at += 1,
            _ => return Some(at),
        }
    }
}

/// What a start-of-frame segment declares.
#[derive(Debug)]
struct Frame {
    width: usize,
    height: usize,
    components: usize,
    /// Whether every component has a whole number of pixels for a sample.
    divisible: bool,
    /// No encoder can write the frame in fewer bits: every 8 x 8 block takes one for its mean, and, unless its other
    /// coefficients stand in scans of their own, one for their end.
    least_bits: u64,
}

impl Frame {
    fn parse(segment: &[u8], progressive: bool) -> Result<Self, DecodeError> {
        let short = || broken("JPEG", "its header is too short");
        let [precision, h1, h0, w1, w0, count, components @ ..] = segment else { return Err(short()) };
        if *precision != 8 {
            return Err(unsupported());
        }
        let (width, height) = (u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0]));
        let sampling: Vec<(u64, u64)> = components
            .chunks_exact(3)
            .take(usize::from(*count))
            .map(|component| (u64::from(component[1] >> 4), u64::from(component[1] & 15)))
            .collect();
        if sampling.len() != usize::from(*count) || sampling.is_empty() {
            return Err(short());
        }
        let largest = |side: fn(&(u64, u64)) -> u64| sampling.iter().map(side).max().unwrap_or(1).max(1);
        let (across, down) = (largest(|s| s.0), largest(|s| s.1));
        let blocks: u64 = sampling
            .iter()
            .map(|(h, v)| (u64::from(width) * h).div_ceil(8 * across) * (u64::from(height) * v).div_ceil(8 * down))
            .sum();
        let least_bits = blocks * if progressive { 1 } else { 2 };
        let whole = |(h, v): &(u64, u64)| *h > 0 && *v > 0 && across.is_multiple_of(*h) && down.is_multiple_of(*v);
        let divisible = sampling.iter().all(whole);
        Ok(Self { width: width.into(), height: height.into(), components: sampling.len(), divisible, least_bits })
    }

    /// By how much the sides can be divided so that the longer one keeps at least `longer` pixels: blocks of 8 x 8 can be
    /// decoded to 1, 2, 4 or 8 pixels each way. The decoder breaks off over parts of a file whose components have, say, two
    /// samples for three pixels; nobody's camera writes that.
    fn divisor(&self, longer: usize) -> usize {
        let side = self.width.max(self.height);
        let enough = |divisor: &usize| self.divisible && side.div_ceil(*divisor) >= longer;
        [8, 4, 2].into_iter().find(enough).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG's skeleton: a start-of-frame of one component and one scan of `data` bytes.
    fn skeleton(width: u16, height: u16, data: usize) -> Vec<u8> {
        let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend([1, 1, 0x11, 0, 0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0]);
        bytes.extend(std::iter::repeat_n(0x55, data));
        bytes.extend([0xFF, 0xD9]);
        bytes
    }

    #[test]
    fn a_whole_file_tells_its_size() {
        let frame = inspect(&skeleton(64, 32, 100), 4096).unwrap().frame;
        assert_eq!((frame.width, frame.height, frame.components), (64, 32, 1));
    }

    #[test]
    fn a_draft_keeps_the_pixels_that_are_asked_for() {
        let frame = |width, height| inspect(&skeleton(width, height, 9000), 1 << 24).unwrap().frame;
        let divisors = [0, 500, 501, 1000, 1001, 2000, 2001, 4000, usize::MAX];
        assert_eq!(divisors.map(|longer| frame(4000, 7).divisor(longer)), [8, 8, 4, 4, 2, 2, 1, 1, 1]);
        assert_eq!(frame(7, 4000).divisor(500), 8);
        assert_eq!(frame(9, 9).divisor(2), 8, "a part of a block is a pixel");
    }

    #[test]
    fn every_cut_is_refused() {
        let whole = skeleton(64, 32, 100);
        for length in 2..whole.len() {
            assert!(matches!(inspect(&whole[..length], 4096), Err(DecodeError::InvalidImage(_))), "{length}");
        }
    }

    #[test]
    fn stuffing_restarts_and_fill_belong_to_the_scan() {
        assert_eq!(scan_length(&[1, 0xFF, 0, 2, 0xFF, 0xD3, 3, 0xFF, 0xFF, 0xD4, 4, 0xFF, 0xD9]), Some(11));
        assert_eq!(scan_length(&[1, 2, 3]), None);
        assert_eq!(scan_length(&[1, 2, 0xFF]), None);
    }

    #[test]
    fn too_many_pixels_are_refused_before_anything_else_is_read() {
        assert!(matches!(inspect(&skeleton(65535, 65535, 0), 40_000_000), Err(DecodeError::ImageTooLarge(_))));
    }

    #[test]
    fn a_header_that_promises_more_than_the_data_holds_is_refused() {
        // 800 x 800 pixels are 10,000 blocks: at least 20,000 bits.
        assert!(inspect(&skeleton(800, 800, 2_500), 1 << 20).is_ok());
        let Err(DecodeError::InvalidImage(text)) = inspect(&skeleton(800, 800, 2_499), 1 << 20) else { panic!() };
        assert!(text.contains("800 x 800"), "{text}");
    }

    #[test]
    fn a_second_size_is_refused() {
        let mut bytes = skeleton(8, 8, 100);
        let second = skeleton(4000, 4000, 100);
        bytes.splice(2..2, second[2..15].iter().copied());
        let Err(DecodeError::InvalidImage(text)) = inspect(&bytes, 1 << 30) else { panic!() };
        assert!(text.contains("two sizes"), "{text}");
    }

    #[test]
    fn inks_multiply() {
        let printed = |inks: [u8; 4], inverted| {
            let mut pixels = inks.to_vec();
            print(&mut pixels, inverted);
            pixels
        };
        assert_eq!(printed([0, 255, 0, 0], false), [255, 0, 255], "magenta lets no green through");
        assert_eq!(printed([255, 0, 255, 255], true), [255, 0, 255]);
        assert_eq!(printed([0, 0, 0, 255], false), [0, 0, 0], "black");
        assert_eq!(printed([255, 128, 0, 128], true), [128, 64, 0]);
    }

    #[test]
    fn rare_kinds_are_unsupported() {
        let mut lossless = skeleton(8, 8, 100);
        lossless[3] = 0xC3;
        assert!(matches!(inspect(&lossless, 4096), Err(DecodeError::UnsupportedFormat(_))));
        let mut twelve_bits = skeleton(8, 8, 100);
        twelve_bits[6] = 12;
        assert!(matches!(inspect(&twelve_bits, 4096), Err(DecodeError::UnsupportedFormat(_))));
    }
}
