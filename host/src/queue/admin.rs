//! What an operator may ask of a queue: how many tasks are where, and what was given up and why.
//!
//! Owns the operator's side of the seam, which needs no key to photographs. Must never know who asks, nor how an answer is
//! shown.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Serialize, Serializer};

use super::{Line, Stats, Unavailable};
use crate::task::TaskId;

/// A task that was given up: a failure for its client, and still here for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DeadTask {
    /// Which task.
    #[serde(rename = "task_id")]
    pub id: TaskId,
    /// Since its submission.
    #[serde(rename = "age_s", serialize_with = "seconds")]
    pub age: Duration,
    /// How often it was tried before it was given up.
    pub tries: u32,
    /// Why the last try failed.
    pub reason: String,
    /// How much longer its photographs are kept, and it can be redelivered; `None` when they are deleted.
    #[serde(rename = "payload_left_s", serialize_with = "maybe_seconds")]
    pub payload_left: Option<Duration>,
}

/// Why a dead task was neither redelivered nor purged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeadError {
    /// No such task, or forgotten.
    #[error("there is no such task, or it is forgotten")]
    Unknown,
    /// It was not given up.
    #[error("the task is not dead: it waits, runs, or has ended in another way")]
    NotDead,
    /// It cannot be done again.
    #[error("its photographs were deleted when queue.payload_ttl had passed; the client has to send them again")]
    PayloadGone,
    /// The storage failed.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The operator's side of a queue.
///
/// Implementations pass `contract`.
#[async_trait]
pub(crate) trait Admin: Send + Sync + 'static {
    /// Counts tasks, and says how old the first in line is.
    async fn line(&self) -> Result<Line, Unavailable>;

    /// Counts tasks.
    async fn stats(&self) -> Result<Stats, Unavailable> {
        Ok(self.line().await?.stats)
    }

    /// The tasks that were given up and are not forgotten yet, `limit` at most, those that were given up first come first.
    async fn dead(&self, limit: usize) -> Result<Vec<DeadTask>, Unavailable>;

    /// Opens a task again that was given up: under the same id, in its old place in line, with all its tries before it. From
    /// then on it is a task like others, and ends as such. This is the one way in which a failure becomes something else,
    /// and only an operator goes it.
    async fn redeliver(&self, id: TaskId) -> Result<(), DeadError>;

    /// Removes a task that was given up, with its payload and its idempotency key: from then on it is unknown.
    async fn purge(&self, id: TaskId) -> Result<(), DeadError>;

    /// Removes a task, wherever it stands, with its payload, its outcome, its idempotency key and whom to tell of its end: from
    /// then on it is unknown, and whoever does it has lost the lease. Yields whether there was such a task.
    async fn forget(&self, id: TaskId) -> Result<bool, Unavailable>;

    /// Writes what was asked for so far and lets go of the storage. A claim that waits ends without a task, and who waits for
    /// a task's end is told that the queue is unavailable. So is whoever asks anything later, also what could still be known.
    async fn close(&self);
}

/// What a look at a queue before its host starts has found. For it nothing was made, noted or taken over.
#[derive(Debug)]
pub(crate) struct Checkup {
    /// `None`: there is no queue yet, and the first start makes it.
    pub stats: Option<Stats>,
    /// How many keys the key file holds; if it is not there, the first start makes it.
    pub keys: usize,
    /// What is wrong with the storage though it works, and the mend.
    pub warnings: Vec<String>,
}

/// Seconds with three digits after the point.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_millis() as f64 / 1000.0)
}

fn maybe_seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_task_is_an_object_with_seconds() {
        let id = TaskId([0; 16]);
        let task = DeadTask {
            id,
            age: Duration::from_millis(61_250),
            tries: 3,
            reason: "processing_failed: it trapped".to_owned(),
            payload_left: None,
        };
        let expected = serde_json::json!({
            "task_id": id.to_string(), "age_s": 61.25, "tries": 3, "reason": "processing_failed: it trapped",
            "payload_left_s": null,
        });
        assert_eq!(serde_json::to_value(&task).unwrap(), expected);
        let kept = DeadTask { payload_left: Some(Duration::from_secs(5)), ..task };
        assert_eq!(serde_json::to_value(kept).unwrap()["payload_left_s"], 5.0);
    }
}
