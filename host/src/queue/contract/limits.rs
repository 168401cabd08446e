//! Lengths, numbers of tries, times-to-live, idempotency keys.

use std::time::Duration;

use super::{LIMITS, Limits, Rig, claim, counts, error, failure, payload, state, submit, success};
use crate::queue::{Queue, Submission, SubmitError};
use crate::task::{ErrorCode, State, TaskId};

const MOMENT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(24 * 3600);

async fn submit_with(queue: &dyn Queue, key: &str, seed: u8) -> Result<TaskId, SubmitError> {
    queue.submit(Submission { idempotency_key: Some(key.to_owned()), ..Submission::new(payload(seed)) }).await
}

pub(crate) async fn a_full_queue_refuses_until_there_is_room<R: Rig>() {
    let rig = R::new(Limits { max_length: 3, ..LIMITS }).await;
    let queue = rig.queue();
    let first = submit_with(queue, "key", 0).await.unwrap();
    submit(queue, 1).await;
    submit(queue, 2).await;
    for key in [None, Some("other".to_owned())] {
        match queue.submit(Submission { idempotency_key: key, ..Submission::new(payload(3)) }).await {
            Err(SubmitError::Full { retry_after }) => {
                assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(submit_with(queue, "key", 0).await.unwrap(), first, "what was accepted before is no news");
    assert!(matches!(submit_with(queue, "key", 1).await, Err(SubmitError::Conflict)));

    let lease = claim(queue).await.lease;
    submit(queue, 3).await;
    // A task that comes back was accepted before: it may exceed the length.
    queue.release(lease).await.unwrap();
    assert_eq!(counts(queue).await, [4, 0, 0, 0]);
}

/// Submits until it is refused, and yields how many were accepted.
async fn fill(queue: &dyn Queue) -> usize {
    for accepted in 0.. {
        match queue.submit(Submission::new(payload(1))).await {
            Ok(_) => {}
            Err(SubmitError::Overloaded { retry_after }) => {
                assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
                return accepted;
            }
            other => panic!("{other:?}"),
        }
    }
    unreachable!("numbers do not end")
}

/// Does tasks, one after the other, until none waits.
async fn drain<R: Rig>(rig: &R, each: Duration) -> usize {
    let mut done = 0;
    while let Some(claim) = rig.queue().claim(Duration::ZERO).await.unwrap() {
        rig.pass(each).await;
        rig.queue().settle(claim.lease, success(1)).await.unwrap();
        done += 1;
    }
    done
}

pub(crate) async fn what_would_end_too_late_is_refused<R: Rig>() {
    let (max_length, max_age) = (1000, Some(Duration::from_secs(10)));
    let patient = Limits { max_length, max_age, lease: LONG, result_ttl: LONG, payload_ttl: LONG, ..LIMITS };
    let rig = R::new(patient).await;
    let queue = rig.queue();
    let first = submit_with(queue, "key", 0).await.unwrap();
    // One a second is expected of a queue that has done nothing yet, and four fifths of the age are given away.
    let cold = fill(queue).await;
    assert!((5..=8).contains(&cold), "{cold}");
    assert_eq!(submit_with(queue, "key", 0).await.unwrap(), first, "what was accepted before is no news");
    // Ten a second, so that it is 80 in time.
    assert_eq!(drain(&rig, Duration::from_millis(100)).await, cold + 1);
    for _ in 0..3 {
        fill(queue).await;
        drain(&rig, Duration::from_millis(100)).await;
    }
    rig.pass(Duration::from_secs(3600)).await;
    let warm = fill(queue).await;
    assert!((65..=90).contains(&warm), "{warm} after a quiet hour");
    // Nobody works.
    let lease = claim(queue).await.lease;
    rig.pass(Duration::from_secs(60)).await;
    assert_eq!(fill(queue).await, 0);
    queue.settle(lease, success(1)).await.unwrap();
    // Slower work fills a shorter line; whoever was accepted is done all the same.
    assert_eq!(drain(&rig, Duration::from_millis(500)).await, warm - 1);
    let slow = fill(queue).await;
    assert!((12..=20).contains(&slow), "{slow}");
    assert_eq!(drain(&rig, Duration::from_secs(60)).await, slow);
    assert_eq!(fill(queue).await, 1, "an empty line takes one");
}

async fn submit_as(queue: &dyn Queue, client: Option<&str>, key: Option<&str>) -> Result<TaskId, SubmitError> {
    let [idempotency_key, client] = [key, client].map(|text| text.map(str::to_owned));
    queue.submit(Submission { idempotency_key, client, ..Submission::new(payload(1)) }).await
}

fn assert_crowded(result: &Result<TaskId, SubmitError>) {
    match result {
        Err(SubmitError::TooManyWaiting { retry_after }) => {
            assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_client_with_too_many_waiting_is_refused_and_others_are_not<R: Rig>() {
    let rig = R::new(Limits { max_length: 6, max_waiting_per_client: Some(2), ..LIMITS }).await;
    let queue = rig.queue();
    let first = submit_as(queue, Some("a"), Some("key")).await.unwrap();
    submit_as(queue, Some("a"), None).await.unwrap();
    for key in [None, Some("other")] {
        assert_crowded(&submit_as(queue, Some("a"), key).await);
    }
    assert_eq!(submit_as(queue, Some("a"), Some("key")).await.unwrap(), first, "what was accepted before is no news");
    submit_as(queue, Some("b"), None).await.unwrap();
    for _ in 0..2 {
        submit_as(queue, None, None).await.unwrap();
    }
    // What runs does not wait.
    let lease = claim(queue).await.lease;
    assert_eq!(lease.id, first);
    submit_as(queue, Some("a"), None).await.unwrap();
    assert_crowded(&submit_as(queue, Some("a"), None).await);
    submit_as(queue, Some("b"), None).await.unwrap();
    assert!(
        matches!(submit_as(queue, Some("a"), None).await, Err(SubmitError::Full { .. })),
        "there is no room at all"
    );
    assert_eq!(counts(queue).await, [6, 1, 0, 0]);
    queue.settle(lease, success(1)).await.unwrap();
}

pub(crate) async fn what_a_client_has_waiting_survives_a_crash_and_counts_what_comes_back<R: Rig>() {
    let mut rig = R::new(Limits { max_waiting_per_client: Some(2), ..LIMITS }).await;
    for _ in 0..2 {
        submit_as(rig.queue(), Some("a"), None).await.unwrap();
    }
    rig = rig.crash().await;
    assert_crowded(&submit_as(rig.queue(), Some("a"), None).await);
    let lease = claim(rig.queue()).await.lease;
    let revoked = submit_as(rig.queue(), Some("a"), None).await.unwrap();
    rig.queue().retry(lease, Duration::from_millis(100), error("no luck")).await.unwrap();
    // Three wait now: one that comes back was accepted before.
    rig.queue().revoke(revoked).await.unwrap();
    assert_crowded(&submit_as(rig.queue(), Some("a"), None).await);
    rig.pass(Duration::from_millis(100)).await;
    let again = claim(rig.queue()).await.lease;
    rig.queue().bury(again, error("beyond help")).await.unwrap();
    let other = submit_as(rig.queue(), Some("a"), None).await.unwrap();
    rig.queue().redeliver(again.id).await.unwrap();
    rig.queue().revoke(other).await.unwrap();
    assert_crowded(&submit_as(rig.queue(), Some("a"), None).await);
    rig.pass(LIMITS.payload_ttl).await;
    for _ in 0..2 {
        submit_as(rig.queue(), Some("a"), None).await.unwrap();
    }
    assert_crowded(&submit_as(rig.queue(), Some("a"), None).await);
}

pub(crate) async fn too_many_lost_leases_end_a_task<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    for _ in 0..LIMITS.max_deliveries {
        assert!(!state(queue, id).await.is_final());
        claim(queue).await;
        rig.pass(LIMITS.lease).await;
    }
    let error = failure(queue, id).await;
    assert_eq!(error.code, ErrorCode::ProcessingFailed);
    assert!(error.message.contains('3'), "{error:?}");
    assert_eq!(counts(queue).await, [0, 0, 1, 1]);
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    rig.pass(LIMITS.result_ttl).await;
    assert_eq!(counts(queue).await, [0, 0, 0, 0]);
}

pub(crate) async fn too_many_retries_end_a_task<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    for retries in 0..LIMITS.max_deliveries {
        let claim = claim(queue).await;
        assert_eq!(claim.retries, retries);
        let message = if retries + 1 < LIMITS.max_deliveries { "a try" } else { "the last try" };
        queue.retry(claim.lease, Duration::ZERO, error(message)).await.unwrap();
    }
    let error = failure(queue, id).await;
    assert_eq!(error.code, ErrorCode::ProcessingFailed);
    assert!(error.message.contains('3') && error.message.contains("the last try"), "{error:?}");
    assert_eq!(counts(queue).await, [0, 0, 1, 1]);
}

pub(crate) async fn too_many_crashes_end_a_task<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let id = submit(rig.queue(), 1).await;
    for _ in 0..LIMITS.max_deliveries {
        claim(rig.queue()).await;
        rig = rig.crash().await;
    }
    assert_eq!(failure(rig.queue(), id).await.code, ErrorCode::ProcessingFailed);
    rig = rig.crash().await;
    assert_eq!(counts(rig.queue()).await, [0, 0, 1, 1]);
}

pub(crate) async fn results_are_forgotten_in_time<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let done = submit(rig.queue(), 1).await;
    let lease = claim(rig.queue()).await.lease;
    rig.queue().settle(lease, success(1)).await.unwrap();
    let revoked = submit(rig.queue(), 2).await;
    rig.queue().revoke(revoked).await.unwrap();
    rig.pass(LIMITS.result_ttl / 2).await;
    rig = rig.crash().await;
    for id in [done, revoked] {
        assert!(state(rig.queue(), id).await.is_final());
    }
    rig.pass(LIMITS.result_ttl / 2).await;
    for _ in 0..2 {
        for id in [done, revoked] {
            assert_eq!(rig.queue().status(id, MOMENT).await.unwrap(), None);
        }
        assert_eq!(counts(rig.queue()).await, [0, 0, 0, 0]);
        rig = rig.crash().await;
    }
}

pub(crate) async fn a_task_that_waits_for_too_long_ends<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    rig.pass(LIMITS.payload_ttl / 2).await;
    assert_eq!(state(queue, id).await, State::Pending);
    rig.pass(LIMITS.payload_ttl / 2).await;
    assert_eq!(failure(queue, id).await.code, ErrorCode::Timeout);
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    assert_eq!(counts(queue).await, [0, 0, 1, 0]);
}

pub(crate) async fn a_task_that_waits_for_too_long_between_tries_ends<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    queue.retry(lease, LIMITS.payload_ttl * 3, error("no luck")).await.unwrap();
    rig.pass(LIMITS.payload_ttl).await;
    assert_eq!(failure(queue, id).await.code, ErrorCode::Timeout);
}

