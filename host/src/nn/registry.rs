//! What one store sees of inference.
//!
//! Owns wasi-nn's traits, over graphs that all stores share and a deadline that is the store's own. Must never know
//! which library runs a graph.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use wasmtime_wasi_nn::backend::{BackendError, BackendExecutionContext, BackendGraph, Id, NamedTensor};
use wasmtime_wasi_nn::wit::Tensor;
use wasmtime_wasi_nn::{ExecutionContext, Graph, GraphRegistry};

use super::network::{ComputeError, Network};
use super::watchdog::Watchdog;
use crate::telemetry::TraceContext;

/// So many computations of one store may fail in the library. Each is told in the log, which a guest could flood.
const FAILURES: u32 = 8;

/// The named graphs of one store. Making one costs an allocation or two a graph.
pub(crate) struct Graphs(Vec<(Arc<Network>, Graph)>);

impl Graphs {
    pub(crate) fn new(
        networks: &[Arc<Network>],
        watchdog: &Arc<Watchdog>,
        deadline: Instant,
        trace: &TraceContext,
    ) -> Self {
        let failures = Arc::new(AtomicU32::new(0));
        let timed = |network: &Arc<Network>| {
            let (network, watchdog, trace) = (Arc::clone(network), Arc::clone(watchdog), trace.clone());
            let failures = Arc::clone(&failures);
            let timed = Timed { network: Arc::clone(&network), watchdog, deadline, trace, failures };
            let boxed: Box<dyn BackendGraph> = Box::new(timed);
            (network, Graph::from(boxed))
        };
        Self(networks.iter().map(timed).collect())
    }
}

impl GraphRegistry for Graphs {
    fn get(&self, name: &str) -> Option<&Graph> {
        self.0.iter().find(|(network, _)| network.name() == name).map(|(_, graph)| graph)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Graph> {
        self.0.iter_mut().find(|(network, _)| network.name() == name).map(|(_, graph)| graph)
    }
}

/// A graph with a store's deadline. As an execution context it holds nothing more: each computation borrows a session.
#[derive(Clone)]
struct Timed {
    network: Arc<Network>,
    watchdog: Arc<Watchdog>,
    deadline: Instant,
    trace: TraceContext,
    /// Of all graphs of the store together.
    failures: Arc<AtomicU32>,
}

impl BackendGraph for Timed {
    fn init_execution_context(&self) -> Result<ExecutionContext, BackendError> {
        let boxed: Box<dyn BackendExecutionContext> = Box::new(self.clone());
        Ok(boxed.into())
    }
}

impl BackendExecutionContext for Timed {
    fn set_input(&mut self, _: Id, _: &Tensor) -> Result<(), BackendError> {
        Err(self.stateful())
    }

    fn compute(&mut self, inputs: Option<Vec<NamedTensor>>) -> Result<Option<Vec<NamedTensor>>, BackendError> {
        let inputs = inputs.ok_or_else(|| self.stateful())?;
        let mut span = self.trace.span("inference");
        if span.is_traced() {
            span.set("visavis.model", self.network.name().to_owned());
        }
        let outputs = match self.failures.load(Ordering::Relaxed) {
            ..FAILURES => self.network.compute(&inputs, self.deadline, &self.watchdog),
            FAILURES.. => Err(ComputeError::Failing { graph: self.network.name().to_owned(), failures: FAILURES }),
        };
        if let Err(error) = &outputs {
            span.fail("inference_failed");
            self.failures.fetch_add(u32::from(!error.is_the_guests()), Ordering::Relaxed);
        }
        outputs.map(Some).map_err(refuse)
    }

