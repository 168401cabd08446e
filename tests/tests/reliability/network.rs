//! The way between a worker and the Redis: cut, stalled, slowed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use visavis_tests::fleet::{Fleet, Worker};
use visavis_tests::host::Host;
use visavis_tests::proxy::{Proxy, Weather};
use visavis_tests::scale::{Run, scale, wait_for};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};
use visavis_tests::witness::{self, Counts};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// More than a worker takes to fetch what it has claimed.
const MOMENT: Duration = Duration::from_millis(500);

/// An edge, and one worker behind a network of its own.
struct House {
    fleet: Fleet,
    edge: Host,
    proxy: Proxy,
    worker: Worker,
    watch: Watch,
}

impl House {
    fn new(lease: Duration) -> Self {
        let lease = format!("{}ms", lease.as_millis());
        let fleet = Fleet::stubbed().set("VISAVIS_QUEUE__LEASE", &lease);
        witness::keep_all(&fleet.redis);
        let address: SocketAddr = fleet.redis.url().replace("redis://", "").parse().expect("an address");
        let proxy = Proxy::to(address);
        let worker = fleet.worker_by(&format!("redis://{}", proxy.address()));
        let edge = fleet.edge();
        Self { fleet, edge, proxy, worker, watch: Watch::new(stub::is_own) }
    }

    /// Submits a task that takes `wait`, and waits until the worker has begun it.
    fn begin(&self, number: u32, wait: Duration) -> String {
        assert!(self.watch.submit(&self.edge.client(), number, &stub::form(number, wait, 20_000)));
        let id = format!("face_verification_{}", self.watch.digits()[number as usize]);
        wait_for("the task is begun", PATIENCE, || self.status(&id)["status"] == "STARTED");
        // The photographs are on their way, too.
        std::thread::sleep(MOMENT);
        id
    }

    fn status(&self, id: &str) -> Value {
        self.edge.client().get(&format!("/status/{id}")).json()
    }

    fn assert_each_ended_once(&self, run: &Run, more: &str) {
        let tally = self.watch.to_the_end(&[self.edge.client()], PATIENCE);
        let ends = witness::ends(&self.fleet.redis);
        let ended_once = ends.values().filter(|ends| **ends == 1).count();
        let counts = witness::counts(&self.fleet.redis);
        run.counted(&format!("{tally}, ended once by Redis' own file {ended_once}, {counts:?}, {more}"));
        assert_eq!(tally, Tally::perfect(tally.accepted), "{}", self.watch.trouble());
        assert_eq!((ended_once, ends.len()), (tally.accepted, tally.accepted));
        assert_eq!(counts, Counts::default());
    }
}

/// The link breaks while the task runs, the task ends without it, and the result is there when the link is.
fn outlive(name: &'static str, weather: Weather) {
    let run = Run::of(name);
    let rounds = scale(1, 10);
    let house = House::new(Duration::from_secs(20));
    // It could take the task over, and must not have to.
    let idle = house.fleet.worker();
    idle.freeze();
    for number in 0..rounds {
        let id = house.begin(number, Duration::from_secs(2));
        idle.thaw();
        let cut = Instant::now();
        house.proxy.set(weather);
        wait_for("the task ends while the link is down", PATIENCE, || house.worker.said(&["task ended", &id]) == 1);
        std::thread::sleep(Duration::from_secs(3).saturating_sub(cut.elapsed()));
        assert_eq!(house.status(&id)["status"], "STARTED", "nobody has been told yet");
        house.proxy.set(Weather::Fair);
        assert_eq!(house.edge.client().ended(&id)["status"], "SUCCESS");
        assert!(
            cut.elapsed() < Duration::from_secs(19),
            "on a machine this slow the lease ran out: {:?}",
            cut.elapsed()
        );
        assert_eq!(idle.said(&["task ended", &id]), 0, "nobody did it again");
        idle.freeze();
    }
    house.assert_each_ended_once(&run, "results kept over the outage and settled by their own worker: all");
}

#[test]
fn a_result_outlives_a_cut_shorter_than_the_lease() {
    outlive("link cut for less than the lease", Weather::Cut);
}

#[test]
fn a_result_outlives_a_stall_shorter_than_the_lease() {
    outlive("link stalled for less than the lease", Weather::Stalled);
}

