//! The queue on a real redis-server against the contract, and what only a shared queue can do.
//!
//! # Layout
//!
//! - `process`: a redis-server of its own for one test.
//! - `outage`: servers that die, hang, forget or are full.
//! - `failover`: servers that are found by Sentinels, and one that takes over.
//! - `cluster`: servers of a cluster, and a slot that moves.
//! - `admission`: TLS, and a user who may do no more than a queue needs.
//! - `clock`: clocks that step.
//! - `visitor`: an operator who is no node.

mod admission;
mod clock;
mod cluster;
mod failover;
mod outage;
mod process;
mod visitor;

use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tokio::time::timeout;

use self::process::Process;
use super::*;
use crate::queue::Admin;
use crate::queue::contract::{self, LIMITS, Rig, claim, contract, counts, failure, payload, state, submit, success};

contract!(Node);

const LONG: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(50);

/// One node with a server of its own, whose time is told.
struct Node {
    options: Options,
    clock: Arc<AtomicU64>,
    /// First dropped, before its server.
    queue: Redis,
    house: House,
}

/// What nodes share: a server and a key file.
struct House {
    server: Process,
    folder: TempDir,
}

impl House {
    fn new(settings: &[&str]) -> Self {
        Self { server: Process::start(settings), folder: tempfile::tempdir().unwrap() }
    }

    fn options(&self, limits: contract::Limits) -> Options {
        options(self.server.url(), &self.folder, limits)
    }

    /// A node without a name, that lives by the server's time.
    async fn node(&self, limits: contract::Limits) -> Redis {
        Redis::open(self.options(limits)).await.unwrap()
    }
}

/// A node without a name; those with the same folder share a key.
fn options(url: String, folder: &TempDir, limits: contract::Limits) -> Options {
    Options {
        url,
        name: "test".to_owned(),
        node: None,
        tls: Tls::default(),
        wait_replicas: 0,
        limits,
        key_file: folder.path().join("payload.key"),
    }
}

