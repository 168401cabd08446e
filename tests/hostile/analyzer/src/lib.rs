//! An analyzer that attacks the host. Its photographs say how: `hostile WORD NUMBER` before the first line's end.
//!
//! Owns the attacks by way of everything that an analyzer can import or answer. Must never be part of what users are given, or know
//! what becomes of it.

use std::hint::black_box;
use std::process::abort;

use crate::bindings::exports::visavis::face::analyze::{Analysis, Failure, Guest, Settings};
use crate::bindings::visavis::face::types::{Face, Timing};
use crate::bindings::wasi::cli::stdout::get_stdout;
use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::io::poll::poll;
use crate::bindings::wasi::nn::graph::{ExecutionTarget, Graph, GraphEncoding, load, load_by_name};
use crate::bindings::wasi::nn::tensor::{Tensor, TensorType};
use crate::bindings::wasi::random::insecure::get_insecure_random_bytes;
use crate::bindings::wasi::random::random::get_random_bytes;
use crate::face::face;

#[path = "../../../analyzer/src/face.rs"]
mod face;
#[path = "../../traces.rs"]
mod traces;

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package visavis:hostile;
            world hostile-analyzer {
                include visavis:face/analyzer@0.1.0;
                import wasi:random/random@0.2.12;
                import wasi:random/insecure@0.2.12;
                import wasi:io/poll@0.2.12;
                import wasi:io/streams@0.2.12;
                import wasi:cli/stdout@0.2.12;
            }
        ",
        world: "hostile-analyzer",
        generate_all,
    });

    export!(Hostile);

    use super::Hostile;
}

struct Hostile;

impl Guest for Hostile {
    fn analyze(photograph: Vec<u8>, settings: Settings) -> Result<Analysis, Failure> {
        let (word, number) = order(&photograph)
            .ok_or_else(|| Failure::UnsupportedFormat("not a photograph for the hostile analyzer".to_owned()))?;
        let graph = settings.detector.proposal.as_str();
        let dimension = settings.embedder.dimension as usize;
        match word {
            "loop" => loop {
                black_box(());
            },
            "recurse" => _ = black_box(recurse(number as u64)),
            "memory" => loop {
                black_box(vec![1_u8; 1 << 20].leak());
            },
            "grow" => while traces::grow(number) != usize::MAX {},
            "tensors" => hoard_tensors(number),
            "graphs" => loop {
                std::mem::forget(load_by_name(graph).map_err(told)?);
            },
            "contexts" => hoard_contexts(&load_by_name(graph).map_err(told)?)?,
            "names" => loop {
                std::mem::forget(load_by_name(&"x".repeat(number)));
            },
            "bring" => return Err(bring(number)),
            "shapes" => return Err(shapes(graph)),
            "fail" => return Err(fail(graph, number)),
            "nan" => return not_numbers(graph, dimension),
            "print" => print(number),
            "random" => _ = black_box(get_random_bytes(number as u64 * u64::from(u32::MAX))),
            "insecure" => _ = black_box(get_insecure_random_bytes(number as u64 * u64::from(u32::MAX))),
            "zeroes" => _ = black_box(get_stdout().write_zeroes(u64::MAX)),
            "write" => _ = black_box(get_stdout().write(&vec![b'x'; number])),
            "poll" => {
                let pollable = subscribe_duration(0);
                black_box(poll(&vec![&pollable; number]));
            }
            "sleep" => subscribe_duration(u64::MAX).block(),
            "faces" => return Ok(analysis(vec![face(Vec::new()); number])),
            "embedding" => return Ok(analysis(vec![face(vec![1.0; number])])),
            "steps" => {
                let timings = vec![Timing { step: "step".to_owned(), milliseconds: 1.0 }; number];
                return Ok(Analysis { timings, ..analysis(vec![]) });
            }
            "step" => {
                let timings = vec![Timing { step: "x".repeat(number), milliseconds: 1.0 }];
                return Ok(Analysis { timings, ..analysis(vec![]) });
            }
            "text" => return Err(Failure::InvalidImage("\u{1b}[31mx\n".repeat(number))),
            "inference" => return Err(Failure::Inference("x".repeat(number))),
            "leave" => {
                traces::leave(number);
                (0..100).for_each(|_| std::mem::forget(Tensor::new(&[4], TensorType::U8, b"left")));
            }
            "look" => return Err(Failure::InvalidImage(traces::look(number))),
            // SAFETY: there is no such handle, which the host has to find out.
            "forge" => _ = black_box(unsafe { Tensor::from_handle(number as u32) }.data()),
            _ => {}
        }
        Ok(analysis(vec![face((0..dimension).map(|at| if at == 0 { 1.0 } else { 0.0 }).collect())]))
    }
}

/// What to do, and with how much.
fn order(photograph: &[u8]) -> Option<(&str, usize)> {
    let line = photograph.split(|byte| *byte == b'\n').next()?;
    let (word, number) = str::from_utf8(line).ok()?.strip_prefix("hostile ")?.split_once(' ')?;
    Some((word, number.parse().ok()?))
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(black_box(depth + 1)).wrapping_add(frame[(depth % 64) as usize]) }
}

