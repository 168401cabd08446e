//! Does tasks: claim, analyse both photographs, score, settle.
//!
//! Owns a task's life between claim and settle: heartbeat, time limit, retries. Must never know HTTP or who asked, nor the
//! edge; they meet in the queue.
//!
//! # Layout
//!
//! - `retry`: when to try again, a pure function.

mod retry;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::pipeline::cache::Cache;
use crate::pipeline::{Failed, Pipeline};
use crate::queue::{Claim, Lease, LeaseError, Queue};
use crate::runtime::Cancel;
use crate::runtime::switch::Switch;
use crate::task::{ErrorCode, Outcome, Payload, TaskError};
use crate::telemetry::{Counted, TraceContext, metrics};

/// How tasks are done.
#[derive(Clone)]
pub(crate) struct Config {
    /// Tasks at once.
    pub(crate) concurrency: usize,
    /// How long one try of a task may take.
    pub(crate) task_timeout: Duration,
    /// Tries after the first, when the host or a component failed.
    pub(crate) retries: u32,
    /// How long tasks may go on after the host was asked to stop; then they are given back to the queue.
    pub(crate) drain_timeout: Duration,
    /// Analyses of photographs that came before; `None`: each photograph is analysed.
    pub(crate) cache: Option<Arc<Cache>>,
}

/// How long one look into the queue waits for a task.
const CLAIM_WAIT: Duration = Duration::from_secs(20);

