//! The models of the set-up on ONNX Runtime.
//!
//! Owns what holds of sessions, alone and shared. Must never know a store.

use std::thread;
use std::time::Duration;

use super::*;
use crate::nn::fixture::{self, floats};
use crate::nn::network::{ComputeError, Network};

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
                let probability = outputs.iter().find(|output| output.name == "probability").expect("probabilities");
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
        let lanes = lanes(&runtime, &mut builder(&runtime, 1).unwrap(), &model, &config).unwrap();
        Compiler::of(&runtime, &config, &model, lanes[0].inputs())
    };
    assert!(compiler("mtcnn-refinement.onnx").is_none(), "only its number of rows is open");
    let fixed = Fixed::new(compiler("mtcnn-proposal.onnx").expect("its height and width are open, too"));
    let shapes = vec![vec![1, 3, 40, 30]];
    assert!((0..fixed::SIGHTINGS).all(|_| fixed.meet(&shapes).is_none()));
    fixed.settle();
    let deadline = Instant::now() + Duration::from_secs(60);
    let made = fixed.meet(&shapes).expect("sessions were made");
    assert!(made.take(deadline).and_then(|_one| made.take(deadline).map(|_another| ())).is_some(), "one for each run");
    let pixels: Vec<_> = (0..3 * 40 * 30).map(|at| ((at * 7919) % 251) as f32 / 125.0 - 1.0).collect();
    let expected = compute(&network("mtcnn-proposal.onnx"), &shapes[0], &pixels).unwrap();
    let outputs = expected.iter().map(|output| output.name.clone()).collect();
    // Without a session for any shape, it can only answer by those.
    let (inputs, fixed) = (["input".to_owned()].into(), Some(Arc::new(fixed)));
    let mut lane = Lane { session: None, fixed, inputs, outputs, provider: None, swollen: false };
    let watchdog = Watchdog::start().unwrap();
    let mut run = |shape: &[u32]| {
        let count = shape.iter().product::<u32>() as usize;
        lane.run(&[floats("input", shape, &pixels[..count])], count, deadline, &watchdog)
    };
    for (expected, got) in expected.iter().zip(run(&shapes[0]).unwrap()) {
        assert_eq!((&expected.name, &expected.tensor.dimensions), (&got.name, &got.tensor.dimensions));
        assert!(elements(expected).into_iter().zip(elements(&got)).all(|(a, b)| (a - b).abs() <= 1e-6));
    }
    assert!(run(&[1, 3, 39, 30]).is_err(), "that shape has none");
}

#[test]
fn runs_of_one_session_at_the_same_time_answer_what_each_answers_alone() {
    let config = Config { sessions: 4, ..fixture::config() };
    let runtime = Runtime::load(&fixture::library()).unwrap();
    let pixels: Vec<_> = (0..2 * 3 * 160 * 160).map(|at| ((at * 7919) % 251) as f32 / 125.0 - 1.0).collect();
    // The crops of two callers differ: an answer that came to the wrong one would be seen.
    let input = |shape: &[u32; 4], caller: usize| {
        floats("input", shape, &pixels[caller * 31..][..shape.iter().product::<u32>() as usize])
    };
    for (file, shapes, runs) in [
        ("mtcnn-proposal.onnx", [[1, 3, 60, 45], [1, 3, 31, 40]], 60),
        ("mtcnn-refinement.onnx", [[9, 3, 24, 24], [2, 3, 24, 24]], 40),
        ("facenet-casia-webface-int8.onnx", [[1, 3, 160, 160]; 2], 3),
    ] {
        let model = std::fs::read(fixture::assets().join("models").join(file)).expect("set-up makes it");
        let sessions = lanes(&runtime, &mut builder(&runtime, 1).unwrap(), &model, &config).unwrap();
        assert!(sessions.len() == 4 && sessions.iter().all(|session| Arc::ptr_eq(session, &sessions[0])));
        let answer = |session: &Shared, input: &NamedTensor| -> Vec<Tensor> {
            let outputs = session.run(&[view(&input.tensor).unwrap()], &RunOptions::new().unwrap()).unwrap();
            outputs.iter().map(|output| copy(output).unwrap()).collect()
        };
        thread::scope(|scope| {
            for (caller, session) in sessions.iter().enumerate() {
                let inputs = shapes.each_ref().map(|shape| input(shape, caller));
                let expected = inputs.each_ref().map(|input| answer(session, input));
                scope.spawn(move || {
                    for run in 0..runs {
                        assert!(answer(session, &inputs[run % 2]) == expected[run % 2], "{file}, {caller}, {run}");
                    }
                });
            }
        });
    }
}

#[test]
fn runs_on_several_threads_have_a_session_each() {
    let (runtime, config) = (Runtime::load(&fixture::library()).unwrap(), Config { threads: 2, ..fixture::config() });
    let sessions = lanes(&runtime, &mut builder(&runtime, 2).unwrap(), &fixture::sum(&[None]), &config).unwrap();
    assert!(sessions.len() == 2 && !Arc::ptr_eq(&sessions[0], &sessions[1]));
    let refused = sessions[0].run(&[], &RunOptions::new().unwrap()).expect_err("two inputs are missing");
    assert!(refused.to_string().contains("2 inputs, not 0"), "{refused}");
}
