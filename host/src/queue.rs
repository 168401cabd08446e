//! The one seam between those who accept tasks and those who do them.
//!
//! Owns the promise: a task submitted is ended exactly once in the eyes of a client, whatever process dies. Must never
//! know HTTP, WebAssembly, a model, or who calls.
//!
//! # Layout
//!
//! - `admin`: what an operator may ask.
//! - `callbacks`: whom ends are told to.
//! - `embedded`: the durable queue of a single node, in one redb file.
//! - `codec`: a payload as bytes.
//! - `redis`: the durable queue of many nodes, on a Redis.
//! - `seal`: encryption of payloads at rest.
//! - `private`: files that only their owner may read.
//! - `contract`: the tests that every backend must pass; `pace`: how fast each is.

mod admin;
mod callbacks;
mod codec;
#[cfg(test)]
mod contract;
pub(crate) mod embedded;
#[cfg(test)]
mod pace;
mod private;
pub(crate) mod redis;
mod seal;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub(crate) use self::admin::{Admin, Checkup, DeadError, DeadTask};
pub(crate) use self::callbacks::{CALLBACK_LEASE, Callback, CallbackLease, Callbacks};
use crate::task::{Outcome, Payload, TaskError, TaskId, TaskView};
use crate::telemetry::TraceContext;

/// A task handed in.
#[derive(Debug)]
pub(crate) struct Submission {
    /// What to do.
    pub payload: Payload,
    /// The client's own key, at most 256 bytes: the same key yields the same task while its result lives.
    pub idempotency_key: Option<String>,
    /// Who hands it in, in whatever words tell clients apart; stored as a keyed hash, and only where there is a limit on what
    /// it may have waiting.
    pub client: Option<String>,
    /// How many tasks of this client may wait; without it [`Limits::max_waiting_per_client`] holds.
    pub max_waiting: Option<u64>,
    /// Who alone may see it, by a name that stays; stored as a keyed hash. The same idempotency key of two owners is two keys.
    pub owner: Option<String>,
    /// Where to tell of the task's end; stored sealed. It belongs to the content that an idempotency key stands for.
    pub callback: Option<String>,
    /// What goes on with it in a trace.
    pub trace: TraceContext,
}

#[cfg(test)]
impl Submission {
    /// A task of nobody in particular, whose end nobody is told of.
    pub(crate) fn new(payload: Payload) -> Self {
        let (client, max_waiting, owner) = Default::default();
        Self {
            payload,
            idempotency_key: None,
            client,
            max_waiting,
            owner,
            callback: None,
            trace: TraceContext::default(),
        }
    }
}

/// Why a task was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubmitError {
    /// As many tasks wait as may; the duration is a guess, from the drain rate, of when there will be room.
    #[error("the queue is full")]
    Full {
        /// When to try again.
        retry_after: Duration,
    },
    /// By the drain rate, the task would not have ended before it is older than [`Limits::max_age`]; the duration is the same
    /// guess.
    #[error("the task would wait for too long")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// As many tasks of this client wait as may; the duration is the same guess.
    #[error("too many tasks of this client wait")]
    TooManyWaiting {
        /// When to try again.
        retry_after: Duration,
    },
    /// The idempotency key was used before, for another payload.
    #[error("the idempotency key was used before for other content")]
    Conflict,
    /// The storage failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The storage cannot be reached or cannot write; the text says why, in the operating system's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is unavailable: {0}")]
pub(crate) struct Unavailable(pub String);

/// One try of one task, held by one worker until its lease runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Which task.
    pub id: TaskId,
    /// Counts deliveries from 1. It fences: what an older delivery says is refused.
    pub delivery: u32,
}

/// A task to do.
#[derive(Debug)]
pub(crate) struct Claim {
    /// What to hold on to while doing it.
    pub lease: Lease,
    /// How many tries have failed and were scheduled anew by [`Queue::retry`]; 0 at first.
    pub retries: u32,
    /// What to do.
    pub payload: Payload,
    /// How long the task waited since it was submitted.
    pub age: Duration,
    /// The trace that it was submitted in.
    pub trace: TraceContext,
}

/// The lease is no longer this worker's: it ran out, the task was revoked, or somebody else ended it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// Drop the work, its result is not wanted.
    #[error("the lease is lost")]
    Lost,
    /// The storage failed; the lease may still be held.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a task was not revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    /// No such task, or forgotten.
    #[error("there is no such task")]
    Unknown,
    /// It had ended before.
    #[error("the task has ended")]
    Ended(Box<TaskView>),
    /// The storage failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How many tasks are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stats {
    /// Waiting for a worker, retries included.
    pub waiting: u64,
    /// Held by a worker.
    pub running: u64,
    /// Ended, with a result that still lives.
    pub ended: u64,
    /// Given up, and not purged (they count as ended, too).
    pub dead: u64,
    /// Ended, and its client is yet to be told of that (they count as ended, too).
    pub webhooks: u64,
}

