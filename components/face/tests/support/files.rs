//! One small file of each kind that photographs come in, of any picture: what encoders write, and what they rarely do.
//!
//! Owns the writing of palettes, interlacing, animations and profiles; `bitmaps` does that for BMP. Must never read a file again.

#![allow(dead_code, reason = "tests and fuzz targets use their own part")]

use std::io::Cursor;

use image::codecs::gif::GifEncoder;
use image::{Delay, DynamicImage, Frame, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

use super::bitmaps;

/// 8-bit RGB, row by row.
#[derive(Clone)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u8>,
}

/// A file and what it shows.
pub(crate) struct File {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The pixels that it was made from, as 8-bit RGB.
    pub(crate) shows: Vec<u8>,
    /// How far a sample of what is decoded may be from them on average.
    pub(crate) mean: f64,
}

impl Picture {
    /// Something in every block: slopes and a checkerboard.
    pub(crate) fn drawn(width: usize, height: usize) -> Self {
        let pixel = |index: usize| {
            let (x, y) = (index % width, index / width);
            [(x * 5) as u8, (y * 6) as u8, if (x / 4 + y / 4).is_multiple_of(2) { 200 } else { 40 }]
        };
        Self { width, height, pixels: (0..width * height).flat_map(pixel).collect() }
    }

    /// One number for each pixel.
    pub(crate) fn map<T>(&self, number: impl Fn([u8; 3]) -> T) -> Vec<T> {
        self.pixels.as_chunks::<3>().0.iter().map(|pixel| number(*pixel)).collect()
    }

    fn buffer(&self) -> ImageBuffer<Rgb<u8>, Vec<u8>> {
        ImageBuffer::from_raw(self.width as u32, self.height as u32, self.pixels.clone()).unwrap()
    }

    fn image<P: image::Pixel>(&self, samples: Vec<P::Subpixel>) -> ImageBuffer<P, Vec<P::Subpixel>> {
        ImageBuffer::from_raw(self.width as u32, self.height as u32, samples).unwrap()
    }

    /// So few colours that 128 entries of a palette hold them: 2 bits of red, 3 of green, 2 of blue.
    pub(crate) fn indices(&self) -> Vec<u8> {
        self.map(|[r, g, b]| (r >> 6 << 5) | (g >> 5 << 2) | b >> 6)
    }

    /// What the entries of that palette are.
    pub(crate) fn palette() -> Vec<[u8; 3]> {
        (0..128_u8).map(|index| [(index >> 5) * 85, (index >> 2 & 7) * 36, (index & 3) * 85]).collect()
    }

    /// The pixels as that palette shows them.
    pub(crate) fn few_colours(&self) -> Vec<u8> {
        let palette = Self::palette();
        self.indices().iter().flat_map(|&index| palette[usize::from(index)]).collect()
    }

    /// The pixels with the green of each as its grey.
    pub(crate) fn grey(&self) -> Vec<u8> {
        self.map(|[_, g, _]| g).iter().flat_map(|&grey| [grey; 3]).collect()
    }
}

/// All of them.
pub(crate) fn all(picture: &Picture) -> Vec<File> {
    let formats = [jpegs(picture), pngs(picture), gifs(picture), bitmaps::all(picture), webps(picture)];
    formats.into_iter().flatten().collect()
}

