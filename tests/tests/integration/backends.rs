//! Which library runs a graph, as operators are told.
//!
//! Owns `nn.backend` as users see it. That both libraries compute the same is held in `golden`. Must never know how a library runs
//! a graph.

use visavis_tests::host::{Setup, repository};
use visavis_tests::photos;

/// Whether set-up has fetched OpenVINO; says so where it has not.
pub(crate) fn openvino_is_there() -> bool {
    let path = photos::assets().join("lib/openvino/libopenvino_c.so");
    let there = path.exists();
    if !there {
        eprintln!("skipped: there is no {}; run `cargo xtask setup --openvino`", path.display());
    }
    there
}

/// Whether the processor multiplies bf16; says so where it does not.
pub(crate) fn computes_in_bf16() -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let computes = flags.split_whitespace().any(|flag| flag == "avx512_bf16");
    if !computes {
        eprintln!("skipped: this processor has no instructions for bf16");
    }
    computes
}

/// What doctor says of the graphs: their names, and where each runs and why.
fn placements(setup: &Setup) -> Vec<(String, String)> {
    let doctor = setup.run(["doctor"]);
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let lines = told.lines().filter_map(|line| line.strip_prefix("ok    graph")).map(str::trim);
    let split = lines.map(|line| line.split_once(" on ").expect("what runs it"));
    let placements: Vec<_> = split.map(|(name, placed)| (name.to_owned(), placed.to_owned())).collect();
    assert_eq!(placements.len(), 4, "{told}");
    placements
}

#[test]
fn every_graph_runs_where_it_was_measured_to_be_faster() {
    let path = repository().join("host/src/nn/choice/measured.toml");
    let table: toml::Table = std::fs::read_to_string(&path).expect("the table").parse().expect("TOML");
    let rows = table["graph"].as_array().expect("graphs");
    for (name, placed) in placements(&Setup::new()) {
        let row = rows.iter().find(|row| row["name"].as_str() == Some(&name)).expect("it was measured");
        let [onnx, openvino, spread] = ["onnx", "openvino", "spread"].map(|key| row[key].as_float().expect("a number"));
        let faster = onnx - openvino > spread && openvino <= 0.9 * onnx;
        let library = if faster && openvino_is_there() { "OpenVINO 20" } else { "ONNX Runtime 1." };
        assert!(placed.starts_with(library), "{name}: {placed}");
        let figures = format!("OpenVINO took {openvino} ms, ONNX Runtime {onnx}, spread {spread}");
        assert!(placed.contains(&figures), "{name}: {placed}");
    }
}

#[test]
fn a_backend_that_is_named_runs_all_graphs() {
    for (backend, library) in [("onnx", "ONNX Runtime 1."), ("openvino", "OpenVINO 20")] {
        if backend == "openvino" && !openvino_is_there() {
            continue;
        }
        for (name, placed) in placements(&Setup::new().set("VISAVIS_NN__BACKEND", backend)) {
            assert!(placed.starts_with(library) && placed.ends_with("nn.backend names it"), "{name}: {placed}");
        }
    }
}

/// The embedder that computes in bf16 alone; the detector runs as ever.
const BF16: &str = "facenet-casia-webface-bf16";

#[test]
fn bf16_is_for_the_embedder_that_says_so() {
    if !openvino_is_there() || !computes_in_bf16() {
        return;
    }
    for (name, placed) in placements(&Setup::new().set("VISAVIS_MODELS__EMBEDDER", BF16)) {
        let in_bf16 = placed.contains("in bf16: nothing else computes in bf16");
        assert_eq!(in_bf16, name.starts_with(BF16), "{name}: {placed}");
    }
}

/// What cannot be had is refused at start, with what would mend it.
#[test]
fn bf16_is_refused_where_nothing_computes_in_it() {
    let told = |setup: Setup| {
        let doctor = setup.set("VISAVIS_MODELS__EMBEDDER", BF16).run(["doctor"]);
        assert!(!doctor.status.success());
        String::from_utf8_lossy(&doctor.stdout).into_owned()
    };
    let on_onnx = told(Setup::new().set("VISAVIS_NN__BACKEND", "onnx"));
    let mend =
        "cannot compute in bf16: ONNX Runtime computes as the model says; set nn.backend to \"auto\" or \"openvino\"";
    assert!(on_onnx.contains(mend) && on_onnx.contains(&format!("'{BF16}/embedding'")), "{on_onnx}");
    if !computes_in_bf16() {
        let here = told(Setup::new());
        assert!(here.contains("this processor has no instructions for it"), "{here}");
        return;
    }
    // Assets without OpenVINO.
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["components", "models", "photos"] {
        std::os::unix::fs::symlink(photos::assets().join(name), folder.path().join(name)).expect("a link");
    }
    std::fs::create_dir(folder.path().join("lib")).expect("a folder");
    let library = "lib/libonnxruntime.so";
    std::os::unix::fs::symlink(photos::assets().join(library), folder.path().join(library)).expect("a link");
    let without = told(Setup::new().set("VISAVIS_ASSETS", &folder.path().to_string_lossy()));
    assert!(without.contains("run `cargo xtask setup --openvino`"), "{without}");
}

/// A hint shares the processors out; doctor says how.
#[test]
fn a_hint_is_told_as_what_it_means() {
    for (hint, sessions) in [("throughput", 3), ("latency", 1)] {
        let setup = Setup::new().set("VISAVIS_NN__HINT", hint).set("VISAVIS_NN__SESSIONS", &sessions.to_string());
        let doctor = setup.run(["doctor"]);
        let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
        let threads = if hint == "latency" { std::thread::available_parallelism().expect("a number").get() } else { 1 };
        assert!(told.contains(&format!("{sessions} inferences at once with {threads} threads each")), "{told}");
    }
}
