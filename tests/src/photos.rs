//! The sample photographs, and what can be made of them.
//!
//! Owns their place and their transformations. They are fetched at set-up and never committed.

use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, imageops};

use crate::host::repository;

/// The names of all sample photographs that show one face that counts.
pub const ONE_FACE: [&str; 8] = [
    "32bit.png",
    "astronaut.png",
    "biden.jpg",
    "obama.jpg",
    "obama2.jpg",
    "obama3.jpg",
    "obama_partial_face.jpg",
    "obama_partial_face2.jpg",
];

/// The names of those that show none.
pub const NO_FACE: [&str; 2] = ["chelsea.png", "coffee.png"];

/// The folder of what set-up made: `VISAVIS_ASSETS`, or `target/visavis`.
pub fn assets() -> PathBuf {
    let path = std::env::var_os("VISAVIS_ASSETS").map_or_else(|| repository().join("target/visavis"), PathBuf::from);
    assert!(path.is_dir(), "{} is missing: run `cargo xtask setup`, or set VISAVIS_ASSETS", path.display());
    path
}

/// The file of a sample photograph.
pub fn path(name: &str) -> PathBuf {
    let path = assets().join("photos").join(name);
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}

/// The bytes of a sample photograph.
pub fn photo(name: &str) -> Arc<Vec<u8>> {
    static READ: OnceLock<Mutex<HashMap<String, Arc<Vec<u8>>>>> = OnceLock::new();
    let mut read = READ.get_or_init(Mutex::default).lock().expect("reading does not break off");
    let photo = read.entry(name.to_owned()).or_insert_with(|| Arc::new(fs::read(path(name)).expect("a file")));
    Arc::clone(photo)
}

/// A sample photograph, decoded.
pub fn pixels(name: &str) -> RgbImage {
    image::load_from_memory(&photo(name)).expect("the samples are photographs").to_rgb8()
}

/// A sample photograph whose longer side is scaled to `side` pixels, as a JPEG: a quick task.
pub fn small(name: &str, side: u32) -> Vec<u8> {
    let image = DynamicImage::ImageRgb8(pixels(name)).resize(side, side, imageops::FilterType::Triangle);
    jpeg(&image.to_rgb8())
}

/// A sample photograph scaled to so many megapixels, as a JPEG.
pub fn megapixels(name: &str, megapixels: f64) -> Vec<u8> {
    let image = pixels(name);
    let factor = (megapixels * 1e6 / (f64::from(image.width()) * f64::from(image.height()))).sqrt();
    let [width, height] = [image.width(), image.height()].map(|side| (f64::from(side) * factor).round() as u32);
    jpeg(&imageops::resize(&image, width, height, imageops::FilterType::Triangle))
}

/// So many copies of the upper part of a sample photograph in the smallest square grid that holds them, in a square with sides
/// of so many pixels, as a JPEG; what is left of the grid is grey.
pub fn crowd(name: &str, count: u32, side: u32) -> Vec<u8> {
    let image = pixels(name);
    let length = image.width().min(image.height());
    let upper = imageops::crop_imm(&image, 0, 0, length, length).to_image();
    let across = (1..).find(|across| across * across >= count).expect("there are enough numbers");
    let cell = side / across;
    let one = imageops::resize(&upper, cell, cell, imageops::FilterType::Triangle);
    let mut all = RgbImage::from_pixel(side, side, Rgb([127; 3]));
    for at in 0..count {
        imageops::replace(&mut all, &one, i64::from(at % across * cell), i64::from(at / across * cell));
    }
    jpeg(&all)
}

/// The upper part of a sample photograph as a square with sides of so many pixels, as a JPEG: a task that is quick, and known
/// by its width.
pub fn square(name: &str, side: u32) -> Vec<u8> {
    let image = pixels(name);
    let length = image.width().min(image.height());
    let upper = imageops::crop_imm(&image, 0, 0, length, length).to_image();
    jpeg(&imageops::resize(&upper, side, side, imageops::FilterType::Triangle))
}

