//! A task on its way to a worker.
//!
//! Owns the promise that a task whose worker goes away while it is on the way is not lost to the others: it goes back as
//! if it had never been claimed. Must never know what the task is about.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Inner, from_digits};
use crate::queue::{Lease, Unavailable};

/// What a claim was granted.
pub(super) struct Granted {
    pub(super) grant: Grant,
    pub(super) retries: u32,
    pub(super) age: Duration,
    /// As it was submitted, sealed.
    pub(super) sealed: Vec<u8>,
}

/// Holds a lease. Dropped, it gives the task back.
pub(super) struct Grant {
    lease: Lease,
    back: Option<Arc<Inner>>,
}

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
        tokio::spawn(async move {
            // When nobody takes it, it is dropped here, and so given back.
            let _ = answer.send(Self::fetch(inner).await);
        });
        granted.await.map_err(|_| Unavailable("the queue's helper failed".to_owned()))?
    }

    /// From here on the lease is the worker's.
    pub(super) fn keep(mut self) {
        self.back = None;
    }

    async fn fetch(inner: Arc<Inner>) -> Result<Option<Granted>, Unavailable> {
        let call = inner.call(&inner.scripts.claim).arg(&inner.node);
        let answer: Vec<redis::Value> = call.send(&inner.link).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        let (id, delivery, retries, age, sealed, more): (String, u32, u32, u64, Vec<u8>, u64) =
            redis::from_redis_value(redis::Value::Array(answer))
                .map_err(|error| Unavailable(format!("the server's answer to a claim makes no sense: {error}")))?;
        let id = from_digits(&id).ok_or_else(|| Unavailable(format!("{id:?} in the queue is no task")))?;
        if more > 0 {
            inner.bell.ring_due();
        }
        let grant = Self { lease: Lease { id, delivery }, back: Some(inner) };
        Ok(Some(Granted { grant, retries, age: Duration::from_millis(age), sealed }))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Some(inner) = self.back.take() else { return };
        let lease = self.lease;
        // Without a runtime the process ends, and the lease runs out.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = inner.release(lease).await {
                    tracing::warn!(id = %lease.id, %error, "a task that nobody took comes back when its lease runs out");
                }
            });
        }
    }
}
