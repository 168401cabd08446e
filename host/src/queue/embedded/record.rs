//! What is known of one task, in memory and on disk alike.
//!
//! Owns the form in which a task is written; fields may be added, with a default, and never change their meaning. Must
//! never hold a payload or an outcome.

use serde::{Deserialize, Serialize};

use super::board::Standing;
use super::clock::Stamp;
use crate::task::State;

/// All that is known of a task but its payload and its outcome. What is not skipped goes to disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    /// Counts submissions; the order of the line.
    pub(super) seq: u64,
    pub(super) submitted: Stamp,
    /// When the task came into its phase.
    pub(super) since: Stamp,
    pub(super) phase: Phase,
    /// Counts claims and never goes back: the fence.
    pub(super) delivery: u32,
    /// How many of the deliveries do not count: given back unused, or before an operator opened the task again.
    pub(super) released: u32,
    /// How many of the deliveries ended in a retry.
    pub(super) retries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) idempotency: Option<Idempotency>,
    /// Whose waiting tasks it counts among.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Client>,
    /// Who alone may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Owner>,
    /// There when its end is to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) callback: Option<Callback>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// The trace that it was submitted in, as a `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
    /// When something happens to the task by itself; the ledger sets it anew after a start.
    #[serde(skip)]
    pub(super) timer: Stamp,
}

/// What is going on with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Waiting {
        /// Not before this many milliseconds have passed in this phase.
        delay: u64,
    },
    Running,
    Ended {
        state: State,
        /// Given up.
        dead: bool,
        /// Given up, and the payload is kept for a while.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        kept: bool,
    },
}

/// How it stands with the news of a task's end. The address lies elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Callback {
    /// Counts attempts to tell, and never goes back: the fence.
    pub(super) attempts: u32,
    /// When the next attempt may begin; `None` before the end, and when it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due: Option<Stamp>,
}

/// What the storage keeps of a client: a keyed hash.
pub(super) type Client = [u8; 16];

/// What the storage keeps of an owner: a keyed hash.
pub(super) type Owner = [u8; 16];

/// A client, and how many of its tasks may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowd {
    pub(super) client: Client,
    pub(super) most: u64,
}

/// What the storage keeps of an idempotency key and of the payload it came with: keyed hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Idempotency {
    pub(super) key: [u8; 32],
    pub(super) payload: [u8; 32],
}

impl Task {
    /// A task as it is handed in.
    pub(super) fn new(seq: u64, idempotency: Option<Idempotency>, client: Option<Client>, now: Stamp) -> Self {
        Self {
            seq,
            submitted: now,
            since: now,
            phase: Phase::Waiting { delay: 0 },
            delivery: 0,
            released: 0,
            retries: 0,
            idempotency,
            client,
            owner: None,
            callback: None,
            error: None,
            trace: None,
            timer: now,
        }
    }

    /// Whether nothing but being forgotten can happen to it.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether its payload must be there.
    pub(super) fn keeps_payload(&self) -> bool {
        !matches!(self.phase, Phase::Ended { kept: false, .. })
    }

    /// Whether the address that its end is told to must be there.
    pub(super) fn keeps_callback(&self) -> bool {
        self.callback.is_some_and(|callback| self.keeps_payload() || callback.due.is_some())
    }

    /// What readers see of it.
    pub(super) fn standing(&self) -> Standing {
        let state = match self.phase {
            Phase::Waiting { .. } if self.tries() == 0 => State::Pending,
            Phase::Waiting { .. } => State::Retry,
            Phase::Running => State::Started,
            Phase::Ended { state, .. } => state,
        };
        Standing { state, delivery: self.delivery, owner: self.owner }
    }

    /// Deliveries that count.
    pub(super) fn tries(&self) -> u32 {
        self.delivery.saturating_sub(self.released)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_first_version_can_be_read() {
        let json = r#"{"seq":7,"submitted":1800000000000,"since":1800000000500,"phase":{"waiting":{"delay":250}},
            "delivery":2,"released":1,"retries":1,"error":"processing_failed: flaky"}"#;
        let task: Task = serde_json::from_str(json).unwrap();
        assert_eq!((task.seq, task.submitted, task.since), (7, Stamp(1_800_000_000_000), Stamp(1_800_000_000_500)));
        assert_eq!(task.phase, Phase::Waiting { delay: 250 });
        assert_eq!(task.standing(), Standing { state: State::Retry, delivery: 2, owner: None });
        let again: serde_json::Value = serde_json::from_slice(&serde_json::to_vec(&task).unwrap()).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(json).unwrap());
        let ended = |state, dead| Phase::Ended { state, dead, kept: false };
        for (phase, expected) in [
            (r#""running""#, Phase::Running),
            (r#"{"ended":{"state":"REVOKED","dead":false}}"#, ended(State::Revoked, false)),
            (r#"{"ended":{"state":"FAILURE","dead":true}}"#, ended(State::Failure, true)),
        ] {
            assert_eq!(serde_json::from_str::<Phase>(phase).unwrap(), expected);
            assert_eq!(serde_json::to_string(&expected).unwrap(), phase);
        }
    }
}
