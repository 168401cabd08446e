//! What the integration tests stand on: the assets that set-up made, the reference results, and the real networks.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod bitmaps;
pub(crate) mod calibration;
pub(crate) mod files;
pub(crate) mod networks;

use std::path::PathBuf;

use face::embedding::Crop;
use face::mtcnn::Settings;
use face::photograph::Photograph;
use face::resize::Normalization;
use libjpeg_turbo_rs::{PixelFormat, Subsampling};
use serde::Deserialize;

/// The product's limit on pixels.
pub(crate) const MAX_PIXELS: u64 = 40_000_000;

/// The product's default: the longer side of the copy that faces are searched on, pixels.
pub(crate) const MAX_SIDE: usize = 480;

const NORMALIZATION: Normalization = Normalization { mean: 127.5, scale: 128.0 };

/// The settings that the reference was made with.
pub(crate) const SETTINGS: Settings =
    Settings { normalization: NORMALIZATION, thresholds: [0.6, 0.7, 0.7], pyramid_factor: 0.709, min_face: 20 };

/// The product's default: the smallest face goes by the photograph.
pub(crate) const PRODUCT: Settings = Settings { min_face: face::search::AUTO, ..SETTINGS };

/// The crop that the reference was made with.
pub(crate) const CROP: Crop = Crop { size: 160, margin: 32.0, normalization: NORMALIZATION };

/// A file that `cargo xtask setup` makes. Looked up in the folder that the variable VISAVIS_ASSETS names, else in the
/// workspace's `target/visavis`.
pub(crate) fn asset(path: &str) -> PathBuf {
    let folder = std::env::var_os("VISAVIS_ASSETS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/visavis")), PathBuf::from);
    let file = folder.join(path);
    assert!(file.exists(), "{} is missing: run `cargo xtask setup`", file.display());
    file
}

/// The bytes of a sample photograph.
pub(crate) fn photo(name: &str) -> Vec<u8> {
    std::fs::read(asset(&format!("photos/{name}"))).expect("a readable photograph")
}

/// A sample photograph, decoded.
pub(crate) fn photograph(name: &str) -> Photograph {
    face::decode::decode(&photo(name), MAX_PIXELS).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A photograph as a JPEG of quality 90.
pub(crate) fn jpeg(photograph: &Photograph) -> Vec<u8> {
    let (width, height) = (photograph.width(), photograph.height());
    libjpeg_turbo_rs::compress(photograph.pixels(), width, height, PixelFormat::Rgb, 90, Subsampling::S420)
        .expect("any pixels can be written")
}

/// What facenet-pytorch finds on the sample photographs.
#[derive(Deserialize)]
pub(crate) struct Reference {
    pub(crate) images: Vec<Image>,
    pub(crate) pairs: Vec<Pair>,
}

#[derive(Deserialize)]
pub(crate) struct Image {
    pub(crate) file: String,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) faces: Vec<Face>,
}

#[derive(Deserialize)]
pub(crate) struct Face {
    #[serde(rename = "box")]
    pub(crate) bounding_box: [f32; 4],
    pub(crate) probability: f32,
    pub(crate) landmarks: [[f32; 2]; 5],
    pub(crate) embedding: Vec<f32>,
}

#[derive(Deserialize)]
pub(crate) struct Pair {
    pub(crate) a: String,
    pub(crate) b: String,
    pub(crate) euclidean: f32,
    pub(crate) cosine: f32,
}

impl Reference {
    pub(crate) fn read() -> Self {
        let text = include_str!("../../../../tests/golden/reference.json");
        serde_json::from_str(text).expect("a reference of the known layout")
    }
}
