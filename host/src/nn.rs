//! Inference: the graphs that guests may load by name through `wasi:nn`.
//!
//! Owns the inference libraries, the named graphs, their pooled sessions and the bounds on one inference. Must never know what a
//! graph is for: no face, photograph, threshold or task.
//!
//! # Layout
//!
//! - `registry`: what one store sees: wasi-nn's traits, over the shared graphs and the store's deadline.
//! - `network`: a graph as guests know it: the checks before a run, its sessions, what a backend is.
//! - `onnx`: graphs on ONNX Runtime. `openvino`: graphs on OpenVINO. Each owns its library, sessions and one run.
//! - `fixed`: models that a library makes for the very shapes that recur.
//! - `choice`: which of the two runs a graph, by a table of what was measured.
//! - `tensor`: guests' tensors: element types, shapes, the checks before a run and the views without a copy.
//! - `pool`: what runs a graph, lent to one run at a time.
//! - `batch`: sessions whose runs several callers share.
//! - `watchdog`: the thread that stops runs at their deadline.
//! - `processor`: what the processor is made for.
//! - `fixture`: small graphs for tests, written byte by byte. `made_up`: tensors that no guest would hand in by mistake. `pace`: what `cargo xtask bench backends` asks for.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::choice::Table;
use self::network::Backend;
pub(crate) use self::network::{Network, Placement};
pub(crate) use self::processor::{bf16_instructions, int8_instructions};
pub(crate) use self::registry::Graphs;
pub(crate) use self::tensor::Port;
use self::watchdog::Watchdog;
use crate::telemetry::TraceContext;

mod batch;
mod choice;
mod fixed;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod made_up;
mod network;
mod onnx;
mod openvino;
#[cfg(test)]
mod pace;
mod pool;
mod processor;
mod registry;
mod tensor;
mod watchdog;

/// How this room runs graphs.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// What runs them.
    pub(crate) library: Library,
    /// The file of an OpenVINO that runs instead, if it is there, those graphs that it was measured to be faster with.
    pub(crate) rival: Option<PathBuf>,
    /// Sessions of each graph: as many inferences of one graph run at the same time.
    pub(crate) sessions: usize,
    /// Threads that share the work of one inference.
    pub(crate) threads: usize,
    /// The most elements that all inputs of one inference may hold together.
    pub(crate) max_elements: usize,
    /// The most rows, of all callers together, in one run of a graph whose inputs and outputs all have a first dimension of any
    /// length; what is computed of a row must not depend on the others. 1: each caller has a run of its own. `None`: 32 on a GPU,
    /// else 1.
    pub(crate) max_batch: Option<usize>,
    /// How long a caller waits for others to share its run at most, while a session is free.
    pub(crate) max_batch_delay: Duration,
    /// What they run on.
    pub(crate) device: Device,
}

impl Config {
    /// The defaults: one session a core that this process may use (its cgroup's quota and affinity, not the machine's
    /// cores) and one thread each, for independent inferences scale better than the parts of one; 64 Mi elements, which
    /// a picture of 22 megapixels in three colours fills.
    pub(crate) fn new(library: Library) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            library,
            rival: None,
            sessions: cores,
            threads: 1,
            max_elements: 64 << 20,
            max_batch: None,
            max_batch_delay: Duration::from_millis(2),
            device: Device::Cpu,
        }
    }

    /// Which library runs a graph in f32, and why.
    fn place(&self, table: &Table, name: &str, sha256: &str, on_gpu: bool) -> (Library, String) {
        let Some(path) = &self.rival else {
            return (self.library.clone(), "nn.backend names it".to_owned());
        };
        if on_gpu {
            return (self.library.clone(), "the libraries were compared on processors, and this is a GPU".to_owned());
        }
        let (faster, why) = table.choose(name, sha256);
        match (faster, path.exists()) {
            (true, true) => (Library::OpenVino(path.clone()), why),
            (true, false) => (self.library.clone(), format!("{why}; but there is no OpenVINO at {}", path.display())),
            (false, _) => (self.library.clone(), why),
        }
    }

    /// The OpenVINO that runs a graph in bf16: nothing else does, so that there is nothing to fall back to.
    fn in_bf16(&self, on_gpu: bool) -> Result<Arc<dyn Backend>, Bf16Error> {
        let path = match (&self.library, &self.rival) {
            (Library::OpenVino(path), _) | (Library::OnnxRuntime(_), Some(path)) => path,
            (Library::OnnxRuntime(_), None) => return Err(Bf16Error::OnnxRuntime),
        };
        if on_gpu {
            return Err(Bf16Error::Gpu);
        }
        if bf16_instructions().is_none() {
            return Err(Bf16Error::Processor);
        }
        if !path.exists() {
            return Err(Bf16Error::Missing(path.clone()));
        }
        openvino::Runtime::load_on(path, Device::Cpu, Precision::Bf16).map_err(|error| Bf16Error::Library(error.into()))
    }

    /// Whether what was asked for can be had here.
    fn check(&self) -> Result<(), NnError> {
        for (setting, value) in [
            ("nn.sessions", self.sessions),
            ("nn.threads", self.threads),
            ("nn.max_elements", self.max_elements),
            ("nn.max_batch", self.max_batch.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(NnError::Setting(setting));
            }
        }
        Ok(())
    }
}

