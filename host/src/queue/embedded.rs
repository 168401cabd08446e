//! The durable queue of a single node, in one redb file.
//!
//! Owns the way of a task through it as callers see it, and the sealing of payloads outside the one thread that writes. Must never
//! know HTTP, WebAssembly or models.
//!
//! # Layout
//!
//! - `opening`: from a file to a queue, for a host and for an operator.
//! - `handle`: the way to the writer and back; all that needs no key.
//! - `command`: what callers ask of the writer.
//! - `writer`: the thread; group commit and timers.
//! - `ledger`: the rules, as a state machine without storage.
//! - `record`: one task, as it is written.
//! - `store`: the redb file. `aside`: where a damaged one is put.
//! - `callbacks`: the news of ends, for who tells it.
//! - `board`: what readers see without waiting for a commit.
//! - `clock`, `drain`: time, and how fast the queue drains.

mod aside;
mod board;
mod callbacks;
mod clock;
mod command;
mod drain;
mod handle;
mod ledger;
mod opening;
mod record;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::board::Standing;
use self::clock::Clock;
use self::command::{Command, Refusal};
use self::handle::Handle;
use self::ledger::Claimed;
pub(crate) use self::opening::{OpenError, Options};
use self::record::{Crowd, Idempotency};
use super::seal::{self, Keys, Stand};
use super::{Admin, Claim, DeadError, DeadTask, Lease, LeaseError, Limits, Line, Queue, RevokeError, Submission};
use super::{SubmitError, Unavailable, codec};
use crate::task::{ErrorCode, Outcome, Payload, State, TaskError, TaskId, TaskView};
use crate::telemetry::TraceContext;

/// The queue. Call [`Admin::close`] before the process ends; without that nothing is lost, but the next start has to
/// check the whole file.
pub(crate) struct Embedded {
    handle: Handle,
    keys: Arc<Keys>,
    clock: Arc<dyn Clock>,
    limits: Limits,
}

impl Embedded {
    /// Reads a claimed task's payload.
    async fn payload(&self, id: TaskId) -> Result<Result<Payload, String>, Unavailable> {
        let (store, keys) = (Arc::clone(&self.handle.store), Arc::clone(&self.keys));
        blocking(move || {
            let Some(mut bytes) = store.payload(id)? else { return Ok(Err("there is no payload".to_owned())) };
            if let Err(e) = keys.open(id, &mut bytes) {
                return Ok(Err(e.to_string()));
            }
            Ok(codec::decode(bytes).map_err(|e| e.to_string()))
        })
        .await?
    }

    /// The view of a task; `None` when it was forgotten meanwhile.
    async fn view(&self, id: TaskId, state: State) -> Result<Option<TaskView>, Unavailable> {
        let (state, outcome) = match state {
            State::Pending | State::Started | State::Retry => (state, None),
            State::Revoked => (state, Some(revoked())),
            State::Success | State::Failure => {
                let store = Arc::clone(&self.handle.store);
                // A task that was opened again meanwhile may have ended in another way.
                match blocking(move || store.outcome(id)).await?? {
                    Some(outcome @ Outcome::Success(_)) => (State::Success, Some(outcome)),
                    Some(outcome @ Outcome::Failure(_)) => (State::Failure, Some(outcome)),
                    None => return Ok(None),
                }
            }
        };
        Ok(Some(TaskView { id, state, outcome }))
    }
}

#[async_trait]
impl Admin for Embedded {
    async fn line(&self) -> Result<Line, Unavailable> {
        self.handle.line().await
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadTask>, Unavailable> {
        self.handle.dead(limit).await
    }

    async fn redeliver(&self, id: TaskId) -> Result<(), DeadError> {
        self.handle.redeliver(id).await
    }

    async fn purge(&self, id: TaskId) -> Result<(), DeadError> {
        self.handle.purge(id).await
    }

    async fn forget(&self, id: TaskId) -> Result<bool, Unavailable> {
        self.handle.forget(id).await
    }

    async fn close(&self) {
        self.handle.close().await;
    }
}

#[async_trait]
impl Queue for Embedded {
    async fn submit(&self, submission: Submission) -> Result<TaskId, SubmitError> {
        let Submission { payload, idempotency_key, client, max_waiting, owner, callback, trace } = submission;
        // Spares the sealing when the answer is known. With a key, the task may be there already.
        let figures = self.handle.board.figures();
        if idempotency_key.is_none() && figures.stats.waiting >= self.limits.max_length {
            return Err(SubmitError::Full { retry_after: figures.retry_after });
        }
        if idempotency_key.is_none() && figures.overloaded {
            return Err(SubmitError::Overloaded { retry_after: figures.retry_after });
        }
        let id = TaskId::random();
        let keys = Arc::clone(&self.keys);
        let most = max_waiting.or(self.limits.max_waiting_per_client);
        let crowd = most.zip(client).map(|(most, text)| Crowd { client: keys.hash_client(&text), most });
        let owned = owner.as_deref().map(|text| keys.hash_owner(text));
        let (idempotency, sealed, callback) = blocking(move || {
            let mut bytes = codec::encode(payload, seal::OVERHEAD);
            let stand = |text: String| keys.stand(&text, owner.as_deref(), &bytes, callback.as_deref());
            let stand = idempotency_key.map(stand).unwrap_or_default();
            let idempotency = stand.into_iter().map(|Stand { key, payload }| Idempotency { key, payload }).collect();
            keys.seal(id, &mut bytes);
            (idempotency, bytes, callback.map(|url| keys.seal_callback(id, url)))
        })
        .await?;
        let trace = trace.write();
        let submit = |answer| Command::Submit { id, idempotency, crowd, owner: owned, trace, sealed, callback, answer };
        self.handle.ask(submit).await
    }

