//! Tasks that an operator removes, wherever they stand.

use std::time::Duration;

use super::{LIMITS, Rig, claim, counts, error, payload, submit, success};
use crate::queue::{LeaseError, Queue, RevokeError, Stats, Submission};
use crate::task::{State, TaskId};

const MOMENT: Duration = Duration::from_millis(50);

async fn assert_unknown(queue: &dyn Queue, id: TaskId) {
    assert_eq!(queue.status(id, Duration::ZERO).await.unwrap(), None);
    assert!(matches!(queue.revoke(id).await, Err(RevokeError::Unknown)));
    assert!(!queue.forget(id).await.unwrap());
}

pub(crate) async fn a_task_is_removed_wherever_it_stands<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let succeeded = submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(1)).await.unwrap();
    let buried = submit(queue, 2).await;
    let lease = claim(queue).await.lease;
    queue.bury(lease, error("beyond help")).await.unwrap();
    let revoked = submit(queue, 3).await;
    queue.revoke(revoked).await.unwrap();
    let delayed = submit(queue, 4).await;
    let lease = claim(queue).await.lease;
    queue.retry(lease, LIMITS.lease, error("once")).await.unwrap();
    let running = submit(queue, 5).await;
    let held = claim(queue).await.lease;
    let [waiting, other] = [submit(queue, 6).await, submit(queue, 7).await];
    assert_eq!(counts(queue).await, [3, 1, 3, 1]);

    for id in [succeeded, buried, revoked, delayed, running, waiting] {
        assert!(queue.forget(id).await.unwrap(), "{id}");
        assert_unknown(queue, id).await;
    }
    assert_unknown(queue, TaskId::random()).await;
    assert!(matches!(queue.settle(held, success(5)).await, Err(LeaseError::Lost)), "its result is not wanted");
    assert_eq!((counts(queue).await, queue.dead(9).await.unwrap()), ([1, 0, 0, 0], vec![]));
    let left = claim(queue).await;
    assert_eq!((left.lease.id, left.payload), (other, payload(7)), "the others are left alone");
}

pub(crate) async fn who_waits_for_a_removed_task_is_told<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    let removed = async {
        tokio::time::sleep(MOMENT).await;
        assert!(queue.forget(id).await.unwrap());
    };
    let told = async { tokio::join!(queue.status(id, Duration::from_secs(600)), queue.lost(lease), removed) };
    let (seen, (), ()) = tokio::time::timeout(Duration::from_secs(20), told).await.expect("they are woken");
    assert_eq!(seen.unwrap(), None);
}

pub(crate) async fn nothing_of_a_removed_task_comes_back<R: Rig>() {
    let mut rig = R::new(LIMITS).await;
    let keyed = || Submission {
        idempotency_key: Some("key".to_owned()),
        callback: Some("https://hooks.example.org/".to_owned()),
        ..Submission::new(payload(1))
    };
    let ended = rig.queue().submit(keyed()).await.unwrap();
    let lease = claim(rig.queue()).await.lease;
    rig.queue().settle(lease, success(1)).await.unwrap();
    let running = submit(rig.queue(), 2).await;
    claim(rig.queue()).await;
    for id in [ended, running] {
        assert!(rig.queue().forget(id).await.unwrap());
    }
    for _ in 0..2 {
        let queue = rig.queue();
        assert_eq!(queue.stats().await.unwrap(), Stats::default());
        assert!(queue.claim_callback(Duration::ZERO).await.unwrap().is_none(), "its end is told to nobody");
        assert_unknown(queue, ended).await;
        rig = rig.crash().await;
        rig.pass(LIMITS.lease).await;
    }
    let queue = rig.queue();
    let again = queue.submit(keyed()).await.unwrap();
    assert!(again != ended, "its key is free");
    assert_eq!(queue.status(again, Duration::ZERO).await.unwrap().unwrap().state, State::Pending);
}
