//! An analyzer that runs one graph so many times and looks at no photograph: what is left to measure is `wasi:nn`.
//!
//! Owns the words that say which graph: `graph=NAME input=NAME shape=1x3x160x160 times=10` in place of a photograph. Must never
//! depend on what a graph computes; it hands on the first numbers of the first output as an embedding.

use crate::bindings::exports::visavis::face::analyze::{Analysis, Failure, Guest, Settings};
use crate::bindings::visavis::face::types::{BoundingBox, Face, Landmarks, Point, Pose};
use crate::bindings::wasi::nn::errors::Error;
use crate::bindings::wasi::nn::graph::load_by_name;
use crate::bindings::wasi::nn::tensor::{Tensor, TensorType};

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "analyzer", generate_all });

    export!(Inferring);

    use super::Inferring;
}

/// So many numbers of the output are handed on.
const SHOWN: usize = 16;

struct Inferring;

/// What to run.
struct Words<'a> {
    graph: &'a str,
    input: &'a str,
    shape: Vec<u32>,
    times: usize,
}

impl Guest for Inferring {
    fn analyze(words: Vec<u8>, _: Settings) -> Result<Analysis, Failure> {
        let text = String::from_utf8_lossy(&words);
        let words = read(&text).ok_or_else(|| Failure::UnsupportedFormat(format!("not to be understood: {text}")))?;
        let output = infer(&words).map_err(|error| Failure::Inference(error.data()))?;
        Ok(Analysis { width: 1, height: 1, faces: vec![face(output)], timings: Vec::new() })
    }
}

/// Makes one context and computes with it again and again, as an analyzer does with the levels of a photograph.
fn infer(words: &Words<'_>) -> Result<Vec<f32>, Error> {
    let context = load_by_name(words.graph)?.init_execution_context()?;
    let count = words.shape.iter().product::<u32>() as usize;
    // Something uneven between -1 and 1, as photographs are; made in few turns of a loop, for those are not what is measured.
    let period: Vec<u8> = (0..2001).flat_map(|at| ((at * 7919 % 2001) as f32 / 1000.0 - 1.0).to_le_bytes()).collect();
    let mut input = period.repeat(4 * count / period.len() + 1);
    input.truncate(4 * count);
    let mut shown = Vec::new();
    for _ in 0..words.times {
        let tensor = Tensor::new(&words.shape, TensorType::Fp32, &input);
        let outputs = context.compute(vec![(words.input.to_owned(), tensor)])?;
        let bytes = outputs.first().map(|(_, tensor)| tensor.data()).unwrap_or_default();
        shown = bytes.as_chunks::<4>().0.iter().take(SHOWN).map(|&value| f32::from_le_bytes(value)).collect();
    }
    Ok(shown)
}

fn read(text: &str) -> Option<Words<'_>> {
    let word = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let shape = word("shape")?.split('x').map(|side| side.parse().ok()).collect::<Option<_>>()?;
    Some(Words { graph: word("graph")?, input: word("input")?, shape, times: word("times")?.parse().ok()? })
}

/// A face that is nowhere.
fn face(embedding: Vec<f32>) -> Face {
    let nowhere = Point { x: 0.0, y: 0.0 };
    Face {
        box_: BoundingBox { x1: 0.0, y1: 0.0, x2: 1.0, y2: 1.0 },
        confidence: 1.0,
        landmarks: Landmarks {
            left_eye: nowhere,
            right_eye: nowhere,
            nose: nowhere,
            left_mouth: nowhere,
            right_mouth: nowhere,
        },
        pose: Pose { yaw: 0.0, pitch: 0.0, roll: 0.0 },
        embedding,
    }
}
