//! Tells clients of their tasks' ends, at the addresses that they left.
//!
//! Owns when to tell, what is said and for how long it is tried; what is yet to be told lies in the queue. Keeps no worker
//! waiting. Must never know how a task is done, nor what its photographs showed: the result is passed on as it is.
//!
//! # Layout
//!
//! - `target`: where webhooks may go. `address`: which addresses are public.
//! - `sender`: one attempt over HTTP.
//! - `secrets`: what they are signed with.

mod address;
pub(crate) mod secrets;
pub(crate) mod sender;
mod target;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::secrets::Secrets;
use self::sender::{Failed, Sender};
pub(crate) use self::target::Allow;
use crate::queue::{Callback, CallbackLease, LeaseError, Queue};
use crate::task::{Outcome, State, TaskError, TaskId, TaskView};

/// So many are told at once.
const AT_ONCE: usize = 16;
/// How long one look into the queue waits for news.
const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// The wait after the first attempt, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// How long the queue is left alone after it failed.
const OUTAGE: Duration = Duration::from_secs(2);

/// How clients are told.
pub(crate) struct Config {
    /// Sends, to where it may.
    pub(crate) sender: Sender,
    /// Signs.
    pub(crate) secrets: Secrets,
    /// For how long after a task's end it is tried to tell of it.
    pub(crate) retry_for: Duration,
    /// How long attempts may go on after the host was asked to stop; they are made again by whoever runs next.
    pub(crate) drain_timeout: Duration,
}

/// Tells until `shutdown` is cancelled.
pub(crate) async fn run(config: Config, queue: Arc<dyn Queue>, shutdown: CancellationToken) {
    let (config, seats) = (Arc::new(config), Arc::new(Semaphore::new(AT_ONCE)));
    let mut under_way = JoinSet::new();
    loop {
        let claimed = async {
            let seat = Arc::clone(&seats).acquire_owned().await.ok()?;
            Some((queue.claim_callback(CLAIM_WAIT).await, seat))
        };
        let claimed = tokio::select! {
            claimed = claimed => claimed,
            () = shutdown.cancelled() => break,
        };
        while under_way.try_join_next().is_some() {}
        match claimed {
            Some((Ok(Some(callback)), seat)) => {
                let (config, queue) = (Arc::clone(&config), Arc::clone(&queue));
                under_way.spawn(async move {
                    tell(&config, queue.as_ref(), callback).await;
                    drop(seat);
                });
            }
            Some((Ok(None), _)) => {}
            Some((Err(error), _)) => {
                tracing::warn!(%error, "no webhook can be claimed");
                tokio::select! {
                    () = tokio::time::sleep(OUTAGE) => {}
                    () = shutdown.cancelled() => {}
                }
            }
            None => break,
        }
    }
    let ended = async { while under_way.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(config.drain_timeout, ended).await;
}

/// Makes one attempt, and notes what came of it.
async fn tell(config: &Config, queue: &dyn Queue, callback: Callback) {
    let Callback { lease, url, view, age } = callback;
    let CallbackLease { id, attempt } = lease;
    let start = Instant::now();
    let (receiver, sent) = match config.sender.allow().target(&url) {
        Ok(target) => {
            let (id, body) = message(&view);
            let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            let headers = [
                ("webhook-signature", config.secrets.sign(&id, timestamp, &body)),
                ("webhook-id", id),
                ("webhook-timestamp", timestamp.to_string()),
            ];
            (target.to_string(), config.sender.post(&target, &headers, body).await)
        }
        Err(why) => (String::new(), Err(Failed::ForGood(why.to_string()))),
    };
    let noted = match sent {
        Ok(()) => {
            tracing::info!(%id, attempt, receiver, "a webhook was delivered");
            queue.end_callback(lease).await
        }
        Err(Failed::ForGood(reason)) => {
            tracing::error!(%id, attempt, receiver, reason, "a webhook will not be delivered");
            queue.end_callback(lease).await
        }
        Err(Failed::ForNow(reason)) => {
            let wait = wait(attempt, jitter());
            if age + start.elapsed() + wait < config.retry_for {
                tracing::warn!(%id, attempt, receiver, reason, ?wait, "a webhook was not delivered; it is sent again");
                queue.retry_callback(lease, wait).await
            } else {
                tracing::error!(%id, attempt, receiver, reason, "a webhook was not delivered, and is given up");
                queue.end_callback(lease).await
            }
        }
    };
    match noted {
        Ok(()) => {}
        Err(LeaseError::Lost) => {
            tracing::info!(%id, attempt, "the task was opened again, forgotten, or told of by another")
        }
        Err(LeaseError::Unavailable(error)) => {
            tracing::warn!(%id, attempt, %error, "what became of a webhook was not noted; it is sent again");
        }
    }
}

/// What a status request for the task answers, and the message's name. The name follows from the body, so that the same news
/// has the same, however often and by whichever node it is told.
fn message(view: &TaskView) -> (String, Bytes) {
    #[derive(Serialize)]
    struct Status<'a> {
        task_id: TaskId,
        status: State,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a TaskError>,
    }
    let (result, error) = match &view.outcome {
        Some(Outcome::Success(result)) => (Some(result), None),
        Some(Outcome::Failure(error)) => (None, Some(error)),
        None => (None, None),
    };
    let status = Status { task_id: view.id, status: view.state, result, error };
    let body = serde_json::to_vec(&status).expect("all its keys are strings");
    (format!("msg_{}", hex::encode(&Sha256::digest(&body)[..16])), body.into())
}

/// How long to wait after attempt number `attempt` (from 1). The wait doubles each time; `jitter` in 0 to 1 spreads it over
/// its upper half, so that what failed together does not come back together.
fn wait(attempt: u32, jitter: f64) -> Duration {
    let full = WAITS.0.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(WAITS.1);
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// A random number in 0 to 1.
fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ErrorCode;

    #[test]
    fn waits_double_and_have_a_longest() {
        assert_eq!(wait(1, 1.0), Duration::from_secs(1));
        assert_eq!(wait(1, 0.0), Duration::from_millis(500));
        assert_eq!(wait(4, 1.0), Duration::from_secs(8));
        assert_eq!(wait(u32::MAX, 1.0), WAITS.1);
    }

    #[test]
    fn the_same_news_has_the_same_name_and_other_news_another() {
        let id = TaskId([7; 16]);
        let error = TaskError { code: ErrorCode::NoFace, message: "none".to_owned(), image: Some(2), details: None };
        let failure = TaskView { id, state: State::Failure, outcome: Some(Outcome::Failure(error)) };
        let (name, body) = message(&failure);
        let text = r#"{"task_id":"face_verification_07070707070707070707070707070707","status":"FAILURE","error":{"code":"no_face","message":"none","image":2}}"#;
        assert_eq!(body, text.as_bytes());
        assert_eq!(message(&failure).0, name);
        let outcome = Some(Outcome::Success(serde_json::json!({ "verified": true, "threshold": 1.06 })));
        let (other, body) = message(&TaskView { id, state: State::Success, outcome });
        assert!(other != name && body.ends_with(br#""status":"SUCCESS","result":{"verified":true,"threshold":1.06}}"#));
    }
}
