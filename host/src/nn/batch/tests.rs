//! The batcher by itself, with sessions that write down what they are asked; and with the real library.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use proptest::prelude::*;

use super::super::fixture::{self, floats};
use super::super::network::{Backend, ComputeError, Network, Opened};
use super::super::onnx;
use super::super::tensor::{Element, Port, copied};
use super::super::{Config, NnError};
use super::*;

/// Longer than any of these tests takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A delay that no test lives to see the end of: what runs has not waited for it.
const NEVER: Duration = Duration::from_secs(3600);

/// What the session of [`Recorder`] answers.
#[derive(Clone, Copy)]
enum Manner {
    /// Twice each number.
    Doubles,
    /// An error.
    Fails,
    /// One row, whatever it is asked.
    Averages,
    /// It panics.
    Panics,
}

/// A backend that computes next to nothing and writes down the numbers of rows of each run.
struct Recorder {
    manner: Manner,
    runs: Arc<Mutex<Vec<usize>>>,
    /// Each run waits for a word, if there is one to be had.
    leave: Option<Arc<Mutex<Receiver<()>>>>,
    begun: Arc<AtomicUsize>,
}

impl Recorder {
    fn new(manner: Manner) -> Self {
        Self { manner, runs: Arc::default(), leave: None, begun: Arc::default() }
    }

    /// One whose runs wait until they are told to go on.
    fn led() -> (Self, Sender<()>) {
        let (sender, receiver) = channel();
        (Self { leave: Some(Arc::new(Mutex::new(receiver))), ..Self::new(Manner::Doubles) }, sender)
    }

    fn load(&self, sessions: usize, rows: usize, delay: Duration) -> Network {
        let config =
            Config { sessions, max_batch: Some(rows), max_batch_delay: delay, max_elements: 1000, ..fixture::config() };
        Network::load(self, "graph".to_owned(), &[], &config).unwrap_or_else(|error| panic!("{error}"))
    }

    fn runs(&self) -> Vec<usize> {
        self.runs.lock().unwrap().clone()
    }

    /// Waits until so many runs have begun.
    fn await_begun(&self, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.begun.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < end, "no run began");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Backend for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn open(&self, _: &[u8], config: &Config) -> Result<Opened, String> {
        let port = |name: &str| Port { name: name.to_owned(), element: Element::F32, dimensions: vec![None, None] };
        let session = || -> Box<dyn Session> {
            Box::new(Recorder {
                manner: self.manner,
                runs: Arc::clone(&self.runs),
                leave: self.leave.clone(),
                begun: Arc::clone(&self.begun),
            })
        };
        let sessions = (0..config.sessions).map(|_| session()).collect();
        Ok(Opened { inputs: vec![port("input")], outputs: vec![port("output")], sessions })
    }
}

impl Session for Recorder {
    fn run(
        &mut self,
        inputs: &[NamedTensor],
        elements: usize,
        _: Instant,
        _: &Watchdog,
    ) -> Result<Vec<NamedTensor>, Broken> {
        let [NamedTensor { name, tensor }] = inputs else { panic!("{} inputs", inputs.len()) };
        assert_eq!((name.as_str(), tensor.data.len()), ("input", 4 * elements));
        self.runs.lock().unwrap().push(tensor.dimensions[0] as usize);
        self.begun.fetch_add(1, Ordering::SeqCst);
        if let Some(leave) = &self.leave {
            // A test that has ended leaves nobody to ask.
            let _ = leave.lock().unwrap().recv_timeout(PATIENCE);
        }
        let numbers = copied::<f32>(&tensor.data);
        match self.manner {
            Manner::Doubles => {
                let doubled: Vec<_> = numbers.iter().map(|number| 2.0 * number).collect();
                Ok(vec![floats("output", &tensor.dimensions, &doubled)])
            }
            Manner::Fails => Err(Broken::Failed("out of memory".to_owned())),
            Manner::Averages => Ok(vec![floats("output", &[1, 1], &[numbers.iter().sum()])]),
            Manner::Panics => panic!("on purpose"),
        }
    }
}