/// Baseline with all samplings, progressive, grey, inks, with restart markers, with a colour profile.
pub(crate) fn jpegs(picture: &Picture) -> Vec<File> {
    let Picture { width, height, ref pixels } = *picture;
    let rgb = || Encoder::new(pixels, width, height, PixelFormat::Rgb).quality(90);
    let file =
        |kind, encoder: Encoder<'_>| File { kind, bytes: encoder.encode().unwrap(), shows: pixels.clone(), mean: 16.0 };
    let profile: Vec<u8> = (0..3000_u32).map(|number| number as u8).collect();
    let grey = picture.map(|[_, g, _]| g);
    let inks: Vec<u8> = pixels.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [r, g, b, 255]).collect();
    vec![
        file("JPEG", rgb().subsampling(Subsampling::S420)),
        file("JPEG with columns halved", rgb().subsampling(Subsampling::S422).optimize_huffman(true)),
        file("JPEG with rows halved", rgb().subsampling(Subsampling::S440)),
        file("JPEG with restarts", rgb().subsampling(Subsampling::S420).restart_blocks(2)),
        file("JPEG, progressive", rgb().subsampling(Subsampling::S444).progressive(true)),
        file(
            "JPEG, progressive, with restarts",
            rgb().subsampling(Subsampling::S420).progressive(true).restart_rows(1),
        ),
        file("JPEG with a profile", rgb().subsampling(Subsampling::S444).icc_profile(&profile)),
        File {
            shows: picture.grey(),
            ..file("JPEG, grey", Encoder::new(&grey, width, height, PixelFormat::Grayscale).quality(90))
        },
        // Each ink stored as the light it lets through, and no black.
        file("JPEG of inks", Encoder::new(&inks, width, height, PixelFormat::Cmyk).quality(95)),
    ]
}

/// Each layout of pixels, palettes, interlacing, an animation, a profile.
pub(crate) fn pngs(picture: &Picture) -> Vec<File> {
    let png = |image: DynamicImage| {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let file = |kind, bytes, shows: &[u8]| File { kind, bytes, shows: shows.to_vec(), mean: 0.0 };
    let (pixels, grey, few) = (&picture.pixels, picture.grey(), picture.few_colours());
    let wide = |sample: u8| u16::from(sample) * 257;
    let four = |[r, g, b]: [u8; 3]| [r, g, b, r];
    let rgba: Vec<u8> = picture.map(four).concat();
    let rgb16: Vec<u16> = pixels.iter().map(|&sample| wide(sample)).collect();
    let la: Vec<u8> = picture.map(|[r, g, _]| [g, r]).concat();
    let palette = chunk(b"PLTE", &Picture::palette().concat());
    let transparent = chunk(b"tRNS", &[128; 20]);
    let indices = picture.indices();
    let (width, height) = (picture.width, picture.height);
    let indexed = |extra: &[&[u8]]| {
        let (head, data) = (header(width, height, 8, 3, 0), chunk(b"IDAT", &zlib(&rows(&indices, width))));
        assemble(&[&[&head[..]][..], extra, &[&data[..]]].concat())
    };
    let animated = {
        let control = |number: u32| {
            let sides = [width as u32, height as u32, 0, 0].map(u32::to_be_bytes).concat();
            chunk(b"fcTL", &[&number.to_be_bytes()[..], &sides, &[0, 1, 0, 10, 0, 0]].concat())
        };
        let data = zlib(&rows(pixels, 3 * width));
        let next = [&2_u32.to_be_bytes()[..], &data].concat();
        assemble(&[
            &header(width, height, 8, 2, 0),
            &chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
            &control(0),
            &chunk(b"IDAT", &data),
            &control(1),
            &chunk(b"fdAT", &next),
        ])
    };
    let interlaced = assemble(&[
        &header(width, height, 8, 0, 1),
        &chunk(b"IDAT", &zlib(&passes(&picture.map(|[_, g, _]| g), width, height))),
    ]);
    let bits = picture.map(|[_, _, b]| b >= 128);
    let packed: Vec<u8> = bits
        .chunks(width)
        .flat_map(|row| {
            let byte =
                |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (at, &bit)| byte | u8::from(bit) << (7 - at));
            [0].into_iter().chain(row.chunks(8).map(byte)).collect::<Vec<_>>()
        })
        .collect();
    let black_and_white: Vec<u8> = bits.iter().flat_map(|&bit| [255 * u8::from(bit); 3]).collect();
    let profile = chunk(b"iCCP", &[b"profile\0\0", &zlib(&[7; 500])[..]].concat());
    vec![
        file("PNG", png(picture.buffer().into()), pixels),
        file("PNG with transparency", png(picture.image::<Rgba<u8>>(rgba).into()), pixels),
        file("PNG of 16 bits", png(picture.image::<Rgb<u16>>(rgb16).into()), pixels),
        file("PNG, grey", png(picture.image::<Luma<u8>>(picture.map(|[_, g, _]| g)).into()), &grey),
        file("PNG, grey with transparency", png(picture.image::<LumaA<u8>>(la).into()), &grey),
        file("PNG of a palette", indexed(&[&palette]), &few),
        file("PNG of a palette with transparency", indexed(&[&palette, &transparent]), &few),
        file("PNG with a profile", indexed(&[&profile, &palette]), &few),
        file("PNG, interlaced", interlaced, &grey),
        file(
            "PNG of one bit",
            assemble(&[&header(width, height, 1, 0, 0), &chunk(b"IDAT", &zlib(&packed))]),
            &black_and_white,
        ),
        file("PNG, animated", animated, pixels),
    ]
}

