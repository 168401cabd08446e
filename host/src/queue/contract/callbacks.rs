//! The news of ends: when it is due, who may tell it, and until when.

use std::time::Duration;

use super::{LIMITS, Limits, Rig, claim, error, payload, submit, success, view};
use crate::queue::{CALLBACK_LEASE, Callback, CallbackLease, DeadError, LeaseError, Queue, Submission, SubmitError};
use crate::task::{Outcome, State, TaskId};

const MOMENT: Duration = Duration::from_millis(100);
const URL: &str = "https://hooks.example.org/ended?token=secret";

/// Ended tasks are remembered for longer than one attempt may take.
const LASTING: Limits = Limits { result_ttl: CALLBACK_LEASE.saturating_mul(10), ..LIMITS };

fn with_callback(seed: u8) -> Submission {
    Submission { callback: Some(URL.to_owned()), ..Submission::new(payload(seed)) }
}

async fn submit_with_callback(queue: &dyn Queue, seed: u8) -> TaskId {
    queue.submit(with_callback(seed)).await.unwrap()
}

/// A task that has ended just now, and is to be told of.
async fn ended(queue: &dyn Queue, seed: u8) -> TaskId {
    let id = submit_with_callback(queue, seed).await;
    let lease = claim(queue).await.lease;
    assert_eq!(lease.id, id);
    queue.settle(lease, success(seed)).await.unwrap();
    id
}

async fn news(queue: &dyn Queue) -> Option<Callback> {
    queue.claim_callback(Duration::ZERO).await.unwrap()
}

async fn pending(queue: &dyn Queue) -> u64 {
    queue.stats().await.unwrap().webhooks
}

/// Whoever holds nothing can say nothing.
async fn assert_lost(queue: &dyn Queue, lease: CallbackLease) {
    assert!(matches!(queue.retry_callback(lease, MOMENT).await, Err(LeaseError::Lost)), "{lease:?}");
    assert!(matches!(queue.end_callback(lease).await, Err(LeaseError::Lost)), "{lease:?}");
}

pub(crate) async fn an_end_is_told_once_with_what_its_client_may_see<R: Rig>() {
    let rig = R::new(LASTING).await;
    let queue = rig.queue();
    let id = submit_with_callback(queue, 1).await;
    assert!(news(queue).await.is_none(), "it waits");
    let lease = claim(queue).await.lease;
    assert!(news(queue).await.is_none() && pending(queue).await == 0, "it runs");
    queue.settle(lease, success(1)).await.unwrap();
    assert_eq!(pending(queue).await, 1);
    rig.pass(MOMENT).await;

    let told = news(queue).await.expect("it has ended");
    assert_eq!((told.lease, told.url.as_str()), (CallbackLease { id, attempt: 1 }, URL));
    assert_eq!((told.view, told.age), (view(queue, id).await, MOMENT));
    assert!(news(queue).await.is_none(), "one tells it at a time");
    queue.end_callback(told.lease).await.unwrap();
    assert_eq!(pending(queue).await, 0);
    assert_lost(queue, told.lease).await;
    rig.pass(CALLBACK_LEASE).await;
    let rig = rig.crash().await;
    assert!(news(rig.queue()).await.is_none(), "it was told");
    assert_eq!(view(rig.queue(), id).await.outcome, Some(success(1)), "and is remembered");
}

pub(crate) async fn failures_are_told_whoever_ends_the_task_and_revocations_are_not<R: Rig>() {
    let rig = R::new(LASTING).await;
    let queue = rig.queue();
    let failed = submit_with_callback(queue, 1).await;
    let lease = claim(queue).await.lease;
    queue.settle(lease, Outcome::Failure(error("no face"))).await.unwrap();
    rig.pass(MOMENT).await;
    let buried = submit_with_callback(queue, 2).await;
    let lease = claim(queue).await.lease;
    queue.bury(lease, error("beyond help")).await.unwrap();
    rig.pass(MOMENT).await;
    // Nobody is asked to tell of these: one was taken back by its client, the other's left no address.
    let revoked = submit_with_callback(queue, 3).await;
    queue.revoke(revoked).await.unwrap();
    submit(queue, 4).await;
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(4)).await.unwrap();
    let overdue = submit_with_callback(queue, 5).await;
    rig.pass(LASTING.payload_ttl).await;

    assert_eq!(pending(queue).await, 3);
    for id in [failed, buried, overdue] {
        let told = news(queue).await.expect("it failed");
        assert_eq!((told.view.id, told.view.state), (id, State::Failure), "the longest due comes first");
        assert_eq!(told.view, view(queue, id).await);
        queue.end_callback(told.lease).await.unwrap();
    }
    assert!(news(queue).await.is_none());
}

