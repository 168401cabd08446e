//! Servers of a cluster: a slot that moves, and a replica that takes over.

use super::process::free_port;
use super::*;

const SLOTS: usize = 16_384;
/// So long the change of a primary may take.
const CHANGE: Duration = Duration::from_secs(60);

/// Three primaries that share the slots.
struct Cluster {
    members: Vec<Process>,
    folder: TempDir,
}

impl Cluster {
    fn new() -> Self {
        let members: Vec<_> = (0..3).map(|_| member()).collect();
        for (at, member) in members.iter().enumerate() {
            let (first, last) = (SLOTS * at / 3, SLOTS * (at + 1) / 3 - 1);
            assert_eq!(member.command(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")), b"+OK\r\n");
            // Else two might come to the same epoch, which takes a while to be sorted out.
            assert_eq!(member.command(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)), b"+OK\r\n");
        }
        let cluster = Self { members, folder: tempfile::tempdir().unwrap() };
        cluster.members[1..].iter().for_each(|member| meet(&cluster.members[0], member));
        for member in &cluster.members {
            member.wait_until("CLUSTER INFO", |info| {
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
        cluster
    }

    fn options(&self) -> Options {
        let hosts: Vec<_> = self.members.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        options(format!("redis+cluster://{}", hosts.join(",")), &self.folder, WIDE)
    }

    /// The queue's slot, and which member has it.
    fn slot(&self) -> (usize, usize) {
        let slot = text(&self.members[0], "CLUSTER KEYSLOT {test}").trim().trim_start_matches(':').parse().unwrap();
        (slot, (0..3).find(|at| slot < SLOTS * (at + 1) / 3).unwrap())
    }
}

/// A server that may join a cluster.
fn member() -> Process {
    let bus = free_port().to_string();
    Process::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-node-timeout",
        "2500",
        "--cluster-replica-validity-factor",
        "0",
        "--repl-diskless-sync-delay",
        "0",
        "--appendonly",
        "yes",
    ])
}

fn meet(known: &Process, other: &Process) {
    let bus = text(other, "CONFIG GET cluster-port");
    let bus = bus.trim().lines().last().unwrap();
    assert_eq!(known.command(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port())), b"+OK\r\n");
}

fn text(member: &Process, command: &str) -> String {
    String::from_utf8(member.command(command)).unwrap()
}

/// A member's name in the cluster.
fn name(member: &Process) -> String {
    text(member, "CLUSTER MYID").lines().nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_queue_lives_in_a_cluster_and_moves_with_its_slot() {
    let cluster = Cluster::new();
    let open = async || Redis::open(cluster.options()).await.unwrap();
    work_together(open().await, open().await).await;
    let queue = open().await;
    let (waiting, running) = (submit(&queue, 2).await, claim(&queue).await.lease);
    assert_eq!(waiting, running.id);
    let ids = [submit(&queue, 3).await, submit(&queue, 4).await];

    let (slot, from) = cluster.slot();
    let (from, to) = (&cluster.members[from], &cluster.members[(from + 1) % 3]);
    assert_eq!(to.command(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", name(from))), b"+OK\r\n");
    assert_eq!(from.command(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", name(to))), b"+OK\r\n");
    // One half of the keys is not the queue: until all have moved, nobody is served.
    let mut moved = 0;
    loop {
        assert!(queue.ping().await.is_err(), "{moved} keys have moved");
        let late = queue.submit(Submission::new(payload(9))).await;
        assert!(matches!(late, Err(SubmitError::Unavailable(_))), "{late:?}");
        let listed = text(from, &format!("CLUSTER GETKEYSINSLOT {slot} 2"));
        let keys: Vec<_> = listed.lines().filter(|line| line.starts_with("{test}")).collect();
        if keys.is_empty() {
            break;
        }
        moved += keys.len();
        let move_them = format!("MIGRATE 127.0.0.1 {} \"\" 0 5000 KEYS {}", to.port(), keys.join(" "));
        assert_eq!(from.command(&move_them), b"+OK\r\n");
    }
    assert!(moved > 10, "only {moved} keys have moved");
    for member in [to, from] {
        assert_eq!(member.command(&format!("CLUSTER SETSLOT {slot} NODE {}", name(to))), b"+OK\r\n");
    }
    recovered(&queue).await;
    queue.settle(running, success(2)).await.expect("the lease is held still");
    for id in ids {
        assert_eq!(claim(&queue).await.lease.id, id);
    }
    assert_eq!(state(&queue, waiting).await, State::Success);
    // Who comes now is led to the new place, whichever member it asks.
    work_together(open().await, queue).await;
}

#[tokio::test]
async fn a_replica_takes_over_in_a_cluster() {
    let cluster = Cluster::new();
    let (_, owner) = cluster.slot();
    let (owner, replica) = (&cluster.members[owner], member());
    meet(owner, &replica);
    replica.wait_until("CLUSTER INFO", |info| info.contains("cluster_known_nodes:4"));
    let follow = format!("CLUSTER REPLICATE {}", name(owner));
    replica.wait_until(&follow, |answer| answer == "+OK\r\n");
    owner.wait_until("INFO replication", |info| info.contains("state=online"));
    for member in &cluster.members {
        let known = format!("slave {}", name(owner));
        member.wait_until("CLUSTER NODES", |nodes| nodes.contains(&known));
    }
    let queue = Redis::open(Options { wait_replicas: 1, ..cluster.options() }).await.unwrap();
    let ids = [submit(&queue, 1).await, submit(&queue, 2).await];
    drop(queue);
    let queue = Redis::open(cluster.options()).await.unwrap();
    let lease = claim(&queue).await.lease;
    let known = timeout(PATIENCE, async {
        tokio::join!(queue.status(ids[1], LONG), async {
            tokio::time::sleep(MOMENT).await;
            owner.kill();
        })
    });
    let (told, ()) = known.await.expect("who waits is told");
    assert!(told.is_err(), "{told:?}");
    let killed = Instant::now();
    while let Err(error) = queue.ping().await {
        assert!(killed.elapsed() < CHANGE, "{error}; {}", text(&replica, "CLUSTER NODES"));
        tokio::time::sleep(MOMENT).await;
    }
    for id in ids {
        assert!(!state(&queue, id).await.is_final());
    }
    // The claim itself may have been lost with the primary; then it is handed out again.
    match queue.settle(lease, success(1)).await {
        Ok(()) | Err(LeaseError::Lost) => {}
        Err(error) => panic!("{error}"),
    }
    submit(&queue, 3).await;
}

#[tokio::test]
async fn a_cluster_and_a_single_server_are_not_taken_for_each_other() {
    let alone = House::new(&[]);
    let url = alone.server.url().replace("redis://", "redis+cluster://");
    let error = Redis::open(Options { url, ..alone.options(WIDE) }).await.err().expect("it must not open").to_string();
    assert!(error.contains("in no cluster") && error.contains("redis://"), "{error}");
    let member = member();
    let folder = tempfile::tempdir().unwrap();
    let error = Redis::open(options(member.url(), &folder, WIDE)).await.err().expect("it must not open").to_string();
    assert!(error.contains("redis+cluster://"), "{error}");
    let url = member.url().replace("redis://", "redis+cluster://");
    // It may be in the making.
    let error = Redis::open(options(url, &folder, WIDE)).await.unwrap().ping().await.unwrap_err().to_string();
    assert!(error.contains("no member of the cluster serves slot"), "{error}");
}
