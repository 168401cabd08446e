//! The whole way from bytes to distances, over the real networks, against what facenet-pytorch finds.

mod support;

use std::collections::HashMap;

use face::mtcnn::Detection;
use face::rules::geometry::BoundingBox;
use face::rules::score;
use face::{mtcnn, search};
use support::networks::Native;
use support::{CROP, MAX_SIDE, PRODUCT, Reference, SETTINGS, photograph};

/// Detection on the photographs themselves, as the reference was made.
#[test]
fn faces_embeddings_and_distances_agree_with_the_reference() {
    let reference = Reference::read();
    let mut networks = Native::load();
    let mut worst = Deltas::default();
    let mut embeddings = HashMap::new();
    for image in &reference.images {
        let photograph = photograph(&image.file);
        assert_eq!((photograph.width(), photograph.height()), (image.width, image.height), "{}", image.file);
        let faces = search::faces(&photograph, 0, &SETTINGS, &mut networks).unwrap();
        assert_eq!(faces.len(), image.faces.len(), "{}: {faces:?}", image.file);

        let mut planes = Vec::new();
        for expected in &image.faces {
            let [x1, y1, x2, y2] = expected.bounding_box;
            let expected_box = BoundingBox::new(x1, y1, x2, y2);
            let found = closest(&faces, &expected_box);
            let size = expected_box.width().max(expected_box.height());
            let deltas = Deltas::between(found, expected);
            println!("{:24} {deltas:?}", image.file);
            assert!(deltas.edge <= f32::max(1.5, 0.01 * size), "{}: {found:?}", image.file);
            assert!(deltas.landmark <= f32::max(2.0, 0.02 * size), "{}: {found:?}", image.file);
            assert!(deltas.probability <= 0.02, "{}: {found:?}", image.file);
            worst = worst.max(deltas);
            CROP.append(&photograph, &found.bounding_box, &mut planes);
        }
        let found = networks.embed(&planes, image.faces.len());
        for (found, expected) in found.iter().zip(&image.faces) {
            let cosine = 1.0 - score::cosine_similarity(found, &expected.embedding);
            println!("{:24} 1 - cosine {cosine:.6}", image.file);
            assert!(cosine <= 0.005, "{}: {cosine}", image.file);
            worst.cosine = worst.cosine.max(cosine);
        }
        embeddings.extend(found.into_iter().next().map(|first| (image.file.as_str(), first)));
    }
    for pair in &reference.pairs {
        let (a, b) = (&embeddings[pair.a.as_str()], &embeddings[pair.b.as_str()]);
        let distance = (score::euclidean_distance(a, b) - pair.euclidean).abs();
        let cosine = (score::cosine_similarity(a, b) - pair.cosine).abs();
        assert!(distance <= 0.03 && cosine <= 0.03, "{} {}: {distance} {cosine}", pair.a, pair.b);
        worst.distance = worst.distance.max(distance);
    }
    println!("worst: {worst:?}");
}

/// The product's default, a copy of few pixels, must find the same face and say the same of every pair.
#[test]
fn a_bounded_copy_finds_the_same_prominent_face() {
    let reference = Reference::read();
    let mut networks = Native::load();
    let mut embeddings = HashMap::new();
    for image in &reference.images {
        let photograph = photograph(&image.file);
        let faces = search::faces(&photograph, MAX_SIDE, &PRODUCT, &mut networks).unwrap();
        assert_eq!(faces.is_empty(), image.faces.is_empty(), "{}: {faces:?}", image.file);
        let Some(prominent) = faces.first() else { continue };
        let expected = image
            .faces
            .iter()
            .find(|face| overlap(&prominent.bounding_box, face.bounding_box) > 0.75)
            .unwrap_or_else(|| panic!("{}: {prominent:?}", image.file));
        let mut planes = Vec::new();
        CROP.append(&photograph, &prominent.bounding_box, &mut planes);
        let embedding = networks.embed(&planes, 1).remove(0);
        let cosine = score::cosine_similarity(&embedding, &expected.embedding);
        println!(
            "{:24} {} faces, cosine {cosine:.4}, {:?}",
            image.file,
            faces.len(),
            Deltas::between(prominent, expected)
        );
        assert!(cosine >= 0.9, "{}: {cosine}", image.file);
        embeddings.insert(image.file.as_str(), embedding);
    }
    for pair in &reference.pairs {
        let distance = score::euclidean_distance(&embeddings[pair.a.as_str()], &embeddings[pair.b.as_str()]);
        println!("{:24} {:24} {:+.3}", pair.a, pair.b, distance - pair.euclidean);
        assert_eq!(distance <= 1.06, pair.euclidean <= 1.06, "{} {}: {distance}", pair.a, pair.b);
    }
}

/// Photographs smaller than any face, and odd shapes, have no face and cause no error.
#[test]
fn tiny_and_thin_photographs_have_no_face() {
    let mut networks = Native::load();
    for (width, height) in [(1, 1), (19, 19), (20, 20), (1, 3000), (3000, 1), (21, 500)] {
        let photograph = face::photograph::Photograph::new(width, height, vec![128; 3 * width * height]).unwrap();
        assert_eq!(mtcnn::detect(&photograph, None, &SETTINGS, &mut networks).unwrap(), [], "{width} x {height}");
    }
}

/// The largest differences between what is found and what was expected.
#[derive(Clone, Copy, Debug, Default)]
struct Deltas {
    /// Of a box's edges, pixels.
    edge: f32,
    /// Of a landmark's coordinates, pixels.
    landmark: f32,
    probability: f32,
    /// 1 - cosine similarity of the embeddings.
    cosine: f32,
    /// Of the Euclidean distances of pairs.
    distance: f32,
}

impl Deltas {
    fn between(found: &Detection, expected: &support::Face) -> Self {
        let BoundingBox { x1, y1, x2, y2 } = found.bounding_box;
        let edge = largest([x1, y1, x2, y2].into_iter().zip(expected.bounding_box));
        let found_points = found.landmarks.to_array().into_iter().flat_map(|point| [point.x, point.y]);
        let landmark = largest(found_points.zip(expected.landmarks.as_flattened().iter().copied()));
        let probability = (found.probability - expected.probability).abs();
        Self { edge, landmark, probability, ..Self::default() }
    }

    fn max(self, other: Self) -> Self {
        Self {
            edge: self.edge.max(other.edge),
            landmark: self.landmark.max(other.landmark),
            probability: self.probability.max(other.probability),
            cosine: self.cosine.max(other.cosine),
            distance: self.distance.max(other.distance),
        }
    }
}

fn largest(pairs: impl Iterator<Item = (f32, f32)>) -> f32 {
    pairs.map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

fn closest<'a>(faces: &'a [Detection], expected: &BoundingBox) -> &'a Detection {
    let BoundingBox { x1, y1, x2, y2 } = *expected;
    faces
        .iter()
        .max_by(|a, b| {
            let of = |face: &Detection| overlap(&face.bounding_box, [x1, y1, x2, y2]);
            of(a).total_cmp(&of(b))
        })
        .expect("as many faces as expected")
}

/// Intersection over union.
fn overlap(found: &BoundingBox, [x1, y1, x2, y2]: [f32; 4]) -> f32 {
    let expected = BoundingBox::new(x1, y1, x2, y2);
    let shared = BoundingBox::new(found.x1.max(x1), found.y1.max(y1), found.x2.min(x2), found.y2.min(y2)).area();
    shared / (found.area() + expected.area() - shared)
}
