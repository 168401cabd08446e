//! Clocks of the server that step. The time is told; what the scripts make of it is what they make of the server's.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
const SLOW: contract::Limits = contract::Limits {
    lease: Duration::from_secs(15),
    payload_ttl: Duration::from_secs(900),
    result_ttl: HOUR,
    ..LIMITS
};

impl Node {
    /// Sets the clock back; a node looks at it at least once a second.
    async fn set_back(&self, time: Duration) {
        self.clock.fetch_sub(time.as_millis() as u64, Ordering::SeqCst);
        self.queue.stats().await.unwrap();
    }

    /// Lets time pass with nodes that look now and then.
    async fn live(&self, time: Duration) {
        for _ in 0..=time.as_secs() / 30 {
            self.pass(30 * SECOND).await;
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_freezes_nothing() {
    let rig = Node::new(SLOW).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let lost = claim(queue).await.lease;
    submit(queue, 2).await;
    let retried = claim(queue).await.lease;
    queue.retry(retried, 10 * SECOND, contract::error("later")).await.unwrap();
    submit(queue, 3).await;
    let settled = claim(queue).await.lease;
    let overdue = submit(queue, 4).await;
    // None of these is due for hours by the clock.
    rig.set_back(5 * HOUR).await;
    rig.pass(5 * SECOND).await;
    queue.extend(settled).await.expect("the lease is still held");
    queue.extend(lost).await.expect("and so is this one");
    rig.set_back(HOUR).await;
    rig.pass(10 * SECOND).await;
    let again = queue.claim(Duration::ZERO).await.unwrap().expect("the retry is due").lease;
    assert_eq!(again, Lease { id: retried.id, delivery: 2 });
    queue.settle(settled, success(3)).await.unwrap();
    rig.pass(SLOW.lease).await;
    assert!(matches!(queue.extend(lost).await, Err(LeaseError::Lost)), "it has run out");
    assert_eq!(claim(queue).await.lease, Lease { id, delivery: 2 });
    rig.live(SLOW.payload_ttl).await;
    let ends = [state(queue, settled.id).await, state(queue, overdue).await];
    assert!(ends.iter().all(|state| state.is_final()), "{ends:?}");
    assert_eq!(failure(queue, lost.id).await.code, ErrorCode::Timeout, "it waits for a worker, as before");
    rig.live(SLOW.result_ttl).await;
    assert_eq!(counts(queue).await, [0; 4], "results are forgotten");
}

#[tokio::test]
async fn a_clock_that_is_set_right_again_harms_nothing() {
    let rig = Node::new(SLOW).await;
    let queue = rig.queue();
    submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    let waiting = submit(queue, 2).await;
    for _ in 0..3 {
        rig.set_back(5 * HOUR).await;
        rig.pass(2 * SECOND).await;
        queue.extend(lease).await.unwrap();
        rig.pass(5 * HOUR).await;
        queue.extend(lease).await.expect("the jump was that of the clock, back to where it had been");
    }
    assert_eq!(state(queue, waiting).await, State::Pending);
    rig.pass(SLOW.lease).await;
    assert!(matches!(queue.extend(lease).await, Err(LeaseError::Lost)), "time passes as before");
}

#[tokio::test]
async fn a_clock_that_trembles_does_not_run_away() {
    let rig = Node::new(SLOW).await;
    let queue = rig.queue();
    submit(queue, 1).await;
    let lease = claim(queue).await.lease;
    let begin = rig.clock.load(Ordering::SeqCst);
    for _ in 0..100 {
        rig.set_back(Duration::from_millis(900)).await;
        rig.pass(Duration::from_millis(900)).await;
    }
    queue.extend(lease).await.expect("no time has passed");
    assert_eq!(rig.clock.load(Ordering::SeqCst), begin);
    let age = claim_after(&rig, Duration::from_secs(3)).await;
    assert!((Duration::from_secs(3)..Duration::from_secs(5)).contains(&age), "{age:?}");
}

/// How old a task is by the queue's time, after so long by the clock.
async fn claim_after(rig: &Node, time: Duration) -> Duration {
    submit(rig.queue(), 2).await;
    rig.pass(time).await;
    claim(rig.queue()).await.age
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_ends_no_task_twice() {
    let rig = Node::new(SLOW).await;
    let queue = rig.queue();
    let id = submit(queue, 1).await;
    let first = claim(queue).await.lease;
    rig.pass(SLOW.lease * 2).await;
    let second = claim(queue).await.lease;
    assert_eq!(second, Lease { id, delivery: 2 }, "taken for time that has passed");
    assert!(matches!(queue.settle(first, success(1)).await, Err(LeaseError::Lost)));
    queue.settle(second, success(2)).await.unwrap();
    let waiting = submit(queue, 3).await;
    rig.pass(5 * HOUR).await;
    assert_eq!(failure(queue, waiting).await.code, ErrorCode::Timeout);
}

#[tokio::test]
async fn the_servers_own_clock_is_kept_with_the_queue() {
    let house = House::new(&[]);
    let queue = house.node(WIDE).await;
    queue.stats().await.unwrap();
    // As if the clock had been set back by an hour since.
    let (_, now) = times(&house);
    house.server.command(&format!("HSET {{test}}:clock last {}", now + 3_600_000));
    let id = submit(&queue, 1).await;
    let (last, now) = times(&house);
    assert!(last >= now + 3_590_000, "time goes on from {last}, though the clock says {now}");
    let short = Redis::open(house.options(contract::Limits { lease: SECOND, ..WIDE })).await.unwrap();
    assert_eq!(claim(&short).await.lease.id, id);
    let again = timeout(PATIENCE, short.claim(LONG)).await.expect("a lease runs out as ever").unwrap().unwrap();
    assert_eq!(again.lease, Lease { id, delivery: 2 });
}

/// The queue's time and the server's, in milliseconds since the epoch.
fn times(house: &House) -> (u64, u64) {
    let ask = |script: &str| {
        let answer = house.server.command(&format!("EVAL \"{script}\" 0"));
        let digits = String::from_utf8(answer).unwrap();
        digits.trim().trim_start_matches(':').parse::<u64>().unwrap_or_else(|_| panic!("{digits}"))
    };
    (
        ask("return tonumber(redis.call('HGET','{test}:clock','last'))"),
        ask("return tonumber(redis.call('TIME')[1])*1000"),
    )
}
