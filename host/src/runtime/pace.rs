//! How many inferences a second guests get through `wasi:nn`, and how long a fresh instance takes: what `cargo xtask bench
//! inference` and `bench host` ask for.
//!
//! Owns the call of a component, with either library; without an order it measures little, to see that it works. Must never
//! know what it is compared with.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use visavis_pace::{Instances, Order, Pace};

use super::analyzer::Analyzer;
use super::bindings::analyze::{Detector, Embed, Embedder, Settings};
use super::scorer::Scorer;
use super::{Cache, Cancel, Candidate, Clockwork, Limits, Sizes, Slot, Source};
use crate::nn::fixture::{assets, library};
use crate::nn::{Config, GraphSource, Library, Nn, Precision};

#[path = "../../../bench/pace/settings.rs"]
mod settings;

const HOUR: Duration = Duration::from_secs(3600);

/// Bytes that a guest may take: the largest input a few times.
const MEMORY: usize = 256 << 20;

#[test]
fn of_the_graph_that_is_ordered() {
    let answers = tempfile::tempdir().unwrap();
    let order = Order::given().unwrap().unwrap_or_else(|| Order {
        component: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/visavis-tests/inferring_analyzer.wasm"),
        library: library(),
        graph: ("mtcnn-output".to_owned(), assets().join("models/mtcnn-output.onnx")),
        words: "graph=mtcnn-output input=input shape=2x3x48x48 times=2".to_owned(),
        callers: 2,
        seconds: 0.2,
        answer: answers.path().join("pace.json"),
    });
    let (name, model) = (order.graph.0.clone(), fs::read(&order.graph.1).unwrap());
    let is_openvino = order.library.to_string_lossy().contains("openvino");
    let kind = if is_openvino { Library::OpenVino } else { Library::OnnxRuntime }(order.library.clone());
    let graph = GraphSource { name, model, sha256: String::new(), precision: Precision::F32 };
    let nn = Nn::start(&Config::new(kind), [graph]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clockwork = Clockwork::start(Sizes { instances: 16, warm: 8, memory: MEMORY }).unwrap();
    let cache = Cache::open(folder.path(), &folder.path().join("none")).unwrap();
    let candidate = Candidate {
        source: Source::read(Slot::Analyzer, &order.component).unwrap(),
        generation: 1,
        limits: Limits { memory: MEMORY, deadline: HOUR },
    };
    let analyzer = Analyzer::load(&clockwork, &cache, candidate).unwrap();
    let call = || {
        let deadline = Instant::now() + HOUR;
        let words = order.words.as_bytes();
        let trace = Default::default();
        let (analysis, _) = analyzer.analyze(&nn, words, &settings::settings(), deadline, Cancel::default(), &trace);
        let analysis = analysis.unwrap().unwrap();
        Ok(analysis.faces.into_iter().next().expect("an output").embedding)
    };
    order.carry_out(call).unwrap();
    let pace: Pace = serde_json::from_slice(&fs::read(&order.answer).unwrap()).unwrap();
    assert!(!pace.output.is_empty() && pace.milliseconds.len() >= order.callers, "{}", pace.milliseconds.len());
}

#[test]
fn of_fresh_instances() {
    let answers = tempfile::tempdir().unwrap();
    let order = Instances::given().unwrap().unwrap_or_else(|| Instances {
        components: ["analyzer", "scorer"].map(|name| assets().join(format!("components/{name}.wasm"))),
        library: library(),
        times: 3,
        answer: answers.path().join("instances.json"),
    });
    let nn = Nn::start(&Config::new(Library::OnnxRuntime(order.library.clone())), []).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clockwork = Clockwork::start(Sizes { instances: 16, warm: 8, memory: MEMORY }).unwrap();
    let cache = Cache::open(folder.path(), &folder.path().join("none")).unwrap();
    let candidate = |slot, path| Candidate {
        source: Source::read(slot, path).unwrap(),
        generation: 1,
        limits: Limits { memory: MEMORY, deadline: HOUR },
    };
    let [analyzer, scorer] = &order.components;
    let analyzer = Analyzer::load(&clockwork, &cache, candidate(Slot::Analyzer, analyzer)).unwrap();
    let scorer = Scorer::load(&clockwork, &cache, candidate(Slot::Scorer, scorer)).unwrap();
    let analyze = || Ok(analyzer.instantiate(&nn, Instant::now() + HOUR)?);
    let score = || Ok(scorer.instantiate()?);
    order.carry_out([&analyze, &score]).unwrap();
    let microseconds: [Vec<f64>; 2] = serde_json::from_slice(&fs::read(&order.answer).unwrap()).unwrap();
    assert!(microseconds.iter().all(|each| each.len() == order.times && each.iter().all(|it| *it > 0.0)));
}
