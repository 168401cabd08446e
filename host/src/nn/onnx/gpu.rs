//! GPUs under ONNX Runtime: which provider of it works here, and why the others do not.
//!
//! Owns where providers lie, how they are tried, and how sessions are told to use one. Must never know a graph that is served.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use ort::ep::CUDA;
use ort::memory::DeviceType;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;

use super::{Runtime, builder};
use crate::nn::pool::Pool;
use crate::nn::{Device, NnError};

/// What computes on a GPU for ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// For NVIDIA's GPUs. It belongs to a build of the library of its own.
    Cuda,
    /// For all others by way of Vulkan; any build of the library takes it.
    WebGpu,
}

/// Runs through WebGPU in turns: its provider crashes when two sessions run at once (github.com/microsoft/onnxruntime/issues/32561).
pub(super) static WEBGPU_TURN: LazyLock<Pool<()>> = LazyLock::new(|| Pool::new(vec![()]));

/// The name that WebGPU's provider gives to its devices.
const WEBGPU: &str = "WebGpuExecutionProvider";

/// `y = max(x, 0)` of four numbers in ONNX: the smallest graph that shows whether a device computes.
const PROBE: &[u8] = b"\x08\x08\x3a\x33\
    \x0a\x0c\x0a\x01x\x12\x01y\x22\x04Relu\
    \x12\x01g\
    \x5a\x0f\x0a\x01x\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x04\
    \x62\x0f\x0a\x01y\x12\x0a\x0a\x08\x08\x01\x12\x04\x0a\x02\x08\x04\
    \x42\x02\x10\x11";

/// Where providers lie: beside the configured library.
struct Places {
    /// The build for CUDA, with its provider beside it.
    cuda: PathBuf,
    cuda_provider: PathBuf,
    webgpu_provider: PathBuf,
}

impl Places {
    fn beside(library: &Path) -> Self {
        let folder = library.parent().unwrap_or(Path::new(""));
        Self {
            cuda: folder.join("cuda/libonnxruntime.so"),
            cuda_provider: folder.join("cuda/libonnxruntime_providers_cuda.so"),
            webgpu_provider: folder.join("libonnxruntime_providers_webgpu.so"),
        }
    }
}

/// A provider that works and what it computes on, or why none does.
type Found = Result<(Provider, String), String>;

impl Runtime {
    /// Loads the library, and finds what it is to compute on. Where there is a build for CUDA, a GPU is looked for with that one,
    /// which computes on processors as well.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`]; and when a GPU is asked for and none works.
    pub(crate) fn load_on(library: &Path, device: Device) -> Result<Self, NnError> {
        if device == Device::Cpu {
            return Self::load(library);
        }
        let places = Places::beside(library);
        let runtime = Self::load(if places.cuda.is_file() { &places.cuda } else { library })?;
        let found = runtime.found(&places);
        match (found, device) {
            (Ok((provider, place)), _) => Ok(runtime.on(Some(provider), &place)),
            (Err(reasons), Device::Auto) => Ok(runtime.on(None, &format!("the CPU, for no GPU works ({reasons})"))),
            (Err(reasons), _) => Err(NnError::NoGpu(reasons)),
        }
    }

    /// The answer of [`Self::look`], which is looked for once: making the first session on a GPU may take seconds.
    fn found(&self, places: &Places) -> Found {
        static FOUND: Mutex<Option<(PathBuf, Found)>> = Mutex::new(None);
        let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = found.as_ref().filter(|(provider, _)| *provider == places.webgpu_provider) {
            return answer.clone();
        }
        let answer = self.look(places);
        *found = Some((places.webgpu_provider.clone(), answer.clone()));
        answer
    }

