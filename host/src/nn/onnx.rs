//! Graphs on ONNX Runtime.
//!
//! Owns sessions, how they are set up, and one run of a graph with a guest's tensors. Must never know stores, or
//! WebAssembly beyond wasi-nn's tensors.

use std::sync::Arc;
use std::time::Instant;
use std::{iter, mem};

use half::f16;
use ort::ep::CPU;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, Shape, TensorElementType, TensorRef, ValueType};
use wasmtime_wasi_nn::backend::NamedTensor;
use wasmtime_wasi_nn::wit::Tensor;

use super::library::Runtime;
use super::pool::Pool;
use super::tensor::{self, Element, Plain, Port};
use super::watchdog::Watchdog;
use super::{Config, NnError};

/// After a run of more elements a session gives its memory back to the system; after a smaller one it keeps it for the
/// next. Enough for a picture of 1.4 megapixels in three colours.
const KEPT_ELEMENTS: usize = 4 << 20;

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

/// One graph with its sessions.
pub(crate) struct Network {
    name: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    max_elements: usize,
    sessions: Pool<Lane>,
}

/// One session, and whether the run before left it with more memory than it should keep.
struct Lane {
    session: Session,
    swollen: bool,
}

impl Network {
    /// Loads a graph: optimises it for this processor and makes `config.sessions` sessions of it.
    ///
    /// # Errors
    ///
    /// When the model is damaged, or has inputs or outputs that wasi-nn's tensors cannot be.
    pub(crate) fn load(runtime: &Runtime, name: String, model: &[u8], config: &Config) -> Result<Self, NnError> {
        let open = || -> Result<_, String> {
            let mut builder = builder(runtime, config.threads).map_err(|error| error.to_string())?;
            let sessions = iter::repeat_with(|| builder.commit_from_memory(model)).take(config.sessions);
            let sessions = sessions.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
            let ports = |outlets: &[Outlet]| outlets.iter().map(port).collect::<Result<Vec<_>, _>>();
            let session = sessions.first().ok_or("it has no session")?;
            let (inputs, outputs) = (ports(session.inputs())?, ports(session.outputs())?);
            let lanes = sessions.into_iter().map(|session| Lane { session, swollen: false }).collect();
            Ok((inputs, outputs, lanes))
        };
        match open() {
            Ok((inputs, outputs, lanes)) => {
                Ok(Self { name, inputs, outputs, max_elements: config.max_elements, sessions: Pool::new(lanes) })
            }
            Err(reason) => Err(NnError::Graph { name, reason }),
        }
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

    /// Runs the graph once, on a session of the pool. Inputs are read where they lie; outputs are copied once.
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
        let failed = |error: ort::Error| ComputeError::Failed { graph: self.name.clone(), reason: error.to_string() };

        let values = inputs.iter().map(|input| Ok((input.name.as_str(), view(&input.tensor)?)));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut options = RunOptions::new().map_err(failed)?;

        let mut lane = self.sessions.take(deadline).ok_or_else(|| timed_out("waiting for a session"))?;
        if deadline <= Instant::now() {
            return Err(timed_out("before it ran"));
        }
        let large = elements > KEPT_ELEMENTS;
        // What holds a large run's outputs cannot be given back when that run ends, only when the next one does.
        if mem::replace(&mut lane.swollen, large) || large {
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0").map_err(failed)?;
        }
        let options = Arc::new(options);
        let watch = watchdog.watch(deadline, {
            let options = Arc::clone(&options);
            move || {
                if let Err(error) = options.terminate() {
                    tracing::error!(%error, "an overdue run could not be told to stop");
                }
            }
        });
        let outputs = lane.session.run_with_options(values, &options);
        let stopped = watch.end();
        match outputs {
            Ok(outputs) => outputs
                .iter()
                .map(|(name, value)| Ok(NamedTensor { name: name.to_owned(), tensor: copy(&value).map_err(failed)? }))
                .collect(),
            Err(_) if stopped => Err(timed_out("while it ran")),
            Err(error) => Err(failed(error)),
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

/// How sessions run: on the caller's thread, node by node, and never burning a core that another session could use.
fn builder(runtime: &Runtime, threads: usize) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(runtime.environment())?
        .with_execution_providers([CPU::default().with_arena_allocator(true).build().error_on_failure()])?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_parallel_execution(false)?
        .with_inter_threads(1)?
        .with_intra_threads(threads)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // A memory pattern is kept for every shape seen, and guests choose shapes: it would grow for ever.
        .with_memory_pattern(false)?)
}

fn port(outlet: &Outlet) -> Result<Port, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!("'{name}' is no tensor but {}", outlet.dtype()));
    };
    let element = element(*ty).ok_or_else(|| format!("'{name}' holds {ty}; f32, f16, u8, i32 and i64 are served"))?;
    let dimensions = shape.iter().map(|length| u32::try_from(*length).ok().filter(|length| *length > 0)).collect();
    Ok(Port { name, element, dimensions })
}

fn element(ty: TensorElementType) -> Option<Element> {
    match ty {
        TensorElementType::Float32 => Some(Element::F32),
        TensorElementType::Float16 => Some(Element::F16),
        TensorElementType::Uint8 => Some(Element::U8),
        TensorElementType::Int32 => Some(Element::I32),
        TensorElementType::Int64 => Some(Element::I64),
        _ => None,
    }
}

