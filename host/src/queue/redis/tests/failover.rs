//! Servers that are found by Sentinels, and a replica that takes over from a primary that is killed.

use std::collections::{HashMap, HashSet};

use super::*;

/// So long the change of the primary may take.
const CHANGE: Duration = Duration::from_secs(60);

/// A primary, two replicas, and three Sentinels that watch them.
struct Watched {
    /// First dropped, so that nobody is promoted while a test ends.
    sentinels: Vec<Process>,
    primary: Process,
    replicas: Vec<Process>,
    folder: TempDir,
}

impl Watched {
    fn new() -> Self {
        let primary = Process::start(&["--appendonly", "yes", "--repl-diskless-sync-delay", "0"]);
        let (port, of) = (primary.port(), format!("127.0.0.1 {}", primary.port()));
        let follow = ["--appendonly", "yes", "--repl-diskless-sync-delay", "0", "--replicaof", &of];
        let replicas: Vec<_> = (0..2).map(|_| Process::start(&follow)).collect();
        // A Sentinel asks for the replicas at once, and then every ten seconds.
        primary.wait_until("INFO replication", |info| info.matches("state=online").count() == 2);
        let file = format!(
            "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 1000\n\
             sentinel failover-timeout main 10000\n"
        );
        let sentinels: Vec<_> = (0..3).map(|_| Process::start_sentinel(&file)).collect();
        for sentinel in &sentinels {
            sentinel.wait_until("SENTINEL CKQUORUM main", |answer| answer.contains("3 usable Sentinels"));
            sentinel.wait_until("INFO sentinel", |info| info.contains("slaves=2"));
        }
        Self { sentinels, primary, replicas, folder: tempfile::tempdir().unwrap() }
    }

    fn options(&self, wait_replicas: u32) -> Options {
        let hosts: Vec<_> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        // A lease that is lost on the way is soon over.
        let limits = contract::Limits { lease: Duration::from_secs(3), max_deliveries: 10, ..WIDE };
        let url = format!("redis+sentinel://{}/main", hosts.join(","));
        Options { wait_replicas, ..options(url, &self.folder, limits) }
    }
}

/// What clients and workers were told.
#[derive(Default)]
struct Told {
    accepted: Vec<TaskId>,
    /// Each settlement that was confirmed, with what it said.
    settled: Vec<(TaskId, Outcome)>,
}