/// Asks for twice these rows, each with so many numbers.
fn ask(network: &Network, width: u32, numbers: &[f32], patience: Duration) -> Result<Vec<f32>, ComputeError> {
    let rows = numbers.len() as u32 / width;
    let watchdog = Watchdog::start().unwrap();
    let outputs = network.compute(&[floats("input", &[rows, width], numbers)], Instant::now() + patience, &watchdog)?;
    assert_eq!(outputs[0].tensor.dimensions, [rows, width]);
    Ok(copied(&outputs[0].tensor.data))
}

/// Calls of one thread each, with the number of their place; answers in that order.
fn ask_at_once(network: &Network, count: usize) -> Vec<Result<Vec<f32>, ComputeError>> {
    thread::scope(|scope| {
        let calls: Vec<_> = (0..count).map(|at| scope.spawn(move || ask(network, 1, &[at as f32], PATIENCE))).collect();
        calls.into_iter().map(|call| call.join().expect("a caller does not panic")).collect()
    })
}

#[test]
fn a_full_batch_runs_at_once_and_each_caller_gets_its_own() {
    let recorder = Recorder::new(Manner::Doubles);
    let network = recorder.load(1, 8, NEVER);
    for (at, answer) in ask_at_once(&network, 8).into_iter().enumerate() {
        assert_eq!(answer.unwrap(), [2.0 * at as f32]);
    }
    assert_eq!(recorder.runs(), [8]);
    // One that fills a batch by itself waits for nobody either, and one that is larger than a batch is not cut.
    let many: Vec<_> = (0..20_u8).map(f32::from).collect();
    assert_eq!(ask(&network, 1, &many[..8], PATIENCE).unwrap().len(), 8);
    assert_eq!(ask(&network, 1, &many, PATIENCE).unwrap()[19], 38.0);
    assert_eq!(recorder.runs(), [8, 8, 20]);
}

#[test]
fn a_caller_alone_waits_for_the_delay_and_no_longer() {
    let recorder = Recorder::new(Manner::Doubles);
    let delay = Duration::from_millis(150);
    let network = recorder.load(2, 8, delay);
    let start = Instant::now();
    assert_eq!(ask(&network, 1, &[4.0], PATIENCE).unwrap(), [8.0]);
    let waited = start.elapsed();
    assert!(waited >= delay && waited < PATIENCE / 2, "{waited:?}");
    assert_eq!(recorder.runs(), [1]);
}

#[test]
fn what_comes_during_a_run_shares_the_next_in_the_order_of_coming() {
    let (recorder, go_on) = Recorder::led();
    let network = recorder.load(1, 4, Duration::ZERO);
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&network, 1, &[1.0], PATIENCE));
        recorder.await_begun(1);
        let others: Vec<_> = (0..6_u8)
            .map(|at| {
                let network = &network;
                let call = scope.spawn(move || ask(network, 1, &[f32::from(at)], PATIENCE));
                await_waiting(network, usize::from(at) + 1);
                call
            })
            .collect();
        for _ in 0..3 {
            go_on.send(()).unwrap();
        }
        assert_eq!(first.join().unwrap().unwrap(), [2.0]);
        for (at, call) in others.into_iter().enumerate() {
            assert_eq!(call.join().unwrap().unwrap(), [2.0 * at as f32]);
        }
    });
    assert_eq!(recorder.runs(), [1, 4, 2]);
}

