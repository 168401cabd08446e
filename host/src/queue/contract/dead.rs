//! Tasks that were given up, and what an operator does with them.

use std::time::Duration;

use super::{LIMITS, Rig, claim, counts, error, failure, payload, state, submit, success, view};
use crate::queue::{DeadError, LeaseError, Queue, Submission};
use crate::task::{ErrorCode, Outcome, State, TaskId, TaskView};

const MOMENT: Duration = Duration::from_millis(100);

/// Submits a task and gives it up at once.
async fn bury(queue: &dyn Queue, seed: u8) -> TaskId {
    let id = submit(queue, seed).await;
    let claim = claim(queue).await;
    assert_eq!(claim.lease.id, id);
    queue.bury(claim.lease, error("beyond help")).await.unwrap();
    id
}

async fn listed(queue: &dyn Queue) -> Vec<TaskId> {
    queue.dead(100).await.unwrap().into_iter().map(|dead| dead.id).collect()
}

pub(crate) async fn a_task_that_is_given_up_is_a_failure_and_listed<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let first = claim(queue).await.lease;
    queue.retry(first, Duration::ZERO, error("a try")).await.unwrap();
    rig.pass(MOMENT).await;
    let second = claim(queue).await.lease;
    assert!(matches!(queue.bury(first, error("late")).await, Err(LeaseError::Lost)));
    queue.bury(second, error("beyond help")).await.unwrap();
    assert!(matches!(queue.bury(second, error("again")).await, Err(LeaseError::Lost)));
    assert!(matches!(queue.settle(second, success(1)).await, Err(LeaseError::Lost)));

    // The client sees the error as it was given.
    let expected = TaskView { id, state: State::Failure, outcome: Some(Outcome::Failure(error("beyond help"))) };
    assert_eq!(view(queue, id).await, expected);
    assert_eq!(counts(queue).await, [0, 0, 1, 1]);
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    rig.pass(MOMENT).await;
    let dead = queue.dead(100).await.unwrap();
    assert_eq!(dead.len(), 1);
    let dead = &dead[0];
    assert_eq!((dead.id, dead.tries, dead.age), (id, 2, 2 * MOMENT));
    assert_eq!(dead.payload_left, Some(LIMITS.payload_ttl - 2 * MOMENT));
    assert_eq!(dead.reason, "processing_failed: beyond help");
    assert_eq!(queue.dead(0).await.unwrap(), []);
}

pub(crate) async fn a_dead_task_is_opened_again_with_all_its_tries<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 7).await;
    let mut last = None;
    for _ in 0..LIMITS.max_deliveries {
        last = Some(claim(queue).await.lease);
        rig.pass(LIMITS.lease).await;
    }
    assert_eq!(state(queue, id).await, State::Failure);
    let younger = submit(queue, 8).await;

    queue.redeliver(id).await.unwrap();
    assert_eq!(view(queue, id).await, TaskView { id, state: State::Pending, outcome: None });
    assert_eq!((counts(queue).await, listed(queue).await), ([2, 0, 0, 0], vec![]));
    assert!(matches!(queue.redeliver(id).await, Err(DeadError::NotDead)), "it is open already");

    // It is the older one, and it fails as often as before until it is given up again.
    for delivery in 1..=LIMITS.max_deliveries {
        let again = claim(queue).await;
        assert_eq!((again.lease.id, again.lease.delivery), (id, LIMITS.max_deliveries + delivery));
        assert_eq!((again.retries, again.payload), (delivery - 1, payload(7)));
        assert!(matches!(queue.settle(last.unwrap(), success(0)).await, Err(LeaseError::Lost)), "of the first life");
        queue.retry(again.lease, Duration::ZERO, error("still")).await.unwrap();
    }
    let dead = &queue.dead(1).await.unwrap()[0];
    assert_eq!((dead.id, dead.tries, dead.reason.as_str()), (id, LIMITS.max_deliveries, "processing_failed: still"));

    queue.redeliver(id).await.unwrap();
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(7)).await.unwrap();
    assert_eq!(view(queue, id).await, TaskView { id, state: State::Success, outcome: Some(success(7)) });
    assert_eq!((claim(queue).await.lease.id, counts(queue).await), (younger, [0, 1, 1, 0]));
}