fn hoard_tensors(bytes: usize) {
    let data = vec![1; bytes];
    loop {
        std::mem::forget(Tensor::new(&[bytes as u32], TensorType::U8, &data));
    }
}

fn hoard_contexts(graph: &Graph) -> Result<(), Failure> {
    loop {
        std::mem::forget(graph.init_execution_context().map_err(told)?);
    }
}

/// Brings graphs along; the host has none of them.
fn bring(bytes: usize) -> Failure {
    let model = vec![8; bytes];
    let encodings = [GraphEncoding::Onnx, GraphEncoding::Openvino, GraphEncoding::Ggml, GraphEncoding::Autodetect];
    let refused = encodings.into_iter().filter(|encoding| {
        let models = [model.clone(), model.clone()];
        load(&models, *encoding, ExecutionTarget::Gpu).is_err()
    });
    Failure::Inference(format!("{} of 4 refused", refused.count()))
}

/// Hands in tensors that lie about themselves.
fn shapes(graph: &str) -> Failure {
    let zeros = |bytes: usize| vec![0; bytes];
    let huge = u32::MAX;
    let tensors: Vec<(Vec<u32>, TensorType, Vec<u8>)> = vec![
        (vec![], TensorType::Fp32, zeros(4)),
        (vec![0, 3, 12, 12], TensorType::Fp32, zeros(0)),
        (vec![1, 3, 12], TensorType::Fp32, zeros(1728)),
        (vec![1, 4, 12, 12], TensorType::Fp32, zeros(2304)),
        (vec![1, 3, 12, 12, 1], TensorType::Fp32, zeros(1728)),
        (vec![1, 3, 12, 12], TensorType::I32, zeros(1728)),
        (vec![1, 3, 12, 12], TensorType::Fp64, zeros(3456)),
        (vec![1, 3, 12, 12], TensorType::Bf16, zeros(864)),
        (vec![1, 3, 12, 12], TensorType::U8, zeros(432)),
        (vec![1, 3, 12, 12], TensorType::Fp32, zeros(1727)),
        (vec![1, 3, 12, 12], TensorType::Fp32, zeros(1729)),
        (vec![1, 3, 12, 12], TensorType::Fp32, zeros(0)),
        (vec![1, 3, huge, huge], TensorType::Fp32, zeros(12)),
        (vec![huge, huge, huge, huge], TensorType::Fp32, zeros(12)),
        (vec![1 << 30, 3, 1 << 30, 16], TensorType::Fp32, zeros(0)),
        (vec![1; 100_000], TensorType::Fp32, zeros(4)),
        (vec![1, 3, 1, 1], TensorType::Fp32, zeros(12)),
    ];
    let (mut refused, mut taken) = (0, 0);
    let mut count = |inputs: Vec<(String, Tensor)>| {
        let context = load_by_name(graph).and_then(|graph| graph.init_execution_context());
        match context.and_then(|context| context.compute(inputs)) {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    };
    for (dimensions, ty, data) in &tensors {
        count(vec![("input".to_owned(), Tensor::new(dimensions, *ty, data))]);
    }
    let good = || Tensor::new(&[1, 3, 12, 12], TensorType::Fp32, &zeros(1728));
    count(vec![]);
    count(vec![("inputs".to_owned(), good())]);
    count(vec![("x".repeat(1 << 20), good())]);
    count(vec![("input".to_owned(), good()), ("input".to_owned(), good())]);
    count((0..1000).map(|at| (at.to_string(), good())).collect());
    Failure::Inference(format!("{refused} refused and {taken} taken"))
}

/// Lets the library fail again and again.
fn fail(graph: &str, times: usize) -> Failure {
    let context = load_by_name(graph).and_then(|graph| graph.init_execution_context());
    let last = context.map(|context| {
        let fail = |_| {
            let input = Tensor::new(&[1, 3, 1, 1], TensorType::Fp32, &[0; 12]);
            context.compute(vec![("input".to_owned(), input)]).err()
        };
        (0..times).filter_map(fail).last().map(|error| error.data())
    });
    Failure::Inference(format!("{last:?}"))
}

/// Computes with what is no number, and answers it.
fn not_numbers(graph: &str, dimension: usize) -> Result<Analysis, Failure> {
    let context = load_by_name(graph).and_then(|graph| graph.init_execution_context()).map_err(told)?;
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE / 2.0] {
        let data = value.to_le_bytes().repeat(3 * 24 * 24);
        let input = Tensor::new(&[1, 3, 24, 24], TensorType::Fp32, &data);
        context.compute(vec![("input".to_owned(), input)]).map_err(told)?;
    }
    Ok(analysis(vec![Face { confidence: f32::NAN, ..face(vec![f32::NAN; dimension]) }]))
}

fn print(bytes: usize) {
    let out = get_stdout();
    let piece = vec![b'x'; 4096];
    for _ in 0..bytes / piece.len() {
        let _ = out.blocking_write_and_flush(&piece);
    }
    abort();
}

#[allow(clippy::needless_pass_by_value, reason = "it stands where errors are mapped")]
fn told(error: crate::bindings::wasi::nn::errors::Error) -> Failure {
    Failure::Inference(error.data())
}

fn analysis(faces: Vec<Face>) -> Analysis {
    Analysis { width: 112, height: 112, faces, timings: Vec::new() }
}
