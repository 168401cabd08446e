//! The gateway: what a client may say over HTTP, and how it is answered.
//!
//! Owns the words of the public interface: paths, methods, fields, problem documents. Must never know a model, a face,
//! a threshold's meaning or how a queue stores anything. It is a component like any other: an operator may swap it.
//!
//! # Layout
//!
//! - [`service`]: one request in, one response out; everything else serves it.
//! - [`route`]: which path and method mean what, and the `wait` parameter.
//! - [`body`]: reading a request's body within the limit.
//! - [`submission`]: the fields of a verification, from either of the two content types.
//! - [`multipart`]: RFC 7578 forms, parsed in place.
//! - [`field`]: header values with parameters.
//! - [`site`]: the page, the reference and the OpenAPI description, embedded from the folder `site`.
//! - [`problem`]: refusals, as RFC 9457 problem documents.
//! - [`tasks`]: what the gateway asks of the host, as plain types.
//! - `shell`: the same over the component's WIT bindings; only there when built for WebAssembly.

pub mod body;
pub mod field;
pub mod multipart;
pub mod problem;
pub mod route;
pub mod service;
#[cfg(target_arch = "wasm32")]
mod shell;
pub mod site;
pub mod submission;
pub mod tasks;
