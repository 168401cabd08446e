//! Any bytes as a photograph.
//!
//! Owns what must hold of the decoders: nothing panics, a refusal is a sentence, a photograph has the size that the file declares,
//! and no metadata breaks it. Must never know who makes the bytes.

use std::sync::OnceLock;

use face::decode::{DecodeError, Draft, decode, draft};
use face::photograph::Photograph;
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat};

use crate::support::files::{self, Picture};

/// More than the seeds have, and few enough that a hostile size costs no time.
pub(crate) const MAX_PIXELS: u64 = 1 << 18;

/// The longest sentence that anybody gets to read, bytes.
const LONGEST: usize = 500;

/// A file of any format.
pub(crate) fn any(bytes: &[u8]) {
    read(bytes);
}

/// A JPEG by our decoders, beside the decoder for all kinds alone; as a whole and as a draft.
pub(crate) fn jpeg(bytes: &[u8]) {
    // A mutation that turns it into another format would be lost.
    let marked = [&b"\xFF\xD8"[..], bytes].concat();
    let bytes = if bytes.starts_with(b"\xFF\xD8") { bytes } else { &marked };
    let whole = read(bytes);
    for longer in [0, 24] {
        match (draft(bytes, MAX_PIXELS, longer), &whole) {
            (Ok(Draft { photograph, width, height }), Some(whole)) => {
                assert_eq!((width, height), (whole.width(), whole.height()));
                let (w, h) = (photograph.width(), photograph.height());
                assert!(photograph.longer_side() >= longer.min(whole.longer_side()));
                let divided = |divisor: usize| (w, h) == (width.div_ceil(divisor), height.div_ceil(divisor));
                assert!([1, 2, 4, 8].into_iter().any(divided), "{w} x {h} of {width} x {height}");
            }
            (Err(_), None) => {}
            (Ok(_), None) => panic!("the draft is taken, and the whole is refused"),
            (Err(error), Some(_)) => panic!("the whole is taken, and the draft is refused: {error}"),
        }
    }
    if let Some(whole) = whole {
        let limits = DecodeLimits { max_pixels: MAX_PIXELS, ..DecodeLimits::default() };
        let decoder = Decoder::new_with_limits(bytes, limits).expect("what is taken, others take");
        let format = if decoder.header().components.len() == 4 { PixelFormat::Cmyk } else { PixelFormat::Rgb };
        let image = decoder.with_output_format(format).with_stop_on_warning(true).decode_image();
        let image = image.expect("what is taken, others take");
        let mut sides = [[image.width, image.height], [whole.width(), whole.height()]];
        sides.iter_mut().for_each(|sides| sides.sort_unstable());
        assert_eq!(sides[0], sides[1]);
    }
}

/// Metadata in a JPEG, a PNG and a WebP that are sound: the photograph is there, turned or not.
pub(crate) fn exif(bytes: &[u8]) {
    let Sound { jpeg, png, webp } = sound();
    // The longest segment of a JPEG.
    let bytes = &bytes[..bytes.len().min(0xFFFF - 2 - 6)];
    let length = (2 + 6 + bytes.len()) as u16;
    let segment = [&b"\xFF\xE1"[..], &length.to_be_bytes(), b"Exif\0\0", bytes].concat();
    let chunk = files::chunk(b"eXIf", bytes);
    // Behind the mark of the format; behind the first chunk.
    turned(jpeg, &[&jpeg[..2], &segment, &jpeg[2..]].concat());
    turned(png, &[&png[..33], &chunk, &png[33..]].concat());
    let sides = [SIDES.0, SIDES.1];
    turned(webp, &files::webp(sides, 8, &[&webp[12..], &files::riff_chunk(b"EXIF", bytes)]));
}

const SIDES: (usize, usize) = (11, 7);

struct Sound {
    jpeg: Vec<u8>,
    png: Vec<u8>,
    webp: Vec<u8>,
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let picture = Picture::drawn(SIDES.0, SIDES.1);
        let first = |files: Vec<files::File>| files.into_iter().next().expect("there is one of each format").bytes;
        let [jpeg, png, webp] = [files::jpegs, files::pngs, files::webps].map(|format| first(format(&picture)));
        Sound { jpeg, png, webp }
    })
}

/// Holds a file with metadata against the file without: the same pixels, in another order at most.
fn turned(plain: &[u8], bytes: &[u8]) {
    let plain = read(plain).expect("it is sound");
    let found = decode(bytes, MAX_PIXELS).unwrap_or_else(|error| panic!("metadata broke it: {error}"));
    let sides = (found.width(), found.height());
    assert!(sides == SIDES || sides == (SIDES.1, SIDES.0), "{sides:?}");
    let sorted = |photograph: &Photograph| {
        let mut pixels = photograph.pixels().as_chunks::<3>().0.to_vec();
        pixels.sort_unstable();
        pixels
    };
    assert!(sorted(&plain) == sorted(&found), "pixels were lost");
}

/// The photograph, or a refusal in a sentence.
fn read(bytes: &[u8]) -> Option<Photograph> {
    match decode(bytes, MAX_PIXELS) {
        Ok(photograph) => {
            assert!((photograph.width() * photograph.height()) as u64 <= MAX_PIXELS);
            Some(photograph)
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() <= LONGEST && text.ends_with('.'), "{text}");
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(!matches!(error, DecodeError::ImageTooLarge(_)) || text.contains("pixels"), "{text}");
            None
        }
    }
}