/// The queue once it answers again, without help.
async fn recovered(queue: &Redis) {
    timeout(PATIENCE, async {
        while queue.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it recovers alone");
}

#[async_trait]
impl Rig for Node {
    async fn new(limits: contract::Limits) -> Self {
        let house = House::new(&[]);
        let options = Options { node: Some("the node".to_owned()), ..house.options(limits) };
        let clock = Arc::new(AtomicU64::new(1_800_000_000_000));
        let queue = Redis::open_with(options.clone(), Time::Told(Arc::clone(&clock))).await.unwrap();
        Self { options, clock, queue, house }
    }

    fn queue(&self) -> &dyn Queue {
        &self.queue
    }

    async fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
        self.queue.stats().await.unwrap();
    }

    /// A node that dies says nothing. The next process under its name knows what that one ran.
    async fn crash(mut self) -> Self {
        self.queue = Redis::open_with(self.options.clone(), Time::Told(Arc::clone(&self.clock))).await.unwrap();
        self
    }
}

/// Limits that no test reaches by the server's own time.
const WIDE: contract::Limits =
    contract::Limits { max_length: 1000, lease: PATIENCE, result_ttl: LONG, payload_ttl: LONG, ..LIMITS };

#[tokio::test]
async fn whoever_waits_is_woken_whichever_node_it_asked() {
    let house = House::new(&[]);
    work_together(house.node(WIDE).await, house.node(WIDE).await).await;
}

/// Submits, claims, settles and revokes with two nodes, each waiting for what the other does.
async fn work_together(a: Redis, b: Redis) {
    let both = async {
        tokio::join!(b.claim(LONG), async {
            tokio::time::sleep(MOMENT).await;
            submit(&a, 1).await
        })
    };
    // Well below the interval at which waiters look by themselves.
    let (claimed, id) = timeout(SAFETY / 2, both).await.expect("the claim is woken");
    let lease = claimed.unwrap().unwrap().lease;
    assert_eq!(lease.id, id);
    let both = async {
        tokio::join!(a.status(id, LONG), a.lost(lease), async {
            tokio::time::sleep(MOMENT).await;
            b.settle(lease, success(1)).await.unwrap();
        })
    };
    let (seen, ..) = timeout(SAFETY / 2, both).await.expect("the status is woken");
    assert_eq!(seen.unwrap().unwrap().outcome, Some(success(1)));

    submit(&b, 2).await;
    let lease = claim(&b).await.lease;
    let both = async {
        tokio::join!(b.lost(lease), async {
            tokio::time::sleep(MOMENT).await;
            a.revoke(lease.id).await.unwrap();
        })
    };
    timeout(SAFETY / 2, both).await.expect("the worker is told of the revocation");
    assert!(matches!(b.settle(lease, success(2)).await, Err(LeaseError::Lost)));
}

#[tokio::test]
async fn an_idempotency_key_yields_one_task_from_fifty_clients_of_two_nodes() {
    let house = House::new(&[]);
    let nodes = [Arc::new(house.node(WIDE).await), Arc::new(house.node(WIDE).await)];
    let clients: Vec<_> = (0..50)
        .map(|client| {
            let node = Arc::clone(&nodes[client % 2]);
            tokio::spawn(async move {
                let submission = Submission { idempotency_key: Some("key".to_owned()), ..Submission::new(payload(1)) };
                node.submit(submission).await.unwrap()
            })
        })
        .collect();
    let mut ids = Vec::new();
    for client in clients {
        ids.push(client.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(counts(nodes[0].as_ref()).await, [1, 0, 0, 0]);
}

#[tokio::test]
async fn what_a_nameless_node_ran_comes_back_by_the_servers_clock() {
    let house = House::new(&[]);
    let limits = contract::Limits { lease: Duration::from_millis(700), ..WIDE };
    let (a, b) = (house.node(limits).await, house.node(limits).await);
    let id = submit(&a, 1).await;
    assert_eq!(claim(&a).await.lease.id, id);
    drop(a);
    let start = Instant::now();
    assert!(b.claim(Duration::ZERO).await.unwrap().is_none());
    let again = timeout(PATIENCE, b.claim(LONG)).await.expect("the lease runs out").unwrap().unwrap();
    assert_eq!((again.lease, again.payload), (Lease { id, delivery: 2 }, payload(1)));
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_name_takes_nothing_from_other_names() {
    let house = House::new(&[]);
    let named = |name: &str| Redis::open(Options { node: Some(name.to_owned()), ..house.options(WIDE) });
    let (a, b) = (named("a").await.unwrap(), named("b").await.unwrap());
    submit(&a, 1).await;
    submit(&a, 2).await;
    let (first, second) = (claim(&a).await.lease, claim(&b).await.lease);
    let again = named("a").await.unwrap();
    assert!(matches!(a.extend(first).await, Err(LeaseError::Lost)), "the newer process has the name");
    b.extend(second).await.unwrap();
    assert_eq!(claim(&again).await.lease, Lease { id: first.id, delivery: 2 });
}

#[tokio::test]
async fn a_task_whose_payload_the_server_dropped_ends_as_timed_out() {
    let house = House::new(&[]);
    let queue = house.node(WIDE).await;
    let (gone, there) = (submit(&queue, 1).await, submit(&queue, 2).await);
    assert_eq!(house.server.command(&format!("DEL {{test}}:payload:{}", digits(gone))), b":1\r\n");
    assert_eq!(claim(&queue).await.lease.id, there);
    assert_eq!(failure(&queue, gone).await.code, ErrorCode::Timeout);
}

#[tokio::test]
async fn a_task_that_cannot_be_read_fails_and_blocks_nobody() {
    let house = House::new(&[]);
    let queue = house.node(WIDE).await;
    let (broken, there) = (submit(&queue, 1).await, submit(&queue, 2).await);
    house.server.command(&format!("SETRANGE {{test}}:payload:{} 7 xyz", digits(broken)));
    assert_eq!(claim(&queue).await.lease.id, there);
    assert_eq!(failure(&queue, broken).await.code, ErrorCode::ProcessingFailed);
}

#[tokio::test]
async fn photographs_are_deleted_by_the_write_that_ends_their_task() {
    let rig = Node::new(LIMITS).await;
    let queue = rig.queue();
    let there = |id| rig.house.server.command(&format!("EXISTS {{test}}:payload:{}", digits(id))) == b":1\r\n";
    let settled = submit(queue, 1).await;
    assert!(there(settled));
    let lease = claim(queue).await.lease;
    assert!(there(settled), "the lease may yet run out");
    queue.settle(lease, success(1)).await.unwrap();
    let running = submit(queue, 2).await;
    claim(queue).await;
    let waiting = submit(queue, 3).await;
    for id in [running, waiting] {
        queue.revoke(id).await.unwrap();
    }
    let dead = submit(queue, 4).await;
    for _ in 0..LIMITS.max_deliveries {
        claim(queue).await;
        rig.pass(LIMITS.lease).await;
    }
    assert!(state(queue, dead).await.is_final() && there(dead), "an operator may open it again");
    let purged = submit(queue, 6).await;
    let lease = claim(queue).await.lease;
    queue.bury(lease, contract::error("beyond help")).await.unwrap();
    assert!(there(purged));
    queue.purge(purged).await.unwrap();
    assert!(!there(purged));
    let overdue = submit(queue, 5).await;
    rig.pass(LIMITS.payload_ttl).await;
    for id in [settled, running, waiting, dead, overdue] {
        assert!(state(queue, id).await.is_final() && !there(id), "{id}");
    }
}

#[tokio::test]
async fn what_is_not_accepted_leaves_no_photographs() {
    let rig = Node::new(contract::Limits { max_length: 1, ..LIMITS }).await;
    let keyed = |seed| Submission { idempotency_key: Some("key".to_owned()), ..Submission::new(payload(seed)) };
    let first = rig.queue().submit(keyed(1)).await.unwrap();
    assert_eq!(rig.queue().submit(keyed(1)).await.unwrap(), first);
    assert!(matches!(rig.queue().submit(keyed(2)).await, Err(SubmitError::Conflict)));
    let other = Submission::new(payload(3));
    assert!(matches!(rig.queue().submit(other).await, Err(SubmitError::Full { .. })));
    let payloads = rig.house.server.command("EVAL \"return #redis.call('KEYS','*:payload:*')\" 0");
    assert_eq!(payloads, b":1\r\n");
}

#[tokio::test]
async fn nothing_is_left_of_tasks_that_are_forgotten_and_all_else_expires() {
    let rig = Node::new(contract::Limits { max_waiting_per_client: Some(9), ..LIMITS }).await;
    let queue = rig.queue();
    let client = || Some("a client".to_owned());
    let keyed = |seed, key: &str| Submission {
        idempotency_key: Some(key.to_owned()),
        client: client(),
        callback: Some("https://hooks.example.org/".to_owned()),
        ..Submission::new(payload(seed))
    };
    for (seed, key) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        queue.submit(keyed(seed, key)).await.unwrap();
    }
    let settled = claim(queue).await.lease;
    queue.settle(settled, success(1)).await.unwrap();
    let retried = claim(queue).await.lease;
    queue.retry(retried, LONG, contract::error("later")).await.unwrap();
    claim(queue).await;
    let script = "for _,k in ipairs(redis.call('KEYS','*:*:*')) do \
                  if redis.call('TTL',k)<0 and not string.find(k,':node:') then return k end end return 'none'";
    assert_eq!(rig.house.server.command(&format!("EVAL \"{script}\" 0")), b"$4\r\nnone\r\n");
    rig.pass(LIMITS.payload_ttl).await;
    rig.pass(LIMITS.result_ttl).await;
    assert_eq!(counts(queue).await, [0; 4]);
    // The counter of tasks, the rate at which they were settled, the key's fingerprint, the time, the limits.
    assert_eq!(rig.house.server.command("DBSIZE"), b":5\r\n");
}

#[tokio::test]
async fn neither_photographs_nor_keys_nor_clients_nor_addresses_lie_readable_on_the_server() {
    let house = House::new(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = house.node(contract::Limits { max_waiting_per_client: Some(1), ..WIDE }).await;
    queue.submit(contract::confidential()).await.unwrap();
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(house.server.folder().join("appendonlydir")).unwrap() {
        bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    assert!(bytes.windows(14).any(|window| window == b"{test}:payload"), "the submission is in the file");
    for secret in contract::SECRETS {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn a_node_with_another_key_is_refused_while_tasks_wait() {
    let house = House::new(&[]);
    let queue = house.node(WIDE).await;
    let id = submit(&queue, 1).await;
    let other = Options { key_file: house.folder.path().join("other.key"), ..house.options(WIDE) };
    let error = Redis::open(other.clone()).await.err().expect("it must not open").to_string();
    assert!(error.contains("other.key") && error.contains("another key"), "{error}");
    queue.revoke(id).await.unwrap();
    let id = submit(&Redis::open(other).await.unwrap(), 2).await;
    assert_eq!(state(&queue, id).await, State::Pending);
}

#[tokio::test]
async fn keys_change_node_by_node_while_tasks_wait() {
    let house = House::new(&[]);
    let file = |name: &str, keys: &[&str]| {
        let key_file = house.folder.path().join(name);
        std::fs::write(&key_file, keys.join("\n")).unwrap();
        std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Options { key_file, ..house.options(WIDE) }
    };
    let (old, new) = ("0d".repeat(32), "5e".repeat(32));
    let keyed = |seed| Submission { idempotency_key: Some("order".to_owned()), ..Submission::new(payload(seed)) };
    let first = Redis::open(file("first", &[&old])).await.unwrap();
    let before = first.submit(keyed(1)).await.unwrap();
    // The new key is known everywhere before anything is sealed with it.
    let both = Redis::open(file("both", &[&old, &new])).await.unwrap();
    let turned = Redis::open(file("turned", &[&new, &old])).await.unwrap();
    assert_eq!(turned.submit(keyed(1)).await.unwrap(), before);
    assert!(matches!(turned.submit(keyed(2)).await, Err(SubmitError::Conflict)));
    let after = submit(&turned, 3).await;
    for (queue, id, seed) in [(&turned, before, 1), (&both, after, 3)] {
        let claim = claim(queue).await;
        assert_eq!((claim.lease.id, claim.payload), (id, payload(seed)));
        queue.settle(claim.lease, success(seed)).await.unwrap();
    }
    submit(&turned, 4).await;
    let error = Redis::open(file("late", &[&old])).await.err().expect("it lacks the key in use").to_string();
    assert!(error.contains("another key"), "{error}");
    assert_eq!(examine(file("looking", &[&old, &new])).await.unwrap().keys, 2);
    Redis::open(file("last", &[&new])).await.unwrap();
}

#[tokio::test]
async fn a_closed_queue_refuses_and_has_given_back_what_nobody_took() {
    let house = House::new(&[]);
    let (a, b) = (house.node(WIDE).await, house.node(WIDE).await);
    let id = submit(&a, 1).await;
    // The claim is asked for, and its caller is gone before there can be an answer.
    let mut asked = a.claim(LONG);
    let once = std::future::poll_fn(|context| std::task::Poll::Ready(asked.as_mut().poll(context).is_pending()));
    assert!(once.await);
    drop(asked);
    let status = a.status(id, LONG);
    let (seen, ()) =
        timeout(PATIENCE, async { tokio::join!(status, a.close()) }).await.expect("who waits is sent away");
    assert!(seen.is_err(), "{seen:?}");
    assert!(a.ping().await.is_err() && a.claim(LONG).await.is_err());
    let claim = claim(&b).await;
    assert_eq!((claim.lease.id, claim.lease.delivery), (id, 2), "it had been claimed and given back");
}
