//! Graphs on OpenVINO.
//!
//! Owns the library, its sessions, how they are set up, and one run of a graph. Must never know a store or who waits for a
//! session.

use std::iter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use openvino::{
    Core, DeviceType, Dimension, ElementType, InferRequest, InferenceError, InferenceErrorKind, Node, RwPropertyKey,
    Shape, Tensor,
};
use wasmtime_wasi_nn::backend::NamedTensor;

use super::network::{Backend, Broken, Opened, Session};
use super::tensor::{Element, Port};
use super::watchdog::Watchdog;
use super::{Config, Device, Library, NnError};

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
    device: DeviceType<'static>,
    place: String,
}

impl Runtime {
    /// Loads the library, and finds what it is to compute on.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`]; and when a GPU is asked for and there is none.
    pub(crate) fn load_on(library: &Path, device: Device) -> Result<Arc<dyn Backend>, NnError> {
        let runtime = Self::load(library)?;
        let gpu = || match runtime.gpu() {
            Ok(()) => Ok((DeviceType::GPU, "a GPU of Intel".to_owned())),
            Err(reason) if device == Device::Auto => {
                Ok((DeviceType::CPU, format!("the CPU, for no GPU works ({reason})")))
            }
            Err(reason) => Err(NnError::NoGpu(reason)),
        };
        let (device, place) = if device == Device::Cpu { (DeviceType::CPU, "the CPU".to_owned()) } else { gpu()? };
        Ok(Arc::new(Placed { runtime, device, place }))
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
        &self.runtime.title
    }

    fn device(&self) -> &str {
        &self.place
    }

    fn on_gpu(&self) -> bool {
        self.device == DeviceType::GPU
    }

    fn open(&self, model: &[u8], config: &Config) -> Result<Opened, String> {
        let (runtime, device) = (&self.runtime, &self.device);
        let mut core = runtime.core.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = || -> Result<_, InferenceError> {
            let threads = config.sessions.saturating_mul(config.threads).to_string();
            let streams = config.sessions.to_string();
            let everywhere = [
                // Without it, processors with bf16 compute in that, GPUs in f16, and distances move.
                (RwPropertyKey::HintInferencePrecision, "f32"),
                (RwPropertyKey::NumStreams, streams.as_str()),
            ];
            let processors = [
                (RwPropertyKey::InferenceNumThreads, threads.as_str()),
                // The host's other threads and other processes run on the same processors.
                (RwPropertyKey::HintEnableCpuPinning, "NO"),
                (RwPropertyKey::Other("CPU_RUNTIME_CACHE_CAPACITY".into()), SHAPES),
            ];
            let processors = processors.into_iter().filter(|_| !self.on_gpu());
            for (key, value) in everywhere.into_iter().chain(processors) {
                core.set_property(device, &key, value)?;
            }
            let model = core.read_model_from_buffer(model, None)?;
            let inputs = (0..model.get_inputs_len()?).map(|index| model.get_input_by_index(index));
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let outputs = (0..model.get_outputs_len()?).map(|index| model.get_output_by_index(index));
            let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
            // All streams share the weights of one compiled model; a request keeps it alive.
            let mut compiled = core.compile_model(&model, device.to_owned())?;
            let requests = iter::repeat_with(|| compiled.create_infer_request()).take(config.sessions);
            Ok((inputs, outputs, requests.collect::<Result<Vec<_>, _>>()?))
        };
        let (inputs, outputs, requests) = open().map_err(|error| told(&error))?;
        let ports = |nodes: &[Node]| nodes.iter().map(port).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (ports(&inputs)?, ports(&outputs)?);
        let lane = |request| -> Box<dyn Session> {
            Box::new(Lane { request, inputs: inputs.clone(), outputs: outputs.clone() })
        };
        let sessions = requests.into_iter().map(lane).collect();
        Ok(Opened { inputs, outputs, sessions })
    }
}

