//! Broken, lying and odd files through the decoder: every one ends in an error or in the photograph it holds, quickly,
//! and none in a panic, which would be a trap in the sandbox.

mod support;

use std::io::Cursor;
use std::time::{Duration, Instant};

use face::decode::{DecodeError, decode};
use image::{DynamicImage, ExtendedColorType, ImageBuffer, ImageEncoder, ImageFormat, Luma};
use libjpeg_turbo_rs::{Encoder, PixelFormat};
use support::files::{self, File, Picture, chunk, crc32};
use support::{MAX_PIXELS, photo};

const WIDTH: usize = 48;
const HEIGHT: usize = 40;

fn picture() -> Vec<u8> {
    Picture::drawn(WIDTH, HEIGHT).pixels
}

/// One small file of each kind.
fn files() -> Vec<File> {
    files::all(&Picture::drawn(WIDTH, HEIGHT))
}

#[test]
fn whole_files_yield_their_picture() {
    let files = files();
    assert!(files.len() >= 38, "{}", files.len());
    for File { kind, bytes, shows, mean: most } in files {
        let photograph = decode(&bytes, MAX_PIXELS).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!((photograph.width(), photograph.height()), (WIDTH, HEIGHT), "{kind}");
        let difference: u64 =
            photograph.pixels().iter().zip(shows).map(|(found, drawn)| u64::from(found.abs_diff(drawn))).sum();
        let mean = difference as f64 / photograph.pixels().len() as f64;
        assert!(mean <= most, "{kind}: {mean}");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_or_whole() {
    for File { kind, bytes, .. } in files() {
        let whole = decode(&bytes, MAX_PIXELS).unwrap();
        for length in 0..bytes.len() {
            match decode(&bytes[..length], MAX_PIXELS) {
                Ok(photograph) => {
                    assert!(!kind.contains("JPEG"), "{kind} cut to {length} of {} bytes", bytes.len());
                    assert!(photograph == whole, "{kind} cut to {length} of {} bytes", bytes.len());
                }
                Err(DecodeError::UnsupportedFormat(text)) => assert!(length < 12, "{kind} cut to {length}: {text}"),
                Err(DecodeError::InvalidImage(_)) => {}
                Err(error) => panic!("{kind} cut to {length}: {error}"),
            }
        }
    }
}

#[test]
fn a_real_photograph_cut_anywhere_is_refused() {
    for name in ["obama.jpg", "obama_partial_face.jpg"] {
        let bytes = photo(name);
        let end = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xD9]).unwrap() + 2;
        for length in (2..end).step_by(end / 200).chain(end - 20..end) {
            let refused = decode(&bytes[..length], MAX_PIXELS);
            assert!(matches!(refused, Err(DecodeError::InvalidImage(_))), "{name} cut to {length}: {refused:?}");
        }
        let whole = decode(&bytes, MAX_PIXELS).unwrap();
        assert!(decode(&bytes[..end], MAX_PIXELS).unwrap() == whole);
        assert!(decode(&[&bytes[..], b"what some cameras append"].concat(), MAX_PIXELS).unwrap() == whole);
    }
}

/// A photograph that holds less than its size could ever be written in, though it is closed as it should be. (One that
/// was cut later and closed again cannot be told from a photograph with a plain lower part.)
#[test]
fn a_real_photograph_with_too_little_data_is_refused() {
    let bytes = photo("obama.jpg");
    let mut cut = bytes[..bytes.len() / 25].to_vec();
    // Not in the middle of a stuffed byte.
    while cut.last() == Some(&0xFF) {
        cut.pop();
    }
    cut.extend([0xFF, 0xD9]);
    let refused = decode(&cut, MAX_PIXELS);
    assert!(matches!(refused, Err(DecodeError::InvalidImage(_))), "{refused:?}");
}

#[test]
fn changed_bytes_never_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % bound
    };
    for File { kind, bytes, .. } in files() {
        for round in 0..800 {
            let mut changed = bytes.clone();
            for _ in 0..=random(6) {
                // Half of the time where the headers are.
                let end = if round % 2 == 0 { changed.len() } else { changed.len().min(200) };
                let at = random(end);
                changed[at] = random(256) as u8;
            }
            let start = Instant::now();
            if let Ok(photograph) = decode(&changed, 1 << 20) {
                assert_eq!(photograph.pixels().len(), 3 * photograph.width() * photograph.height());
            }
            assert!(start.elapsed() < Duration::from_secs(5), "{kind}: {changed:?}");
        }
    }
}