/// Clients that submit and workers that settle without a pause, while the primary is killed.
async fn kill_under_load(watched: &Watched, queue: &Arc<Redis>) -> Told {
    let (stop, accepted) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4u8)
        .map(|seed| {
            let (queue, stop, accepted) = (Arc::clone(queue), Arc::clone(&stop), Arc::clone(&accepted));
            tokio::spawn(async move {
                let mut ids = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    match queue.submit(Submission::new(payload(seed))).await {
                        Ok(id) => {
                            ids.push(id);
                            accepted.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(SubmitError::Unavailable(_) | SubmitError::Full { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                ids
            })
        })
        .collect();
    let workers: Vec<_> = (0..2u64)
        .map(|worker| {
            let (queue, stop) = (Arc::clone(queue), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut settled, mut turn) = (Vec::new(), 0);
                loop {
                    let Ok(claimed) = queue.claim(MOMENT).await else {
                        tokio::time::sleep(MOMENT).await;
                        continue;
                    };
                    let Some(claim) = claimed else {
                        let counts = queue.stats().await.map(|stats| stats.waiting + stats.running);
                        if stop.load(Ordering::SeqCst) && counts == Ok(0) {
                            return settled;
                        }
                        continue;
                    };
                    turn += 1;
                    let outcome = Outcome::Success(serde_json::json!({ "worker": worker, "turn": turn }));
                    // The result is kept until it is settled or the lease is lost.
                    loop {
                        match queue.settle(claim.lease, outcome.clone()).await {
                            Ok(()) => break settled.push((claim.lease.id, outcome)),
                            Err(LeaseError::Lost) => break,
                            Err(LeaseError::Unavailable(_)) => tokio::time::sleep(MOMENT).await,
                        }
                    }
                }
            })
        })
        .collect();
    let until = async |count: u64| {
        let reached = timeout(CHANGE, async {
            while accepted.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(reached.await.is_ok(), "{} of {count} accepted", accepted.load(Ordering::SeqCst));
    };
    until(200).await;
    watched.primary.kill();
    let (killed, before) = (Instant::now(), accepted.load(Ordering::SeqCst));
    // Answers on their way have arrived by then.
    until(before + 20).await;
    println!("submissions were accepted again {:?} after the primary was killed", killed.elapsed());
    until(before + 200).await;
    stop.store(true, Ordering::SeqCst);
    let mut told = Told::default();
    for client in clients {
        told.accepted.extend(client.await.unwrap());
    }
    for worker in workers {
        told.settled.extend(timeout(CHANGE, worker).await.expect("all is done").unwrap());
    }
    told
}

/// Yields how many accepted tasks were lost, and how many results were confirmed twice.
async fn compare(queue: &Redis, told: &Told) -> (usize, usize) {
    let mut outcomes: HashMap<TaskId, Vec<&Outcome>> = HashMap::new();
    told.settled.iter().for_each(|(id, outcome)| outcomes.entry(*id).or_default().push(outcome));
    let mut lost = 0;
    for id in &told.accepted {
        let Some(view) = queue.status(*id, Duration::ZERO).await.unwrap() else {
            lost += 1;
            continue;
        };
        assert_eq!(view.state, State::Success, "{id}");
        let seen = view.outcome.as_ref().unwrap();
        // The last to be told so is the one whose result is there, unless its answer was lost with the primary.
        let known = outcomes.get(id).is_none_or(|outcomes| outcomes.contains(&seen));
        assert!(known, "{id} ended with {seen:?}, but {:?} were confirmed", outcomes[id]);
    }
    let twice = outcomes.values().filter(|outcomes| outcomes.len() > 1).count();
    let unique: HashSet<_> = told.accepted.iter().collect();
    assert_eq!(unique.len(), told.accepted.len());
    let (accepted, settled) = (told.accepted.len(), told.settled.len());
    println!("{accepted} tasks were accepted, {lost} lost; {settled} results were confirmed, {twice} tasks had two");
    (lost, twice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_survived_without_help() {
    let watched = Watched::new();
    let queue = Arc::new(Redis::open(watched.options(0)).await.unwrap());
    work_together(Redis::open(watched.options(0)).await.unwrap(), Redis::open(watched.options(0)).await.unwrap()).await;
    let told = kill_under_load(&watched, &queue).await;
    // What the primary had confirmed and not yet sent to a replica is gone; all else is there and has ended.
    let (lost, twice) = compare(&queue, &told).await;
    assert!(lost + twice < 100, "{lost} lost, {twice} twice: more than could be on its way");
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.running, stats.dead), (0, 0, 0));
    work_together(Redis::open(watched.options(0)).await.unwrap(), Redis::open(watched.options(0)).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_loses_nothing_that_replicas_have_confirmed() {
    let watched = Watched::new();
    let queue = Arc::new(Redis::open(watched.options(1)).await.unwrap());
    let told = kill_under_load(&watched, &queue).await;
    assert_eq!(compare(&queue, &told).await, (0, 0));
}

#[tokio::test]
async fn what_too_few_replicas_have_is_not_confirmed() {
    let house = House::new(&[]);
    let of = format!("127.0.0.1 {}", house.server.port());
    let replica = Process::start(&["--repl-diskless-sync-delay", "0", "--replicaof", &of]);
    house.server.wait_until("INFO replication", |info| info.contains("state=online"));
    let queue = Redis::open(Options { wait_replicas: 1, ..house.options(WIDE) }).await.unwrap();
    recovered(&queue).await;
    let id = submit(&queue, 1).await;
    replica.signal(libc::SIGSTOP);
    let start = Instant::now();
    let keyed = || Submission { idempotency_key: Some("key".to_owned()), ..Submission::new(payload(2)) };
    let (refused, ready, seen) = tokio::join!(queue.submit(keyed()), queue.ping(), queue.status(id, Duration::ZERO));
    let told = refused.expect_err("nobody has it").to_string();
    assert!(told.contains("0 of 1 replicas") && told.contains("queue.wait_replicas"), "{told}");
    assert!(ready.is_err() && start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(seen.unwrap().unwrap().state, State::Pending, "reading waits for nobody");
    replica.signal(libc::SIGCONT);
    recovered(&queue).await;
    // The one that was refused may be there as well: the same key finds it, and it is confirmed now.
    queue.submit(keyed()).await.unwrap();
    assert_eq!(counts(&queue).await, [2, 0, 0, 0]);
}

#[tokio::test]
async fn sentinels_that_are_gone_or_know_another_name_are_told_with_the_mend() {
    let watched = Watched::new();
    let options = watched.options(0);
    let other = Options { url: options.url.replace("/main", "/other"), ..options.clone() };
    let error = Redis::open(other).await.err().expect("it must not open").to_string();
    assert!(error.contains("no primary \"other\"") && error.contains("sentinel monitor"), "{error}");
    // One is enough.
    watched.sentinels[..2].iter().for_each(Process::kill);
    submit(&Redis::open(options.clone()).await.unwrap(), 1).await;
    watched.sentinels[2].kill();
    let error = Redis::open(options).await.unwrap().ping().await.unwrap_err().to_string();
    for sentinel in &watched.sentinels {
        assert!(error.contains(&format!("127.0.0.1:{}", sentinel.port())), "{error}");
    }
    // No Sentinel at all, but a replica in the place of one.
    let folder = tempfile::tempdir().unwrap();
    let url = format!("redis+sentinel://127.0.0.1:{}/main", watched.replicas[0].port());
    let error = Redis::open(self::options(url, &folder, WIDE)).await.err().expect("it must not open").to_string();
    assert!(error.contains("is no Sentinel") && error.contains("redis://"), "{error}");
}