    /// The first provider that works, and what it computes on; or why none does.
    fn look(&self, places: &Places) -> Found {
        let cuda = self.cuda(places);
        let webgpu = |against: &str| {
            let webgpu = self.webgpu(places);
            webgpu.map_err(|reason| format!("CUDA: {against}; WebGPU: {reason}"))
        };
        match cuda {
            Ok(()) => Ok((Provider::Cuda, "a GPU, through CUDA".to_owned())),
            Err(against) => webgpu(&against).map(|place| (Provider::WebGpu, format!("{place} (CUDA: {against})"))),
        }
    }

    fn cuda(&self, places: &Places) -> Result<(), String> {
        is_there(&places.cuda_provider, "cuda")?;
        self.probe(Provider::Cuda).map_err(|reason| {
            format!("{reason}; it needs NVIDIA's driver, CUDA 13 and cuDNN 9 where the system's loader finds them")
        })
    }

    fn webgpu(&self, places: &Places) -> Result<String, String> {
        is_there(&places.webgpu_provider, "webgpu")?;
        self.register(&places.webgpu_provider)?;
        let device = self.environment().devices().find(|device| device.ep().is_ok_and(|name| name == WEBGPU));
        let Some(device) = device else {
            return Err("its provider sees no GPU; it needs Vulkan: its loader libvulkan.so.1 and a driver".to_owned());
        };
        let place = match device.hardware_device().ty() {
            DeviceType::GPU => "a GPU, through WebGPU",
            _ => "an adapter in software, through WebGPU",
        };
        self.probe(Provider::WebGpu)?;
        Ok(place.to_owned())
    }

    /// Adds WebGPU's provider to the library; the second time is an error of the library's.
    fn register(&self, provider: &Path) -> Result<(), String> {
        static REGISTERED: Mutex<Option<PathBuf>> = Mutex::new(None);
        let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*registered {
            Some(earlier) if earlier == provider => Ok(()),
            Some(earlier) => Err(format!("this process already has the one at {}", earlier.display())),
            None => {
                let registration = self.environment().register_ep_library("webgpu", provider);
                registration.map_err(|error| in_a_line(&error))?;
                *registered = Some(provider.to_owned());
                Ok(())
            }
        }
    }

    /// Computes something small on a provider's device.
    fn probe(&self, provider: Provider) -> Result<(), String> {
        let compute = || -> ort::Result<Vec<f32>> {
            let trial = self.on(Some(provider), "");
            let mut session = builder(&trial, 1)?.commit_from_memory(PROBE)?;
            let outputs = session
                .run(ort::inputs!["x" => TensorRef::from_array_view(([4_i64], &[-1.0_f32, 0.5, -2.0, 3.0][..]))?])?;
            Ok(outputs["y"].try_extract_tensor::<f32>()?.1.to_vec())
        };
        let _turn = WEBGPU_TURN.take(super::in_a_minute()).ok_or("it was busy for a minute")?;
        match compute().map_err(|error| in_a_line(&error))?.as_slice() {
            [0.0, 0.5, 0.0, 3.0] => Ok(()),
            wrong => Err(format!("it computes wrongly: max(x, 0) of -1, 0.5, -2 and 3 is {wrong:?} there")),
        }
    }

    /// Tells sessions to compute with a provider and with nothing else: what it cannot do is an error, never left to the processor.
    pub(super) fn with_provider(&self, builder: SessionBuilder, provider: Provider) -> ort::Result<SessionBuilder> {
        let builder = match provider {
            // With TensorFloat-32 products have 10 bits behind the point, and distances would move.
            Provider::Cuda => {
                builder.with_execution_providers([CUDA::default().with_tf32(false).build().error_on_failure()])?
            }
            Provider::WebGpu => {
                let devices = self.environment().devices();
                let own = devices.filter(|device| device.ep().is_ok_and(|name| name == WEBGPU)).take(1);
                builder.with_devices(own, None)?
            }
        };
        Ok(builder.with_config_entry("session.disable_cpu_ep_fallback", "1")?)
    }
}

fn is_there(provider: &Path, name: &str) -> Result<(), String> {
    if provider.is_file() {
        return Ok(());
    }
    Err(format!("there is no {}, which `cargo xtask setup --gpu {name}` fetches", provider.display()))
}