/// One request, which is used again and again.
struct Lane {
    request: InferRequest,
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
        let failed = |error: InferenceError| Broken::Failed(told(&error));
        for (index, port) in self.inputs.iter().enumerate() {
            let input = inputs.iter().find(|input| input.name == port.name);
            let input = input.ok_or_else(|| Broken::Failed(format!("the input '{}' is missing", port.name)))?;
            let dimensions: Vec<_> = input.tensor.dimensions.iter().map(|length| i64::from(*length)).collect();
            let shape = Shape::new(&dimensions).map_err(failed)?;
            let mut tensor = Tensor::new(element_type(port.element), &shape).map_err(failed)?;
            tensor.get_raw_data_mut().map_err(failed)?.copy_from_slice(&input.tensor.data);
            self.request.set_input_tensor_by_index(index, &tensor).map_err(failed)?;
        }
        self.request.infer_async().map_err(failed)?;
        self.wait(deadline)?;
        let output = |(index, port): (usize, &Port)| {
            let tensor = self.request.get_output_tensor_by_index(index)?;
            let shape = tensor.get_shape()?;
            let dimensions = shape.get_dimensions().iter().map(|length| u32::try_from(*length).unwrap_or(u32::MAX));
            let bytes = tensor.get_raw_data()?.to_vec();
            let tensor = wasmtime_wasi_nn::wit::Tensor::new(dimensions.collect(), port.element.tensor_type(), bytes);
            Ok(NamedTensor { name: port.name.clone(), tensor })
        };
        self.outputs.iter().enumerate().map(output).collect::<Result<_, _>>().map_err(failed)
    }
}

