//! The queue, as a gateway sees it: the host's side of `wit/tasks.wit` and its limits.
//!
//! Owns the bounds on what a gateway may hand in, and on what it may see and do for whom. Must never know HTTP.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::bindings::{limits, tasks};
use super::seat::{Seat, Stage};
use crate::auth::Caller;
use crate::queue::{Queue, RevokeError, Submission, SubmitError, Unavailable};
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
    /// What the client may do and see. It goes beside the gateway as well.
    pub(crate) caller: Caller,
    /// Where clients may have the ends of their tasks told.
    pub(crate) callbacks: Arc<Allow>,
    /// What goes on with the request in its trace.
    pub(crate) trace: TraceContext,
    /// The largest request body, bytes.
    pub(crate) body_limit: u64,
    /// Cancelled when the host stops: then nobody is kept waiting.
    pub(crate) shutdown: CancellationToken,
    /// What the request takes, for as long as anything is left of it.
    pub(crate) seat: Option<Arc<Seat>>,
    /// What this request has handed in.
    handed_in: Vec<TaskId>,
    /// Whether the log has been told that the queue is out of reach: a guest may ask without end.
    told: bool,
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
        // Before any wait, so that the time tells nothing of another's task.
        if !self.may_see(id).await.map_err(|_| tasks::LookupError::Unavailable(UNAVAILABLE_RETRY))? {
            return Err(tasks::LookupError::Unknown);
        }
        let wait = Duration::from_millis(wait_ms.into()).min(LONGEST_WAIT);
        let looked_up = match wait {
            Duration::ZERO => self.queue.status(id, wait).await,
            _ => self.wait_for(id, wait).await,
        };
        match looked_up {
            Ok(Some(view)) => Ok(task(view)),
            Ok(None) => Err(tasks::LookupError::Unknown),
            Err(error) => {
                self.tell(&error, "a task's status could not be read");
                Err(tasks::LookupError::Unavailable(UNAVAILABLE_RETRY))
            }
        }
    }

    async fn revoke(&mut self, id: String) -> Result<tasks::Task, tasks::RevokeError> {
        let id: TaskId = id.parse().map_err(|_| tasks::RevokeError::Unknown)?;
        if !self.may_see(id).await.map_err(|_| tasks::RevokeError::Unavailable(UNAVAILABLE_RETRY))? {
            return Err(tasks::RevokeError::Unknown);
        }
        match self.queue.revoke(id).await {
            Ok(view) => Ok(task(view)),
            Err(RevokeError::Unknown) => Err(tasks::RevokeError::Unknown),
            Err(RevokeError::Ended(view)) => Err(tasks::RevokeError::Ended(task(*view))),
            Err(RevokeError::Unavailable(error)) => {
                self.tell(&error, "a task was not revoked");
                Err(tasks::RevokeError::Unavailable(UNAVAILABLE_RETRY))
            }
        }
    }
}

