//! A graph as guests know it, whichever library runs it.
//!
//! Owns the check of a guest's tensors, who waits for a session and until when. Must never know a library, stores, or
//! WebAssembly beyond wasi-nn's tensors.

use std::sync::Arc;
use std::time::Instant;

use wasmtime_wasi_nn::backend::NamedTensor;

use super::batch::{self, Batcher, Unanswered};
use super::pool::Pool;
use super::tensor::Port;
use super::watchdog::Watchdog;
use super::{Config, NnError};
use crate::telemetry::{Runs, metrics};

/// The most rows of one run on a GPU, unless the configuration says otherwise.
const GPU_ROWS: usize = 32;

/// Why a computation has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComputeError {
    /// The guest named other inputs than the graph has, or one of them twice.
    #[error("graph '{graph}': expected the inputs {expected}, each once, got {got}")]
    Inputs { graph: String, expected: String, got: String },
    /// The guest's tensor does not fit the input.
    #[error("graph '{graph}', input '{input}': expected {expected}, got {got}")]
    Misfit { graph: String, input: String, expected: String, got: String },
    /// The guest's tensors are too large together.
    #[error("graph '{graph}': expected at most {most} elements in all inputs together, got {got}")]
    TooLarge { graph: String, most: usize, got: usize },
    /// The guest used the older interface, which keeps tensors between calls.
    #[error("graph '{graph}': tensors are not kept between calls; hand all inputs to one compute")]
    Stateful { graph: String },
    /// Too many of the store's computations have failed.
    #[error("graph '{graph}': {failures} computations of this instance have failed, and it may make no more")]
    Failing { graph: String, failures: u32 },
    /// The store's deadline came first.
    #[error("graph '{graph}': timed out {phase}")]
    TimedOut { graph: String, phase: &'static str },
    /// The library failed.
    #[error("graph '{graph}' failed: {reason}")]
    Failed { graph: String, reason: String },
}

impl ComputeError {
    /// Whether the guest could have known better.
    pub(crate) fn is_the_guests(&self) -> bool {
        !matches!(self, Self::TimedOut { .. } | Self::Failed { .. })
    }
}

/// What runs graphs: a library of this process.
pub(crate) trait Backend: Send + Sync {
    /// Its name and version, as `ONNX Runtime 1.31.1`.
    fn name(&self) -> &str;

    /// What it computes on, in words that follow "on".
    fn device(&self) -> &str {
        "the CPU"
    }

    /// Whether it computes on a GPU, which one run with many rows suits better than many runs.
    fn on_gpu(&self) -> bool {
        false
    }

    /// Loads a model in ONNX: optimises it for this processor and makes `config.sessions` sessions of it.
    ///
    /// # Errors
    ///
    /// What is wrong with the model, in words: it is damaged, or has inputs or outputs that wasi-nn's tensors cannot be.
    fn open(&self, model: &[u8], config: &Config) -> Result<Opened, String>;
}

/// A model as a backend has loaded it.
pub(crate) struct Opened {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) sessions: Vec<Box<dyn Session>>,
}

/// What runs one inference at a time.
pub(crate) trait Session: Send {
    /// Runs the graph once. The inputs were checked and together hold so many elements. Inputs are read where they lie if the
    /// library can; outputs are copied once.
    ///
    /// # Errors
    ///
    /// [`Broken`]; the session works on.
    fn run(
        &mut self,
        inputs: &[NamedTensor],
        elements: usize,
        deadline: Instant,
        watchdog: &Watchdog,
    ) -> Result<Vec<NamedTensor>, Broken>;
}

/// Why one run has no outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The deadline came first.
    Overdue,
    /// The library failed, in its words.
    Failed(String),
}

/// What runs a graph.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// As `ONNX Runtime 1.31.1`.
    pub(crate) title: String,
    /// In a sentence without its end.
    pub(crate) why: String,
}

/// One graph with its sessions.
pub(crate) struct Network {
    name: String,
    placement: Placement,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    max_elements: usize,
    sessions: Sessions,
    runs: Arc<Runs>,
}

/// How callers come by a session.
enum Sessions {
    /// Each has one to itself for the time of a run.
    Lent(Pool<Box<dyn Session>>),
    /// Several share a run.
    Shared(Batcher),
}