/// Two sample photographs beside each other, scaled to one height.
pub fn side_by_side(first: &str, second: &str) -> Vec<u8> {
    const HEIGHT: u32 = 640;
    let scaled = [first, second].map(|name| {
        DynamicImage::ImageRgb8(pixels(name)).resize(u32::MAX, HEIGHT, imageops::FilterType::Triangle).to_rgb8()
    });
    let mut both = RgbImage::new(scaled[0].width() + scaled[1].width(), HEIGHT);
    imageops::replace(&mut both, &scaled[0], 0, 0);
    imageops::replace(&mut both, &scaled[1], i64::from(scaled[0].width()), 0);
    jpeg(&both)
}

/// A sample photograph turned clockwise by any number of degrees about its middle; the corners are filled with grey.
pub fn turned(name: &str, degrees: f32) -> Vec<u8> {
    let source = pixels(name);
    let (width, height) = source.dimensions();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (cx, cy) = (width as f32 / 2.0, height as f32 / 2.0);
    let turned = RgbImage::from_fn(width, height, |x, y| {
        let (dx, dy) = (x as f32 - cx, y as f32 - cy);
        let at = (cx + cos * dx + sin * dy, cy - sin * dx + cos * dy);
        imageops::interpolate_bilinear(&source, at.0, at.1).unwrap_or(Rgb([127; 3]))
    });
    jpeg(&turned)
}

/// A sample photograph stored in one of the eight EXIF orientations: its pixels are turned so that the tag turns them back.
pub fn oriented(name: &str, orientation: u8) -> Vec<u8> {
    let upright = pixels(name);
    let stored = match orientation {
        2 => imageops::flip_horizontal(&upright),
        3 => imageops::rotate180(&upright),
        4 => imageops::flip_vertical(&upright),
        5 => imageops::flip_horizontal(&imageops::rotate90(&upright)),
        6 => imageops::rotate270(&upright),
        7 => imageops::flip_horizontal(&imageops::rotate270(&upright)),
        8 => imageops::rotate90(&upright),
        _ => upright,
    };
    let mut file = jpeg(&stored);
    file.splice(2..2, exif(orientation));
    file
}

/// An image as a JPEG of high quality.
pub fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 95).encode_image(image).expect("memory can be written");
    file
}

/// A sample photograph in another format.
pub fn converted(name: &str, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    pixels(name).write_to(&mut file, format).expect("memory can be written");
    file.into_inner()
}

/// Writes bytes to a file and answers its path.
pub fn saved(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("the folder can be written");
    path
}

/// An APP1 segment with nothing but the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"Exif\0\0II*\0\x08\0\0\0\x01\0".to_vec();
    // Tag 0x0112, type SHORT, one value, the value, then no further directory.
    tiff.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(tiff.len() + 2).expect("a short segment").to_be_bytes();
    [&[0xff, 0xe1], &length[..], &tiff].concat()
}

#[cfg(test)]
mod tests {
    use image::{ImageDecoder, ImageReader, metadata::Orientation};

    use super::*;

    #[test]
    fn the_orientation_tag_is_read_by_others() {
        for orientation in 1..=8 {
            let file = oriented("obama.jpg", orientation);
            let mut decoder = ImageReader::with_format(Cursor::new(file), ImageFormat::Jpeg).into_decoder().unwrap();
            assert_eq!(decoder.orientation().unwrap(), Orientation::from_exif(orientation).unwrap());
            let mut image = DynamicImage::from_decoder(decoder).unwrap();
            image.apply_orientation(Orientation::from_exif(orientation).unwrap());
            assert_eq!((image.width(), image.height()), (910, 1137));
            let difference = |(a, b): (&u8, &u8)| u64::from(a.abs_diff(*b));
            let upright = pixels("obama.jpg");
            let sum: u64 = image.to_rgb8().iter().zip(upright.iter()).map(difference).sum();
            assert!(sum < 3 * upright.len() as u64, "orientation {orientation} shows another picture");
        }
    }
}