#[test]
fn a_hundred_megapixel_header_is_refused_at_once() {
    let huge = 10_000_u32;
    let plain = ["JPEG", "JPEG, progressive", "PNG", "WebP", "GIF", "BMP"];
    let mut files: Vec<_> = files().into_iter().filter(|file| plain.contains(&file.kind)).collect();
    assert_eq!(files.len(), plain.len());
    for File { kind, bytes, .. } in &mut files {
        match *kind {
            "PNG" => {
                bytes[16..20].copy_from_slice(&huge.to_be_bytes());
                bytes[20..24].copy_from_slice(&huge.to_be_bytes());
                let checksum = crc32(&bytes[12..29]).to_be_bytes();
                bytes[29..33].copy_from_slice(&checksum);
            }
            "GIF" => {
                bytes[6..8].copy_from_slice(&(huge as u16).to_le_bytes());
                bytes[8..10].copy_from_slice(&(huge as u16).to_le_bytes());
            }
            "BMP" => {
                bytes[18..22].copy_from_slice(&huge.to_le_bytes());
                bytes[22..26].copy_from_slice(&huge.to_le_bytes());
            }
            "WebP" => {
                // The 14-bit sides, less one, behind the lossless signature.
                let sides = (huge - 1) | (huge - 1) << 14;
                let rest = bytes[24] & 0xF0;
                bytes[21..25].copy_from_slice(&sides.to_le_bytes());
                bytes[24] |= rest;
            }
            _ => {
                let frame = bytes.windows(2).position(|pair| matches!(pair, [0xFF, 0xC0 | 0xC2])).unwrap();
                bytes[frame + 5..frame + 7].copy_from_slice(&(huge as u16).to_be_bytes());
                bytes[frame + 7..frame + 9].copy_from_slice(&(huge as u16).to_be_bytes());
            }
        }
    }
    for File { kind, bytes, .. } in files {
        let start = Instant::now();
        let refused = decode(&bytes, MAX_PIXELS);
        assert!(matches!(refused, Err(DecodeError::ImageTooLarge(_))), "{kind}: {refused:?}");
        assert!(start.elapsed() < Duration::from_millis(100), "{kind}");
    }
}

/// A PNG of 100 x 100 pixels whose data, and another whose colour profile, inflate to 100 megabytes.
#[test]
fn what_inflates_too_far_is_bounded() {
    let side = 10_000;
    let grey = ImageBuffer::<Luma<u8>, _>::from_raw(side, side, vec![0_u8; (side * side) as usize]).unwrap();
    let mut large = Cursor::new(Vec::new());
    DynamicImage::from(grey).write_to(&mut large, ImageFormat::Png).unwrap();
    let deflated: Vec<u8> = chunks(&large.into_inner(), b"IDAT").concat();
    assert!(deflated.len() < 2_000_000, "{}", deflated.len());

    let header = chunk(b"IHDR", &[&100_u32.to_be_bytes()[..], &100_u32.to_be_bytes(), &[8, 0, 0, 0, 0]].concat());
    let data = chunk(b"IDAT", &deflated);
    let profile = chunk(b"iCCP", &[b"bomb\0\0", &deflated[..]].concat());
    for parts in [vec![&header, &data], vec![&header, &profile, &data]] {
        let bytes: Vec<u8> = [b"\x89PNG\r\n\x1A\n".to_vec()]
            .into_iter()
            .chain(parts.into_iter().cloned())
            .chain([chunk(b"IEND", &[])])
            .flatten()
            .collect();
        let start = Instant::now();
        match decode(&bytes, MAX_PIXELS) {
            Ok(photograph) => assert_eq!((photograph.width(), photograph.height()), (100, 100)),
            Err(error) => assert!(matches!(error, DecodeError::InvalidImage(_)), "{error}"),
        }
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[test]
fn grey_inks_and_sixteen_bits_become_rgb() {
    let grey: Vec<u8> = picture().chunks(3).map(|pixel| pixel[0]).collect();
    let encoded = Encoder::new(&grey, WIDTH, HEIGHT, PixelFormat::Grayscale).quality(95).encode().unwrap();
    let photograph = decode(&encoded, MAX_PIXELS).unwrap();
    for (pixel, drawn) in photograph.pixels().chunks(3).zip(&grey) {
        assert!(pixel[0] == pixel[1] && pixel[1] == pixel[2] && pixel[0].abs_diff(*drawn) < 12);
    }

    let wide: Vec<u8> = [10_000_u16, 20_000, 65_535].iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    let mut png = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    encoder.write_image(&wide, 1, 1, ExtendedColorType::Rgb16).unwrap();
    assert_eq!(decode(&png, MAX_PIXELS).unwrap().pixels(), [39, 78, 255]);

    // Marked as Adobe's, so the numbers are the light that each ink lets through: no red, all green, all blue.
    let inks = [0_u8, 255, 255, 255].repeat(256);
    let cmyk = Encoder::new(&inks, 16, 16, PixelFormat::Cmyk).quality(95).encode().unwrap();
    assert!(cmyk.windows(5).any(|window| window == b"Adobe"));
    let photograph = decode(&cmyk, MAX_PIXELS).unwrap();
    assert_eq!((photograph.width(), photograph.height()), (16, 16));
    let near = |sample: u8, expected: u8| sample.abs_diff(expected) < 4;
    assert!(photograph.pixels().chunks(3).all(|p| near(p[0], 0) && near(p[1], 255) && near(p[2], 255)));
}

#[test]
fn exif_turns_a_photograph_upright() {
    // A TIFF file of one entry: orientation, one short, 6.
    let exif = [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"[..]].concat();
    let pixels = picture();
    let stored = Encoder::new(&pixels, WIDTH, HEIGHT, PixelFormat::Rgb).quality(95).exif_data(&exif).encode().unwrap();
    let photograph = decode(&stored, MAX_PIXELS).unwrap();
    assert_eq!((photograph.width(), photograph.height()), (HEIGHT, WIDTH));
    // Stored red grows to the right, so upright it grows downwards.
    let red = |y: usize| i32::from(photograph.pixels()[y * HEIGHT * 3]);
    assert!(red(WIDTH - 1) - red(0) > 150, "{} {}", red(0), red(WIDTH - 1));
}

/// The contents of a PNG's chunks of one kind.
fn chunks(png: &[u8], kind: &[u8; 4]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = &png[8..];
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        if &rest[4..8] == kind {
            found.push(rest[8..8 + length].to_vec());
        }
        rest = &rest[12 + length..];
    }
    found
}