/// A checked tensor as ONNX Runtime takes it. Copied only when the bytes are not aligned for their elements.
fn view(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    fn typed<T>(shape: Shape, bytes: &[u8]) -> ort::Result<SessionInputValue<'_>>
    where
        T: Plain + PrimitiveTensorElementType + std::fmt::Debug,
    {
        match tensor::aligned::<T>(bytes) {
            Some(elements) => Ok(TensorRef::from_array_view((shape, elements))?.into()),
            None => Ok(ort::value::Tensor::from_array((shape, tensor::copied::<T>(bytes)))?.into()),
        }
    }
    let shape = Shape::new(tensor.dimensions.iter().map(|length| i64::from(*length)));
    match Element::of(tensor.ty) {
        Some(Element::F32) => typed::<f32>(shape, &tensor.data),
        Some(Element::F16) => typed::<f16>(shape, &tensor.data),
        Some(Element::U8) => typed::<u8>(shape, &tensor.data),
        Some(Element::I32) => typed::<i32>(shape, &tensor.data),
        Some(Element::I64) => typed::<i64>(shape, &tensor.data),
        None => Err(ort::Error::new("its input has a type that is not served")),
    }
}

/// An output as guests take it.
fn copy(value: &DynValue) -> ort::Result<Tensor> {
    fn typed<T>(value: &DynValue) -> ort::Result<(&Shape, &[u8])>
    where
        T: Plain + PrimitiveTensorElementType,
    {
        value.try_extract_tensor::<T>().map(|(shape, elements)| (shape, tensor::bytes_of(elements)))
    }
    let element = value.dtype().tensor_type().and_then(element);
    let element = element.ok_or_else(|| ort::Error::new(format!("its output is {}", value.dtype())))?;
    let (shape, bytes) = match element {
        Element::F32 => typed::<f32>(value),
        Element::F16 => typed::<f16>(value),
        Element::U8 => typed::<u8>(value),
        Element::I32 => typed::<i32>(value),
        Element::I64 => typed::<i64>(value),
    }?;
    let dimensions = shape.iter().map(|length| u32::try_from(*length)).collect::<Result<_, _>>();
    let dimensions = dimensions.map_err(|_| ort::Error::new(format!("its output has the shape {shape}")))?;
    Ok(Tensor::new(dimensions, element.tensor_type(), bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture::{self, floats};
    use super::*;

    fn network(file: &str) -> Network {
        let path = fixture::assets().join("models").join(file);
        let model =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()));
        let config = fixture::config();
        Runtime::load(&config.library)
            .and_then(|runtime| Network::load(&runtime, file.to_owned(), &model, &config))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn compute(network: &Network, dimensions: &[u32], elements: &[f32]) -> Result<Vec<NamedTensor>, ComputeError> {
        let watchdog = Watchdog::start().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        network.compute(&[floats("input", dimensions, elements)], deadline, &watchdog)
    }

    fn elements(output: &NamedTensor) -> Vec<f32> {
        tensor::copied(&output.tensor.data)
    }

    #[test]
    fn the_embedding_graph_answers_unit_vectors_alike_for_each_of_a_batch() {
        let network = network("facenet-casia-webface.onnx");
        let side = 3 * 160 * 160;
        let crop: Vec<_> = (0..side).map(|at| (at % 251) as f32 / 125.0 - 1.0).collect();
        let grey = vec![0.0; side];
        let outputs = compute(&network, &[2, 3, 160, 160], &[crop.clone(), grey].concat()).unwrap();
        let [embeddings] = &outputs[..] else { panic!("{} outputs", outputs.len()) };
        assert_eq!((embeddings.name.as_str(), &embeddings.tensor.dimensions[..]), ("embedding", &[2, 512][..]));
        let pair = elements(embeddings);
        let alone = elements(&compute(&network, &[1, 3, 160, 160], &crop).unwrap()[0]);
        for embedding in [&pair[..512], &pair[512..], &alone[..]] {
            let length = embedding.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        let dot = |other: &[f32]| alone.iter().zip(other).map(|(x, y)| x * y).sum::<f32>();
        assert!(dot(&pair[..512]) > 0.9999, "{}", dot(&pair[..512]));
        assert!(dot(&pair[512..]) < 0.99, "{}", dot(&pair[512..]));
    }

    #[test]
    fn the_proposal_graph_takes_any_size_or_refuses_it() {
        let network = network("mtcnn-proposal.onnx");
        for (height, width, answer) in [
            (12, 12, Some([1, 2, 1, 1])),
            (12, 40, Some([1, 2, 1, 15])),
            (100, 60, Some([1, 2, 45, 25])),
            (1, 1, None),
            (4, 400, None),
            // More than is kept: the session is made to give memory back, then works on.
            (1200, 1200, Some([1, 2, 595, 595])),
            (12, 12, Some([1, 2, 1, 1])),
        ] {
            let pixels = vec![f32::NAN; (3 * height * width) as usize];
            match (compute(&network, &[1, 3, height, width], &pixels), answer) {
                (Ok(outputs), Some(answer)) => {
                    let probability =
                        outputs.iter().find(|output| output.name == "probability").expect("probabilities");
                    assert_eq!(probability.tensor.dimensions, answer, "{height}x{width}");
                }
                (Err(ComputeError::Failed { .. }), None) => {}
                (outcome, _) => panic!("{height}x{width}: {:?}", outcome.map(|outputs| outputs.len())),
            }
        }
    }
}
