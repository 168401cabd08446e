//! What may happen to one task, and who may do it.

use std::time::Duration;

use super::{LIMITS, Rig, claim, counts, error, failure, payload, state, submit, success, view};
use crate::queue::{Lease, LeaseError, Queue, RevokeError, Submission};
use crate::task::{ErrorCode, State, TaskId, TaskView};
use crate::telemetry::TraceContext;

/// Whatever is tried with this lease is refused.
async fn assert_lost(queue: &dyn Queue, lease: Lease) {
    assert!(matches!(queue.extend(lease).await, Err(LeaseError::Lost)));
    assert!(matches!(queue.settle(lease, success(0)).await, Err(LeaseError::Lost)));
    assert!(matches!(queue.retry(lease, Duration::ZERO, error("late")).await, Err(LeaseError::Lost)));
    assert!(matches!(queue.release(lease).await, Err(LeaseError::Lost)));
}

pub(crate) async fn a_task_goes_from_submission_to_its_result<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    assert_eq!(queue.lease(), LIMITS.lease);
    let id = submit(queue, 4).await;
    assert_eq!(view(queue, id).await, TaskView { id, state: State::Pending, outcome: None });
    assert_eq!(counts(queue).await, [1, 0, 0, 0]);

    rig.pass(Duration::from_millis(100)).await;
    let claim = claim(queue).await;
    assert_eq!(claim.lease, Lease { id, delivery: 1 });
    assert_eq!((claim.retries, &claim.payload), (0, &payload(4)));
    assert!(claim.age >= Duration::from_millis(100), "{:?}", claim.age);
    assert_eq!(view(queue, id).await, TaskView { id, state: State::Started, outcome: None });
    assert_eq!(counts(queue).await, [0, 1, 0, 0]);
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());

    queue.settle(claim.lease, success(4)).await.unwrap();
    assert_eq!(view(queue, id).await, TaskView { id, state: State::Success, outcome: Some(success(4)) });
    assert_eq!(counts(queue).await, [0, 0, 1, 0]);
    assert_lost(queue, claim.lease).await;
    assert_eq!(view(queue, id).await.outcome, Some(success(4)));
}

pub(crate) async fn tasks_are_delivered_in_the_order_of_their_submission<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let mut ids = Vec::new();
    for seed in 0..6 {
        ids.push(submit(rig.queue(), seed).await);
    }
    // Who comes back keeps the place in line.
    let lease = claim(rig.queue()).await.lease;
    rig.queue().release(lease).await.unwrap();
    for id in &ids[..3] {
        assert_eq!(claim(rig.queue()).await.lease.id, *id);
    }
    rig = rig.crash().await;
    ids.push(submit(rig.queue(), 6).await);
    for id in ids {
        assert_eq!(claim(rig.queue()).await.lease.id, id);
    }
}

pub(crate) async fn a_task_keeps_its_trace<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceContext::read(text);
    let submission = Submission { trace, ..Submission::new(payload(1)) };
    let traced = rig.queue().submit(submission).await.unwrap();
    let other = submit(rig.queue(), 2).await;
    rig = rig.crash().await;
    let [first, second] = [claim(rig.queue()).await, claim(rig.queue()).await];
    assert_eq!([first.lease.id, second.lease.id], [traced, other]);
    assert_eq!((first.trace.write().as_deref(), second.trace.write()), (Some(text), None));
    // Who tries it again goes on in the same trace.
    rig.queue().retry(first.lease, Duration::ZERO, error("once more")).await.unwrap();
    assert_eq!(claim(rig.queue()).await.trace.write().as_deref(), Some(text));
}

pub(crate) async fn the_line_is_as_old_as_its_first<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let oldest = async || rig.queue().line().await.unwrap().oldest;
    assert_eq!(oldest().await, None);
    submit(rig.queue(), 1).await;
    rig.pass(Duration::from_millis(300)).await;
    submit(rig.queue(), 2).await;
    let before = oldest().await.expect("two tasks are due");
    assert!(before >= Duration::from_millis(300), "{before:?}");
    // What runs does not wait, and what comes back is as old as it was.
    let lease = claim(rig.queue()).await.lease;
    let second = oldest().await.expect("one task is due");
    assert!(second < before, "{second:?}, {before:?}");
    rig.queue().release(lease).await.unwrap();
    assert!(oldest().await >= Some(before));
    for _ in 0..2 {
        claim(rig.queue()).await;
    }
    assert_eq!(oldest().await, None);
}

pub(crate) async fn a_lease_that_runs_out_is_lost_and_the_task_due_again<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let first = claim(queue).await;
    rig.pass(LIMITS.lease).await;
    assert_eq!(state(queue, id).await, State::Retry);
    assert_eq!(counts(queue).await, [1, 0, 0, 0]);
    assert_lost(queue, first.lease).await;

    let second = claim(queue).await;
    assert_eq!(second.lease, Lease { id, delivery: 2 });
    assert_eq!((second.retries, second.payload), (0, first.payload));
    assert_lost(queue, first.lease).await;
    queue.settle(second.lease, success(2)).await.unwrap();
    assert_eq!(view(queue, id).await.outcome, Some(success(2)));
}

pub(crate) async fn extending_keeps_a_lease<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    for _ in 0..6 {
        rig.pass(LIMITS.lease / 3).await;
        queue.extend(lease).await.unwrap();
    }
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    queue.settle(lease, success(1)).await.unwrap();
}

