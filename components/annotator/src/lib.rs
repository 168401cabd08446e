//! The annotator component: draws what was seen in photographs, and what was decided of them.
//!
//! Owns the translation between the component's interface and the picture, and the refusals. Must never know networks,
//! HTTP or a rule of scoring: what is frontal and what is verified it is told.
//!
//! # Layout
//!
//! - `picture`: the layout of the whole.
//! - `face_marks`: what is drawn for one face.
//! - `text`: letters.
//! - `canvas`: pixels and shapes.

mod canvas;
mod face_marks;
mod picture;
mod text;

use face::decode;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::bindings::exports::visavis::face::annotate::{Guest, Photograph};
use crate::bindings::visavis::face::score::Verdict;
use crate::bindings::visavis::face::types::{Face, Point};
use crate::canvas::Canvas;
use crate::face_marks::{FaceMarks, Pose};
use crate::picture::{Column, Decision};

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "annotator" });

    export!(Annotator);

    use super::Annotator;
}

/// The most pixels that a photograph may declare. Whoever has an analysis of it has set a limit of his own before.
const MAX_PIXELS: u64 = 100_000_000;

struct Annotator;

impl Guest for Annotator {
    fn annotate(photographs: Vec<Photograph>, verdict: Option<Verdict>, threshold: f32) -> Result<Vec<u8>, String> {
        if !(1..=2).contains(&photographs.len()) {
            return Err(format!("One or two photographs are drawn side by side, not {}.", photographs.len()));
        }
        let compared = verdict.as_ref().map(|verdict| [verdict.faces.0, verdict.faces.1]);
        let sizes: Vec<_> = photographs.iter().map(|photo| (photo.analysis.width, photo.analysis.height)).collect();
        let height = picture::common_height(&sizes);
        // One after the other, and each photograph is gone once it is drawn: two large ones at a time need not fit into
        // memory.
        let columns = photographs.into_iter().enumerate().map(|(index, photograph)| {
            let which = format!("Photograph {} ({})", index + 1, photograph.caption);
            let meant = compared.map_or(0, |faces| faces[index]) as usize;
            column(photograph, meant, height).map_err(|reason| format!("{which}: {reason}"))
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let decision = verdict.map(|verdict| Decision {
            verified: verdict.verified,
            score: verdict.score,
            distance: verdict.euclidean_distance,
            cosine: verdict.cosine_similarity,
            threshold,
        });
        png(&picture::draw(&columns, decision))
    }
}

/// Decodes a photograph and brings it and its faces to the picture's scale. `meant` is the index of the face that
/// counts.
fn column(photograph: Photograph, meant: usize, height: usize) -> Result<Column, String> {
    let Photograph { bytes, analysis, caption, frontal } = photograph;
    if frontal.len() != analysis.faces.len() {
        return Err(format!("The analysis has {} faces and {} frontal flags.", analysis.faces.len(), frontal.len()));
    }
    let size = (analysis.width, analysis.height);
    let decoded = decode::decode(&bytes, MAX_PIXELS).map_err(|error| error.to_string())?;
    drop(bytes);
    if (decoded.width(), decoded.height()) != (size.0 as usize, size.1 as usize) {
        let (width, height) = (decoded.width(), decoded.height());
        return Err(format!("It has {width} x {height} pixels, and its analysis is of {} x {}.", size.0, size.1));
    }
    let (scaled, scale) = picture::scaled(&decoded, height);
    let faces = analysis.faces.iter().zip(frontal).enumerate();
    let faces = faces.map(|(index, (face, frontal))| marks(face, frontal, index == meant, scale)).collect();
    Ok(Column { photograph: scaled, name: caption, size, faces })
}

fn marks(face: &Face, frontal: bool, meant: bool, scale: f32) -> FaceMarks {
    let corners = [face.box_.x1, face.box_.y1, face.box_.x2, face.box_.y2].map(|side| side * scale);
    let points = &face.landmarks;
    let landmarks = [points.left_eye, points.right_eye, points.nose, points.left_mouth, points.right_mouth]
        .map(|Point { x, y }| (x * scale, y * scale));
    let pose = Pose { yaw: face.pose.yaw, pitch: face.pose.pitch, roll: face.pose.roll };
    FaceMarks { corners, landmarks, pose, confidence: face.confidence, frontal, meant }
}

fn png(canvas: &Canvas) -> Result<Vec<u8>, String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| "The picture is too large.".to_owned());
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(canvas.pixels(), side(canvas.width())?, side(canvas.height())?, ExtendedColorType::Rgb8)
        .map_err(|error| format!("The picture could not be written: {error}."))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
