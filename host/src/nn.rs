//! Inference: the graphs that guests may load by name through `wasi:nn`.
//!
//! Owns ONNX Runtime, the named graphs, their pooled sessions and the bounds on one inference. Must never know what a
//! graph is for: no face, photograph, threshold or task.
//!
//! # Layout
//!
//! - `registry`: what one store sees: wasi-nn's traits, over the shared graphs and the store's deadline.
//! - `library`: the ONNX Runtime library of this process.
//! - `onnx`: graphs on ONNX Runtime: sessions, one run.
//! - `tensor`: guests' tensors: element types, shapes, the checks before a run and the views without a copy.
//! - `pool`: sessions lent to one run at a time.
//! - `watchdog`: the thread that stops runs at their deadline.
//! - `fixture`: small graphs for tests, written byte by byte.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use wasmtime_wasi_nn::wit::WasiNnCtx;

use self::library::Runtime;
pub(crate) use self::onnx::Network;
use self::registry::Graphs;
pub(crate) use self::tensor::Port;
use self::watchdog::Watchdog;

#[cfg(test)]
mod fixture;
mod library;
mod onnx;
mod pool;
mod registry;
mod tensor;
mod watchdog;

/// How this room runs graphs.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The ONNX Runtime library, `libonnxruntime.so`.
    pub(crate) library: PathBuf,
    /// Sessions of each graph: as many inferences of one graph run at the same time. Each holds its own weights.
    pub(crate) sessions: usize,
    /// Threads that share the work of one inference.
    pub(crate) threads: usize,
    /// The most elements that all inputs of one inference may hold together.
    pub(crate) max_elements: usize,
}

impl Config {
    /// The defaults: one session a core that this process may use (its cgroup's quota and affinity, not the machine's
    /// cores) and one thread each, for independent inferences scale better than the parts of one; 64 Mi elements, which
    /// a picture of 22 megapixels in three colours fills.
    pub(crate) fn new(library: impl Into<PathBuf>) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { library: library.into(), sessions: cores, threads: 1, max_elements: 64 << 20 }
    }
}

/// A graph to serve. The caller has checked its digest: these very bytes are loaded.
pub(crate) struct GraphSource {
    /// The name under which guests load it.
    pub(crate) name: String,
    /// The model in ONNX.
    pub(crate) model: Vec<u8>,
}

/// Why inference cannot be offered. Every text says the mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NnError {
    /// There is no library at the configured path.
    #[error("there is no ONNX Runtime at {}; run `cargo xtask setup`, or set nn.library", .0.display())]
    LibraryMissing(PathBuf),
    /// The file is no ONNX Runtime, or one that is too old.
    #[error("{} is no usable ONNX Runtime: {reason}; run `cargo xtask setup`, or set nn.library", path.display())]
    LibraryUnusable {
        /// The library as configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A process can hold one ONNX Runtime only.
    #[error("this process already runs on {}; restart it to use {}", loaded.display(), asked.display())]
    LibraryHeld {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },
    /// A graph cannot be loaded or cannot be served.
    #[error(
        "the graph '{name}' cannot be served: {reason}; run `cargo xtask setup`, or mend its entry in the manifest"
    )]
    Graph {
        /// The graph's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting is out of bounds.
    #[error("{0} must be at least 1")]
    Setting(&'static str),
    /// The thread that stops overdue runs could not be started.
    #[error("no thread for inference deadlines could be started: {0}; raise the limit on threads")]
    Thread(#[from] std::io::Error),
}

/// The graphs of this process, ready to run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Nn {
    version: Arc<str>,
    networks: Arc<[Arc<Network>]>,
    watchdog: Arc<Watchdog>,
}

impl Nn {
    /// Loads ONNX Runtime and all graphs. It takes as long as optimising the graphs does: some hundred milliseconds.
    ///
    /// # Errors
    ///
    /// [`NnError`], when a setting, the library or a graph is at fault; nothing is served in part.
    pub(crate) fn start(config: &Config, graphs: impl IntoIterator<Item = GraphSource>) -> Result<Self, NnError> {
        for (setting, value) in
            [("nn.sessions", config.sessions), ("nn.threads", config.threads), ("nn.max_elements", config.max_elements)]
        {
            if value == 0 {
                return Err(NnError::Setting(setting));
            }
        }
        let runtime = Runtime::load(&config.library)?;
        let mut networks = Vec::new();
        load(&runtime, config, graphs, &mut networks)?;
        let watchdog = Arc::new(Watchdog::start()?);
        Ok(Self { version: runtime.version().into(), networks: networks.into(), watchdog })
    }

    /// The graphs of these that have one of the names in `kept`, and others beside them. What is in both is shared; what is in
    /// neither is freed once nobody uses it.
    ///
    /// # Errors
    ///
    /// [`NnError`], when a graph is at fault.
    pub(crate) fn with(&self, config: &Config, kept: &[String], more: Vec<GraphSource>) -> Result<Self, NnError> {
        let runtime = Runtime::load(&config.library)?;
        let mut networks: Vec<_> =
            self.networks.iter().filter(|network| kept.iter().any(|name| name == network.name())).cloned().collect();
        load(&runtime, config, more, &mut networks)?;
        Ok(Self { networks: networks.into(), ..self.clone() })
    }

    /// What one store sees. Waiting for a session and running it end at `deadline`, when they answer an error. Guests
    /// load graphs by name; bringing their own is refused, since there is no backend that would take them.
    pub(crate) fn context(&self, deadline: Instant) -> WasiNnCtx {
        let graphs = Graphs::new(&self.networks, &self.watchdog, deadline);
        WasiNnCtx::new([], graphs.into())
    }

    /// All graphs, as they were given.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().map(AsRef::as_ref)
    }

    /// The version of ONNX Runtime, as `1.31.1`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

fn load(
    runtime: &Runtime,
    config: &Config,
    graphs: impl IntoIterator<Item = GraphSource>,
    networks: &mut Vec<Arc<Network>>,
) -> Result<(), NnError> {
    for GraphSource { name, model } in graphs {
        if networks.iter().any(|network| network.name() == name) {
            return Err(NnError::Graph { name, reason: "there are two of that name".to_owned() });
        }
        let network = Network::load(runtime, name, &model, config)?;
        tracing::debug!(graph = network.name(), sessions = config.sessions, "graph loaded");
        networks.push(Arc::new(network));
    }
    give_back_freed_memory();
    Ok(())
}

/// Hands to the system what loading and compiling leave behind: as much freed memory as models are large, which the C library
/// would keep for later. Takes up to some ten milliseconds.
pub(crate) fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes the allocator's own locks and touches no live allocation.
    unsafe {
        libc::malloc_trim(0);
    }
}