/// The numbers that a graph computes in. Tensors go in and out as they are, whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// As the model says.
    F32,
    /// Products of the upper halves of 32-bit floats, on processors with instructions for them.
    Bf16,
}

/// What graphs are to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The processor.
    Cpu,
    /// A GPU; to have none is an error.
    Gpu,
    /// A GPU if one works, else the processor.
    Auto,
}

/// An inference library, and the file that it lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// `libonnxruntime.so`.
    OnnxRuntime(PathBuf),
    /// `libopenvino_c.so`, beside the libraries and plugins that it needs.
    OpenVino(PathBuf),
}

impl Library {
    /// Loads it, to run graphs on `device`; a second call answers the same one.
    fn load(&self, device: Device) -> Result<Arc<dyn Backend>, NnError> {
        Ok(match self {
            Self::OnnxRuntime(path) => Arc::new(onnx::Runtime::load_on(path, device)?),
            Self::OpenVino(path) => openvino::Runtime::load_on(path, device, Precision::F32)?,
        })
    }

    /// The file.
    #[cfg(test)]
    fn path(&self) -> &Path {
        let (Self::OnnxRuntime(path) | Self::OpenVino(path)) = self;
        path
    }

    /// How it is set up.
    fn setup(&self) -> &'static str {
        match self {
            Self::OnnxRuntime(_) => "cargo xtask setup",
            Self::OpenVino(_) => "cargo xtask setup --openvino",
        }
    }
}

/// Shows as `ONNX Runtime at /a/path`.
impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnnxRuntime(path) => write!(f, "ONNX Runtime at {}", path.display()),
            Self::OpenVino(path) => write!(f, "OpenVINO at {}", path.display()),
        }
    }
}

/// A graph to serve. The caller has checked its digest: these very bytes are loaded.
pub(crate) struct GraphSource {
    /// The name under which guests load it.
    pub(crate) name: String,
    /// The model in ONNX.
    pub(crate) model: Vec<u8>,
    /// Its SHA-256, in hexadecimal.
    pub(crate) sha256: String,
    /// The numbers that it is to compute in.
    pub(crate) precision: Precision,
}

/// Why inference cannot be offered. Every text says the mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NnError {
    /// There is no library at the configured path.
    #[error("there is no {0}; run `{setup}`, or set nn.library", setup = .0.setup())]
    LibraryMissing(Library),
    /// The file is no such library, or one that is too old.
    #[error("there is no usable {library}: {reason}; run `{setup}`, or set nn.library", setup = library.setup())]
    LibraryUnusable {
        /// The library as configured.
        library: Library,
        /// What is wrong with it.
        reason: String,
    },
    /// A process can hold one library of a kind only.
    #[error("this process already runs on {}; restart it to use {}", loaded.display(), asked.display())]
    LibraryHeld {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },
    /// A GPU was asked for, and none works.
    #[error("there is no GPU to run on: {0}; mend one of these, or set nn.device to \"cpu\" or \"auto\"")]
    NoGpu(String),
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
    /// A graph that is to compute in bf16 cannot.
    #[error("the graph '{name}' cannot compute in bf16: {reason}; or name another model")]
    Bf16 {
        /// The graph's name.
        name: String,
        /// Why not.
        #[source]
        reason: Bf16Error,
    },
    /// A setting is out of bounds.
    #[error("{0} must be at least 1")]
    Setting(&'static str),
    /// A thread that stops overdue runs, or runs batches, could not be started.
    #[error("no thread for inference could be started: {0}; raise the limit on threads")]
    Thread(#[from] std::io::Error),
}

/// Why nothing computes in bf16. Every text says the mend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Bf16Error {
    /// ONNX Runtime was named.
    #[error("ONNX Runtime computes as the model says; set nn.backend to \"auto\" or \"openvino\"")]
    OnnxRuntime,
    /// The graphs run on a GPU.
    #[error("a GPU runs the models, which has no bf16 here; set nn.device to \"cpu\"")]
    Gpu,
    /// The library would compute in f32 all the same, and be no faster.
    #[error("this processor has no instructions for it (AVX512_BF16, or Arm's BF16); run it on one that has")]
    Processor,
    /// The library is not installed.
    #[error("only OpenVINO does, and there is none at {}; run `cargo xtask setup --openvino`", .0.display())]
    Missing(PathBuf),
    /// It is there, and unusable.
    #[error(transparent)]
    Library(Box<NnError>),
}