/// Works until `shutdown` is cancelled, then ends or gives back what it holds.
pub(crate) async fn run(
    config: Config,
    queue: Arc<dyn Queue>,
    pipelines: Arc<Switch<Pipeline>>,
    shutdown: CancellationToken,
) {
    metrics().workers.set(i64::try_from(config.concurrency).unwrap_or(i64::MAX));
    let gives_up = CancellationToken::new();
    let mut hands = JoinSet::new();
    for _ in 0..config.concurrency {
        let (queue, pipelines) = (Arc::clone(&queue), Arc::clone(&pipelines));
        hands.spawn(work(config.clone(), queue, pipelines, shutdown.clone(), gives_up.clone()));
    }
    shutdown.cancelled().await;
    let drained =
        tokio::time::timeout(config.drain_timeout, async { while hands.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(tasks = hands.len(), "tasks go back to the queue: they went on past server.drain_timeout");
        gives_up.cancel();
        while hands.join_next().await.is_some() {}
    }
}

async fn work(
    config: Config,
    queue: Arc<dyn Queue>,
    pipelines: Arc<Switch<Pipeline>>,
    shutdown: CancellationToken,
    gives_up: CancellationToken,
) {
    let mut failures = 0;
    while !shutdown.is_cancelled() {
        let claimed = tokio::select! {
            claimed = queue.claim(CLAIM_WAIT) => claimed,
            () = shutdown.cancelled() => break,
        };
        match claimed {
            Ok(None) => failures = 0,
            Ok(Some(claim)) => {
                failures = 0;
                let (lease, id) = (claim.lease, claim.lease.id);
                let task = tokio::spawn(attempt(
                    config.clone(),
                    Arc::clone(&queue),
                    Arc::clone(&pipelines),
                    claim,
                    gives_up.clone(),
                ));
                if let Err(error) = task.await {
                    // The lease runs out and the task is delivered again.
                    tracing::error!(%id, delivery = lease.delivery, %error, "a try of a task ended in a panic of the host");
                }
            }
            Err(error) => {
                let pause = retry::outage(failures, retry::jitter());
                tracing::warn!(%error, ?pause, "no task can be claimed");
                failures += 1;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }
}

/// One try of one task, from claim to settle.
async fn attempt(
    config: Config,
    queue: Arc<dyn Queue>,
    pipelines: Arc<Switch<Pipeline>>,
    claim: Claim,
    gives_up: CancellationToken,
) {
    let Claim { lease, retries, payload, age, trace } = claim;
    if lease.delivery == 1 {
        drop(trace.span_of_the_last("queue wait", age));
    }
    let mut span = trace.consumer("task");
    if span.is_traced() {
        span.set("visavis.task.id", lease.id.to_string());
        span.set("visavis.task.delivery", i64::from(lease.delivery));
    }
    let trace = span.context();
    let _working = Counted::in_gauge(&metrics().working);
    let start = Instant::now();
    if lease.delivery == 1 {
        metrics().queue_wait_seconds.observe(age.as_secs_f64());
    }
    let cancel = Cancel::default();
    let work = verify(&config, &pipelines, payload, cancel.clone(), &trace);
    tokio::pin!(work);
    let result = tokio::select! {
        result = &mut work => Some(result),
        () = hold(queue.as_ref(), lease) => None,
        () = gives_up.cancelled() => {
            metrics().interruptions.of(["drained"]).inc();
            span.fail("drained");
            cancel.cancel();
            let _ = work.await;
            if let Err(error) = queue.release(lease).await {
                tracing::warn!(id = %lease.id, %error, "a task was not given back; it is delivered again when its lease runs out");
            }
            return;
        }
    };
    let Some(result) = result else {
        metrics().interruptions.of(["lost"]).inc();
        span.fail("lost");
        tracing::info!(id = %lease.id, "the task was taken from this worker: revoked, or its lease ran out");
        cancel.cancel();
        // Its threads still use the photographs; they see the switch within a tick.
        let _ = work.await;
        return;
    };
    metrics().attempt_seconds.observe(start.elapsed().as_secs_f64());
    let end = match result {
        Ok(result) => End::Settle(Outcome::Success(result)),
        Err(Failed::Final(error)) => End::Settle(Outcome::Failure(error)),
        Err(Failed::Again(error)) => match retry::delay(retries, config.retries, retry::jitter()) {
            Some(delay) => {
                metrics().retries.of([error.code.as_str()]).inc();
                span.fail(error.code.as_str());
                tracing::warn!(id = %lease.id, retries, ?delay, reason = error.message, "a try failed; it is repeated");
                report(lease, queue.retry(lease, delay, error).await);
                return;
            }
            None => End::Bury(error),
        },
        Err(Failed::Cancelled) => End::Settle(Outcome::Failure(TaskError {
            code: ErrorCode::ProcessingFailed,
            message: "the task was stopped by the host; send it again".into(),
            image: None,
            details: None,
        })),
    };
    let ended = match &end {
        End::Settle(Outcome::Success(_)) => "success",
        End::Settle(Outcome::Failure(error)) | End::Bury(error) => error.code.as_str(),
    };
    let dead = matches!(end, End::Bury(_));
    // What is no photograph's fault is told, with the component that it is the fault of.
    let reason = match &end {
        End::Settle(Outcome::Failure(error)) | End::Bury(error)
            if [ErrorCode::ProcessingFailed, ErrorCode::Timeout].contains(&error.code) =>
        {
            Some(error.message.as_str())
        }
        _ => None,
    };
    tracing::info!(id = %lease.id, ended, dead, reason, waited_ms = age.as_millis(), "task ended");
    let (outcome, code) = match &end {
        End::Settle(Outcome::Success(_)) => ("success", "none"),
        End::Settle(Outcome::Failure(error)) => ("failure", error.code.as_str()),
        End::Bury(error) => ("dead", error.code.as_str()),
    };
    span.set("visavis.task.outcome", outcome);
    match outcome {
        "dead" => span.fail(code),
        // Not the service's fault, as a rule.
        "failure" => span.set("error.type", code),
        _ => {}
    }
    let settle = trace.span("settle");
    let ended = conclude(queue.as_ref(), lease, end).await;
    drop(settle);
    if ended {
        metrics().tasks.of([outcome, code]).inc();
        metrics().task_seconds.of([outcome]).observe((age + start.elapsed()).as_secs_f64());
    }
}

/// How a try ends its task.
enum End {
    /// For good.
    Settle(Outcome),
    /// The host or a component failed too often: an operator may mend that and open the task again.
    Bury(TaskError),
}

/// Does a task on the generation that is picked for it. What a canary cannot do is done again by the generation that serves,
/// so that nobody suffers from a trial.
async fn verify(
    config: &Config,
    pipelines: &Switch<Pipeline>,
    payload: Payload,
    cancel: Cancel,
    trace: &TraceContext,
) -> Result<Value, Failed> {
    let pick = pipelines.pick();
    // A comparison of how long they take must not be one of what is in the cache.
    let cache = config.cache.as_ref().filter(|_| !pick.on_trial());
    let spare = pick.canary.then(|| payload.clone());
    let start = Instant::now();
    let work = Arc::clone(&pick.work).verify(payload, cache, start + config.task_timeout, cancel.clone(), trace);
    tokio::pin!(work);
    let result = tokio::select! {
        result = &mut work => result,
        () = pick.retired.cancelled() => {
            cancel.cancel();
            // Its threads still use the photographs; they see the switch within a tick.
            let _ = work.await;
            return Err(Failed::replaced());
        }
    };
    match (result, spare) {
        (Err(Failed::Cancelled), _) => Err(Failed::Cancelled),
        (Err(failed), Some(payload)) => {
            let took = start.elapsed();
            let again = Instant::now() + config.task_timeout;
            let proven = pipelines.serving().verify(payload, None, again, cancel, trace).await;
            let alike = matches!(&proven, Err(proven) if proven.code() == failed.code());
            if !alike {
                tracing::warn!(?failed, "a canary failed on a task; the generation that serves has done it");
            }
            pipelines.observe(&pick, alike.then_some(took));
            proven
        }
        (result, _) => {
            pipelines.observe(&pick, Some(start.elapsed()));
            result
        }
    }
}

/// Renews the lease until it is lost.
async fn hold(queue: &dyn Queue, lease: Lease) {
    let beat = async {
        let mut interval = tokio::time::interval(queue.lease() / 3);
        interval.tick().await;
        loop {
            interval.tick().await;
            match queue.extend(lease).await {
                Ok(()) => {}
                Err(LeaseError::Lost) => return,
                Err(LeaseError::Unavailable(error)) => {
                    tracing::warn!(id = %lease.id, %error, "a lease was not renewed")
                }
            }
        }
    };
    tokio::select! {
        () = beat => {}
        () = queue.lost(lease) => {}
    }
}

/// Ends a task, trying again while the queue is out of reach and the lease may still be held. Whether it was this that ended it.
async fn conclude(queue: &dyn Queue, lease: Lease, end: End) -> bool {
    let give_up = Instant::now() + queue.lease();
    let mut failures = 0;
    loop {
        let written = match &end {
            End::Settle(outcome) => queue.settle(lease, outcome.clone()).await,
            End::Bury(error) => queue.bury(lease, error.clone()).await,
        };
        match written {
            Err(LeaseError::Unavailable(error)) if Instant::now() < give_up => {
                tracing::warn!(id = %lease.id, %error, "a result was not stored; trying again");
                tokio::time::sleep(retry::outage(failures, retry::jitter())).await;
                failures += 1;
            }
            ended => {
                let done = ended.is_ok();
                report(lease, ended);
                return done;
            }
        }
    }
}

fn report(lease: Lease, ended: Result<(), LeaseError>) {
    match ended {
        Ok(()) => {}
        Err(LeaseError::Lost) => tracing::info!(id = %lease.id, "the result is not wanted any more"),
        Err(LeaseError::Unavailable(error)) => {
            tracing::error!(id = %lease.id, %error, "the queue is out of reach; the task is delivered again later");
        }
    }
}
