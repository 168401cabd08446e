//! Inferences a second through `wasi:nn`: both of the host's libraries, beside wasmtime's own ONNX backend.
//!
//! Owns the graphs, their shapes and the rounds. The same component asks in all of them: in `runtime::pace`, a measurement among
//! the host's own tests, and in `bench/stock`, a program around wasmtime's wasi-nn as it comes. Must never know how either works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use visavis_pace::{Order, Pace};
use visavis_tests::host::repository;
use visavis_tests::photos;

use crate::Effort;
use crate::report::{Bound, Report, Role};

const OURS: &str = "visavis, ONNX Runtime";
const OPENVINO: &str = "visavis, OpenVINO";
const STOCK: &str = "wasmtime's wasi-nn, ONNX Runtime";

/// The measurement among the host's tests.
const MEASUREMENT: &str = "runtime::pace::of_the_graph_that_is_ordered";

/// Times the inferences of wasmtime's own backend, at two callers.
const FASTER: f64 = 2.0;

/// Callers at a time.
const CALLERS: [usize; 4] = [1, 2, 4, 8];

/// A graph as a verification uses it.
struct Graph {
    name: &'static str,
    model: &'static str,
    /// Of its input.
    shape: &'static str,
    /// Inferences of one call, so that a call takes some milliseconds.
    times: usize,
}

const GRAPHS: [Graph; 5] = [
    Graph { name: "P-Net, 288 x 231", model: "mtcnn-proposal", shape: "1x3x288x231", times: 4 },
    Graph { name: "R-Net, 64 crops", model: "mtcnn-refinement", shape: "64x3x24x24", times: 8 },
    Graph { name: "O-Net, 8 crops", model: "mtcnn-output", shape: "8x3x48x48", times: 8 },
    Graph { name: "FaceNet, 8 bits", model: "facenet-casia-webface-int8", shape: "1x3x160x160", times: 4 },
    Graph { name: "FaceNet", model: "facenet-casia-webface", shape: "1x3x160x160", times: 1 },
];

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let (rounds, seconds) = effort.choose((5, 2.0), (1, 0.2));
    let mut report = Report::new(
        "Inferences a second through wasi:nn",
        &[
            "A component that only infers, in a fresh instance for each call; a call is one to eight inferences. Every host gets \
             the same component and the same model, and answers the same numbers. visavis keeps one session, \
             which a caller for each processor runs on its own thread; wasmtime's wasi-nn keeps one session, with ONNX Runtime's own choice of threads, behind a lock.",
        ],
    );
    let openvino = photos::assets().join("lib/openvino/libopenvino_c.so");
    if !openvino.is_file() {
        report.about.push("OpenVINO was not measured: `cargo xtask setup --openvino` fetches it.".to_owned());
    }
    for _ in 0..rounds {
        for graph in &GRAPHS {
            for callers in CALLERS {
                measure(&mut report, graph, callers, seconds, &openvino)?;
            }
        }
    }
    Ok(report)
}

/// One round of one graph, at so many callers.
fn measure(report: &mut Report, graph: &Graph, callers: usize, seconds: f64, openvino: &Path) -> Result<()> {
    let onnx = photos::assets().join("lib/libonnxruntime.so");
    let (host, stock) = (program("VISAVIS_PACE_BIN")?, program("VISAVIS_STOCK_BIN")?);
    let test: &[&str] = &["--exact", MEASUREMENT];
    let case = format!("{}, {callers} at a time", graph.name);
    let ours = ordered(&host, test, &onnx, graph, callers, seconds)?;
    let theirs = ordered(&stock, &[], &onnx, graph, callers, seconds)?;
    agree(&theirs, &ours, 1e-4).with_context(|| format!("{case}: {OURS}"))?;
    let (ours, theirs) = (rate(&ours, graph), rate(&theirs, graph));
    report.add(&case, (Role::Visavis, OURS), "1/s", ours);
    if openvino.is_file() {
        let pace = ordered(&host, test, openvino, graph, callers, seconds)?;
        report.add(&case, (Role::Visavis, OPENVINO), "1/s", rate(&pace, graph));
    }
    report.add(&case, (Role::Peer, STOCK), "1/s", theirs);
    if callers == 2 {
        let case = format!("{}, 2 at a time: times the inferences of wasmtime's own", graph.name);
        report.add(&case, (Role::Visavis, OURS), "times", ours / theirs);
        report.hold(&case, OURS, Bound::AtLeast(FASTER));
    }
    Ok(())
}

fn program(variable: &str) -> Result<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    program.with_context(|| format!("{variable} is not set\n  mend: run this by `cargo xtask bench inference`"))
}

fn agree(one: &Pace, other: &Pace, tolerance: f32) -> Result<()> {
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance;
    let same = one.output.len() == other.output.len() && one.output.iter().zip(&other.output).all(close);
    ensure!(same && !one.output.is_empty(), "other numbers: {:?}, {:?}", one.output, other.output);
    Ok(())
}

/// Runs a measurement in a process of its own.
fn ordered(
    program: &Path,
    arguments: &[&str],
    library: &Path,
    graph: &Graph,
    callers: usize,
    seconds: f64,
) -> Result<Pace> {
    let folder = TempDir::with_prefix("visavis-bench-").context("a folder for temporary files")?;
    let answer = folder.path().join("pace.json");
    let Graph { model, shape, times, .. } = graph;
    let order = Order {
        component: repository().join("target/visavis-tests/inferring_analyzer.wasm"),
        library: library.to_owned(),
        graph: ((*model).to_owned(), photos::assets().join(format!("models/{model}.onnx"))),
        words: format!("graph={model} input=input shape={shape} times={times}"),
        callers,
        seconds,
        answer: answer.clone(),
    };
    let order = serde_json::to_string(&order)?;
    let mut command = Command::new(program);
    command.args(arguments).env(visavis_pace::VARIABLE, order).env("ORT_DISABLE_TELEMETRY", "1");
    let output = command.stdin(Stdio::null()).output().context("the measurement can not be started")?;
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("the measurement failed: {}", said());
    }
    let text = fs::read_to_string(&answer).with_context(|| format!("nothing was answered: {}", said()))?;
    serde_json::from_str(&text).context("the measurement's answer")
}

/// Inferences a second.
fn rate(pace: &Pace, graph: &Graph) -> f64 {
    (pace.milliseconds.len() * graph.times) as f64 / pace.seconds
}
