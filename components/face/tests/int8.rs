//! FaceNet in 8-bit integers against what facenet-pytorch finds: it may see a little else, and decides the same.

mod support;

use std::collections::HashMap;

use face::rules::score;
use face::search;
use support::networks::{Embedder, Native};
use support::{CROP, MAX_SIDE, PRODUCT, Reference, photograph};
use visavis_models::Manifest;

/// Largest difference of a pair's distance from the reference's, ...
const FROM_REFERENCE: f32 = 0.08;
/// ... and from that of the same crops in floats.
const FROM_FLOATS: f32 = 0.03;

#[test]
fn every_pair_is_decided_as_in_the_reference() {
    let manifest = Manifest::parse(include_str!("../../../models/manifest.toml")).unwrap();
    let threshold = |name: &str| manifest.embedder(name).unwrap().threshold;
    let (whole, quantized) = (threshold("facenet-casia-webface"), threshold("facenet-casia-webface-int8"));
    let reference = Reference::read();
    let (mut floats, mut integers) = (Native::load(), Native::with(Embedder::Int8));
    // On the photographs themselves, as the reference was made, and on the product's copies.
    for max_side in [0, MAX_SIDE] {
        let mut embeddings = HashMap::new();
        for image in &reference.images {
            let photograph = photograph(&image.file);
            let faces = search::faces(&photograph, max_side, &PRODUCT, &mut floats).unwrap();
            let Some(face) = faces.first() else { continue };
            let mut planes = Vec::new();
            CROP.append(&photograph, &face.bounding_box, &mut planes);
            let both = [floats.embed(&planes, 1).remove(0), integers.embed(&planes, 1).remove(0)];
            embeddings.insert(image.file.as_str(), both);
        }
        let (mut from_reference, mut from_floats, mut sum) = (0.0_f32, 0.0_f32, 0.0);
        for pair in &reference.pairs {
            let (a, b) = (&embeddings[pair.a.as_str()], &embeddings[pair.b.as_str()]);
            let [float, integer] = [0, 1].map(|embedder| score::euclidean_distance(&a[embedder], &b[embedder]));
            assert_eq!(integer <= quantized, pair.euclidean <= whole, "{} {}: {integer}", pair.a, pair.b);
            from_reference = from_reference.max((integer - pair.euclidean).abs());
            from_floats = from_floats.max((integer - float).abs());
            sum += integer - float;
        }
        let mean = sum / reference.pairs.len() as f32;
        println!(
            "side {max_side}: {from_reference:.4} from the reference, {from_floats:.3} from floats, mean {mean:+.4}"
        );
        assert!(from_floats <= FROM_FLOATS, "side {max_side}: {from_floats}");
        // A copy's faces have other edges, which moves distances in floats, too.
        assert!(from_reference <= FROM_REFERENCE, "side {max_side}: {from_reference}");
    }
}

/// A face's vector does not depend on who else is in the batch.
#[test]
fn a_face_is_the_same_alone_and_among_others() {
    let mut networks = Native::with(Embedder::Int8);
    let mut planes = Vec::new();
    for name in ["obama.jpg", "biden.jpg"] {
        let photograph = photograph(name);
        let faces = search::faces(&photograph, MAX_SIDE, &PRODUCT, &mut networks).unwrap();
        CROP.append(&photograph, &faces[0].bounding_box, &mut planes);
    }
    let together = networks.embed(&planes, 2);
    for (crop, vector) in planes.chunks(CROP.values()).zip(&together) {
        assert!(score::euclidean_distance(&networks.embed(crop, 1)[0], vector) < 1e-4);
    }
}