/// The link is down for longer than the lease: another worker does the task, and the first one's result is refused.
fn be_replaced(name: &'static str, weather: Weather) {
    let run = Run::of(name);
    let rounds = scale(1, 10);
    let house = House::new(Duration::from_secs(3));
    let heir = house.fleet.worker();
    let mut refused = 0;
    for number in 0..rounds {
        heir.freeze();
        let id = house.begin(number, Duration::from_secs(2));
        house.proxy.set(weather);
        heir.thaw();
        wait_for("another worker begins it", PATIENCE, || {
            heir.said(&["task ended", &id]) == 1 || house.status(&id)["status"] == "SUCCESS"
        });
        let ended = house.edge.client().ended(&id);
        house.proxy.set(Weather::Fair);
        wait_for("the first worker learns that it was too late", PATIENCE, || {
            house.worker.said(&["the result is not wanted any more", &id]) == 1
                || house.worker.said(&["the queue is out of reach; the task is delivered again later", &id]) == 1
                || house.worker.said(&["the task was taken from this worker", &id]) == 1
        });
        refused += house.worker.said(&["the result is not wanted any more", &id]);
        assert_eq!(heir.said(&["task ended", &id]), 1);
        assert_eq!(house.status(&id), ended, "the late result changed something");
    }
    house.assert_each_ended_once(&run, &format!("done by another worker {rounds}, late results refused {refused}"));
}

#[test]
fn a_cut_longer_than_the_lease_gives_the_task_to_another_worker() {
    be_replaced("link cut for longer than the lease", Weather::Cut);
}

#[test]
fn a_stall_longer_than_the_lease_gives_the_task_to_another_worker() {
    be_replaced("link stalled for longer than the lease", Weather::Stalled);
}

#[test]
fn a_slow_redis_delays_and_one_slower_than_is_waited_for_is_as_good_as_gone() {
    let run = Run::of("Redis slow by 150 ms each way, and by 2.5 s");
    let fleet = Fleet::stubbed().set("VISAVIS_QUEUE__LEASE", "20s");
    let address: SocketAddr = fleet.redis.url().replace("redis://", "").parse().expect("an address");
    let proxy = Proxy::to(address);
    let node = fleet.node().start_with(&["--queue", &format!("redis://{}", proxy.address())]);
    let (client, watch) = (node.client(), Watch::new(stub::is_own));
    let form = |number| stub::form(number, Duration::from_millis(10), 5000);
    let (mut number, mut slowest) = (0, Duration::ZERO);
    for _ in 0..scale(1, 10) {
        proxy.set(Weather::Slow(Duration::from_millis(150)));
        for _ in 0..4 {
            assert!(watch.submit(&client, number, &form(number)), "{}", node.log());
            number += 1;
        }
        proxy.set(Weather::Slow(Duration::from_millis(2500)));
        for _ in 0..3 {
            let asked = Instant::now();
            let answer = client.post("/verify", &form(number), &[]);
            slowest = slowest.max(asked.elapsed());
            assert_eq!((answer.status, answer.problem().as_str()), (503, "queue_unavailable"), "{}", answer.text());
            assert!(answer.header("retry-after").is_some());
        }
        assert_eq!((client.get("/healthz").status, client.get("/readyz").status), (200, 503));
        proxy.set(Weather::Fair);
        wait_for("tasks are accepted again", PATIENCE, || watch.submit(&client, number, &form(number)));
        number += 1;
    }
    let tally = watch.to_the_end(&[client], PATIENCE);
    run.counted(&format!("{tally}, the slowest refusal after {:.1} s", slowest.as_secs_f64()));
    assert_eq!(tally, Tally::perfect(number as usize), "{}", watch.trouble());
    // Two seconds for an answer, and a machine that has other work.
    assert!(slowest < Duration::from_secs(15), "{slowest:?}");
}

#[test]
fn a_slow_and_flickering_link_does_no_harm() {
    let run = Run::of("link slow by 50 ms each way and cut now and then");
    let tasks = scale(20, 500);
    let house = House::new(Duration::from_secs(4));
    house.proxy.set(Weather::Slow(Duration::from_millis(50)));
    for number in 0..tasks {
        assert!(house.watch.submit(
            &house.edge.client(),
            number,
            &stub::form(number, Duration::from_millis(50), 50_000)
        ));
    }
    let mut cuts = 0;
    while house.watch.look(&house.edge.client()) > 0 {
        assert!(run.took() < PATIENCE * 5, "{}", house.watch.trouble());
        house.proxy.set(Weather::Cut);
        std::thread::sleep(Duration::from_millis(200));
        house.proxy.set(Weather::Slow(Duration::from_millis(50)));
        std::thread::sleep(Duration::from_millis(3000));
        cuts += 1;
    }
    let connections = house.proxy.connections();
    assert!(connections > 1, "the link never was cut");
    house.assert_each_ended_once(&run, &format!("cuts {cuts}, connections {connections}"));
}
