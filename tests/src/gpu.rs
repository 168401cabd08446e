//! GPUs: whether the host finds one on this machine, and an adapter in software that can stand for one.
//!
//! Owns how the host is asked. Must never know how anything is computed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::host::Setup;

/// Chromium's own Vulkan, which the tests of the page bring to a machine: its loader and its adapter in software.
const CHROMIUM: &str = "/usr/lib/chromium";

/// What `doctor` says of inference with these settings: whether it can be offered, and on what or why not.
pub fn inference(setup: &Setup) -> (bool, String) {
    let output = setup.run(["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("doctor prints JSON");
    let findings = report["findings"].as_array().expect("it lists its findings");
    let finding = findings.iter().find(|finding| finding["what"] == "inference");
    let finding = finding.unwrap_or_else(|| panic!("nothing of inference in {report}"));
    (finding["level"] == "ok", finding["text"].as_str().unwrap_or_default().to_owned())
}

/// The settings with which this machine's GPU runs the models.
///
/// # Errors
/// Why none does.
pub fn of_this_machine() -> Result<Setup, String> {
    let setup = Setup::new().set("VISAVIS_NN__DEVICE", "gpu").set("VISAVIS_NN__BACKEND", "onnx");
    match inference(&setup) {
        (true, place) if place.contains("in software") => Err(format!("{place}: minutes for one photograph")),
        (true, _) => Ok(setup),
        (false, reason) => Err(reason),
    }
}

/// The settings with which the models run on an adapter in software, whether or not this machine has a GPU.
///
/// # Errors
/// Which file is missing for that.
pub fn in_software() -> Result<Setup, String> {
    let adapter = Path::new(CHROMIUM).join("libvk_swiftshader.so");
    let provider = crate::photos::assets().join("lib/libonnxruntime_providers_webgpu.so");
    for file in [&adapter, &Path::new(CHROMIUM).join("libvulkan.so.1"), &provider] {
        if !file.is_file() {
            return Err(format!("there is no {}", file.display()));
        }
    }
    let setup = Setup::new().set("VISAVIS_NN__DEVICE", "gpu").set("VISAVIS_NN__BACKEND", "onnx");
    let driver = setup.folder().join("driver.json");
    let text = serde_json::json!({
        "file_format_version": "1.0.0",
        "ICD": { "library_path": adapter, "api_version": "1.0.5" },
    });
    fs::write(&driver, text.to_string()).expect("the test's folder can be written");
    let driver = driver.display().to_string();
    // Older loaders know the second name only.
    Ok(setup
        .set("VK_DRIVER_FILES", &driver)
        .set("VK_ICD_FILENAMES", &driver)
        .set("LD_LIBRARY_PATH", CHROMIUM)
        .set("ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER", "1"))
}
