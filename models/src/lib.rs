//! The models that visavis runs: which they are, how their tensors are laid out, and how their files are made.
//!
//! # Layout
//!
//! - [`manifest`]: `manifest.toml` as types. The host reads it to learn which graphs to load and how to feed them.
//! - [`graph`]: one ONNX file of a model: where it comes from, and the digest that it must have.
//! - [`convert`] (feature `convert`): published weights in, ONNX out. Only set-up uses it.
//!
//! This crate runs no model and fetches nothing: inference belongs to the host, downloads to the set-up.

#[cfg(feature = "convert")]
pub mod convert;
pub mod graph;
pub mod manifest;

pub use graph::{Conversion, Graph, GraphError, Source};
pub use manifest::{AUTO, Architecture, Detector, Embedder, Manifest, ManifestError, Package, Precision};
