//! The hostile suite: components and clients that attack the host as an enemy would. What they get is an error with clear words,
//! and others are served meanwhile.
//!
//! Owns the attacks. Each counts what it tried, says it, and asserts what became of it. Must never reach into the host's code.
//!
//! # Layout
//!
//! - `analyzers`, `scorers`, `gateways`: components that attack by every way that their worlds leave them.
//! - `leavings`: whether anything of one call can be found by the next.
//! - `connections`: clients that are slow, silent, many, or do not read.
//! - `requests`: what can be wrong within a request: framing, forms, chunks, heads.
//! - `polling`: clients that ask without end.

mod analyzers;
mod connections;
mod gateways;
mod leavings;
mod polling;
mod requests;
mod scorers;