/// How long the line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// How many tasks are where.
    pub(crate) stats: Stats,
    /// Since the submission of the oldest task that is due; `None`: none is.
    pub(crate) oldest: Option<Duration>,
}

/// The limits of a queue, the same on every backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// How many tasks may wait, retries included; further submissions are refused.
    pub(crate) max_length: u64,
    /// How old a task may become until it ends, by the rate at which tasks are settled: what would take longer is refused
    /// unless nothing waits. `None`: whatever there is room for is accepted. What was accepted is done, however old it is.
    #[serde(default)]
    pub(crate) max_age: Option<Duration>,
    /// How many tasks of one client may wait, retries included; `None`: as many as there is room for.
    pub(crate) max_waiting_per_client: Option<u64>,
    /// How long a worker may be silent.
    pub(crate) lease: Duration,
    /// How often a task is delivered before it is given up; at least 1.
    pub(crate) max_deliveries: u32,
    /// How long an ended task is remembered.
    pub(crate) result_ttl: Duration,
    /// How long a task may wait for a worker, and the payload of one that was given up is kept, both counted from its
    /// submission.
    pub(crate) payload_ttl: Duration,
}

/// A durable queue of tasks. Every method may be called from any number of tasks at once.
///
/// Implementations pass `contract`. All durations are by a clock that does not step.
#[async_trait]
pub(crate) trait Queue: Admin + Callbacks {
    /// Accepts a task. When this returns `Ok` the task survives `kill -9`. A known idempotency key with the same payload
    /// yields the first task's id, also from a client that has too many waiting.
    async fn submit(&self, submission: Submission) -> Result<TaskId, SubmitError>;

    /// Takes the oldest task that is due, waiting up to `wait` for one. A task whose lease ran out is due again; one
    /// delivered more than the configured number of times is given up, as by [`Queue::bury`], as `processing_failed`.
    async fn claim(&self, wait: Duration) -> Result<Option<Claim>, Unavailable>;

    /// Renews a lease to its full length. Call it every third of [`Queue::lease`].
    async fn extend(&self, lease: Lease) -> Result<(), LeaseError>;

    /// Ends a task; the payload is deleted with the same write. Only the holder of the newest lease can.
    async fn settle(&self, lease: Lease, outcome: Outcome) -> Result<(), LeaseError>;

    /// Gives a task up: it ends as a failure with this error, counts as dead, and its payload is kept until the limit
    /// `payload_ttl` has passed since the submission, so that [`Admin::redeliver`] can open it again. Only the holder of the
    /// newest lease can.
    async fn bury(&self, lease: Lease, error: TaskError) -> Result<(), LeaseError>;

    /// Gives a task back, to be delivered again after `delay`, with `error` as the reason, for the log and for a task
    /// that ends up dead.
    async fn retry(&self, lease: Lease, delay: Duration, error: TaskError) -> Result<(), LeaseError>;

    /// Gives a task back at once, as if never claimed: for a worker that drains.
    async fn release(&self, lease: Lease) -> Result<(), LeaseError>;

    /// Looks a task up. While it has not ended, waits up to `wait` for that. `None`: unknown, or past its time-to-live.
    async fn status(&self, id: TaskId, wait: Duration) -> Result<Option<TaskView>, Unavailable>;

    /// Whether there is such a task and this owner handed it in, which never changes.
    async fn belongs_to(&self, id: TaskId, owner: &str) -> Result<bool, Unavailable>;

    /// Revokes a task that has not ended and deletes its payload. Its view then is [`State::Revoked`] with a failure of
    /// code `revoked` as the outcome, here and from [`Queue::status`].
    ///
    /// [`State::Revoked`]: crate::task::State::Revoked
    async fn revoke(&self, id: TaskId) -> Result<TaskView, RevokeError>;

    /// Waits until the holder of `lease` no longer holds it (revoked or lost). For a worker that would stop early.
    async fn lost(&self, lease: Lease);

    /// Whether the storage can be written, for readiness.
    async fn ping(&self) -> Result<(), Unavailable>;

    /// How long a lease lasts without [`Queue::extend`].
    fn lease(&self) -> Duration;
}