/// What became of a submission, for the metrics.
fn outcome<T>(submitted: &Result<T, tasks::SubmitError>) -> &'static str {
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
    /// The desk of a listener, for a client of no address that is traced nowhere; each request has a copy of its own.
    pub(crate) fn new(
        queue: Arc<dyn Queue>,
        caller: Caller,
        callbacks: Arc<Allow>,
        body_limit: u64,
        shutdown: CancellationToken,
    ) -> Self {
        let trace = TraceContext::default();
        let (client, seat, handed_in) = (None, None, Vec::new());
        Self { queue, client, caller, callbacks, trace, body_limit, shutdown, seat, handed_in, told: false }
    }

    /// The same desk for one request.
    pub(crate) fn of(&self, client: String, caller: Caller, trace: TraceContext, seat: Arc<Seat>) -> Self {
        Self { client: Some(client), caller, trace, seat: Some(seat), ..self.clone() }
    }

    /// The same desk, in a trace of its own.
    pub(crate) fn traced(&self, trace: TraceContext) -> Self {
        Self { trace, ..self.clone() }
    }

    /// Whether there is such a task as far as the caller may know.
    async fn may_see(&mut self, id: TaskId) -> Result<bool, Unavailable> {
        if self.caller.owns_all() {
            return Ok(true);
        }
        let Some(owner) = self.caller.owner().filter(|_| self.caller.may_look() || self.handed_in.contains(&id)) else {
            return Ok(false);
        };
        let known = self.queue.belongs_to(id, owner).await;
        if let Err(error) = &known {
            self.tell(error, "whose a task is could not be read");
        }
        known
    }

    /// A task when it ends, when that time has passed, or when nobody may be kept waiting any more.
    async fn wait_for(&self, id: TaskId, wait: Duration) -> Result<Option<TaskView>, Unavailable> {
        let hurried = async {
            match &self.seat {
                Some(seat) => {
                    seat.enter(Stage::Waiting);
                    seat.hurried().cancelled().await;
                }
                None => std::future::pending().await,
            }
        };
        let looked_up = tokio::select! {
            looked_up = self.queue.status(id, wait) => Some(looked_up),
            () = self.shutdown.cancelled() => None,
            () = hurried => None,
        };
        if let Some(seat) = &self.seat {
            seat.enter(Stage::Computing);
        }
        match looked_up {
            Some(looked_up) => looked_up,
            None => self.queue.status(id, Duration::ZERO).await,
        }
    }

    /// Says once that the queue is out of reach.
    fn tell(&mut self, error: &Unavailable, what: &str) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!(%error, "{what}");
        }
    }

    /// Accepts a submission or says why not, which is counted and traced.
    async fn accept(
        &mut self,
        submission: tasks::Submission,
        callback: Option<String>,
    ) -> Result<String, tasks::SubmitError> {
        let mut span = self.trace.producer("submit");
        let submitted = self.hand_in(submission, callback, span.context()).await;
        metrics().submissions.of([outcome(&submitted)]).inc();
        let submitted = submitted.map(|id| {
            self.handed_in.push(id);
            id.to_string()
        });
        match &submitted {
            Ok(id) if span.is_traced() => span.set("visavis.task.id", id.clone()),
            Ok(_) => {}
            Err(_) => span.fail(outcome(&submitted)),
        }
        submitted
    }

    /// Checks a submission and hands it to the queue.
    async fn hand_in(
        &mut self,
        submission: tasks::Submission,
        callback: Option<String>,
        trace: TraceContext,
    ) -> Result<TaskId, tasks::SubmitError> {
        if !self.caller.may_submit() {
            let why = "this request shows no API key with the scope verify";
            return Err(tasks::SubmitError::Invalid(why.to_owned()));
        }
        let (first, second) = submission.photographs;
        let bytes = (first.len() + second.len()) as u64;
        if bytes > self.body_limit {
            return Err(tasks::SubmitError::Invalid(format!(
                "the photographs have {bytes} bytes, and no request may have more than {} (server.body_limit)",
                self.body_limit
            )));
        }
        let payload =
            Payload { photographs: [first, second], wishes: wishes(submission.threshold, submission.non_frontal)? };
        if let Some(key) = &submission.idempotency_key
            && !(1..=LONGEST_KEY).contains(&key.len())
        {
            return Err(tasks::SubmitError::Invalid(format!("Idempotency-Key must have 1 to {LONGEST_KEY} bytes")));
        }
        let (idempotency_key, owner) = (submission.idempotency_key, self.caller.owner().map(str::to_owned));
        // Whoever has a key counts by it, from wherever the requests come. No address begins like that.
        let (client, max_waiting) = match &self.caller {
            Caller::Holder(record) => (Some(format!("key {}", record.id)), record.max_waiting),
            Caller::Anyone | Caller::Stranger => (self.client.clone(), None),
        };
        let submission = Submission { payload, idempotency_key, client, max_waiting, owner, callback, trace };
        match self.queue.submit(submission).await {
            Ok(id) => Ok(id),
            Err(SubmitError::Full { retry_after }) => Err(tasks::SubmitError::Full(seconds(retry_after))),
            Err(SubmitError::Overloaded { retry_after }) => Err(tasks::SubmitError::Overloaded(seconds(retry_after))),
            Err(SubmitError::TooManyWaiting { retry_after }) => {
                Err(tasks::SubmitError::TooManyWaiting(seconds(retry_after)))
            }
            Err(SubmitError::Conflict) => Err(tasks::SubmitError::Conflict),
            Err(SubmitError::Unavailable(error)) => {
                self.tell(&error, "a task was not accepted");
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
    use super::tasks::Host;
    use super::*;
    use crate::auth::{Keyring, Keys, New, Scope};
    use crate::queue::embedded::Embedded;

    fn submission(seed: u8) -> tasks::Submission {
        let photographs = (vec![seed], vec![seed]);
        tasks::Submission { photographs, threshold: None, non_frontal: None, idempotency_key: None }
    }

    /// The desk of one request by this caller.
    fn desk(queue: &Arc<Embedded>, caller: Caller) -> Desk {
        let queue: Arc<dyn Queue> = Arc::clone(queue) as _;
        Desk::new(queue, caller, Arc::default(), 1000, CancellationToken::new())
    }

    /// Callers whose keys have these scopes.
    fn holders<const N: usize>(scopes: [&[Scope]; N]) -> [Caller; N] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let mut names = 0..;
        let keys = scopes.map(|scopes| {
            let (name, scopes) = (format!("{:?}", names.next()), scopes.to_vec());
            let new = New { name, scopes, per_minute: None, max_waiting: None, lifetime: None };
            Keys::add(&path, new, 1_800_000_000).unwrap().key
        });
        let ring = Keyring::open(&path).unwrap();
        keys.map(|key| ring.admit(Some(&key)).unwrap())
    }

    /// Whatever a gateway asks for, it gets no more than its caller may do: whether it was asked for that is not believed.
    #[tokio::test]
    async fn a_gateway_cannot_do_more_than_its_caller_may() {
        let queue = Arc::new(Embedded::in_memory().unwrap());
        let [both, other, verify, status, admin] = holders([
            &[Scope::Verify, Scope::Status],
            &[Scope::Verify, Scope::Status],
            &[Scope::Verify],
            &[Scope::Status],
            &[Scope::Admin],
        ]);
        let id = desk(&queue, both.clone()).submit(submission(1)).await.unwrap();
        let nobodys = desk(&queue, Caller::Anyone).submit(submission(2)).await.unwrap();
        for caller in [Caller::Stranger, status.clone(), admin.clone()] {
            let refused = desk(&queue, caller).submit(submission(3)).await;
            assert!(matches!(refused, Err(tasks::SubmitError::Invalid(why)) if why.contains("verify")));
        }
        for (caller, sees, sees_nobodys) in [
            (&Caller::Stranger, false, false),
            (&both, true, false),
            (&other, false, false),
            (&verify, false, false),
            (&status, false, false),
            (&admin, true, true),
            (&Caller::Anyone, true, true),
        ] {
            for (id, sees) in [(&id, sees), (&nobodys, sees_nobodys)] {
                let mut request = desk(&queue, caller.clone());
                let look = request.status(id.clone(), if sees { 0 } else { 30_000 });
                let seen = tokio::time::timeout(Duration::from_secs(20), look);
                let seen = seen.await.expect("who may not see a task is not kept waiting for it");
                assert_eq!(seen.is_ok(), sees, "{caller:?}");
                if !sees {
                    assert!(matches!(seen, Err(tasks::LookupError::Unknown)));
                    let refused = desk(&queue, caller.clone()).revoke(id.clone()).await;
                    assert!(matches!(refused, Err(tasks::RevokeError::Unknown)), "{caller:?}");
                }
            }
        }
        // Who may only hand in sees what the same request has handed in, and nothing later.
        let mut request = desk(&queue, verify.clone());
        let own = request.submit(submission(4)).await.unwrap();
        assert!(request.status(own.clone(), 0).await.is_ok() && request.status(id.clone(), 0).await.is_err());
        assert!(desk(&queue, verify).status(own, 0).await.is_err());
        assert!(desk(&queue, both).revoke(id).await.is_ok());
        assert!(desk(&queue, admin).revoke(nobodys).await.is_ok());
    }

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