    fn get_output(&mut self, _: Id) -> Result<Tensor, BackendError> {
        Err(self.stateful())
    }
}

impl Timed {
    // The calls of the older interface, which keep tensors between calls. No component can make them: they are not in
    // the WIT.
    fn stateful(&self) -> BackendError {
        refuse(ComputeError::Stateful { graph: self.network.name().to_owned() })
    }
}

/// wasi-nn shows a guest the text of one kind of error only, the one about tensors; so what a guest did wrong goes
/// there. What went wrong on the host's side is for the log.
fn refuse(error: ComputeError) -> BackendError {
    if error.is_the_guests() {
        tracing::debug!(%error, "inference refused");
        BackendError::UnsupportedTensorType(error.to_string())
    } else {
        tracing::warn!(%error, "inference failed");
        BackendError::BackendAccess(wasmtime::Error::new(error))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use half::f16;
    use wasmtime_wasi_nn::wit::TensorType;

    use super::super::fixture::{self, DOUBLE, FLOAT, FLOAT16, INT32, INT64, Length, UINT8, floats, named};
    use super::super::tensor::{Plain, bytes_of};
    use super::super::{Config, Nn, NnError};
    use super::*;

    const ANY: Length = None;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn context(nn: &Nn, graph: &str, deadline: Instant) -> ExecutionContext {
        let graphs = Graphs::new(&nn.networks, &nn.watchdog, deadline, &TraceContext::default());
        graphs.get(graph).expect("the graph has its name").init_execution_context().expect("a context is cheap")
    }

    /// The text of a refusal; `host:` before those that a guest does not see.
    fn refusal(result: Result<Vec<NamedTensor>, BackendError>) -> String {
        match result {
            Ok(_) => panic!("it was computed"),
            Err(BackendError::UnsupportedTensorType(text)) => text,
            Err(BackendError::BackendAccess(error)) => format!("host: {error}"),
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn every_element_type_goes_in_and_out() {
        fn round_trip<T: Plain>(ty: u64, tensor_type: TensorType, elements: &[T; 6]) {
            let nn = fixture::start("same", fixture::identity(ty, &[ANY, Some(3)]));
            let input = named("input", tensor_type, &[2, 3], elements);
            let expected = input.tensor.clone();
            let outputs = context(&nn, "same", soon()).compute_with_io(vec![input]).unwrap();
            assert_eq!(outputs.len(), 1);
            assert_eq!(outputs[0].name, "output");
            assert_eq!(outputs[0].tensor, expected);
        }
        round_trip(FLOAT, TensorType::Fp32, &[0.0, -1.5, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 2.0, 3e38]);
        round_trip(FLOAT16, TensorType::Fp16, &[0.0, 1.0, -2.5, 65504.0, f32::NAN, 6e-8].map(f16::from_f32));
        round_trip(UINT8, TensorType::U8, &[0_u8, 1, 127, 128, 254, 255]);
        round_trip(INT32, TensorType::I32, &[0, 1, -1, i32::MIN, i32::MAX, 7]);
        round_trip(INT64, TensorType::I64, &[0, 1, -1, i64::MIN, i64::MAX, 7]);
    }

    #[test]
    fn a_guests_mistakes_are_refused_in_its_own_words() {
        let nn = fixture::start("sum", fixture::sum(&[ANY, Some(3)]));
        let mut context = context(&nn, "sum", soon());
        let good = || floats("b", &[1, 3], &[1.0, 2.0, 3.0]);
        let inputs = |what: &str| format!("graph 'sum': expected the inputs [\"a\", \"b\"], each once, got {what}");
        let misfit = |got: &str| format!("graph 'sum', input 'a': expected f32 [?, 3], got {got}");
        let claim = |dimensions: Vec<u32>, bytes: usize| NamedTensor {
            name: "a".to_owned(),
            tensor: Tensor::new(dimensions, TensorType::Fp32, vec![0; bytes]),
        };
        for (given, text) in [
            (vec![], inputs("[]")),
            (vec![good()], inputs("[\"b\"]")),
            (vec![good(), good()], inputs("[\"b\", \"b\"]")),
            (vec![floats("a", &[1, 3], &[0.0; 3]), good(), good()], inputs("[\"a\", \"b\", \"b\"]")),
            (vec![floats("a\0", &[1, 3], &[0.0; 3]), good()], inputs("[\"a\\0\", \"b\"]")),
            (vec![floats(&"long".repeat(1000), &[1, 3], &[0.0; 3])], inputs(&format!("[{:?}]", "long".repeat(16)))),
            ((0..20).map(|_| good()).collect(), inputs(&format!("{:?} and 12 more", ["b"; 8]))),
            (vec![floats("a", &[1, 3], &[0.0; 3]), good(), floats("c", &[1], &[0.0])], inputs("[\"a\", \"b\", \"c\"]")),
            (vec![named("a", TensorType::I32, &[1, 3], &[0_i32; 3]), good()], misfit("i32 [1, 3]")),
            (vec![named("a", TensorType::Fp64, &[1, 3], &[0_i64; 3]), good()], misfit("f64 [1, 3]")),
            (vec![floats("a", &[1, 4], &[0.0; 4]), good()], misfit("f32 [1, 4]")),
            (vec![floats("a", &[3], &[0.0; 3]), good()], misfit("f32 [3]")),
            (vec![floats("a", &[1, 1, 3], &[0.0; 3]), good()], misfit("f32 [1, 1, 3]")),
            (vec![claim(vec![0, 3], 0), good()], misfit("f32 [0, 3]")),
            (vec![claim(vec![2, 3], 23), good()], misfit("f32 [2, 3] in 23 bytes instead of 24")),
            (
                vec![claim(vec![u32::MAX, 3], 12), good()],
                misfit("f32 [4294967295, 3] in 12 bytes instead of 51539607540"),
            ),
        ] {
            assert_eq!(refusal(context.compute_with_io(given)), text);
        }
        // Shapes that only the graph's own nodes find fault with end in an error of the host, and change nothing after.
        let error =
            refusal(context.compute_with_io(vec![floats("a", &[2, 3], &[0.0; 6]), floats("b", &[5, 3], &[0.0; 15])]));
        assert!(error.starts_with("host: graph 'sum' failed: "), "{error}");
        let outputs = context.compute_with_io(vec![good(), floats("a", &[1, 3], &[10.0; 3])]).unwrap();
        assert_eq!(outputs[0].tensor.data, bytes_of(&[11.0_f32, 12.0, 13.0]));
    }

    #[test]
    fn who_fails_again_and_again_computes_no_more() {
        let nn = fixture::start("sum", fixture::sum(&[ANY, Some(3)]));
        let mut context = context(&nn, "sum", soon());
        // Two rows cannot be added to five.
        let misfits = || vec![floats("a", &[2, 3], &[0.0; 6]), floats("b", &[5, 3], &[0.0; 15])];
        for _ in 0..FAILURES {
            assert!(refusal(context.compute_with_io(misfits())).starts_with("host: graph 'sum' failed: "));
        }
        let good = || ["a", "b"].map(|name| floats(name, &[1, 3], &[0.0; 3])).into();
        let refused = "graph 'sum': 8 computations of this instance have failed, and it may make no more";
        assert_eq!(refusal(context.compute_with_io(good())), refused);
        assert!(self::context(&nn, "sum", soon()).compute_with_io(good()).is_ok(), "another instance starts anew");
    }

    #[test]
    fn too_many_elements_are_refused() {
        let config = Config { max_elements: 10, ..fixture::config() };
        let nn = fixture::start_with(&config, "sum", fixture::sum(&[ANY]));
        let mut context = context(&nn, "sum", soon());
        let inputs = |n: usize| ["a", "b"].map(|name| floats(name, &[n as u32], &vec![1.0; n])).into();
        assert!(context.compute_with_io(inputs(5)).is_ok());
        let expected = "graph 'sum': expected at most 10 elements in all inputs together, got 12";
        assert_eq!(refusal(context.compute_with_io(inputs(6))), expected);
    }

    #[test]
    fn calls_that_keep_tensors_are_refused() {
        let nn = fixture::start("same", fixture::identity(FLOAT, &[ANY]));
        let mut context = context(&nn, "same", soon());
        let text = |error: BackendError| error.to_string();
        let kept =
            "Unsupported tensor type: graph 'same': tensors are not kept between calls; hand all inputs to one compute";
        let tensor = floats("input", &[1], &[0.0]).tensor;
        assert_eq!(context.set_input(Id::Index(0), &tensor).map_err(text), Err(kept.to_owned()));
        assert_eq!(context.compute().map_err(text), Err(kept.to_owned()));
        assert_eq!(context.get_output(Id::Name("output".to_owned())).map_err(text), Err(kept.to_owned()));
    }

    #[test]
    fn eight_threads_share_two_sessions() {
        let nn = fixture::start("sum", fixture::sum(&[ANY]));
        thread::scope(|scope| {
            for thread in 0..8_u16 {
                let nn = &nn;
                scope.spawn(move || {
                    let mut context = context(nn, "sum", soon());
                    for round in 1..=100_u16 {
                        let (a, b) = (f32::from(thread), f32::from(round));
                        let lengths = [u32::from(round)];
                        let (a, b) = (vec![a; round.into()], vec![b; round.into()]);
                        let outputs = context
                            .compute_with_io(vec![floats("a", &lengths, &a), floats("b", &lengths, &b)])
                            .unwrap_or_else(|error| panic!("{error:?}"));
                        let sum = vec![f32::from(thread + round); round.into()];
                        assert_eq!(outputs[0].tensor, floats("", &lengths, &sum).tensor);
                    }
                });
            }
        });
    }

    #[test]
    fn a_run_past_its_deadline_is_stopped_and_its_session_works_on() {
        let config = Config { sessions: 1, ..fixture::config() };
        let nn = fixture::start_with(&config, "power", fixture::power(500));
        let matrix = |side: u32| floats("x0", &[side, side], &vec![0.0; (side * side) as usize]);
        let start = Instant::now();
        let slow = thread::spawn({
            let mut context = context(&nn, "power", start + Duration::from_millis(300));
            move || (refusal(context.compute_with_io(vec![matrix(512)])), start.elapsed())
        });
        thread::sleep(Duration::from_millis(100));
        let waiting = context(&nn, "power", start + Duration::from_millis(200)).compute_with_io(vec![matrix(1)]);
        assert_eq!(refusal(waiting), "host: graph 'power': timed out waiting for a session");
        let (error, elapsed) = slow.join().expect("a stopped run answers");
        assert_eq!(error, "host: graph 'power': timed out while it ran");
        assert!(elapsed >= Duration::from_millis(300) && elapsed < Duration::from_secs(5), "{elapsed:?}");
        let late = context(&nn, "power", Instant::now()).compute_with_io(vec![matrix(1)]);
        assert_eq!(refusal(late), "host: graph 'power': timed out before it ran");
        assert!(context(&nn, "power", soon()).compute_with_io(vec![matrix(1)]).is_ok());
    }

    #[test]
    fn graphs_are_found_by_name_and_described() {
        let nn = fixture::start("mtcnn/proposal", fixture::identity(FLOAT, &[ANY, Some(3)]));
        let mut graphs = Graphs::new(&nn.networks, &nn.watchdog, soon(), &TraceContext::default());
        assert!(graphs.get("mtcnn/proposal").is_some() && graphs.get_mut("mtcnn/proposal").is_some());
        assert!(graphs.get("mtcnn").is_none() && graphs.get_mut("").is_none());
        let described: Vec<_> = nn
            .graphs()
            .map(|graph| format!("{} {} -> {}", graph.name(), graph.inputs()[0], graph.outputs()[0]))
            .collect();
        assert_eq!(described, ["mtcnn/proposal f32 [?, 3] -> f32 [?, 3]"]);
    }

    #[test]
    fn graphs_that_cannot_be_served_are_named() {
        let start = |model| match Nn::start(&fixture::config(), model) {
            Err(NnError::Graph { name, reason }) => (name, reason),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was served"),
        };
        let source = |model| fixture::source("bad", model);
        let good = || fixture::identity(FLOAT, &[ANY]);
        let (name, reason) = start(vec![source(fixture::identity(DOUBLE, &[ANY]))]);
        assert_eq!((name.as_str(), reason.contains("f32, f16, u8, i32 and i64")), ("bad", true), "{reason}");
        assert_eq!(start(vec![source(good()), source(good())]).1, "there are two of that name");
        for damaged in [vec![], vec![0xff; 100], good()[..40].to_vec()] {
            assert_eq!(start(vec![source(damaged)]).0, "bad");
        }
    }
}
