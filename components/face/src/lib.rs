//! From the bytes of a photograph to its faces: decoding, detection, alignment and embedding, as pure functions.
//!
//! Owns every algorithm that touches pixels. Must never know a component's interface, a file system, a network protocol,
//! or who runs the neural networks: those come in through a trait.
//!
//! # Layout
//!
//! In the order in which a photograph falls through it:
//!
//! - [`decode`]: untrusted bytes to an upright [`photograph::Photograph`], within bounds.
//! - [`resize`]: area averages for the networks, smaller copies, antialiased crops.
//! - [`mtcnn`]: the cascade of three networks that finds faces and their landmarks.
//! - [`search`]: the cascade on a bounded copy; its faces in pixels of the photograph, the most prominent first.
//! - [`embedding`]: the crop of a face, and the vector that stands for it.
//! - [`face_rules`], re-exported as [`rules`]: pose, the frontal rule and the decision.

pub mod decode;
pub mod embedding;
pub mod mtcnn;
pub mod photograph;
pub mod resize;
pub mod search;

pub use face_rules as rules;
