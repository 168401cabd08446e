//! Which library runs a graph, where both are there.
//!
//! Owns the table of what `cargo xtask bench backends` measured, and the choice by it. Must never know how a library runs a graph.
//!
//! The table is a part of the program: a start measures nothing, and two nodes choose alike. It was measured on one processor,
//! which it names; on another the order may differ, and `nn.backend` has the last word.

use std::sync::LazyLock;

use serde::Deserialize;

/// OpenVINO is taken if it needs at most this share of ONNX Runtime's time: a second library takes some 60 MB.
const GAIN: f64 = 0.9;

/// What was measured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// On which processor.
    processor: String,
    /// The day, as `2026-11-23`.
    date: String,
    #[serde(default)]
    graph: Vec<Row>,
}

/// Processor time of one graph at its usual shapes, the pair of sample photographs, milliseconds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    /// The model's digest: another model has other figures.
    sha256: String,
    /// The medians.
    onnx: f64,
    openvino: f64,
    /// How far the middle half of the rounds lies apart, of the library where it lies further.
    spread: f64,
}

impl Table {
    /// The one that this program was built with.
    pub(crate) fn built_in() -> &'static Self {
        static TABLE: LazyLock<Table> =
            LazyLock::new(|| toml::from_str(include_str!("choice/measured.toml")).expect("a test reads the same text"));
        &TABLE
    }

    /// Whether a graph runs on OpenVINO, and why.
    pub(crate) fn choose(&self, name: &str, sha256: &str) -> (bool, String) {
        let Some(row) = self.graph.iter().find(|row| row.name == name && row.sha256 == sha256) else {
            return (false, "it was not measured on OpenVINO".to_owned());
        };
        let Row { onnx, openvino, spread, .. } = row;
        let (faster, verdict) = match onnx - openvino {
            gain if gain <= 0.0 => (false, ", not less"),
            gain if gain <= *spread => (false, ", less by no more than the figures spread"),
            _ if *openvino > GAIN * onnx => (false, ", too little less for a second library"),
            _ => (true, ""),
        };
        let Self { processor, date, .. } = self;
        let figures = format!("OpenVINO took {openvino} ms, ONNX Runtime {onnx}, spread {spread}{verdict}");
        (faster, format!("{figures} (processor time; {processor}, {date})"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Config, Library};
    use super::*;

    fn table(openvino: f64, spread: f64) -> Table {
        let row = format!("name = \"a\"\nsha256 = \"00\"\nonnx = 10.0\nopenvino = {openvino}\nspread = {spread}");
        toml::from_str(&format!("processor = \"Z80\"\ndate = \"1976-07-01\"\n[[graph]]\n{row}")).unwrap()
    }

    #[test]
    fn openvino_must_be_faster_by_more_than_the_spread_and_by_a_tenth() {
        for (openvino, spread, expected, words) in [
            (8.0, 0.5, true, "OpenVINO took 8 ms, ONNX Runtime 10, spread 0.5 (processor time; Z80, 1976-07-01)"),
            (8.0, 2.0, false, "no more than the figures spread"),
            (9.5, 0.1, false, "too little"),
            (10.5, 0.1, false, "not less"),
        ] {
            let (faster, why) = table(openvino, spread).choose("a", "00");
            assert_eq!((faster, why.contains(words)), (expected, true), "{why}");
        }
    }

    #[test]
    fn another_model_has_no_figures() {
        for (name, sha256) in [("a", "11"), ("b", "00")] {
            let (faster, why) = table(1.0, 0.1).choose(name, sha256);
            assert_eq!((faster, why.contains("not measured")), (false, true), "{why}");
        }
    }

    #[test]
    fn the_faster_library_is_taken_if_it_is_there_and_compared_for_the_device() {
        let (here, nowhere) = (std::env::current_exe().unwrap(), PathBuf::from("/nowhere/libopenvino_c.so"));
        let usual = Library::OnnxRuntime(PathBuf::from("/a/libonnxruntime.so"));
        let place = |table: &Table, rival: Option<&PathBuf>, on_gpu| {
            let config = Config { rival: rival.cloned(), ..Config::new(usual.clone()) };
            let (library, why) = config.place(table, "a", "00", on_gpu);
            (library == usual, why)
        };
        let (faster, slower) = (table(8.0, 0.5), table(12.0, 0.5));
        for (table, rival, on_gpu, is_usual, words) in [
            (&faster, Some(&here), false, false, "OpenVINO took 8 ms"),
            (&faster, Some(&here), true, true, "this is a GPU"),
            (&faster, Some(&nowhere), false, true, "but there is no OpenVINO at /nowhere/libopenvino_c.so"),
            (&faster, None, false, true, "nn.backend names it"),
            (&slower, Some(&here), false, true, "not less"),
        ] {
            let (placed, why) = place(table, rival, on_gpu);
            assert_eq!((placed, why.contains(words)), (is_usual, true), "{why}");
        }
    }

    #[test]
    fn the_table_has_every_model_of_the_manifest() {
        let table = Table::built_in();
        let manifest = include_str!("../../../models/manifest.toml");
        let manifest = visavis_models::Manifest::parse(manifest).unwrap();
        let f32_only = |name: &str| manifest.precision(name) == visavis_models::Precision::F32;
        for (name, graph) in manifest.graphs().filter(|(name, _)| f32_only(name)) {
            let row = table.graph.iter().find(|row| row.name == name && row.sha256 == graph.sha256);
            let row = row.unwrap_or_else(|| panic!("{name} was not measured; run `cargo xtask bench backends`"));
            assert!(row.onnx > 0.0 && row.openvino > 0.0 && row.spread >= 0.0, "{row:?}");
        }
    }
}
