//! Servers that die, hang, forget or are full, or are not there yet.

use super::*;

/// So long a caller is kept waiting at most when the server is gone.
const AT_MOST: Duration = Duration::from_millis(2500);

#[tokio::test]
async fn a_server_that_is_killed_loses_no_accepted_task() {
    let house = House::new(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = Arc::new(house.node(WIDE).await);
    let settled = submit(queue.as_ref(), 7).await;
    let lease = claim(queue.as_ref()).await.lease;
    queue.settle(lease, success(7)).await.unwrap();
    let accepted = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..16u8)
        .map(|seed| {
            let (queue, accepted) = (Arc::clone(&queue), Arc::clone(&accepted));
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while let Ok(id) = queue.submit(Submission::new(payload(seed))).await {
                    ids.push((id, seed));
                    accepted.fetch_add(1, Ordering::SeqCst);
                }
                ids
            })
        })
        .collect();
    while accepted.load(Ordering::SeqCst) < 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    house.server.kill();
    let mut ids = Vec::new();
    for client in clients {
        ids.extend(client.await.unwrap());
    }
    house.server.restart();
    recovered(&queue).await;
    assert_eq!(queue.status(settled, Duration::ZERO).await.unwrap().unwrap().outcome, Some(success(7)));
    for (id, _) in &ids {
        assert_eq!(state(queue.as_ref(), *id).await, State::Pending);
    }
    // Those that were under way when the server died may be there as well; each accepted one is done once.
    let mut done = std::collections::HashMap::new();
    while let Some(claim) = queue.claim(Duration::ZERO).await.unwrap() {
        queue.settle(claim.lease, success(claim.payload.photographs[0][0])).await.unwrap();
        assert!(done.insert(claim.lease.id, claim.payload.photographs[0][0]).is_none());
    }
    for (id, seed) in &ids {
        assert_eq!(done.get(id), Some(seed));
    }
    assert!(done.len() <= ids.len() + 16, "{} done, {} accepted", done.len(), ids.len());
}

