//! Models compiled for the very shapes that recur.
//!
//! Owns the models of one graph that know the lengths of all dimensions, the thread that compiles them, and their idle requests.
//! Must never know what a run is given.
//!
//! A model that takes any shape infers the shapes of all nodes in each run, and cannot lay out its memory beforehand. Of a small
//! network that is a good part of a run. So a shape that was seen often gets a model of its own, compiled beside the requests: who
//! comes meanwhile runs on the model for any shape, and waits for nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use openvino::{CompiledModel, InferRequest, InferenceError, Model, PartialShape};

use super::shelf::{Known, Shapes, Shelf};
use super::{Runtime, Target, compile, told};
use crate::nn::Config;

/// Models up to so many bytes, for each that is compiled has weights of its own. Larger ones compute so long that shapes cost them
/// little.
pub(super) const LARGEST: usize = 4 << 20;

/// The models of one graph.
pub(super) struct Fixed {
    shared: Arc<Shared>,
    inputs: Vec<String>,
}

struct Shared {
    runtime: Arc<Runtime>,
    target: Target,
    config: Config,
    /// The model that is reshaped before each compilation.
    model: Mutex<Model>,
    state: Mutex<State>,
}

struct State {
    shelf: Shelf<Ready>,
    /// What waits to be compiled.
    due: VecDeque<Shapes>,
    compiler: Option<JoinHandle<()>>,
    /// Whether the thread is still at work.
    busy: bool,
    closed: bool,
}

/// A compiled model, and requests to it that nobody uses.
struct Ready {
    model: CompiledModel,
    idle: Vec<InferRequest>,
}

impl Fixed {
    /// `inputs` are the names of the model's inputs, in its order.
    pub(super) fn new(
        runtime: Arc<Runtime>,
        target: Target,
        config: Config,
        model: Model,
        inputs: Vec<String>,
    ) -> Self {
        let state = State { shelf: Shelf::new(), due: VecDeque::new(), compiler: None, busy: false, closed: false };
        let shared = Shared { runtime, target, config, model: Mutex::new(model), state: Mutex::new(state) };
        Self { shared: Arc::new(shared), inputs }
    }

    /// A request for these shapes, if there is a model for them. [`Fixed::give_back`] takes it when it has run.
    pub(super) fn take(&self, shapes: &Shapes) -> Option<InferRequest> {
        let mut state = self.shared.state();
        match state.shelf.meet(shapes) {
            Known::Made(Ready { model, idle }) => match idle.pop() {
                Some(request) => Some(request),
                None => model.create_infer_request().inspect_err(complain).ok(),
            },
            Known::Due => {
                state.due.push_back(shapes.clone());
                if !state.busy {
                    self.start(&mut state);
                }
                None
            }
            Known::Seen => None,
        }
    }

    /// Keeps a request for the next run with these shapes.
    pub(super) fn give_back(&self, shapes: &Shapes, request: InferRequest) {
        if let Some(ready) = self.shared.state().shelf.made(shapes) {
            ready.idle.push(request);
        }
    }

    /// Without a thread, all goes on as before.
    fn start(&self, state: &mut State) {
        let (shared, inputs) = (Arc::clone(&self.shared), self.inputs.clone());
        let thread = thread::Builder::new().name("nn-compiler".to_owned());
        match thread.spawn(move || shared.compile_all(&inputs)) {
            Ok(thread) => (state.compiler, state.busy) = (Some(thread), true),
            Err(error) => tracing::warn!(%error, "no thread to compile a model for a shape that recurs"),
        }
    }

    /// Waits until nothing is being compiled.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        while self.shared.state().busy {
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// The library must not compile while the process ends and takes its parts down.
impl Drop for Fixed {
    fn drop(&mut self) {
        let compiler = {
            let mut state = self.shared.state();
            state.closed = true;
            state.compiler.take()
        };
        if let Some(compiler) = compiler {
            _ = compiler.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile_all(&self, inputs: &[String]) {
        loop {
            let shapes = {
                let mut state = self.state();
                let next = state.due.pop_front().filter(|_| !state.closed);
                let Some(shapes) = next else {
                    state.busy = false;
                    return;
                };
                shapes
            };
            match self.compile(&shapes, inputs) {
                Ok(model) => {
                    tracing::debug!(?shapes, "a model was compiled for a shape that recurs");
                    self.state().shelf.put(&shapes, Ready { model, idle: Vec::new() });
                }
                Err(error) => complain(&error),
            }
        }
    }

    fn compile(&self, shapes: &Shapes, inputs: &[String]) -> Result<CompiledModel, InferenceError> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let partial = shapes.iter().map(|lengths| {
            let lengths: Vec<_> = lengths.iter().map(|length| i64::from(*length)).collect();
            PartialShape::new_static(lengths.len() as i64, &lengths)
        });
        let partial = partial.collect::<Result<Vec<_>, _>>()?;
        let named: Vec<_> = inputs.iter().map(String::as_str).zip(&partial).collect();
        model.reshape(&named)?;
        let mut core = self.runtime.core.lock().unwrap_or_else(PoisonError::into_inner);
        compile(&mut core, &model, &self.config, &self.target)
    }
}

/// The model for any shape serves on.
fn complain(error: &InferenceError) {
    tracing::warn!(error = told(error), "no model could be compiled for a shape that recurs");
}