/// Waits until so many calls wait for a run.
fn await_waiting(network: &Network, count: usize) {
    let end = Instant::now() + PATIENCE;
    while network.waiting() < count {
        assert!(Instant::now() < end, "{} wait", network.waiting());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn shapes_do_not_mix_and_do_not_wait_for_each_other() {
    let recorder = Recorder::new(Manner::Doubles);
    let network = recorder.load(1, 2, NEVER);
    thread::scope(|scope| {
        let odd = scope.spawn(|| ask(&network, 3, &[1.0; 3], Duration::from_millis(300)));
        await_waiting(&network, 1);
        let pair = [(); 2].map(|()| scope.spawn(|| ask(&network, 2, &[5.0, 6.0], PATIENCE)));
        for call in pair {
            assert_eq!(call.join().unwrap().unwrap(), [10.0, 12.0]);
        }
        let late = odd.join().unwrap().unwrap_err();
        assert_eq!(late.to_string(), "graph 'graph': timed out waiting for a session");
    });
    // What its caller gave up was never computed.
    assert_eq!((recorder.runs(), network.waiting()), (vec![2], 0));
}

#[test]
fn too_many_elements_do_not_come_together() {
    let recorder = Recorder::new(Manner::Doubles);
    let network = recorder.load(1, 8, NEVER);
    // 600 and 600 are more than the 1,000 of one run: the first goes when the second does not fit.
    thread::scope(|scope| {
        let first = scope.spawn(|| ask(&network, 600, &[1.0; 600], PATIENCE));
        await_waiting(&network, 1);
        let second = scope.spawn(|| ask(&network, 600, &[2.0; 600], Duration::from_millis(200)));
        assert_eq!(first.join().unwrap().unwrap()[599], 2.0);
        assert!(matches!(second.join().unwrap(), Err(ComputeError::TimedOut { .. })));
    });
    assert_eq!(recorder.runs(), [1]);
}

#[test]
fn an_impatient_caller_hurts_nobody() {
    let (recorder, go_on) = Recorder::led();
    let network = recorder.load(1, 2, NEVER);
    thread::scope(|scope| {
        let patient = scope.spawn(|| ask(&network, 1, &[1.0], PATIENCE));
        await_waiting(&network, 1);
        let impatient = ask(&network, 1, &[2.0], Duration::from_millis(100)).unwrap_err();
        assert_eq!(impatient.to_string(), "graph 'graph': timed out while it ran");
        go_on.send(()).unwrap();
        assert_eq!(patient.join().unwrap().unwrap(), [2.0]);
    });
    assert_eq!(recorder.runs(), [2]);
    let late = network.compute(&[floats("input", &[1, 1], &[0.0])], Instant::now(), &Watchdog::start().unwrap());
    assert_eq!(late.err().unwrap().to_string(), "graph 'graph': timed out before it ran");
}

#[test]
fn what_goes_wrong_is_told_to_each_and_the_next_run_begins_anew() {
    for (manner, reason) in [
        (Manner::Fails, "out of memory"),
        (Manner::Panics, "its run panicked"),
        (Manner::Averages, "its output 'output' has the shape [1, 1] for 3 rows of 3 callers; set nn.max_batch to 1"),
    ] {
        let recorder = Recorder::new(manner);
        let network = recorder.load(1, 3, NEVER);
        for round in 1..=2 {
            for answer in ask_at_once(&network, 3) {
                assert_eq!(answer.unwrap_err().to_string(), format!("graph 'graph' failed: {reason}"));
            }
            assert_eq!(recorder.runs(), vec![3; round]);
        }
    }
}

#[test]
fn dropping_it_ends_its_threads() {
    let recorder = Recorder::new(Manner::Doubles);
    let network = recorder.load(3, 8, NEVER);
    assert!(ask(&network, 1, &[0.0], Duration::from_millis(20)).is_err());
    let held = Arc::clone(&recorder.runs);
    drop(network);
    // Each thread held a session, and each session its record: this one and the recorder's are left.
    assert_eq!(Arc::strong_count(&held), 2);
}

#[test]
fn a_batch_of_one_row_lends_sessions_and_none_is_an_error() {
    let recorder = Recorder::new(Manner::Doubles);
    let network = recorder.load(1, 1, NEVER);
    assert_eq!(ask(&network, 1, &[1.0, 2.0], PATIENCE).unwrap(), [2.0, 4.0]);
    let none = Config { max_batch: Some(0), ..fixture::config() };
    assert!(matches!(super::super::Nn::start(&none, []), Err(NnError::Setting("nn.max_batch"))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whoever calls when, with how many rows of which width: each gets twice its own numbers, and no run is larger than allowed.
    #[test]
    fn any_pattern_of_arrivals_gives_each_caller_its_own_rows(
        sessions in 1..4_usize,
        most in 2..9_usize,
        delay in 0..3_000_u64,
        calls in prop::collection::vec((0..2_000_u64, 1..6_usize, 1..4_u32), 1..24),
    ) {
        let recorder = Recorder::new(Manner::Doubles);
        let network = recorder.load(sessions, most, Duration::from_micros(delay));
        thread::scope(|scope| {
            let network = &network;
            let calls: Vec<_> = calls.iter().enumerate().map(|(caller, (pause, rows, width))| scope.spawn(move || {
                thread::sleep(Duration::from_micros(*pause));
                let own: Vec<_> = (0..rows * *width as usize).map(|at| (caller * 1000 + at) as f32).collect();
                let expected: Vec<_> = own.iter().map(|number| 2.0 * number).collect();
                assert_eq!(ask(network, *width, &own, PATIENCE).unwrap(), expected);
            })).collect();
            calls.into_iter().for_each(|call| call.join().expect("each got its own"));
        });
        let runs = recorder.runs();
        prop_assert_eq!(runs.iter().sum::<usize>(), calls.iter().map(|(_, rows, _)| rows).sum::<usize>());
        let largest = calls.iter().map(|(_, rows, _)| *rows).max().unwrap_or(0);
        prop_assert!(runs.iter().all(|rows| *rows <= most.max(largest)), "{:?}", runs);
    }
}

/// With the real library: what is computed of a face does not depend on whose faces are computed with it.
#[test]
fn a_rows_result_does_not_depend_on_its_neighbours() {
    let runtime = onnx::Runtime::load(&fixture::library()).unwrap_or_else(|error| panic!("{error}"));
    for (file, side) in [("mtcnn-refinement", 24), ("mtcnn-output", 48), ("facenet-casia-webface", 160)] {
        let path = fixture::assets().join(format!("models/{file}.onnx"));
        let model = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `cargo xtask setup`", path.display()));
        let config = Config { sessions: 1, max_batch_delay: NEVER, ..fixture::config() };
        let load = |max_batch| {
            let config = Config { max_batch: Some(max_batch), ..config.clone() };
            Network::load(&runtime, file.to_owned(), &model, &config).unwrap_or_else(|error| panic!("{error}"))
        };
        let (alone, together) = (load(1), load(3));
        let pictures = [7919, 104_729, 611_953].map(|prime: usize| {
            (0..3 * side * side).map(|at| ((at * prime) % 251) as f32 / 125.0 - 1.0).collect::<Vec<_>>()
        });
        let compute = |network: &Network, picture: &[f32]| {
            let input = floats("input", &[1, 3, side as u32, side as u32], picture);
            network.compute(&[input], Instant::now() + PATIENCE, &Watchdog::start().unwrap()).unwrap()
        };
        thread::scope(|scope| {
            let calls = pictures.each_ref().map(|picture| scope.spawn(|| compute(&together, picture)));
            for (picture, call) in pictures.iter().zip(calls) {
                let (expected, got) = (compute(&alone, picture), call.join().expect("it is computed"));
                for (expected, got) in expected.iter().zip(&got) {
                    assert_eq!((&expected.name, &expected.tensor.dimensions), (&got.name, &got.tensor.dimensions));
                    let numbers = copied::<f32>(&expected.tensor.data).into_iter().zip(copied::<f32>(&got.tensor.data));
                    for (a, b) in numbers {
                        assert!((a - b).abs() <= 1e-6, "{file}, {}: {a} alone, {b} together", expected.name);
                    }
                }
            }
        });
    }
}
