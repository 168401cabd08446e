//! Inference on a GPU, and batches across tasks, seen from outside.
//!
//! What needs a GPU says that it was skipped where none is.

use std::os::unix::fs::symlink;

use serde_json::Value;
use visavis_tests::gpu;
use visavis_tests::host::Setup;
use visavis_tests::photos::{assets, path};

fn distance(setup: &Setup, first: &str, second: &str) -> f64 {
    let (first, second) = (path(first), path(second));
    let output = setup.run(["verify".as_ref(), first.as_os_str(), second.as_os_str(), "--json".as_ref()]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    result["euclidean_distance"].as_f64().unwrap_or_else(|| panic!("{result}"))
}

#[test]
fn a_gpu_that_was_asked_for_and_is_missing_is_an_error_at_start() {
    // Beside this library there is nothing for GPUs, whatever was set up and whatever the machine has.
    let setup = Setup::new();
    let library = setup.folder().join("libonnxruntime.so");
    symlink(assets().join("lib/libonnxruntime.so"), &library).unwrap();
    let setup = setup.set("VISAVIS_NN__BACKEND", "onnx").set("VISAVIS_NN__LIBRARY", &library.to_string_lossy());
    let asked = setup.clone().set("VISAVIS_NN__DEVICE", "gpu");
    let output = asked.run(["serve", "--listen", "127.0.0.1:0"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{told}");
    let provider = library.with_file_name("libonnxruntime_providers_webgpu.so").display().to_string();
    for part in
        ["there is no GPU to run on", "CUDA: ", "setup --gpu cuda", "setup --gpu webgpu", "nn.device", &provider]
    {
        assert!(told.contains(part), "{part} is missing in {told}");
    }
    let (fine, text) = gpu::inference(&setup.set("VISAVIS_NN__DEVICE", "auto"));
    assert!(fine && text.contains("on the CPU, for no GPU works (CUDA: there is no "), "{text}");
}

#[test]
fn an_adapter_in_software_is_found_by_way_of_webgpu() {
    let setup = match gpu::in_software() {
        Ok(setup) => setup,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    // To say so, the host has computed on it, and has loaded all models there.
    let (fine, text) = gpu::inference(&setup);
    assert!(fine && text.contains("an adapter in software, through WebGPU"), "{text}");
    // Not every operator of the quantised model is computed there: that is an error, not left to the processor.
    let (fine, text) = gpu::inference(&setup.set("VISAVIS_MODELS__EMBEDDER", "facenet-casia-webface-int8"));
    assert!(!fine && text.contains("int8") && text.contains("nn.device"), "{text}");
}

#[test]
fn the_gpu_of_this_machine_verifies_as_its_processor_does() {
    let setup = match gpu::of_this_machine() {
        Ok(setup) => setup,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let processor = Setup::new().set("VISAVIS_MODELS__EMBEDDER", "facenet-casia-webface");
    for (first, second) in [("obama.jpg", "obama2.jpg"), ("obama.jpg", "biden.jpg")] {
        let (expected, got) = (distance(&processor, first, second), distance(&setup, first, second));
        assert!((expected - got).abs() <= 0.01, "{first}, {second}: {expected} and {got}");
    }
}

#[test]
fn batches_across_tasks_change_no_result() {
    let setup = |rows: &str| {
        let setup = Setup::new().set("VISAVIS_NN__BACKEND", "onnx").set("VISAVIS_NN__SESSIONS", "1");
        setup.set("VISAVIS_NN__MAX_BATCH", rows).set("VISAVIS_NN__MAX_BATCH_DELAY", "20ms")
    };
    let (alone, together) = (setup("1"), setup("8"));
    for (first, second) in [("obama.jpg", "obama2.jpg"), ("obama.jpg", "biden.jpg")] {
        let (expected, got) = (distance(&alone, first, second), distance(&together, first, second));
        assert!((expected - got).abs() <= 1e-4, "{first}, {second}: {expected} and {got}");
    }
}
