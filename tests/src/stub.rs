//! Tasks for the stub analyzer: how long each is to take, and the result that is its own and nobody else's.
//!
//! Owns both ends, the photographs and the figures that must come of them. Must never know how a task gets from one to the
//! other.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::form::Form;
use crate::host::repository;

/// So many different results there are: distances from 0 to almost 2.
const RESULTS: u32 = 3000;

/// The component's file.
pub fn component() -> PathBuf {
    let path = repository().join("target/visavis-tests/stub_analyzer.wasm");
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}

/// The form of task `number`: it takes `wait`, and each of its two photographs has `size` bytes.
pub fn form(number: u32, wait: Duration, size: usize) -> Form {
    // Only the first photograph takes its time, so that one task needs one of a worker's threads.
    Form::pair(&photograph(wait, 0, size), &photograph(Duration::ZERO, number % RESULTS, size))
}

/// Whether a result is that of task `number`.
pub fn is_own(result: &Value, number: u32) -> bool {
    let angle = f64::from(number % RESULTS) / 1000.0;
    let distance = 2.0 * (angle / 2.0).sin();
    result["euclidean_distance"].as_f64().is_some_and(|found| (found - distance).abs() < 2e-5)
        && result["verified"].is_boolean()
}

fn photograph(wait: Duration, angle: u32, size: usize) -> Vec<u8> {
    let mut bytes = format!("stub wait={} angle={angle}\n", wait.as_millis()).into_bytes();
    // No two bytes in a row alike, as in a compressed photograph.
    bytes.extend((bytes.len()..size).map(|at| (at * 31 % 251) as u8));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_have_results_that_can_be_told_apart() {
        for number in [0, 1, 999, RESULTS - 2] {
            let distance = 2.0 * (f64::from(number) / 2000.0).sin();
            let result = serde_json::json!({ "euclidean_distance": distance, "verified": true });
            assert!(is_own(&result, number) && is_own(&result, number + RESULTS));
            assert!(!is_own(&result, number + 1) && !is_own(&Value::Null, number));
        }
    }
}