/// The library's words without its line breaks.
pub(super) fn in_a_line(error: &ort::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::super::fixture::{self, FLOAT, floats};
    use super::super::super::network::{Backend, Network};
    use super::super::super::tensor::copied;
    use super::super::super::watchdog::Watchdog;
    use super::*;

    #[test]
    fn the_probe_is_what_it_says() {
        let port = |name| [(name, &[Some(4)][..])];
        assert_eq!(PROBE, fixture::model(FLOAT, &port("x"), &[("Relu", &["x"], "y")], &port("y")));
        let runtime = Runtime::load(&fixture::library()).unwrap_or_else(|error| panic!("{error}"));
        let network = Network::load(&runtime, "probe".to_owned(), PROBE, &fixture::config());
        assert!(network.is_ok());
    }

    #[test]
    fn a_gpu_that_nothing_was_fetched_for_is_an_error_with_the_mend_and_auto_says_why() {
        let runtime = Runtime::load(&fixture::library()).unwrap_or_else(|error| panic!("{error}"));
        let reasons = runtime.look(&Places::beside(Path::new("/nowhere/libonnxruntime.so"))).unwrap_err();
        for part in [
            "CUDA: there is no /nowhere/cuda/libonnxruntime_providers_cuda.so, which `cargo xtask setup --gpu cuda` fetches",
            "WebGPU: there is no /nowhere/libonnxruntime_providers_webgpu.so, which `cargo xtask setup --gpu webgpu` fetches",
        ] {
            assert!(reasons.contains(part), "{reasons}");
        }
        let error = NnError::NoGpu(reasons).to_string();
        assert!(error.contains("nn.device") && !error.contains('\n'), "{error}");
    }

    /// Runs where a GPU works, or an adapter in software that the environment allows; docs/gpu.md says how to have one.
    #[test]
    fn a_gpu_answers_what_the_processor_answers() {
        let library = fixture::library();
        let gpu = match Runtime::load_on(&library, Device::Gpu) {
            Ok(gpu) => gpu,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        assert!(gpu.on_gpu());
        // The library that is loaded: a process has but one.
        let processor = gpu.on(None, "the CPU");
        for (file, side, rows) in [("mtcnn-refinement", 24, 3), ("mtcnn-output", 48, 1)] {
            let path = fixture::assets().join(format!("models/{file}.onnx"));
            let model = std::fs::read(&path)
                .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()));
            let count = rows * 3 * side * side;
            let pixels: Vec<_> = (0..count).map(|at| ((at * 7919) % 251) as f32 / 125.0 - 1.0).collect();
            let answers = [&processor, &gpu].map(|runtime| {
                let network = Network::load(runtime, file.to_owned(), &model, &fixture::config());
                let network = network.unwrap_or_else(|error| panic!("{error}"));
                let inputs = [floats("input", &[rows, 3, side, side], &pixels)];
                // Two callers at once: runs through WebGPU must take turns.
                std::thread::scope(|scope| {
                    let call = || {
                        let watchdog = Watchdog::start().unwrap();
                        network.compute(&inputs, Instant::now() + Duration::from_secs(300), &watchdog).unwrap()
                    };
                    let other = scope.spawn(call);
                    let own = call();
                    drop(other.join().expect("it is computed"));
                    own
                })
            });
            for (expected, got) in answers[0].iter().zip(&answers[1]) {
                assert_eq!((&expected.name, &expected.tensor.dimensions), (&got.name, &got.tensor.dimensions));
                let numbers = copied::<f32>(&expected.tensor.data).into_iter().zip(copied::<f32>(&got.tensor.data));
                for (a, b) in numbers {
                    assert!((a - b).abs() <= 1e-4, "{file}, {}: {a} and {b}", got.name);
                }
            }
        }
        eprintln!("ran on {}", gpu.device());
    }
}
