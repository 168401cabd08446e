//! The harness of the integration tests: a real host, clients polite and hostile, photographs whole and broken.
//!
//! Owns everything that several tests need. Must never know an inner part of the host: it starts the binary and speaks to
//! it over HTTP, signals and files, as its users do.
//!
//! # Layout
//!
//! - [`hostile`]: components that attack the host; [`others`]: ordinary clients beside an attack.
//! - [`host`]: the process, from start to whatever end a test gives it.
//! - [`gpu`]: what the host computes on.
//! - [`operator`]: a client of the operators' listener.
//! - [`http`]: an ordinary client.
//! - [`raw`]: a client that sends any bytes at all.
//! - [`form`]: multipart bodies.
//! - [`photos`]: the sample photographs and what can be made of them.
//! - [`process`]: processes that end with the tests, and their limits.
//! - [`broken`]: files that are no photographs, or lie.
//! - [`clock`]: a wall clock that steps.
//! - [`compiled`]: a cache of compiled code of a test's own.
//! - [`components`]: components that trap or never end.
//! - [`languages`]: the example scorers in several languages.
//! - [`scorer`]: a scorer called by itself, and the recorded cases; [`decisions`]: the one beside the others.
//! - [`receiver`]: a receiver of webhooks.
//! - [`redis`]: a redis-server of a test's own.
//! - [`fleet`]: many nodes on one Redis, and the life of workers.
//! - [`proxy`]: a network that can be cut.
//! - [`stub`]: tasks for the stub analyzer, whose results can be told apart.
//! - [`watch`]: what a client sees of many tasks; [`witness`]: what Redis has seen.
//! - [`scale`]: how much a test of reliability does, and what it says.
//! - [`load`]: clients that keep a host busy.
//! - [`wayward`]: scorers that misbehave to order.
//! - [`traces`]: whether a file holds parts of a photograph.
//! - [`collector`]: a collector of a host's spans.

pub mod broken;
pub mod clock;
pub mod collector;
pub mod compiled;
pub mod components;
pub mod decisions;
pub mod fleet;
pub mod form;
pub mod gpu;
pub mod host;
pub mod hostile;
pub mod http;
pub mod languages;
pub mod load;
pub mod operator;
pub mod others;
pub mod photos;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod receiver;
pub mod redis;
pub mod scale;
pub mod scorer;
pub mod stub;
pub mod traces;
pub mod watch;
pub mod wayward;
pub mod witness;
