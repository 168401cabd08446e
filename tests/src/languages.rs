//! The example scorers, one for each language, as `cargo xtask components --examples` builds them.
//!
//! Owns their list and places. Must never know how they are built or what they decide.

use std::path::PathBuf;

use crate::host::repository;
use crate::photos::assets;

/// One example.
#[derive(Clone, Debug)]
pub struct Example {
    /// As people write it.
    pub language: &'static str,
    /// The built component.
    pub file: PathBuf,
}

/// All examples. Each decides as the built-in scorer does.
pub fn examples() -> [Example; 3] {
    [("Rust", "scorer-rust"), ("Python", "scorer-python"), ("JavaScript", "scorer-javascript")].map(
        |(language, name)| {
            let file = assets().join("examples").join(name).with_extension("wasm");
            assert!(file.is_file(), "{} is missing: run `cargo xtask components --examples`", file.display());
            Example { language, file }
        },
    )
}

/// The scorer that the host uses unless it is told otherwise.
pub fn built_in() -> PathBuf {
    let file = assets().join("components/scorer.wasm");
    assert!(file.is_file(), "{} is missing: run `cargo xtask setup`", file.display());
    file
}

/// The recorded cases that all of them pass.
pub fn recorded_cases() -> PathBuf {
    repository().join("components/examples/cases.json")
}
