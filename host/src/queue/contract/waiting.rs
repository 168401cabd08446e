//! Who is woken when, and many callers at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::{LIMITS, Limits, Rig, claim, counts, error, payload, state, submit, success};
use crate::queue::{DeadError, Lease, LeaseError, RevokeError, Submission, SubmitError};
use crate::task::{Outcome, State, TaskId};

/// Longer than any test: who is not woken shows.
const LONG: Duration = Duration::from_secs(600);
/// So long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time for the other side to begin to wait.
const MOMENT: Duration = Duration::from_millis(30);

pub(crate) async fn a_claim_is_woken_by_a_submission<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let both = async {
        tokio::join!(queue.claim(LONG), queue.claim(LONG), async {
            sleep(MOMENT).await;
            [submit(queue, 1).await, submit(queue, 2).await]
        })
    };
    let (a, b, mut ids) = timeout(PATIENCE, both).await.expect("both claims are woken");
    let mut claimed = [a, b].map(|claim| claim.unwrap().expect("a task").lease.id);
    claimed.sort();
    ids.sort();
    assert_eq!(claimed, ids);
}

pub(crate) async fn a_claim_is_woken_by_time<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let first = claim(queue).await.lease;
    let lapse = async {
        tokio::join!(queue.claim(LONG), async {
            sleep(MOMENT).await;
            rig.pass(LIMITS.lease).await;
        })
    };
    let (second, ()) = timeout(PATIENCE, lapse).await.expect("woken when the lease has run out");
    let second = second.unwrap().unwrap().lease;
    assert_eq!((first.delivery, second), (1, Lease { id, delivery: 2 }));

    let delay = Duration::from_millis(200);
    queue.retry(second, delay, error("again")).await.unwrap();
    let retry = async {
        tokio::join!(queue.claim(LONG), async {
            sleep(MOMENT).await;
            rig.pass(delay).await;
        })
    };
    let (third, ()) = timeout(PATIENCE, retry).await.expect("woken when the retry is due");
    assert_eq!(third.unwrap().unwrap().lease, Lease { id, delivery: 3 });
}

pub(crate) async fn a_claim_gives_up_in_time<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let wait = Duration::from_millis(100);
    let (none, ()) = tokio::join!(queue.claim(wait), async {
        sleep(MOMENT).await;
        rig.pass(wait).await;
    });
    assert!(none.unwrap().is_none());
    submit(queue, 1).await;
    assert_eq!(counts(queue).await, [1, 0, 0, 0], "nobody waits any more");
}

pub(crate) async fn a_claim_that_is_dropped_takes_nothing<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    assert!(timeout(MOMENT, queue.claim(LONG)).await.is_err());
    let id = submit(queue, 1).await;
    // Dropped at any moment between asking and having.
    for steps in 0..40 {
        let asked = tokio::time::sleep(Duration::from_micros(steps * 50));
        tokio::select! {
            biased;
            () = asked => {}
            claim = queue.claim(LONG) => {
                let claim = claim.unwrap().expect("a task is due");
                queue.release(claim.lease).await.unwrap();
            }
        }
    }
    let claim = timeout(PATIENCE, queue.claim(LONG)).await.expect("the task is there").unwrap().unwrap();
    assert_eq!((claim.lease.id, claim.payload), (id, payload(1)));
    assert!(claim.lease.delivery >= 1);
    queue.release(claim.lease).await.unwrap();
    assert_eq!(state(queue, id).await, State::Pending, "none of these was a try");
}

pub(crate) async fn status_waits_for_the_end<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let [done, revoked, overdue] = [submit(queue, 1).await, submit(queue, 2).await, submit(queue, 3).await];
    let all = async {
        tokio::join!(queue.status(done, LONG), queue.status(revoked, LONG), queue.status(overdue, LONG), async {
            sleep(MOMENT).await;
            let lease = claim(queue).await.lease;
            queue.settle(lease, success(1)).await.unwrap();
            queue.revoke(revoked).await.unwrap();
            rig.pass(LIMITS.payload_ttl).await;
        })
    };
    let (a, b, c, ()) = timeout(PATIENCE, all).await.expect("all are woken");
    let a = a.unwrap().unwrap();
    assert_eq!((a.state, a.outcome), (State::Success, Some(success(1))));
    assert_eq!(b.unwrap().unwrap().state, State::Revoked);
    assert_eq!(c.unwrap().unwrap().state, State::Failure);
    assert_eq!(timeout(PATIENCE, queue.status(TaskId::random(), LONG)).await.expect("at once").unwrap(), None);
}

pub(crate) async fn status_gives_up_in_time<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let start = Instant::now();
    let seen = timeout(PATIENCE, queue.status(id, MOMENT)).await.expect("in time").unwrap().unwrap();
    assert_eq!((seen.state, seen.outcome), (State::Pending, None));
    assert!(start.elapsed() >= MOMENT);
}