#[tokio::test]
async fn without_a_server_all_are_refused_at_once_and_go_on_alone() {
    let house = House::new(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = house.node(WIDE).await;
    let id = submit(&queue, 1).await;
    let lease = claim(&queue).await.lease;
    let waits = async {
        tokio::join!(queue.claim(LONG), queue.status(id, LONG), async {
            tokio::time::sleep(MOMENT).await;
            house.server.kill();
        })
    };
    let (claimed, seen, ()) = timeout(AT_MOST, waits).await.expect("who waits is told");
    assert!(claimed.is_err() && seen.is_err(), "{claimed:?}, {seen:?}");
    let start = Instant::now();
    for _ in 0..50 {
        let submission = Submission::new(payload(2));
        assert!(matches!(queue.submit(submission).await, Err(SubmitError::Unavailable(_))));
        assert!(queue.ping().await.is_err() && queue.stats().await.is_err());
        assert!(matches!(queue.settle(lease, success(1)).await, Err(LeaseError::Unavailable(_))));
    }
    assert!(start.elapsed() < AT_MOST, "{:?}", start.elapsed());
    house.server.restart();
    recovered(&queue).await;
    queue.settle(lease, success(1)).await.expect("the result was kept, and the lease is still held");
    // Messages come again, too.
    let id = submit(&queue, 3).await;
    let lease = claim(&queue).await.lease;
    let both = async {
        tokio::join!(queue.status(id, LONG), async {
            tokio::time::sleep(MOMENT).await;
            queue.settle(lease, success(3)).await.unwrap();
        })
    };
    timeout(SAFETY / 2, both).await.expect("woken").0.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_as_good_as_gone() {
    let house = House::new(&[]);
    let queue = house.node(WIDE).await;
    let id = submit(&queue, 1).await;
    house.server.signal(libc::SIGSTOP);
    let first = timeout(AT_MOST, queue.ping()).await.expect("bounded");
    assert!(first.is_err());
    let start = Instant::now();
    assert!(queue.status(id, LONG).await.is_err());
    assert!(start.elapsed() < MOMENT, "the second caller pays nothing: {:?}", start.elapsed());
    house.server.signal(libc::SIGCONT);
    recovered(&queue).await;
    assert_eq!(state(&queue, id).await, State::Pending);
}

#[tokio::test]
async fn a_server_that_forgot_everything_is_believed() {
    let house = House::new(&[]);
    let queue = house.node(WIDE).await;
    let id = submit(&queue, 1).await;
    let running = claim(&queue).await.lease;
    house.server.kill();
    house.server.restart();
    recovered(&queue).await;
    assert_eq!(queue.status(id, LONG).await.unwrap(), None, "not PENDING for ever");
    assert!(matches!(queue.settle(running, success(1)).await, Err(LeaseError::Lost)));
    assert_eq!(counts(&queue).await, [0; 4]);
    timeout(PATIENCE, queue.lost(running)).await.expect("nobody holds it");
    submit(&queue, 2).await;
}

#[tokio::test]
async fn a_server_that_is_full_takes_no_tasks_but_ends_them() {
    let house = House::new(&["--maxmemory", "16mb", "--maxmemory-policy", "noeviction"]);
    let queue = house.node(WIDE).await;
    let id = submit(&queue, 1).await;
    let lease = claim(&queue).await.lease;
    let large = || Payload { photographs: [vec![1; 1 << 20], vec![2; 1 << 20]], wishes: Default::default() };
    let refused = loop {
        if let Err(error) = queue.submit(Submission::new(large())).await {
            break error;
        }
    };
    assert!(matches!(&refused, SubmitError::Unavailable(why) if why.0.contains("OOM")), "{refused:?}");
    queue.extend(lease).await.unwrap();
    queue.settle(lease, success(1)).await.unwrap();
    assert_eq!(state(&queue, id).await, State::Success);
    while let Some(claim) = queue.claim(Duration::ZERO).await.unwrap() {
        queue.settle(claim.lease, success(2)).await.unwrap();
    }
    submit(&queue, 3).await;
}

/// Waits until the queue says that it cannot be used because of this.
async fn refuses(queue: &Redis, why: &str) {
    timeout(PATIENCE, async {
        loop {
            match queue.ping().await {
                Err(error) if error.0.contains(why) => return,
                answer => assert!(answer.is_err(), "nobody has let it in: {why}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("it does not say {why:?}"));
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let house = House::new(&["--appendonly", "yes", "--appendfsync", "always"]);
    let named = || Redis::open(Options { node: Some("a".to_owned()), ..house.options(WIDE) });
    let before = named().await.unwrap();
    let id = submit(&before, 1).await;
    let lost = claim(&before).await.lease;
    drop(before);
    house.server.kill();
    let error = visit(house.options(WIDE)).await.err().expect("an operator is told at once").to_string();
    assert!(error.contains("127.0.0.1") && error.contains("queue.url"), "{error}");

    let queue = timeout(AT_MOST, named()).await.expect("it does not hang").expect("it waits");
    let submission = || Submission::new(payload(2));
    let start = Instant::now();
    assert!(matches!(queue.submit(submission()).await, Err(SubmitError::Unavailable(_))));
    assert!(queue.ping().await.is_err() && queue.claim(LONG).await.is_err() && queue.status(id, LONG).await.is_err());
    assert!(start.elapsed() < AT_MOST, "{:?}", start.elapsed());
    house.server.restart();
    recovered(&queue).await;
    // As the first thing, it took back what the last process of its name ran.
    let lease = claim(&queue).await.lease;
    assert_eq!(lease, Lease { id, delivery: lost.delivery + 1 });
    queue.settle(lease, success(1)).await.unwrap();

    // Once let in, it gives nothing of its own back.
    let id = submit(&queue, 3).await;
    let lease = claim(&queue).await.lease;
    house.server.kill();
    house.server.restart();
    recovered(&queue).await;
    assert_eq!(state(&queue, id).await, State::Started);
    queue.settle(lease, success(3)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_waited_is_not_let_in_with_another_key() {
    let house = House::new(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = house.node(WIDE).await;
    let id = submit(&queue, 1).await;
    house.server.kill();
    let stranger = Options { key_file: house.folder.path().join("other.key"), ..house.options(WIDE) };
    let stranger = Redis::open(stranger).await.expect("it waits");
    house.server.restart();
    refuses(&stranger, "other.key: the queue holds photographs that were sealed with another key").await;
    assert!(stranger.claim(Duration::ZERO).await.is_err(), "it must not take what it cannot read");
    recovered(&queue).await;
    queue.revoke(id).await.unwrap();
    recovered(&stranger).await;
    let id = submit(&stranger, 2).await;
    assert_eq!(claim(&stranger).await.lease.id, id);
}

#[tokio::test]
async fn a_replica_is_refused_at_start_and_waited_for_later() {
    let house = House::new(&["--replicaof", "127.0.0.1 1"]);
    let error = Redis::open(house.options(WIDE)).await.err().expect("it must not open").to_string();
    assert!(error.contains("read-only replica") && error.contains("queue.url"), "{error}");
    house.server.kill();
    let queue = house.node(WIDE).await;
    house.server.restart();
    refuses(&queue, "read-only replica").await;
    assert_eq!(house.server.command("REPLICAOF NO ONE"), b"+OK\r\n");
    recovered(&queue).await;
    submit(&queue, 1).await;
}
