//! What callers of the ledger are told.
//!
//! Owns the words alone. Must never decide which of them is said.

use std::time::Duration;

use crate::queue::Lease;
use crate::task::TaskId;

/// What became of a submission.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Submitted {
    New,
    /// The idempotency key belongs to this task, with the same payload.
    Known(TaskId),
    /// The idempotency key belongs to a task with another payload.
    Conflict,
    Full,
    /// It would not end in time.
    Overloaded,
    /// As many tasks of this client wait as may.
    TooManyWaiting,
}

/// What a claim gives.
#[derive(Debug)]
pub(in super::super) struct Claimed {
    pub(in super::super) lease: Lease,
    pub(in super::super) retries: u32,
    pub(in super::super) age: Duration,
    /// The trace that it was submitted in, as a `traceparent`.
    pub(in super::super) trace: Option<String>,
}

/// The lease is no longer the caller's.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Lost;

/// Why a task cannot be revoked.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum NotRevoked {
    Unknown,
    Ended,
}

/// Why a task can be neither redelivered nor purged.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum NotDead {
    Unknown,
    Alive,
    PayloadGone,
}
