//! How long each graph takes on each library: what `cargo xtask bench backends` asks for.
//!
//! Owns one measurement of all graphs of the manifest, as the variable `VISAVIS_PACE` orders it; without an order it measures
//! little, to see that it works. Must never know what is said of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use visavis_models::{Manifest, Precision};
use wasmtime_wasi_nn::backend::NamedTensor;

use super::fixed::SIGHTINGS;
use super::fixture::{assets, floats, library};
use super::watchdog::Watchdog;
use super::{Backend, Config, Library, Network};

/// What to measure.
#[derive(Deserialize)]
struct Order {
    /// The shapes of all runs of one round, by the part of the detector, or `embedding`.
    shapes: BTreeMap<String, Vec<[u32; 4]>>,
    /// Rounds that count.
    rounds: usize,
    /// How long to wait at most for the libraries' own threads to rest.
    #[serde(skip, default = "patience")]
    patience: Duration,
    /// The file that the answer is written to.
    answer: PathBuf,
}

fn patience() -> Duration {
    Duration::from_secs(30)
}

impl Order {
    /// What the benchmark orders, or the least.
    fn given(folder: &Path) -> Self {
        if let Ok(order) = std::env::var("VISAVIS_PACE") {
            return serde_json::from_str(&order).expect("an order of the benchmark");
        }
        let shapes = [
            ("proposal", [1, 3, 24, 24]),
            ("refinement", [2, 3, 24, 24]),
            ("output", [2, 3, 48, 48]),
            ("embedding", [1, 3, 160, 160]),
        ];
        let shapes = shapes.map(|(part, shape)| (part.to_owned(), vec![shape])).into();
        Self { shapes, rounds: 2, patience: Duration::ZERO, answer: folder.join("answer.json") }
    }
}

/// One graph on one library.
#[derive(Serialize)]
struct Figures {
    graph: String,
    sha256: String,
    /// `onnx` or `openvino`.
    who: &'static str,
    /// The library's name and version.
    title: String,
    /// Milliseconds of a round.
    wall: Vec<f64>,
    /// Milliseconds of a round that all threads of the process computed.
    processor: Vec<f64>,
    /// What loading it and the first rounds took of memory, MiB.
    memory: f64,
}

#[test]
fn of_the_graphs_that_are_ordered() {
    let answers = tempfile::tempdir().unwrap();
    let order = Order::given(answers.path());
    let folder = assets().join("models");
    let manifest = Manifest::load(&folder.join("manifest.toml")).expect("set-up makes the models");
    let mut figures = Vec::new();
    for (name, graph) in manifest.graphs() {
        let part = name.rsplit('/').next().expect("a name has parts");
        let inputs: Vec<_> = order.shapes[part].iter().map(tensor).collect();
        let model = graph.read(&folder).expect("the model that the manifest means");
        let contenders = contenders(manifest.precision(&name)).into_iter();
        let mut lanes: Vec<_> = contenders
            .map(|(who, backend, config)| {
                Lane::open(&name, &model, (who, backend.as_ref(), &config), &inputs, order.patience)
            })
            .collect();
        measure(&mut lanes, &inputs, order.rounds);
        figures.extend(lanes.into_iter().map(|Lane { network, who, wall, processor, memory, .. }| {
            let (graph, sha256, title) = (name.clone(), graph.sha256.clone(), network.placement().title.clone());
            Figures { graph, sha256, who, title, wall, processor, memory }
        }));
    }
    for Figures { graph, who, wall, processor, .. } in &figures {
        assert_eq!((wall.len(), processor.len()), (order.rounds, order.rounds), "{graph}, {who}");
        assert!(wall.iter().all(|milliseconds| *milliseconds > 0.0), "{graph}, {who}: {wall:?}");
    }
    for (graph, _) in manifest.graphs() {
        let measured = figures.iter().any(|it| it.graph == graph);
        assert!(measured || manifest.precision(&graph) == Precision::Bf16, "{graph} was not measured");
    }
    fs::write(&order.answer, serde_json::to_vec(&figures).unwrap()).unwrap();
}

/// The libraries that are here and compute in such numbers, set up as a host sets them up.
fn contenders(precision: Precision) -> Vec<(&'static str, Arc<dyn Backend>, Config)> {
    let onnx = Config::new(Library::OnnxRuntime(library()));
    let openvino = Config::new(Library::OpenVino(assets().join("lib/openvino/libopenvino_c.so")));
    let loaded = |config: &Config| config.library.load(config.device).unwrap_or_else(|error| panic!("{error}"));
    match precision {
        Precision::F32 => {
            let both = [("onnx", onnx), ("openvino", openvino)].into_iter();
            let there = both.filter(|(_, config)| config.library.path().exists());
            there.map(|(who, config)| (who, loaded(&config), config)).collect()
        }
        Precision::Bf16 => openvino.in_bf16(false).into_iter().map(|it| ("openvino", it, openvino.clone())).collect(),
    }
}

/// A graph on one library, and what was measured of it.
struct Lane {
    network: Network,
    watchdog: Watchdog,
    who: &'static str,
    wall: Vec<f64>,
    processor: Vec<f64>,
    memory: f64,
}

impl Lane {
    /// Loads a graph, and runs it until everything is made that is made for shapes that recur.
    fn open(
        name: &str,
        model: &[u8],
        (who, backend, config): (&'static str, &dyn Backend, &Config),
        inputs: &[NamedTensor],
        patience: Duration,
    ) -> Self {
        let before = resident();
        let network = Network::load(backend, name.to_owned(), model, config);
        let network = network.unwrap_or_else(|error| panic!("{error}"));
        let watchdog = Watchdog::start().unwrap();
        let mut lane = Self { network, watchdog, who, wall: Vec::new(), processor: Vec::new(), memory: 0.0 };
        let warm = if name.ends_with("/embedding") { 5 } else { SIGHTINGS };
        (0..warm).for_each(|_| lane.round(inputs));
        let warmed = Instant::now();
        while warmed.elapsed() < patience {
            let begin = processor_time();
            thread::sleep(Duration::from_millis(200));
            if processor_time() - begin < Duration::from_millis(20) {
                break;
            }
        }
        (0..3).for_each(|_| lane.round(inputs));
        super::give_back_freed_memory();
        lane.memory = resident() - before;
        lane
    }

    fn round(&self, inputs: &[NamedTensor]) {
        for input in inputs {
            let deadline = Instant::now() + Duration::from_secs(60);
            let outputs = self.network.compute(std::slice::from_ref(input), deadline, &self.watchdog);
            assert!(!outputs.unwrap_or_else(|error| panic!("{error}")).is_empty());
        }
    }
}

/// All of them in every round, one after the other; each begins as often as the others, for who follows finds its neighbour's caches.
fn measure(lanes: &mut [Lane], inputs: &[NamedTensor], rounds: usize) {
    for _ in 0..rounds {
        lanes.rotate_left(1);
        for lane in lanes.iter_mut() {
            let (wall, processor) = (Instant::now(), processor_time());
            lane.round(inputs);
            lane.processor.push((processor_time() - processor).as_secs_f64() * 1e3);
            lane.wall.push(wall.elapsed().as_secs_f64() * 1e3);
        }
    }
}

fn tensor(shape: &[u32; 4]) -> NamedTensor {
    let pixels = (0..shape.iter().product::<u32>()).map(|at| ((at * 7919) % 251) as f32 / 125.0 - 1.0);
    floats("input", shape, &pixels.collect::<Vec<_>>())
}

/// What all threads of this process have computed.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to the structure that it is given, which lives on.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Memory of this process, MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap();
    pages * 4096.0 / f64::from(1 << 20)
}
