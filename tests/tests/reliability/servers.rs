//! The Redis killed under load: whatever was answered with 202 is there again.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use visavis_tests::fleet::Fleet;
use visavis_tests::scale::{Run, scale};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};
use visavis_tests::witness::{self, Counts};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many clients submit at the same time.
const CLIENTS: usize = 4;

#[test]
fn a_redis_killed_under_load_loses_no_accepted_task() {
    let run = Run::of("redis-server killed under load, appendfsync always");
    let kills = scale(3, 30);
    let mut fleet = Fleet::stubbed().set("VISAVIS_QUEUE__LEASE", "5s").set("VISAVIS_QUEUE__MAX_LENGTH", "100000");
    witness::keep_all(&fleet.redis);
    let edges = [fleet.edge(), fleet.edge()];
    let workers = [fleet.worker(), fleet.worker()];
    let watch = Watch::new(stub::is_own);
    let (number, refused, over) = (AtomicU32::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let client = edges[client % edges.len()].client();
            let (watch, number, refused, over) = (&watch, &number, &refused, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let number = number.fetch_add(1, Ordering::SeqCst);
                    if !watch.submit(&client, number, &stub::form(number, Duration::from_millis(30), 20_000)) {
                        refused.fetch_add(1, Ordering::SeqCst);
                        thread::sleep(Duration::from_millis(100));
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for _ in 0..kills {
            // In the midst of accepting: so many more have been accepted since the last time.
            let before = watch.tally().accepted;
            while watch.tally().accepted < before + 20 {
                assert!(run.took() < PATIENCE * 2, "nothing is accepted any more");
                thread::sleep(Duration::from_millis(10));
            }
            fleet.redis.kill();
            thread::sleep(Duration::from_secs(1));
            fleet.redis.restart();
            // A server that was started anew has its settings anew.
            witness::keep_all(&fleet.redis);
        }
        over.store(true, Ordering::SeqCst);
    });
    let clients = edges.each_ref().map(visavis_tests::host::Host::client);
    let tally = watch.to_the_end(&clients, PATIENCE);
    let ends = witness::ends(&fleet.redis);
    let ended_once = watch.digits().iter().filter(|id| ends.get(*id) == Some(&1)).count();
    let ended_again = ends.values().filter(|ends| **ends != 1).count();
    let counts = witness::counts(&fleet.redis);
    run.counted(&format!(
        "{tally}, ended once by Redis' own file {ended_once}, more than once {ended_again}, {counts:?}, kills {kills}, \
         submissions refused or unanswered {}, of them done all the same {}",
        refused.load(Ordering::SeqCst),
        ends.len() - ended_once,
    ));
    drop(workers);
    assert_eq!(tally, Tally::perfect(tally.accepted), "{}", watch.trouble());
    assert_eq!((ended_once, ended_again, counts), (tally.accepted, 0, Counts::default()));
}
