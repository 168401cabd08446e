//! The component's own function, on the sample photographs with the faces that the reference found in them.

use std::path::{Path, PathBuf};

use image::ImageDecoder;
use image::codecs::png::PngDecoder;

use super::*;
use crate::bindings::visavis::face::types::{self, Analysis, BoundingBox, Landmarks};

fn photo(file: &str) -> Vec<u8> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/visavis");
    let assets = std::env::var_os("VISAVIS_ASSETS").map_or_else(built, PathBuf::from);
    let path = assets.join("photos").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()))
}

fn face(corners: [f32; 4], points: [(f32, f32); 5], confidence: f32, pose: (f32, f32, f32)) -> Face {
    let [x1, y1, x2, y2] = corners;
    let [left_eye, right_eye, nose, left_mouth, right_mouth] = points.map(|(x, y)| Point { x, y });
    Face {
        box_: BoundingBox { x1, y1, x2, y2 },
        confidence,
        landmarks: Landmarks { left_eye, right_eye, nose, left_mouth, right_mouth },
        pose: types::Pose { yaw: pose.0, pitch: pose.1, roll: pose.2 },
        embedding: vec![],
    }
}

fn photograph(file: &str, size: (u32, u32), faces: Vec<Face>, frontal: Vec<bool>) -> Photograph {
    let analysis = Analysis { width: size.0, height: size.1, faces, timings: vec![] };
    Photograph { bytes: photo(file), analysis, caption: file.to_owned(), frontal }
}

fn obama() -> Photograph {
    let meant = face(
        [367.468, 78.986, 616.357, 428.281],
        [(445.307, 214.714), (551.663, 214.21), (497.675, 277.703), (435.554, 324.796), (557.15, 320.539)],
        0.999736,
        (1.2, 0.4, -0.3),
    );
    let other = face(
        [776.779, 991.549, 831.752, 1052.287],
        [(794.088, 1017.459), (814.899, 1010.91), (806.89, 1026.024), (799.151, 1039.594), (814.508, 1035.695)],
        0.815108,
        (12.0, -9.0, -17.5),
    );
    photograph("obama.jpg", (910, 1137), vec![meant, other], vec![true, false])
}

fn biden() -> Photograph {
    let meant = face(
        [427.137, 167.043, 713.63, 560.418],
        [(535.237, 319.258), (655.381, 344.925), (597.835, 407.091), (518.866, 461.862), (624.954, 480.317)],
        0.999992,
        (13.0, 3.0, 12.1),
    );
    photograph("biden.jpg", (970, 2204), vec![meant], vec![false])
}

fn verdict() -> Verdict {
    Verdict {
        verified: false,
        score: 0.0312,
        euclidean_distance: 1.2507,
        cosine_similarity: 0.2179,
        faces: (0, 0),
        frontal: (true, false),
    }
}

/// Width, height and pixels of a PNG.
fn decoded(png: &[u8]) -> (usize, usize, Vec<u8>) {
    let decoder = PngDecoder::new(std::io::Cursor::new(png)).expect("a PNG");
    assert_eq!(decoder.color_type(), image::ColorType::Rgb8);
    let (width, height) = decoder.dimensions();
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels).expect("whole");
    (width as usize, height as usize, pixels)
}

#[test]
fn two_photographs_and_their_verdict_become_one_picture() {
    let png = Annotator::annotate(vec![obama(), biden()], Some(verdict()), 1.06).unwrap();
    let (width, height, pixels) = decoded(&png);
    // 640 high each, 512 and 300 wide after their column's least; margins, band, and names around them.
    assert_eq!((width, height), (16 + 512 + 16 + 300 + 16, 80 + 16 + 48 + 640 + 16));
    let pixel = |x: usize, y: usize| <[u8; 3]>::try_from(&pixels[(y * width + x) * 3..][..3]).unwrap();
    assert_eq!([pixel(0, 0), pixel(width - 1, 79)], [[190, 40, 45]; 2]);
    // The middles of both left sides: green for the one who looks here, amber for the other.
    let scale = 640.0 / 1137.0;
    assert_eq!(pixel(16 + (367.468 * scale) as usize, 144 + (250.0 * scale) as usize), [46, 204, 113]);
    let scale = 640.0 / 2204.0;
    let left = 16 + 512 + 16;
    assert_eq!(pixel(left + (427.137 * scale) as usize, 144 + (400.0 * scale) as usize), [255, 176, 32]);
}

#[test]
fn a_photograph_without_a_face_is_drawn_without_marks() {
    let chelsea = || photograph("chelsea.png", (451, 300), vec![], vec![]);
    let (width, height, pixels) = decoded(&Annotator::annotate(vec![chelsea()], None, 1.06).unwrap());
    assert_eq!((width, height), (16 + 902 + 16, 16 + 48 + 600 + 16));
    let column = column(chelsea(), 0, 600).unwrap();
    let row = (64 + 300) * width + 16;
    assert_eq!(pixels[row * 3..][..902 * 3], column.photograph.pixels()[300 * 902 * 3..][..902 * 3]);
}

#[test]
fn refusals_name_the_photograph() {
    let refusal = |photographs| Annotator::annotate(photographs, Some(verdict()), 1.06).unwrap_err();
    let mut torn = biden();
    torn.bytes.truncate(5000);
    let text = refusal(vec![obama(), torn]);
    assert!(text.starts_with("Photograph 2 (biden.jpg): The JPEG file is damaged"), "{text}");
    let mut words = obama();
    words.bytes = b"no photograph".to_vec();
    let text = refusal(vec![words, biden()]);
    assert!(text.starts_with("Photograph 1 (obama.jpg): The file is not an image"), "{text}");
    let mut another = obama();
    another.analysis.width = 911;
    let text = "Photograph 1 (obama.jpg): It has 910 x 1137 pixels, and its analysis is of 911 x 1137.";
    assert_eq!(refusal(vec![another]), text);
    let mut unsaid = obama();
    unsaid.frontal.pop();
    let text = "Photograph 1 (obama.jpg): The analysis has 2 faces and 1 frontal flags.";
    assert_eq!(refusal(vec![unsaid]), text);
    assert_eq!(refusal(vec![]), "One or two photographs are drawn side by side, not 0.");
    assert_eq!(refusal(vec![obama(), obama(), biden()]), "One or two photographs are drawn side by side, not 3.");
}
