//! `visavis analyze` against the reference: what facenet-pytorch 2.6.0 and this FaceNet give on the same photographs.
//!
//! The reference searches the photographs in full size and computes in 32-bit floats, so the host does, too; the last tests
//! are about 8-bit integers, which processors that are made for them take by themselves, and about bf16.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;
use visavis_tests::host::{Setup, repository};
use visavis_tests::photos;

use crate::backends::{computes_in_bf16, openvino_is_there};

fn reference() -> &'static Value {
    static REFERENCE: OnceLock<Value> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let path = repository().join("tests/golden/reference.json");
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).expect("the reference is JSON")
    })
}

/// What must agree with the reference: OpenVINO where it is installed.
fn backends() -> &'static [&'static str] {
    if openvino_is_there() { &["onnx", "openvino", "auto"] } else { &["onnx", "auto"] }
}

/// Every line that `analyze` prints, by the backend and the photograph's name.
fn analyses() -> &'static BTreeMap<&'static str, BTreeMap<String, Value>> {
    static ANALYSES: OnceLock<BTreeMap<&str, BTreeMap<String, Value>>> = OnceLock::new();
    let analyze = |backend: &&'static str| (*backend, analyze(backend, "facenet-casia-webface", "0"));
    ANALYSES.get_or_init(|| backends().iter().map(analyze).collect())
}

fn analyze(backend: &str, embedder: &str, max_side: &str) -> BTreeMap<String, Value> {
    let names: Vec<_> = list(&reference()["images"]).iter().map(|image| text(&image["file"])).collect();
    assert!(names.len() >= 10, "{names:?}");
    let setup = Setup::new()
        .set("VISAVIS_NN__BACKEND", backend)
        .set("VISAVIS_MODELS__EMBEDDER", embedder)
        .set("VISAVIS_VERIFY__DETECT_MAX_SIDE", max_side);
    let arguments = ["analyze", "--json"].map(Into::into).into_iter();
    let output = setup.run(arguments.chain(names.iter().map(|name| photos::path(name))));
    assert!(output.status.success(), "{backend}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    let analyses: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(analyses.len(), names.len());
    for (analysis, name) in analyses.iter().zip(&names) {
        assert!(text(&analysis["file"]).ends_with(name), "the lines come in the order of the arguments");
    }
    names.into_iter().map(str::to_owned).zip(analyses).collect()
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
    backends().iter().flat_map(|backend| pairs_on(backend)).map(|(name, a, b)| (name.to_owned(), a, b)).collect()
}

fn pairs_on(backend: &'static str) -> Vec<(&'static str, &'static Value, &'static Value)> {
    let mut pairs = Vec::new();
    for image in list(&reference()["images"]) {
        let name = text(&image["file"]);
        let found = list(&analyses()[backend][name]["faces"]);
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

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

fn side(face: &Value) -> f64 {
    let corners = numbers(&face["box"]);
    (corners[2] - corners[0]).max(corners[3] - corners[1])
}

#[test]
fn the_same_faces_are_found() {
    for backend in backends() {
        for image in list(&reference()["images"]) {
            let analysis = &analyses()[backend][text(&image["file"])];
            assert_eq!(list(&analysis["faces"]).len(), list(&image["faces"]).len(), "{backend}: {}", image["file"]);
            assert_eq!(number(&analysis["width"]), number(&image["width"]), "{backend}: {}", image["file"]);
            assert_eq!(number(&analysis["height"]), number(&image["height"]), "{backend}: {}", image["file"]);
            assert!(analysis.get("error").is_none());
        }
        for name in photos::NO_FACE {
            assert!(list(&analyses()[backend][name]["faces"]).is_empty(), "{backend}: {name}");
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
    for backend in backends() {
        // The reference compares the first face of each photograph.
        let first = |name: &str| {
            let found = pairs_on(backend).into_iter().find(|(known, ..)| *known == name);
            numbers(&found.unwrap_or_else(|| panic!("no face in {name}")).2["embedding"])
        };
        for pair in reference {
            let (a, b) = (first(text(&pair["a"])), first(text(&pair["b"])));
            let distance = distance(&a, &b);
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

#[test]
fn integers_decide_every_pair_as_floats_do() {
    const THRESHOLD: f64 = 1.06;
    let libraries = backends().iter().filter(|backend| **backend != "auto");
    let runs = libraries.flat_map(|backend| [(backend, "0", Some(0.08)), (backend, "480", None)]);
    for (backend, max_side, tolerance) in runs {
        let analyses = analyze(backend, "facenet-casia-webface-int8", max_side);
        let first = |name: &Value| numbers(&list(&analyses[text(name)]["faces"])[0]["embedding"]);
        for pair in list(&reference()["pairs"]) {
            let (distance, expected) = (distance(&first(&pair["a"]), &first(&pair["b"])), number(&pair["euclidean"]));
            let what = format!("{backend}: {} and {}: {distance}, {expected}", pair["a"], pair["b"]);
            assert_eq!(distance <= THRESHOLD, expected <= THRESHOLD, "{what}");
            // The faces of a smaller copy have other edges, in whatever numbers the embedder computes.
            assert!(tolerance.is_none_or(|tolerance| (distance - expected).abs() <= tolerance), "{what}");
        }
    }
}

/// Products of the upper halves of floats, in the embedder alone: the crops are those of the reference, and the threshold is that of
/// floats because distances hardly move.
#[test]
fn bf16_decides_every_pair_as_floats_do() {
    const THRESHOLD: f64 = 1.06;
    if !openvino_is_there() || !computes_in_bf16() {
        return;
    }
    for backend in ["openvino", "auto"] {
        let analyses = analyze(backend, "facenet-casia-webface-bf16", "0");
        let first = |name: &Value| numbers(&list(&analyses[text(name)]["faces"])[0]["embedding"]);
        let mut furthest: f64 = 0.0;
        for pair in list(&reference()["pairs"]) {
            let (distance, expected) = (distance(&first(&pair["a"]), &first(&pair["b"])), number(&pair["euclidean"]));
            let what = format!("{backend}: {} and {}: {distance}, {expected}", pair["a"], pair["b"]);
            assert_eq!(distance <= THRESHOLD, expected <= THRESHOLD, "{what}");
            assert!((distance - expected).abs() <= 0.03, "{what}");
            furthest = furthest.max((distance - expected).abs());
        }
        eprintln!("{backend}: distances in bf16 are within {furthest:.4} of the reference");
    }
}

/// Whatever the processor is made for, the result says what was taken, and doctor says why.
#[test]
fn the_choice_of_the_embedder_is_told() {
    let doctor = Setup::new().run(["doctor"]);
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let line = told.lines().find(|line| line.contains("embedder ") && line.starts_with("ok")).expect("a line");
    let setup = Setup::new();
    let photographs = [photos::path("obama.jpg"), photos::path("biden.jpg")];
    let output = setup.run(["verify", "--json"].map(Into::into).into_iter().chain(photographs));
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let model = list(&result["models"]).last().expect("an embedder");
    let name = text(&model["name"]).strip_suffix("/embedding").expect("the embedder is the last").to_owned();
    assert!(line.contains(&format!("{name}: ")), "{line}");
    let made_for_integers = name == "facenet-casia-webface-int8";
    assert_eq!(line.contains("multiplies 8-bit integers"), made_for_integers, "{line}");
    assert_eq!(line.contains("no instructions"), !made_for_integers, "{line}");
}
