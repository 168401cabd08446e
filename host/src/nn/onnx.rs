//! Graphs on ONNX Runtime.
//!
//! Owns its sessions, how they are set up, and one run of a graph. Must never know a store or who waits for a session.
//!
//! # Layout
//!
//! - `library`: the library of this process. `gpu`: which of its providers works on a GPU here.
//! - `session`: one run of a session, which several callers may share. `compiler`: sessions for shapes that recur.

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
use self::session::Shared;
use super::Config;
use super::fixed::{self, Fixed};
use super::network::{Backend, Broken, Opened, Session};
use super::pool::Lease;
use super::tensor::{self, Element, Plain, Port};
use super::watchdog::Watchdog;

mod compiler;
mod gpu;
mod library;
mod session;

/// After a run of more elements a session gives its memory back to the system; after a smaller one it keeps it for the
/// next. Enough for a picture of 1.4 megapixels in three colours.
const KEPT_ELEMENTS: usize = 4 << 20;

/// A session for any shape, those for shapes that recur, and whether the run before left more memory than should be kept.
struct Lane {
    /// `None` only while it is dropped.
    session: Option<Arc<Shared>>,
    fixed: Option<Arc<Fixed<Compiler>>>,
    /// The names of the inputs, in the graph's order.
    inputs: Arc<[String]>,
    /// The names of the outputs.
    outputs: Arc<[String]>,
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
        let lanes = lanes(self, &mut builder, model, config).map_err(|error| self.refusal(&error))?;
        let ports = |outlets: &[Outlet]| outlets.iter().map(port).collect::<Result<Vec<_>, _>>();
        let session = lanes.first().ok_or("it has no session")?;
        let (inputs, outputs) = (ports(session.inputs())?, ports(session.outputs())?);
        let small = model.len() <= fixed::LARGEST && !self.on_gpu();
        let compiler = if small { Compiler::of(self, config, model, session.inputs()) } else { None };
        let fixed = compiler.map(|compiler| Arc::new(Fixed::new(compiler)));
        let [taken, answered] =
            [&inputs, &outputs].map(|ports| ports.iter().map(|port| port.name.clone()).collect::<Arc<[_]>>());
        let lane = |session| -> Box<dyn Session> {
            let (session, fixed) = (Some(session), fixed.clone());
            let (inputs, outputs) = (Arc::clone(&taken), Arc::clone(&answered));
            Box::new(Lane { session, fixed, inputs, outputs, provider: self.provider, swollen: false })
        };
        Ok(Opened { inputs, outputs, sessions: lanes.into_iter().map(lane).collect() })
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
        let find = |name: &String| {
            let found = inputs.iter().find(|input| input.name == *name).map(|input| &input.tensor);
            found.ok_or_else(|| Broken::Failed(format!("the input '{name}' is missing")))
        };
        let given = self.inputs.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let values = given.iter().map(|tensor| view(tensor)).collect::<ort::Result<Vec<_>>>().map_err(failed)?;
        let mut options = RunOptions::new().map_err(failed)?;
        let _turn = turn(self.provider, deadline).ok_or(Broken::Overdue)?;
        let large = elements > KEPT_ELEMENTS;
        // What holds a large run's outputs cannot be given back when that run ends, only when the next one does.
        if mem::replace(&mut self.swollen, large) || large {
            options.set("memory.enable_memory_arena_shrinkage", "cpu:0").map_err(failed)?;
        }
        let shapes = || given.iter().map(|tensor| tensor.dimensions.clone()).collect();
        let recurring = self.fixed.as_ref().and_then(|fixed| fixed.meet(&shapes()));
        let options = Arc::new(options);
        let watch = watchdog.watch(deadline, {
            let options = Arc::clone(&options);
            move || {
                if let Err(error) = options.terminate() {
                    tracing::error!(%error, "an overdue run could not be told to stop");
                }
            }
        });
        let made = recurring.as_ref().and_then(|pool| pool.take(deadline));
        let session = made.as_deref().or(self.session.as_ref());
        let session = session.ok_or_else(|| Broken::Failed("its session has ended".to_owned()))?;
        let outputs = session.run(&values, &options);
        let stopped = watch.end();
        match outputs {
            Ok(outputs) => iter::zip(self.outputs.iter(), &outputs)
                .map(|(name, value)| Ok(NamedTensor { name: name.clone(), tensor: copy(value).map_err(failed)? }))
                .collect(),
            Err(_) if stopped => Err(Broken::Overdue),
            Err(error) => Err(failed(error)),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn failed(error: ort::Error) -> Broken {
    Broken::Failed(error.to_string())
}

/// What runs a model as often at the same time as is configured.
fn lanes(
    runtime: &Runtime,
    builder: &mut SessionBuilder,
    model: &[u8],
    config: &Config,
) -> ort::Result<Vec<Arc<Shared>>> {
    // A run on its caller's thread alone needs nothing that other runs of the session need; one on several threads needs the session's
    // own. Where runs take turns, a second one would never run.
    let (sessions, lanes) = match runtime.provider {
        None if config.threads == 1 => (1, config.sessions),
        Some(Provider::WebGpu) => (1, 1),
        None | Some(Provider::Cuda) => (config.sessions, config.sessions),
    };
    let session = || builder.commit_from_memory(model).and_then(Shared::new).map(Arc::new);
    let sessions = iter::repeat_with(session).take(sessions).collect::<ort::Result<Vec<_>>>()?;
    Ok(sessions.iter().cycle().take(lanes).map(Arc::clone).collect())
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
mod tests;
