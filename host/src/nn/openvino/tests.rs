//! Both libraries, side by side: the same ports, answers, refusals and deadlines.
//!
//! Owns what holds of graphs on OpenVINO. Must never know a store.

use std::time::Duration;

use super::*;
use crate::nn::fixture::{self, FLOAT, INT32, INT64, floats};
use crate::nn::network::{ComputeError, Network};

/// Both libraries as set-up places them; `None`, said aloud, where there is no OpenVINO.
fn both() -> Option<[(Arc<dyn Backend>, Config); 2]> {
    let configs = [fixture::config(), fixture::openvino()];
    if let Library::OpenVino(path) = &configs[1].library
        && !path.exists()
    {
        eprintln!("skipped: there is no {}; run `cargo xtask setup --openvino`", path.display());
        return None;
    }
    Some(configs.map(|config| (config.library.load(config.device).unwrap_or_else(|error| panic!("{error}")), config)))
}

fn load((backend, config): &(Arc<dyn Backend>, Config), model: &[u8]) -> Network {
    Network::load(backend.as_ref(), "graph".to_owned(), model, config).unwrap_or_else(|error| panic!("{error}"))
}

fn model(file: &str) -> Vec<u8> {
    let path = fixture::assets().join("models").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()))
}

fn compute(network: &Network, inputs: &[NamedTensor], patience: Duration) -> Result<Vec<NamedTensor>, ComputeError> {
    network.compute(inputs, Instant::now() + patience, &Watchdog::start().unwrap())
}

fn elements(output: &NamedTensor) -> Vec<f32> {
    crate::nn::tensor::copied(&output.tensor.data)
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
fn a_shape_that_recurs_gets_a_model_of_its_own_which_answers_the_same() {
    let Some([_, library]) = both() else { return };
    let bytes = model("mtcnn-proposal.onnx");
    let (path, config) = match &library.1 {
        config @ Config { library: Library::OpenVino(path), .. } => (path, config),
        config => panic!("{}", config.library),
    };
    let runtime = Runtime::load(path).unwrap_or_else(|error| panic!("{error}"));
    let read = runtime.core.lock().unwrap().read_model_from_buffer(&prelu::fused(&bytes), None).unwrap();
    let fixed = Fixed::new(Compiler {
        runtime,
        target: Target { device: DeviceType::CPU, precision: Precision::F32 },
        config: config.clone(),
        model: Mutex::new(read),
        inputs: vec!["input".to_owned()],
    });
    let shapes = vec![vec![1, 3, 40, 30]];
    assert!((0..fixed::SIGHTINGS).all(|_| fixed.meet(&shapes).is_none()));
    fixed.settle();
    let deadline = Instant::now() + Duration::from_secs(60);
    let made = fixed.meet(&shapes).expect("a model was compiled");
    let mut request = made.take(deadline).expect("nobody else runs it");
    let pixels: Vec<_> = (0..3 * 40 * 30).map(|at| ((at * 7919) % 251) as f32 / 125.0 - 1.0).collect();
    let input = floats("input", &shapes[0], &pixels);
    let any = load(&library, &bytes);
    fill_input(&request, &any.inputs()[0], &input.tensor).unwrap();
    let answers = run(&mut request, any.outputs(), deadline).expect("it is computed");
    let expected = compute(&any, &[input], Duration::from_secs(60)).expect("it is computed");
    for (expected, got) in expected.iter().zip(&answers) {
        assert_eq!((&expected.name, &expected.tensor.dimensions), (&got.name, &got.tensor.dimensions));
        assert!(elements(expected).into_iter().zip(elements(got)).all(|(a, b)| (a - b).abs() <= 1e-5));
    }
    assert!(fixed.meet(&vec![vec![1, 3, 41, 30]]).is_none());
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
