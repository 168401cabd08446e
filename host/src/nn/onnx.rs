//! Graphs on ONNX Runtime.
//!
//! Owns its sessions, how they are set up, and one run of a graph. Must never know a store or who waits for a session.
//!
//! # Layout
//!
//! - `library`: the library of this process. `gpu`: which of its providers works on a GPU here.
//! - `compiler`: sessions for shapes that recur.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{iter, mem};

use half::f16;
use ort::ep::CPU;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, SessionInputValue};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, Shape, TensorElementType, TensorRef, ValueType};
use wasmtime_wasi_nn::backend::NamedTensor;
use wasmtime_wasi_nn::wit::Tensor;

use self::compiler::Compiler;
use self::gpu::{Provider, WEBGPU_TURN};
pub(super) use self::library::Runtime;
use super::Config;
use super::fixed::{self, Fixed};
use super::network::{Backend, Broken, Opened, Session};
use super::pool::{Lease, Pool};
use super::tensor::{self, Element, Plain, Port};
use super::watchdog::Watchdog;

mod compiler;
mod gpu;
mod library;

/// After a run of more elements a session gives its memory back to the system; after a smaller one it keeps it for the
/// next. Enough for a picture of 1.4 megapixels in three colours.
const KEPT_ELEMENTS: usize = 4 << 20;

/// One session for any shape, those for shapes that recur, and whether the run before left more memory than should be kept.
struct Lane {
    /// `None` only while it is dropped.
    session: Option<ort::session::Session>,
    fixed: Option<Arc<Fixed<Compiler>>>,
    /// The names of the inputs, in the graph's order.
    inputs: Arc<[String]>,
    provider: Option<Provider>,
    swollen: bool,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let _turn = turn(self.provider, in_a_minute());
        self.session = None;
    }
}

/// A turn on what takes one caller at a time; `Some(None)` where nothing does, `None` when it did not come.
fn turn(provider: Option<Provider>, deadline: Instant) -> Option<Option<Lease<'static, ()>>> {
    match provider {
        Some(Provider::WebGpu) => WEBGPU_TURN.take(deadline).map(Some),
        Some(Provider::Cuda) | None => Some(None),
    }
}

/// How long a start or a stop waits for runs in flight.
fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl Backend for Runtime {
    fn name(&self) -> &str {
        self.title()
    }

    fn device(&self) -> &str {
        &self.place
    }

    fn on_gpu(&self) -> bool {
        self.provider.is_some()
    }

    fn open(&self, model: &[u8], config: &Config) -> Result<Opened, String> {
        let _turn = turn(self.provider, in_a_minute()).ok_or("the GPU was busy for a minute")?;
        let mut builder = builder(self, config.threads).map_err(|error| error.to_string())?;
        // Where runs take turns, a second session would only hold the weights once more.
        let count = if self.provider == Some(Provider::WebGpu) { 1 } else { config.sessions };
        let sessions = iter::repeat_with(|| builder.commit_from_memory(model)).take(count);
        let sessions = sessions.collect::<Result<Vec<_>, _>>().map_err(|error| self.refusal(&error))?;
        let ports = |outlets: &[Outlet]| outlets.iter().map(port).collect::<Result<Vec<_>, _>>();
        let session = sessions.first().ok_or("it has no session")?;
        let (inputs, outputs) = (ports(session.inputs())?, ports(session.outputs())?);
        let small = model.len() <= fixed::LARGEST && !self.on_gpu();
        let compiler = if small { Compiler::of(self, config, model, session.inputs()) } else { None };
        let fixed = compiler.map(|compiler| Arc::new(Fixed::new(compiler)));
        let names: Arc<[String]> = inputs.iter().map(|port| port.name.clone()).collect();
        let lane = |session| -> Box<dyn Session> {
            let (fixed, inputs) = (fixed.clone(), Arc::clone(&names));
            Box::new(Lane { session: Some(session), fixed, inputs, provider: self.provider, swollen: false })
        };
        Ok(Opened { inputs, outputs, sessions: sessions.into_iter().map(lane).collect() })
    }
}

impl Runtime {
    /// Why a model has no session, in words.
    fn refusal(&self, error: &ort::Error) -> String {
        let text = gpu::in_a_line(error);
        if self.on_gpu() && text.contains("fallback to CPU EP") {
            return format!(
                "it has operators that {} does not compute; name another model, such as one in floats, or set nn.device to \"cpu\"",
                self.place
            );
        }
        text
    }
}

