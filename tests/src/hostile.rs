//! Components that attack the host, and their orders.
//!
//! Owns where the components lie and how an order reads. Must never know what an order does.

use std::path::PathBuf;

use crate::form::Form;
use crate::host::repository;

/// The analyzer's file.
pub fn analyzer() -> PathBuf {
    component("hostile_analyzer")
}

/// The gateway's file.
pub fn gateway() -> PathBuf {
    component("hostile_gateway")
}

/// A pair of photographs, the first of which is an order to the analyzer.
pub fn form(word: &str, number: usize) -> Form {
    Form::pair(format!("hostile {word} {number}\n").as_bytes(), b"hostile well 0\n")
}

fn component(name: &str) -> PathBuf {
    let path = repository().join(format!("target/visavis-tests/{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup`", path.display());
    path
}