pub(crate) async fn a_dead_task_without_photographs_is_not_opened_again<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let id = bury(rig.queue(), 1).await;
    rig.pass(LIMITS.payload_ttl - MOMENT).await;
    assert_eq!(rig.queue().dead(1).await.unwrap()[0].payload_left, Some(MOMENT));
    rig.pass(MOMENT).await;
    let rig = rig.crash().await;
    let queue = rig.queue();
    assert_eq!(queue.dead(1).await.unwrap()[0].payload_left, None);
    assert!(matches!(queue.redeliver(id).await, Err(DeadError::PayloadGone)));
    assert_eq!((state(queue, id).await, listed(queue).await), (State::Failure, vec![id]));

    // One that dies of old age has none from the beginning.
    let late = submit(queue, 2).await;
    let lease = claim(queue).await.lease;
    for _ in 0..10 {
        rig.pass(LIMITS.lease - MOMENT).await;
        queue.extend(lease).await.unwrap();
        rig.pass(MOMENT).await;
        queue.extend(lease).await.unwrap();
    }
    queue.bury(lease, error("too late")).await.unwrap();
    assert!(matches!(queue.redeliver(late).await, Err(DeadError::PayloadGone)));
    queue.purge(late).await.unwrap();
}

pub(crate) async fn a_dead_task_that_is_opened_again_late_ends_in_time<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = bury(queue, 1).await;
    rig.pass(LIMITS.payload_ttl - MOMENT).await;
    queue.redeliver(id).await.unwrap();
    rig.pass(MOMENT).await;
    assert_eq!(failure(queue, id).await.code, ErrorCode::Timeout);
    assert_eq!(counts(queue).await, [0, 0, 1, 0]);
}

pub(crate) async fn a_purged_task_is_unknown<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let keyed = || Submission { idempotency_key: Some("key".to_owned()), ..Submission::new(payload(1)) };
    let id = rig.queue().submit(keyed()).await.unwrap();
    let lease = claim(rig.queue()).await.lease;
    rig.queue().bury(lease, error("beyond help")).await.unwrap();
    assert_eq!(rig.queue().submit(keyed()).await.unwrap(), id);
    rig.queue().purge(id).await.unwrap();
    for _ in 0..2 {
        let queue = rig.queue();
        assert_eq!(queue.status(id, MOMENT).await.unwrap(), None);
        assert!(matches!(queue.purge(id).await, Err(DeadError::Unknown)));
        assert!(matches!(queue.redeliver(id).await, Err(DeadError::Unknown)));
        assert_eq!((counts(queue).await, listed(queue).await), ([0; 4], vec![]));
        rig = rig.crash().await;
    }
    assert_ne!(rig.queue().submit(keyed()).await.unwrap(), id, "its key is free");
}

pub(crate) async fn only_the_dead_are_redelivered_or_purged<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let [settled, failed, revoked] = [submit(queue, 1).await, submit(queue, 2).await, submit(queue, 3).await];
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(1)).await.unwrap();
    let lease = claim(queue).await.lease;
    queue.settle(lease, Outcome::Failure(error("no face"))).await.unwrap();
    queue.revoke(revoked).await.unwrap();
    let running = submit(queue, 4).await;
    let held = claim(queue).await.lease;
    let waiting = submit(queue, 5).await;
    for id in [settled, failed, revoked, running, waiting] {
        assert!(matches!(queue.redeliver(id).await, Err(DeadError::NotDead)));
        assert!(matches!(queue.purge(id).await, Err(DeadError::NotDead)));
    }
    assert!(matches!(queue.redeliver(TaskId::random()).await, Err(DeadError::Unknown)));
    assert_eq!(counts(queue).await, [1, 1, 3, 0]);
    queue.settle(held, success(4)).await.unwrap();
}

pub(crate) async fn the_dead_survive_a_crash_and_are_forgotten_in_time<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let [stays, opened] = [bury(rig.queue(), 1).await, bury(rig.queue(), 2).await];
    rig = rig.crash().await;
    assert_eq!(counts(rig.queue()).await, [0, 0, 2, 2]);
    rig.queue().redeliver(opened).await.unwrap();
    rig = rig.crash().await;
    let queue = rig.queue();
    assert_eq!((listed(queue).await, state(queue, opened).await), (vec![stays], State::Pending));
    let again = claim(queue).await;
    assert_eq!((again.lease.id, again.lease.delivery, again.payload), (opened, 2, payload(2)));
    queue.settle(again.lease, success(2)).await.unwrap();
    rig.pass(LIMITS.result_ttl).await;
    assert_eq!((counts(queue).await, listed(queue).await), ([0; 4], vec![]));
    for id in [stays, opened] {
        assert_eq!(queue.status(id, Duration::ZERO).await.unwrap(), None);
    }
}

pub(crate) async fn the_dead_are_listed_in_the_order_of_their_end<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    submit(queue, 1).await;
    submit(queue, 2).await;
    let leases = [claim(queue).await.lease, claim(queue).await.lease];
    for lease in leases.iter().rev() {
        queue.bury(*lease, error("beyond help")).await.unwrap();
        rig.pass(MOMENT).await;
    }
    assert_eq!(listed(queue).await, [leases[1].id, leases[0].id]);
    assert_eq!(queue.dead(1).await.unwrap().len(), 1);
}