impl Session for Lane {
    fn run(
        &mut self,
        inputs: &[NamedTensor],
        elements: usize,
        deadline: Instant,
        watchdog: &Watchdog,
    ) -> Result<Vec<NamedTensor>, Broken> {
        let values = inputs.iter().map(|input| Ok((input.name.as_str(), view(&input.tensor)?)));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut options = RunOptions::new().map_err(failed)?;
        let _turn = turn(self.provider, deadline).ok_or(Broken::Overdue)?;
        let large = elements > KEPT_ELEMENTS;
        // What holds a large run's outputs cannot be given back when that run ends, only when the next one does.
        if mem::replace(&mut self.swollen, large) || large {
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0").map_err(failed)?;
        }
        let recurring = self.recurring(inputs);
        let options = Arc::new(options);
        let watch = watchdog.watch(deadline, {
            let options = Arc::clone(&options);
            move || {
                if let Err(error) = options.terminate() {
                    tracing::error!(%error, "an overdue run could not be told to stop");
                }
            }
        });
        let mut made = recurring.as_ref().and_then(|pool| pool.take(deadline));
        let session = made.as_deref_mut().or(self.session.as_mut());
        let session = session.ok_or_else(|| Broken::Failed("its session has ended".to_owned()))?;
        let outputs = session.run_with_options(values, &options);
        let stopped = watch.end();
        match outputs {
            Ok(outputs) => outputs
                .iter()
                .map(|(name, value)| Ok(NamedTensor { name: name.to_owned(), tensor: copy(&value).map_err(failed)? }))
                .collect(),
            Err(_) if stopped => Err(Broken::Overdue),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Lane {
    /// Sessions for the shapes of these inputs, where there are any.
    fn recurring(&self, inputs: &[NamedTensor]) -> Option<Arc<Pool<ort::session::Session>>> {
        let fixed = self.fixed.as_ref()?;
        let find =
            |name: &String| inputs.iter().find(|input| input.name == *name).map(|it| it.tensor.dimensions.clone());
        fixed.meet(&self.inputs.iter().map(find).collect::<Option<_>>()?)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn failed(error: ort::Error) -> Broken {
    Broken::Failed(error.to_string())
}

/// How sessions run: on the caller's thread or the GPU, node by node, and never burning a core that another session could use.
fn builder(runtime: &Runtime, threads: usize) -> ort::Result<SessionBuilder> {
    let builder = ort::session::Session::builder(runtime.environment())?;
    let builder = match runtime.provider {
        Some(provider) => runtime.with_provider(builder, provider)?,
        None => {
            builder.with_execution_providers([CPU::default().with_arena_allocator(true).build().error_on_failure()])?
        }
    };
    Ok(builder
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_parallel_execution(false)?
        .with_inter_threads(1)?
        .with_intra_threads(threads)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // A memory pattern is kept for every shape seen, and guests choose shapes: it would grow for ever.
        .with_memory_pattern(false)?
        .with_env_allocators()?)
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
    use super::super::network::{ComputeError, Network};
    use super::*;

    fn network(file: &str) -> Network {
        let path = fixture::assets().join("models").join(file);
        let model =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()));
        let config = fixture::config();
        Runtime::load(&fixture::library())
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

    #[test]
    fn a_shape_that_recurs_gets_sessions_of_its_own_which_answer_the_same() {
        let (runtime, config) = (Runtime::load(&fixture::library()).unwrap(), fixture::config());
        let compiler = |file: &str| {
            let model = std::fs::read(fixture::assets().join("models").join(file)).expect("set-up makes it");
            let session = builder(&runtime, 1).unwrap().commit_from_memory(&model).unwrap();
            Compiler::of(&runtime, &config, &model, session.inputs())
        };
        assert!(compiler("mtcnn-refinement.onnx").is_none(), "only its number of rows is open");
        let fixed = Fixed::new(compiler("mtcnn-proposal.onnx").expect("its height and width are open, too"));
        let shapes = vec![vec![1, 3, 40, 30]];
        assert!((0..fixed::SIGHTINGS).all(|_| fixed.meet(&shapes).is_none()));
        fixed.settle();
        let deadline = Instant::now() + Duration::from_secs(60);
        let made = fixed.meet(&shapes).expect("sessions were made");
        let (mut first, _second) = (made.take(deadline).unwrap(), made.take(deadline).expect("one for each run"));
        let pixels: Vec<_> = (0..3 * 40 * 30).map(|at| ((at * 7919) % 251) as f32 / 125.0 - 1.0).collect();
        let expected = compute(&network("mtcnn-proposal.onnx"), &shapes[0], &pixels).unwrap();
        let input = |shape: &[u32]| floats("input", shape, &pixels[..shape.iter().product::<u32>() as usize]);
        let answers = first.run(vec![("input", view(&input(&shapes[0]).tensor).unwrap())]).unwrap();
        for (expected, (name, got)) in expected.iter().zip(&answers) {
            let got = copy(&got).unwrap();
            assert_eq!((expected.name.as_str(), &expected.tensor.dimensions), (name, &got.dimensions));
            let got = tensor::copied::<f32>(&got.data);
            assert!(elements(expected).into_iter().zip(got).all(|(a, b)| (a - b).abs() <= 1e-6));
        }
        drop(answers);
        let other = input(&[1, 3, 39, 30]);
        let refused = first.run(vec![("input", view(&other.tensor).unwrap())]);
        assert!(refused.is_err(), "a session that takes any shape is no session for one");
    }
}
