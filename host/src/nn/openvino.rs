//! Graphs on OpenVINO.
//!
//! Owns the library, its sessions, how they are set up, and one run of a graph. Must never know a store or who waits for a
//! session.
//!
//! # Layout
//!
//! - `prelu`: the model as this library is fastest with it.
//! - `compiler`: models compiled for shapes that recur.

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use openvino::{
    CompiledModel, Core, DeviceType, Dimension, ElementType, InferRequest, InferenceError, InferenceErrorKind, Model,
    Node, RwPropertyKey, Shape, Tensor,
};
use wasmtime_wasi_nn::backend::NamedTensor;
use wasmtime_wasi_nn::wit as wasi_nn;

use self::compiler::Compiler;
use super::fixed::{self, Fixed, Shapes};
use super::network::{Backend, Broken, Opened, Session};
use super::tensor::{Element, Port};
use super::watchdog::Watchdog;
use super::{Config, Device, Library, NnError, Precision};

mod compiler;
mod prelu;

/// The oldest release whose interface is the one that is called here.
const OLDEST: u32 = 2024;

/// So many kernels are kept for shapes that were seen: every level of a pyramid has its own, and guests choose them. A photograph
/// that is seen for the first time needs some hundred.
const SHAPES: &str = "1024";

/// OpenVINO, loaded. The library lives until the process ends.
pub(crate) struct Runtime {
    library: PathBuf,
    title: String,
    // Its settings are those of the last graph that was loaded: two graphs must not be loaded at once.
    core: Mutex<Core>,
}

impl Runtime {
    /// Loads the library; a second call with the same path answers the same runtime.
    ///
    /// # Errors
    ///
    /// When there is no such file, it is no OpenVINO or too old, or another one is already loaded.
    pub(crate) fn load(library: &Path) -> Result<Arc<Self>, NnError> {
        static LOADED: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

        let path =
            library.canonicalize().map_err(|_| NnError::LibraryMissing(Library::OpenVino(library.to_owned())))?;
        let unusable = |reason: String| NnError::LibraryUnusable { library: Library::OpenVino(path.clone()), reason };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            if runtime.library != path {
                return Err(NnError::LibraryHeld { loaded: runtime.library.clone(), asked: path });
            }
            return Ok(Arc::clone(runtime));
        }
        look_at(&path).map_err(unusable)?;
        openvino_sys::library::load_from(path.clone()).map_err(unusable)?;
        let version = openvino::version().build_number;
        let year = version.split('.').next().and_then(|year| year.parse::<u32>().ok());
        if year.is_none_or(|year| year < OLDEST) {
            return Err(unusable(format!("it is version {version}, and {OLDEST} or newer is needed")));
        }
        let core = Core::new().map_err(|error| unusable(error.to_string()))?;
        if !core.available_devices().is_ok_and(|devices| devices.contains(&DeviceType::CPU)) {
            return Err(unusable("its plugin for processors does not lie beside it".to_owned()));
        }
        // The version goes on with the build and the branch.
        let release = version.split('-').next().unwrap_or_default();
        tracing::info!(library = %path.display(), version, "OpenVINO loaded");
        let title = format!("OpenVINO {release}");
        Ok(Arc::clone(loaded.insert(Arc::new(Self { library: path, title, core: Mutex::new(core) }))))
    }
}

/// Makes sure that a file is OpenVINO's library: a function that it lacks would be a panic when it is called, and once it is
/// loaded there is no way back.
fn look_at(path: &Path) -> Result<(), String> {
    // SAFETY: loading runs the library's initialisers. The operator chose this file to be run as part of the host.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| error.to_string())?;
    for function in ["ov_get_openvino_version", "ov_core_create", "ov_infer_request_wait_for", "ov_core_set_property"] {
        // SAFETY: the symbol is not called, only looked for.
        let found = unsafe { library.get::<*const ()>(function.as_bytes()) };
        found.map_err(|_| format!("it does not export {function}"))?;
    }
    Ok(())
}

/// OpenVINO on one device.
struct Placed {
    runtime: Arc<Runtime>,
    title: String,
    target: Target,
    place: String,
}

/// What models are compiled for.
struct Target {
    device: DeviceType<'static>,
    precision: Precision,
}

impl Runtime {
    /// Loads the library, and finds what it is to compute on. Precisions other than f32 are for processors with instructions for
    /// them; elsewhere it computes in f32 all the same.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`]; and when a GPU is asked for and there is none.
    pub(crate) fn load_on(library: &Path, device: Device, precision: Precision) -> Result<Arc<dyn Backend>, NnError> {
        let runtime = Self::load(library)?;
        let gpu = || match runtime.gpu() {
            Ok(()) => Ok((DeviceType::GPU, "a GPU of Intel".to_owned())),
            Err(reason) if device == Device::Auto => {
                Ok((DeviceType::CPU, format!("the CPU, for no GPU works ({reason})")))
            }
            Err(reason) => Err(NnError::NoGpu(reason)),
        };
        let (device, place) = if device == Device::Cpu { (DeviceType::CPU, "the CPU".to_owned()) } else { gpu()? };
        let title = match precision {
            Precision::F32 => runtime.title.clone(),
            Precision::Bf16 => format!("{} in bf16", runtime.title),
        };
        Ok(Arc::new(Placed { runtime, title, target: Target { device, precision }, place }))
    }

