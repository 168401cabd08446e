//! Wall clocks that are set while everything works: those of the nodes, and the Redis' own.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use visavis_tests::clock::WallClock;
use visavis_tests::fleet::Fleet;
use visavis_tests::host::{Host, Setup};
use visavis_tests::redis::Redis;
use visavis_tests::scale::{Run, scale};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};
use visavis_tests::witness::{self, Counts};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);
/// So much that the log's years tell.
const LONG: Duration = Duration::from_secs(400 * 24 * 3600);

/// Submits tasks and sets a clock again and again until they have ended; answers how often it was set.
fn step(clock: &WallClock, watch: &Watch, node: &Host, by: Duration) -> (Tally, usize) {
    let tasks = scale(60, 500);
    let mut steps = 0;
    thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            for number in 0..tasks {
                assert!(watch.submit(&node.client(), number, &stub::form(number, Duration::from_millis(150), 20_000)));
            }
        });
        while (!submitting.is_finished() || watch.look(&node.client()) > 0) && steps < 400 {
            match steps % 3 {
                0 => clock.ahead(by),
                1 => clock.behind(by),
                _ => clock.ahead(Duration::ZERO),
            }
            steps += 1;
            thread::sleep(Duration::from_millis(700));
        }
    });
    (watch.to_the_end(&[node.client()], PATIENCE), steps)
}

/// The years that a log was written in.
fn years(log: &str) -> BTreeSet<&str> {
    log.lines().filter_map(|line| line.strip_prefix("{\"timestamp\":\"")?.get(..4)).collect()
}

#[test]
fn nodes_whose_clocks_are_set_lose_nothing() {
    let run = Run::of("clocks of nodes on a Redis set by 400 days, both ways");
    let clock = WallClock::new();
    let set = |fleet: Fleet, (name, value): (&str, String)| fleet.set(name, &value);
    let fleet = clock.environment().into_iter().fold(Fleet::stubbed().set("VISAVIS_QUEUE__LEASE", "5s"), set);
    witness::keep_all(&fleet.redis);
    let (edge, worker) = (fleet.edge(), fleet.worker());
    let watch = Watch::new(stub::is_own);
    let (tally, steps) = step(&clock, &watch, &edge, LONG);
    let ended_once = witness::ends(&fleet.redis).values().filter(|ends| **ends == 1).count();
    let (log, counts) = (worker.log(), witness::counts(&fleet.redis));
    let years = years(&log);
    run.counted(&format!("{tally}, ended once {ended_once}, {counts:?}, steps {steps}, years in the log {years:?}"));
    assert!(years.len() > 1, "no clock was set");
    assert_eq!((&tally, ended_once), (&Tally::perfect(tally.accepted), tally.accepted), "{}", watch.trouble());
    assert_eq!(counts, Counts::default());
}

#[test]
fn a_node_alone_whose_clock_is_set_loses_nothing() {
    let run = Run::of("clock of a node with the embedded queue set by 400 days, both ways");
    let clock = WallClock::new();
    let setup = Setup::new().set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy());
    let setup = clock.environment().into_iter().fold(setup, |setup, (name, value)| setup.set(name, &value));
    let host = setup.start();
    let watch = Watch::new(stub::is_own);
    let (tally, steps) = step(&clock, &watch, &host, LONG);
    assert_eq!(tally, Tally::perfect(tally.accepted), "{}", watch.trouble());
    // Its own clock counts on from the wall clock at its start: the next start may find that one far behind.
    clock.behind(HOUR);
    let host = host.kill().start();
    let tally = watch.to_the_end(&[host.client()], PATIENCE);
    let log = host.log();
    let years = years(&log);
    run.counted(&format!("{tally}, steps {steps}, years in the log {years:?}, started again an hour earlier"));
    assert!(years.len() > 1, "no clock was set");
    assert_eq!(tally, Tally::perfect(tally.accepted), "{}", watch.trouble());
    assert_eq!(host.client().verify(&stub::form(1, Duration::ZERO, 1000))["status"], "SUCCESS");
}

#[test]
fn a_redis_whose_clock_is_set_loses_nothing() {
    let run = Run::of("clock of redis-server set by an hour, both ways");
    let clock = WallClock::new();
    // Forward steps let leases run out and count as tries, and waiting tasks grow older by as much.
    let fleet = Fleet::on(Redis::start_under(&clock.environment()))
        .stub()
        .set("VISAVIS_QUEUE__LEASE", "5s")
        .set("VISAVIS_QUEUE__MAX_DELIVERIES", "1000")
        .set("VISAVIS_QUEUE__RESULT_TTL", "720h")
        .set("VISAVIS_QUEUE__PAYLOAD_TTL", "720h");
    witness::keep_all(&fleet.redis);
    let (edge, _workers) = (fleet.edge(), [fleet.worker(), fleet.worker()]);
    let watch = Watch::new(stub::is_own);
    let (tally, steps) = step(&clock, &watch, &edge, HOUR);
    let ended_once = witness::ends(&fleet.redis).values().filter(|ends| **ends == 1).count();
    let counts = witness::counts(&fleet.redis);
    run.counted(&format!("{tally}, ended once {ended_once}, {counts:?}, steps {steps}"));
    assert!(steps >= 3, "the clock was hardly set");
    assert_eq!((&tally, ended_once), (&Tally::perfect(tally.accepted), tally.accepted), "{}", watch.trouble());
    assert_eq!(counts, Counts::default());
}
