//! The reliability suite: what a client was answered with 202 ends exactly once, whatever dies under it.
//!
//! Owns the scenarios. Each runs real processes, breaks some of them, counts, says what it counted, and asserts it. Must never
//! reach into the host's code.
//!
//! # Layout
//!
//! - `kills`: a host killed at random moments, and an oracle. `workers`: workers that are killed, or hang past their lease.
//! - `servers`: the Redis killed under load.
//! - `network`: the way between a worker and the Redis cut, stalled, slowed.
//! - `clocks`: wall clocks that step.
//! - `disk`: the embedded queue's disk full.
//! - `exhaustion`: no file descriptors, no memory.
//! - `endurance`: many tasks, and memory. `mixed`: all that clients and operators do, at once.
//! - `swaps`: components replaced under load, and the figures of a swap.

mod clocks;
mod disk;
mod endurance;
mod exhaustion;
mod kills;
mod mixed;
mod network;
mod servers;
mod swaps;
mod workers;