pub(crate) async fn an_idempotency_key_yields_the_first_task<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let first = submit_with(queue, "one", 1).await.unwrap();
    let other = submit_with(queue, "two", 1).await.unwrap();
    assert_ne!(first, other);
    assert_eq!(submit_with(queue, "one", 1).await.unwrap(), first);
    assert_eq!(counts(queue).await, [2, 0, 0, 0]);
    assert!(matches!(submit_with(queue, "one", 2).await, Err(SubmitError::Conflict)));

    // The wishes belong to the content.
    let mut wishful = payload(1);
    wishful.wishes.threshold = Some(0.5);
    let again = Submission { idempotency_key: Some("one".to_owned()), ..Submission::new(wishful) };
    assert!(matches!(queue.submit(again).await, Err(SubmitError::Conflict)));

    let lease = claim(queue).await.lease;
    queue.settle(lease, success(1)).await.unwrap();
    assert_eq!(submit_with(queue, "one", 1).await.unwrap(), first);
    queue.revoke(other).await.unwrap();
    assert_eq!(submit_with(queue, "two", 1).await.unwrap(), other);

    // Many at once are still one task.
    let (a, b, c) = tokio::join!(
        submit_with(queue, "at once", 3),
        submit_with(queue, "at once", 3),
        submit_with(queue, "at once", 4)
    );
    let mut ids: Vec<_> = [a, b, c].into_iter().filter_map(Result::ok).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(counts(queue).await, [1, 0, 2, 0]);
}

pub(crate) async fn an_idempotency_key_survives_a_crash_and_is_forgotten_with_its_task<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let first = submit_with(rig.queue(), "key", 1).await.unwrap();
    rig = rig.crash().await;
    assert_eq!(submit_with(rig.queue(), "key", 1).await.unwrap(), first);
    let lease = claim(rig.queue()).await.lease;
    rig.queue().settle(lease, success(1)).await.unwrap();
    rig = rig.crash().await;
    assert!(matches!(submit_with(rig.queue(), "key", 2).await, Err(SubmitError::Conflict)));
    rig.pass(LIMITS.result_ttl).await;
    let second = submit_with(rig.queue(), "key", 2).await.unwrap();
    assert_ne!(second, first);
    assert_eq!(state(rig.queue(), second).await, State::Pending);
}
