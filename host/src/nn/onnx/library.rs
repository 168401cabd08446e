//! The ONNX Runtime library of this process.
//!
//! Owns finding it, looking at it before it is trusted, and where its messages go. Must never know a graph.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use libloading::{Library, Symbol};
use ort::AsPointer;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::sys::{OrtAllocatorType, OrtMemType};

use super::gpu::Provider;
use crate::nn::{Library as Choice, NnError};

/// ONNX Runtime's number for an arena that grows by what is asked for, and not by doubling.
const AS_REQUESTED: usize = 1;

/// ONNX Runtime, loaded. The library and its environment live until the process ends.
#[derive(Clone)]
pub(crate) struct Runtime {
    library: PathBuf,
    title: Arc<str>,
    environment: Environment,
    /// What computes on a GPU; `None` is the processor.
    pub(super) provider: Option<Provider>,
    /// What it computes on, in words.
    pub(super) place: Arc<str>,
}

impl Runtime {
    /// Loads the library; a second call with the same path answers the same runtime.
    ///
    /// # Errors
    ///
    /// When there is no such file, it is no ONNX Runtime or too old, or another one is already loaded.
    pub(crate) fn load(library: &Path) -> Result<Self, NnError> {
        static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

        let path =
            library.canonicalize().map_err(|_| NnError::LibraryMissing(Choice::OnnxRuntime(library.to_owned())))?;
        let unusable = |reason: String| NnError::LibraryUnusable { library: Choice::OnnxRuntime(path.clone()), reason };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        // `ort` takes the first library it is given and panics on a bad one, so it is given only one that was looked
        // at.
        let version = version_of(&path).map_err(unusable)?;
        if let Some(runtime) = &*loaded {
            if runtime.library != path {
                return Err(NnError::LibraryHeld { loaded: runtime.library.clone(), asked: path });
            }
            return Ok(runtime.clone());
        }
        let environment = ort::init_from(&path)
            .map_err(|error| unusable(error.to_string()))?
            .with_name("visavis")
            .with_telemetry(false)
            .with_logger(Arc::new(|level, _: &str, _: &str, place: &str, message: &str| log(level, place, message)))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        environment.set_log_level(LogLevel::Warning);
        share_memory(&environment).map_err(|error| unusable(error.to_string()))?;
        tracing::info!(library = %path.display(), version, "ONNX Runtime loaded");
        let title = format!("ONNX Runtime {version}").into();
        let runtime = Self { library: path, title, environment, provider: None, place: "the CPU".into() };
        Ok(loaded.insert(runtime).clone())
    }

    /// The same library, to compute with a provider on a device that is said in words.
    pub(super) fn on(&self, provider: Option<Provider>, place: &str) -> Self {
        Self { provider, place: place.into(), ..self.clone() }
    }

    /// Its name and version, as `ONNX Runtime 1.31.1`.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// Where sessions are made.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// Gives all sessions one arena for what they compute on the processor, which grows by what is asked for. Left to themselves each
/// has an arena of its own that doubles when it grows, and half of most of them lies idle.
fn share_memory(environment: &Environment) -> ort::Result<()> {
    let api = ort::api();
    let (mut place, mut arena) = (ptr::null_mut(), ptr::null_mut());
    let (keys, values) = ([c"arena_extend_strategy".as_ptr()], [AS_REQUESTED]);
    // SAFETY: pointers are to variables that live throughout, the environment lives as long as the process, and what is made
    // here is released by its own function; null is released to no effect.
    unsafe {
        let made = ort::Error::result_from_status((api.CreateCpuMemoryInfo)(
            OrtAllocatorType::OrtArenaAllocator,
            OrtMemType::OrtMemTypeDefault,
            &raw mut place,
        ))
        .and_then(|()| {
            let status = (api.CreateArenaCfgV2)(keys.as_ptr(), values.as_ptr(), keys.len(), &raw mut arena);
            ort::Error::result_from_status(status)
        })
        .and_then(|()| {
            let status = (api.CreateAndRegisterAllocator)(environment.ptr().cast_mut(), place, arena);
            ort::Error::result_from_status(status)
        });
        (api.ReleaseArenaCfg)(arena);
        (api.ReleaseMemoryInfo)(place);
        made
    }
}

/// The version that a library says it has, when this host can use it.
fn version_of(library: &Path) -> Result<String, String> {
    // SAFETY: loading runs the library's initialisers. The operator chose this file to be run as part of the host.
    let library = unsafe { Library::new(library) }.map_err(|error| error.to_string())?;
    // SAFETY: ONNX Runtime exports the function with this type, and nothing else uses that name.
    let base: Symbol<'_, unsafe extern "C" fn() -> *const ort::sys::OrtApiBase> =
        unsafe { library.get(b"OrtGetApiBase") }.map_err(|_| "it does not export OrtGetApiBase".to_owned())?;
    // SAFETY: the function takes nothing and answers null or a table that lives as long as the library.
    let base = unsafe { base().as_ref() }.ok_or("it has no interface table")?;
    // SAFETY: the table's function answers a text that ends in a zero byte and lives as long as the library.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    let minor = version.strip_prefix("1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    match minor {
        Some(minor) if minor >= ort::MINOR_VERSION => Ok(version),
        _ => Err(format!("it is version {version}, and 1.{} or newer is needed", ort::MINOR_VERSION)),
    }
}

fn log(level: LogLevel, place: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::error!(target: "onnxruntime", place, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "onnxruntime", place, "{message}"),
        LogLevel::Info => tracing::debug!(target: "onnxruntime", place, "{message}"),
        LogLevel::Verbose => tracing::trace!(target: "onnxruntime", place, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::fixture;

    fn refusal(library: &Path) -> NnError {
        match Runtime::load(library) {
            Err(error) => error,
            Ok(_) => panic!("{} was taken for ONNX Runtime", library.display()),
        }
    }

    #[test]
    fn the_set_up_library_says_its_version() {
        let runtime = Runtime::load(&fixture::library()).unwrap_or_else(|error| panic!("{error}"));
        assert!(runtime.title().starts_with("ONNX Runtime 1."), "{}", runtime.title());
    }

    #[test]
    fn a_missing_library_is_named_with_the_mend() {
        let error = refusal(Path::new("/nowhere/libonnxruntime.so"));
        assert!(matches!(error, NnError::LibraryMissing(Choice::OnnxRuntime(_))));
        let text = error.to_string();
        assert!(text.contains("/nowhere/libonnxruntime.so") && text.contains("cargo xtask setup"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        std::fs::write(&file, "a text").unwrap();
        let error = refusal(&file);
        assert!(matches!(error, NnError::LibraryUnusable { .. }), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_library_is_refused() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let libc =
            maps.lines().find_map(|line| line.find("/").map(|at| &line[at..]).filter(|path| path.contains("libc.so")));
        let error = refusal(Path::new(libc.expect("tests link the C library")));
        assert!(error.to_string().contains("OrtGetApiBase"), "{error}");
    }

    #[test]
    fn a_second_library_is_refused() {
        let first = fixture::library();
        Runtime::load(&first).unwrap_or_else(|error| panic!("{error}"));
        let folder = tempfile::tempdir().unwrap();
        let second = folder.path().join("libonnxruntime.so");
        std::fs::copy(&first, &second).unwrap();
        let error = refusal(&second);
        assert!(matches!(error, NnError::LibraryHeld { .. }), "{error}");
    }
}
