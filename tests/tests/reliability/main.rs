//! The reliability suite: what a client was answered with 202 ends exactly once, whatever dies under it.
//!
//! Owns the scenarios. Each runs real processes, breaks some of them, counts, says what it counted, and asserts it. Must never
//! reach into the host's code.
//!
//! # Layout
//!
//! - `workers`: workers that are killed, or hang past their lease.
//! - `servers`: the Redis killed under load.
//! - `network`: the way between a worker and the Redis cut, stalled, slowed.
//! - `clocks`: wall clocks that step.
//! - `disk`: the embedded queue's disk full.
//! - `endurance`: many tasks, and memory.
//! - `swaps`: components replaced under load, and the figures of a swap.

mod clocks;
mod disk;
mod endurance;
mod network;
mod servers;
mod swaps;
mod workers;