/// As encoders write them, animated, interlaced, with palettes of their own, on a larger screen.
pub(crate) fn gifs(picture: &Picture) -> Vec<File> {
    let encoded = |frames: usize| {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new(&mut bytes);
        for _ in 0..frames {
            let image = DynamicImage::from(picture.buffer()).to_rgba8();
            encoder.encode_frame(Frame::from_parts(image, 0, 0, Delay::from_numer_denom_ms(100, 1))).unwrap();
        }
        drop(encoder);
        bytes
    };
    let (width, height) = (picture.width, picture.height);
    let order: Vec<usize> =
        [(0, 8), (4, 8), (2, 4), (1, 2)].into_iter().flat_map(|(first, step)| (first..height).step_by(step)).collect();
    let indices = picture.indices();
    let turned: Vec<u8> = order.iter().flat_map(|&row| &indices[row * width..(row + 1) * width]).copied().collect();
    let few = picture.few_colours();
    let file = |kind, bytes, shows: &[u8], mean| File { kind, bytes, shows: shows.to_vec(), mean };
    vec![
        file("GIF", encoded(1), &picture.pixels, 16.0),
        file("GIF, animated", encoded(2), &picture.pixels, 16.0),
        file(
            "GIF of a palette",
            gif([width, height], false, &gif_frame([width, height], true, 0, &indices)),
            &few,
            0.0,
        ),
        file(
            "GIF, interlaced",
            gif([width, height], true, &gif_frame([width, height], false, 0x40, &turned)),
            &few,
            0.0,
        ),
    ]
}

/// A GIF of one frame, with a palette for all frames or none.
pub(crate) fn gif([width, height]: [usize; 2], palette: bool, frame: &[u8]) -> Vec<u8> {
    let sides = [width, height].map(|side| (side as u16).to_le_bytes()).concat();
    let flags = if palette { 0x80 | 6 } else { 0 };
    let palette = if palette { Picture::palette().concat() } else { Vec::new() };
    [&b"GIF89a"[..], &sides, &[flags, 0, 0], &palette, frame, &[0x3B]].concat()
}

/// A frame of a GIF at the upper left, with a palette of its own or none. Codes are never shortened: each index stands in one byte.
pub(crate) fn gif_frame([width, height]: [usize; 2], palette: bool, flags: u8, indices: &[u8]) -> Vec<u8> {
    const CLEAR: u8 = 128;
    const END: u8 = 129;
    let sides = [0, 0, width, height].map(|side| (side as u16).to_le_bytes()).concat();
    let flags = if palette { flags | 0x80 | 6 } else { flags };
    let palette = if palette { Picture::palette().concat() } else { Vec::new() };
    // The table is cleared before codes need a ninth bit.
    let codes: Vec<u8> = indices.chunks(100).flat_map(|part| [&[CLEAR][..], part].concat()).chain([END]).collect();
    let blocks: Vec<u8> = codes.chunks(255).flat_map(|part| [&[part.len() as u8][..], part].concat()).collect();
    [&[0x2C][..], &sides, &[flags], &palette, &[7], &blocks, &[0]].concat()
}