/// The graphs of this process, ready to run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Nn {
    /// What runs those that nothing else was chosen for.
    backend: Arc<dyn Backend>,
    networks: Arc<[Arc<Network>]>,
    watchdog: Arc<Watchdog>,
}

impl Nn {
    /// Loads the library and all graphs. It takes as long as optimising the graphs does: some hundred milliseconds.
    ///
    /// # Errors
    ///
    /// [`NnError`], when a setting, the library or a graph is at fault; nothing is served in part.
    pub(crate) fn start(config: &Config, graphs: impl IntoIterator<Item = GraphSource>) -> Result<Self, NnError> {
        config.check()?;
        let backend = config.library.load(config.device)?;
        let mut networks = Vec::new();
        load(&backend, config, graphs, &mut networks)?;
        let watchdog = Arc::new(Watchdog::start()?);
        Ok(Self { backend, networks: networks.into(), watchdog })
    }

    /// The graphs of these that have one of the names in `kept`, and others beside them. What is in both is shared; what is in
    /// neither is freed once nobody uses it.
    ///
    /// # Errors
    ///
    /// [`NnError`], when a graph is at fault.
    pub(crate) fn with(&self, config: &Config, kept: &[String], more: Vec<GraphSource>) -> Result<Self, NnError> {
        let mut networks: Vec<_> =
            self.networks.iter().filter(|network| kept.iter().any(|name| name == network.name())).cloned().collect();
        load(&self.backend, config, more, &mut networks)?;
        Ok(Self { networks: networks.into(), ..self.clone() })
    }

    /// What one store sees. Waiting for a session and running it end at `deadline`, when they answer an error. Guests
    /// load graphs by name; each inference is a span of `trace`.
    pub(crate) fn graphs_until(&self, deadline: Instant, trace: &TraceContext) -> Graphs {
        Graphs::new(&self.networks, &self.watchdog, deadline, trace)
    }

    /// All graphs, as they were given.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = &Network> {
        self.networks.iter().map(AsRef::as_ref)
    }

    /// What the graphs run on and, where that was left open, why; in words that follow "on".
    pub(crate) fn device(&self) -> &str {
        self.backend.device()
    }

    /// What runs the graphs, as `ONNX Runtime 1.31.1`; both with an `and` between them if it is both.
    pub(crate) fn backend(&self) -> String {
        let titles: BTreeSet<_> = self.graphs().map(|graph| graph.placement().title.as_str()).collect();
        titles.into_iter().collect::<Vec<_>>().join(" and ")
    }
}

/// Whether graphs would run on a GPU. What keeps them from running at all is for [`Nn::start`] to say.
pub(crate) fn runs_on_gpu(config: &Config) -> bool {
    config.device != Device::Cpu && config.library.load(config.device).is_ok_and(|backend| backend.on_gpu())
}

fn load(
    usual: &Arc<dyn Backend>,
    config: &Config,
    graphs: impl IntoIterator<Item = GraphSource>,
    networks: &mut Vec<Arc<Network>>,
) -> Result<(), NnError> {
    for GraphSource { name, model, sha256, precision } in graphs {
        if networks.iter().any(|network| network.name() == name) {
            return Err(NnError::Graph { name, reason: "there are two of that name".to_owned() });
        }
        let (backend, why) = match precision {
            Precision::F32 => match config.place(Table::built_in(), &name, &sha256, usual.on_gpu()) {
                (library, why) if library == config.library => (Arc::clone(usual), why),
                (library, why) => (library.load(Device::Cpu)?, why),
            },
            Precision::Bf16 => match config.in_bf16(usual.on_gpu()) {
                Ok(backend) => (backend, "nothing else computes in bf16".to_owned()),
                Err(reason) => return Err(NnError::Bf16 { name, reason }),
            },
        };
        let network = Network::load(backend.as_ref(), name, &model, config)?.because(why);
        tracing::debug!(
            graph = network.name(),
            sessions = config.sessions,
            on = network.placement().title,
            "graph loaded"
        );
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
