//! The news of ends, from the file to who tells it.
//!
//! Owns the wait for news, and the unsealing of addresses. Must never know how an address is reached.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::command::Command;
use super::ledger::Announced;
use super::{Embedded, blocking};
use crate::queue::{Callback, CallbackLease, Callbacks, LeaseError, Unavailable};

/// Nobody who waits looks again sooner.
const SHORTEST: Duration = Duration::from_millis(10);

impl Embedded {
    /// Reads what was handed out; what cannot be read is an error that says why.
    async fn callback(&self, announced: &Announced) -> Result<Result<Callback, String>, Unavailable> {
        let Announced { lease, state, age } = *announced;
        let (store, keys) = (Arc::clone(&self.handle.store), Arc::clone(&self.keys));
        let url = blocking(move || {
            let sealed = store.callback(lease.id)?;
            Ok::<_, Unavailable>(sealed.map(|sealed| keys.open_callback(lease.id, sealed).map_err(|e| e.to_string())))
        });
        let url = match url.await?? {
            None => return Ok(Err("it is not there".to_owned())),
            Some(Err(why)) => return Ok(Err(why)),
            Some(Ok(url)) => url,
        };
        let view = self.view(lease.id, state).await?;
        Ok(view.map(|view| Callback { lease, url, view, age }).ok_or_else(|| "its task is forgotten".to_owned()))
    }
}

#[async_trait]
impl Callbacks for Embedded {
    async fn claim_callback(&self, wait: Duration) -> Result<Option<Callback>, Unavailable> {
        let deadline = self.clock.now().after(wait);
        loop {
            let (next, changed) = self.handle.board.watch_news();
            if let Some(announced) = self.handle.ask(|answer| Command::ClaimCallback { answer }).await? {
                let lease = announced.lease;
                match self.callback(&announced).await? {
                    Ok(callback) => return Ok(Some(callback)),
                    Err(why) => match self.end_callback(lease).await {
                        Ok(()) => tracing::error!(id = %lease.id, %why, "a callback's address cannot be read"),
                        Err(LeaseError::Lost) => {}
                        Err(LeaseError::Unavailable(error)) => return Err(error),
                    },
                }
                continue;
            }
            let now = self.clock.now();
            if now >= deadline {
                return Ok(None);
            }
            let pause = next.map_or(deadline, |next| next.min(deadline)).since(now).max(SHORTEST);
            let wait = self.handle.unless_closed(async { Ok(tokio::time::timeout(pause, changed).await.is_ok()) });
            if wait.await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn retry_callback(&self, lease: CallbackLease, delay: Duration) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::RetryCallback { lease, delay, answer }).await
    }

    async fn end_callback(&self, lease: CallbackLease) -> Result<(), LeaseError> {
        self.handle.ask(|answer| Command::EndCallback { lease, answer }).await
    }
}