/// Lossless, with transparency, with metadata, animated, and lossy ones of another encoder.
pub(crate) fn webps(picture: &Picture) -> Vec<File> {
    let lossless = |transparent: bool| {
        let mut bytes = Cursor::new(Vec::new());
        let image = if transparent {
            let rgba: Vec<u8> = picture.map(|[r, g, b]| [r, g, b, g | 1]).concat();
            DynamicImage::from(picture.image::<Rgba<u8>>(rgba))
        } else {
            DynamicImage::from(picture.buffer())
        };
        image.write_to(&mut bytes, ImageFormat::WebP).unwrap();
        bytes.into_inner()
    };
    let plain = lossless(false);
    let stream = &plain[12..];
    let sides = [picture.width, picture.height];
    let animated = {
        let place = [0, 0, sides[0] - 1, sides[1] - 1, 100].map(three).concat();
        let frame = riff_chunk(b"ANMF", &[&place[..], &[2], stream].concat());
        webp(sides, 2, &[&riff_chunk(b"ANIM", &[0; 6]), &frame, &frame])
    };
    let file = |kind, bytes| File { kind, bytes, shows: picture.pixels.clone(), mean: 0.0 };
    vec![
        file("WebP", plain.clone()),
        file("WebP with transparency", lossless(true)),
        file("WebP with a profile", webp(sides, 0x20, &[&riff_chunk(b"ICCP", &[7; 301]), stream])),
        file("WebP with EXIF", webp(sides, 8, &[stream, &riff_chunk(b"EXIF", b"II*\0\x08\0\0\0\0\0")])),
        file("WebP, animated", animated),
    ]
}

/// An extended WebP of these chunks.
pub(crate) fn webp([width, height]: [usize; 2], flags: u8, chunks: &[&[u8]]) -> Vec<u8> {
    let extended = [&[flags, 0, 0, 0][..], &three(width - 1), &three(height - 1)].concat();
    let content = [&b"WEBP"[..], &riff_chunk(b"VP8X", &extended), &chunks.concat()].concat();
    riff_chunk(b"RIFF", &content)
}

/// A number in three bytes.
fn three(number: usize) -> [u8; 3] {
    let [a, b, c, _] = (number as u32).to_le_bytes();
    [a, b, c]
}

pub(crate) fn riff_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let filled = if content.len() % 2 == 1 { &[0][..] } else { &[] };
    [&name[..], &(content.len() as u32).to_le_bytes(), content, filled].concat()
}

/// A PNG of these chunks.
pub(crate) fn assemble(chunks: &[&[u8]]) -> Vec<u8> {
    [&b"\x89PNG\r\n\x1A\n"[..], &chunks.concat(), &chunk(b"IEND", &[])].concat()
}

/// The first chunk of a PNG.
pub(crate) fn header(width: usize, height: usize, bits: u8, colour: u8, interlaced: u8) -> Vec<u8> {
    let sides = [width as u32, height as u32].map(u32::to_be_bytes).concat();
    chunk(b"IHDR", &[&sides[..], &[bits, colour, 0, 0, interlaced]].concat())
}

pub(crate) fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [&kind[..], content].concat();
    [&(content.len() as u32).to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
}

/// Rows of so many bytes, each after the number of a filter, which is none.
pub(crate) fn rows(samples: &[u8], width: usize) -> Vec<u8> {
    samples.chunks(width).flat_map(|row| [&[0][..], row].concat()).collect()
}

/// The seven passes of an interlaced PNG of one byte a pixel.
fn passes(samples: &[u8], width: usize, height: usize) -> Vec<u8> {
    let starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];
    let pass = |(left, top, across, down): (usize, usize, usize, usize)| {
        (top..height).step_by(down).flat_map(move |y| {
            [0].into_iter().chain((left..width).step_by(across).map(move |x| samples[y * width + x]))
        })
    };
    starts.into_iter().flat_map(pass).collect()
}

/// Data as PNG holds them, not compressed.
pub(crate) fn zlib(data: &[u8]) -> Vec<u8> {
    const MOST: usize = 0xFFFF;
    let count = data.len().div_ceil(MOST);
    let blocks = data.chunks(MOST).enumerate().flat_map(|(index, part)| {
        let length = part.len() as u16;
        let last = u8::from(index + 1 == count);
        [&[last][..], &length.to_le_bytes(), &(!length).to_le_bytes(), part].concat()
    });
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    [0x78, 0x01].into_iter().chain(blocks).chain((b << 16 | a).to_be_bytes()).collect()
}

/// The checksum of PNG's chunks (ISO 3309).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}
