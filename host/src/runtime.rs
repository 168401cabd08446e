//! Runs components: compiles them, gives every request and every photograph a fresh instance, and holds each to its
//! limits.
//!
//! Owns the engine, the compiled code and what a guest may see. Must never know sockets, a task's life or how a photograph
//! is decoded; it passes bytes and records.
//!
//! # Layout
//!
//! - `engine`: wasmtime's engine, sized from the configuration, and the clock that interrupts guests.
//! - `artifact`: from a component's bytes to compiled code, by way of a guarded cache. `portable`: such code for other machines.
//! - `guest`: what lies in a store: the grants of one world, and its limits.
//! - `waits`: what a guest waits for in the host, within its time.
//! - `limits`: the meter that bounds memory, tables and time of one store.
//! - `bindings`: the worlds of `wit/` as Rust types.
//! - `inference`: `wasi:nn`, as an analyzer sees it.
//! - `tasks`: the queue, as a gateway sees it.
//! - `seat`: what one request to a gateway takes, and what it waits for.
//! - `slots`: where components can be plugged in.
//! - `slot`: one plugged-in component, from its bytes to a call on a fresh store.
//! - `switch`: what serves now, what is tried beside it, and what served before.
//! - `canary`: when a trial has shown enough, a pure function.
//! - `pace`: a measurement that a benchmark orders.
//! - `gateway`, `analyzer`, `scorer`, `annotator`: one slot each, with the calls that its world exports.

pub(crate) mod analyzer;
pub(crate) mod annotator;
pub(crate) mod artifact;
pub(crate) mod bindings;
pub(crate) mod canary;
mod engine;
pub(crate) mod gateway;
mod guest;
mod inference;
pub(crate) mod limits;
#[cfg(test)]
mod pace;
pub(crate) mod portable;
pub(crate) mod scorer;
mod seat;
mod slot;
mod slots;
pub(crate) mod switch;
mod tasks;
mod waits;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use self::artifact::{Cache, CacheError, Source};
pub(crate) use self::engine::{Clockwork, Sizes};
pub(crate) use self::guest::brief;
pub(crate) use self::limits::{Cancel, Limits};
pub(crate) use self::seat::{MOMENT, Seat, Stage};
pub(crate) use self::slots::Slot;
pub(crate) use self::tasks::Desk;

/// Which component to plug in, and how far it may go.
pub(crate) struct Candidate {
    /// What to run.
    pub(crate) source: Source,
    /// Counts the components of a slot, from 1.
    pub(crate) generation: u32,
    /// What one instance may use.
    pub(crate) limits: Limits,
}

/// Which code answered: the SHA-256 of the component's file, and how many components its slot had before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Generation {
    /// Lower-case hexadecimal.
    pub(crate) digest: String,
    /// Counts from 1.
    pub(crate) generation: u32,
}

/// A component cannot be plugged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    #[error(
        "cannot read the {slot} component {path}: {reason}; run `cargo xtask setup`, or set components.{slot}.path"
    )]
    Read {
        /// Where it was to be plugged in.
        slot: Slot,
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// It is not a component that this host can run.
    #[error("{origin} is no {slot} component: {reason}; wit/README.md says what its world is")]
    NotOfItsWorld {
        /// Where it was to be plugged in.
        slot: Slot,
        /// Where it came from.
        origin: String,
        /// wasmtime's words.
        reason: String,
    },
}

impl LoadError {
    fn not_of_its_world(slot: Slot, source: &Source, error: &wasmtime::Error) -> Self {
        Self::NotOfItsWorld { slot, origin: source.origin.clone(), reason: format!("{error:#}") }
    }
}

/// A guest did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It used up its time.
    #[error("the {slot} (generation {generation}) ran past its deadline")]
    Deadline {
        /// Which component.
        slot: Slot,
        /// Which of the slot's components.
        generation: u32,
    },
    /// The host stopped it, since nobody waits for its answer any more.
    #[error("the {slot} (generation {generation}) was stopped")]
    Cancelled {
        /// Which component.
        slot: Slot,
        /// Which of the slot's components.
        generation: u32,
    },
    /// It broke a rule of the sandbox or panicked.
    #[error("the {slot} (generation {generation}) trapped: {reason}")]
    Trap {
        /// Which component.
        slot: Slot,
        /// Which of the slot's components.
        generation: u32,
        /// wasmtime's words, without a backtrace.
        reason: String,
    },
}
