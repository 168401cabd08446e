//! How many inferences a second guests get through `wasi:nn`, and how long a fresh instance takes: what `cargo xtask bench
//! inference` and `bench host` ask for.
//!
//! Owns the call of a component, with either library. Must never know what it is compared with.

use std::fs;
use std::time::{Duration, Instant};

use visavis_pace::{Instances, Order};

use super::analyzer::Analyzer;
use super::bindings::analyze::{Detector, Embed, Embedder, Settings};
use super::scorer::Scorer;
use super::{Cache, Cancel, Candidate, Clockwork, Limits, Sizes, Slot, Source};
use crate::nn::{Config, GraphSource, Library, Nn, Precision};

#[path = "../../../bench/pace/settings.rs"]
mod settings;

const HOUR: Duration = Duration::from_secs(3600);

/// Bytes that a guest may take: the largest input a few times.
const MEMORY: usize = 256 << 20;

#[test]
#[ignore = "a measurement, which `cargo xtask bench inference` orders"]
fn of_the_graph_that_is_ordered() {
    let order = Order::given().unwrap();
    let (name, model) = (order.graph.0.clone(), fs::read(&order.graph.1).unwrap());
    let is_openvino = order.library.to_string_lossy().contains("openvino");
    let library = if is_openvino { Library::OpenVino } else { Library::OnnxRuntime }(order.library.clone());
    let graph = GraphSource { name, model, sha256: String::new(), precision: Precision::F32 };
    let nn = Nn::start(&Config::new(library), [graph]).unwrap();
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
}

#[test]
#[ignore = "a measurement, which `cargo xtask bench host` orders"]
fn of_fresh_instances() {
    let order = Instances::given().unwrap();
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
}
