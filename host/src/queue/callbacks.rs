//! Callbacks: the addresses that clients left to be told of their tasks' ends.
//!
//! Owns the seam's part for who tells them. An address lies beside its task, sealed, and is due when the task ends with a result
//! or an error; a task that is revoked tells nobody. What is due is handed out with a lease, so that of many nodes one tells at
//! a time, and comes back when the lease runs out: the news is told at least once, until its task is forgotten. Must never know
//! how an address is reached.

use std::time::Duration;

use async_trait::async_trait;

use super::{LeaseError, Unavailable};
use crate::task::{TaskId, TaskView};

/// How long the news is not handed out again after [`Callbacks::claim_callback`].
pub(crate) const CALLBACK_LEASE: Duration = Duration::from_secs(60);

/// One attempt to tell of one task's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallbackLease {
    /// Which task.
    pub id: TaskId,
    /// Counts attempts from 1. It fences: what an older attempt says is refused.
    pub attempt: u32,
}

/// The news of a task's end, to be told.
#[derive(Clone, Debug)]
pub(crate) struct Callback {
    /// What to hold on to while telling it.
    pub lease: CallbackLease,
    /// The address, as the client wrote it.
    pub url: String,
    /// The task at its end.
    pub view: TaskView,
    /// How long ago it ended.
    pub age: Duration,
}

/// What is told of ends, and what became of it.
///
/// Implementations pass `contract`.
#[async_trait]
pub(crate) trait Callbacks: Send + Sync + 'static {
    /// Takes what is due, the longest due first, waiting up to `wait` for it.
    async fn claim_callback(&self, wait: Duration) -> Result<Option<Callback>, Unavailable>;

    /// Has it handed out again after `delay`. Only the newest attempt can, while its task is remembered.
    async fn retry_callback(&self, lease: CallbackLease, delay: Duration) -> Result<(), LeaseError>;

    /// It was told, or never will be; the address is deleted, unless the task may be opened again. Only the newest attempt can.
    async fn end_callback(&self, lease: CallbackLease) -> Result<(), LeaseError>;
}
