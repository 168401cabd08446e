//! The news of ends, from the server to who tells it.
//!
//! Owns the wait for news, and the unsealing of addresses. Must never know how an address is reached.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::answer::{digits, from_digits, view};
use super::scripts::{Script, millis};
use super::{Inner, ROUND, Redis, SAFETY, deadline};
use crate::queue::{CALLBACK_LEASE, Callback, CallbackLease, Callbacks, LeaseError, Unavailable};

/// What the script answers.
enum Answer {
    /// There is nothing to tell before so long.
    Nothing(Option<Duration>),
    News {
        lease: CallbackLease,
        age: Duration,
        phase: String,
        outcome: String,
        sealed: Vec<u8>,
    },
}

impl Inner {
    async fn news(&self) -> Result<Answer, Unavailable> {
        let call = self.call(&self.scripts.claim_callback).arg(millis(CALLBACK_LEASE));
        let answer: Vec<redis::Value> = call.send(&self.link).await?;
        let strange = |error| Unavailable(format!("the server's answer about callbacks makes no sense: {error}"));
        if let [wait] = answer.as_slice() {
            let wait: i64 = redis::from_redis_value(wait.clone()).map_err(|error| strange(error.to_string()))?;
            return Ok(Answer::Nothing(wait.try_into().ok().map(Duration::from_millis)));
        }
        let (id, attempt, age, phase, outcome, sealed): (String, u32, u64, String, String, Vec<u8>) =
            redis::from_redis_value(redis::Value::Array(answer)).map_err(|error| strange(error.to_string()))?;
        let id = from_digits(&id).ok_or_else(|| strange(format!("{id:?} is no task")))?;
        let (lease, age) = (CallbackLease { id, attempt }, Duration::from_millis(age));
        Ok(Answer::News { lease, age, phase, outcome, sealed })
    }

    /// Calls a script that only the newest attempt may call.
    async fn as_teller(
        &self,
        script: &Script,
        lease: CallbackLease,
        delay: Option<Duration>,
    ) -> Result<(), LeaseError> {
        let call = self.call(script).arg(digits(lease.id)).arg(lease.attempt);
        let call = match delay {
            Some(delay) => call.arg(millis(delay)),
            None => call,
        };
        self.as_holder(call.commit()).await
    }
}

#[async_trait]
impl Callbacks for Redis {
    async fn claim_callback(&self, wait: Duration) -> Result<Option<Callback>, Unavailable> {
        let deadline = deadline(wait);
        let mut waited = false;
        loop {
            let mut news = std::pin::pin!(self.inner.bell.news());
            news.as_mut().enable();
            let next = match self.inner.news().await {
                // Who waited until the end has waited in vain, no more.
                Err(_) if waited && self.inner.link.is_closed() => return Ok(None),
                Err(error) => return Err(error),
                Ok(Answer::Nothing(next)) => next.unwrap_or(SAFETY),
                Ok(Answer::News { lease, age, phase, outcome, sealed }) => {
                    match self.keys.open_callback(lease.id, sealed) {
                        Ok(url) => {
                            let view = view(lease.id, &phase, 0, &outcome)?;
                            return Ok(Some(Callback { lease, url, view, age }));
                        }
                        Err(why) => {
                            tracing::error!(id = %lease.id, %why, "a callback's address cannot be read");
                            match self.end_callback(lease).await {
                                Ok(()) | Err(LeaseError::Lost) => {}
                                Err(LeaseError::Unavailable(error)) => return Err(error),
                            }
                        }
                    }
                    continue;
                }
            };
            if Instant::now() >= deadline {
                return Ok(None);
            }
            waited = true;
            tokio::select! {
                () = news => {}
                () = sleep(next.clamp(ROUND.0, SAFETY)) => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    async fn retry_callback(&self, lease: CallbackLease, delay: Duration) -> Result<(), LeaseError> {
        self.inner.as_teller(&self.inner.scripts.retry_callback, lease, Some(delay)).await
    }

    async fn end_callback(&self, lease: CallbackLease) -> Result<(), LeaseError> {
        self.inner.as_teller(&self.inner.scripts.end_callback, lease, None).await
    }
}
