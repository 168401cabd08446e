//! The queue, as a gateway sees it: the host's side of `wit/tasks.wit` and its limits.
//!
//! Owns the bounds on what a gateway may hand in. Must never know HTTP.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bindings::{limits, tasks};
use crate::queue::{Queue, RevokeError, Submission, SubmitError};
use crate::task::{self, Outcome, Payload, State, TaskId, TaskView, Wishes};
use crate::telemetry::{TraceContext, metrics};
use crate::webhook::Allow;

/// The longest wait for a task that one call may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// When to try again while the queue is out of reach, seconds.
const UNAVAILABLE_RETRY: u32 = 5;

/// The longest idempotency key, bytes.
const LONGEST_KEY: usize = 256;

/// What a gateway's world imports.
#[derive(Clone)]
pub(crate) struct Desk {
    /// Where tasks go.
    pub(crate) queue: Arc<dyn Queue>,
    /// Who asks, in whatever words tell clients apart. It goes beside the gateway, which could not be trusted with it.
    pub(crate) client: Option<String>,
    /// Where clients may have the ends of their tasks told.
    pub(crate) callbacks: Arc<Allow>,
    /// What goes on with the request in its trace.
    pub(crate) trace: TraceContext,
    /// The largest request body, bytes.
    pub(crate) body_limit: u64,
    /// Cancelled when the host stops: then nobody is kept waiting.
    pub(crate) shutdown: CancellationToken,
}

impl limits::Host for Desk {
    async fn body_limit(&mut self) -> u64 {
        self.body_limit
    }
}

impl tasks::Host for Desk {
    async fn submit(&mut self, submission: tasks::Submission) -> Result<String, tasks::SubmitError> {
        self.accept(submission, None).await
    }

    async fn submit_with_callback(
        &mut self,
        submission: tasks::Submission,
        callback_url: String,
    ) -> Result<String, tasks::SubmitError> {
        self.callbacks.check(&callback_url).map_err(|why| tasks::SubmitError::Invalid(why.to_string()))?;
        self.accept(submission, Some(callback_url)).await
    }

    async fn status(&mut self, id: String, wait_ms: u32) -> Result<tasks::Task, tasks::LookupError> {
        let id: TaskId = id.parse().map_err(|_| tasks::LookupError::Unknown)?;
        let wait = Duration::from_millis(wait_ms.into()).min(LONGEST_WAIT);
        let looked_up = tokio::select! {
            looked_up = self.queue.status(id, wait) => looked_up,
            () = self.shutdown.cancelled() => self.queue.status(id, Duration::ZERO).await,
        };
        match looked_up {
            Ok(Some(view)) => Ok(task(view)),
            Ok(None) => Err(tasks::LookupError::Unknown),
            Err(error) => {
                tracing::error!(%error, "a task's status could not be read");
                Err(tasks::LookupError::Unavailable(UNAVAILABLE_RETRY))
            }
        }
    }

    async fn revoke(&mut self, id: String) -> Result<tasks::Task, tasks::RevokeError> {
        let id: TaskId = id.parse().map_err(|_| tasks::RevokeError::Unknown)?;
        match self.queue.revoke(id).await {
            Ok(view) => Ok(task(view)),
            Err(RevokeError::Unknown) => Err(tasks::RevokeError::Unknown),
            Err(RevokeError::Ended(view)) => Err(tasks::RevokeError::Ended(task(*view))),
            Err(RevokeError::Unavailable(error)) => {
                tracing::error!(%error, "a task was not revoked");
                Err(tasks::RevokeError::Unavailable(UNAVAILABLE_RETRY))
            }
        }
    }
}

/// What became of a submission, for the metrics.
fn outcome(submitted: &Result<String, tasks::SubmitError>) -> &'static str {
    match submitted {
        Ok(_) => "accepted",
        Err(tasks::SubmitError::Invalid(_)) => "invalid",
        Err(tasks::SubmitError::Full(_)) => "full",
        Err(tasks::SubmitError::Overloaded(_)) => "overloaded",
        Err(tasks::SubmitError::TooManyWaiting(_)) => "too_many_waiting",
        Err(tasks::SubmitError::Conflict) => "conflict",
        Err(tasks::SubmitError::Unavailable(_)) => "unavailable",
    }
}