    async fn claim(&self, wait: Duration) -> Result<Option<Claim>, Unavailable> {
        let deadline = self.clock.now().after(wait);
        loop {
            let Some(grant) = self.handle.ask(|answer| Command::Claim { deadline, answer }).await? else {
                return Ok(None);
            };
            let lease = grant.claimed.lease;
            match self.payload(lease.id).await? {
                Ok(payload) => {
                    let Claimed { retries, age, ref trace, .. } = grant.claimed;
                    let trace = trace.as_deref().map(TraceContext::read).unwrap_or_default();
                    let claim = Claim { lease, retries, payload, age, trace };
                    grant.keep();
                    return Ok(Some(claim));
                }
                Err(why) => {
                    let message = "the stored photographs cannot be read any more; send them again".to_owned();
                    let error = TaskError { code: ErrorCode::ProcessingFailed, message, image: None, details: None };
                    match self.settle(lease, Outcome::Failure(error)).await {
                        Ok(()) => tracing::error!(task = %lease.id, %why, "a payload cannot be read"),
                        // Revoked meanwhile, and the payload deleted with that.
                        Err(LeaseError::Lost) => {}
                        Err(LeaseError::Unavailable(e)) => return Err(e),
                    }
                }
            }
        }
    }

    async fn extend(&self, lease: Lease) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Extend { lease, answer }).await
    }

    async fn settle(&self, lease: Lease, outcome: Outcome) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Settle { lease, outcome, answer }).await
    }

    async fn bury(&self, lease: Lease, error: TaskError) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Bury { lease, error, answer }).await
    }

    async fn retry(&self, lease: Lease, delay: Duration, error: TaskError) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Retry { lease, delay, error, answer }).await
    }

    async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::Release { lease, answer: Some(answer) }).await
    }

    async fn status(&self, id: TaskId, wait: Duration) -> Result<Option<TaskView>, Unavailable> {
        let ended = async {
            loop {
                let (standing, changed) = self.handle.board.watch(id)?;
                if standing.state.is_final() {
                    return Some(standing);
                }
                changed.await;
            }
        };
        let look = async {
            let standing = if wait.is_zero() {
                self.handle.board.look(id)
            } else {
                tokio::time::timeout(wait, ended).await.unwrap_or_else(|_| self.handle.board.look(id))
            };
            match standing {
                Some(Standing { state, .. }) => self.view(id, state).await,
                None => Ok(None),
            }
        };
        self.handle.unless_closed(look).await
    }

    async fn belongs_to(&self, id: TaskId, owner: &str) -> Result<bool, Unavailable> {
        let is_owner = |hash| self.keys.is_owner(owner, &hash);
        let known = async { Ok(self.handle.board.look(id).and_then(|standing| standing.owner).is_some_and(is_owner)) };
        self.handle.unless_closed(known).await
    }

    async fn revoke(&self, id: TaskId) -> Result<TaskView, RevokeError> {
        match self.handle.ask(|answer| Command::Revoke { id, answer }).await {
            Ok(()) => Ok(TaskView { id, state: State::Revoked, outcome: Some(revoked()) }),
            Err(Refusal::Unknown) => Err(RevokeError::Unknown),
            Err(Refusal::Ended) => match self.status(id, Duration::ZERO).await? {
                Some(view) => Err(RevokeError::Ended(Box::new(view))),
                None => Err(RevokeError::Unknown),
            },
            Err(Refusal::Unavailable(e)) => Err(e.into()),
        }
    }

    async fn lost(&self, lease: Lease) {
        while let Some((standing, changed)) = self.handle.board.watch(lease.id)
            && (standing.state, standing.delivery) == (State::Started, lease.delivery)
        {
            changed.await;
        }
    }

    async fn ping(&self) -> Result<(), Unavailable> {
        self.handle.ask(|answer| Command::Ping { answer }).await
    }

    fn lease(&self) -> Duration {
        self.limits.lease
    }
}

/// Runs what reads the disk or takes long to compute, off the threads that serve requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unavailable> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Unavailable(format!("the queue's helper failed: {e}")))
}

fn revoked() -> Outcome {
    let message = "the task was revoked".to_owned();
    Outcome::Failure(TaskError { code: ErrorCode::Revoked, message, image: None, details: None })
}