    /// Whether the library sees a GPU, or why not.
    fn gpu(&self) -> Result<(), String> {
        let plugin = self.library.with_file_name("libopenvino_intel_gpu_plugin.so");
        if !plugin.is_file() {
            return Err(format!("there is no {}, which `cargo xtask setup --gpu openvino` fetches", plugin.display()));
        }
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = core.available_devices().map_err(|error| told(&error))?;
        // Several are numbered.
        if devices.iter().any(|device| device.as_ref().starts_with("GPU")) {
            return Ok(());
        }
        Err("OpenVINO sees no GPU of Intel; it needs Intel's driver for OpenCL and its loader, libOpenCL.so.1"
            .to_owned())
    }
}

impl Backend for Placed {
    fn name(&self) -> &str {
        &self.title
    }

    fn device(&self) -> &str {
        &self.place
    }

    fn on_gpu(&self) -> bool {
        self.target.device == DeviceType::GPU
    }

    fn open(&self, model: &[u8], config: &Config) -> Result<Opened, String> {
        let small = model.len() <= fixed::LARGEST && !self.on_gpu();
        let mut core = self.runtime.core.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = || -> Result<_, InferenceError> {
            let model = core.read_model_from_buffer(&prelu::fused(model), None)?;
            let inputs = (0..model.get_inputs_len()?).map(|index| model.get_input_by_index(index));
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let outputs = (0..model.get_outputs_len()?).map(|index| model.get_output_by_index(index));
            let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
            // All streams share the weights of one compiled model; a request keeps it alive.
            let mut compiled = compile(&mut core, &model, config, &self.target)?;
            Ok((model, inputs, outputs, requests(&mut compiled, config)?))
        };
        let (model, inputs, outputs, lanes) = open().map_err(|error| told(&error))?;
        let ports = |nodes: &[Node]| nodes.iter().map(port).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (ports(&inputs)?, ports(&outputs)?);
        let names = inputs.iter().map(|port| port.name.clone()).collect();
        let precision = self.target.precision;
        let fixed = (small && model.is_dynamic()).then(|| {
            let target = Target { device: DeviceType::CPU, precision };
            let (runtime, config, model) = (Arc::clone(&self.runtime), config.clone(), Mutex::new(model));
            Arc::new(Fixed::new(Compiler { runtime, target, config, model, inputs: names }))
        });
        let lane = |request| -> Box<dyn Session> {
            Box::new(Lane { request, fixed: fixed.clone(), inputs: inputs.clone(), outputs: outputs.clone() })
        };
        let sessions = lanes.into_iter().map(lane).collect();
        Ok(Opened { inputs, outputs, sessions })
    }
}

/// Compiles a model for so many runs at once.
fn compile(
    core: &mut Core,
    model: &Model,
    config: &Config,
    Target { device, precision }: &Target,
) -> Result<CompiledModel, InferenceError> {
    let precision = match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    };
    let streams = config.sessions.to_string();
    let threads = config.sessions.saturating_mul(config.threads).to_string();
    let everywhere = [
        // Without it, processors with bf16 compute in that, GPUs in f16, and distances move.
        (RwPropertyKey::HintInferencePrecision, precision),
        (RwPropertyKey::NumStreams, streams.as_str()),
    ];
    let processors = [
        (RwPropertyKey::InferenceNumThreads, threads.as_str()),
        // The host's other threads and other processes run on the same processors.
        (RwPropertyKey::HintEnableCpuPinning, "NO"),
        (RwPropertyKey::Other("CPU_RUNTIME_CACHE_CAPACITY".into()), SHAPES),
    ];
    let processors = processors.into_iter().filter(|_| *device != DeviceType::GPU);
    for (key, value) in everywhere.into_iter().chain(processors) {
        core.set_property(device, &key, value)?;
    }
    core.compile_model(model, device.to_owned())
}

/// A request for each run at the same time.
fn requests(compiled: &mut CompiledModel, config: &Config) -> Result<Vec<InferRequest>, InferenceError> {
    iter::repeat_with(|| compiled.create_infer_request()).take(config.sessions).collect()
}