pub(crate) async fn lost_ends_when_the_lease_is_lost<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    submit(queue, 1).await;
    let revoked = claim(queue).await.lease;
    assert!(timeout(MOMENT, queue.lost(revoked)).await.is_err(), "the lease is held");
    let revoke = async {
        tokio::join!(queue.lost(revoked), async {
            sleep(MOMENT).await;
            queue.revoke(revoked.id).await.unwrap();
        })
    };
    timeout(PATIENCE, revoke).await.expect("woken when the task is revoked");

    submit(queue, 2).await;
    let lapsed = claim(queue).await.lease;
    let lapse = async {
        tokio::join!(queue.lost(lapsed), async {
            sleep(MOMENT).await;
            rig.pass(LIMITS.lease).await;
        })
    };
    timeout(PATIENCE, lapse).await.expect("woken when the lease has run out");
    claim(queue).await;
    timeout(PATIENCE, queue.lost(lapsed)).await.expect("another's lease does not count");
    timeout(PATIENCE, queue.lost(Lease { id: TaskId::random(), delivery: 1 })).await.expect("never held");
}

pub(crate) async fn a_closed_queue_sends_away_who_waits_and_refuses_the_next<R: Rig>() {
    let rig = R::new(LIMITS).await;
    let queue = rig.queue();
    let ended = submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(1)).await.unwrap();
    submit(queue, 2).await;
    let held = claim(queue).await.lease;
    let all = async {
        tokio::join!(queue.claim(LONG), queue.claim(LONG), queue.status(held.id, LONG), async {
            sleep(MOMENT).await;
            queue.close().await;
        })
    };
    let (a, b, seen, ()) = timeout(PATIENCE, all).await.expect("who waits is sent away");
    assert!(matches!((&a, &b), (Ok(None), Ok(None))), "{a:?}, {b:?}");
    assert!(seen.is_err(), "{seen:?}");
    for id in [ended, held.id, TaskId::random()] {
        let seen = queue.status(id, Duration::ZERO).await;
        assert!(seen.is_err() && queue.status(id, LONG).await.is_err(), "{seen:?}");
        assert!(matches!(queue.revoke(id).await, Err(RevokeError::Unavailable(_))));
        assert!(matches!(queue.redeliver(id).await, Err(DeadError::Unavailable(_))));
    }
    assert!(matches!(queue.extend(held).await, Err(LeaseError::Unavailable(_))));
    assert!(queue.stats().await.is_err() && queue.dead(9).await.is_err());
    assert!(queue.claim(LONG).await.is_err() && queue.ping().await.is_err());
    let late = queue.submit(Submission::new(payload(1))).await;
    assert!(matches!(late, Err(SubmitError::Unavailable(_))), "{late:?}");
}

pub(crate) async fn the_storage_answers<R: Rig>() {
    let rig = R::new(LIMITS).await;
    rig.queue().ping().await.unwrap();
    let rig = rig.crash().await;
    rig.queue().ping().await.unwrap();
}

/// Forty clients and eight workers, some of which fail or go away: every task has one result, its own.
pub(crate) async fn many_callers_share_the_work<R: Rig>() {
    const TASKS: u8 = 200;
    const CLIENTS: u8 = 40;
    let rig = R::new(Limits { max_length: u64::from(TASKS), lease: PATIENCE, ..LIMITS }).await;
    let queue = rig.queue();
    let clients = async {
        let each = async |client: u8| {
            let mut mine = Vec::new();
            for seed in (client..TASKS).step_by(usize::from(CLIENTS)) {
                mine.push((submit(queue, seed).await, seed));
            }
            mine
        };
        all((0..CLIENTS).map(each)).await.concat()
    };
    let workers = async {
        let each = async |worker: u32| {
            let mut settled = Vec::new();
            let mut turn = worker;
            loop {
                let stats = queue.stats().await.unwrap();
                if stats.ended == u64::from(TASKS) {
                    return settled;
                }
                // By the wall: with a clock that stands still, nobody else would end this claim.
                let Ok(claim) = timeout(MOMENT, queue.claim(LONG)).await else { continue };
                let claim = claim.unwrap().expect("the wait is long");
                let seed = claim.payload.photographs[0][0];
                assert_eq!(claim.payload, payload(seed));
                turn += 1;
                if turn.is_multiple_of(7) {
                    queue.release(claim.lease).await.unwrap();
                } else if turn.is_multiple_of(5) && claim.retries == 0 {
                    queue.retry(claim.lease, Duration::ZERO, error("flaky")).await.unwrap();
                } else {
                    queue.settle(claim.lease, success(seed)).await.unwrap();
                    assert!(matches!(queue.settle(claim.lease, success(99)).await, Err(LeaseError::Lost)));
                    settled.push(claim.lease.id);
                }
            }
        };
        all((0..8).map(each)).await.concat()
    };
    let (submitted, settled) = timeout(PATIENCE * 3, async { tokio::join!(clients, workers) }).await.expect("all end");
    assert_eq!(settled.len(), usize::from(TASKS));
    let seeds: HashMap<TaskId, u8> = submitted.into_iter().collect();
    assert_eq!(seeds.len(), usize::from(TASKS));
    for (id, seed) in seeds {
        let view = queue.status(id, Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(view.outcome, Some::<Outcome>(success(seed)));
    }
    assert_eq!(counts(queue).await, [0, 0, u64::from(TASKS), 0]);
}

/// Polls all futures at once and gathers what they yield, in their order.
pub(super) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}
