//! The harness of the integration tests: a real host, clients polite and hostile, photographs whole and broken.
//!
//! Owns everything that several tests need. Must never know an inner part of the host: it starts the binary and speaks to
//! it over HTTP, signals and files, as its users do.
//!
//! # Layout
//!
//! - [`host`]: the process, from start to whatever end a test gives it.
//! - [`operator`]: a client of the operators' listener.
//! - [`http`]: an ordinary client.
//! - [`raw`]: a client that sends any bytes at all.
//! - [`form`]: multipart bodies.
//! - [`photos`]: the sample photographs and what can be made of them.
//! - [`broken`]: files that are no photographs, or lie.
//! - [`components`]: components that trap or never end.
//! - [`redis`]: a redis-server of a test's own.
//! - [`traces`]: whether a file holds parts of a photograph.

pub mod broken;
pub mod components;
pub mod form;
pub mod host;
pub mod http;
pub mod operator;
pub mod photos;
pub mod raw;
pub mod redis;
pub mod traces;