/// One request for any shape, which is used again and again.
struct Lane {
    request: InferRequest,
    fixed: Option<Arc<Fixed<Compiler>>>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Session for Lane {
    fn run(
        &mut self,
        inputs: &[NamedTensor],
        _: usize,
        deadline: Instant,
        _: &Watchdog,
    ) -> Result<Vec<NamedTensor>, Broken> {
        let find = |port: &Port| {
            let found = inputs.iter().find(|input| input.name == port.name).map(|input| &input.tensor);
            found.ok_or_else(|| Broken::Failed(format!("the input '{}' is missing", port.name)))
        };
        let given = self.inputs.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let shapes: Shapes = given.iter().map(|tensor| tensor.dimensions.clone()).collect();
        let recurring = self.fixed.as_ref().and_then(|fixed| fixed.meet(&shapes));
        let Some(mut request) = recurring.as_ref().and_then(|pool| pool.take(deadline)) else {
            for (index, (port, tensor)) in self.inputs.iter().zip(&given).enumerate() {
                set_input(&mut self.request, index, port, tensor).map_err(|error| Broken::Failed(told(&error)))?;
            }
            return run(&mut self.request, &self.outputs, deadline);
        };
        for (port, tensor) in self.inputs.iter().zip(&given) {
            fill_input(&request, port, tensor).map_err(|error| Broken::Failed(told(&error)))?;
        }
        run(&mut request, &self.outputs, deadline)
    }
}

/// Hands a request a tensor of any shape.
fn set_input(
    request: &mut InferRequest,
    index: usize,
    port: &Port,
    given: &wasi_nn::Tensor,
) -> Result<(), InferenceError> {
    let dimensions: Vec<_> = given.dimensions.iter().map(|length| i64::from(*length)).collect();
    let mut tensor = Tensor::new(element_type(port.element), &Shape::new(&dimensions)?)?;
    tensor.get_raw_data_mut()?.copy_from_slice(&given.data);
    request.set_input_tensor_by_index(index, &tensor)
}

/// Writes a tensor into a request's own, which has its shape.
fn fill_input(request: &InferRequest, port: &Port, given: &wasi_nn::Tensor) -> Result<(), InferenceError> {
    let mut tensor = request.get_tensor(&port.name)?;
    tensor.get_raw_data_mut()?.copy_from_slice(&given.data);
    Ok(())
}

/// Runs a request, and copies its outputs.
fn run(request: &mut InferRequest, outputs: &[Port], deadline: Instant) -> Result<Vec<NamedTensor>, Broken> {
    let failed = |error: InferenceError| Broken::Failed(told(&error));
    request.infer_async().map_err(failed)?;
    wait(request, deadline)?;
    let output = |(index, port): (usize, &Port)| {
        let tensor = request.get_output_tensor_by_index(index)?;
        let shape = tensor.get_shape()?;
        let dimensions = shape.get_dimensions().iter().map(|length| u32::try_from(*length).unwrap_or(u32::MAX));
        let bytes = tensor.get_raw_data()?.to_vec();
        let tensor = wasi_nn::Tensor::new(dimensions.collect(), port.element.tensor_type(), bytes);
        Ok(NamedTensor { name: port.name.clone(), tensor })
    };
    outputs.iter().enumerate().map(output).collect::<Result<_, _>>().map_err(failed)
}

/// Waits for the run that was begun; past the deadline it is cancelled, and its end awaited all the same.
fn wait(request: &mut InferRequest, deadline: Instant) -> Result<(), Broken> {
    let mut overdue = false;
    loop {
        // Rounded up: not even the last part of a millisecond is spent turning round.
        let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i64 + 1;
        match request.wait(if overdue { 1000 } else { left.min(60_000) }) {
            Ok(()) if overdue => return Err(Broken::Overdue),
            Ok(()) => return Ok(()),
            Err(error) if error.kind == InferenceErrorKind::ResultNotReady => {}
            Err(_) if overdue => return Err(Broken::Overdue),
            Err(error) => return Err(Broken::Failed(told(&error))),
        }
        if !overdue && Instant::now() >= deadline {
            overdue = true;
            if let Err(error) = request.cancel() {
                tracing::error!(%error, "an overdue run could not be told to stop");
            }
        }
    }
}

fn port(node: &Node) -> Result<Port, String> {
    let read = || Ok((node.get_name()?, node.get_element_type()?, node.get_partial_shape()?));
    let (name, ty, shape) = read().map_err(|error: InferenceError| told(&error))?;
    let element = match ty {
        ElementType::F32 => Element::F32,
        ElementType::F16 => Element::F16,
        ElementType::U8 => Element::U8,
        ElementType::I32 => Element::I32,
        ElementType::I64 => {
            return Err(format!("'{name}' holds i64, which OpenVINO computes in 32 bits; use nn.backend = \"onnx\""));
        }
        other => return Err(format!("'{name}' holds {other:?}; f32, f16, u8 and i32 are served")),
    };
    if shape.get_rank().is_dynamic() {
        return Err(format!("'{name}' may have any number of dimensions"));
    }
    let length = |it: &Dimension| u32::try_from(it.get_min()).ok().filter(|least| *least > 0 && !it.is_dynamic());
    let dimensions = shape.get_dimensions().iter().map(length).collect();
    Ok(Port { name, element, dimensions })
}

fn element_type(element: Element) -> ElementType {
    match element {
        Element::F32 => ElementType::F32,
        Element::F16 => ElementType::F16,
        Element::U8 => ElementType::U8,
        Element::I32 => ElementType::I32,
        Element::I64 => ElementType::I64,
    }
}

/// An error in one line: the library's own words, which may go over many, come first.
fn told(error: &InferenceError) -> String {
    let message = error.message.as_deref().unwrap_or_default();
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let most = lines.by_ref().take(4).collect::<Vec<_>>().join(" ");
    if most.is_empty() { format!("{:?}", error.kind) } else { most }
}

#[cfg(test)]
mod tests;
