//! The decoder against libjpeg-turbo's port, byte for byte, on photographs and on what no photograph shows.

use libjpeg_turbo_rs::{Decoder, Encoder, PixelFormat, Subsampling};
use proptest::prelude::*;

use super::decode;

/// The pixels that the decoder for all kinds makes of a file; an error if it would refuse it.
fn reference(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let decoder = Decoder::new(bytes).map_err(|error| error.to_string())?;
    let decoder = decoder.with_output_format(PixelFormat::Rgb).with_stop_on_warning(true);
    decoder.decode_image().map(|image| image.data).map_err(|error| error.to_string())
}

/// Fails on the first pixel that differs: the whole would fill the screen.
fn compare(bytes: &[u8], width: usize, what: &str) {
    let found = decode(bytes).unwrap_or_else(|| panic!("{what} was left to the decoder for all kinds"));
    let expected = reference(bytes).unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
        let (x, y) = (at / 3 % width, at / 3 / width);
        panic!("{what}: sample {} of pixel {x}, {y} is {}, not {}", at % 3, found[at], expected[at]);
    }
}

/// Numbers without a pattern.
fn noise(seed: u32, length: usize) -> impl Iterator<Item = u32> {
    (0..length).scan(seed.wrapping_mul(0x9E37_79B9) | 1, |state, _| {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        Some(*state >> 8)
    })
}

/// A picture that is harder the higher `kind` is: a slope, stripes, noise, and black and white noise, which clips.
fn picture(kind: u32, seed: u32, width: usize, height: usize, channels: usize) -> Vec<u8> {
    noise(seed, width * height * channels)
        .enumerate()
        .map(|(index, random)| {
            let (x, y) = (index / channels % width, index / channels / width);
            match kind {
                0 => (3 * x + 2 * y + 50 * (index % channels) + seed as usize) as u8,
                1 => 255 * ((x / 3 + y / 5 + index % channels) % 2) as u8,
                2 => random as u8,
                _ => 255 * (random % 2) as u8,
            }
        })
        .collect()
}

#[test]
fn photographs_are_decoded_alike() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/visavis/photos");
    let files =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}; cargo xtask setup mends it"));
    let mut compared = 0;
    for path in files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "jpg")) {
        let bytes = std::fs::read(&path).unwrap();
        let header = Decoder::new(&bytes).unwrap().header().clone();
        if !header.is_progressive {
            compare(&bytes, header.width.into(), &path.display().to_string());
            compared += 1;
        }
    }
    assert!(compared >= 3, "{compared}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_files_are_decoded_alike(
        (kind, seed) in (0_u32..4, 0_u32..1000),
        (width, height) in (1_usize..=70, 1_usize..=70),
        quality in prop_oneof![1_u8..=100, Just(100_u8), Just(1_u8)],
        sampling in 0_usize..5,
        (restart, by_rows, optimized) in (0_u16..6, any::<bool>(), any::<bool>()),
    ) {
        let (format, channels) = if sampling == 4 { (PixelFormat::Grayscale, 1) } else { (PixelFormat::Rgb, 3) };
        let pixels = picture(kind, seed, width, height, channels);
        let mut encoder = Encoder::new(&pixels, width, height, format).quality(quality).optimize_huffman(optimized);
        let samplings = [Subsampling::S444, Subsampling::S422, Subsampling::S420, Subsampling::S440];
        if let Some(subsampling) = samplings.get(sampling) {
            encoder = encoder.subsampling(*subsampling);
        }
        if restart > 0 {
            encoder = if by_rows { encoder.restart_rows(restart) } else { encoder.restart_blocks(restart) };
        }
        let bytes = encoder.encode().unwrap();
        if width <= 4 && (1..=2).contains(&sampling) {
            prop_assert!(decode(&bytes).is_none());
        } else {
            compare(&bytes, width, "a generated file");
        }
    }
}

/// A small file with restart markers.
fn small() -> Vec<u8> {
    let pixels = picture(2, 7, 40, 33, 3);
    let encoder = Encoder::new(&pixels, 40, 33, PixelFormat::Rgb).quality(80).subsampling(Subsampling::S420);
    encoder.restart_blocks(4).encode().unwrap()
}

#[test]
fn a_file_that_is_cut_is_left_to_others() {
    let bytes = small();
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_none(), "{length}");
        // Also if it is closed again.
        assert!(decode(&[&bytes[..length], &[0xFF, 0xD9]].concat()).is_none() || length >= bytes.len() - 2, "{length}");
    }
}

/// What is taken in spite of a fault is what the decoder for all kinds takes, and mostly with the same pixels: coefficients that
/// no encoder writes overflow 16 bits there, in blocks of some shapes otherwise than in others.
#[test]
fn a_changed_file_is_taken_only_if_others_take_it() {
    let bytes = small();
    let (mut same, mut other, mut left) = (0, 0, 0);
    let mut check = |changed: &[u8], what: &str| match decode(changed) {
        Some(found) => {
            let expected = reference(changed).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.len(), expected.len(), "{what}");
            *if found == expected { &mut same } else { &mut other } += 1;
        }
        None => left += 1,
    };
    for at in 2..bytes.len() {
        let mut changed = bytes.clone();
        for bit in 0..8 {
            changed[at] = bytes[at] ^ 1 << bit;
            check(&changed, &format!("bit {bit} of byte {at}"));
        }
        for byte in [0x00, 0xD0, 0xFF] {
            changed[at] = byte;
            check(&changed, &format!("byte {at} is {byte}"));
        }
    }
    assert!(same > 1000 && left > 1000 && other < same / 10, "{same} the same, {other} others, {left} left");
}

#[test]
fn other_kinds_are_left_to_others() {
    let pixels = picture(0, 0, 32, 32, 3);
    let encoder = || Encoder::new(&pixels, 32, 32, PixelFormat::Rgb);
    assert!(decode(&encoder().encode().unwrap()).is_some());
    assert!(decode(&encoder().progressive(true).encode().unwrap()).is_none());
    assert!(decode(&encoder().arithmetic(true).encode().unwrap()).is_none());
    assert!(decode(&encoder().subsampling(Subsampling::S411).encode().unwrap()).is_none());
    let inks = picture(0, 0, 32, 32, 4);
    assert!(decode(&Encoder::new(&inks, 32, 32, PixelFormat::Cmyk).encode().unwrap()).is_none());
    assert!(decode(b"\xFF\xD8").is_none() && decode(b"").is_none());
}
