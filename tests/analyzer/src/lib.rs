//! An analyzer that runs no network: its photographs say in words how long it is to take and which face it is to find. It
//! stands in where a test is about the way of a task and not about faces.
//!
//! Owns the words, `stub wait=MILLISECONDS angle=MILLIRADIANS` before the first line's end. Must never be part of what users
//! are given.

use std::time::{Duration, Instant};

use crate::bindings::exports::visavis::face::analyze::{Analysis, Failure, Guest, Settings};
use crate::bindings::visavis::face::types::Timing;
use crate::face::face;

mod face;

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "analyzer", generate_all });

    export!(Stub);

    use super::Stub;
}

/// Between two chances for the host to stop this component.
const TICK: Duration = Duration::from_millis(5);

struct Stub;

impl Guest for Stub {
    fn analyze(photograph: Vec<u8>, settings: Settings) -> Result<Analysis, Failure> {
        let start = Instant::now();
        let (wait, angle) = words(&photograph)
            .ok_or_else(|| Failure::UnsupportedFormat("not a photograph for the stub analyzer".to_owned()))?;
        while start.elapsed() < wait {
            std::thread::sleep(TICK.min(wait.saturating_sub(start.elapsed())));
        }
        // Two embeddings are as far apart as their angles say: 2 sin(difference / 2).
        let mut embedding = vec![0.0; settings.embedder.dimension as usize];
        if let [x, y, ..] = embedding.as_mut_slice() {
            (*x, *y) = (angle.cos(), angle.sin());
        }
        let timing = Timing { step: "wait".to_owned(), milliseconds: start.elapsed().as_secs_f64() * 1000.0 };
        Ok(Analysis { width: 112, height: 112, faces: vec![face(embedding)], timings: vec![timing] })
    }
}

/// How long to take, and the embedding's angle in radians.
fn words(photograph: &[u8]) -> Option<(Duration, f32)> {
    let line = photograph.split(|byte| *byte == b'\n').next()?;
    let mut words = str::from_utf8(line).ok()?.strip_prefix("stub ")?.split(' ');
    let wait = words.next()?.strip_prefix("wait=")?.parse().ok()?;
    let angle: u32 = words.next()?.strip_prefix("angle=")?.parse().ok()?;
    Some((Duration::from_millis(wait), angle as f32 / 1000.0))
}
