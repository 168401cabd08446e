//! A task on its way to a worker.
//!
//! Owns the promise that a task whose worker goes away while it is on the way is not lost to the others: it goes back as
//! if it had never been claimed. Must never know what the task is about.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Inner;
use super::answer::from_digits;
use crate::queue::{Lease, Unavailable};
use crate::telemetry::TraceContext;

/// Claims on their way at once, at most.
const MOST: u32 = 1 << 20;
/// So long the queue's end waits for them.
const PARTING: Duration = Duration::from_secs(3);

/// The claims that must be answered or given back, also when nobody waits for them any more.
pub(super) struct Errands(Arc<Semaphore>);

impl Default for Errands {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST as usize)))
    }
}

impl Errands {
    /// Waits until there are none, but not for long.
    pub(super) async fn done(&self) {
        let _ = tokio::time::timeout(PARTING, self.0.acquire_many(MOST)).await;
    }
}

/// What a claim was granted.
pub(super) struct Granted {
    pub(super) grant: Grant,
    pub(super) retries: u32,
    pub(super) age: Duration,
    pub(super) trace: TraceContext,
    /// As it was submitted, sealed; empty when it is gone.
    pub(super) sealed: Vec<u8>,
}

/// Holds a lease. Dropped, it gives the task back.
pub(super) struct Grant {
    lease: Lease,
    back: Option<(Arc<Inner>, Errand)>,
}

/// The queue's end waits until it is dropped. Absent when there are too many of them.
type Errand = Option<OwnedSemaphorePermit>;

impl Granted {
    pub(super) fn lease(&self) -> Lease {
        self.grant.lease
    }
}

impl Grant {
    /// Asks for a task that is due. The caller may go away at any moment: the answer is awaited on its behalf.
    pub(super) async fn ask(inner: &Arc<Inner>) -> Result<Option<Granted>, Unavailable> {
        let (answer, granted) = oneshot::channel();
        let inner = Arc::clone(inner);
        let errand = Arc::clone(&inner.errands.0).try_acquire_owned().ok();
        tokio::spawn(async move {
            // When nobody takes it, it is dropped here, and so given back.
            let _ = answer.send(Self::fetch(inner, errand).await);
        });
        granted.await.map_err(|_| Unavailable("the queue's helper failed".to_owned()))?
    }

    /// From here on the lease is the worker's.
    pub(super) fn keep(mut self) {
        self.back = None;
    }

    async fn fetch(inner: Arc<Inner>, errand: Errand) -> Result<Option<Granted>, Unavailable> {
        let call = inner.call(&inner.scripts.claim).arg(&inner.node);
        let answer: Vec<redis::Value> = call.send(&inner.link).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        let (id, delivery, retries, age, more, trace): (String, u32, u32, u64, u64, String) =
            redis::from_redis_value(redis::Value::Array(answer))
                .map_err(|error| Unavailable(format!("the server's answer to a claim makes no sense: {error}")))?;
        let id = from_digits(&id).ok_or_else(|| Unavailable(format!("{id:?} in the queue is no task")))?;
        if more > 0 {
            inner.bell.ring_due();
        }
        let grant = Self { lease: Lease { id, delivery }, back: Some((Arc::clone(&inner), errand)) };
        let mut fetch = redis::cmd("GET");
        fetch.arg(inner.context.payload_key(id));
        // Nothing, when the task was revoked meanwhile.
        let sealed = inner.link.query::<Option<Vec<u8>>>(&fetch).await?.unwrap_or_default();
        let trace = TraceContext::read(&trace);
        Ok(Some(Granted { grant, retries, age: Duration::from_millis(age), trace, sealed }))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Some((inner, errand)) = self.back.take() else { return };
        let lease = self.lease;
        // Without a runtime the process ends, and the lease runs out.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = inner.release(lease).await {
                    tracing::warn!(id = %lease.id, %error, "a task that nobody took comes back when its lease runs out");
                }
                drop(errand);
            });
        }
    }
}
