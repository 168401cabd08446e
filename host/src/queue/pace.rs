//! How many tasks a second a queue takes, and how many of them workers end: what `cargo xtask bench queue` asks for.
//!
//! Owns one measurement of either backend, as the variable `VISAVIS_PACE` orders it; without an order a few tasks,
//! to see that it works. Must never know what it is compared with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::contract::success;
use super::redis::{self, Redis};
use super::{Limits, Queue, Submission, embedded};
use crate::task::{Payload, Wishes};

const HOUR: Duration = Duration::from_secs(3600);

/// What to measure.
#[derive(Deserialize)]
struct Order {
    /// `redis://HOST:PORT`, or the path of a queue file.
    queue: String,
    /// Where the key file is made.
    folder: PathBuf,
    /// Bytes of both photographs of a task together.
    bytes: usize,
    /// How many ask at a time.
    callers: usize,
    /// How many tasks.
    tasks: usize,
    /// The file that the answer is written to.
    answer: PathBuf,
}

impl Order {
    /// What the benchmark orders, or the least.
    fn given(folder: &Path) -> Self {
        if let Ok(order) = std::env::var("VISAVIS_PACE") {
            return serde_json::from_str(&order).expect("an order of the benchmark");
        }
        let (queue, folder) = (folder.join("queue.redb").display().to_string(), folder.to_owned());
        let answer = folder.join("pace.json");
        Self { queue, folder, bytes: 1000, callers: 4, tasks: 32, answer }
    }
}

/// What was measured.
#[derive(Serialize)]
struct Pace {
    submitted: Part,
    ended: Part,
}

/// One part of the life of all tasks.
#[derive(Serialize)]
struct Part {
    seconds: f64,
    /// One value a task.
    milliseconds: Vec<f64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_queue_that_is_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let order = Order::given(folder.path());
    let queue = open(&order).await;
    let Order { bytes, callers, tasks, .. } = order;
    let photographs = [vec![0x5a; bytes / 2], vec![0xa5; bytes - bytes / 2]];
    let submitted = measure(callers, tasks, {
        let queue = Arc::clone(&queue);
        move || {
            let payload = Payload { photographs: photographs.clone(), wishes: Wishes::default() };
            let (queue, submission) = (Arc::clone(&queue), Submission::new(payload));
            async move { _ = queue.submit(submission).await.unwrap() }
        }
    });
    let submitted = submitted.await;
    assert_eq!(queue.stats().await.unwrap().waiting, tasks as u64);
    let ended = measure(callers, tasks, {
        let queue = Arc::clone(&queue);
        move || {
            let queue = Arc::clone(&queue);
            async move {
                let claim = queue.claim(Duration::ZERO).await.unwrap().expect("every task waits");
                assert_eq!(claim.payload.photographs.iter().map(Vec::len).sum::<usize>(), bytes);
                queue.settle(claim.lease, success(1)).await.unwrap();
            }
        }
    });
    let ended = ended.await;
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.running, stats.ended), (0, 0, tasks as u64));
    queue.close().await;
    let pace = serde_json::to_vec(&Pace { submitted, ended }).unwrap();
    std::fs::write(&order.answer, pace).unwrap();
}

async fn open(order: &Order) -> Arc<dyn Queue> {
    let limits = Limits {
        max_length: order.tasks as u64,
        max_age: None,
        max_waiting_per_client: None,
        lease: HOUR,
        max_deliveries: 3,
        result_ttl: HOUR,
        payload_ttl: HOUR,
    };
    let key_file = order.folder.join("payload.key");
    if order.queue.starts_with("redis://") {
        let (url, name) = (order.queue.clone(), "pace".to_owned());
        let tls = redis::Tls::default();
        let options = redis::Options { url, name, node: None, tls, wait_replicas: 0, limits, key_file };
        Arc::new(Redis::open(options).await.unwrap())
    } else {
        let options = embedded::Options { path: PathBuf::from(&order.queue), limits, key_file };
        Arc::new(embedded::Embedded::open(&options).unwrap())
    }
}

/// Lets callers do something so many times in all, on as many threads as a host has.
async fn measure<A, F>(callers: usize, times: usize, act: A) -> Part
where
    A: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let all = (0..callers).map(|_| {
        let (next, act) = (Arc::clone(&next), act.clone());
        tokio::spawn(async move {
            let mut milliseconds = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < times {
                let begin = Instant::now();
                act().await;
                milliseconds.push(begin.elapsed().as_secs_f64() * 1e3);
            }
            milliseconds
        })
    });
    let all: Vec<_> = all.collect();
    let mut milliseconds = Vec::with_capacity(times);
    for caller in all {
        milliseconds.append(&mut caller.await.unwrap());
    }
    assert_eq!(milliseconds.len(), times);
    Part { seconds: start.elapsed().as_secs_f64(), milliseconds }
}
