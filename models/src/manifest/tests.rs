//! What a manifest may say, and what it may not.
//!
//! Owns the checks of the shipped manifest and of changed copies of it. Must never open a model.

use super::*;

const SHIPPED: &str = include_str!("../../manifest.toml");

fn refusal(from: &str, to: &str) -> String {
    assert!(SHIPPED.contains(from), "the manifest has no `{from}`");
    Manifest::parse(&SHIPPED.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn the_shipped_manifest_is_valid_and_names_its_graphs() {
    let manifest = Manifest::parse(SHIPPED).unwrap();
    let names: Vec<_> = manifest.graphs().map(|(name, _)| name).collect();
    let expected = [
        "mtcnn/proposal",
        "mtcnn/refinement",
        "mtcnn/output",
        "facenet-casia-webface/embedding",
        "facenet-casia-webface-int8/embedding",
        "facenet-casia-webface-bf16/embedding",
    ];
    assert_eq!(names, expected);
    assert_eq!(manifest.automatic_embedder(false).unwrap().name, "facenet-casia-webface");
    assert_eq!(manifest.automatic_embedder(true).unwrap().name, "facenet-casia-webface-int8");
    assert_eq!(manifest.embedder("facenet-casia-webface").unwrap().dimension, 512);
    assert_eq!(manifest.detector("mtcnn").unwrap().thresholds, [0.6, 0.7, 0.7]);
    let in_bf16 = |name: &String| manifest.precision(name) == Precision::Bf16;
    assert_eq!(names.iter().filter(|name| in_bf16(name)).collect::<Vec<_>>(), ["facenet-casia-webface-bf16/embedding"]);
}

#[test]
fn less_precision_is_taken_only_by_its_name() {
    // Whatever comes first.
    let lesser = "size = 160\nprecision = \"bf16\"";
    let manifest = Manifest::parse(&SHIPPED.replacen("quantized_from = \"facenet-casia-webface\"\n", "", 1).replacen(
        "size = 160",
        lesser,
        1,
    ))
    .unwrap();
    for fast_int8 in [false, true] {
        assert_eq!(manifest.automatic_embedder(fast_int8).unwrap().name, "facenet-casia-webface-int8");
    }
    let quantized = "quantized_from = \"facenet-casia-webface\"";
    let message = refusal(quantized, &format!("{quantized}\nprecision = \"bf16\""));
    assert!(message.contains("facenet-casia-webface-int8, precision"), "{message}");
    assert!(refusal("precision = \"bf16\"", "precision = \"f16\"").contains("f16"));
}

#[test]
fn an_embedder_without_a_twin_is_taken_on_every_processor() {
    let text = SHIPPED.replace("quantized_from = \"facenet-casia-webface\"\n", "");
    for fast_int8 in [false, true] {
        let manifest = Manifest::parse(&text).unwrap();
        assert_eq!(manifest.automatic_embedder(fast_int8).unwrap().name, "facenet-casia-webface");
    }
    let message = Manifest::parse("").unwrap().automatic_embedder(true).unwrap_err().to_string();
    assert!(message.contains("[[embedder]]"), "{message}");
}

#[test]
fn an_unknown_name_lists_the_known_and_the_mend() {
    let message = Manifest::parse(SHIPPED).unwrap().embedder("arcface").unwrap_err().to_string();
    for part in ["`arcface`", "`facenet-casia-webface`", "[[embedder]]"] {
        assert!(message.contains(part), "{message} lacks {part}");
    }
}

#[test]
fn an_operator_adds_an_embedder_by_an_entry_alone() {
    let entry = format!(
        "{SHIPPED}\n[[embedder]]\nname = \"mine\"\nlicence = \"proprietary\"\ninput = \"x\"\noutput = \"y\"\n\
         size = 112\nmean = 0.0\nscale = 255.0\ncrop_margin = 0\ndimension = 128\nthreshold = 1.2\nslope = 9\n\
         graph = {{ file = \"mine.onnx\", sha256 = \"{}\" }}\n",
        "0".repeat(64)
    );
    let manifest = Manifest::parse(&entry).unwrap();
    let mine = manifest.embedder("mine").unwrap();
    assert_eq!((mine.size, mine.dimension, mine.graph_name().as_str()), (112, 128, "mine/embedding"));
}

#[test]
fn values_that_can_not_be_right_are_refused_by_name() {
    assert!(refusal("size = 160", "size = 0").contains("size"));
    assert!(refusal("threshold = 1.06", "threshold = 2.5").contains("threshold"));
    assert!(refusal("slope = 18.0", "slope = nan").contains("slope"));
    assert!(refusal("crop_margin = 32.0", "crop_margin = 160.0").contains("crop_margin"));
    assert!(refusal("mean = 127.5", "mean = inf").contains("mean"));
    assert!(refusal("scale = 128.0", "scale = 0.0").contains("scale"));
    assert!(refusal("pyramid_factor = 0.709", "pyramid_factor = 1.0").contains("pyramid_factor"));
    assert!(refusal("name = \"mtcnn\"", "name = \"a/b\"").contains("a/b"));
    assert!(refusal("name = \"facenet-casia-webface\"", "name = \"auto\"").contains("choose another"));
    let origin = "quantized_from = \"facenet-casia-webface\"";
    for other in ["arcface", "facenet-casia-webface-int8"] {
        let message = refusal(origin, &format!("quantized_from = \"{other}\""));
        assert!(message.contains("quantized_from") && message.contains(other), "{message}");
    }
    let message = refusal("crop_margin = 32.0", "crop_margin = 20.0");
    assert!(message.contains("quantized_from") && message.contains("crop_margin"), "{message}");
}

#[test]
fn files_stay_where_they_belong() {
    for name in ["../proposal.onnx", "a/b.onnx", "a\\b.onnx", "/etc/passwd", "..", ""] {
        let escaped = name.replace('\\', "\\\\");
        let message = refusal("file = \"mtcnn-proposal.onnx\"", &format!("file = \"{escaped}\""));
        assert!(message.contains("without a folder"), "{name}: {message}");
    }
    let message = refusal("facenet_pytorch/data/pnet.pt", "../pnet.pt");
    assert!(message.contains("inside the archive"), "{message}");
}

#[test]
fn an_unknown_key_is_an_error() {
    assert!(refusal("crop_margin", "crop_margins").contains("crop_margins"));
}