pub(crate) async fn who_does_not_say_what_became_of_it_is_not_waited_for<R: Rig>() {
    let rig = R::new(LASTING).await;
    let queue = rig.queue();
    let id = ended(queue, 1).await;
    let first = news(queue).await.expect("it has ended").lease;
    rig.pass(CALLBACK_LEASE - MOMENT).await;
    assert!(news(queue).await.is_none());
    rig.pass(MOMENT).await;
    let second = news(queue).await.expect("the lease ran out").lease;
    assert_eq!(second, CallbackLease { id, attempt: 2 });
    assert_lost(queue, first).await;
    for attempt in [0, 3, u32::MAX] {
        assert_lost(queue, CallbackLease { id, attempt }).await;
    }
    assert_lost(queue, CallbackLease { id: TaskId::random(), attempt: 1 }).await;
    queue.end_callback(second).await.unwrap();
}

pub(crate) async fn what_failed_is_told_again_later<R: Rig>() {
    let rig = R::new(LASTING).await;
    let queue = rig.queue();
    let id = ended(queue, 1).await;
    for attempt in 1..4 {
        let told = news(queue).await.expect("it is due");
        assert_eq!(told.lease, CallbackLease { id, attempt });
        queue.retry_callback(told.lease, 2 * MOMENT).await.unwrap();
        rig.pass(MOMENT).await;
        assert!(news(queue).await.is_none() && pending(queue).await == 1);
        rig.pass(MOMENT).await;
    }
}

pub(crate) async fn news_survives_a_crash<R: Rig>() {
    let rig = R::new(LASTING).await;
    let [told, waiting] = [ended(rig.queue(), 1).await, ended(rig.queue(), 2).await];
    let before = news(rig.queue()).await.expect("both have ended").lease;
    let rig = rig.crash().await;
    let queue = rig.queue();
    assert_eq!(pending(queue).await, 2);
    // At the latest when the lease of who has died runs out.
    rig.pass(CALLBACK_LEASE).await;
    let mut again = [news(queue).await.expect("one").lease, news(queue).await.expect("the other").lease];
    again.sort_by_key(|lease| lease.attempt);
    assert!([told, waiting].contains(&before.id));
    assert_eq!(again[1], CallbackLease { id: before.id, attempt: 2 });
    assert_lost(queue, before).await;
    assert!(news(queue).await.is_none());
}

pub(crate) async fn news_is_forgotten_with_its_task<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    ended(queue, 1).await;
    let lease = news(queue).await.expect("it has ended").lease;
    rig.pass(LIMITS.result_ttl).await;
    assert_lost(queue, lease).await;
    assert!(news(queue).await.is_none());
    assert_eq!(queue.stats().await.unwrap(), Default::default());
}

pub(crate) async fn a_task_that_is_opened_again_is_told_of_again<R: Rig>() {
    let mut rig = R::new(LASTING).await;
    let id = submit_with_callback(rig.queue(), 1).await;
    let lease = claim(rig.queue()).await.lease;
    rig.queue().bury(lease, error("beyond help")).await.unwrap();
    let first = news(rig.queue()).await.expect("it failed").lease;
    rig.queue().end_callback(first).await.unwrap();
    rig = rig.crash().await;
    rig.queue().redeliver(id).await.unwrap();
    assert!(news(rig.queue()).await.is_none(), "it waits");
    let lease = claim(rig.queue()).await.lease;
    rig.queue().bury(lease, error("still")).await.unwrap();
    let second = news(rig.queue()).await.expect("it failed again").lease;
    assert!(second.attempt > first.attempt);

    // What is still on its way is overtaken.
    rig.queue().redeliver(id).await.unwrap();
    assert_lost(rig.queue(), second).await;
    assert_eq!(pending(rig.queue()).await, 0);
    let lease = claim(rig.queue()).await.lease;
    rig.queue().settle(lease, success(1)).await.unwrap();
    assert_lost(rig.queue(), second).await;
    let third = news(rig.queue()).await.expect("it succeeded");
    assert_eq!((third.view.outcome, third.url.as_str()), (Some(success(1)), URL));
    rig.queue().end_callback(third.lease).await.unwrap();
    assert!(matches!(rig.queue().redeliver(id).await, Err(DeadError::NotDead)));
}

pub(crate) async fn the_address_belongs_to_what_a_key_stands_for<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let keyed = |callback: Option<&str>| Submission {
        idempotency_key: Some("key".to_owned()),
        callback: callback.map(str::to_owned),
        ..Submission::new(payload(1))
    };
    let id = queue.submit(keyed(Some(URL))).await.unwrap();
    assert_eq!(queue.submit(keyed(Some(URL))).await.unwrap(), id);
    for other in [None, Some("https://hooks.example.org/other")] {
        assert!(matches!(queue.submit(keyed(other)).await, Err(SubmitError::Conflict)), "{other:?}");
    }
}

pub(crate) async fn who_waits_for_news_is_woken<R: Rig>() {
    let rig = R::new(LASTING).await;
    let queue = rig.queue();
    let waits = async {
        let told = tokio::time::timeout(Duration::from_secs(20), queue.claim_callback(Duration::from_secs(600))).await;
        told.expect("it is woken").unwrap().expect("it has ended").view.id
    };
    let ends = async {
        tokio::time::sleep(MOMENT / 2).await;
        ended(queue, 1).await
    };
    let (told, id) = tokio::join!(waits, ends);
    assert_eq!(told, id);
}
