//! Turning a photograph upright.
//!
//! Owns what the eight EXIF orientations mean. Must never know how pixels were compressed.

use image::metadata::Orientation;

use crate::photograph::Photograph;

/// Side of the square that is turned at a time, pixels: small enough that a square of both photographs stays in cache.
const TILE: usize = 32;

/// The orientation that a number of EXIF declares; upright when there is none or it is unknown, because broken metadata
/// does not break a photograph.
pub(super) fn from_exif(number: Option<u8>) -> Orientation {
    number.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Whether the sides change places.
pub(super) fn turns(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

/// Moves the pixels of a stored photograph to where they belong.
pub(super) fn apply(stored: Photograph, orientation: Orientation) -> Photograph {
    let (width, height) = (stored.width(), stored.height());
    let (right, bottom) = (width - 1, height - 1);
    // For each orientation: where the stored pixel at (x, y) goes, and whether the sides change places.
    match orientation {
        Orientation::NoTransforms => stored,
        Orientation::FlipHorizontal => place(&stored, width, height, |x, y| (right - x, y)),
        Orientation::Rotate180 => place(&stored, width, height, |x, y| (right - x, bottom - y)),
        Orientation::FlipVertical => place(&stored, width, height, |x, y| (x, bottom - y)),
        Orientation::Rotate90FlipH => place(&stored, height, width, |x, y| (y, x)),
        Orientation::Rotate90 => place(&stored, height, width, |x, y| (bottom - y, x)),
        Orientation::Rotate270FlipH => place(&stored, height, width, |x, y| (bottom - y, right - x)),
        Orientation::Rotate270 => place(&stored, height, width, |x, y| (y, right - x)),
    }
}

fn place(
    stored: &Photograph,
    width: usize,
    height: usize,
    target: impl Fn(usize, usize) -> (usize, usize),
) -> Photograph {
    let mut pixels = vec![0; stored.pixels().len()];
    let (source, _) = stored.pixels().as_chunks::<3>();
    let (upright, _) = pixels.as_chunks_mut::<3>();
    for top in (0..stored.height()).step_by(TILE) {
        for left in (0..stored.width()).step_by(TILE) {
            for y in top..stored.height().min(top + TILE) {
                for x in left..stored.width().min(left + TILE) {
                    let (to_x, to_y) = target(x, y);
                    upright[to_y * width + to_x] = source[y * stored.width() + x];
                }
            }
        }
    }
    Photograph::new(width, height, pixels).expect("an orientation keeps the number of pixels")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters as grey pixels.
    fn photograph(rows: &[&str]) -> Photograph {
        let pixels = rows.concat().bytes().flat_map(|letter| [letter; 3]).collect();
        Photograph::new(rows[0].len(), rows.len(), pixels).unwrap()
    }

    /// The upright photograph "abc / def" as a camera stores it in each of the eight EXIF orientations.
    #[test]
    fn all_eight_orientations_become_upright() {
        let upright = photograph(&["abc", "def"]);
        for (exif, stored) in [
            (1, &["abc", "def"][..]),
            (2, &["cba", "fed"]),
            (3, &["fed", "cba"]),
            (4, &["def", "abc"]),
            (5, &["ad", "be", "cf"]),
            (6, &["cf", "be", "ad"]),
            (7, &["fc", "eb", "da"]),
            (8, &["da", "eb", "fc"]),
        ] {
            let orientation = Orientation::from_exif(exif).unwrap();
            let stored = photograph(stored);
            let sides = (stored.width(), stored.height());
            assert_eq!(turns(orientation), sides != (3, 2), "EXIF orientation {exif}");
            assert!(apply(stored, orientation) == upright, "EXIF orientation {exif}");
        }
    }

    #[test]
    fn large_photographs_are_turned_whole() {
        let (width, height) = (2 * TILE + 5, TILE + 3);
        let pixels: Vec<u8> = (0..width * height * 3).map(|index| (index % 251) as u8).collect();
        let stored = Photograph::new(width, height, pixels).unwrap();
        let turned = apply(stored.clone(), Orientation::Rotate90);
        assert_eq!((turned.width(), turned.height()), (height, width));
        assert!(turned != stored);
        assert!(apply(turned, Orientation::Rotate270) == stored);
    }

    #[test]
    fn unknown_numbers_are_upright() {
        for number in [None, Some(0), Some(9), Some(255)] {
            assert_eq!(from_exif(number), Orientation::NoTransforms);
        }
    }
}