impl Network {
    /// Loads a graph.
    ///
    /// # Errors
    ///
    /// When the backend cannot load the model.
    pub(crate) fn load(backend: &dyn Backend, name: String, model: &[u8], config: &Config) -> Result<Self, NnError> {
        match backend.open(model, config) {
            Ok(Opened { inputs, outputs, sessions }) => {
                let max_elements = config.max_elements;
                let rows = config.max_batch.unwrap_or(if backend.on_gpu() { GPU_ROWS } else { 1 });
                let runs = Arc::new(metrics().runs(&name));
                let sessions = if rows > 1 && batch::takes_any_number(&inputs, &outputs) {
                    let bounds = batch::Bounds { rows, elements: max_elements, delay: config.max_batch_delay };
                    Sessions::Shared(Batcher::start(sessions, bounds, Arc::clone(&runs))?)
                } else {
                    Sessions::Lent(Pool::new(sessions))
                };
                let placement = Placement { title: backend.name().to_owned(), why: String::new() };
                Ok(Self { name, placement, inputs, outputs, max_elements, sessions, runs })
            }
            Err(reason) => Err(NnError::Graph { name, reason }),
        }
    }

    /// The same, with the reason why it runs where it does.
    pub(crate) fn because(mut self, why: String) -> Self {
        self.placement.why = why;
        self
    }

    /// What runs it, and why.
    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The name under which guests load it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it takes.
    pub(crate) fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What it answers.
    pub(crate) fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Runs the graph once, or takes part in a run that others share.
    ///
    /// # Errors
    ///
    /// [`ComputeError`]. A guest's input never panics, however wrong.
    pub(crate) fn compute(
        &self,
        inputs: &[NamedTensor],
        deadline: Instant,
        watchdog: &Watchdog,
    ) -> Result<Vec<NamedTensor>, ComputeError> {
        let elements = self.check(inputs)?;
        let timed_out = |phase| ComputeError::TimedOut { graph: self.name.clone(), phase };
        let failed = |reason| ComputeError::Failed { graph: self.name.clone(), reason };
        match &self.sessions {
            Sessions::Lent(pool) => {
                let mut session = pool.take(deadline).ok_or_else(|| timed_out("waiting for a session"))?;
                if deadline <= Instant::now() {
                    return Err(timed_out("before it ran"));
                }
                let start = Instant::now();
                let outputs = session.run(inputs, elements, deadline, watchdog);
                // Inputs without rows in common, or without any, are one.
                self.runs.note(start.elapsed(), batch::common_rows(inputs).unwrap_or(1), outputs.is_ok());
                outputs.map_err(|broken| match broken {
                    Broken::Overdue => timed_out("while it ran"),
                    Broken::Failed(reason) => failed(reason),
                })
            }
            Sessions::Shared(_) if deadline <= Instant::now() => Err(timed_out("before it ran")),
            Sessions::Shared(batcher) => {
                batcher.run(inputs, elements, deadline).map_err(|unanswered| match unanswered {
                    Unanswered::Waiting => timed_out("waiting for a session"),
                    Unanswered::Running => timed_out("while it ran"),
                    Unanswered::Failed(reason) => failed(reason),
                })
            }
        }
    }

    /// How many calls wait to take part in a run.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        match &self.sessions {
            Sessions::Lent(_) => 0,
            Sessions::Shared(batcher) => batcher.waiting(),
        }
    }

    /// Checks a guest's inputs against the graph's, and counts their elements.
    fn check(&self, inputs: &[NamedTensor]) -> Result<usize, ComputeError> {
        let mut elements = 0_usize;
        for port in &self.inputs {
            let mut named = inputs.iter().filter(|input| input.name == port.name);
            let (Some(input), None) = (named.next(), named.next()) else {
                return Err(self.misnamed(inputs));
            };
            let count = port.check(&input.tensor).map_err(|got| ComputeError::Misfit {
                graph: self.name.clone(),
                input: port.name.clone(),
                expected: port.to_string(),
                got,
            })?;
            // The counts are of elements that lie in memory: they cannot overflow together.
            elements += count;
        }
        if inputs.len() != self.inputs.len() {
            return Err(self.misnamed(inputs));
        }
        if elements > self.max_elements {
            return Err(ComputeError::TooLarge { graph: self.name.clone(), most: self.max_elements, got: elements });
        }
        Ok(elements)
    }

    fn misnamed(&self, inputs: &[NamedTensor]) -> ComputeError {
        // Names come from the guest: some, and the start of each, are enough to find the mistake.
        let got = inputs.iter().take(8).map(|input| input.name.chars().take(64).collect::<String>());
        let got: Vec<_> = got.collect();
        let more = inputs.len() - got.len();
        ComputeError::Inputs {
            graph: self.name.clone(),
            expected: format!("{:?}", self.inputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>()),
            got: if more > 0 { format!("{got:?} and {more} more") } else { format!("{got:?}") },
        }
    }
}
