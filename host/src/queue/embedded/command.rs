//! What callers ask of the writer, and what it hands back.
//!
//! Owns the promise that a task on its way to a worker that has gone away is not lost to the others.

use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::oneshot;

use super::clock::Stamp;
use super::ledger::{Announced, Claimed};
use super::record::{Crowd, Idempotency, Owner};
use crate::queue::{CallbackLease, DeadError, DeadTask, Lease, LeaseError, SubmitError, Unavailable};
use crate::task::{Outcome, TaskError, TaskId};

/// Where the answer goes.
pub(super) type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// What callers ask of the writer.
pub(super) enum Command {
    Submit {
        id: TaskId,
        /// By each key, the newest first; none without an idempotency key.
        idempotency: Vec<Idempotency>,
        crowd: Option<Crowd>,
        owner: Option<Owner>,
        trace: Option<String>,
        sealed: Vec<u8>,
        /// The address that its end is told to, sealed.
        callback: Option<Vec<u8>>,
        answer: Answer<TaskId, SubmitError>,
    },
    Claim {
        deadline: Stamp,
        answer: Answer<Option<Grant>, Unavailable>,
    },
    Extend {
        lease: Lease,
        answer: Answer<(), LeaseError>,
    },
    Settle {
        lease: Lease,
        outcome: Outcome,
        answer: Answer<(), LeaseError>,
    },
    Bury {
        lease: Lease,
        error: TaskError,
        answer: Answer<(), LeaseError>,
    },
    Retry {
        lease: Lease,
        delay: Duration,
        error: TaskError,
        answer: Answer<(), LeaseError>,
    },
    /// Without an answer: from a [`Grant`] that nobody took.
    Release {
        lease: Lease,
        answer: Option<Answer<(), LeaseError>>,
    },
    Revoke {
        id: TaskId,
        answer: Answer<(), Refusal>,
    },
    Dead {
        limit: usize,
        answer: Answer<Vec<DeadTask>, Unavailable>,
    },
    Redeliver {
        id: TaskId,
        answer: Answer<(), DeadError>,
    },
    Purge {
        id: TaskId,
        answer: Answer<(), DeadError>,
    },
    Forget {
        id: TaskId,
        answer: Answer<bool, Unavailable>,
    },
    ClaimCallback {
        answer: Answer<Option<Announced>, Unavailable>,
    },
    RetryCallback {
        lease: CallbackLease,
        delay: Duration,
        answer: Answer<(), LeaseError>,
    },
    EndCallback {
        lease: CallbackLease,
        answer: Answer<(), LeaseError>,
    },
    Ping {
        answer: Answer<(), Unavailable>,
    },
    Close,
}

impl Command {
    /// Answers that the storage failed.
    pub(super) fn refuse(self, words: &Unavailable) {
        fn refuse<T, E: From<Unavailable>>(answer: Answer<T, E>, words: &Unavailable) {
            // A caller that has gone away does not mind.
            let _ = answer.send(Err(words.clone().into()));
        }
        match self {
            Self::Submit { answer, .. } => refuse(answer, words),
            Self::Claim { answer, .. } => refuse(answer, words),
            Self::Extend { answer, .. }
            | Self::Settle { answer, .. }
            | Self::Bury { answer, .. }
            | Self::Retry { answer, .. }
            | Self::RetryCallback { answer, .. }
            | Self::EndCallback { answer, .. }
            | Self::Release { answer: Some(answer), .. } => refuse(answer, words),
            Self::Revoke { answer, .. } => refuse(answer, words),
            Self::Dead { answer, .. } => refuse(answer, words),
            Self::Redeliver { answer, .. } | Self::Purge { answer, .. } => refuse(answer, words),
            Self::Forget { answer, .. } => refuse(answer, words),
            Self::ClaimCallback { answer } => refuse(answer, words),
            Self::Ping { answer } => refuse(answer, words),
            Self::Release { answer: None, .. } | Self::Close => {}
        }
    }
}

/// Why a task was not revoked.
#[derive(Debug)]
pub(super) enum Refusal {
    Unknown,
    Ended,
    Unavailable(Unavailable),
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

/// A claimed task on its way to a worker. Dropped on the way, it gives the task back as if never claimed.
pub(super) struct Grant {
    pub(super) claimed: Claimed,
    back: Option<Sender<Command>>,
}

impl Grant {
    pub(super) fn new(claimed: Claimed, back: Sender<Command>) -> Self {
        Self { claimed, back: Some(back) }
    }

    /// From here on the lease is the worker's.
    pub(super) fn keep(mut self) {
        self.back = None;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(commands) = self.back.take() {
            // A writer that has ended has no use for the lease either.
            let _ = commands.send(Command::Release { lease: self.claimed.lease, answer: None });
        }
    }
}