pub(crate) async fn a_retry_waits_and_is_counted<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let first = claim(queue).await.lease;
    queue.retry(first, Duration::from_millis(1000), error("no luck")).await.unwrap();
    assert_eq!(view(queue, id).await, TaskView { id, state: State::Retry, outcome: None });
    assert_eq!(counts(queue).await, [1, 0, 0, 0]);
    assert_lost(queue, first).await;

    rig.pass(Duration::from_millis(500)).await;
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    rig.pass(Duration::from_millis(500)).await;
    let second = claim(queue).await;
    assert_eq!((second.lease, second.retries), (Lease { id, delivery: 2 }, 1));
    assert!(second.age >= Duration::from_millis(1000));
}

pub(crate) async fn a_release_leaves_no_trace<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    for _ in 0..2 * LIMITS.max_deliveries {
        let claim = claim(queue).await;
        assert_eq!(claim.retries, 0);
        queue.release(claim.lease).await.unwrap();
        assert_eq!(state(queue, id).await, State::Pending);
        assert_lost(queue, claim.lease).await;
    }
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(1)).await.unwrap();
}

pub(crate) async fn a_waiting_task_is_revoked<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let revoked = queue.revoke(id).await.unwrap();
    assert_eq!((revoked.id, revoked.state), (id, State::Revoked));
    assert_eq!(view(queue, id).await, revoked);
    assert_eq!(failure(queue, id).await.code, ErrorCode::Revoked);
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    assert_eq!(counts(queue).await, [0, 0, 1, 0]);
}

pub(crate) async fn a_running_task_is_revoked_and_its_result_refused<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    let revoked = queue.revoke(id).await.unwrap();
    assert_lost(queue, lease).await;
    rig.pass(LIMITS.lease * 2).await;
    let rig = rig.crash().await;
    assert_eq!(view(rig.queue(), id).await, revoked);
    assert!(rig.queue().claim(Duration::ZERO).await.unwrap().is_none());
}

pub(crate) async fn what_has_ended_cannot_be_revoked<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    assert!(matches!(queue.revoke(TaskId::random()).await, Err(RevokeError::Unknown)));
    let id = submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(1)).await.unwrap();
    let ended = view(queue, id).await;
    for _ in 0..2 {
        match queue.revoke(id).await {
            Err(RevokeError::Ended(seen)) => assert_eq!(*seen, ended),
            other => panic!("{other:?}"),
        }
    }
    let id = submit(queue, 1).await;
    let revoked = queue.revoke(id).await.unwrap();
    assert!(matches!(queue.revoke(id).await, Err(RevokeError::Ended(seen)) if *seen == revoked));
}

pub(crate) async fn nobody_but_the_holder_can_do_anything<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    for delivery in [0, 1, 2] {
        assert_lost(queue, Lease { id, delivery }).await;
    }
    let lease = claim(queue).await.lease;
    for delivery in [0, 2, u32::MAX] {
        assert_lost(queue, Lease { delivery, ..lease }).await;
    }
    assert_lost(queue, Lease { id: TaskId::random(), delivery: 1 }).await;
    queue.settle(lease, success(1)).await.unwrap();
}

pub(crate) async fn a_crash_loses_nothing<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let [ended, revoked, later, waiting] = {
        let queue = rig.queue();
        let ended = submit(queue, 1).await;
        let lease = claim(queue).await.lease;
        queue.settle(lease, success(1)).await.unwrap();
        let revoked = submit(queue, 2).await;
        queue.revoke(revoked).await.unwrap();
        let later = submit(queue, 3).await;
        let lease = claim(queue).await.lease;
        queue.retry(lease, Duration::from_millis(1000), error("once")).await.unwrap();
        [ended, revoked, later, submit(queue, 4).await]
    };
    for _ in 0..2 {
        rig = rig.crash().await;
        let queue = rig.queue();
        assert_eq!(view(queue, ended).await.outcome, Some(success(1)));
        assert_eq!(state(queue, revoked).await, State::Revoked);
        assert_eq!(state(queue, later).await, State::Retry);
        assert_eq!(state(queue, waiting).await, State::Pending);
        assert_eq!(counts(queue).await, [2, 0, 2, 0]);
    }
    let queue = rig.queue();
    let first = claim(queue).await;
    assert_eq!((first.lease.id, first.payload), (waiting, payload(4)));
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    rig.pass(Duration::from_millis(1000)).await;
    // The lease of the first ran out in that time, and it is the younger.
    let second = claim(queue).await;
    assert_eq!((second.lease, second.retries), (Lease { id: later, delivery: 2 }, 1));
    assert_eq!(second.payload, payload(3));
}

pub(crate) async fn a_crash_while_tasks_run_makes_them_due_at_once<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let id = submit(rig.queue(), 9).await;
    let before = claim(rig.queue()).await.lease;
    let rig = rig.crash().await;
    let queue = rig.queue();
    assert_eq!(state(queue, id).await, State::Retry);
    assert_lost(queue, before).await;
    let after = claim(queue).await;
    assert_eq!((after.lease, after.payload), (Lease { id, delivery: 2 }, payload(9)));
    assert_lost(queue, before).await;
    queue.settle(after.lease, success(9)).await.unwrap();
}