impl Desk {
    /// Accepts a submission or says why not, which is counted and traced.
    async fn accept(
        &self,
        submission: tasks::Submission,
        callback: Option<String>,
    ) -> Result<String, tasks::SubmitError> {
        let mut span = self.trace.producer("submit");
        let submitted = self.hand_in(submission, callback, span.context()).await;
        metrics().submissions.of([outcome(&submitted)]).inc();
        match &submitted {
            Ok(id) if span.is_traced() => span.set("visavis.task.id", id.clone()),
            Ok(_) => {}
            Err(_) => span.fail(outcome(&submitted)),
        }
        submitted
    }

    /// Checks a submission and hands it to the queue.
    async fn hand_in(
        &self,
        submission: tasks::Submission,
        callback: Option<String>,
        trace: TraceContext,
    ) -> Result<String, tasks::SubmitError> {
        let (first, second) = submission.photographs;
        let payload =
            Payload { photographs: [first, second], wishes: wishes(submission.threshold, submission.non_frontal)? };
        if let Some(key) = &submission.idempotency_key
            && !(1..=LONGEST_KEY).contains(&key.len())
        {
            return Err(tasks::SubmitError::Invalid(format!("Idempotency-Key must have 1 to {LONGEST_KEY} bytes")));
        }
        let (idempotency_key, client) = (submission.idempotency_key, self.client.clone());
        let submission = Submission { payload, idempotency_key, client, callback, trace };
        match self.queue.submit(submission).await {
            Ok(id) => Ok(id.to_string()),
            Err(SubmitError::Full { retry_after }) => Err(tasks::SubmitError::Full(seconds(retry_after))),
            Err(SubmitError::Overloaded { retry_after }) => Err(tasks::SubmitError::Overloaded(seconds(retry_after))),
            Err(SubmitError::TooManyWaiting { retry_after }) => {
                Err(tasks::SubmitError::TooManyWaiting(seconds(retry_after)))
            }
            Err(SubmitError::Conflict) => Err(tasks::SubmitError::Conflict),
            Err(SubmitError::Unavailable(error)) => {
                tracing::error!(%error, "a task was not accepted");
                Err(tasks::SubmitError::Unavailable(UNAVAILABLE_RETRY))
            }
        }
    }
}

fn wishes(threshold: Option<f32>, non_frontal: Option<tasks::NonFrontal>) -> Result<Wishes, tasks::SubmitError> {
    if let Some(threshold) = threshold
        && !(0.0..=2.0).contains(&threshold)
    {
        return Err(tasks::SubmitError::Invalid(format!(
            "threshold is {threshold}; it is a Euclidean distance of unit vectors and lies in 0 to 2"
        )));
    }
    let non_frontal = non_frontal.map(|wish| match wish {
        tasks::NonFrontal::Reject => task::NonFrontal::Reject,
        tasks::NonFrontal::Report => task::NonFrontal::Report,
    });
    Ok(Wishes { threshold, non_frontal })
}

fn task(view: TaskView) -> tasks::Task {
    let state = match view.state {
        State::Pending => tasks::State::Pending,
        State::Started => tasks::State::Started,
        State::Retry => tasks::State::Retry,
        State::Success => tasks::State::Success,
        State::Failure => tasks::State::Failure,
        State::Revoked => tasks::State::Revoked,
    };
    let (result, error) = match view.outcome {
        Some(Outcome::Success(result)) => (Some(result.to_string()), None),
        Some(Outcome::Failure(error)) => (
            None,
            Some(tasks::TaskError {
                code: error.code.as_str().to_owned(),
                message: error.message,
                image: error.image,
                details: error.details.map(|details| serde_json::Value::Object(details).to_string()),
            }),
        ),
        None => (None, None),
    };
    tasks::Task { id: view.id.to_string(), state, result, error }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_outside_0_to_2_is_refused_by_name() {
        for threshold in [-0.1, 2.1, f32::NAN, f32::INFINITY] {
            match wishes(Some(threshold), None) {
                Err(tasks::SubmitError::Invalid(text)) => assert!(text.contains("threshold"), "{text}"),
                other => panic!("{threshold}: {other:?}"),
            }
        }
        assert_eq!(wishes(Some(2.0), None).unwrap().threshold, Some(2.0));
    }

    #[test]
    fn a_wait_to_try_again_is_at_least_a_second() {
        assert_eq!(seconds(Duration::from_millis(3)), 1);
        assert_eq!(seconds(Duration::from_secs(7)), 7);
    }
}
