//! `visavis analyze` against the reference: what facenet-pytorch 2.6.0 and this FaceNet give on the same photographs.
//!
//! The reference searches the photographs in full size, so the host does, too.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;
use visavis_tests::host::{Setup, repository};
use visavis_tests::photos;

fn reference() -> &'static Value {
    static REFERENCE: OnceLock<Value> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let path = repository().join("tests/golden/reference.json");
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).expect("the reference is JSON")
    })
}

/// The libraries that must agree with the reference. There is no OpenVINO for other processors.
const BACKENDS: &[&str] = if cfg!(target_arch = "x86_64") { &["onnx", "openvino"] } else { &["onnx"] };

/// Every line that `analyze` prints, by the backend and the photograph's name.
fn analyses() -> &'static BTreeMap<(&'static str, String), Value> {
    static ANALYSES: OnceLock<BTreeMap<(&str, String), Value>> = OnceLock::new();
    ANALYSES.get_or_init(|| BACKENDS.iter().flat_map(|backend| analyze(backend)).collect())
}

fn analyze(backend: &'static str) -> impl Iterator<Item = ((&'static str, String), Value)> {
    let names: Vec<_> = list(&reference()["images"]).iter().map(|image| text(&image["file"])).collect();
    assert!(names.len() >= 10, "{names:?}");
    let setup = Setup::new().set("VISAVIS_VERIFY__DETECT_MAX_SIDE", "0").set("VISAVIS_NN__BACKEND", backend);
    let arguments = ["analyze", "--json"].map(Into::into).into_iter();
    let output = setup.run(arguments.chain(names.iter().map(|name| photos::path(name))));
    assert!(output.status.success(), "{backend}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    let analyses: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(analyses.len(), names.len());
    for (analysis, name) in analyses.iter().zip(&names) {
        assert!(text(&analysis["file"]).ends_with(name), "the lines come in the order of the arguments");
    }
    names.into_iter().map(move |name| (backend, name.to_owned())).zip(analyses)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Each face of the reference with the one found nearest to it.
fn pairs() -> Vec<(String, &'static Value, &'static Value)> {
    BACKENDS.iter().flat_map(|backend| pairs_on(backend)).map(|(name, a, b)| (name.to_owned(), a, b)).collect()
}

fn pairs_on(backend: &'static str) -> Vec<(&'static str, &'static Value, &'static Value)> {
    let mut pairs = Vec::new();
    for image in list(&reference()["images"]) {
        let name = text(&image["file"]);
        let found = list(&analyses()[&(backend, name.to_owned())]["faces"]);
        for expected in list(&image["faces"]) {
            let far = |face: &&Value| -> f64 {
                numbers(&face["box"]).iter().zip(numbers(&expected["box"])).map(|(a, b)| (a - b).abs()).sum()
            };
            let nearest = found.iter().min_by(|a, b| far(a).total_cmp(&far(b)));
            pairs.push((name, expected, nearest.unwrap_or_else(|| panic!("{backend}: no face in {name}"))));
        }
    }
    assert!(pairs.len() >= 9);
    pairs
}

fn side(face: &Value) -> f64 {
    let corners = numbers(&face["box"]);
    (corners[2] - corners[0]).max(corners[3] - corners[1])
}

#[test]
fn the_same_faces_are_found() {
    for backend in BACKENDS {
        for image in list(&reference()["images"]) {
            let analysis = &analyses()[&(*backend, text(&image["file"]).to_owned())];
            assert_eq!(list(&analysis["faces"]).len(), list(&image["faces"]).len(), "{backend}: {}", image["file"]);
            assert_eq!(number(&analysis["width"]), number(&image["width"]), "{backend}: {}", image["file"]);
            assert_eq!(number(&analysis["height"]), number(&image["height"]), "{backend}: {}", image["file"]);
            assert!(analysis.get("error").is_none());
        }
        for name in photos::NO_FACE {
            assert!(list(&analyses()[&(*backend, name.to_owned())]["faces"]).is_empty(), "{backend}: {name}");
        }
    }
}

#[test]
fn boxes_are_within_one_and_a_half_pixels_or_one_percent() {
    for (name, expected, found) in pairs() {
        let tolerance = (0.01 * side(expected)).max(1.5);
        for (a, b) in numbers(&found["box"]).iter().zip(numbers(&expected["box"])) {
            assert!((a - b).abs() <= tolerance, "{name}: {} is not {}", found["box"], expected["box"]);
        }
    }
}

#[test]
fn landmarks_are_within_two_pixels_or_two_percent() {
    for (name, expected, found) in pairs() {
        let tolerance = (0.02 * side(expected)).max(2.0);
        let points = list(&found["landmarks"]);
        assert_eq!(points.len(), 5);
        for (a, b) in points.iter().flat_map(numbers).zip(list(&expected["landmarks"]).iter().flat_map(numbers)) {
            assert!((a - b).abs() <= tolerance, "{name}: {} is not {}", found["landmarks"], expected["landmarks"]);
        }
    }
}

#[test]
fn probabilities_are_within_two_hundredths() {
    for (name, expected, found) in pairs() {
        let (a, b) = (number(&found["confidence"]), number(&expected["probability"]));
        assert!((a - b).abs() <= 0.02, "{name}: {a} is not {b}");
    }
}

#[test]
fn embeddings_point_the_same_way() {
    for (name, expected, found) in pairs() {
        let (a, b) = (numbers(&found["embedding"]), numbers(&expected["embedding"]));
        assert_eq!(a.len(), 512, "{name}");
        let length = a.iter().map(|value| value * value).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-3, "{name}: the length is {length}");
        assert!(cosine(&a, &b) >= 0.995, "{name}: the cosine is {}", cosine(&a, &b));
    }
}

#[test]
fn distances_of_pairs_are_within_three_hundredths() {
    let reference = list(&reference()["pairs"]);
    assert!(reference.len() >= 28);
    for backend in BACKENDS {
        // The reference compares the first face of each photograph.
        let first = |name: &str| {
            let found = pairs_on(backend).into_iter().find(|(known, ..)| *known == name);
            numbers(&found.unwrap_or_else(|| panic!("no face in {name}")).2["embedding"])
        };
        for pair in reference {
            let (a, b) = (first(text(&pair["a"])), first(text(&pair["b"])));
            let distance = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let (expected, names) = (number(&pair["euclidean"]), (&pair["a"], &pair["b"]));
            assert!((distance - expected).abs() <= 0.03, "{backend}: {names:?}: {distance} is not {expected}");
        }
    }
}

#[test]
fn every_face_has_its_pose_and_the_frontal_rule() {
    for (name, _, found) in pairs() {
        assert_eq!(found["frontal"], true, "{name}: all samples look into the camera");
        for angle in ["yaw", "pitch", "roll"] {
            assert!((-45.0..=45.0).contains(&number(&found["pose"][angle])), "{name}: {}", found["pose"]);
        }
    }
}
