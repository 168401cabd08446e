//! Every graph through every library that runs it: what `nn.backend = "auto"` chooses by.
//!
//! Owns the usual shapes, and the table that is built into the host. The graphs are run by `nn::pace`, a measurement among the
//! host's own tests: the code that a host runs, without a sandbox. Must never know how a library runs a graph.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use visavis_tests::host::repository;

use crate::Effort;
use crate::floor;
use crate::machine::Machine;
use crate::networks::Given;
use crate::report::{Report, Role};
use crate::sample::{median, quantile};

/// The measurement among the host's tests.
const MEASUREMENT: &str = "nn::pace::of_the_graphs_that_are_ordered";

/// The table, where the host's build takes it from.
const TABLE: &str = "host/src/nn/choice/measured.toml";

/// The networks' parts, in the order of [`crate::networks::NETWORKS`].
const PARTS: [&str; 4] = ["proposal", "refinement", "output", "embedding"];

/// One graph on one library.
#[derive(Deserialize)]
struct Figures {
    graph: String,
    sha256: String,
    who: String,
    title: String,
    wall: Vec<f64>,
    processor: Vec<f64>,
    memory: f64,
}

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let mut report = Report::new(
        "Inference libraries, graph by graph",
        &[
            "Each graph of the manifest is given tensors of the shapes that it gets in a verification of the sample pair: a round is \
             all of them once, one after the other, and the libraries take turns. Processor time counts all threads. Models that \
             OpenVINO compiles for shapes that recur are compiled before; loading shows in memory, which is what the process grows by \
             with one graph and includes the library itself where it was the first.",
            "The table that `nn.backend = \"auto\"` chooses by holds the medians of processor time, and as their spread how far the \
             middle half of the rounds lies apart. OpenVINO is chosen where it is faster by more than that, and by a tenth.",
        ],
    );
    let shapes = shapes(&floor::tensors()?);
    let figures = measure(&shapes, effort.choose(60, 2))?;
    for Figures { graph, title, wall, processor, memory, .. } in &figures {
        let who = (Role::Visavis, title.as_str());
        processor.iter().for_each(|value| report.add(&format!("{graph}: processor time"), who, "ms", *value));
        wall.iter().for_each(|value| report.add(&format!("{graph}: time"), who, "ms", *value));
        report.add(&format!("{graph}: memory"), who, "MiB", *memory);
    }
    if effort == Effort::Full && figures.iter().any(|it| it.who == "openvino") {
        let path = repository().join(TABLE);
        fs::write(&path, table(&figures, &Machine::look()?)?).with_context(|| format!("can not write {TABLE}"))?;
        eprintln!("bench: backends: {TABLE} is new; build the host anew, and commit it");
    }
    Ok(report)
}

/// The shapes of the tensors that each part of the networks was given.
fn shapes(given: &[Given]) -> BTreeMap<&'static str, Vec<[usize; 4]>> {
    let mut shapes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (network, shape, _) in given {
        shapes.entry(PARTS[*network]).or_default().push(*shape);
    }
    shapes
}

fn measure(shapes: &BTreeMap<&str, Vec<[usize; 4]>>, rounds: usize) -> Result<Vec<Figures>> {
    let program = env::var_os("VISAVIS_PACE_BIN").map(PathBuf::from);
    let program = program.context("VISAVIS_PACE_BIN is not set\n  mend: run this by `cargo xtask bench backends`")?;
    let folder = TempDir::with_prefix("visavis-bench-").context("a folder for temporary files")?;
    let answer = folder.path().join("answer.json");
    let order = json!({ "shapes": shapes, "rounds": rounds, "answer": answer });
    let mut command = Command::new(program);
    command.args(["--exact", MEASUREMENT]).env("VISAVIS_PACE", order.to_string());
    let output = command.stdin(Stdio::null()).output().context("can not start the host's tests")?;
    if !output.status.success() {
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("the graphs could not be measured: {said}{told}");
    }
    let answer = fs::read(&answer).context("the host's tests wrote no answer")?;
    serde_json::from_slice(&answer).context("the host's tests wrote another answer")
}

/// The table that the host is built with.
fn table(figures: &[Figures], machine: &Machine) -> Result<String> {
    let quoted = |text: &str| format!("{text:?}");
    let mut table = String::from(
        "# Written by `cargo xtask bench backends`. Milliseconds of processor time of each graph at its usual shapes: medians, and how\n\
         # far the middle half of the rounds lies apart. `nn.backend = \"auto\"` chooses by them.\n",
    );
    let processor = format!("{}, {} cores", machine.processor, machine.cores);
    let date = machine.date.split('T').next().unwrap_or_default();
    writeln!(table, "processor = {}\ndate = {}", quoted(&processor), quoted(date))?;
    let graphs = figures.chunk_by(|one, other| one.graph == other.graph);
    // What computes in bf16 runs on one library alone: there is nothing to choose.
    for graph in graphs.filter(|graph| graph.iter().any(|it| it.who == "onnx")) {
        let Figures { graph: name, sha256, .. } = &graph[0];
        ensure!(graph.iter().all(|it| !it.processor.is_empty()), "{name} was not measured");
        writeln!(table, "\n[[graph]]\nname = {}\nsha256 = {}", quoted(name), quoted(sha256))?;
        for library in ["onnx", "openvino"] {
            let figures = graph.iter().find(|it| it.who == library);
            let figures = figures.with_context(|| format!("{name} was not measured on {library}"))?;
            writeln!(table, "{library} = {:.2}", median(&figures.processor))?;
        }
        let spread = graph.iter().map(|it| quantile(&it.processor, 0.75) - quantile(&it.processor, 0.25));
        writeln!(table, "spread = {:.2}", spread.fold(0.0, f64::max))?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_graph_once_with_the_medians() {
        let figures = |graph: &str, who: &str, processor: &[f64]| Figures {
            graph: graph.to_owned(),
            sha256: "00".to_owned(),
            who: who.to_owned(),
            title: String::new(),
            wall: Vec::new(),
            processor: processor.to_vec(),
            memory: 0.0,
        };
        // The order in which the libraries come does not matter.
        let all = [
            figures("a", "openvino", &[4.0]),
            figures("a", "onnx", &[3.0, 1.0, 2.0, 5.0]),
            figures("b", "onnx", &[5.0]),
            figures("b", "openvino", &[6.0]),
            figures("c", "openvino", &[7.0]),
        ];
        let of = |figures: &[Figures]| table(figures, &Machine::look().unwrap());
        let table = of(&all).unwrap();
        assert_eq!(table.matches("[[graph]]").count(), 2, "{table}");
        assert!(table.contains("onnx = 2.50\nopenvino = 4.00\nspread = 2.00\n"), "{table}");
        assert!(table.contains("onnx = 5.00\nopenvino = 6.00\nspread = 0.00\n"), "{table}");
        for figures in [
            [figures("a", "onnx", &[]), figures("a", "openvino", &[1.0])],
            [figures("a", "onnx", &[1.0]), figures("a", "torch", &[1.0])],
        ] {
            assert!(of(&figures).is_err());
        }
    }

    #[test]
    fn shapes_are_sorted_by_network() {
        let given = [(0, [1, 3, 20, 30], vec![]), (3, [1, 3, 160, 160], vec![]), (0, [1, 3, 12, 12], vec![])];
        let shapes = shapes(&given);
        assert_eq!(shapes["proposal"], [[1, 3, 20, 30], [1, 3, 12, 12]]);
        assert_eq!(shapes["embedding"], [[1, 3, 160, 160]]);
    }
}