impl Lane {
    /// Waits for the run that was begun; past the deadline it is cancelled, and its end awaited all the same.
    fn wait(&mut self, deadline: Instant) -> Result<(), Broken> {
        let mut overdue = false;
        loop {
            // Rounded up: not even the last part of a millisecond is spent turning round.
            let left = deadline.saturating_duration_since(Instant::now()).as_millis() as i64 + 1;
            match self.request.wait(if overdue { 1000 } else { left.min(60_000) }) {
                Ok(()) if overdue => return Err(Broken::Overdue),
                Ok(()) => return Ok(()),
                Err(error) if error.kind == InferenceErrorKind::ResultNotReady => {}
                Err(_) if overdue => return Err(Broken::Overdue),
                Err(error) => return Err(Broken::Failed(told(&error))),
            }
            if !overdue && Instant::now() >= deadline {
                overdue = true;
                if let Err(error) = self.request.cancel() {
                    tracing::error!(%error, "an overdue run could not be told to stop");
                }
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
mod tests {
    use std::time::Duration;

    use super::super::fixture::{self, FLOAT, INT32, INT64, floats};
    use super::super::network::{ComputeError, Network};
    use super::*;

    /// Both libraries as set-up places them; `None`, said aloud, on systems for which there is no OpenVINO.
    fn both() -> Option<[(Arc<dyn Backend>, Config); 2]> {
        let configs = [fixture::config(), fixture::openvino()];
        if !cfg!(target_arch = "x86_64") {
            eprintln!("skipped: there is no OpenVINO for this system");
            return None;
        }
        Some(
            configs
                .map(|config| (config.library.load(config.device).unwrap_or_else(|error| panic!("{error}")), config)),
        )
    }

    fn load((backend, config): &(Arc<dyn Backend>, Config), model: &[u8]) -> Network {
        Network::load(backend.as_ref(), "graph".to_owned(), model, config).unwrap_or_else(|error| panic!("{error}"))
    }

    fn model(file: &str) -> Vec<u8> {
        let path = fixture::assets().join("models").join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()))
    }

    fn compute(
        network: &Network,
        inputs: &[NamedTensor],
        patience: Duration,
    ) -> Result<Vec<NamedTensor>, ComputeError> {
        network.compute(inputs, Instant::now() + patience, &Watchdog::start().unwrap())
    }

    fn elements(output: &NamedTensor) -> Vec<f32> {
        super::super::tensor::copied(&output.tensor.data)
    }

    #[test]
    fn graphs_have_the_same_ports_and_answer_what_they_answer_on_onnx_runtime() {
        let Some(both) = both() else { return };
        let pictures: [(&str, &[[u32; 4]], f32); 4] = [
            ("mtcnn-proposal.onnx", &[[1, 3, 40, 30], [1, 3, 12, 12], [1, 3, 200, 311], [1, 3, 40, 30]], 1e-4),
            ("mtcnn-refinement.onnx", &[[5, 3, 24, 24], [64, 3, 24, 24], [1, 3, 24, 24]], 1e-4),
            ("mtcnn-output.onnx", &[[2, 3, 48, 48], [9, 3, 48, 48]], 1e-4),
            ("facenet-casia-webface.onnx", &[[1, 3, 160, 160], [2, 3, 160, 160]], 1e-4),
        ];
        for (file, shapes, tolerance) in pictures {
            let networks = both.each_ref().map(|library| load(library, &model(file)));
            let [onnx, openvino] = &networks;
            assert_eq!((onnx.inputs(), onnx.outputs()), (openvino.inputs(), openvino.outputs()), "{file}");
            for shape in shapes {
                let count = shape.iter().product::<u32>();
                let pixels: Vec<_> = (0..count).map(|at| ((at * 7919) % 251) as f32 / 125.0 - 1.0).collect();
                let input = [floats("input", shape, &pixels)];
                let answers =
                    networks.each_ref().map(|it| compute(it, &input, Duration::from_secs(60)).expect("it is computed"));
                for (expected, got) in answers[0].iter().zip(&answers[1]) {
                    assert_eq!((&expected.name, &expected.tensor.dimensions), (&got.name, &got.tensor.dimensions));
                    for (a, b) in elements(expected).into_iter().zip(elements(got)) {
                        assert!((a - b).abs() <= tolerance, "{file} {shape:?} {}: {a} and {b}", got.name);
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_tensors_are_refused_in_the_same_words() {
        let Some(both) = both() else { return };
        let networks = both.each_ref().map(|library| load(library, &model("mtcnn-output.onnx")));
        let good = || floats("input", &[1, 3, 48, 48], &vec![0.0; 3 * 48 * 48]);
        let cut = {
            let mut input = good();
            input.tensor.data.pop();
            input
        };
        for inputs in [
            vec![],
            vec![good(), good()],
            vec![floats("other", &[1, 3, 48, 48], &vec![0.0; 3 * 48 * 48])],
            vec![floats("input", &[1, 3, 47, 48], &vec![0.0; 3 * 47 * 48])],
            vec![floats("input", &[0, 3, 48, 48], &[])],
            vec![cut],
        ] {
            let texts = networks
                .each_ref()
                .map(|it| compute(it, &inputs, Duration::from_secs(9)).err().expect("a refusal").to_string());
            assert_eq!(texts[0], texts[1]);
        }
    }

    #[test]
    fn a_run_past_its_deadline_is_stopped_and_its_session_works_on() {
        let Some([_, (backend, config)]) = both() else { return };
        let network = load(&(backend, Config { sessions: 1, ..config }), &fixture::power(500));
        let matrix = |side: u32| [floats("x0", &[side, side], &vec![0.0; (side * side) as usize])];
        let start = Instant::now();
        let late = compute(&network, &matrix(512), Duration::from_millis(200)).err().expect("it takes minutes");
        assert!(matches!(late, ComputeError::TimedOut { .. }), "{late}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        compute(&network, &matrix(2), Duration::from_secs(60)).unwrap_or_else(|error| panic!("{error}"));
    }

    #[test]
    fn damaged_models_and_missing_libraries_are_named_with_the_mend() {
        let nowhere = Library::OpenVino("/nowhere/libopenvino_c.so".into());
        let missing = nowhere.load(Device::Cpu).err().expect("it is not there").to_string();
        assert!(missing.contains("/nowhere/libopenvino_c.so") && missing.contains("setup --openvino"), "{missing}");
        let Some([_, (backend, config)]) = both() else { return };
        let broken = Network::load(backend.as_ref(), "broken".to_owned(), b"no model", &config);
        let text = broken.err().expect("it is none").to_string();
        assert!(text.contains("the graph 'broken'") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn every_number_of_a_type_goes_in_and_out() {
        let Some([_, library]) = both() else { return };
        let patience = Duration::from_secs(60);
        let same = load(&library, &fixture::identity(FLOAT, &[None, Some(3)]));
        let input = floats("input", &[2, 3], &[0.0, -1.5, f32::INFINITY, 3e38, 1e-30, 7.0]);
        let expected = input.tensor.clone();
        assert_eq!(compute(&same, &[input], patience).unwrap()[0].tensor, expected);
        let same = load(&library, &fixture::identity(INT32, &[None]));
        let input = fixture::named("input", wasmtime_wasi_nn::wit::TensorType::I32, &[3], &[i32::MIN, -1, i32::MAX]);
        let expected = input.tensor.clone();
        assert_eq!(compute(&same, &[input], patience).unwrap()[0].tensor, expected);
        let (backend, config) = library;
        let long = Network::load(backend.as_ref(), "long".to_owned(), &fixture::identity(INT64, &[None]), &config);
        let text = long.err().expect("its numbers would be cut").to_string();
        assert!(text.contains("32 bits"), "{text}");
    }
}
